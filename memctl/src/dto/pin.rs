//! DTOs of pins: VMs that are left alone for a while, beside the policy.

use agentd_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Actor, Time, VmName, time, word};

/// What leaves a VM alone for a while, whatever the policy says of it.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Pin {
    /// By the name that it had when it was pinned.
    pub(crate) vm: VmName,
    pub(crate) end_time: Option<Time>,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
}

/// A pin that began or is over.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct PinEvent {
    /// "begun", "replaced", "expired", "ended".
    pub(crate) event: String,
    pub(crate) pin: Pin,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
}

impl From<v1::Pin> for Pin {
    fn from(wire: v1::Pin) -> Self {
        Self {
            vm: wire.vm.unwrap_or_default().into(),
            end_time: time(wire.end_time),
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
        }
    }
}

impl From<v1::PinChanged> for PinEvent {
    fn from(wire: v1::PinChanged) -> Self {
        Self {
            event: word(wire.event, v1::PinEvent::as_str_name, "PIN_EVENT_"),
            pin: wire.pin.unwrap_or_default().into(),
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
        }
    }
}
