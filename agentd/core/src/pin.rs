//! Pins that end by themselves.
//!
//! The core only carries when a pin ends: whoever has a clock takes the pin away when that time comes.

use crate::{
    policy::{Policy, VmKey, VmPolicy},
    vm::VmId,
};

/// A time of the host's wall clock, in whole seconds since 1970 began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub u64);

impl Policy {
    /// The pins that end by themselves, and when.
    pub fn passing_pins(&self) -> impl Iterator<Item = (&VmKey, WallTime)> {
        self.vms.iter().filter_map(|(key, vm)| Some((key, vm.unpin_at?)))
    }

    /// When the pin of a VM ends by itself; `None` where it does not, or there is none.
    #[must_use]
    pub fn unpin_at(&self, id: VmId, name: &str) -> Option<WallTime> {
        self.vm(id, name).unpin_at
    }

    /// The policy without those of its passing pins that are over.
    #[must_use]
    pub fn without_pins(&self, is_over: impl Fn(&VmKey, WallTime) -> bool) -> Self {
        let mut policy = self.clone();
        policy.vms.retain(|key, vm| {
            let ends = vm.unpin_at.is_some_and(|at| is_over(key, at));
            if ends {
                (vm.pinned, vm.unpin_at) = (None, None);
            }
            !ends || *vm != VmPolicy::default()
        });
        policy
    }

    /// What is left of the policy once all its passing pins are over.
    #[must_use]
    pub fn lasting(&self) -> Self {
        self.without_pins(|_, _| true)
    }

    /// The policy with the passing pins of another one in the place of its own. A pin that stays wins over
    /// one that passes.
    #[must_use]
    pub fn with_passing_pins_of(&self, other: &Self) -> Self {
        let mut policy = self.lasting();
        for (key, at) in other.passing_pins() {
            if policy.vms.len() >= Self::MAX_VMS && !policy.vms.contains_key(key) {
                continue;
            }
            let vm = policy.vms.entry(key.clone()).or_default();
            if vm.pinned != Some(true) {
                (vm.pinned, vm.unpin_at) = (Some(true), Some(at));
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteCount;

    fn policy(vms: &[(&str, VmPolicy)]) -> Policy {
        let vms = vms.iter().map(|(name, vm)| ((*name).into(), *vm)).collect();
        Policy { vms, ..Policy::default() }
    }

    fn pin(until: Option<u64>) -> VmPolicy {
        let unpin_at = until.map(WallTime);
        VmPolicy { pinned: Some(true), unpin_at, ..VmPolicy::default() }
    }

    fn floored(vm: VmPolicy) -> VmPolicy {
        VmPolicy { min: Some(ByteCount::gib(1)), ..vm }
    }

    #[test]
    fn a_pin_that_is_over_leaves_nothing_but_what_else_is_said_of_its_vm() {
        let pinned = policy(&[("a", pin(Some(5))), ("b", floored(pin(Some(9)))), ("c", pin(None))]);
        assert_eq!(pinned.passing_pins().map(|(_, at)| at.0).collect::<Vec<_>>(), [5, 9]);
        let later = pinned.without_pins(|_, at| at.0 <= 5);
        assert_eq!(later, policy(&[("b", floored(pin(Some(9)))), ("c", pin(None))]));
        let lasting = policy(&[("b", floored(VmPolicy::default())), ("c", pin(None))]);
        assert_eq!((pinned.lasting(), later.lasting()), (lasting.clone(), lasting));
    }

    #[test]
    fn passing_pins_go_over_to_another_policy_and_no_pin_that_stays_becomes_one_that_passes() {
        let now = policy(&[("a", pin(Some(5))), ("b", pin(Some(6))), ("c", pin(Some(7)))]);
        let before = policy(&[("b", pin(None)), ("c", floored(pin(Some(1)))), ("d", pin(Some(2)))]);
        let expected =
            policy(&[("a", pin(Some(5))), ("b", pin(None)), ("c", floored(pin(Some(7))))]);
        assert_eq!(before.with_passing_pins_of(&now), expected);
    }
}
