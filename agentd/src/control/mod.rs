//! The operator's will: the policy and the mode in force, and how they are changed.

mod gate;

use std::{sync::Arc, time::SystemTime};

use agentd_core::policy::Policy;

pub use gate::{Gate, Pass};

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
    /// "uid:0", "tcp", "config" or "agent".
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
}
