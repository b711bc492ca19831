//! [`Ask`]: a call that asks for a change, from its arrival to its record in the audit.
//!
//! Whatever a call comes to is written down here: what it was refused for before anything could be changed,
//! that a change is about to be made, and what became of it.

use std::sync::Arc;

use agentd_core::reserve::Reservation;
use jiff::Timestamp;
use tonic::{Code, Request, Status};

use super::{
    Published,
    fault::{self, failed},
    peer::Peer,
};
use crate::{
    audit::{Asked, Audit, Call, Caller, Change, Changes, Effect, Facts, NOT_DURABLE, Refused},
    control::{
        Control, ControlError, Ending, InForce, Mode, ModeSet, Pin, PinSet, PolicySet, ReserveSet,
        Reserved, Revision,
    },
};

/// A call that asks for a change.
#[derive(Debug)]
pub(super) struct Ask {
    audit: Arc<Audit>,
    call: Call,
    target: Target,
    asked: Facts,
    changes: Changes,
    /// It changes nothing, so nothing is written down.
    is_dry: bool,
    is_pause: bool,
}

/// What a call is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Mode,
    Policy,
    /// A reservation that is to be made.
    NewReservation,
    Reservation(u64),
    /// VMs that are pinned for a while.
    Pin,
    /// With what decides along before the change.
    Shadow(String),
}

/// What a change has done, for the audit.
pub(super) trait Made {
    fn effect(&self) -> Effect;
}

impl Ask {
    /// The call of this method, in its full name.
    pub(super) fn new<T>(
        published: &Published,
        request: &Request<T>,
        (method, target): (&str, Target),
    ) -> Self {
        let caller = Caller::from(&Peer::of(request));
        let (method, name) = (method.to_owned(), target.name());
        let call = Call { caller, method, target: name, ..Call::default() };
        let (asked, changes) = Default::default();
        let audit = Arc::clone(&published.audit);
        Self { audit, call, target, asked, changes, is_dry: false, is_pause: false }
    }

    /// Notes that the caller wants to know what would be, and to change nothing.
    pub(super) const fn only_checks(&mut self, is_dry: bool) {
        self.is_dry = is_dry;
    }

    /// Notes why the caller asks, as it says.
    pub(super) fn says(&mut self, reason: &str) {
        reason.clone_into(&mut self.call.reason);
    }

    /// Notes how the caller names the request.
    pub(super) fn named(&mut self, request_id: &str) {
        request_id.clone_into(&mut self.call.request_id);
    }

    /// Notes something that is asked for.
    pub(super) fn wants(&mut self, what: &str, value: &(impl ToString + ?Sized)) {
        self.asked.insert(what.to_owned(), value.to_string());
    }

    /// Notes the mode that is asked for. A pause is made also where it cannot be written down.
    pub(super) fn wants_mode(&mut self, mode: Mode) {
        self.wants("mode", mode.name());
        self.is_pause = mode == Mode::Paused;
    }

    /// Notes the fields that are to change.
    pub(super) fn wants_changes(&mut self, changes: Changes) {
        self.changes = changes;
    }

    /// Writes down why the call ends here, where it does.
    pub(super) fn checked<T>(&self, result: Result<T, Status>) -> Result<T, Status> {
        result.inspect_err(|status| {
            if !self.is_dry {
                self.audit.refused(self.call.clone(), refused(status));
            }
        })
    }

    /// Makes the change: what is asked for is on disk before, and what became of it after. Blocks.
    pub(super) fn make<T: Made>(
        self,
        control: &Control,
        work: impl FnOnce(&Control) -> Result<T, ControlError>,
        refusal: impl FnOnce(ControlError) -> Status,
    ) -> Result<T, Status> {
        if self.is_dry {
            return work(control).map_err(refusal);
        }
        let audit = Arc::clone(&self.audit);
        let change = self.intend(&control.in_force())?;
        let result = work(control).map_err(refusal);
        audit.conclude(&change, result.as_ref().map(Made::effect).map_err(refused));
        result
    }

    fn intend(self, in_force: &InForce) -> Result<Change, Status> {
        let before = self.target.before(in_force);
        let asked = Asked { before, asked: self.asked, changes: self.changes };
        if self.is_pause {
            return Ok(self.audit.intend_pause(self.call, asked));
        }
        let change = self.audit.intend(self.call, asked);
        change.map_err(|error| failed(Code::Unavailable, NOT_DURABLE, error.to_string(), []))
    }
}

impl Target {
    fn name(&self) -> String {
        match self {
            Self::Mode => "mode".to_owned(),
            Self::Policy => "policy".to_owned(),
            Self::NewReservation => "reservation".to_owned(),
            Self::Reservation(id) => format!("reservation {id}"),
            Self::Pin => "pin".to_owned(),
            Self::Shadow(_) => "shadow".to_owned(),
        }
    }

    fn before(&self, in_force: &InForce) -> Facts {
        match self {
            Self::Mode => mode(in_force.mode),
            Self::Policy => revision(&in_force.policy),
            // Which VM is meant is found later, and what is so before is told with what comes of it.
            Self::NewReservation | Self::Pin => Facts::new(),
            Self::Reservation(id) => {
                in_force.reservations.find(*id).map_or_else(Facts::new, |own| reserved(own))
            }
            Self::Shadow(before) => shadow(before),
        }
    }
}

impl Made for ModeSet {
    fn effect(&self) -> Effect {
        let mut after = mode(self.after);
        if !self.durable {
            after.insert("durable".to_owned(), "false".to_owned());
        }
        Effect { before: Some(mode(self.before)), after, changes: Changes::default() }
    }
}

impl Made for PolicySet {
    fn effect(&self) -> Effect {
        let (before, after) = (Some(revision(&self.before)), revision(&self.revision));
        Effect { before, after, changes: Changes::of(&self.changes) }
    }
}

/// A trial that was made to stay.
impl Made for Arc<Revision> {
    fn effect(&self) -> Effect {
        let mut after = revision(self);
        after.insert("trial".to_owned(), "confirmed".to_owned());
        Effect { before: None, after, changes: Changes::default() }
    }
}

impl Made for ReserveSet {
    fn effect(&self) -> Effect {
        Effect { before: None, after: reserved(&self.reserved), changes: Changes::default() }
    }
}

impl Made for PinSet {
    fn effect(&self) -> Effect {
        let before = if self.is_over { Some(&self.pin) } else { self.replaced.as_ref() };
        let after = if self.is_over { unpinned(&self.pin) } else { pinned(&self.pin) };
        let before = Some(before.map_or_else(|| unpinned(&self.pin), |pin| pinned(pin)));
        Effect { before, after, changes: Changes::default() }
    }
}

/// With its end as a time: "for 30m" of what is asked for does not tell when that begins.
fn pinned(pin: &Pin) -> Facts {
    // A time that the calendar cannot hold is far from what may be asked for.
    let until = Timestamp::try_from(pin.ends_at).unwrap_or_default();
    facts([
        ("vm", pin.vm.to_string()),
        ("pinned_by", pin.actor.to_string()),
        ("pinned_until", format!("{until:.6}")),
    ])
}

fn unpinned(pin: &Pin) -> Facts {
    let none = String::new;
    facts([("vm", pin.vm.to_string()), ("pinned_by", none()), ("pinned_until", none())])
}

fn mode(mode: Mode) -> Facts {
    facts([("mode", mode.name().to_owned())])
}

fn revision(revision: &Revision) -> Facts {
    facts([("revision", revision.number.to_string()), ("etag", revision.etag.clone())])
}

fn reserved(own: &Reserved) -> Facts {
    let Reservation { id, min, max, vm } = &own.reservation;
    let state = match own.end {
        None => "open",
        Some((Ending::HandedOver { .. }, _)) => "handed over",
        Some((Ending::Expired, _)) => "expired",
        Some((Ending::Released, _)) => "released",
    };
    let mut facts = facts([
        ("reservation", id.to_string()),
        ("min", min.to_string()),
        ("max", max.to_string()),
        ("state", state.to_owned()),
    ]);
    facts.extend(vm.as_ref().map(|vm| ("vm".to_owned(), vm.to_string())));
    facts
}

/// What decides along, in words.
pub(super) fn shadow(words: &str) -> Facts {
    facts([("shadow", words.to_owned())])
}

fn facts<const N: usize>(facts: [(&str, String); N]) -> Facts {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn refused(status: &Status) -> Refused {
    Refused { reason: fault::reason(status), detail: status.message().to_owned() }
}
