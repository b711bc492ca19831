//! What is decided while the host itself runs out of memory, whatever the policy's algorithm:
//! nobody gets anything, and VMs give what they do not use, within their limits and steps.
//!
//! Then it waits until the effect can be seen. Nobody is asked for what it uses, and nobody who
//! suffers is asked at all: a host that is still short then has more on it than fits, which only
//! its operator can end.

use crate::{
    assess::View,
    bytes::ByteCount,
    plan::{Party, Transfer},
    sample::HostMemory,
    verdict::{Reason, Verdict, VerdictKind},
};

/// Who gives how much to the host, so that it has its reserve again; nothing while it waits.
#[must_use]
pub fn rule(
    vms: &[View<'_>],
    host: &HostMemory,
    reserve: ByteCount,
    granule: ByteCount,
    waits: bool,
) -> (Vec<Verdict>, Vec<Transfer>) {
    let short = reserve.saturating_sub(host.usable).max(LEAST_SHORT);
    let mut missing = if waits { ByteCount::ZERO } else { short };
    let mut order: Vec<usize> = (0..vms.len()).collect();
    let surplus = |index: &usize| vms.get(*index).map_or(ByteCount::ZERO, surplus);
    order.sort_by_key(|index| std::cmp::Reverse(surplus(index)));

    let mut verdicts: Vec<Verdict> = vms.iter().map(held).collect();
    let mut transfers = Vec::new();
    for index in order {
        let (Some(view), Some(verdict)) = (vms.get(index), verdicts.get_mut(index)) else {
            continue;
        };
        let amount = self::surplus(view).min(missing.align_up(granule)).align_down(granule);
        if amount.is_zero() {
            continue;
        }
        missing = missing.saturating_sub(amount);
        *verdict = Verdict { kind: VerdictKind::Shrink, amount, ..*verdict };
        transfers.push(Transfer { from: Party::Vm(view.id), to: Party::Host, amount });
    }
    (verdicts, transfers)
}

fn held(view: &View<'_>) -> Verdict {
    let bar = view.bar.or_else(|| view.give_bar.filter(|bar| *bar != Reason::Awaiting));
    Verdict { spare: Some(surplus(view)), ..Verdict::hold(bar.unwrap_or(Reason::HostEmergency)) }
}

/// What a VM can give within its limits and its step without going into what it uses.
fn surplus(view: &View<'_>) -> ByteCount {
    let barred = view.give_bar.is_some_and(|bar| bar != Reason::Awaiting);
    if view.bar.is_some() || barred {
        return ByteCount::ZERO;
    }
    let figures = &view.vm.guest;
    let idle = figures.usable.or(figures.unused).unwrap_or_default();
    idle.saturating_sub(LEFT_TO_A_VM).min(view.give_limit)
}

/// What pressure alone asks for, where the host has its reserve.
const LEAST_SHORT: ByteCount = ByteCount::mib(64);
/// What a VM is left with beyond what it uses: what `two-pointer` leaves by default.
const LEFT_TO_A_VM: ByteCount = ByteCount::mib(100);
