//! Field masks of the policy: their paths, and what a request with them makes of a policy.

use std::collections::BTreeMap;

use agentd_core::{
    bytes::ByteCount,
    policy::{Algorithm, Fault, Policy, TwoPointer, VmKey, VmPolicy},
};
use agentd_proto::v1 as wire;

use super::{fault::Violations, limits};

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
    Vms,
    Vm(VmKey),
    VmField(VmKey, VmField),
}

/// A field of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VmField {
    Min,
    Max,
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
        ".pinned" => Path::VmField(key, VmField::Pinned),
        _ => return None,
    })
}

/// The path of the wire for a field as the core names it.
pub(super) fn wire_path(path: &str) -> String {
    let amounts = ["host_reserve", "pool_limit", "floor", "shrink_step"];
    if amounts.contains(&path) || path.starts_with("two_pointer.") {
        return format!("{path}_bytes");
    }
    let vm = path.strip_prefix("vms.").and_then(|rest| rest.rsplit_once('.'));
    let Some((name, field)) = vm else {
        return path.to_owned();
    };
    if name.chars().all(is_plain) {
        format!("vms.{name}.{field}_bytes")
    } else {
        format!("vms.`{name}`.{field}_bytes")
    }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// New values as a request holds them, checked as far as a policy does not check itself.
#[derive(Clone, Debug)]
pub(super) struct Values {
    algorithm: Algorithm,
    amounts: wire::Policy,
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
        Self { algorithm, amounts: policy, vms }
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
            Path::Vms => policy.vms.clone_from(&self.vms),
            Path::Vm(key) => match self.vms.get(key) {
                Some(vm) => drop(policy.vms.insert(key.clone(), *vm)),
                None => drop(policy.vms.remove(key)),
            },
            Path::VmField(key, field) => self.apply_vm_field(key, *field, policy),
        }
    }

    fn apply_vm_field(&self, key: &VmKey, field: VmField, policy: &mut Policy) {
        let new = self.vms.get(key).copied().unwrap_or_default();
        let mut vm = policy.vms.get(key).copied().unwrap_or_default();
        match field {
            VmField::Min => vm.min = new.min,
            VmField::Max => vm.max = new.max,
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
        pinned: vm.pinned,
        weight: None,
    }
}

/// What "*" stands for.
const WHOLE: [Path; 7] = [
    Path::Algorithm,
    Path::HostReserve,
    Path::PoolLimit,
    Path::Floor,
    Path::ShrinkStep,
    Path::TwoPointer,
    Path::Vms,
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
        wire::VmPolicy { min_bytes: min, max_bytes: None, pinned }
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
            VmPolicy { min: Some(ByteCount::gib(1)), max: None, pinned: Some(true), weight: None };
        assert_eq!(field.vms.values().collect::<Vec<_>>(), [&expected]);
        let cleared = applied(&["vms.`web.1`.min_bytes"], wire::Policy::default(), &one);
        assert_eq!(cleared.vms.len(), 0);
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
        let tiny = VmPolicy { max: Some(ByteCount::ZERO), ..VmPolicy::default() };
        policy.vms = [("a.b".into(), tiny), ("c".into(), tiny)].into();
        policy.floor = ByteCount::mib(1);
        let faults = policy.validate();
        let paths: Vec<String> = faults.iter().map(|fault| wire_path(&fault.path)).collect();
        let known: Vec<_> = paths.iter().map(|path| super::path(path)).collect();
        assert!(known.iter().all(Option::is_some), "{paths:?}");
        assert_eq!(paths.len(), 4);
    }
}
