//! What was observed: the raw [`Reading`] of a hypervisor, and the [`Sample`] that a tick decides
//! on, in which every figure says how far it can be trusted.
//!
//! [`Tracks`](crate::track::Tracks) makes the second from the first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{bytes::ByteCount, vm::VmId};

/// Everything that one look at the host and its hypervisor showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The host's own memory.
    pub host: HostMemory,
    /// Amounts that the hypervisor can order are multiples of this.
    pub granule: ByteCount,
    /// Every VM that is not shut off, in no particular order, each once.
    pub vms: Vec<VmReading>,
}

/// One VM as the hypervisor reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmReading {
    /// Which VM.
    pub id: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it executes and answers.
    pub run: RunState,
    /// Memory that it holds.
    pub actual: ByteCount,
    /// Most memory that the hypervisor lets it hold.
    pub max: ByteCount,
    /// What its kernel says of itself.
    pub guest: GuestFigures,
    /// When its kernel said so.
    pub reported: Reported,
    /// Resident memory of its process on the host; `None` when unknown.
    pub host_rss: Option<ByteCount>,
}

/// What the host's kernel says of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// MemTotal.
    pub total: ByteCount,
    /// MemAvailable: what can be had without swapping.
    pub usable: ByteCount,
}

/// Whether a VM executes and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It executes.
    Running,
    /// It does not: suspended, being saved or migrated, shutting down, crashed.
    Suspended,
    /// The hypervisor did not answer for it in time.
    Unresponsive,
}

/// Figures measured inside a VM: claims, not facts. `None` was not said; it is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestFigures {
    /// MemFree.
    pub unused: Option<ByteCount>,
    /// MemAvailable.
    pub usable: Option<ByteCount>,
    /// Memory swapped in since its boot.
    pub swap_in: Option<ByteCount>,
    /// Memory swapped out since its boot.
    pub swap_out: Option<ByteCount>,
    /// Major page faults since its boot.
    pub major_faults: Option<u64>,
}

/// When guest figures were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Never: the VM has no balloon driver, or has not answered yet.
    Never,
    /// At the moment with this stamp. Stamps are only compared for equality: they are somebody's
    /// wall clock.
    At(u64),
    /// At the very moment of the reading, as only a simulated VM can.
    Now,
}

/// What one tick decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Number of the tick.
    pub tick: u64,
    /// Monotonic time since the start of the agent.
    pub now: Duration,
    /// The host's own memory.
    pub host: HostMemory,
    /// Amounts that the hypervisor can order are multiples of this.
    pub granule: ByteCount,
    /// Every VM that is not shut off.
    pub vms: BTreeMap<VmId, VmSample>,
}

/// One VM of a [`Sample`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSample {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it executes and answers.
    pub run: RunState,
    /// Memory that it holds.
    pub actual: ByteCount,
    /// Most memory that the hypervisor lets it hold.
    pub max: ByteCount,
    /// What its kernel says of itself.
    pub guest: GuestFigures,
    /// How far `guest` can be trusted.
    pub freshness: Freshness,
    /// How long ago `guest` was seen to change; `None` when it never was.
    pub figures_age: Option<Duration>,
    /// Resident memory of its process on the host; `None` when unknown.
    pub host_rss: Option<ByteCount>,
    /// What of `host_rss` is the process's own, as learned while the VM held most; `None` while
    /// that is unknown.
    pub overhead: Option<ByteCount>,
}

impl VmSample {
    /// What the host shows the VM to hold: its actual, or what is resident of it where that is
    /// more. A balloon that was filled and freed nothing shows here.
    #[must_use]
    pub fn held(&self) -> ByteCount {
        self.held_at(self.actual, self.host_rss)
    }

    /// What the host shows the VM to hold when it reads so much.
    #[must_use]
    pub fn held_at(&self, actual: ByteCount, host_rss: Option<ByteCount>) -> ByteCount {
        match (host_rss, self.overhead) {
            (Some(rss), Some(overhead)) => actual.max(rss.saturating_sub(overhead)),
            _ => actual,
        }
    }

    /// How much of what it may come to hold the host already shows as taken.
    #[must_use]
    pub fn taken(&self) -> ByteCount {
        let rss = self.host_rss.unwrap_or(ByteCount::ZERO);
        rss.saturating_sub(self.overhead.unwrap_or(ByteCount::ZERO))
    }

    /// `actual − guest_unused`, where the VM said how much is unused.
    #[must_use]
    pub fn used(&self) -> Option<ByteCount> {
        self.guest.unused.map(|unused| self.actual.saturating_sub(unused))
    }

    /// True when the VM runs and shows what it does with its memory. Otherwise it may take up to
    /// its maximum without anybody seeing it.
    #[must_use]
    pub fn is_accounted_for(&self) -> bool {
        self.run == RunState::Running
            && matches!(self.freshness, Freshness::Fresh | Freshness::Unsettled)
    }
}

/// How far guest figures can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Taken lately, and after the VM's memory last moved.
    Fresh,
    /// Taken while the VM's memory was moving: not to be paired with its actual.
    Unsettled,
    /// There are figures, but none was seen to change yet: they may be of any age.
    Unproven,
    /// Not seen to change for too long.
    Stale,
    /// There are none.
    Absent,
}
