//! How each VM stands before an algorithm looks at it: what bounds it, and what bars it from
//! taking part. Every algorithm gets its VMs through here, so that no rule of safety is forgotten.

use crate::{
    bytes::ByteCount,
    decision::Pool,
    plan::sums,
    policy::{Policy, Rules},
    sample::{Freshness, RunState, Sample, VmSample},
    state::{Progress, State},
    verdict::Reason,
    vm::{Limits, VmId},
};

/// One VM as an algorithm sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Which VM.
    pub id: VmId,
    /// Its figures.
    pub vm: &'a VmSample,
    /// What bounds it.
    pub limits: Limits,
    /// What it may hold already: its actual, or a larger target in force.
    pub holds: ByteCount,
    /// What it was given at earlier ticks and has not got yet.
    pub owed: ByteCount,
    /// Most that it may give in one tick.
    pub give_limit: ByteCount,
    /// Why it can neither give nor get; `None` when it can.
    pub bar: Option<Reason>,
    /// Why it cannot give; `None` when it can.
    pub give_bar: Option<Reason>,
}

/// Every VM of the sample, in the order of their ids.
#[must_use]
pub fn assess<'a>(policy: &Policy, state: &State, sample: &'a Sample) -> Vec<View<'a>> {
    let owed_to = sums(&state.owed, |transfer| transfer.to);
    let view = |(id, vm): (&VmId, &'a VmSample)| {
        let progress = state.progress(*id, vm, sample);
        let Rules { limits, pinned } = policy.rules(*id, &vm.name, vm.max);
        let owed = owed_to.get(id).copied().unwrap_or_default();
        View {
            id: *id,
            vm,
            limits,
            holds: state.holds(*id, vm),
            owed,
            give_limit: policy.shrink_limit(vm.max).min(vm.actual.saturating_sub(limits.min)),
            bar: if pinned { Some(Reason::Pinned) } else { bar(vm, progress) },
            give_bar: give_bar(progress, owed),
        }
    };
    sample.vms.iter().map(view).collect()
}

/// The pool of this sample.
#[must_use]
pub fn measure(policy: &Policy, state: &State, sample: &Sample) -> Pool {
    let (mut actual, mut exposed, mut promised) = Default::default();
    let add = |sum: &mut ByteCount, amount| *sum = sum.saturating_add(amount);
    for (id, vm) in &sample.vms {
        let exposure = state.exposure(*id, vm);
        add(&mut actual, vm.actual);
        add(&mut exposed, exposure);
        add(&mut promised, exposure.saturating_sub(vm.taken()));
    }
    // What a giver has let go of for others is free on the host, and theirs all the same.
    let spoken_for = state.spoken_for(sample);
    add(&mut exposed, spoken_for);
    add(&mut promised, spoken_for);
    let by_host = sample.host.usable.saturating_sub(promised);
    let by_limit = policy.pool_limit.map_or(by_host, |limit| limit.saturating_sub(exposed));
    let kept = by_host.min(by_limit);
    Pool { limit: policy.pool_limit, actual, promised, kept, reserve: policy.host_reserve }
}

fn bar(vm: &VmSample, progress: Progress) -> Option<Reason> {
    match (vm.run, vm.freshness, progress) {
        (RunState::Unresponsive, _, _) => Some(Reason::Unresponsive),
        (
            RunState::Busy
            | RunState::Paused
            | RunState::Saving
            | RunState::Restoring
            | RunState::MigratingOut
            | RunState::MigratingIn
            | RunState::ShuttingDown
            | RunState::Crashed,
            _,
            _,
        ) => Some(Reason::Suspended),
        (RunState::Running, Freshness::Absent, _) => Some(Reason::FiguresAbsent),
        (RunState::Running, Freshness::Unproven, _) => Some(Reason::FiguresUnproven),
        (RunState::Running, Freshness::Stale, _) => Some(Reason::FiguresStale),
        (RunState::Running, Freshness::Unsettled, _)
        | (RunState::Running, Freshness::Fresh, Progress::Moving) => Some(Reason::Settling),
        (RunState::Running, Freshness::Fresh, _) => None,
    }
}

fn give_bar(progress: Progress, owed: ByteCount) -> Option<Reason> {
    match progress {
        Progress::Stuck => Some(Reason::NotFollowing),
        Progress::Useless => Some(Reason::ReclaimIneffective),
        Progress::Arrived | Progress::Moving if !owed.is_zero() => Some(Reason::Awaiting),
        Progress::Arrived | Progress::Moving => None,
    }
}
