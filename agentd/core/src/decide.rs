//! [`decide`]: the one entry from a sample to a decision.

use crate::{
    assess::{View, assess, measure},
    bytes::ByteCount,
    decision::Decision,
    plan::{Party, Plan, Resize, Transfer},
    policy::{Algorithm, Policy},
    sample::Sample,
    state::State,
    two_pointer,
    verdict::{Reason, Verdict, VerdictKind},
};

/// Decides what every VM is to hold, and says why.
///
/// The state returned is the one before the plan is carried out: [`State::after`] adds what became
/// of it.
#[must_use]
pub fn decide(policy: &Policy, state: &State, sample: &Sample) -> (Decision, State) {
    let memory = &state.two_pointer;
    let mut state = state.continued(policy, sample);
    let views = assess(policy, &state, sample);
    let pool = measure(policy, &state, sample);

    let (ruling, offset) = match policy.algorithm {
        Algorithm::TwoPointer => {
            let constants = &policy.two_pointer;
            let ruling = two_pointer::rule(constants, memory, &views, &pool, sample.granule);
            let offset = ruling.offset;
            (ruling, Some(offset))
        }
    };
    state.two_pointer = ruling.memory;

    let verdicts: Vec<Verdict> =
        views.iter().zip(ruling.verdicts).map(|(view, verdict)| awaiting(view, verdict)).collect();
    let plan = plan(&views, &verdicts, funding(&state.owed, &ruling.transfers), sample.granule);
    let verdicts = views.iter().map(|view| view.id).zip(verdicts);
    let decision = Decision {
        tick: sample.tick,
        algorithm: policy.algorithm,
        offset,
        verdicts: verdicts.collect(),
        transfers: ruling.transfers,
        plan,
        pool,
    };
    (decision, state)
}

/// What a VM that is still owed something gets: that too.
fn awaiting(view: &View<'_>, verdict: Verdict) -> Verdict {
    if view.owed.is_zero() {
        return verdict;
    }
    let reason = match verdict.kind {
        VerdictKind::Grow => verdict.reason,
        VerdictKind::Hold | VerdictKind::Shrink => Reason::Awaiting,
    };
    let amount = verdict.amount.saturating_add(view.owed);
    Verdict { kind: VerdictKind::Grow, reason, amount, ..verdict }
}

/// What VMs get: first what is owed from earlier ticks, then what was decided in this one.
fn funding(owed: &[Transfer], transfers: &[Transfer]) -> Vec<Transfer> {
    let to_vms = transfers.iter().filter(|transfer| transfer.to != Party::Host);
    owed.iter().chain(to_vms).copied().collect()
}

/// The orders that carry out the verdicts.
fn plan(
    views: &[View<'_>],
    verdicts: &[Verdict],
    funding: Vec<Transfer>,
    granule: ByteCount,
) -> Plan {
    let mut plan = Plan { funding, ..Plan::default() };
    for (view, verdict) in views.iter().zip(verdicts) {
        let (vm, amount) = (view.id, verdict.amount);
        match verdict.kind {
            VerdictKind::Hold => {}
            VerdictKind::Shrink => {
                let from = view.vm.actual;
                plan.shrinks.push(Resize { vm, from, to: from.saturating_sub(amount) });
            }
            VerdictKind::Grow => {
                let (from, max) = (view.holds, view.limits.max);
                let growth = amount.min(max.saturating_sub(from)).align_down(granule);
                if !growth.is_zero() {
                    plan.grows.push(Resize { vm, from, to: from.saturating_add(growth) });
                }
            }
        }
    }
    plan
}
