//! The operator's will: the policy and the mode in force, what is reserved, and how these are changed.
//!
//! ```text
//! server --ask--> Control --job--> Keeper --> Storage      durable, then
//! tick <--in_force, gate-- Shared <--swap-- Keeper         in force, then
//!                                           Keeper --> Audience   told
//! ```
//!
//! Changes are made one after the other on the keeper's thread, so that a slow disk delays their
//! callers and nobody else. A pause alone takes effect before it is written.

mod begin;
mod bounds;
mod desk;
mod fields;
mod gate;
mod keeper;
mod pins;
mod reserved;
mod storage;

use std::{
    fmt::{self, Debug, Display},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::policy::{Fault, Policy};

use crate::{event::Event, publish::Position};

pub use bounds::Bounds;
pub use desk::{Control, PATIENCE, Parts, StartError};
pub use fields::{Overcommitment, beyond_host, changes, forbids, warnings};
pub use gate::{Gate, Pass};
pub use pins::{Pin, PinAsk, PinError, PinSet, PinWish, Pins};
pub use reserved::{Ending, Reservations, ReserveAsk, ReserveError, ReserveSet, Reserved};
pub use storage::{Eased, Saved, SavedMode, Storage, StorageError};

/// What agentd does with its decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Decide and carry out.
    #[default]
    Active,
    /// Decide and publish, carry out nothing.
    Observe,
    /// Decide nothing.
    Paused,
}

/// A policy with its place in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Starts at 1 and grows by 1 with every change.
    pub number: u64,
    /// Opaque; equal etags mean the same revision of an equal policy.
    pub etag: String,
    /// The policy.
    pub policy: Policy,
    /// Who made it.
    pub actor: Actor,
    /// Why, as its maker said.
    pub reason: String,
    /// When it goes back to the revision before unless it is confirmed.
    pub revert_at: Option<SystemTime>,
}

/// Who changed something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// "uid:0", the name in a certificate, "config" or "agent".
    pub id: String,
    /// Address of the caller; empty for local ones.
    pub peer: String,
    /// When the change was accepted.
    pub time: SystemTime,
}

/// One field of the policy that changed, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Path as in a field mask of the wire.
    pub path: String,
    /// Old value; "unset" where there was none.
    pub old: String,
    /// New value; "unset" where there is none.
    pub new: String,
}

/// What is in force now.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The mode.
    pub mode: Mode,
    /// The policy.
    pub policy: Arc<Revision>,
    /// VMs that are left alone for a while, beside the policy.
    pub pins: Arc<Pins>,
    /// What ticks decide by: the policy with the pins over it.
    pub acting: Arc<Revision>,
    /// Memory that is to be kept for VMs to come.
    pub reservations: Arc<Reservations>,
}

impl Revision {
    /// Whether it is the same policy as the other's. Cheap where it is the same revision.
    #[must_use]
    pub fn says_as(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || self.policy == other.policy
    }
}

impl InForce {
    /// What nobody has set and nobody changes, for whoever runs ticks without a keeper.
    #[must_use]
    pub fn fixed(mode: Mode, policy: Policy) -> Self {
        let time = SystemTime::UNIX_EPOCH;
        let actor = Actor { id: "agent".to_owned(), peer: String::new(), time };
        let (etag, reason) = (String::new(), String::new());
        let revision = Revision { number: 1, etag, policy, actor, reason, revert_at: None };
        Self::beginning(mode, Arc::new(revision))
    }

    /// A mode and a policy with nothing beside them.
    pub(in crate::control) fn beginning(mode: Mode, policy: Arc<Revision>) -> Self {
        let (pins, reservations) = Default::default();
        Self { mode, acting: Arc::clone(&policy), policy, pins, reservations }
    }

    /// The same with another policy.
    fn with_policy(&self, policy: &Arc<Revision>) -> Self {
        let acting = self.pins.over(policy);
        Self { policy: Arc::clone(policy), acting, ..self.clone() }
    }

    /// The same with other pins.
    #[must_use]
    pub(crate) fn with_pins(&self, pins: &Arc<Pins>) -> Self {
        let acting = pins.over(&self.policy);
        Self { pins: Arc::clone(pins), acting, ..self.clone() }
    }
}

/// A change of the policy that somebody asks for.
pub struct PolicyEdit {
    /// Makes the new policy of the one in force.
    pub edit: EditFn,
    /// Etag that the change is based on; `None` for whatever is in force.
    pub etag: Option<String>,
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// Make it a trial: go back after this unless it is confirmed.
    pub revert_after: Option<Duration>,
    /// Whether who asks may set one for good. Where not, trials in a row end within a day.
    pub may_last: bool,
    /// Who asks.
    pub actor: Actor,
    /// Why, as they say.
    pub reason: String,
}

/// Makes a new policy of an old one.
pub type EditFn = Box<dyn FnOnce(&Policy) -> Result<Policy, Vec<Fault>> + Send>;

/// What became of a change of the policy.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// The policy before it.
    pub before: Arc<Revision>,
    /// The policy after it; with `validate_only` what it would be.
    pub revision: Arc<Revision>,
    /// What changed; empty where the policy already was so.
    pub changes: Vec<FieldChange>,
    /// What makes sense but was hardly meant.
    pub warnings: Vec<String>,
    /// Its place in the log; `None` where nothing changed or the log was too slow to say.
    pub position: Option<Position>,
}

/// What became of the policy when another config file was read: twice the same where it is as it was.
#[derive(Clone, Debug)]
pub struct Rebased {
    /// The policy in force before.
    pub before: Arc<Revision>,
    /// The policy in force after.
    pub after: Arc<Revision>,
}

/// What became of a change of the mode.
#[derive(Clone, Debug)]
pub struct ModeSet {
    /// Mode before.
    pub before: Mode,
    /// Mode in force. Not the one asked for where somebody paused at the same time.
    pub after: Mode,
    /// False when a restart would forget it. Only a pause is accepted so.
    pub durable: bool,
    /// Its place in the log; `None` where nothing changed or the log was too slow to say.
    pub position: Option<Position>,
}

/// Why a change was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Values make no sense.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Fault>),
    /// It was based on another revision.
    #[error("the policy has changed since it was read; its etag is now \"{current_etag}\"")]
    Conflict {
        /// The etag in force.
        current_etag: String,
    },
    /// The mode in force is one that somebody else made more cautious.
    #[error(
        "to go from {from} to {to} needs the role admin: only who alone made the mode more cautious \
         goes back without it, to where they found it; {set_by} set the one in force",
        from = .from.name(), to = .to.name()
    )]
    NotYours {
        /// The mode in force.
        from: Mode,
        /// The mode that was asked for.
        to: Mode,
        /// Who set the one in force.
        set_by: Actor,
    },
    /// The trial would make those in a row too long.
    #[error(
        "trials in a row may last 24 h together, of which {} min are left: try it for less, wait for an \
         hour once they are over, or ask an admin to set the policy",
        .left.as_secs() / 60
    )]
    TrialsTooLong {
        /// How long one may be now.
        left: Duration,
    },
    /// The policy in force is no trial.
    #[error("the policy in force is no trial: there is nothing to confirm")]
    NothingToConfirm,
    /// There is no such revision, or it is no longer kept.
    #[error("there is no revision {0} of the policy, or it is no longer kept")]
    UnknownRevision(u64),
    /// It could not be written, or its history could not be read.
    #[error("{0}")]
    NotDurable(String),
    /// A reservation cannot be made or released.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// A pin cannot be made, changed or ended.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Whoever is told of what the control does.
pub trait Audience: Debug + Send {
    /// Puts an event into the log; its position, unless that takes longer than a few seconds.
    fn announce(&self, event: Event) -> Option<Position>;

    /// Says that something is wrong, or still is: its name, and what it is and what to do.
    fn raise(&self, condition: &'static str, message: String);

    /// Says that something is right again.
    fn clear(&self, condition: &'static str);
}

/// What holds until somebody sets something else.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The mode until one is set.
    pub mode: Mode,
    /// The mode that the command line asks for: until one is set, and in this run where it is more
    /// cautious than the one that was.
    pub asked: Option<Mode>,
    /// The policy of the config file.
    pub policy: Policy,
    /// What no policy goes beyond, whoever sets it.
    pub bounds: Bounds,
    /// Where the mode is from, in words.
    pub source: String,
    /// Where the policy is from, in words.
    pub policy_source: String,
}

impl Mode {
    /// Its name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Observe => "observe",
            Self::Paused => "paused",
        }
    }

    /// The higher, the less is done.
    #[must_use]
    pub const fn caution(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Observe => 1,
            Self::Paused => 2,
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Active, Self::Observe, Self::Paused].into_iter().find(|mode| mode.name() == name)
    }
}

/// With the address where there is one: a name alone does not say from where.
impl Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.peer.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.id, self.peer)
    }
}

impl Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.path, self.old, self.new)
    }
}

impl Debug for PolicyEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyEdit")
            .field("etag", &self.etag)
            .field("validate_only", &self.validate_only)
            .field("revert_after", &self.revert_after)
            .field("actor", &self.actor)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Who set what nobody has set: the config.
const FILE: &str = "config";
/// For how long a policy may be on trial.
pub const TRIAL_LASTS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// What is wrong with any other time.
pub const NO_TRIAL_TIME: &str = "must be from 1 s to 24 h";
/// Raised after what was kept could not be read any more, until somebody sets a mode.
pub const STATE_LOST: &str = "STATE_LOST";
/// Raised after pins could not be read any more, until somebody pins or unpins a VM for a while.
pub const PINS_LOST: &str = "PINS_LOST";
/// Raised after reservations could not be read any more, until somebody makes or releases one.
pub const RESERVATIONS_LOST: &str = "RESERVATIONS_LOST";
/// Raised while the policy and the mode cannot be written.
pub const STATE_NOT_WRITABLE: &str = "STATE_NOT_WRITABLE";
/// Raised while a pause is in force that a restart would forget.
pub const PAUSE_NOT_DURABLE: &str = "PAUSE_NOT_DURABLE";
/// Raised while the policy in force is one that a restart would have to make up again.
pub const POLICY_NOT_DURABLE: &str = "POLICY_NOT_DURABLE";
/// Raised while the command line asks for a mode that another one, which somebody set, keeps out of
/// force.
pub const MODE_FLAG_IGNORED: &str = "MODE_FLAG_IGNORED";
/// Raised after a policy was brought within the config's bounds, until somebody sets another one.
pub const POLICY_BOUNDED: &str = "POLICY_BOUNDED";
/// Raised while the config file holds a policy that a live one keeps out of force.
pub const POLICY_FILE_IGNORED: &str = "POLICY_FILE_IGNORED";

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod pin_tests;
#[cfg(test)]
mod reserve_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
