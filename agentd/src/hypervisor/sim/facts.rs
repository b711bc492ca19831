//! [`Facts`]: what is really so in a simulated world, for tests and benchmarks. agentd sees only
//! what the port shows.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, HostMemory, RunState, Stamp},
    vm::VmId,
};

/// What is really so in a simulated world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Time since the world began.
    pub now: Duration,
    /// The host's memory.
    pub host: HostMemory,
    /// What the host itself and all VMs take. More than the host has when it would swap or kill.
    pub taken: ByteCount,
    /// Every VM that exists.
    pub vms: BTreeMap<VmId, VmFacts>,
}

/// What is really so in one simulated VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmFacts {
    /// Whether it executes, and if not, why.
    pub run: RunState,
    /// How often its kernel has begun.
    pub generation: u64,
    /// Most that it may hold.
    pub max: ByteCount,
    /// What it holds.
    pub actual: ByteCount,
    /// The target really in force.
    pub target: ByteCount,
    /// A target that is still to be taken: an order to it got no answer; `None` where none is.
    pub late: Option<ByteCount>,
    /// When somebody else last ordered it; `None` if nobody did.
    pub foreign_at: Option<Duration>,
    /// What the host does not get back, whatever the VM gives; nothing where it gets all.
    pub in_place: ByteCount,
    /// What the host gave it so far.
    pub touched: ByteCount,
    /// What its process takes on the host.
    pub rss: ByteCount,
    /// What its programs want.
    pub demand: ByteCount,
    /// What its programs have in memory.
    pub resident: ByteCount,
    /// What its programs have on its swap device.
    pub swapped: ByteCount,
    /// Files that it keeps in memory.
    pub cache: ByteCount,
    /// Read from its swap device since its boot.
    pub swap_in: ByteCount,
    /// Written to its swap device since its boot.
    pub swap_out: ByteCount,
    /// How often a program was killed for want of memory since its boot.
    pub oom_kills: u64,
    /// Orders to it are refused.
    pub refuses: bool,
    /// Its balloon driver is there and has started.
    pub works: bool,
    /// What it last said of itself; `None` while it has said nothing.
    pub report: Option<Report>,
}

impl VmFacts {
    /// What the host cannot give to anybody else now: what it holds, or what stays in place.
    #[must_use]
    pub fn held(&self) -> ByteCount {
        self.actual.max(self.touched).max(self.in_place)
    }

    /// The most that it can come to hold without another order.
    #[must_use]
    pub fn exposure(&self) -> ByteCount {
        let ordered = self.late.map_or(self.target, |late| late.max(self.target));
        self.held().max(ordered.min(self.max))
    }

    /// What its process takes beside its memory.
    #[must_use]
    pub fn overhead(&self) -> ByteCount {
        self.rss.saturating_sub(self.touched.max(self.in_place))
    }
}

/// What a VM said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it said.
    pub figures: GuestFigures,
    /// When it said so, by its wall clock.
    pub stamp: Stamp,
    /// When it really said so, since the world began.
    pub at: Duration,
    /// What it said was so.
    pub is_true: bool,
    /// What its programs really had in memory then.
    pub used: ByteCount,
}
