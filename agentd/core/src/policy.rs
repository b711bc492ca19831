//! [`Policy`]: what the operator wants of memory. Changed while agentd runs, unlike its config.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::{
    bytes::ByteCount,
    explain,
    sample::VmSample,
    vm::{Limits, VmId},
};

/// Everything wanted of memory on one host.
///
/// Any value decides something sane; [`Policy::validate`] is what refuses nonsense, and every
/// policy from outside passes it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who decides.
    pub algorithm: Algorithm,
    /// The host gives a VM nothing that would leave the host this or less.
    pub host_reserve: ByteCount,
    /// Upper bound of the sum of all actuals; `None` for no bound but the host's memory.
    pub pool_limit: Option<ByteCount>,
    /// Least memory that any VM is left with.
    pub floor: ByteCount,
    /// Most memory that one VM gives in one tick, unless 5 % of its maximum is more.
    pub shrink_step: ByteCount,
    /// Constants of [`Algorithm::TwoPointer`].
    pub two_pointer: TwoPointer,
    /// Constants of [`Algorithm::WorkingSet`].
    pub working_set: WorkingSet,
    /// Exceptions for single VMs, at most [`Policy::MAX_VMS`].
    pub vms: BTreeMap<VmKey, VmPolicy>,
}

/// The algorithms that can decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// [`crate::two_pointer`].
    #[default]
    TwoPointer,
    /// [`crate::working_set`].
    WorkingSet,
}

/// The constants of the algorithm `two-pointer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoPointer {
    /// A VM with less than this unused whose use grows needs memory.
    pub need_below: ByteCount,
    /// A VM with more than this unused whose use does not grow has the difference to spare.
    pub spare_above: ByteCount,
    /// Least need, most spare, and what the host grants at a time.
    pub step: ByteCount,
}

/// The constants of the algorithm `working-set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingSet {
    /// Least memory that a VM is to have beyond what its programs work with.
    pub headroom: ByteCount,
    /// The same in percent of what they work with; the larger of the two counts.
    pub headroom_percent: u32,
    /// For how long ahead a VM is given what its demand grows by.
    pub lead: Duration,
    /// For how long, about, a VM is spared what it had a use for.
    pub keep_for: Duration,
    /// Differences smaller than this are not worth an order.
    pub dead_band: ByteCount,
    /// Share of what is unused in a VM that it may give in one tick, in percent, where that is more
    /// than [`Policy::shrink_step`].
    pub shrink_percent: u32,
}

/// What a [`VmPolicy`] is for. Of a VM that is meant both by UUID and by name, each value that its UUID has
/// counts, and of the others those of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VmKey {
    /// The VM with this UUID.
    Id(VmId),
    /// Any VM with this name.
    Name(String),
}

/// An exception for one VM. `None` leaves the general rule in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmPolicy {
    /// The VM is never shrunk below this. [`Algorithm::WorkingSet`] gives it what it lacks of it.
    pub min: Option<ByteCount>,
    /// The VM never grows above this.
    pub max: Option<ByteCount>,
    /// Its share of memory that is short, beside that of others; [`VmPolicy::WEIGHT`] by default.
    pub weight: Option<u32>,
    /// True: the VM is left alone and counted in full.
    pub pinned: Option<bool>,
}

/// What a policy says of one VM, exceptions applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How little and how much it may hold.
    pub limits: Limits,
    /// Its share of memory that is short, beside that of others.
    pub weight: u32,
    /// It is left alone and counted in full.
    pub pinned: bool,
}

/// One value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} = {value}: {problem}")]
pub struct Fault {
    /// Path of the field, as in a field mask ("two_pointer.step").
    pub path: String,
    /// The value, in words.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl Policy {
    /// Most exceptions that a policy may hold.
    pub const MAX_VMS: usize = 4096;

    /// The rules in force for a VM whose hypervisor allows it `hypervisor_max`.
    #[must_use]
    pub fn rules(&self, id: VmId, name: &str, hypervisor_max: ByteCount) -> Rules {
        let own = self.vm(id, name);
        let max = own.max.map_or(hypervisor_max, |max| max.min(hypervisor_max));
        let min = own.min.map_or(self.floor, |min| min.max(self.floor));
        let weight = own.weight.unwrap_or(VmPolicy::WEIGHT);
        let pinned = own.pinned == Some(true);
        Rules { limits: Limits { min: min.min(max), max }, weight, pinned }
    }

    /// The exception for a VM; one that excepts nothing where there is none.
    fn vm(&self, id: VmId, name: &str) -> VmPolicy {
        if self.vms.is_empty() {
            return VmPolicy::default();
        }
        let of = |key| self.vms.get(&key).copied().unwrap_or_default();
        of(VmKey::Id(id)).or(of(VmKey::Name(name.to_owned())))
    }

    /// Whether a VM is left alone.
    #[must_use]
    pub fn pins(&self, id: VmId, name: &str) -> bool {
        self.vm(id, name).pinned == Some(true)
    }

    /// Leaves this VM alone; whatever else is excepted for it holds.
    pub fn pin(&mut self, id: VmId) {
        self.vms.entry(VmKey::Id(id)).or_default().pinned = Some(true);
    }

    /// Most memory that a VM with this maximum may give in one tick: S5 of the safety rules.
    #[must_use]
    pub fn shrink_limit(&self, max: ByteCount) -> ByteCount {
        self.shrink_step.max(max.fraction(SHRINK_PERCENT, 100))
    }

    /// Most memory that this VM may give in one tick. `working-set` takes more than a step where much
    /// is unused, which nobody misses: the rest of it stays, and the next figures tell whether that
    /// was right.
    #[must_use]
    pub fn give_limit(&self, vm: &VmSample) -> ByteCount {
        let step = self.shrink_limit(vm.max);
        match self.algorithm {
            Algorithm::TwoPointer => step,
            Algorithm::WorkingSet => {
                let unused = vm.guest.unused.unwrap_or_default().min(vm.actual);
                step.max(unused.fraction(u64::from(self.working_set.shrink_percent), 100))
            }
        }
    }

    /// Every value that makes no sense; empty when all do.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut amount = |path: &str, value: ByteCount, least: ByteCount, most: ByteCount| {
            if value < least {
                faults.push(fault(path, &value, format!("must be at least {least}")));
            } else if value > most {
                faults.push(fault(path, &value, format!("must be at most {most}")));
            }
        };
        amount("host_reserve", self.host_reserve, ByteCount::ZERO, MOST);
        if let Some(limit) = self.pool_limit {
            amount("pool_limit", limit, HARD_FLOOR, MOST);
        }
        amount("floor", self.floor, HARD_FLOOR, MOST);
        amount("shrink_step", self.shrink_step, LEAST_STEP, MOST);
        let two = &self.two_pointer;
        amount("two_pointer.step", two.step, LEAST_STEP, MOST);
        amount("two_pointer.spare_above", two.spare_above, ByteCount::ZERO, MOST);
        amount("two_pointer.need_below", two.need_below, LEAST_STEP, MOST);
        if two.spare_above > two.need_below {
            let most = two.need_below;
            let why = format!("must be at most two_pointer.need_below, which is {most}");
            faults.push(fault("two_pointer.spare_above", &two.spare_above, why));
        }
        self.validate_working_set(&mut faults);
        self.validate_vms(&mut faults);
        faults.extend(self.pool_limit.and_then(|limit| self.guarantees_too_much(limit)));
        faults
    }

    fn validate_working_set(&self, faults: &mut Vec<Fault>) {
        let own = &self.working_set;
        let mut bad = |field: &str, value: &dyn fmt::Display, why: String| {
            faults.push(fault(&format!("working_set.{field}"), value, why));
        };
        for (field, value) in [("headroom", own.headroom), ("dead_band", own.dead_band)] {
            if value < LEAST_STEP || value > MOST {
                bad(field, &value, format!("must be from {LEAST_STEP} to {MOST}"));
            }
        }
        if own.headroom_percent > MOST_HEADROOM {
            let why = format!("must be at most {MOST_HEADROOM}");
            bad("headroom_percent", &own.headroom_percent, why);
        }
        if own.shrink_percent > MOST_SHRINK {
            let why = format!("must be at most {MOST_SHRINK}");
            bad("shrink_percent", &own.shrink_percent, why);
        }
        if own.lead > MOST_LEAD {
            let most = explain::time(MOST_LEAD);
            bad("lead", &explain::time(own.lead), format!("must be at most {most}"));
        }
        if own.keep_for < LEAST_KEEP || own.keep_for > MOST_KEEP {
            let [least, most] = [LEAST_KEEP, MOST_KEEP].map(explain::time);
            let why = format!("must be from {least} to {most}");
            bad("keep_for", &explain::time(own.keep_for), why);
        }
    }

    /// What is guaranteed to VMs by name or UUID, whether they run here or not, has to fit into the limit. A
    /// pinned VM is left what it holds, whatever its minimum says.
    fn guarantees_too_much(&self, limit: ByteCount) -> Option<Fault> {
        let of = |(key, vm): (&VmKey, &VmPolicy)| {
            let min = vm.min.filter(|_| vm.pinned != Some(true))?;
            Some((min, key.to_string()))
        };
        let minimums: Vec<(ByteCount, String)> = self.vms.iter().filter_map(of).collect();
        let together: ByteCount = minimums.iter().map(|(min, _)| *min).sum();
        (together > limit).then(|| {
            let who = largest(minimums);
            let why = format!("must be at least {together}, what minimums of VMs guarantee: {who}");
            fault("pool_limit", &limit, why)
        })
    }

    fn validate_vms(&self, faults: &mut Vec<Fault>) {
        let count = self.vms.len();
        if count > Self::MAX_VMS {
            let why = format!("must hold at most {} exceptions", Self::MAX_VMS);
            faults.push(fault("vms", &format_args!("{count} exceptions"), why));
        }
        for (key, vm) in &self.vms {
            let mut bad = |field: &str, value: ByteCount, why: String| {
                faults.push(fault(&format!("vms.{key}.{field}"), &value, why));
            };
            let floor = self.floor;
            if let Some(min) = vm.min.filter(|min| *min < floor || *min > MOST) {
                bad("min", min, format!("must be from the floor, {floor}, to {MOST}"));
            }
            if let Some(max) = vm.max.filter(|max| *max < floor || *max > MOST) {
                bad("max", max, format!("must be from the floor, {floor}, to {MOST}"));
            }
            if let Some(weight) = vm.weight.filter(|own| !VmPolicy::WEIGHTS.contains(own)) {
                let path = format!("vms.{key}.weight");
                let (least, most) = (VmPolicy::WEIGHTS.start(), VmPolicy::WEIGHTS.end());
                faults.push(fault(&path, &weight, format!("must be from {least} to {most}")));
            }
            let mut bad = |field: &str, value: ByteCount, why: String| {
                faults.push(fault(&format!("vms.{key}.{field}"), &value, why));
            };
            if let (Some(min), Some(max)) = (vm.min, vm.max)
                && min > max
            {
                bad("min", min, format!("must be at most the VM's max, which is {max}"));
            }
        }
        let keys = self.vms.keys().filter(|key| !key.is_sane());
        faults.extend(keys.map(|key| {
            let why = format!("a name has 1 to {MAX_NAME} bytes and no control characters");
            fault("vms", &key, why)
        }));
    }
}

/// The built-in policy: the constants that the algorithm was published with.
impl Default for Policy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::TwoPointer,
            host_reserve: ByteCount::mib(200),
            pool_limit: None,
            floor: ByteCount::mib(64),
            shrink_step: ByteCount::mib(64),
            two_pointer: TwoPointer {
                need_below: ByteCount::mib(200),
                spare_above: ByteCount::mib(100),
                step: ByteCount::mib(50),
            },
            working_set: WorkingSet {
                headroom: ByteCount::mib(64),
                headroom_percent: 10,
                lead: Duration::from_secs(3),
                keep_for: Duration::from_secs(60),
                dead_band: ByteCount::mib(16),
                shrink_percent: 50,
            },
            vms: BTreeMap::new(),
        }
    }
}

impl WorkingSet {
    /// What a VM with this demand is to have: that and headroom.
    #[must_use]
    pub fn with_headroom(&self, demand: ByteCount) -> ByteCount {
        let share = demand.fraction(u64::from(self.headroom_percent), 100);
        demand.saturating_add(share.max(self.headroom))
    }
}

impl VmPolicy {
    /// The weight of a VM that has none of its own.
    pub const WEIGHT: u32 = 100;
    /// The weights that there are: those of Hyper-V.
    pub const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=10_000;

    /// This, and what another one says of what this leaves open.
    fn or(self, other: Self) -> Self {
        Self {
            min: self.min.or(other.min),
            max: self.max.or(other.max),
            weight: self.weight.or(other.weight),
            pinned: self.pinned.or(other.pinned),
        }
    }
}

impl VmKey {
    fn is_sane(&self) -> bool {
        match self {
            Self::Id(_) => true,
            Self::Name(name) => {
                (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
            }
        }
    }
}

/// A UUID where it reads as one, else a name.
impl From<&str> for VmKey {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

impl fmt::Display for VmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::TwoPointer, Self::WorkingSet];

    /// Its name in files, on the wire and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoPointer => "two-pointer",
            Self::WorkingSet => "working-set",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no algorithm has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is no algorithm: there is {}", Algorithm::ALL.map(Algorithm::name).join(", "))]
pub struct UnknownAlgorithm {
    name: String,
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
    }
}

/// What all VMs may hold together, for good, of so much memory: the lesser of that and a limit, without what
/// the host keeps as its reserve.
#[must_use]
pub fn pool(memory: ByteCount, limit: Option<ByteCount>, reserve: ByteCount) -> ByteCount {
    limit.map_or(memory, |limit| limit.min(memory)).saturating_sub(reserve)
}

/// The largest of these amounts with whose they are, and how many more there are.
#[must_use]
pub fn largest(mut amounts: Vec<(ByteCount, String)>) -> String {
    amounts.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let (count, shown) = (amounts.len(), amounts.into_iter().take(SHOWN));
    let mut words: Vec<String> = shown.map(|(amount, whose)| format!("{whose} {amount}")).collect();
    if count > words.len() {
        words.push(format!("{} more", count.saturating_sub(words.len())));
    }
    words.join(", ")
}

fn fault(path: &str, value: &dyn fmt::Display, problem: impl Into<Cow<'static, str>>) -> Fault {
    Fault { path: path.to_owned(), value: value.to_string(), problem: problem.into().into_owned() }
}

/// Below this a Linux kernel panics instead of running: nobody may set a floor under it.
const HARD_FLOOR: ByteCount = ByteCount::mib(16);
/// Smaller steps than this would cost more orders than they move memory.
const LEAST_STEP: ByteCount = ByteCount::mib(1);
/// Far more than any host has, and far from overflow.
const MOST: ByteCount = ByteCount::bytes(1 << 50);
/// Share of its maximum that a VM may always give in one tick.
const SHRINK_PERCENT: u64 = 5;
/// Twice what it works with is more headroom than any VM has a use for.
const MOST_HEADROOM: u32 = 200;
/// A wrong figure must not cost a VM all that its programs may take next.
const MOST_SHRINK: u32 = 75;
const MOST_LEAD: Duration = Duration::from_secs(60);
const LEAST_KEEP: Duration = Duration::from_secs(1);
const MOST_KEEP: Duration = Duration::from_secs(86_400);
/// So many of a list are shown to people.
const SHOWN: usize = 4;
/// Longest name that libvirt's own tools are known to handle.
const MAX_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::GuestFigures;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Policy::default().validate(), []);
    }

    #[test]
    fn working_set_takes_more_than_a_step_of_what_is_unused() {
        let two_pointer = Policy { algorithm: Algorithm::TwoPointer, ..Policy::default() };
        let working_set = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let unused = |unused| {
            let vm = crate::fixture::holding(768);
            let guest = GuestFigures { unused, ..vm.guest };
            VmSample { guest, ..vm }
        };
        let gives = |policy: &Policy, unused_mib: u32| {
            policy.give_limit(&unused(Some(ByteCount::mib(unused_mib))))
        };
        assert_eq!(gives(&working_set, 600), ByteCount::mib(300), "half of it");
        assert_eq!(gives(&working_set, 100), ByteCount::mib(64), "at least its step");
        assert_eq!(gives(&working_set, 100_000), ByteCount::mib(384), "no more than it holds");
        let mut none = working_set.clone();
        none.working_set.shrink_percent = 0;
        assert_eq!(gives(&none, 600), ByteCount::mib(64));
        assert_eq!(gives(&two_pointer, 600), ByteCount::mib(64));
        assert_eq!(working_set.give_limit(&unused(None)), ByteCount::mib(64));
    }

    #[test]
    fn every_fault_names_field_value_and_remedy() {
        let mut policy = Policy { floor: ByteCount::mib(8), ..Policy::default() };
        policy.two_pointer.step = ByteCount::ZERO;
        policy.two_pointer.spare_above = ByteCount::gib(1);
        policy.pool_limit = Some(ByteCount::MAX);
        let (min, max) = (Some(ByteCount::gib(2)), Some(ByteCount::gib(1)));
        policy.vms.insert("db1".into(), VmPolicy { min, max, ..VmPolicy::default() });
        policy.vms.insert("a\nb".into(), VmPolicy::default());
        let faults: Vec<_> = policy.validate().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "pool_limit = 16777215.9 TiB: must be at most 1024 TiB",
                "floor = 8 MiB: must be at least 16 MiB",
                "two_pointer.step = 0 B: must be at least 1 MiB",
                "two_pointer.spare_above = 1 GiB: must be at most two_pointer.need_below, \
                 which is 200 MiB",
                "vms.db1.min = 2 GiB: must be at most the VM's max, which is 1 GiB",
                "vms = a\nb: a name has 1 to 256 bytes and no control characters",
            ]
        );
    }

    #[test]
    fn weights_constants_and_guarantees_that_cannot_be_are_refused_with_the_figures() {
        let mut policy = Policy { pool_limit: Some(ByteCount::gib(3)), ..Policy::default() };
        let min = |gib| VmPolicy { min: Some(ByteCount::gib(gib)), ..VmPolicy::default() };
        policy.vms.insert("db1".into(), min(2));
        policy.vms.insert("web1".into(), VmPolicy { weight: Some(0), ..min(1) });
        policy.vms.insert("web2".into(), VmPolicy { weight: Some(10_001), ..min(1) });
        // It holds what it holds.
        policy.vms.insert("pinned".into(), VmPolicy { pinned: Some(true), ..min(9) });
        policy.working_set.headroom_percent = 201;
        policy.working_set.shrink_percent = 76;
        policy.working_set.lead = Duration::from_millis(60_001);
        policy.working_set.keep_for = Duration::ZERO;
        let faults: Vec<_> = policy.validate().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "working_set.headroom_percent = 201: must be at most 200",
                "working_set.shrink_percent = 76: must be at most 75",
                "working_set.lead = 60.001s: must be at most 60s",
                "working_set.keep_for = 0s: must be from 1s to 24h",
                "vms.web1.weight = 0: must be from 1 to 10000",
                "vms.web2.weight = 10001: must be from 1 to 10000",
                "pool_limit = 3 GiB: must be at least 4 GiB, what minimums of VMs guarantee: \
                 db1 2 GiB, web1 1 GiB, web2 1 GiB",
            ]
        );
        policy.vms.retain(|_, vm| vm.weight.is_none());
        policy.working_set = Policy::default().working_set;
        assert_eq!(policy.validate(), [], "2 GiB of 3 GiB");
    }

    #[test]
    fn of_many_amounts_the_largest_are_named() {
        let all = (1..=7).map(|mib| (ByteCount::mib(mib), format!("vm{mib}"))).collect();
        assert_eq!(largest(all), "vm7 7 MiB, vm6 6 MiB, vm5 5 MiB, vm4 4 MiB, 3 more");
    }

    #[test]
    fn the_uuid_wins_over_the_name_and_limits_stay_in_order() {
        let id = VmId::from_bytes([7; 16]);
        let mut policy = Policy::default();
        let max = |mib| VmPolicy { max: Some(ByteCount::mib(mib)), ..VmPolicy::default() };
        policy.vms.insert(VmKey::Name("web1".to_owned()), max(512));
        assert_eq!(policy.rules(id, "web1", ByteCount::gib(1)).limits.max, ByteCount::mib(512));
        policy.vms.insert(VmKey::Id(id), max(256));
        assert_eq!(policy.rules(id, "web1", ByteCount::gib(1)).limits.max, ByteCount::mib(256));
        let tiny = policy.rules(id, "web1", ByteCount::mib(32)).limits;
        assert_eq!((tiny.min, tiny.max), (ByteCount::mib(32), ByteCount::mib(32)));
    }

    #[test]
    fn what_the_uuid_leaves_open_the_name_says() {
        let id = VmId::from_bytes([7; 16]);
        let mut policy = Policy::default();
        let own = VmPolicy { weight: Some(200), pinned: Some(false), ..VmPolicy::default() };
        policy.vms.insert(VmKey::Id(id), own);
        let (min, max) = (ByteCount::mib(256), ByteCount::mib(512));
        let named = VmPolicy { min: Some(min), max: Some(max), weight: Some(50), pinned: None };
        policy.vms.insert("web1".into(), named);
        let rules = policy.rules(id, "web1", ByteCount::gib(1));
        assert_eq!(rules, Rules { limits: Limits { min, max }, weight: 200, pinned: false });
        policy.vms.insert(VmKey::Id(id), VmPolicy { pinned: None, ..own });
        policy.vms.insert("web1".into(), VmPolicy { pinned: Some(true), ..named });
        assert!(policy.rules(id, "web1", ByteCount::gib(1)).pinned, "a pin by name counts");
    }
}
