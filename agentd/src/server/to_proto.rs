//! What agentd knows, as messages of the wire. Together with `from_proto` the only place that
//! converts; it decides nothing.

pub(super) mod access;
pub(super) mod audit;
pub(super) mod pin;
pub(super) mod reservation;

use std::time::{Duration, SystemTime};

use agentd_core::{
    bytes::ByteCount,
    decision::{Decision, Pool},
    explain,
    host::{HostLevel, HostView},
    life::Life,
    plan::{Party, Plan, Transfer},
    policy::{Policy, TwoPointer, VmPolicy, WorkingSet},
    sample::{HostMemory, Sample, VmSample},
    state::{Outcome, Resized},
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};
use agentd_proto::v1 as wire;
use prost::Message as _;
use wire::watch_response::Body;

use crate::{
    control::{Actor, FieldChange, Mode, Revision},
    event::{Event, ModeChange, PolicyChange, TickRecord, VmChange},
    publish::{Condition, Position, Stamp},
};

/// The bytes of an entry of the log.
#[must_use]
pub fn encode(position: &Position, stamp: Stamp, event: &Event) -> Vec<u8> {
    let body = match event {
        Event::Tick(record) => return encode_tick(position, stamp, record, None),
        Event::Vm(change) => Body::VmChanged(vm_changed(change)),
        Event::Policy(change) => Body::PolicyChanged(policy_changed(change)),
        Event::Mode(change) => Body::ModeChanged(mode_changed(change)),
        Event::Reservation(change) => Body::ReservationChanged(reservation::changed(change)),
        Event::Pin(change) => Body::PinChanged(pin::changed(change)),
    };
    response(position, stamp, body).encode_to_vec()
}

/// The bytes of a tick's entry, with what a shadow says of it.
pub(super) fn encode_tick(
    position: &Position,
    stamp: Stamp,
    record: &TickRecord,
    shadow: Option<wire::ShadowTick>,
) -> Vec<u8> {
    let body = Body::Tick(wire::Tick { shadow, ..tick(record) });
    response(position, stamp, body).encode_to_vec()
}

/// One message of a stream.
pub(super) fn response(position: &Position, stamp: Stamp, body: Body) -> wire::WatchResponse {
    wire::WatchResponse {
        position: Some(self::position(position)),
        time: Some(stamp.wall.into()),
        monotonic_ns: u64::try_from(stamp.monotonic.as_nanos()).unwrap_or(u64::MAX),
        body: Some(body),
    }
}

pub(super) fn position(position: &Position) -> wire::Position {
    wire::Position { epoch: position.epoch.to_string(), seq: position.seq }
}

/// Lengths that the wire cannot hold are cut at its longest, ten thousand years.
pub(super) fn duration(time: Duration) -> prost_types::Duration {
    const LONGEST: Duration = Duration::from_secs(315_576_000_000);
    prost_types::Duration::try_from(time.min(LONGEST)).unwrap_or_default()
}

pub(super) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

pub(super) const fn mode(mode: Mode) -> wire::Mode {
    match mode {
        Mode::Active => wire::Mode::Active,
        Mode::Observe => wire::Mode::Observe,
        Mode::Paused => wire::Mode::Paused,
    }
}

pub(super) fn actor(actor: &Actor) -> wire::Actor {
    wire::Actor {
        id: actor.id.clone(),
        peer: actor.peer.clone(),
        time: Some(timestamp(actor.time)),
    }
}

/// Who set the mode; since when, as far as anybody knows.
pub(super) fn mode_actor(set: &Actor) -> wire::Actor {
    let is_known = set.time > SystemTime::UNIX_EPOCH;
    let actor = actor(set);
    wire::Actor { time: actor.time.filter(|_| is_known), ..actor }
}

pub(super) fn condition((reason, condition): (&'static str, Condition)) -> wire::Condition {
    wire::Condition {
        reason: reason.to_owned(),
        message: condition.message,
        since: Some(timestamp(condition.since)),
    }
}

/// The host's memory, with how it fares where a tick decided.
pub(super) fn host_memory(memory: &HostMemory, view: Option<&HostView>) -> wire::HostMemory {
    let level = |view: &HostView| match view.level {
        HostLevel::Normal => wire::HostLevel::Normal,
        HostLevel::Low => wire::HostLevel::Low,
        HostLevel::Emergency => wire::HostLevel::Emergency,
    };
    let other = view.and_then(|view| view.other);
    let unexplained = view.filter(|_| other.is_some()).map(|view| view.unexplained.as_u64());
    wire::HostMemory {
        total_bytes: memory.total.as_u64(),
        usable_bytes: memory.usable.as_u64(),
        level: view.map_or(wire::HostLevel::Unspecified, level).into(),
        other_bytes: other.map(ByteCount::as_u64),
        unexplained_bytes: unexplained,
        pressure_some: memory.pressure.map(|pressure| pressure.some.0),
        pressure_full: memory.pressure.map(|pressure| pressure.full.0),
    }
}

pub(super) fn pool(pool: &Pool) -> wire::Pool {
    wire::Pool {
        limit_bytes: pool.limit.map(ByteCount::as_u64),
        actual_bytes: pool.actual.as_u64(),
        promised_bytes: pool.promised.as_u64(),
        kept_bytes: pool.kept.as_u64(),
        reserve_bytes: pool.reserve.as_u64(),
        exposed_bytes: pool.exposed.as_u64(),
        stop: pool.stop.map(Reason::name).unwrap_or_default().to_owned(),
        reserved_bytes: pool.booked.reserved.as_u64(),
        held_bytes: pool.booked.held.as_u64(),
    }
}

fn tick(record: &TickRecord) -> wire::Tick {
    let sample = record.sample.as_ref();
    let decision = record.decision.as_ref();
    wire::Tick {
        tick: record.tick,
        took: Some(duration(record.took)),
        memory: sample.map(|sample| host_memory(&sample.host, decision.map(|d| &d.host))),
        pool: decision.map(|decision| pool(&decision.pool)),
        mode: mode(record.mode).into(),
        algorithm: record.policy.policy.algorithm.name().to_owned(),
        policy_revision: record.policy.number,
        vms: vms(record, Duration::ZERO).collect(),
        transfers: transfers(record).collect(),
        resizes: resizes(record).collect(),
        offset: decision.and_then(|decision| decision.offset),
        error: record.error.clone().unwrap_or_default(),
        frozen: record.frozen.clone().unwrap_or_default(),
        shadow: None,
        bookings: reservation::bookings(record),
        conditions: record.conditions.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Every VM of a tick, in the order of their UUIDs; `since` is the time from the tick on.
pub(super) fn vms(record: &TickRecord, since: Duration) -> impl Iterator<Item = wire::Vm> {
    let sampled = record.sample.iter().flat_map(|sample| &sample.vms);
    sampled.map(move |(id, sample)| vm(record, *id, sample, since))
}

/// One VM of a tick, with the age that its figures have `since` after it.
pub(super) fn vm(record: &TickRecord, id: VmId, sample: &VmSample, since: Duration) -> wire::Vm {
    wire::Vm {
        vm: Some(vm_ref(id, &sample.name)),
        memory: Some(vm_memory(record, id, sample, since)),
        verdict: verdict_of(record, id, sample),
        state: vm_state(record.lives.get(&id).copied()).into(),
        pin: record.pins.get(id).map(|own| pin::pin(own)),
    }
}

fn vm_memory(record: &TickRecord, id: VmId, sample: &VmSample, since: Duration) -> wire::VmMemory {
    let limits = record.policy.policy.rules(id, &sample.name, sample.max).limits;
    let bytes = |amount: Option<ByteCount>| amount.map(ByteCount::as_u64);
    wire::VmMemory {
        actual_bytes: sample.actual.as_u64(),
        target_bytes: bytes(record.targets.get(&id).copied()),
        min_bytes: limits.min.as_u64(),
        max_bytes: limits.max.as_u64(),
        guest_unused_bytes: bytes(sample.guest.unused),
        guest_usable_bytes: bytes(sample.guest.usable),
        used_bytes: bytes(sample.used()),
        host_rss_bytes: bytes(sample.host_rss),
        figures_age: sample.figures_age.map(|age| duration(age.saturating_add(since))),
        exposure_bytes: bytes(record.exposures.get(&id).copied()),
    }
}

pub(super) fn verdict_of(
    record: &TickRecord,
    id: VmId,
    sample: &VmSample,
) -> Option<wire::Verdict> {
    let verdict = record.decision.as_ref()?.verdicts.get(&id)?;
    let Verdict { kind, reason, need, spare, demand, entitled, .. } = verdict;
    let kind = match kind {
        VerdictKind::Hold => wire::VerdictKind::Hold,
        VerdictKind::Grow => wire::VerdictKind::Grow,
        VerdictKind::Shrink => wire::VerdictKind::Shrink,
    };
    Some(wire::Verdict {
        kind: kind.into(),
        reason: reason.name().to_owned(),
        message: explain::message(verdict, sample, &record.policy.policy),
        need_bytes: need.map(ByteCount::as_u64),
        spare_bytes: spare.map(ByteCount::as_u64),
        demand_bytes: demand.map(ByteCount::as_u64),
        entitled_bytes: entitled.map(ByteCount::as_u64),
    })
}

/// The transfers of a tick, in the order of the decision.
pub(super) fn transfers(record: &TickRecord) -> impl Iterator<Item = wire::Transfer> {
    let decision = record.decision.as_ref();
    let granted = decision.map_or_else(Vec::new, |decision| granted(record, decision));
    let decided = decision.into_iter().flat_map(|decision| &decision.transfers);
    decided.zip(granted).map(|(transfer, granted)| wire::Transfer {
        from: party(record.sample.as_ref(), transfer.from),
        to: party(record.sample.as_ref(), transfer.to),
        amount_bytes: transfer.amount.as_u64(),
        granted_bytes: granted.as_u64(),
    })
}

/// What of each transfer had been granted when the tick ended.
///
/// The funding of a plan lists what earlier ticks still owe, then this tick's transfers to VMs.
/// What goes to the host is granted with the order to shrink.
fn granted(record: &TickRecord, decision: &Decision) -> Vec<ByteCount> {
    let to_vms = |transfer: &&Transfer| transfer.to != Party::Host;
    let count = decision.transfers.iter().filter(to_vms).count();
    let owed = decision.plan.funding.len().saturating_sub(count);
    let mut funded = record.applied.granted.iter().skip(owed);
    let taken = |from: Party| {
        let by = |done: &&Resized| Party::Vm(done.vm) == from;
        let done = record.applied.resized.iter().find(by);
        done.is_some_and(|done| done.outcome == Outcome::Accepted)
    };
    let one = |transfer: &Transfer| match transfer.to {
        Party::Vm(_) => funded.next().copied().unwrap_or_default(),
        Party::Host if taken(transfer.from) => transfer.amount,
        Party::Host => ByteCount::ZERO,
    };
    decision.transfers.iter().map(one).collect()
}

fn party(sample: Option<&Sample>, party: Party) -> Option<wire::VmRef> {
    match party {
        Party::Host => None,
        Party::Vm(id) => Some(vm_ref(id, name(sample, id))),
    }
}

fn name(sample: Option<&Sample>, id: VmId) -> &str {
    sample.and_then(|sample| sample.vms.get(&id)).map_or("", |vm| &vm.name)
}

/// The orders of a tick, in the order in which they were given.
pub(super) fn resizes(record: &TickRecord) -> impl Iterator<Item = wire::Resize> {
    record.applied.resized.iter().map(|done| resize(record, done))
}

fn resize(record: &TickRecord, done: &Resized) -> wire::Resize {
    let plan = record.decision.as_ref().map(|decision| &decision.plan);
    let mut planned = plan.into_iter().flat_map(Plan::resizes);
    let from = planned.find(|resize| resize.vm == done.vm);
    let stays = from.is_some_and(|resize| resize.from == resize.to);
    let (outcome, message) = outcome(&done.outcome, stays);
    let rest = done.rest_refused.as_ref().map(|why| format!("the rest was refused: {why}"));
    wire::Resize {
        vm: Some(vm_ref(done.vm, name(record.sample.as_ref(), done.vm))),
        from_bytes: from.map_or(0, |resize| resize.from.as_u64()),
        to_bytes: done.planned.as_u64(),
        ordered_bytes: done.ordered.map(ByteCount::as_u64),
        outcome: outcome.into(),
        message: rest.unwrap_or(message),
    }
}

/// What became of an order, of one to stay where it is for example.
fn outcome(outcome: &Outcome, stays: bool) -> (wire::Outcome, String) {
    let (outcome, message) = match outcome {
        Outcome::Accepted => (wire::Outcome::Accepted, ""),
        Outcome::Refused(why) => (wire::Outcome::Refused, why.as_str()),
        Outcome::VmGone => (wire::Outcome::VmGone, "the VM was gone"),
        Outcome::InDoubt => (wire::Outcome::InDoubt, "the hypervisor did not answer in time"),
        Outcome::Held if stays => (wire::Outcome::Held, UNANSWERED_LOOK),
        Outcome::Held => (wire::Outcome::Held, "its memory has not arrived yet"),
        Outcome::Skipped => {
            (wire::Outcome::Skipped, "not ordered: see the mode, and what is wrong now")
        }
    };
    (outcome, message.to_owned())
}

pub(super) fn vm_ref(id: VmId, name: &str) -> wire::VmRef {
    wire::VmRef { uuid: id.to_string(), name: name.to_owned() }
}

const UNANSWERED_LOOK: &str = "it did not say in time how much that is";

const fn vm_state(life: Option<Life>) -> wire::VmState {
    match life {
        None => wire::VmState::Unspecified,
        Some(Life::Running) => wire::VmState::Running,
        Some(Life::Unproven) => wire::VmState::Unproven,
        Some(Life::Booting) => wire::VmState::Booting,
        Some(Life::Rebooting) => wire::VmState::Rebooting,
        Some(Life::NoDriver) => wire::VmState::NoDriver,
        Some(Life::Frozen) => wire::VmState::Frozen,
        Some(Life::Busy) => wire::VmState::Busy,
        Some(Life::Paused) => wire::VmState::Paused,
        Some(Life::Saving) => wire::VmState::Saving,
        Some(Life::Restoring) => wire::VmState::Restoring,
        Some(Life::MigratingOut) => wire::VmState::MigratingOut,
        Some(Life::MigratingIn) => wire::VmState::MigratingIn,
        Some(Life::ShuttingDown) => wire::VmState::ShuttingDown,
        Some(Life::Crashed) => wire::VmState::Crashed,
        Some(Life::Unresponsive) => wire::VmState::Unresponsive,
        Some(Life::Quarantined) => wire::VmState::Quarantined,
        Some(Life::Unreclaimable) => wire::VmState::Unreclaimable,
        Some(Life::Uncooperative) => wire::VmState::Uncooperative,
    }
}

fn vm_changed(change: &VmChange) -> wire::VmChanged {
    wire::VmChanged {
        vm: Some(vm_ref(change.vm, &change.name)),
        previous_state: vm_state(change.before).into(),
        state: vm_state(change.after).into(),
    }
}

fn policy_changed(change: &PolicyChange) -> wire::PolicyChanged {
    let revision = &change.revision;
    wire::PolicyChanged {
        actor: Some(actor(&revision.actor)),
        changes: changes(&change.changes),
        reason: revision.reason.clone(),
        revision: revision.number,
        etag: revision.etag.clone(),
        revert_time: revision.revert_at.map(timestamp),
    }
}

fn mode_changed(change: &ModeChange) -> wire::ModeChanged {
    wire::ModeChanged {
        actor: Some(actor(&change.actor)),
        previous_mode: mode(change.before).into(),
        mode: mode(change.after).into(),
        reason: change.reason.clone(),
    }
}

pub(super) fn changes(changes: &[FieldChange]) -> Vec<wire::PolicyChange> {
    let change = |change: &FieldChange| wire::PolicyChange {
        path: change.path.clone(),
        old_value: change.old.clone(),
        new_value: change.new.clone(),
    };
    changes.iter().map(change).collect()
}

pub(super) fn revision(revision: &Revision) -> wire::PolicyRevision {
    wire::PolicyRevision {
        revision: revision.number,
        etag: revision.etag.clone(),
        policy: Some(policy(&revision.policy)),
        actor: Some(actor(&revision.actor)),
        reason: revision.reason.clone(),
        revert_time: revision.revert_at.map(timestamp),
    }
}

pub(super) fn policy(policy: &Policy) -> wire::Policy {
    let vms = policy.vms.iter();
    wire::Policy {
        algorithm: policy.algorithm.name().to_owned(),
        host_reserve_bytes: Some(policy.host_reserve.as_u64()),
        pool_limit_bytes: policy.pool_limit.map(ByteCount::as_u64),
        floor_bytes: Some(policy.floor.as_u64()),
        shrink_step_bytes: Some(policy.shrink_step.as_u64()),
        two_pointer: Some(two_pointer(&policy.two_pointer)),
        working_set: Some(working_set(&policy.working_set)),
        vms: vms.map(|(key, vm)| (key.to_string(), vm_policy(vm))).collect(),
    }
}

const fn two_pointer(constants: &TwoPointer) -> wire::TwoPointer {
    wire::TwoPointer {
        need_below_bytes: Some(constants.need_below.as_u64()),
        spare_above_bytes: Some(constants.spare_above.as_u64()),
        step_bytes: Some(constants.step.as_u64()),
    }
}

fn working_set(constants: &WorkingSet) -> wire::WorkingSet {
    wire::WorkingSet {
        headroom_bytes: Some(constants.headroom.as_u64()),
        headroom_percent: Some(constants.headroom_percent),
        lead: Some(duration(constants.lead)),
        keep_for: Some(duration(constants.keep_for)),
        dead_band_bytes: Some(constants.dead_band.as_u64()),
        shrink_percent: Some(constants.shrink_percent),
    }
}

fn vm_policy(vm: &VmPolicy) -> wire::VmPolicy {
    wire::VmPolicy {
        min_bytes: vm.min.map(ByteCount::as_u64),
        max_bytes: vm.max.map(ByteCount::as_u64),
        pinned: vm.pinned,
        weight: vm.weight,
    }
}
