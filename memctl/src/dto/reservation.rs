//! DTOs of reservations: memory that is kept together for VMs to come.

use agentd_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Actor, Time, VmName, time, word};

/// Memory that is kept together for a VM to come.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Reservation {
    pub(crate) id: u64,
    /// "filling", "filled", "handed_over", "expired", "released".
    pub(crate) state: String,
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
    /// Null while nobody knows, and when it is over.
    pub(crate) held_bytes: Option<u64>,
    /// What is missing to the minimum; null as `held_bytes`.
    pub(crate) lacks_bytes: Option<u64>,
    /// Name or UUID of the VM that it is for; null where it is for the first that comes.
    pub(crate) vm: Option<String>,
    pub(crate) reason: String,
    pub(crate) actor: Option<Actor>,
    pub(crate) expire_time: Option<Time>,
    /// Null unless it was handed over.
    pub(crate) handed_to: Option<VmName>,
    /// Null while it is not over.
    pub(crate) end_time: Option<Time>,
    pub(crate) refusals: Vec<VmRefusal>,
    /// Where it stands, for people.
    pub(crate) message: String,
}

/// Why a VM gives nothing to a reservation.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct VmRefusal {
    pub(crate) vm: VmName,
    pub(crate) beyond_bytes: u64,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// How a reservation stands at one tick.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Booking {
    pub(crate) id: u64,
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) held_bytes: u64,
    /// Null while no VM has come for it.
    pub(crate) handed_to: Option<VmName>,
}

/// A reservation that was made, filled, or is over.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ReservationEvent {
    /// "made", "filled", "handed_over", "expired", "released".
    pub(crate) event: String,
    pub(crate) reservation: Reservation,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
}

impl Reservation {
    /// Its minimum is there.
    pub(crate) const FILLED: &str = "filled";
    /// Its VM is there.
    pub(crate) const HANDED_OVER: &str = "handed_over";

    /// Whether it did what it is for: its minimum is there, or its VM has it.
    pub(crate) fn is_there(&self) -> bool {
        self.state == Self::FILLED || self.state == Self::HANDED_OVER
    }
}

impl From<v1::Reservation> for Reservation {
    fn from(wire: v1::Reservation) -> Self {
        Self {
            state: word(wire.state, v1::ReservationState::as_str_name, "RESERVATION_STATE_"),
            id: wire.id,
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            held_bytes: wire.held_bytes,
            lacks_bytes: wire.lacks_bytes,
            vm: Some(wire.vm).filter(|vm| !vm.is_empty()),
            reason: wire.reason,
            actor: wire.actor.map(Into::into),
            expire_time: time(wire.expire_time),
            handed_to: wire.handed_to.map(Into::into),
            end_time: time(wire.end_time),
            refusals: wire.refusals.into_iter().map(Into::into).collect(),
            message: wire.message,
        }
    }
}

impl From<v1::Refusal> for VmRefusal {
    fn from(wire: v1::Refusal) -> Self {
        Self {
            vm: wire.vm.unwrap_or_default().into(),
            beyond_bytes: wire.beyond_bytes,
            reason: wire.reason,
            message: wire.message,
        }
    }
}

impl From<v1::Booking> for Booking {
    fn from(wire: v1::Booking) -> Self {
        Self {
            id: wire.id,
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            held_bytes: wire.held_bytes,
            handed_to: wire.handed_to.map(Into::into),
        }
    }
}

impl From<v1::ReservationChanged> for ReservationEvent {
    fn from(wire: v1::ReservationChanged) -> Self {
        Self {
            event: word(wire.event, v1::ReservationEvent::as_str_name, "RESERVATION_EVENT_"),
            reservation: wire.reservation.unwrap_or_default().into(),
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
        }
    }
}
