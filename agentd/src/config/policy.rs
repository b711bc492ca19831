//! The `[policy]` table of a config or a scenario, in the words of these or in those that memctl writes.

use std::collections::BTreeMap;

use agentd_core::policy::{Fault, Policy, TwoPointer, VmKey, VmPolicy, WorkingSet};

use crate::{
    control::Bounds,
    fields::{Field, FieldError, Fields},
};

/// Reads a policy; what the table leaves out is as built in.
///
/// # Errors
///
/// Fails when a value makes no sense by itself or beside the others.
pub(crate) fn read(field: &Field<'_>) -> Result<Policy, FieldError> {
    read_over(field, Policy::default())
}

/// Reads a policy that is to be within bounds; what the table leaves out is as built in, or as the bounds
/// want it.
///
/// # Errors
///
/// As [`read`], and when a value is beyond its bound.
pub(crate) fn read_within(field: &Field<'_>, bounds: &Bounds) -> Result<Policy, FieldError> {
    let policy = read_over(field, bounds.within(&Policy::default()))?;
    match bounds.faults(&policy).into_iter().next() {
        None => Ok(policy),
        Some(fault) => {
            let at = find(&field.fields()?.dashed(), &fault.path);
            Err(at.unwrap_or_else(|| field.clone()).error(fault.problem))
        }
    }
}

/// Reads a policy; what the table leaves out is as in `policy`.
///
/// # Errors
///
/// See [`read`].
pub(crate) fn read_over(field: &Field<'_>, policy: Policy) -> Result<Policy, FieldError> {
    read_table(field.fields()?, policy, |fault| field.error(fault.problem))
}

/// Reads a text that is all policy; what it leaves out is as in `policy`.
///
/// # Errors
///
/// See [`read`].
pub(crate) fn read_whole(root: &Fields<'_>, policy: Policy) -> Result<Policy, FieldError> {
    read_table(root.clone(), policy, |fault| root.error(fault.to_string()))
}

/// `elsewhere` tells of a fault of a value that the table does not say.
fn read_table(
    fields: Fields<'_>,
    mut policy: Policy,
    elsewhere: impl FnOnce(Fault) -> FieldError,
) -> Result<Policy, FieldError> {
    let fields = fields.dashed();
    fields.only(&KEYS)?;
    if let Some(algorithm) = fields.get("algorithm") {
        let parsed = algorithm.text()?.parse();
        policy.algorithm = parsed.map_err(|error| algorithm.error(format!("{error}")))?;
    }
    policy.host_reserve = fields.size_or("host_reserve", policy.host_reserve)?;
    policy.pool_limit = match fields.get("pool_limit") {
        Some(limit) if limit.text() != Ok("") => Some(limit.size()?),
        Some(_) => None,
        None => policy.pool_limit,
    };
    policy.floor = fields.size_or("floor", policy.floor)?;
    policy.shrink_step = fields.size_or("shrink_step", policy.shrink_step)?;
    if let Some(constants) = fields.get("two_pointer") {
        policy.two_pointer = read_two_pointer(&constants.fields()?.dashed(), policy.two_pointer)?;
    }
    if let Some(constants) = fields.get("working_set") {
        policy.working_set = read_working_set(&constants.fields()?.dashed(), policy.working_set)?;
    }
    for vms in VMS.iter().filter_map(|key| fields.get(key)) {
        read_vms(&vms.fields()?, &mut policy.vms)?;
    }
    match policy.validate().into_iter().next() {
        None => Ok(policy),
        Some(fault) => Err(match find(&fields, &fault.path) {
            Some(field) => field.error(fault.problem),
            None => elsewhere(fault),
        }),
    }
}

fn read_two_pointer(fields: &Fields<'_>, or: TwoPointer) -> Result<TwoPointer, FieldError> {
    fields.only(&["need_below", "spare_above", "step"])?;
    Ok(TwoPointer {
        need_below: fields.size_or("need_below", or.need_below)?,
        spare_above: fields.size_or("spare_above", or.spare_above)?,
        step: fields.size_or("step", or.step)?,
    })
}

fn read_working_set(fields: &Fields<'_>, or: WorkingSet) -> Result<WorkingSet, FieldError> {
    fields.only(&[
        "headroom",
        "headroom_percent",
        "lead",
        "keep_for",
        "dead_band",
        "shrink_percent",
    ])?;
    let percent = |name, or| fields.get(name).map_or(Ok(or), |percent| percent.count());
    Ok(WorkingSet {
        headroom: fields.size_or("headroom", or.headroom)?,
        headroom_percent: percent("headroom_percent", or.headroom_percent)?,
        lead: fields.time_or("lead", or.lead)?,
        keep_for: fields.time_or("keep_for", or.keep_for)?,
        dead_band: fields.size_or("dead_band", or.dead_band)?,
        shrink_percent: percent("shrink_percent", or.shrink_percent)?,
    })
}

fn read_vms(fields: &Fields<'_>, vms: &mut BTreeMap<VmKey, VmPolicy>) -> Result<(), FieldError> {
    for name in fields.keys() {
        let Some(field) = fields.get(name) else { continue };
        let own = field.fields()?;
        own.only(&["min", "max", "weight", "pinned"])?;
        let (min, max, weight) = (own.get("min"), own.get("max"), own.get("weight"));
        let pinned = own.get("pinned");
        let or = vms.get(&VmKey::from(name)).copied().unwrap_or_default();
        let vm = VmPolicy {
            min: min.map(|min| min.size()).transpose()?.or(or.min),
            max: max.map(|max| max.size()).transpose()?.or(or.max),
            weight: weight.map(|weight| weight.count()).transpose()?.or(or.weight),
            pinned: pinned.map(|pinned| pinned.truth()).transpose()?.or(or.pinned),
        };
        vms.insert(VmKey::from(name), vm);
    }
    Ok(())
}

/// The field at a path of the policy, as far as it is in the file.
fn find<'a>(fields: &Fields<'a>, path: &str) -> Option<Field<'a>> {
    if let Some(vm) = path.strip_prefix("vms.") {
        let (name, key) = vm.rsplit_once('.')?;
        return VMS.iter().find_map(|table| {
            let vms = fields.get(table)?.fields().ok()?;
            let own = vms.keys().find(|own| VmKey::from(*own).to_string() == name)?;
            vms.get(own)?.fields().ok()?.get(key)
        });
    }
    match path.split_once('.') {
        Some((table, key)) => fields.get(table)?.fields().ok()?.dashed().get(key),
        None => fields.get(path),
    }
}

const KEYS: [&str; 9] = [
    "algorithm",
    "host_reserve",
    "pool_limit",
    "floor",
    "shrink_step",
    "two_pointer",
    "working_set",
    "vms",
    "vm",
];
/// Where exceptions for VMs are.
const VMS: [&str; 2] = ["vms", "vm"];
