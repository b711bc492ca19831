//! [`decide`]: the one entry from a sample to a decision.

use std::collections::BTreeSet;

use crate::{
    assess::{View, assess, book, measure},
    bytes::ByteCount,
    conduct::Standing,
    decision::{Decision, Pool},
    emergency,
    host::{HostLevel, HostView},
    known::Known,
    plan::{Party, Plan, Resize, Transfer},
    policy::{Algorithm, Policy},
    sample::Sample,
    state::State,
    two_pointer,
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
    working_set,
};

/// Decides what every VM is to hold, and says why.
///
/// The state returned is the one before the plan is carried out: [`State::after`] adds what became
/// of it.
#[must_use]
pub fn decide(policy: &Policy, state: &State, sample: &Sample) -> (Decision, State) {
    let before = state;
    let mut state = state.continued(policy, sample);
    let (host, watch) = state.host.look(policy.host_reserve, sample);
    state.host = watch;
    if host.level == HostLevel::Emergency {
        state.owed.clear();
    }
    let views = assess(policy, &state, sample);
    let mut pool = measure(policy, &state, sample, &views, &host);
    let bookings = book(before, &mut state, (sample, &views), &mut pool);

    let ruling = match host.level {
        HostLevel::Emergency => {
            state.two_pointer.clone_from(&before.two_pointer);
            state.working_set.clone_from(&before.working_set);
            save_the_host(policy, &state, sample, &views)
        }
        HostLevel::Normal | HostLevel::Low => {
            follow_policy(policy, (before, &mut state), sample, &views, &pool)
        }
    };
    let decision = put_together(policy, &state, sample, (&views, ruling), (pool, host));
    (Decision { bookings, ..decision }, state)
}

/// What was ruled, by whatever algorithm.
struct Ruling {
    /// A verdict for each VM, in the order of the views.
    verdicts: Vec<Verdict>,
    transfers: Vec<Transfer>,
    /// Where the rotation of `two-pointer` stood.
    offset: Option<u64>,
}

/// What an algorithm remembers is its own: one that is not in force remembers nothing.
fn follow_policy(
    policy: &Policy,
    (before, state): (&State, &mut State),
    sample: &Sample,
    views: &[View<'_>],
    pool: &Pool,
) -> Ruling {
    let granule = sample.granule;
    match policy.algorithm {
        Algorithm::TwoPointer => {
            let (constants, memory) = (&policy.two_pointer, &before.two_pointer);
            let ruling = two_pointer::rule(constants, memory, views, pool, granule);
            state.two_pointer = ruling.memory;
            let (verdicts, transfers) = (ruling.verdicts, ruling.transfers);
            Ruling { verdicts, transfers, offset: Some(ruling.offset) }
        }
        Algorithm::WorkingSet => {
            let (constants, memory) = (&policy.working_set, &before.working_set);
            let ruling = working_set::rule(constants, memory, views, pool, (granule, sample.now));
            state.working_set = ruling.memory;
            let (verdicts, transfers) = (ruling.verdicts, ruling.transfers);
            Ruling { verdicts, transfers, offset: None }
        }
    }
}

fn save_the_host(policy: &Policy, state: &State, sample: &Sample, views: &[View<'_>]) -> Ruling {
    let waits = state.host.waits(sample.now);
    let (reserve, granule) = (policy.host_reserve, sample.granule);
    let (verdicts, transfers) = emergency::rule(views, &sample.host, reserve, granule, waits);
    Ruling { verdicts, transfers, offset: None }
}

fn put_together(
    policy: &Policy,
    state: &State,
    sample: &Sample,
    (views, ruling): (&[View<'_>], Ruling),
    (pool, host): (Pool, HostView),
) -> Decision {
    let verdict = |(view, verdict): (&View<'_>, Verdict)| Verdict {
        distress: view.distress,
        ..awaiting(view, verdict)
    };
    let verdicts: Vec<Verdict> = views.iter().zip(ruling.verdicts).map(verdict).collect();
    let funding = funding(&state.owed, &ruling.transfers);
    let mut plan = plan(views, &verdicts, funding, sample.granule);
    (plan.room, plan.debt) = (pool.room, pool.debt);
    plan.neutral = neutral(views, &plan, state, sample);
    Decision {
        tick: sample.tick,
        algorithm: policy.algorithm,
        offset: ruling.offset,
        verdicts: views.iter().map(|view| view.id).zip(verdicts).collect(),
        transfers: ruling.transfers,
        plan,
        pool,
        host,
        bookings: Vec::new(),
    }
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

/// Who is to be told to hold what it holds: a VM that suffers while it is still to give; one that was
/// given up on, so that it does not take up its order when nobody reckons with it; and once each VM
/// that this agent has not ordered anything yet, so that no order of before can be in force unseen.
fn neutral(views: &[View<'_>], plan: &Plan, state: &State, sample: &Sample) -> Vec<Resize> {
    let now = sample.now;
    let ordered: BTreeSet<VmId> = plan.resizes().map(|resize| resize.vm).collect();
    let is_due = |(view, (_, known)): &(&View<'_>, (VmId, Known<'_>))| {
        let Some(followed) = known.followed else { return false };
        let is_new = !followed.adopted && known.order.is_none_or(|order| order.in_doubt);
        let suffers = view.distress.is_some();
        if followed.standing(now) == Standing::Quarantined {
            return false;
        }
        match view.bar {
            None => is_new || followed.conduct.gave_up(now) || known.is_to_stop(now),
            Some(Reason::Settling) => known.is_to_stop(now) || is_new && suffers,
            // A balloon goes on with what it was told before its kernel began anew.
            Some(
                Reason::Booting
                | Reason::Rebooting
                | Reason::FiguresUnproven
                | Reason::FiguresStale,
            ) => {
                let seen = view.vm.figures_age.is_some();
                seen && suffers && (is_new || known.is_to_stop(now))
            }
            Some(_) => false,
        }
    };
    if sample.ideal {
        return Vec::new();
    }
    let due = views.iter().zip(state.each(sample)).filter(is_due).map(|(view, _)| view);
    let to = |view: &View<'_>| Resize { vm: view.id, from: view.vm.actual, to: view.vm.actual };
    due.filter(|view| !ordered.contains(&view.id)).map(to).collect()
}
