//! Reservations as messages of the wire.

use agentd_core::{
    bytes::ByteCount,
    decision::Decision,
    explain,
    policy::VmKey,
    reserve::Booking,
    sample::Sample,
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};
use agentd_proto::v1 as wire;

use super::{actor, name, timestamp, vm_ref};
use crate::{
    control::{Ending, Mode, Reserved},
    event::{ReservationChange, ReservationEvent, TickRecord},
};

/// A reservation as it stood at the last tick; of what it holds nothing is said where that tick decided
/// nothing.
pub(in crate::server) fn reservation(
    own: &Reserved,
    record: Option<&TickRecord>,
) -> wire::Reservation {
    let own_booking = |record: &&TickRecord| booking_of(own, record).is_some();
    let record = record.filter(|_| own.end.is_none());
    let decided = record.filter(own_booking);
    let booking = decided.and_then(|record| booking_of(own, record));
    let handed_to = booking.and_then(|booking| booking.handed_to);
    // Its end is noted a moment after the tick; it is over all the same.
    if let (Some(vm), Some(record)) = (handed_to, decided) {
        let name = name(record.sample.as_ref(), vm);
        return wire::Reservation {
            state: wire::ReservationState::HandedOver.into(),
            handed_to: Some(vm_ref(vm, name)),
            message: handed_over(name),
            ..plain(own)
        };
    }
    let lacks = booking.map(Booking::lacks);
    let refusals = match decided {
        Some(record) if lacks.is_some_and(|lacks| !lacks.is_zero()) => refusals(record),
        Some(_) | None => Vec::new(),
    };
    wire::Reservation {
        state: state(own, booking).into(),
        held_bytes: booking.map(|own| own.held.as_u64()),
        lacks_bytes: lacks.map(ByteCount::as_u64),
        refusals,
        message: message(own, booking, record),
        ..plain(own)
    }
}

pub(super) fn changed(change: &ReservationChange) -> wire::ReservationChanged {
    let event = match change.event {
        ReservationEvent::Made => wire::ReservationEvent::Made,
        ReservationEvent::Filled => wire::ReservationEvent::Filled,
        ReservationEvent::HandedOver => wire::ReservationEvent::HandedOver,
        ReservationEvent::Expired => wire::ReservationEvent::Expired,
        ReservationEvent::Released => wire::ReservationEvent::Released,
    };
    wire::ReservationChanged {
        event: event.into(),
        reservation: Some(plain(&change.reserved)),
        actor: Some(actor(&change.actor)),
        reason: change.reason.clone(),
    }
}

pub(super) fn bookings(record: &TickRecord) -> Vec<wire::Booking> {
    let booking = |own: &Booking| wire::Booking {
        id: own.id.0,
        min_bytes: own.min.as_u64(),
        max_bytes: own.max.as_u64(),
        held_bytes: own.held.as_u64(),
        handed_to: own.handed_to.map(|vm| vm_ref(vm, name(record.sample.as_ref(), vm))),
    };
    let decision = record.decision.iter();
    decision.flat_map(|decision| &decision.bookings).map(booking).collect()
}

/// What is known of it without a tick.
fn plain(own: &Reserved) -> wire::Reservation {
    let (ending, ended_at) = own.end.as_ref().map(|(how, at)| (how, *at)).unzip();
    let handed_to = match ending {
        Some(Ending::HandedOver { vm, name }) => Some(vm_ref(*vm, name)),
        Some(Ending::Expired | Ending::Released) | None => None,
    };
    wire::Reservation {
        id: own.reservation.id.0,
        min_bytes: own.reservation.min.as_u64(),
        max_bytes: own.reservation.max.as_u64(),
        vm: own.reservation.vm.as_ref().map(VmKey::to_string).unwrap_or_default(),
        reason: own.reason.clone(),
        actor: Some(actor(&own.actor)),
        expire_time: Some(timestamp(own.expires_at)),
        state: state(own, None).into(),
        handed_to,
        end_time: ended_at.map(timestamp),
        ..wire::Reservation::default()
    }
}

fn booking_of<'a>(own: &Reserved, record: &'a TickRecord) -> Option<&'a Booking> {
    let bookings = &record.decision.as_ref()?.bookings;
    bookings.iter().find(|booking| booking.id == own.reservation.id)
}

fn state(own: &Reserved, booking: Option<&Booking>) -> wire::ReservationState {
    match &own.end {
        Some((Ending::HandedOver { .. }, _)) => wire::ReservationState::HandedOver,
        Some((Ending::Expired, _)) => wire::ReservationState::Expired,
        Some((Ending::Released, _)) => wire::ReservationState::Released,
        None if booking.map_or(own.filled, |booking| booking.filled) => {
            wire::ReservationState::Filled
        }
        None => wire::ReservationState::Filling,
    }
}

/// The VMs that hold more than they are guaranteed and give nothing, those with most first. Who is on its
/// way down gives.
fn refusals(record: &TickRecord) -> Vec<wire::Refusal> {
    let (Some(sample), Some(decision)) = (&record.sample, &record.decision) else {
        return Vec::new();
    };
    let mut all: Vec<wire::Refusal> = sample
        .vms
        .keys()
        .filter_map(|id| refusal(record, sample, decision, *id))
        .filter(|refusal| refusal.beyond_bytes > 0)
        .collect();
    all.sort_by_key(|refusal| std::cmp::Reverse(refusal.beyond_bytes));
    all.truncate(MOST_REFUSALS);
    all
}

fn refusal(
    record: &TickRecord,
    sample: &Sample,
    decision: &Decision,
    id: VmId,
) -> Option<wire::Refusal> {
    let (vm, policy) = (sample.vms.get(&id)?, &record.policy.policy);
    let is_on_its_way = record.targets.get(&id).is_some_and(|target| *target < vm.actual);
    let gives = |own: &&Verdict| {
        own.kind == VerdictKind::Shrink || own.reason == Reason::Settling && is_on_its_way
    };
    let verdict = decision.verdicts.get(&id).filter(|own| !gives(own))?;
    let min = policy.rules(id, &vm.name, vm.max).limits.min;
    let message = match verdict.spare.filter(|spare| !spare.is_zero()) {
        Some(spare) if verdict.reason == Reason::SpareNotNeeded => format!(
            "holds: it could spare {spare} in this tick, and is not asked for it: what is missing comes \
             from others, or is on its way"
        ),
        Some(_) | None => explain::message(verdict, vm, policy),
    };
    Some(wire::Refusal {
        vm: Some(vm_ref(id, &vm.name)),
        beyond_bytes: vm.actual.saturating_sub(min).as_u64(),
        reason: verdict.reason.name().to_owned(),
        message,
    })
}

fn handed_over(name: &str) -> String {
    format!("handed over to {name}")
}

fn message(own: &Reserved, booking: Option<&Booking>, record: Option<&TickRecord>) -> String {
    if let Some((how, _)) = &own.end {
        return match how {
            Ending::HandedOver { name, .. } => handed_over(name),
            Ending::Expired => "its time was up".to_owned(),
            Ending::Released => "somebody released it".to_owned(),
        };
    }
    let why = match record.map(|record| (record.mode, record.error.is_some())) {
        None => "no tick has read the hypervisor yet",
        Some((_, true)) => "the last tick failed: see the conditions in the status",
        Some((Mode::Paused, _)) => "agentd is paused and decides nothing",
        Some((Mode::Observe, _)) => "agentd only observes: no VM is told to give",
        Some((Mode::Active, _)) => "",
    };
    let stands = match booking {
        None if own.filled => "was filled, and what it holds now is not known".to_owned(),
        None => "is made, and what it holds is not known yet".to_owned(),
        Some(booking) if booking.lacks().is_zero() => {
            return format!("holds {}, which nobody else is given", booking.held);
        }
        Some(booking) => {
            format!("holds {} of {}: {} are missing", booking.held, booking.min, booking.lacks())
        }
    };
    if why.is_empty() { stands } else { format!("{stands}; {why}") }
}

const MOST_REFUSALS: usize = 16;
