//! [`decide`]: the one entry from a sample to a decision.

use crate::{
    assess::{View, assess, book, measure},
    by_vm::ByVm,
    bytes::ByteCount,
    decision::{Decision, Pool},
    emergency,
    host::{HostLevel, HostView},
    plan::{Party, Plan, Resize, Transfer},
    policy::{Algorithm, Policy},
    sample::Sample,
    state::State,
    two_pointer,
    verdict::{Reason, Verdict, VerdictKind},
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
    let (views, totals) = assess(policy, &state, sample);
    let mut pool = measure(policy, &state, sample, &totals, &host);
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
    /// A verdict for each VM.
    verdicts: ByVm<Verdict>,
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
    let Ruling { mut verdicts, transfers, offset } = ruling;
    let funding = funding(&state.owed, &transfers);
    // What reservations are guaranteed, and hold, is not for VMs that run.
    let reserved = pool.booked.held.min(pool.booked.reserved);
    let (room, debt) = (pool.room.saturating_sub(reserved), pool.debt);
    let kept = pool.exposed.saturating_add(pool.reserve).saturating_add(reserved);
    let limit_room = pool.limit.map(|limit| limit.saturating_sub(kept));
    let mut plan = Plan { funding, room, debt, limit_room, ..Plan::default() };
    for (view, verdict) in views.iter().zip(verdicts.values_mut()) {
        verdict.distress = view.distress;
        add_owed(verdict, view.owed);
        order(&mut plan, view, verdict, sample.granule);
    }
    Decision {
        tick: sample.tick,
        algorithm: policy.algorithm,
        offset,
        verdicts,
        transfers,
        plan,
        pool,
        host,
        bookings: Vec::new(),
    }
}

/// What a VM that is still owed something gets: that too.
fn add_owed(verdict: &mut Verdict, owed: ByteCount) {
    if owed.is_zero() {
        return;
    }
    if verdict.kind != VerdictKind::Grow {
        (verdict.kind, verdict.reason) = (VerdictKind::Grow, Reason::Awaiting);
    }
    verdict.amount = verdict.amount.saturating_add(owed);
}

/// What VMs get: first what is owed from earlier ticks, then what was decided in this one.
fn funding(owed: &[Transfer], transfers: &[Transfer]) -> Vec<Transfer> {
    let to_vms = transfers.iter().filter(|transfer| transfer.to != Party::Host);
    owed.iter().chain(to_vms).copied().collect()
}

/// The order that carries out a verdict, where it takes one.
fn order(plan: &mut Plan, view: &View<'_>, verdict: &Verdict, granule: ByteCount) {
    let (vm, actual, holds) = (view.id, view.actual, view.holds);
    let growth = verdict.amount.min(view.limits.max.saturating_sub(holds)).align_down(granule);
    match verdict.kind {
        VerdictKind::Shrink => {
            let to = actual.saturating_sub(verdict.amount);
            plan.shrinks.push(Resize { vm, from: actual, to });
        }
        VerdictKind::Grow if !growth.is_zero() => {
            plan.grows.push(Resize { vm, from: holds, to: holds.saturating_add(growth) });
        }
        VerdictKind::Hold | VerdictKind::Grow if view.stays => {
            plan.neutral.push(Resize { vm, from: actual, to: actual });
        }
        VerdictKind::Hold | VerdictKind::Grow => {}
    }
}
