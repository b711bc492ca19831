//! [`Facts`]: what is really so in a simulated world, for tests and benchmarks. agentd sees only
//! what the port shows.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{bytes::ByteCount, sample::HostMemory, vm::VmId};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmFacts {
    /// What it holds.
    pub actual: ByteCount,
    /// What its programs want.
    pub demand: ByteCount,
    /// What its programs have in memory.
    pub resident: ByteCount,
    /// What its programs have on its swap device.
    pub swapped: ByteCount,
    /// Files that it keeps in memory.
    pub cache: ByteCount,
    /// What its process takes on the host.
    pub rss: ByteCount,
    /// Read from its swap device since its boot.
    pub swap_in: ByteCount,
    /// Written to its swap device since its boot.
    pub swap_out: ByteCount,
    /// How often a program was killed for want of memory since its boot.
    pub oom_kills: u64,
}
