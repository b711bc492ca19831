//! [`Bounds`]: what root has fixed in the config file, which no policy goes beyond, whoever sets it.

use std::fmt::Display;

use agentd_core::{
    bytes::ByteCount,
    policy::{Fault, Policy},
};

/// What no policy in force goes beyond. `None` binds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least floor.
    pub floor: Option<ByteCount>,
    /// The least host reserve.
    pub host_reserve: Option<ByteCount>,
    /// The most that the step of a VM that gives may be.
    pub shrink_step: Option<ByteCount>,
    /// The most that `working-set` may take at once, in percent of what is unused.
    pub shrink_percent: Option<u32>,
}

impl Bounds {
    /// What in a policy is beyond them, with the key that says so.
    #[must_use]
    pub fn faults(&self, policy: &Policy) -> Vec<Fault> {
        let percent = policy.working_set.shrink_percent;
        let faults = [
            least("floor", "floor", policy.floor, self.floor),
            least("host_reserve", "host_reserve", policy.host_reserve, self.host_reserve),
            most("shrink_step", "shrink_step", policy.shrink_step, self.shrink_step),
            most("working_set.shrink_percent", "shrink_percent", percent, self.shrink_percent),
        ];
        faults.into_iter().flatten().collect()
    }

    /// The policy that comes nearest to this one and is not beyond them.
    #[must_use]
    pub fn within(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        policy.floor = policy.floor.max(self.floor.unwrap_or_default());
        policy.host_reserve = policy.host_reserve.max(self.host_reserve.unwrap_or_default());
        policy.shrink_step = policy.shrink_step.min(self.shrink_step.unwrap_or(policy.shrink_step));
        let percent = &mut policy.working_set.shrink_percent;
        *percent = (*percent).min(self.shrink_percent.unwrap_or(*percent));
        // An exception below the floor would be no sane policy, and its maximum would take a VM there.
        let floor = policy.floor;
        for vm in policy.vms.values_mut() {
            vm.min = vm.min.map(|min| min.max(floor));
            vm.max = vm.max.map(|max| max.max(floor));
        }
        policy
    }
}

fn least<T: Copy + Display + PartialOrd>(
    path: &str,
    key: &str,
    value: T,
    bound: Option<T>,
) -> Option<Fault> {
    let bound = bound.filter(|bound| value < *bound)?;
    Some(fault(path, &value, format!("must be at least {bound}, {key} in {FIXED}")))
}

fn most<T: Copy + Display + PartialOrd>(
    path: &str,
    key: &str,
    value: T,
    bound: Option<T>,
) -> Option<Fault> {
    let bound = bound.filter(|bound| value > *bound)?;
    Some(fault(path, &value, format!("must be at most {bound}, {key} in {FIXED}")))
}

fn fault(path: &str, value: &dyn Display, problem: String) -> Fault {
    Fault { path: path.to_owned(), value: value.to_string(), problem }
}

/// Where bounds are, in words.
const FIXED: &str = "[bounds] of agentd's config, which root alone changes";

#[cfg(test)]
mod tests {
    use agentd_core::policy::{VmKey, VmPolicy};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        floor: Some(ByteCount::mib(256)),
        host_reserve: Some(ByteCount::gib(2)),
        shrink_step: Some(ByteCount::mib(32)),
        shrink_percent: Some(10),
    };

    #[test]
    fn each_value_beyond_is_named_with_its_bound_and_its_key() {
        let told: Vec<String> =
            BOUNDS.faults(&Policy::default()).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "floor = 64 MiB: must be at least 256 MiB, floor in [bounds] of agentd's config, \
                 which root alone changes",
                "host_reserve = 200 MiB: must be at least 2 GiB, host_reserve in [bounds] of \
                 agentd's config, which root alone changes",
                "shrink_step = 64 MiB: must be at most 32 MiB, shrink_step in [bounds] of agentd's \
                 config, which root alone changes",
                "working_set.shrink_percent = 50: must be at most 10, shrink_percent in [bounds] of \
                 agentd's config, which root alone changes",
            ]
        );
        assert_eq!(Bounds::default().faults(&Policy::default()), []);
    }

    #[test]
    fn what_is_brought_within_them_is_sane_and_else_unchanged() {
        let vm = VmPolicy {
            min: Some(ByteCount::mib(70)),
            max: Some(ByteCount::mib(100)),
            ..VmPolicy::default()
        };
        let vms = [(VmKey::from("db1"), vm)].into();
        let policy = Policy { vms, ..Policy::default() };
        assert_eq!(policy.validate(), []);
        let within = BOUNDS.within(&policy);
        assert_eq!((BOUNDS.faults(&within), within.validate()), (vec![], vec![]));
        assert_eq!(within.vms[&VmKey::from("db1")].max, Some(ByteCount::mib(256)));
        assert_eq!(within.two_pointer, policy.two_pointer);
        assert_eq!(BOUNDS.within(&within), within);
        assert_eq!(Bounds::default().within(&policy), policy);
    }
}
