//! [`decide`]: the one entry from a sample to a decision.

use crate::{
    assess::{View, assess, measure},
    bytes::ByteCount,
    decision::Decision,
    plan::{Party, Plan, Resize, Transfer, sums},
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

    let plan = plan(&views, &state.owed, &ruling.transfers, sample.granule);
    let verdicts = views.iter().zip(ruling.verdicts).map(|(view, verdict)| {
        (view.id, if view.owed.is_zero() { verdict } else { awaiting(view, verdict) })
    });
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

/// What a VM gets that is still owed something: that too.
fn awaiting(view: &View<'_>, verdict: Verdict) -> Verdict {
    let reason = match verdict.kind {
        VerdictKind::Grow => verdict.reason,
        VerdictKind::Hold | VerdictKind::Shrink => Reason::Awaiting,
    };
    let amount = verdict.amount.saturating_add(view.owed);
    Verdict { kind: VerdictKind::Grow, reason, amount, ..verdict }
}

/// The orders that carry out what is owed from earlier ticks and what was decided in this one.
fn plan(views: &[View<'_>], owed: &[Transfer], transfers: &[Transfer], granule: ByteCount) -> Plan {
    let funding: Vec<Transfer> = owed
        .iter()
        .chain(transfers)
        .filter(|transfer| transfer.to != Party::Host)
        .copied()
        .collect();
    let given = sums(transfers, |transfer| transfer.from);
    let funded = sums(&funding, |transfer| transfer.to);

    let shrink = |view: &View<'_>| {
        let amount = given.get(&view.id)?;
        let (vm, from) = (view.id, view.vm.actual);
        Some(Resize { vm, from, to: from.saturating_sub(*amount) })
    };
    let grow = |view: &View<'_>| {
        let amount = funded.get(&view.id)?;
        let (vm, from) = (view.id, view.holds);
        let room = view.limits.max.saturating_sub(from);
        let to = from.saturating_add(amount.min(&room).align_down(granule));
        (to > from).then_some(Resize { vm, from, to })
    };
    Plan {
        shrinks: views.iter().filter_map(shrink).collect(),
        grows: views.iter().filter_map(grow).collect(),
        funding,
    }
}
