//! Field masks of the policy: their paths, and what a request with them makes of a policy.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    policy::{Algorithm, Fault, Policy, TwoPointer, VmKey, VmPolicy, WorkingSet},
};
use agentd_proto::v1 as wire;

use super::{fault::Violations, from_proto, limits};

/// What one path of a mask names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    All,
    Algorithm,
    HostReserve,
    PoolLimit,
    Floor,
    ShrinkStep,
    TwoPointer,
    NeedBelow,
    SpareAbove,
    Step,
    WorkingSet,
    WorkingSetField(WorkingSetField),
    Vms,
    Vm(VmKey),
    VmField(VmKey, VmField),
}

/// A constant of `working-set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkingSetField {
    Headroom,
    HeadroomPercent,
    Lead,
    KeepFor,
    DeadBand,
    ShrinkPercent,
}

/// A field of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VmField {
    Min,
    Max,
    Weight,
    Pinned,
}

/// The paths of a mask, each checked.
pub(super) fn paths(mask: &prost_types::FieldMask, violations: &mut Violations) -> Vec<Path> {
    let most = limits::MASK_PATHS;
    match mask.paths.len() {
        0 => violations.add("update_mask", "is empty; name the fields to change, or \"*\" for all"),
        count if count > most => {
            let why = format!("names {count} fields, but at most {most} may be named; use \"vms\"");
            violations.add("update_mask", why);
            return Vec::new();
        }
        _ => {}
    }
    let mut known = Vec::new();
    for (index, text) in mask.paths.iter().enumerate() {
        match path(text) {
            Some(path) => known.push(path),
            None => {
                let shown: String = text.chars().take(SHOWN).collect();
                let why = format!(
                    "{shown:?} is no field of a policy; examples: host_reserve_bytes, \
                     two_pointer.step_bytes, vms.web1.min_bytes, vms.`my vm`"
                );
                violations.add(format!("update_mask.paths[{index}]"), why);
            }
        }
    }
    known
}

fn path(text: &str) -> Option<Path> {
    Some(match text {
        "*" => Path::All,
        "algorithm" => Path::Algorithm,
        "host_reserve_bytes" => Path::HostReserve,
        "pool_limit_bytes" => Path::PoolLimit,
        "floor_bytes" => Path::Floor,
        "shrink_step_bytes" => Path::ShrinkStep,
        "two_pointer" => Path::TwoPointer,
        "two_pointer.need_below_bytes" => Path::NeedBelow,
        "two_pointer.spare_above_bytes" => Path::SpareAbove,
        "two_pointer.step_bytes" => Path::Step,
        "working_set" => Path::WorkingSet,
        "working_set.headroom_bytes" => Path::WorkingSetField(WorkingSetField::Headroom),
        "working_set.headroom_percent" => Path::WorkingSetField(WorkingSetField::HeadroomPercent),
        "working_set.lead" => Path::WorkingSetField(WorkingSetField::Lead),
        "working_set.keep_for" => Path::WorkingSetField(WorkingSetField::KeepFor),
        "working_set.dead_band_bytes" => Path::WorkingSetField(WorkingSetField::DeadBand),
        "working_set.shrink_percent" => Path::WorkingSetField(WorkingSetField::ShrinkPercent),
        "vms" => Path::Vms,
        _ => return vm_path(text.strip_prefix("vms.")?),
    })
}

/// `NAME`, `NAME.FIELD`, or the same with the name in backticks.
fn vm_path(text: &str) -> Option<Path> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(quoted) => quoted.split_once('`')?,
        None => {
            let end = text.find('.').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            (name.chars().all(is_plain)).then_some((name, rest))?
        }
    };
    if name.is_empty() || name.len() > limits::NAME {
        return None;
    }
    let key = VmKey::from(name);
    Some(match rest {
        "" => Path::Vm(key),
        ".min_bytes" => Path::VmField(key, VmField::Min),
        ".max_bytes" => Path::VmField(key, VmField::Max),
        ".weight" => Path::VmField(key, VmField::Weight),
        ".pinned" => Path::VmField(key, VmField::Pinned),
        _ => return None,
    })
}

/// The path of the wire for a field as the core names it.
pub(super) fn wire_path(path: &str) -> String {
    let vm = path.strip_prefix("vms.").and_then(|rest| rest.rsplit_once('.'));
    let Some((name, field)) = vm else {
        let ending = if AMOUNTS.contains(&path) { "_bytes" } else { "" };
        return format!("{path}{ending}");
    };
    let ending = if matches!(field, "min" | "max") { "_bytes" } else { "" };
    format!("{}.{field}{ending}", vm_named(name))
}

/// The path of the wire for the exception for a VM of this name or UUID.
pub(super) fn vm_named(name: &str) -> String {
    if name.chars().all(is_plain) { format!("vms.{name}") } else { format!("vms.`{name}`") }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// New values as a request holds them, checked as far as a policy does not check itself.
#[derive(Clone, Debug)]
pub(super) struct Values {
    algorithm: Algorithm,
    amounts: wire::Policy,
    lead: Option<Duration>,
    keep_for: Option<Duration>,
    vms: BTreeMap<VmKey, VmPolicy>,
}

impl Values {
    /// The values of a request.
    pub(super) fn read(mut policy: wire::Policy, violations: &mut Violations) -> Self {
        let algorithm = match policy.algorithm.as_str() {
            "" => Algorithm::default(),
            name => name.parse().unwrap_or_else(|error| {
                violations.add("algorithm", format!("{error}"));
                Algorithm::default()
            }),
        };
        let mut vms = BTreeMap::new();
        for (name, vm) in std::mem::take(&mut policy.vms) {
            let key = VmKey::from(name.as_str());
            if vms.insert(key, vm_policy(&vm)).is_some() {
                violations.add("vms", format!("{name} is named twice, in two ways to write it"));
            }
        }
        let constants = policy.working_set.unwrap_or_default();
        let mut time = |field: &str, time: Option<prost_types::Duration>| {
            let known = from_proto::time(time?);
            known.map_err(|why| violations.add(format!("working_set.{field}"), why)).ok()
        };
        let (lead, keep_for) = (time("lead", constants.lead), time("keep_for", constants.keep_for));
        Self { algorithm, amounts: policy, lead, keep_for, vms }
    }

    /// The policy with the named fields taken from these values. The policy checks the outcome.
    pub(super) fn applied(mut self, paths: &[Path], policy: &Policy) -> Result<Policy, Vec<Fault>> {
        let mut policy = policy.clone();
        for path in paths {
            self.apply(path, &mut policy);
        }
        Ok(policy)
    }

    fn apply(&mut self, path: &Path, policy: &mut Policy) {
        let default = Policy::default();
        let amounts = &self.amounts;
        match path {
            Path::All => {
                for each in WHOLE {
                    self.apply(&each, policy);
                }
            }
            Path::Algorithm => policy.algorithm = self.algorithm,
            Path::HostReserve => {
                policy.host_reserve = or(amounts.host_reserve_bytes, default.host_reserve);
            }
            Path::PoolLimit => policy.pool_limit = amounts.pool_limit_bytes.map(ByteCount::bytes),
            Path::Floor => policy.floor = or(amounts.floor_bytes, default.floor),
            Path::ShrinkStep => {
                policy.shrink_step = or(amounts.shrink_step_bytes, default.shrink_step);
            }
            Path::TwoPointer | Path::NeedBelow | Path::SpareAbove | Path::Step => {
                let two = amounts.two_pointer.unwrap_or_default();
                apply_two_pointer(path, &two, &mut policy.two_pointer);
            }
            Path::WorkingSet => {
                for each in WORKING_SET {
                    self.apply_working_set(each, &mut policy.working_set);
                }
            }
            Path::WorkingSetField(field) => {
                self.apply_working_set(*field, &mut policy.working_set);
            }
            Path::Vms => policy.vms.clone_from(&self.vms),
            Path::Vm(key) => match self.vms.get(key) {
                Some(vm) => drop(policy.vms.insert(key.clone(), *vm)),
                None => drop(policy.vms.remove(key)),
            },
            Path::VmField(key, field) => self.apply_vm_field(key, *field, policy),
        }
    }

    fn apply_working_set(&self, field: WorkingSetField, constants: &mut WorkingSet) {
        let default = Policy::default().working_set;
        let new = self.amounts.working_set.unwrap_or_default();
        match field {
            WorkingSetField::Headroom => {
                constants.headroom = or(new.headroom_bytes, default.headroom);
            }
            WorkingSetField::HeadroomPercent => {
                let percent = new.headroom_percent.unwrap_or(default.headroom_percent);
                constants.headroom_percent = percent;
            }
            WorkingSetField::Lead => constants.lead = self.lead.unwrap_or(default.lead),
            WorkingSetField::KeepFor => {
                constants.keep_for = self.keep_for.unwrap_or(default.keep_for);
            }
            WorkingSetField::DeadBand => {
                constants.dead_band = or(new.dead_band_bytes, default.dead_band);
            }
            WorkingSetField::ShrinkPercent => {
                constants.shrink_percent = new.shrink_percent.unwrap_or(default.shrink_percent);
            }
        }
    }

    fn apply_vm_field(&self, key: &VmKey, field: VmField, policy: &mut Policy) {
        let new = self.vms.get(key).copied().unwrap_or_default();
        let mut vm = policy.vms.get(key).copied().unwrap_or_default();
        match field {
            VmField::Min => vm.min = new.min,
            VmField::Max => vm.max = new.max,
            VmField::Weight => vm.weight = new.weight,
            VmField::Pinned => vm.pinned = new.pinned,
        }
        if vm == VmPolicy::default() {
            policy.vms.remove(key);
        } else {
            policy.vms.insert(key.clone(), vm);
        }
    }
}

fn apply_two_pointer(path: &Path, new: &wire::TwoPointer, constants: &mut TwoPointer) {
    let default = Policy::default().two_pointer;
    let whole = *path == Path::TwoPointer;
    if whole || *path == Path::NeedBelow {
        constants.need_below = or(new.need_below_bytes, default.need_below);
    }
    if whole || *path == Path::SpareAbove {
        constants.spare_above = or(new.spare_above_bytes, default.spare_above);
    }
    if whole || *path == Path::Step {
        constants.step = or(new.step_bytes, default.step);
    }
}

fn or(bytes: Option<u64>, default: ByteCount) -> ByteCount {
    bytes.map_or(default, ByteCount::bytes)
}

fn vm_policy(vm: &wire::VmPolicy) -> VmPolicy {
    VmPolicy {
        min: vm.min_bytes.map(ByteCount::bytes),
        max: vm.max_bytes.map(ByteCount::bytes),
        weight: vm.weight,
        pinned: vm.pinned,
    }
}

/// What "*" stands for.
const WHOLE: [Path; 8] = [
    Path::Algorithm,
    Path::HostReserve,
    Path::PoolLimit,
    Path::Floor,
    Path::ShrinkStep,
    Path::TwoPointer,
    Path::WorkingSet,
    Path::Vms,
];
/// What "working_set" stands for.
const WORKING_SET: [WorkingSetField; 6] = [
    WorkingSetField::Headroom,
    WorkingSetField::HeadroomPercent,
    WorkingSetField::Lead,
    WorkingSetField::KeepFor,
    WorkingSetField::DeadBand,
    WorkingSetField::ShrinkPercent,
];
/// The amounts of memory among the fields of a policy, as the core names them.
const AMOUNTS: [&str; 9] = [
    "host_reserve",
    "pool_limit",
    "floor",
    "shrink_step",
    "two_pointer.need_below",
    "two_pointer.spare_above",
    "two_pointer.step",
    "working_set.headroom",
    "working_set.dead_band",
];
/// Characters of a bad path that are shown.
const SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(paths: &[&str], values: wire::Policy, before: &Policy) -> Policy {
        let mut violations = Violations::default();
        let mask =
            prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
        let known = super::paths(&mask, &mut violations);
        let values = Values::read(values, &mut violations);
        assert_eq!(violations, Violations::default());
        values.applied(&known, before).unwrap()
    }

    fn vm(min: Option<u64>, pinned: Option<bool>) -> wire::VmPolicy {
        wire::VmPolicy { min_bytes: min, pinned, ..wire::VmPolicy::default() }
    }

    fn vms(vms: &[(&str, wire::VmPolicy)]) -> wire::Policy {
        let vms = vms.iter().map(|(name, vm)| ((*name).to_owned(), *vm));
        wire::Policy { vms: vms.collect(), ..wire::Policy::default() }
    }

    #[test]
    fn only_named_fields_change_and_unset_ones_go_back_to_their_defaults() {
        let mut before = Policy { host_reserve: ByteCount::gib(1), ..Policy::default() };
        before.pool_limit = Some(ByteCount::gib(8));
        before.two_pointer.step = ByteCount::mib(60);
        let values = wire::Policy {
            floor_bytes: Some(1 << 27),
            shrink_step_bytes: Some(1 << 28),
            ..wire::Policy::default()
        };
        let after = applied(&["floor_bytes", "pool_limit_bytes"], values.clone(), &before);
        let expected = Policy { floor: ByteCount::mib(128), pool_limit: None, ..before.clone() };
        assert_eq!(after, expected);

        let zero = wire::Policy { host_reserve_bytes: Some(0), ..wire::Policy::default() };
        let none = applied(&["host_reserve_bytes"], zero, &before);
        assert_eq!(none.host_reserve, ByteCount::ZERO, "0 is a value, not the default");

        let step = applied(&["two_pointer.step_bytes"], values.clone(), &before);
        assert_eq!(step.two_pointer, Policy::default().two_pointer);
        let all = applied(&["*"], values, &before);
        let (floor, shrink_step) = (ByteCount::mib(128), ByteCount::mib(256));
        assert_eq!(all, Policy { floor, shrink_step, ..Policy::default() });
    }

    #[test]
    fn exceptions_change_whole_singly_and_by_field() {
        let id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        let gib = Some(1 << 30);
        let named = vms(&[("web.1", vm(gib, None)), (id, vm(None, Some(true)))]);
        let both = applied(&["vms"], named.clone(), &Policy::default());
        assert_eq!(both.vms.len(), 2);
        assert!(both.vms.contains_key(&VmKey::Id(id.parse().unwrap())));

        let one = applied(&["vms.`web.1`"], named.clone(), &Policy::default());
        assert_eq!(one.vms.keys().collect::<Vec<_>>(), [&VmKey::Name("web.1".to_owned())]);
        let none = applied(&["vms.`web.1`"], wire::Policy::default(), &one);
        assert_eq!(none.vms.len(), 0);

        let pinned = vms(&[("web.1", vm(None, Some(true)))]);
        let field = applied(&["vms.`web.1`.pinned"], pinned, &one);
        let expected =
            VmPolicy { min: Some(ByteCount::gib(1)), pinned: Some(true), ..VmPolicy::default() };
        assert_eq!(field.vms.values().collect::<Vec<_>>(), [&expected]);
        let cleared = applied(&["vms.`web.1`.min_bytes"], wire::Policy::default(), &one);
        assert_eq!(cleared.vms.len(), 0);
    }

    #[test]
    fn constants_of_working_set_and_weights_change_whole_and_by_field() {
        let time = |seconds| Some(prost_types::Duration { seconds, nanos: 500_000_000 });
        let constants = wire::WorkingSet {
            headroom_bytes: Some(1 << 27),
            headroom_percent: Some(0),
            lead: time(1),
            keep_for: time(90),
            dead_band_bytes: Some(1 << 22),
            shrink_percent: Some(5),
        };
        let weight = wire::VmPolicy { weight: Some(300), ..wire::VmPolicy::default() };
        let values = wire::Policy { working_set: Some(constants), ..vms(&[("web1", weight)]) };
        let before = Policy::default();
        let expected = WorkingSet {
            headroom: ByteCount::mib(128),
            headroom_percent: 0,
            lead: Duration::from_millis(1500),
            keep_for: Duration::from_millis(90_500),
            dead_band: ByteCount::mib(4),
            shrink_percent: 5,
        };
        let whole = applied(&["working_set"], values.clone(), &before);
        assert_eq!(whole, Policy { working_set: expected, ..before.clone() });
        let defaults = applied(&["working_set"], wire::Policy::default(), &whole);
        assert_eq!(defaults, before);

        let own = Policy::default().working_set;
        for (path, only) in [
            ("headroom_bytes", WorkingSet { headroom: expected.headroom, ..own }),
            ("headroom_percent", WorkingSet { headroom_percent: 0, ..own }),
            ("lead", WorkingSet { lead: expected.lead, ..own }),
            ("keep_for", WorkingSet { keep_for: expected.keep_for, ..own }),
            ("dead_band_bytes", WorkingSet { dead_band: expected.dead_band, ..own }),
            ("shrink_percent", WorkingSet { shrink_percent: 5, ..own }),
        ] {
            let path = format!("working_set.{path}");
            assert_eq!(applied(&[&path], values.clone(), &before).working_set, only, "{path}");
            assert_eq!(applied(&[&path], wire::Policy::default(), &whole).vms.len(), 0);
            let back = applied(
                &[&path],
                wire::Policy::default(),
                &Policy { working_set: only, ..before.clone() },
            );
            assert_eq!(back, before, "{path} unset is the default");
        }
        let heavy = applied(&["vms.web1.weight"], values, &before);
        assert_eq!(heavy.vms[&"web1".into()].weight, Some(300));
        let all = applied(&["*"], wire::Policy::default(), &heavy);
        assert_eq!(all, before);
    }

    #[test]
    fn a_time_that_is_none_is_refused_by_its_field() {
        let lead = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let constants = wire::WorkingSet { lead, ..wire::WorkingSet::default() };
        let mut violations = Violations::default();
        let policy = wire::Policy { working_set: Some(constants), ..wire::Policy::default() };
        Values::read(policy, &mut violations);
        let told = violations.check().unwrap_err();
        assert!(told.message().starts_with("working_set.lead: -1 s"), "{}", told.message());
    }

    #[test]
    fn refuses_paths_that_name_nothing() {
        let bad = [
            "",
            "floor",
            "Floor_bytes",
            "two_pointer.",
            "two_pointer.step",
            "vms.",
            "vms.web.1",
            "vms.web1.",
            "vms.web1.min",
            "vms.`web1",
            "vms.``",
            "vms.`a`b",
            "vms.my vm",
            " *",
        ];
        for bad in bad {
            assert_eq!(path(bad), None, "{bad}");
        }
        let long = format!("vms.{}", "n".repeat(limits::NAME + 1));
        assert_eq!(path(&long), None);
    }

    #[test]
    fn refuses_names_that_mean_the_same_vm() {
        let id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        let mut violations = Violations::default();
        let twice = vms(&[(id, vm(None, None)), (&id.to_uppercase(), vm(None, None))]);
        Values::read(twice, &mut violations);
        assert_ne!(violations, Violations::default());
    }

    #[test]
    fn faults_of_the_core_get_the_paths_of_the_wire() {
        let mut policy = Policy { floor: ByteCount::ZERO, ..Policy::default() };
        policy.two_pointer.step = ByteCount::ZERO;
        policy.working_set = WorkingSet {
            headroom: ByteCount::ZERO,
            headroom_percent: 201,
            lead: Duration::from_secs(61),
            keep_for: Duration::ZERO,
            dead_band: ByteCount::ZERO,
            shrink_percent: 76,
        };
        let tiny = VmPolicy { max: Some(ByteCount::ZERO), weight: Some(0), ..VmPolicy::default() };
        policy.vms = [("a.b".into(), tiny), ("c".into(), tiny)].into();
        policy.floor = ByteCount::mib(1);
        let faults = policy.validate();
        let paths: Vec<String> = faults.iter().map(|fault| wire_path(&fault.path)).collect();
        let known: Vec<_> = paths.iter().map(|path| super::path(path)).collect();
        assert!(known.iter().all(Option::is_some), "{paths:?}");
        assert_eq!(paths.len(), 12);
    }
}
