//! [`Troubles`]: which VMs a fault meets, has met, or has left alone again.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd::hypervisor::sim::{Behaviour, Kind};
use agentd_core::vm::VmId;

/// What VMs do in a run that cooperative ones would not.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(BTreeMap<VmId, Vec<Behaviour>>);

impl Troubles {
    /// Those of these VMs.
    pub(super) fn new(all: impl IntoIterator<Item = (VmId, Vec<Behaviour>)>) -> Self {
        Self(all.into_iter().filter(|(_, own)| !own.is_empty()).collect())
    }

    /// No fault ever meets it.
    pub(super) fn is_sound(&self, id: VmId) -> bool {
        !self.0.contains_key(&id)
    }

    /// No fault has met it so far.
    pub(super) fn none_so_far(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| own.during.from > now)
    }

    /// No fault meets it now, nor did lately, and none that is remembered ever did: what a VM said
    /// that lied is part of what is known of it.
    pub(super) fn is_over(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| {
            let ended = own.during.until.is_some_and(|until| until.saturating_add(AFTER) <= now);
            own.during.from > now || ended && own.kind != Kind::Lying
        })
    }

    /// No fault meets it now, nor did lately, but for what it is made of, which is known.
    pub(super) fn is_quiet(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| {
            let ended = own.during.until.is_some_and(|until| until.saturating_add(AFTER) <= now);
            own.during.from > now || ended || KNOWN.contains(&own.kind)
        })
    }

    fn of(&self, id: VmId) -> impl Iterator<Item = &Behaviour> {
        self.0.get(&id).into_iter().flatten()
    }
}

/// What a definition says, and does not change.
const KNOWN: [Kind; 5] =
    [Kind::Vfio, Kind::HugePages, Kind::Locked, Kind::Confidential, Kind::NoBalloon];
/// What is left of a fault shows by then: figures are proven anew, an order without answer is over.
const AFTER: Duration = Duration::from_secs(40);
