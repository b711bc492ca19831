//! Pins as messages of the wire.

use agentd_proto::v1 as wire;

use super::{actor, timestamp, vm_ref};
use crate::{
    control::Pin,
    event::{PinChange, PinEvent},
};

pub(in crate::server) fn pin(pin: &Pin) -> wire::Pin {
    wire::Pin {
        vm: Some(vm_ref(pin.vm, &pin.name)),
        end_time: Some(timestamp(pin.ends_at)),
        actor: Some(actor(&pin.actor)),
        reason: pin.reason.clone(),
    }
}

pub(super) fn changed(change: &PinChange) -> wire::PinChanged {
    let event = match change.event {
        PinEvent::Begun => wire::PinEvent::Begun,
        PinEvent::Replaced => wire::PinEvent::Replaced,
        PinEvent::Expired => wire::PinEvent::Expired,
        PinEvent::Ended => wire::PinEvent::Ended,
    };
    wire::PinChanged {
        event: event.into(),
        pin: Some(pin(&change.pin)),
        actor: Some(actor(&change.actor)),
        reason: change.reason.clone(),
    }
}
