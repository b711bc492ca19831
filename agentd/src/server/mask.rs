//! Field masks of the policy: their paths, and what a request with them makes of a policy.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    pin::WallTime,
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
    /// And when it ends, which goes with it.
    Pinned,
    UnpinAt,
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
        ".unpin_time" => Path::VmField(key, VmField::UnpinAt),
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
    let (field, ending) = match field {
        "min" | "max" => (field, "_bytes"),
        "unpin_at" => ("unpin_time", ""),
        other => (other, ""),
    };
    format!("{}.{field}{ending}", path_of(name))
}

/// "vms.NAME", quoted where the name needs it.
fn path_of(name: &str) -> String {
    if name.chars().all(is_plain) { format!("vms.{name}") } else { format!("vms.`{name}`") }
}

/// Whether all that a mask names are pins.
pub(super) fn names_pins_alone(mask: &prost_types::FieldMask) -> bool {
    let is_pin = |path: &String| {
        let found = self::path(path);
        matches!(found, Some(Path::VmField(_, VmField::Pinned | VmField::UnpinAt)))
    };
    !mask.paths.is_empty() && mask.paths.iter().all(is_pin)
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
    /// The values of a request that came `now`, from where on the times of pins count.
    pub(super) fn read(
        mut policy: wire::Policy,
        now: SystemTime,
        violations: &mut Violations,
    ) -> Self {
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
            let unpin_at = from_proto::unpin_at(&vm, now).unwrap_or_else(|(field, why)| {
                violations.add(format!("{}.{field}", path_of(&name)), why);
                None
            });
            if vms.insert(key, vm_policy(&vm, unpin_at)).is_some() {
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

    /// Whether a pin among them ends by itself.
    pub(super) fn has_passing_pins(&self) -> bool {
        self.vms.values().any(|vm| vm.unpin_at.is_some())
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
            VmField::Pinned => (vm.pinned, vm.unpin_at) = (new.pinned, new.unpin_at),
            VmField::UnpinAt => vm.unpin_at = new.unpin_at,
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

fn vm_policy(vm: &wire::VmPolicy, unpin_at: Option<WallTime>) -> VmPolicy {
    VmPolicy {
        min: vm.min_bytes.map(ByteCount::bytes),
        max: vm.max_bytes.map(ByteCount::bytes),
        weight: vm.weight,
        pinned: vm.pinned,
        unpin_at,
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
mod tests;
