//! Verdicts in words, with the figures that led to them.

use crate::{
    policy::Policy,
    sample::VmSample,
    verdict::{Reason, Verdict},
};

/// One sentence: what was decided for a VM and why.
#[must_use]
pub fn message(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let amount = verdict.amount;
    let need = verdict.need.unwrap_or_default();
    let spare = verdict.spare.unwrap_or_default();
    let reserve = policy.host_reserve;
    let wants = || wants(verdict, vm, policy);
    let spares = || spares(verdict, vm, policy);
    match verdict.reason {
        Reason::NeedsMemory => format!("gets {amount}: {}; it needs {need}", wants()),
        Reason::Awaiting if amount.is_zero() => {
            format!("holds: {}, and it is owed what it needs", wants())
        }
        Reason::Awaiting => format!("gets up to {amount} that it was given at an earlier tick"),
        Reason::GivesToVm => format!("gives {amount} to VMs in need: {}", spares()),
        Reason::GivesToHost => format!("gives {amount} to the host: {}; no VM needs it", spares()),
        Reason::Content => content(verdict, vm, policy),
        Reason::Full => {
            let usable = vm.guest.usable.unwrap_or_default();
            format!(
                "holds: only {usable} is usable, but {}: a VM that is full cannot show its need",
                use_of(verdict, vm)
            )
        }
        Reason::SpareNotNeeded => {
            format!("holds: it could spare {spare} in this tick, but others gave what was needed")
        }
        Reason::AtMaximum => format!("holds: {}, but it is at its maximum", wants()),
        Reason::AtMinimum => format!("holds: {}, but it is at its minimum", spares()),
        Reason::PoolEmpty => format!(
            "holds: {}; it needs {need}, but no VM has memory to spare and the host has no more \
             above its reserve of {reserve}",
            wants()
        ),
        Reason::NotFollowing => {
            format!("holds: {}, but it did not follow its last order to shrink", spares())
        }
        Reason::ReclaimIneffective => {
            format!("holds: {}, but what it gave last did not become free on the host", spares())
        }
        Reason::FiguresStale => {
            let age = vm.figures_age.unwrap_or_default().as_secs();
            format!("holds: its figures have not changed for {age} s")
        }
        Reason::Settling => "holds: its memory is still moving".to_owned(),
        Reason::FiguresAbsent => {
            "holds: it reports no figures (is its balloon driver loaded?)".to_owned()
        }
        Reason::FiguresUnproven => "holds: its figures were not yet seen to change".to_owned(),
        Reason::Suspended => "holds: it does not execute".to_owned(),
        Reason::Unresponsive => "holds: the hypervisor did not answer for it in time".to_owned(),
        Reason::Pinned => "holds: the policy pins it".to_owned(),
    }
}

/// Why a VM was found to need memory.
fn wants(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let unused = vm.guest.unused.unwrap_or_default();
    let below = policy.two_pointer.need_below;
    format!("{} and {unused} is unused, below {below}", use_of(verdict, vm))
}

/// Why a VM was found to have memory to spare.
fn spares(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let unused = vm.guest.unused.unwrap_or_default();
    let above = policy.two_pointer.spare_above;
    format!("{} and {unused} is unused, above {above}", use_of(verdict, vm))
}

fn use_of(verdict: &Verdict, vm: &VmSample) -> String {
    let used = vm.used().unwrap_or_default();
    match verdict.previous_used {
        Some(previous) if previous < used => format!("its use grew from {previous} to {used}"),
        Some(previous) if previous > used => format!("its use fell from {previous} to {used}"),
        Some(_) => format!("its use stays at {used}"),
        None => format!("it was not seen before, it uses {used}"),
    }
}

/// Why a VM that neither needs nor spares is content.
fn content(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let constants = &policy.two_pointer;
    let unused = vm.guest.unused.unwrap_or_default();
    let grew = match (verdict.previous_used, vm.used()) {
        (Some(previous), Some(used)) => used > previous,
        _ => {
            let used = vm.used().unwrap_or_default();
            return format!("holds: it was not seen before; it uses {used}, {unused} is unused");
        }
    };
    if grew {
        let enough = constants.need_below;
        format!("holds: its use grew, but {unused} is unused, which is at least {enough}")
    } else {
        let little = constants.spare_above;
        format!("holds: its use does not grow, and of {unused} unused none is above {little}")
    }
}
