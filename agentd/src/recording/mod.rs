//! A recording: every sample as it was decided on, what was decided and what came of it, in a file
//! that can be replayed.
//!
//! ```text
//! tick --Arc<TickRecord>--> Recording (a thread) -> Writer -> FILE -> Reader -> replay
//! ```
//!
//! `form` says how each value reads in bytes, `code` what numbers, lists and structures are made of,
//! `frame` how an entry is told from a torn or damaged one.

mod code;
mod form;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod live;
mod read;
mod write;

use std::time::{Duration, SystemTime};

use agentd_core::{decision::Decision, policy::Policy, sample::Sample, state::Applied, vm::VmId};

pub(crate) use live::create;
pub use live::{RECORDING_STOPPED, Recording};
pub use read::{Damage, ReadError, Reader, Torn};
pub use write::{WriteError, Writer};

use crate::{control::Mode, event::TickRecord};

/// What a recording says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of the agentd that made it.
    pub agent_version: String,
    /// Name of the host.
    pub host: String,
    /// The hypervisor, as a URI.
    pub hypervisor: String,
    /// When it was begun, by the wall clock.
    pub began: SystemTime,
}

/// One tick of a recording: all that the decision depends on, and the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Counts ticks since the start of agentd, from 0.
    pub tick: u64,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// Mode of the tick.
    pub mode: Mode,
    /// The policy with the pins over it, where it or they are others than those of the tick before.
    pub policy: Option<Policy>,
    /// Whether all was begun anew since the tick before.
    pub anew: bool,
    /// What was decided on; `None` where the hypervisor could not be read.
    pub sample: Option<Sample>,
    /// What was decided; `None` while paused and where nothing was observed.
    pub decision: Option<Decision>,
    /// What came of it.
    pub applied: Applied,
    /// When all orders were given, monotonic since the start of agentd.
    pub settled: Duration,
    /// VMs that are pinned beside the policy, told together with it.
    pub pinned: Vec<VmId>,
}

impl Recorded {
    /// A tick as it is recorded, with its policy and its pins where they are `news`.
    #[must_use]
    pub fn of(record: &TickRecord, news: bool) -> Self {
        Self {
            tick: record.tick,
            began: record.began,
            mode: record.mode,
            policy: news.then(|| record.policy.policy.clone()),
            anew: record.anew,
            sample: record.sample.clone(),
            decision: record.decision.clone(),
            applied: record.applied.clone(),
            settled: record.settled,
            pinned: if news { record.pins.vms().collect() } else { Vec::new() },
        }
    }
}

/// What every recording begins with.
const MAGIC: [u8; 8] = *b"AGENTREC";
/// The newest form of a recording that is known here. A field more at the end of a structure needs no
/// new one: who does not know it leaves it out. Where it was not written it is empty, `false` or no memory; so it
/// has to be an `Option`, a list, a map, a `String`, a `bool` or a `ByteCount`, and every other one is missing.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
