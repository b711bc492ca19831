//! What happens in agentd, as it is recorded and published: one [`Event`] for every tick and for
//! every change between ticks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    decision::Decision,
    life::Life,
    sample::{Sample, VmSample},
    state::{Applied, State},
    vm::VmId,
};

use crate::control::{Actor, FieldChange, Mode, Pin, Pins, Reserved, Revision};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A tick finished.
    Tick(Arc<TickRecord>),
    /// A VM came, went or changed its state.
    Vm(VmChange),
    /// The policy changed.
    Policy(PolicyChange),
    /// The mode changed.
    Mode(ModeChange),
    /// A reservation was made, filled, or is over.
    Reservation(ReservationChange),
    /// A VM was pinned for a while, or is no longer.
    Pin(PinChange),
}

/// One turn of the loop: what was seen, decided and done.
#[derive(Clone, Debug)]
pub struct TickRecord {
    /// Counts ticks since the start of agentd, from 0.
    pub tick: u64,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// When it began, monotonic since the start of agentd.
    pub now: Duration,
    /// How long it took.
    pub took: Duration,
    /// Mode of this turn.
    pub mode: Mode,
    /// The freeze file, where it was there: the turn was one of mode paused.
    pub frozen: Option<String>,
    /// Policy of this turn, with the pins over it.
    pub policy: Arc<Revision>,
    /// VMs that were left alone for a while.
    pub pins: Arc<Pins>,
    /// What was observed; `None` where the hypervisor could not be read.
    pub sample: Option<Sample>,
    /// What was remembered when this was decided.
    pub before: Arc<State>,
    /// Whether all was begun anew since the tick before.
    pub anew: bool,
    /// What was decided; `None` while paused and where nothing was observed.
    pub decision: Option<Decision>,
    /// What was done.
    pub applied: Applied,
    /// When all orders were given, monotonic; the beginning where there were none.
    pub settled: Duration,
    /// Where each VM was in its life.
    pub lives: BTreeMap<VmId, Life>,
    /// The most that each VM might have come to hold without another order; empty while paused.
    pub exposures: BTreeMap<VmId, ByteCount>,
    /// Target last ordered for each VM, after this turn.
    pub targets: BTreeMap<VmId, ByteCount>,
    /// Why the hypervisor could not be read, or the plan was thrown away.
    pub error: Option<String>,
    /// What was wrong or unusual when it was over, by the names of conditions: whoever tells of it adds that.
    pub conditions: Vec<&'static str>,
}

impl TickRecord {
    /// What was observed of a VM; `None` where it was not there, or nothing could be read.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Option<&VmSample> {
        self.sample.as_ref()?.vms.get(&id)
    }
}

/// A VM that came, went or changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmChange {
    /// Which VM.
    pub vm: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// State before; `None` when it has just come.
    pub before: Option<Life>,
    /// State now; `None` when it is gone.
    pub after: Option<Life>,
}

/// A change of the policy.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    /// The policy after it, with who made it, why, and when it reverts.
    pub revision: Arc<Revision>,
    /// What changed.
    pub changes: Vec<FieldChange>,
}

/// A change of the mode.
#[derive(Clone, Debug)]
pub struct ModeChange {
    /// Who made it.
    pub actor: Actor,
    /// Mode before.
    pub before: Mode,
    /// Mode now.
    pub after: Mode,
    /// Why, as its maker said.
    pub reason: String,
}

/// A reservation that was made, filled, or is over.
#[derive(Clone, Debug)]
pub struct ReservationChange {
    /// The reservation after it.
    pub reserved: Arc<Reserved>,
    /// What happened.
    pub event: ReservationEvent,
    /// Who did it.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
}

/// A pin that began or is over.
#[derive(Clone, Debug)]
pub struct PinChange {
    /// The pin.
    pub pin: Arc<Pin>,
    /// What happened.
    pub event: PinEvent,
    /// Who did it.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
}

/// What happens to a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinEvent {
    /// It began.
    Begun,
    /// It took the place of one of the same VM.
    Replaced,
    /// Its time was up.
    Expired,
    /// Somebody ended it.
    Ended,
}

impl PinEvent {
    /// It in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }
}

/// What happens to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationEvent {
    /// It was made.
    Made,
    /// It holds its minimum.
    Filled,
    /// Its VM is there and is counted in its place.
    HandedOver,
    /// Its time was up.
    Expired,
    /// Somebody released it.
    Released,
}

impl ReservationEvent {
    /// It in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Filled => "filled",
            Self::HandedOver => "handed over",
            Self::Expired => "expired",
            Self::Released => "released",
        }
    }
}
