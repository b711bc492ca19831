//! A policy as a list of fields with the paths of the wire's field mask: to tell two policies
//! apart, to name one by its content, and to find values that make sense but hardly were meant.

use std::{collections::BTreeMap, fmt, time::Duration};

use agentd_core::{
    admit::own_use,
    bytes::ByteCount,
    explain,
    policy::{Algorithm, Fault, Policy, Rules, VmKey, VmPolicy, WorkingSet, largest, pool},
    sample::{Sample, VmSample},
    vm::VmId,
};

use super::FieldChange;

/// Every field in which the two differ, in the order of their paths.
#[must_use]
pub fn changes(old: &Policy, new: &Policy) -> Vec<FieldChange> {
    let (old, new) = (fields(old), fields(new));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let word = |fields: &BTreeMap<String, Value>, path| {
        fields.get(path).map_or_else(|| UNSET.to_owned(), Value::word)
    };
    paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .map(|path| FieldChange {
            path: path.clone(),
            old: word(&old, path),
            new: word(&new, path),
        })
        .collect()
}

/// A hash of all that the policy says: 64 bit FNV-1a, the same on every machine. It tells policies
/// apart that nobody made to collide, which is all that an etag is asked for.
pub(super) fn digest(policy: &Policy, salt: u128) -> u64 {
    let mut text = format!("{salt}\n");
    for (path, value) in fields(policy) {
        text.push_str(&format!("{}:{path}={value:?}\n", path.len()));
    }
    text.bytes().fold(FNV_START, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// What in a policy is beyond a host with so much memory: the host would never have its reserve, or no
/// VM could be told from one that is at its minimum.
#[must_use]
pub fn beyond_host(policy: &Policy, total: ByteCount) -> Vec<Fault> {
    let fault = |(path, value): (&str, ByteCount)| Fault {
        path: path.to_owned(),
        value: value.to_string(),
        problem: format!("must be less than the host's memory, which is {total}"),
    };
    let amounts = [("host_reserve", policy.host_reserve), ("floor", policy.floor)];
    amounts.into_iter().filter(|(_, value)| *value >= total).map(fault).collect()
}

/// Why nothing is ordered by this policy on the host of this sample. An ideal world is there to be
/// compared with the words of an algorithm, which know no such rule.
#[must_use]
pub fn forbids(policy: &Policy, sample: &Sample) -> Vec<Fault> {
    if sample.ideal { Vec::new() } else { beyond_host(policy, sample.host.total) }
}

/// What the VMs of a sample are guaranteed together, where that is more than there is for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overcommitment {
    /// All of it.
    together: ByteCount,
    /// What there is: what the host does not use itself, or the policy's limit where that is less, without the
    /// reserve.
    pool: ByteCount,
    /// The same in words.
    of_what: String,
    /// How many VMs.
    count: usize,
    /// Those that are guaranteed most, with how much.
    who: String,
}

impl Overcommitment {
    /// `None` where there is enough for all.
    #[must_use]
    pub fn of(policy: &Policy, sample: &Sample) -> Option<Self> {
        let (total, reserve, other) = (sample.host.total, policy.host_reserve, own_use(sample));
        let memory = total.saturating_sub(other);
        let pool = pool(memory, policy.pool_limit, reserve);
        let of = |(id, vm): (&VmId, &VmSample)| {
            let Rules { limits, pinned, .. } = policy.rules(*id, &vm.name, vm.max);
            match pinned {
                _ if vm.gives_nothing_back() => vm.surely_held().min(vm.max),
                true => vm.actual,
                false => limits.min,
            }
        };
        let together: ByteCount = sample.vms.iter().map(of).sum();
        (together > pool).then(|| {
            let each = sample.vms.iter().map(|(id, vm)| (of((id, vm)), vm.name.to_string()));
            let (count, who) = (sample.vms.len(), largest(each.collect()));
            let of_what = match policy.pool_limit.filter(|limit| *limit <= memory) {
                Some(limit) => {
                    format!("pool_limit_bytes = {limit} without host_reserve_bytes = {reserve}")
                }
                None => format!(
                    "the host's {total} without host_reserve_bytes = {reserve} and the {other} that it uses \
                     beside its VMs"
                ),
            };
            Self { together, pool, of_what, count, who }
        })
    }

    /// How much too much it is.
    #[must_use]
    pub const fn excess(&self) -> ByteCount {
        self.together.saturating_sub(self.pool)
    }

    /// The same as what is wrong with a policy in the place of the one before: of its first field that makes
    /// for it and was changed, or of the exceptions for VMs.
    #[must_use]
    pub fn fault(&self, before: &Policy, policy: &Policy) -> Fault {
        let problem = format!("by this {self}; lower a min or the floor, or move a VM first");
        let changed = changes(before, policy).into_iter().find_map(|own| {
            let field = own.path.strip_suffix("_bytes")?;
            let makes_for_it = matches!(field, "floor" | "host_reserve" | "pool_limit");
            (makes_for_it || field.ends_with(".min")).then(|| (field.to_owned(), own.new))
        });
        let (path, value) =
            changed.unwrap_or_else(|| ("vms".to_owned(), self.together.to_string()));
        Fault { path, value, problem }
    }
}

impl fmt::Display for Overcommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { together, of_what, count, who, .. } = self;
        write!(
            f,
            "{count} VMs that run here are guaranteed {together} together, more than {of_what}: {who}"
        )
    }
}

/// What makes sense but was hardly meant. For people.
#[must_use]
pub fn warnings(policy: &Policy) -> Vec<String> {
    let mut warnings = Vec::new();
    let reserve = policy.host_reserve;
    if reserve < SMALL_RESERVE {
        warnings.push(format!(
            "host_reserve_bytes = {reserve}: with less than {SMALL_RESERVE} left, the host itself \
             may run out of memory before agentd can act"
        ));
    }
    if let Some(limit) = policy.pool_limit.filter(|limit| *limit < SMALL_POOL) {
        warnings.push(format!(
            "pool_limit_bytes = {limit}: this is for all VMs together, and less than one needs"
        ));
    }
    let two = &policy.two_pointer;
    if two.spare_above < SMALL_SPARE {
        warnings.push(format!(
            "two_pointer.spare_above_bytes = {}: a VM left with less than {SMALL_SPARE} unused \
             swaps or kills programs at the next burst",
            two.spare_above
        ));
    }
    if two.step > LARGE_STEP {
        warnings.push(format!(
            "two_pointer.step_bytes = {}: few VMs give more than {LARGE_STEP} within one tick",
            two.step
        ));
    }
    warn_of_working_set(&policy.working_set, &mut warnings);
    let is_idle = |vm: &VmPolicy| vm.min.is_some() || vm.max.is_some() || vm.weight.is_some();
    let idle = policy.vms.iter().filter(|(_, vm)| vm.pinned == Some(true) && is_idle(vm));
    warnings.extend(idle.take(MOST_WARNINGS).map(|(key, _)| {
        let path = path_of(key);
        format!(
            "{path}.pinned = true: the VM is left alone, so its min, max and weight have no effect"
        )
    }));
    let weighs = |vm: &VmPolicy| vm.pinned != Some(true) && vm.weight.is_some();
    let weighed = policy.vms.iter().filter(|(_, vm)| weighs(vm));
    let unused = weighed.filter(|_| policy.algorithm != Algorithm::WorkingSet);
    warnings.extend(unused.take(MOST_WARNINGS).map(|(key, vm)| {
        let (path, weight) = (path_of(key), vm.weight.unwrap_or(VmPolicy::WEIGHT));
        let algorithm = policy.algorithm;
        format!("{path}.weight = {weight}: has no effect, for {algorithm} goes by no weights")
    }));
    warnings
}

fn warn_of_working_set(own: &WorkingSet, warnings: &mut Vec<String>) {
    if own.headroom < SMALL_SPARE {
        warnings.push(format!(
            "working_set.headroom_bytes = {}: a VM left with less than {SMALL_SPARE} beyond what \
             its programs work with swaps or kills programs at the next burst",
            own.headroom
        ));
    }
    if own.dead_band >= own.headroom {
        warnings.push(format!(
            "working_set.dead_band_bytes = {}: is not less than working_set.headroom_bytes, which is \
             {}, so a VM may have used up its headroom before it gets anything",
            own.dead_band, own.headroom
        ));
    }
    if own.lead.is_zero() {
        warnings.push(
            "working_set.lead = 0s: nothing is given ahead, so that a VM that grows always has a \
             tick's growth less than its headroom"
                .to_owned(),
        );
    }
    if own.lead > LONG_LEAD {
        warnings.push(format!(
            "working_set.lead = {}: a VM is taken to go on growing for longer than most do, and gets \
             memory that it has no use for",
            explain::time(own.lead)
        ));
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Amount(ByteCount),
    Time(Duration),
    Number(u32),
    Truth(bool),
    Name(&'static str),
    /// A VM that is named and excepts nothing.
    Empty,
}

impl Value {
    fn word(&self) -> String {
        match self {
            Self::Amount(amount) => amount.to_string(),
            Self::Time(time) => explain::time(*time),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
            Self::Name(name) => (*name).to_owned(),
            Self::Empty => "no exception".to_owned(),
        }
    }
}

fn fields(policy: &Policy) -> BTreeMap<String, Value> {
    let Policy { algorithm, host_reserve, pool_limit, floor, shrink_step, .. } = policy;
    let Policy { two_pointer, working_set, vms, .. } = policy;
    let WorkingSet { headroom, headroom_percent, lead, keep_for, dead_band, shrink_percent } =
        working_set;
    let amount = |path: &str, amount: &ByteCount| (path.to_owned(), Value::Amount(*amount));
    let time = |path: &str, time: &Duration| (path.to_owned(), Value::Time(*time));
    let number = |path: &str, number: &u32| (path.to_owned(), Value::Number(*number));
    let mut all = BTreeMap::from([
        ("algorithm".to_owned(), Value::Name(algorithm.name())),
        amount("host_reserve_bytes", host_reserve),
        amount("floor_bytes", floor),
        amount("shrink_step_bytes", shrink_step),
        amount("two_pointer.need_below_bytes", &two_pointer.need_below),
        amount("two_pointer.spare_above_bytes", &two_pointer.spare_above),
        amount("two_pointer.step_bytes", &two_pointer.step),
        amount("working_set.headroom_bytes", headroom),
        number("working_set.headroom_percent", headroom_percent),
        time("working_set.lead", lead),
        time("working_set.keep_for", keep_for),
        amount("working_set.dead_band_bytes", dead_band),
        number("working_set.shrink_percent", shrink_percent),
    ]);
    all.extend(pool_limit.map(|limit| amount("pool_limit_bytes", &limit)));
    for (key, vm) in vms {
        let path = path_of(key);
        let before = all.len();
        all.extend(vm.min.map(|min| amount(&format!("{path}.min_bytes"), &min)));
        all.extend(vm.max.map(|max| amount(&format!("{path}.max_bytes"), &max)));
        all.extend(vm.weight.map(|weight| number(&format!("{path}.weight"), &weight)));
        all.extend(vm.pinned.map(|pinned| (format!("{path}.pinned"), Value::Truth(pinned))));
        if all.len() == before {
            all.insert(path, Value::Empty);
        }
    }
    all
}

/// "vms.NAME", quoted as in a field mask where the name needs it.
fn path_of(key: &VmKey) -> String {
    let name = key.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.chars().all(plain) { format!("vms.{name}") } else { format!("vms.`{name}`") }
}

const UNSET: &str = "unset";
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// What the algorithm was published with; a kernel with less starts to swap and to kill.
const SMALL_RESERVE: ByteCount = ByteCount::mib(200);
const SMALL_POOL: ByteCount = ByteCount::mib(64);
/// About what a small Linux keeps free for itself (its watermarks and per-CPU lists).
const SMALL_SPARE: ByteCount = ByteCount::mib(32);
/// A balloon was measured to give 1 to 2 GiB a second.
const LARGE_STEP: ByteCount = ByteCount::gib(1);
/// Several ticks of the usual length.
const LONG_LEAD: Duration = Duration::from_secs(20);
/// Nobody reads more of the same.
const MOST_WARNINGS: usize = 10;

#[cfg(test)]
mod tests {
    use agentd_core::policy::VmPolicy;

    use super::*;

    fn with_vm(name: &str, vm: VmPolicy) -> Policy {
        Policy { vms: BTreeMap::from([(name.into(), vm)]), ..Policy::default() }
    }

    #[test]
    fn changes_are_named_as_in_a_field_mask() {
        let old = Policy::default();
        let vm =
            VmPolicy { min: Some(ByteCount::gib(1)), pinned: Some(true), ..VmPolicy::default() };
        let mut new = with_vm("web 1", vm);
        new.pool_limit = Some(ByteCount::gib(8));
        new.two_pointer.step = ByteCount::mib(60);
        let changes = changes(&old, &new);
        let lines: Vec<String> =
            changes.iter().map(|c| format!("{} {} -> {}", c.path, c.old, c.new)).collect();
        assert_eq!(
            lines,
            [
                "pool_limit_bytes unset -> 8 GiB",
                "two_pointer.step_bytes 50 MiB -> 60 MiB",
                "vms.`web 1`.min_bytes unset -> 1 GiB",
                "vms.`web 1`.pinned unset -> true",
            ]
        );
    }

    #[test]
    fn equal_policies_have_no_changes_and_equal_digests() {
        let policy = with_vm("db1", VmPolicy::default());
        assert_eq!(changes(&policy, &policy.clone()), []);
        assert_eq!(digest(&policy, 7), digest(&policy.clone(), 7));
    }

    #[test]
    fn every_difference_shows_in_changes_and_digest() {
        let base = Policy::default();
        let mut others = vec![with_vm("db1", VmPolicy::default())];
        let mut vary = |change: fn(&mut Policy)| {
            let mut policy = base.clone();
            change(&mut policy);
            others.push(policy);
        };
        vary(|p| p.host_reserve = ByteCount::mib(201));
        vary(|p| p.pool_limit = Some(ByteCount::gib(1)));
        vary(|p| p.floor = ByteCount::mib(65));
        vary(|p| p.shrink_step = ByteCount::mib(65));
        vary(|p| p.two_pointer.need_below = ByteCount::mib(201));
        vary(|p| p.two_pointer.spare_above = ByteCount::mib(99));
        vary(|p| p.two_pointer.step = ByteCount::mib(51));
        vary(|p| p.algorithm = Algorithm::WorkingSet);
        vary(|p| p.working_set.headroom = ByteCount::mib(65));
        vary(|p| p.working_set.headroom_percent = 11);
        vary(|p| p.working_set.lead = Duration::from_millis(3001));
        vary(|p| p.working_set.keep_for = Duration::from_secs(61));
        vary(|p| p.working_set.dead_band = ByteCount::mib(17));
        vary(|p| p.working_set.shrink_percent = 1);
        let weight = |weight| VmPolicy { weight: Some(weight), ..VmPolicy::default() };
        others.push(with_vm("db1", weight(100)));
        let (less, more) = (with_vm("db1", weight(100)), with_vm("db1", weight(101)));
        assert_ne!(digest(&less, 0), digest(&more, 0));
        for other in others {
            assert_eq!(changes(&base, &other).len(), 1, "{other:?}");
            assert_ne!(digest(&base, 0), digest(&other, 0), "{other:?}");
        }
    }

    #[test]
    fn warns_of_constants_and_weights_that_were_hardly_meant() {
        let vm = VmPolicy { weight: Some(300), ..VmPolicy::default() };
        let mut policy = with_vm("web 1", vm);
        policy.working_set.headroom = ByteCount::mib(8);
        policy.working_set.lead = Duration::from_secs(30);
        let heads = |policy: &Policy| {
            let told = warnings(policy).into_iter();
            told.map(|w| w.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            heads(&policy),
            [
                "working_set.headroom_bytes = 8 MiB",
                "working_set.dead_band_bytes = 16 MiB",
                "working_set.lead = 30s",
                "vms.`web 1`.weight = 300",
            ]
        );
        policy.algorithm = Algorithm::WorkingSet;
        policy.working_set = Policy::default().working_set;
        assert_eq!(heads(&policy), Vec::<String>::new());
        policy.working_set.lead = Duration::ZERO;
        let pinned = VmPolicy { pinned: Some(true), ..vm };
        policy.vms.insert("web 1".into(), pinned);
        assert_eq!(heads(&policy), ["working_set.lead = 0s", "vms.`web 1`.pinned = true"]);
    }

    #[test]
    fn fields_and_times_are_named_as_they_are_typed() {
        let mut policy = Policy::default();
        policy.working_set.dead_band = ByteCount::gib(1);
        policy.working_set.lead = Duration::from_secs(3600);
        let told = warnings(&policy);
        assert!(told[0].contains("not less than working_set.headroom_bytes, which"), "{told:?}");
        assert!(told[1].starts_with("working_set.lead = 1h: "), "{told:?}");
        let lead = &changes(&Policy::default(), &policy)[1];
        assert_eq!((&*lead.path, &*lead.old, &*lead.new), ("working_set.lead", "3s", "1h"));
    }

    #[test]
    fn warns_of_what_was_hardly_meant() {
        assert_eq!(warnings(&Policy::default()), Vec::<String>::new());
        let vm =
            VmPolicy { min: Some(ByteCount::gib(1)), pinned: Some(true), ..VmPolicy::default() };
        let mut policy = with_vm("db1", vm);
        policy.host_reserve = ByteCount::mib(100);
        let warnings = warnings(&policy);
        assert!(warnings[0].starts_with("host_reserve_bytes = 100 MiB"), "{warnings:?}");
        assert!(warnings[1].starts_with("vms.db1.pinned = true"), "{warnings:?}");
        assert_eq!(warnings.len(), 2);
    }
}
