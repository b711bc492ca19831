//! [`Rival`]: somebody else's policy, as it would see a host and order its VMs.

use std::fmt::Debug;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

/// A policy that is measured beside ours.
pub trait Rival: Debug {
    /// How people call it.
    fn name(&self) -> &'static str;

    /// How often it decides.
    fn interval(&self) -> Duration;

    /// How often its VMs report by themselves, at once and to it alone, where it has a program in each
    /// that does so; `None` for one that has what a balloon reports.
    fn pushes(&self) -> Option<Duration> {
        None
    }

    /// What VMs are to hold from now on, in the order in which it orders them. A VM that is not
    /// named keeps its target.
    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)>;
}

/// What a host shows at one moment, in what all of them can be told in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Time since the world began.
    pub now: Duration,
    /// All memory of the host.
    pub host_total: ByteCount,
    /// MemAvailable of the host.
    pub host_usable: ByteCount,
    /// What the host is to keep.
    pub reserve: ByteCount,
    /// Every VM that exists, in the order of their ids.
    pub vms: Vec<SeenVm>,
}

/// What one VM shows.
#[derive(Clone, Copy, Debug)]
pub struct SeenVm {
    /// Which VM.
    pub id: VmId,
    /// What it is guaranteed.
    pub min: ByteCount,
    /// Most that it may hold.
    pub max: ByteCount,
    /// Its share when memory is short, beside that of others; 100 is ordinary.
    pub weight: u64,
    /// What it holds, as of now.
    pub actual: ByteCount,
    /// What it was last told to hold; its actual where nothing was ordered.
    pub target: ByteCount,
    /// MemFree, as of its last report.
    pub unused: Option<ByteCount>,
    /// MemAvailable, as of its last report.
    pub usable: Option<ByteCount>,
    /// Swapped in since its boot.
    pub swap_in: Option<ByteCount>,
    /// Swapped out since its boot.
    pub swap_out: Option<ByteCount>,
    /// Major faults since its boot.
    pub major_faults: Option<u64>,
    /// How old its report is; `None` when it has never reported.
    pub age: Option<Duration>,
    /// Resident memory of its process.
    pub rss: Option<ByteCount>,
}
