//! [`Filter`]: which entries a watcher wants, and what is left of them.

use std::sync::Arc;

use agentd_core::vm::VmId;
use agentd_proto::v1 as wire;
use prost::{Message as _, bytes::Bytes};
use wire::watch_response::Body;

use crate::publish::{Entry, Kind};

/// Which entries a watcher wants. Empty lists want all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) kinds: Vec<Kind>,
    pub(super) vms: Vec<VmName>,
    pub(super) only_changes: bool,
    /// With what the shadow says.
    pub(super) shadow: bool,
}

/// A VM as a watcher names it. Texts that read as a UUID are kept in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VmName(String);

impl From<String> for VmName {
    fn from(text: String) -> Self {
        let id = text.parse::<VmId>();
        Self(id.map_or(text, |id| id.to_string()))
    }
}

impl Filter {
    /// What of an entry the watcher gets; `None` for nothing of it.
    pub(super) fn pass(&self, entry: &Entry) -> Option<Bytes> {
        if !self.kinds.is_empty() && !self.kinds.contains(&entry.kind) {
            return None;
        }
        let shadow = entry.shadow.as_ref().filter(|_| self.shadow);
        // Where nothing was done the shadow may have wanted something.
        let is_quiet = self.only_changes && !entry.eventful;
        if is_quiet && shadow.is_none() {
            return None;
        }
        let bytes = shadow.unwrap_or(&entry.bytes);
        let whole = || Some(Bytes::from_owner(Arc::clone(bytes)));
        let names_vms = match entry.kind {
            Kind::Tick | Kind::Vm | Kind::Pin => true,
            Kind::Policy | Kind::Mode | Kind::Reservation => false,
        };
        if (self.vms.is_empty() && !is_quiet) || !names_vms {
            return whole();
        }
        // Entries are our own encoding: one that does not decode is better passed on than lost.
        let Ok(mut message) = wire::WatchResponse::decode(&**bytes) else {
            return whole();
        };
        self.strip(&mut message).then(|| message.encode_to_vec().into())
    }

    /// Leaves out what concerns other VMs; false when nothing of the entry is left.
    fn strip(&self, message: &mut wire::WatchResponse) -> bool {
        match &mut message.body {
            Some(Body::VmChanged(change)) => self.names(change.vm.as_ref()),
            Some(Body::PinChanged(change)) => {
                self.names(change.pin.as_ref().and_then(|pin| pin.vm.as_ref()))
            }
            Some(Body::Tick(tick)) => {
                tick.vms.retain(|vm| self.names(vm.vm.as_ref()));
                tick.resizes.retain(|resize| self.names(resize.vm.as_ref()));
                tick.transfers.retain(|transfer| {
                    self.names(transfer.from.as_ref()) || self.names(transfer.to.as_ref())
                });
                if let Some(shadow) = &mut tick.shadow {
                    shadow.vms.retain(|vm| self.names(vm.vm.as_ref()));
                }
                let differs = tick.shadow.as_ref().is_some_and(|shadow| !shadow.vms.is_empty());
                let eventful = differs || !tick.transfers.is_empty() || !tick.resizes.is_empty();
                eventful || !self.only_changes
            }
            // Nothing else names VMs.
            Some(
                Body::Hello(_)
                | Body::Snapshot(_)
                | Body::Gap(_)
                | Body::Heartbeat(_)
                | Body::GoingAway(_)
                | Body::PolicyChanged(_)
                | Body::ModeChanged(_)
                | Body::ReservationChanged(_),
            )
            | None => true,
        }
    }

    /// True for VMs that the watcher wants.
    pub(super) fn names(&self, vm: Option<&wire::VmRef>) -> bool {
        let is = |vm: &wire::VmRef| {
            let mut names = self.vms.iter();
            names.any(|VmName(name)| *name == vm.uuid || *name == vm.name)
        };
        self.vms.is_empty() || vm.is_some_and(is)
    }
}
