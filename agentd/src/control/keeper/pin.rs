//! How the keeper pins VMs for a while and ends that.
//!
//! All pins are written together. What somebody asks for is on disk before they are told; that one's time
//! is up is in force at once, and written as soon as the disk takes it.

use std::{sync::Arc, time::Duration};

use agentd_core::vm::VmId;

use super::{AGENT, Keeper, left_of, log_failure, not_durable};
use crate::{
    control::{
        Actor, ControlError, PINS_LOST, Pin, PinAsk, PinError, PinSet, PinWish, Pins, StorageError,
        begin::actor,
        desk::{Claim, stuck},
    },
    event::{Event, PinChange, PinEvent},
    publish::Position,
};

impl Keeper {
    /// Pins a VM for a while, in the place of what pinned it for a while before.
    pub(in crate::control) fn pin(
        &mut self,
        ask: PinAsk,
        claim: &Claim,
    ) -> Result<PinSet, ControlError> {
        let now = self.pins();
        let replaced = now.get(ask.vm).cloned();
        match &replaced {
            Some(pin) => may_change(pin, &ask.wish)?,
            None if now.all().len() >= Pins::MOST => {
                return Err(PinError::TooMany(Pins::MOST).into());
            }
            None => {}
        }
        let PinWish { validate_only, actor, reason, .. } = ask.wish.clone();
        let pin = Arc::new(self.pin_of(ask));
        let mut position = None;
        if !validate_only {
            self.make_pins(now.with(Arc::clone(&pin)), claim)?;
            let event = if replaced.is_some() { PinEvent::Replaced } else { PinEvent::Begun };
            position = self.tell_pin(&pin, event, (actor, reason));
        }
        Ok(PinSet { pin, replaced, is_over: false, position })
    }

    /// Ends the pin of a VM; `name` is what whoever asks calls it.
    pub(in crate::control) fn unpin(
        &mut self,
        (vm, name): (VmId, Arc<str>),
        wish: PinWish,
        claim: &Claim,
    ) -> Result<PinSet, ControlError> {
        let now = self.pins();
        let pin = Arc::clone(now.get(vm).ok_or(PinError::NotPinned(name))?);
        may_change(&pin, &wish)?;
        let mut position = None;
        if !wish.validate_only {
            self.make_pins(now.without(vm), claim)?;
            position = self.tell_pin(&pin, PinEvent::Ended, (wish.actor, wish.reason));
        }
        Ok(PinSet { pin, replaced: None, is_over: true, position })
    }

    /// Ends pins whose time is up.
    pub(super) fn expire_pins(&mut self) {
        let Some((over, left)) = self.pins().ended(self.clock.now()) else { return };
        self.shared.put_pins(left);
        // What cannot be read stays on disk until somebody sees to it: the next start ends these once more.
        self.unsaved_pins = !self.unread_pins;
        // Told as a condition where it fails, and tried again.
        let _ = self.save_pins();
        for pin in over.all() {
            let agent = actor(AGENT, self.clock.wall());
            self.tell_pin(pin, PinEvent::Expired, (agent, String::new()));
        }
    }

    /// When the next one ends.
    pub(super) fn next_unpin(&self, now: Duration) -> Option<Duration> {
        self.pins().all().map(|pin| pin.ends.saturating_sub(now)).min()
    }

    /// Those that agentd was stopped with.
    pub(super) fn take_up_pins(&self, saved: Vec<Pin>, unread: Option<String>) {
        if let Some(why) = unread {
            let message = format!(
                "VMs that were pinned for a while are not any more, for what was kept of them cannot be \
                 read ({why}): pin again what is to be left alone, which ends this"
            );
            self.audience.raise(PINS_LOST, message);
        }
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let taken = saved.into_iter().take(Pins::MOST).map(|mut pin| {
            let left = left_of(pin.actor.time, pin.ends_at, wall);
            pin.ends = now.saturating_add(left);
            Arc::new(pin)
        });
        self.shared.put_pins(taken.collect());
    }

    /// Writes that pins are over, where that is in force and not on disk.
    pub(super) fn save_pins(&mut self) -> Result<(), StorageError> {
        if self.unsaved_pins {
            let saved = self.storage.save_pins(&self.pins());
            self.wrote(saved)?;
            self.unsaved_pins = false;
        }
        Ok(())
    }

    /// Writes pins and puts them in force; takes them back where nobody wants them any more.
    fn make_pins(&mut self, pins: Pins, claim: &Claim) -> Result<(), ControlError> {
        self.still_wanted(claim)?;
        let saved = self.storage.save_pins(&pins);
        self.wrote(saved).map_err(not_durable)?;
        self.unsaved_pins = false;
        if !claim.take() {
            let taken_back = self.storage.save_pins(&self.pins());
            self.unsaved_pins = taken_back.is_err();
            log_failure("take a change of pins back", taken_back);
            return Err(stuck(self.patience));
        }
        self.shared.put_pins(pins);
        self.unread_pins = false;
        self.audience.clear(PINS_LOST);
        Ok(())
    }

    fn pin_of(&self, ask: PinAsk) -> Pin {
        let PinAsk { vm, name, lasting, wish: PinWish { actor, reason, .. } } = ask;
        let wall = self.clock.wall();
        // A time that the calendar cannot hold is far from what may be asked for.
        let ends_at = wall.checked_add(lasting).unwrap_or(wall);
        Pin { vm, name, actor, reason, ends_at, ends: self.clock.now().saturating_add(lasting) }
    }

    fn tell_pin(
        &self,
        pin: &Arc<Pin>,
        event: PinEvent,
        (actor, reason): (Actor, String),
    ) -> Option<Position> {
        tracing::info!(%actor, reason, vm = %pin.vm, "{pin}: {}", event.name());
        let change = PinChange { pin: Arc::clone(pin), event, actor, reason };
        self.audience.announce(Event::Pin(change))
    }

    fn pins(&self) -> Arc<Pins> {
        Arc::clone(&self.shared.in_force.load().pins)
    }
}

/// Refuses what would undo what somebody else wanted.
fn may_change(pin: &Pin, wish: &PinWish) -> Result<(), PinError> {
    if wish.may_any || wish.actor.id == pin.actor.id {
        return Ok(());
    }
    Err(PinError::NotYours { name: Arc::clone(&pin.name), set_by: pin.actor.clone() })
}
