//! What in a policy has no effect, or hardly the one that was meant, on what ran here when it was last looked
//! at. For people.

use agentd_core::{
    admit::{Known, Room},
    bytes::ByteCount,
    policy::{Algorithm, Policy, VmKey, VmPolicy},
    sample::{Sample, VmSample},
    vm::VmId,
};

use crate::{
    control::{InForce, Overcommitment, Pin},
    event::TickRecord,
    server::mask::vm_named,
};

/// All of it beside a tick that read the hypervisor; nothing beside another one. What is pinned for a while
/// counts as ticks take it: as pinned, whatever this policy says of it.
pub(super) fn warnings(policy: &Policy, record: &TickRecord, in_force: &InForce) -> Vec<String> {
    let Some(sample) = &record.sample else { return Vec::new() };
    let mut warnings = amounts(policy, sample.host.total);
    let mut acting = policy.clone();
    in_force.pins.lay_over(&mut acting);
    for (key, own) in &policy.vms {
        let vm = sample.vms.iter().find(|(id, vm)| match key {
            VmKey::Id(own) => own == *id,
            VmKey::Name(name) => **name == *vm.name,
        });
        match vm {
            Some((id, vm)) => {
                warnings.extend(of_vm((policy, &acting), (key, own), (*id, vm)));
                let pin = in_force.pins.get(*id).filter(|_| own.pinned != Some(true));
                warnings.extend(pin.and_then(|pin| idle((key, own), pin)));
            }
            None => {
                let path = vm_named(&key.to_string());
                warnings.push(format!("{path}: no VM that runs here has this name or UUID"));
            }
        }
    }
    warnings.extend(guarantees(&acting, sample));
    warnings.extend(reservations(&acting, record, in_force));
    warnings
}

fn amounts(policy: &Policy, total: ByteCount) -> Vec<String> {
    let mut warnings = Vec::new();
    let limits = [
        ("host_reserve_bytes", Some(policy.host_reserve)),
        ("pool_limit_bytes", policy.pool_limit),
        ("floor_bytes", Some(policy.floor)),
    ];
    for (field, value) in limits {
        let Some(value) = value else { continue };
        if value >= total {
            warnings.push(format!("{field} = {value}: the whole host has {total}"));
        } else if value.saturating_add(value) > total && field != "pool_limit_bytes" {
            warnings.push(format!("{field} = {value}: more than half of the host's {total}"));
        }
    }
    warnings
}

/// What is taken from VMs, beginning with the next tick, because of what the host is to keep by a policy in the
/// place of the one before.
pub(super) fn takes(before: &Policy, policy: &Policy, record: &TickRecord) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(sample) = &record.sample else { return warnings };
    let (reserve, usable) = (policy.host_reserve, sample.host.usable);
    if reserve > before.host_reserve && usable < reserve {
        let what = if usable < reserve.fraction(1, 2) {
            "less than half of that, an emergency: at the next tick VMs are made to give what they do not use"
        } else {
            "VMs get nothing of the host, and are asked for what they do not need"
        };
        warnings.push(format!("host_reserve_bytes = {reserve}: {usable} is usable, {what}"));
    }
    let held: ByteCount = sample.vms.values().map(|vm| vm.actual).sum();
    if let Some(limit) = policy.pool_limit.filter(|limit| *limit < held)
        && before.pool_limit.is_none_or(|before| limit < before)
    {
        let beyond = held.saturating_sub(limit);
        warnings.push(format!(
            "pool_limit_bytes = {limit}: VMs hold {held}, {beyond} more: they get nothing of the host until they \
             hold less"
        ));
    }
    warnings
}

/// Of an exception for a VM that is here. One that is pinned is told of with the policy itself.
fn of_vm(
    (policy, acting): (&Policy, &Policy),
    (key, own): (&VmKey, &VmPolicy),
    (id, vm): (VmId, &VmSample),
) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = vm_named(&key.to_string());
    let (most, holds) = (vm.max, vm.actual);
    if let Some(max) = own.max.filter(|max| *max > most) {
        warnings.push(format!("{path}.max_bytes = {max}: its hypervisor allows {most}"));
    }
    let is_pinned = acting.rules(id, &vm.name, most).pinned;
    if let Some(max) = own.max.filter(|max| *max < holds && !is_pinned) {
        let why = "nothing is taken from it for that, it only gets no more";
        warnings.push(format!("{path}.max_bytes = {max}: it holds {holds}; {why}"));
    }
    if let Some(min) = own.min.filter(|min| *min > most) {
        warnings.push(format!("{path}.min_bytes = {min}: its hypervisor allows {most}"));
    } else if let Some(min) = own.min.filter(|min| *min > holds && !is_pinned) {
        let why = match policy.algorithm {
            Algorithm::TwoPointer => "it is not raised to its minimum, only never taken below it",
            Algorithm::WorkingSet => "working-set gives it what it lacks of its minimum",
        };
        warnings.push(format!("{path}.min_bytes = {min}: it holds {holds}; {why}"));
    }
    if let (VmKey::Name(_), Some(first)) = (key, policy.vms.get(&VmKey::Id(id))) {
        let both = [
            ("min_bytes", own.min.is_some() && first.min.is_some()),
            ("max_bytes", own.max.is_some() && first.max.is_some()),
            ("weight", own.weight.is_some() && first.weight.is_some()),
            ("pinned", own.pinned.is_some() && first.pinned.is_some()),
        ];
        let why = format!("has no effect, for what is said under its UUID, {id}, counts");
        let both = both.into_iter().filter(|(_, both)| *both);
        warnings.extend(both.map(|(field, _)| format!("{path}.{field}: {why}")));
    }
    warnings
}

/// Of an exception that waits for the end of a pin, as one waits that the policy itself pins.
fn idle((key, own): (&VmKey, &VmPolicy), pin: &Pin) -> Option<String> {
    let waits = own.min.is_some() || own.max.is_some() || own.weight.is_some();
    waits.then(|| {
        let (path, who) = (vm_named(&key.to_string()), &pin.actor);
        format!(
            "{path}: {who} has pinned it for a while, so that its min, max and weight have no effect until \
             that ends"
        )
    })
}

/// What the VMs that run are guaranteed, where that is more than there is for them.
fn guarantees(policy: &Policy, sample: &Sample) -> Option<String> {
    Overcommitment::of(policy, sample).map(|own| format!("minimums: {own}"))
}

/// What is reserved, where it could never be there beside what VMs are guaranteed.
fn reservations(policy: &Policy, record: &TickRecord, in_force: &InForce) -> Option<String> {
    let open = &in_force.reservations.open;
    let reserved: ByteCount = open.iter().map(|own| own.reservation.min).sum();
    if reserved.is_zero() {
        return None;
    }
    let known = Known { lives: &record.lives, exposures: &record.exposures };
    let room = Room::of(policy, record.sample.as_ref()?, known);
    let why = room.objection(reserved, ByteCount::ZERO)?;
    let count = open.len();
    Some(format!("reservations: what is reserved here, {count} in all, cannot be filled: {why}"))
}
