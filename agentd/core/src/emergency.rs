//! What is decided while the host itself runs out of memory, whatever the policy's algorithm:
//! nobody gets anything, and VMs give what they do not use, within their limits and steps.
//!
//! Then it waits until the effect can be seen. Nobody is asked for what it uses, and nobody who
//! suffers is asked at all: a host that is still short then has more on it than fits, which only
//! its operator can end.

use std::cmp::Reverse;

use crate::{
    assess::View,
    by_vm::ByVm,
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
) -> (ByVm<Verdict>, Vec<Transfer>) {
    let short = reserve.saturating_sub(host.usable).max(LEAST_SHORT);
    let mut missing = if waits { ByteCount::ZERO } else { short };
    let offer = |view| {
        let most = surplus(view);
        Offer { view, most, comes: back(view, most) }
    };
    let mut offers: Vec<Offer<'_>> = vms.iter().map(offer).collect();
    let mut verdicts: ByVm<Verdict> =
        offers.iter().map(|offer| (offer.view.id, offer.held())).collect();
    offers.retain(|offer| !offer.comes.is_zero());
    offers.sort_by_key(|offer| (Reverse(offer.comes), offer.view.id));
    let mut transfers = Vec::new();
    for Offer { view, most, comes } in offers {
        let Some(verdict) = verdicts.get_mut(&view.id) else { continue };
        // Where only a part of it comes back, so much more is asked for.
        let asked = most.fraction(missing.min(comes).as_u64(), comes.as_u64());
        let amount = asked.align_up(granule).min(most).align_down(granule);
        if amount.is_zero() {
            continue;
        }
        missing = missing.saturating_sub(back(view, amount));
        (verdict.kind, verdict.amount) = (VerdictKind::Shrink, amount);
        transfers.push(Transfer { from: Party::Vm(view.id), to: Party::Host, amount });
    }
    (verdicts, transfers)
}

/// What one VM could do for the host.
struct Offer<'a> {
    view: &'a View<'a>,
    /// Most that it gives.
    most: ByteCount,
    /// What the host gets back of that.
    comes: ByteCount,
}

impl Offer<'_> {
    fn held(&self) -> Verdict {
        let view = self.view;
        let bar = view.bar.or_else(|| view.give_bar.filter(|bar| *bar != Reason::Awaiting));
        let held = Verdict::hold(bar.unwrap_or(Reason::HostEmergency));
        Verdict { spare: Some(self.most), ..held }
    }
}

/// What a VM can give within its limits and its step without going into what it uses.
fn surplus(view: &View<'_>) -> ByteCount {
    let barred = view.give_bar.is_some_and(|bar| bar != Reason::Awaiting);
    if view.bar.is_some() || barred {
        return ByteCount::ZERO;
    }
    let idle = view.vm.guest.idle().unwrap_or_default();
    idle.saturating_sub(LEFT_TO_A_VM).min(view.gives_unhurt())
}

/// What the host gets back when a VM gives so much: of what it does not use, as much as it has ever
/// touched. All of it where what is resident is not known.
fn back(view: &View<'_>, amount: ByteCount) -> ByteCount {
    let vm = view.vm;
    let Some(taken) = vm.shown().taken else { return amount };
    let idle = vm.guest.idle().unwrap_or_default();
    let resident = taken.saturating_sub(vm.actual.saturating_sub(idle)).min(idle);
    amount.fraction(resident.as_u64(), idle.as_u64())
}

/// What pressure alone asks for, where the host has its reserve.
const LEAST_SHORT: ByteCount = ByteCount::mib(64);
/// What a VM is left with beyond what it uses: what `two-pointer` leaves by default.
const LEFT_TO_A_VM: ByteCount = ByteCount::mib(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        assess::assess,
        distress::{Distress, Sign},
        fixture::{OTHER, VM, sample, vm},
        policy::Policy,
        sample::{GuestFigures, Sample, VmSample},
        state::State,
    };

    fn with_usable(mib: u32) -> VmSample {
        let usable = Some(ByteCount::mib(mib));
        VmSample { guest: GuestFigures { usable, ..vm().guest }, ..vm() }
    }

    fn rule_on(sample: &Sample, waits: bool) -> (ByVm<Verdict>, Vec<Transfer>) {
        let (policy, state) =
            (Policy::default(), State::default().continued(&Policy::default(), sample));
        let (views, _) = assess(&policy, &state, sample);
        rule(&views, &sample.host, policy.host_reserve, sample.granule, waits)
    }

    fn host_with(usable: u32, vms: [VmSample; 2]) -> Sample {
        let mut sample = sample(0, [VM, OTHER].into_iter().zip(vms));
        sample.host.usable = ByteCount::mib(usable);
        sample
    }

    #[test]
    fn takes_what_is_missing_from_who_has_most_within_steps() {
        let sample = host_with(90, [with_usable(150), with_usable(400)]);
        let (verdicts, transfers) = rule_on(&sample, false);
        let give = |from, mib| Transfer {
            from: Party::Vm(from),
            to: Party::Host,
            amount: ByteCount::mib(mib),
        };
        // 110 MiB are missing; one step is 64 MiB.
        assert_eq!(transfers, [give(OTHER, 64), give(VM, 46)]);
        assert!(verdicts.values().all(|verdict| verdict.kind == VerdictKind::Shrink));
    }

    #[test]
    fn nobody_gives_what_it_uses_or_while_it_suffers_or_before_the_effect_is_seen() {
        let sign = Sign::SwapsOut(ByteCount::mib(1));
        let distress = Some(Distress { sign, age: std::time::Duration::ZERO });
        let suffering = VmSample { distress, ..with_usable(400) };
        let sample = host_with(50, [with_usable(100), suffering]);
        let (verdicts, transfers) = rule_on(&sample, false);
        assert_eq!(transfers, []);
        let reasons: Vec<Reason> = verdicts.values().map(|verdict| verdict.reason).collect();
        assert_eq!(reasons, [Reason::HostEmergency, Reason::Distressed]);
        let sample = host_with(50, [with_usable(400), with_usable(400)]);
        assert_eq!(rule_on(&sample, true).1, []);
    }

    /// One has 400 MiB usable of which it never touched 350, the other 200 that it had all.
    #[test]
    fn asks_who_has_something_to_give_back() {
        let empty = VmSample { host_rss: Some(ByteCount::mib(192)), ..with_usable(400) };
        let sample = host_with(50, [empty, with_usable(200)]);
        let (_, transfers) = rule_on(&sample, false);
        let given: Vec<(Party, u64)> =
            transfers.iter().map(|own| (own.from, own.amount.mib_floor())).collect();
        // Of 64 MiB of the first an eighth comes back.
        assert_eq!(given, [(Party::Vm(OTHER), 64), (Party::Vm(VM), 64)]);
        let nothing = VmSample { host_rss: Some(ByteCount::mib(142)), ..with_usable(400) };
        let sample = host_with(50, [nothing, with_usable(100)]);
        assert_eq!(rule_on(&sample, false).1, [], "the host would get nothing by it");
    }

    #[test]
    fn pressure_alone_asks_for_a_step() {
        let sample = host_with(4096, [with_usable(400), with_usable(300)]);
        let (_, transfers) = rule_on(&sample, false);
        assert_eq!(transfers.len(), 1);
        assert_eq!(transfers[0].amount, LEAST_SHORT);
    }
}
