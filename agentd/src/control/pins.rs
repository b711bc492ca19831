//! [`Pin`]: a VM that is left alone for a while, and the [`Pins`] of a host.
//!
//! They stand beside the policy: no revision, no etag, no trial and no way back knows of them. They are laid
//! over what ticks decide by, and over what a shadow would.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{policy::Policy, vm::VmId};

use super::{Actor, Revision};
use crate::publish::Position;

/// A VM that is left alone for a while, whatever the policy says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which VM.
    pub vm: VmId,
    /// Its name when it was pinned.
    pub name: Arc<str>,
    /// Who pinned it, and when.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
    /// When it ends, by the wall clock.
    pub ends_at: SystemTime,
    /// The same by the monotonic clock of this run.
    pub ends: Duration,
}

/// All that there are, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<VmId, Arc<Pin>>);

/// A pin that somebody asks for.
#[derive(Clone, Debug)]
pub struct PinAsk {
    /// Which VM.
    pub vm: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// For how long.
    pub lasting: Duration,
    /// How it is asked for.
    pub wish: PinWish,
}

/// How somebody asks for a pin or its end.
#[derive(Clone, Debug)]
pub struct PinWish {
    /// Who asks.
    pub actor: Actor,
    /// Why, as they say.
    pub reason: String,
    /// Whether who asks may replace and end what somebody else pinned.
    pub may_any: bool,
    /// Check everything, change nothing.
    pub validate_only: bool,
}

/// What became of a pin that somebody asked for, or whose end they did.
#[derive(Clone, Debug)]
pub struct PinSet {
    /// The pin.
    pub pin: Arc<Pin>,
    /// The one in whose place it is.
    pub replaced: Option<Arc<Pin>>,
    /// Whether it has ended.
    pub is_over: bool,
    /// Its place in the log; `None` where nothing changed or the log was too slow to say.
    pub position: Option<Position>,
}

/// Why there is no such pin, or it does not end. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// There are as many as there may be.
    #[error("{0} VMs are pinned for a while, which is all that may be: unpin one first")]
    TooMany(usize),
    /// Somebody else pinned it.
    #[error(
        "{name} is pinned by {set_by}: to change or end what somebody else pinned needs the role admin"
    )]
    NotYours {
        /// Name of the VM.
        name: Arc<str>,
        /// Who pinned it.
        set_by: Actor,
    },
    /// It is not pinned for a while.
    #[error(
        "{0} is not pinned for a while: what the policy pins is unpinned by changing the policy"
    )]
    NotPinned(Arc<str>),
}

impl Pins {
    /// Most that there are at a time.
    pub const MOST: usize = 256;

    /// The one of this VM.
    #[must_use]
    pub fn get(&self, vm: VmId) -> Option<&Arc<Pin>> {
        self.0.get(&vm)
    }

    /// All of them, in the order of the VMs' UUIDs.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Pin>> {
        self.0.values()
    }

    /// The VMs that are pinned, in the same order.
    pub fn vms(&self) -> impl Iterator<Item = VmId> {
        self.0.keys().copied()
    }

    /// A revision with these over what it says of their VMs. Its number, its etag and all else stay.
    #[must_use]
    pub fn over(&self, revision: &Arc<Revision>) -> Arc<Revision> {
        if self.0.is_empty() {
            return Arc::clone(revision);
        }
        let mut acting = Revision::clone(revision);
        self.lay_over(&mut acting.policy);
        Arc::new(acting)
    }

    /// Leaves their VMs alone, whatever this policy says of them.
    pub fn lay_over(&self, policy: &mut Policy) {
        self.all().for_each(|pin| policy.pin(pin.vm));
    }

    /// Those that are over by then, and those that are left; `None` where none is over.
    #[must_use]
    pub fn ended(&self, now: Duration) -> Option<(Self, Self)> {
        let is_over = |pin: &Arc<Pin>| pin.ends <= now;
        self.all().any(is_over).then(|| {
            let (over, left): (Vec<_>, Vec<_>) = self.all().cloned().partition(is_over);
            (over.into_iter().collect(), left.into_iter().collect())
        })
    }

    /// With this one in the place of any other of its VM.
    pub(super) fn with(&self, pin: Arc<Pin>) -> Self {
        let mut all = self.clone();
        all.0.insert(pin.vm, pin);
        all
    }

    /// Without that of this VM.
    pub(super) fn without(&self, vm: VmId) -> Self {
        let mut all = self.clone();
        all.0.remove(&vm);
        all
    }
}

impl FromIterator<Arc<Pin>> for Pins {
    fn from_iter<T: IntoIterator<Item = Arc<Pin>>>(pins: T) -> Self {
        Self(pins.into_iter().map(|pin| (pin.vm, pin)).collect())
    }
}

/// Without its end: the log has the moment, and people their zone.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pin of {}", self.name)
    }
}
