//! How the keeper makes reservations and ends them.
//!
//! One that somebody makes or releases is on disk before the caller is told. How the others end is in
//! force at once, and written as soon as the disk takes it.

use std::{sync::Arc, time::Duration};

use agentd_core::{
    reserve::{Booking, Reservation, ReservationId},
    vm::VmId,
};

use super::{AGENT, Keeper, left_of, not_durable};
use crate::{
    control::{
        Actor, ControlError, Ending, RESERVATIONS_LOST, Reservations, ReserveAsk, ReserveError,
        ReserveSet, Reserved, StorageError,
        begin::actor,
        desk::{Claim, stuck},
    },
    event::{Event, ReservationChange, ReservationEvent},
    publish::Position,
};

/// How a reservation stood in a tick, and the name of the VM that it was handed over to.
pub(in crate::control) type Noted = (Booking, Option<Arc<str>>);

/// Reservations on disk that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// There are none.
    None,
    /// There are some, and nobody has seen to that.
    There,
    /// Somebody has, which is not on disk.
    SeenTo,
}

impl Unread {
    /// `why` is there where some could not be read.
    pub(super) const fn of(why: Option<&String>) -> Self {
        if why.is_some() { Self::There } else { Self::None }
    }
}

impl Keeper {
    /// Makes a reservation; the one that was made where the request is known.
    pub(in crate::control) fn reserve(
        &mut self,
        ask: ReserveAsk,
        claim: &Claim,
    ) -> Result<ReserveSet, ControlError> {
        let now = self.reservations();
        // Others may name theirs the same: they neither get this one nor learn of it.
        let named =
            |own: &&Arc<Reserved>| own.request_id == ask.request_id && own.actor.id == ask.actor.id;
        if let Some(known) = now.all().find(named).filter(|_| !ask.request_id.is_empty()) {
            if let Some(differs) = known.differs(&ask) {
                return Err(ReserveError::OtherRequest { id: known.reservation.id, differs }.into());
            }
            return Ok(ReserveSet { reserved: Arc::clone(known), position: None });
        }
        admit(&now, &ask)?;
        let mut reserved = self.reserved(&now, &ask);
        if ask.validate_only {
            reserved.reservation.id = ReservationId(0);
            return Ok(ReserveSet { reserved: Arc::new(reserved), position: None });
        }
        self.still_wanted(claim)?;
        let saved = self.storage.save_reservation(&reserved);
        self.wrote(saved).map_err(not_durable)?;
        if !claim.take() {
            let forgotten = self.storage.forget_reservation(reserved.reservation.id);
            super::log_failure("take a reservation back", forgotten);
            return Err(stuck(self.patience));
        }
        self.see_to_unread();
        let position = self.put_reserved(reserved, ReservationEvent::Made, (ask.actor, ask.reason));
        Ok(position)
    }

    /// Ends a reservation, unless it is over.
    pub(in crate::control) fn release(
        &mut self,
        id: u64,
        (by, reason): (Actor, String),
        claim: &Claim,
    ) -> Result<ReserveSet, ControlError> {
        let now = self.reservations();
        let known = now.find(id).ok_or(ReserveError::Unknown(id))?;
        if known.end.is_some() {
            return Ok(ReserveSet { reserved: Arc::clone(known), position: None });
        }
        self.still_wanted(claim)?;
        let end = Some((Ending::Released, self.clock.wall()));
        let over = Reserved { end, ..Reserved::clone(known) };
        let saved = self.storage.save_reservation(&over);
        self.wrote(saved).map_err(not_durable)?;
        if !claim.take() {
            let back = self.storage.save_reservation(known);
            super::log_failure("take the end of a reservation back", back);
            return Err(stuck(self.patience));
        }
        self.see_to_unread();
        Ok(self.put_reserved(over, ReservationEvent::Released, (by, reason)))
    }

    /// Takes in how reservations stood in a tick.
    pub(in crate::control) fn note_bookings(&mut self, noted: Vec<Noted>) {
        for (booking, name) in noted {
            let now = self.reservations();
            let known = now.find(booking.id.0);
            let Some(own) = known.map(|own| Reserved::clone(own)) else { continue };
            match booking.handed_to {
                Some(vm) if own.may_be_handed_over() => {
                    self.hand_over(own, vm, name.unwrap_or_default());
                }
                _ if own.end.is_some() => {}
                None if booking.filled && !own.filled => {
                    let filled = Reserved { filled: true, ..own };
                    self.put_reserved(filled, ReservationEvent::Filled, self.agent());
                }
                None if own.filled != booking.filled => {
                    self.show_reserved(Arc::new(Reserved { filled: booking.filled, ..own }));
                }
                Some(_) | None => {}
            }
        }
    }

    /// Ends reservations whose time is up.
    pub(super) fn expire_reservations(&mut self) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        for own in &self.reservations().open {
            if own.expires <= now {
                let end = Some((Ending::Expired, wall));
                self.end_reserved(
                    Reserved { end, ..Reserved::clone(own) },
                    ReservationEvent::Expired,
                );
            }
        }
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self, now: Duration) -> Option<Duration> {
        let reservations = self.reservations();
        reservations.open.iter().map(|own| own.expires.saturating_sub(now)).min()
    }

    /// Those that agentd was stopped with.
    pub(super) fn take_up_reservations(&self, saved: Vec<Reserved>, unread: Option<String>) {
        if let Some(why) = unread {
            let message = format!(
                "reservations are left out and hold nothing, for what was kept of them cannot be read \
                 ({why}): reserve again what is to be kept, which ends this"
            );
            self.audience.raise(RESERVATIONS_LOST, message);
        }
        let (now, wall) = (self.clock.now(), self.clock.wall());
        for mut own in saved {
            let left = left_of(own.actor.time, own.expires_at, wall);
            own.expires = now.saturating_add(left);
            self.show_reserved(Arc::new(own));
        }
    }

    /// Somebody has seen to what could not be read. Written by whoever catches up: who did it waits for the
    /// disk no more.
    fn see_to_unread(&mut self) {
        if self.unread_reservations == Unread::There {
            self.unread_reservations = Unread::SeenTo;
            // The disk has just taken something.
            self.retry_at = self.clock.now();
        }
    }

    /// Forgets what could not be read and was seen to: it is told no more, once that is on disk.
    pub(super) fn forget_unread(&mut self) -> Result<(), StorageError> {
        if self.unread_reservations == Unread::SeenTo {
            let forgotten = self.storage.forget_unread();
            self.wrote(forgotten)?;
            self.unread_reservations = Unread::None;
            self.audience.clear(RESERVATIONS_LOST);
        }
        Ok(())
    }

    fn hand_over(&mut self, own: Reserved, vm: VmId, name: Arc<str>) {
        let end = Some((Ending::HandedOver { vm, name }, self.clock.wall()));
        self.end_reserved(Reserved { end, ..own }, ReservationEvent::HandedOver);
    }

    fn end_reserved(&mut self, over: Reserved, event: ReservationEvent) {
        self.unsaved_ends.push(over.clone());
        // Told as a condition where it fails, and tried again.
        let _ = self.save_ends();
        self.put_reserved(over, event, self.agent());
    }

    /// Writes the ends that are in force and not on disk: no more than were open, for none is made
    /// that cannot be written.
    pub(super) fn save_ends(&mut self) -> Result<(), StorageError> {
        while let Some(over) = self.unsaved_ends.first() {
            let saved = self.storage.save_reservation(over);
            self.wrote(saved)?;
            self.unsaved_ends.remove(0);
        }
        Ok(())
    }

    fn agent(&self) -> (Actor, String) {
        (actor(AGENT, self.clock.wall()), String::new())
    }

    fn reserved(&self, now: &Reservations, ask: &ReserveAsk) -> Reserved {
        let ReserveAsk { min, max, lasting, vm, actor, reason, request_id, .. } = ask.clone();
        // The number of one that cannot be read is somebody's still.
        let least = ReservationId(self.last_reservation.saturating_add(1));
        let (id, wall) = (now.next_id().max(least), self.clock.wall());
        Reserved {
            reservation: Reservation { id, min, max, vm },
            // Accepted now: the time from here to its end is that for which it was asked.
            actor: Actor { time: wall, ..actor },
            reason,
            request_id,
            // A time that the calendar cannot hold is far from what may be asked for.
            expires_at: wall.checked_add(lasting).unwrap_or(wall),
            expires: self.clock.now().saturating_add(lasting),
            filled: false,
            end: None,
        }
    }

    fn put_reserved(
        &self,
        changed: Reserved,
        event: ReservationEvent,
        (actor, reason): (Actor, String),
    ) -> ReserveSet {
        let reserved = Arc::new(changed);
        self.show_reserved(Arc::clone(&reserved));
        tracing::info!(%actor, reason, "{reserved}: {}", event.name());
        let change = ReservationChange { reserved: Arc::clone(&reserved), event, actor, reason };
        let position: Option<Position> = self.audience.announce(Event::Reservation(change));
        ReserveSet { reserved, position }
    }

    fn reservations(&self) -> Arc<Reservations> {
        Arc::clone(&self.shared.in_force.load().reservations)
    }

    fn show_reserved(&self, changed: Arc<Reserved>) {
        self.shared.put_reservations(self.reservations().with(changed));
    }
}

/// Whether a reservation can be, beside those that there are.
fn admit(now: &Reservations, ask: &ReserveAsk) -> Result<(), ReserveError> {
    if now.open.len() >= Reservations::MOST {
        return Err(ReserveError::TooMany(Reservations::MOST));
    }
    if let (Some(holds), Some(vm)) = (ask.runs, &ask.vm) {
        return Err(ReserveError::VmRuns { vm: vm.clone(), holds });
    }
    let same = now.open.iter().find(|own| ask.vm.is_some() && own.reservation.vm == ask.vm);
    if let (Some(own), Some(vm)) = (same, &ask.vm) {
        return Err(ReserveError::Twice { id: own.reservation.id, vm: vm.clone() });
    }
    ask.room
        .objection(ask.min, now.guaranteed())
        .map_or(Ok(()), |why| Err(ReserveError::DoesNotFit(why)))
}
