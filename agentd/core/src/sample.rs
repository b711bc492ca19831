//! What was observed: the raw [`Reading`] of a hypervisor, and the [`Sample`] that a tick decides
//! on, in which every figure says how far it can be trusted.
//!
//! [`Tracks`](crate::track::Tracks) makes the second from the first.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    by_vm::ByVm, bytes::ByteCount, distress::Distress, order::plausible_overhead,
    report::ReportTime, reserve::Reservation, vm::VmId,
};

/// Everything that one look at the host and its hypervisor showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The host's own memory.
    pub host: HostMemory,
    /// Amounts that the hypervisor can order are multiples of this.
    pub granule: ByteCount,
    /// Balloons arrive at once and all figures are true and of this very moment: only in a
    /// simulated world, where nothing has to be proven or mistrusted.
    pub ideal: bool,
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
    /// Another one than before once its kernel has started anew: after a start, a reboot, a reset.
    pub generation: u64,
    /// What it is made of; `None` while that is not known yet, as shortly after its start. The host
    /// may get back nothing of such a VM.
    pub traits: Option<Traits>,
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
    /// Its kernel said so while it held `actual`: as much as it held right before it was asked to report,
    /// and right after. Otherwise the report may be of before its memory moved.
    pub paired: bool,
}

/// What the host's kernel says of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// MemTotal; less where the VMs' control group may not have all of it.
    pub total: ByteCount,
    /// MemAvailable: what can be had without swapping; less where the VMs' control group is nearer
    /// to its limit.
    pub usable: ByteCount,
    /// How much work on the host waits for memory; `None` where the kernel does not say.
    pub pressure: Option<Pressure>,
}

/// Pressure stall information of a host's memory: the share of the last ten seconds in which work
/// waited for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// In which some of it waited.
    pub some: Share,
    /// In which all of it waited.
    pub full: Share,
}

/// A share, in hundredths of a percent, as the kernel tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// So many percent.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(percent.saturating_mul(100))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// Whether a VM executes and answers, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// It executes.
    Running,
    /// It executes, but the hypervisor is at a long job on it, a dump, a backup or a snapshot for
    /// example, and would not take an order.
    Busy,
    /// It is paused: suspended by somebody, or stopped by an error of its disks.
    Paused,
    /// It is being saved to a disk.
    Saving,
    /// It is being brought back from a save, and does not execute yet.
    Restoring,
    /// It is being migrated to another host.
    MigratingOut,
    /// It is being migrated to this host.
    MigratingIn,
    /// It is shutting down.
    ShuttingDown,
    /// It has crashed.
    Crashed,
    /// The hypervisor did not answer for it in time.
    Unresponsive,
}

/// What a VM is made of, as far as its balloon is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Why the host would get back nothing of what it gives; `None` where nothing speaks against
    /// it.
    pub obstacle: Option<Obstacle>,
    /// Its balloon gives memory back by itself before its kernel kills a process.
    pub takes_back_on_oom: bool,
    /// What of its memory is made of huge pages, which are set aside for it when it starts, and show as resident
    /// of no process.
    pub set_aside: ByteCount,
}

/// Why a VM's balloon frees nothing on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It has no balloon device.
    NoBalloon,
    /// A device of the host that it was given (VFIO) holds all of its memory in place.
    Device,
    /// Its memory is made of huge pages, which are set aside for it whole.
    HugePages,
    /// Its memory is locked.
    Locked,
    /// Its memory is encrypted (SEV, TDX): the host cannot take pages of it.
    Confidential,
}

impl Obstacle {
    /// What it is, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoBalloon => "it has no balloon device",
            Self::Device => "a device of the host that it was given (VFIO) holds its memory",
            Self::HugePages => "its memory is made of huge pages",
            Self::Locked => "its memory is locked",
            Self::Confidential => "its memory is encrypted",
        }
    }
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

impl GuestFigures {
    /// What could be had without hurting anybody in the VM: MemFree where its kernel does not say how
    /// much that is. `None` where neither was said.
    #[must_use]
    pub fn idle(&self) -> Option<ByteCount> {
        self.usable.or(self.unused)
    }

    /// What was swapped until then.
    #[must_use]
    pub const fn swapped(&self) -> Swapped {
        Swapped { back: self.swap_in, out: self.swap_out }
    }
}

/// What a VM has swapped since its boot. `None` was not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Read back.
    pub back: Option<ByteCount>,
    /// Swapped out.
    pub out: Option<ByteCount>,
}

impl Swapped {
    /// What is swapped out and not read back by now, when it was so much at an earlier report.
    #[must_use]
    pub fn away(&self, then: ByteCount, earlier: &Self) -> ByteCount {
        let since = |then: Option<ByteCount>, now: Option<ByteCount>| {
            then.zip(now).map_or(ByteCount::ZERO, |(then, now)| now.saturating_sub(then))
        };
        let out = since(earlier.out, self.out);
        then.saturating_add(out).saturating_sub(since(earlier.back, self.back))
    }
}

/// When guest figures were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Never: the VM has no balloon driver, or has not answered yet.
    Never,
    /// At the moment with this stamp.
    At(Stamp),
    /// At the very moment of the reading, as only a simulated VM can.
    Now,
}

impl Reported {
    /// In this second, which had one report.
    #[must_use]
    pub const fn at(second: u64) -> Self {
        Self::At(Stamp { second, mark: 0 })
    }
}

/// Which report it was: another one for another report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was taken, by somebody's wall clock, which may be set at any time.
    pub second: u64,
    /// Tells apart those of one second.
    pub mark: u64,
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
    /// Nothing in it has to be proven or mistrusted: see [`Reading::ideal`].
    pub ideal: bool,
    /// Every VM that is not shut off.
    pub vms: ByVm<VmSample>,
    /// Memory that is to be kept for VMs that are to come, in the order of their ids.
    pub reservations: Vec<Reservation>,
}

/// One VM of a [`Sample`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSample {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it executes and answers.
    pub run: RunState,
    /// Another one than before once its kernel has started anew.
    pub generation: u64,
    /// What it is made of; `None` while that is not known.
    pub traits: Option<Traits>,
    /// How its kernel began, until it is done with that; `None` where nobody saw it begin.
    pub boot: Option<Boot>,
    /// For how long no new figures came: since it was first seen where none ever did.
    pub silent_for: Duration,
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
    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    pub distress: Option<Distress>,
    /// Resident memory of its process on the host; `None` when unknown.
    pub host_rss: Option<ByteCount>,
    /// What of `host_rss` is certainly the process's own, as learned while the VM held most; `None`
    /// while that is unknown, when all of it counts as the VM's.
    pub overhead: Option<ByteCount>,
    /// When `guest` was taken; `None` where that is known no better than from `figures_age`.
    pub reported: Option<ReportTime>,
    /// The most that is plausible of what the process takes beside; `None` where `overhead` says it, or
    /// nothing is known.
    pub overhead_at_most: Option<ByteCount>,
}

impl VmSample {
    /// What the host surely shows the VM to hold.
    #[must_use]
    pub fn surely_held(&self) -> ByteCount {
        self.surely_taken().max(self.actual)
    }

    /// How much of what it may come to hold the host surely shows as taken already; nothing where that is
    /// not known. What its process may take beside is none of that: the VM may not have touched as much of
    /// what it holds, which would be promised twice.
    #[must_use]
    pub fn surely_taken(&self) -> ByteCount {
        let set_aside = self.set_aside();
        if !set_aside.is_zero() {
            let rss = self.host_rss.unwrap_or_default();
            let ordinary = rss.saturating_sub(plausible_overhead(self.max));
            return set_aside.saturating_add(ordinary).min(self.max);
        }
        let beside = self.overhead_at_most.or(self.overhead).filter(|_| self.obstacle().is_none());
        self.host_rss.unwrap_or_default().saturating_sub(beside.unwrap_or_default())
    }

    /// What of its memory is set aside for it in huge pages; zero while that is not known.
    #[must_use]
    pub fn set_aside(&self) -> ByteCount {
        let own = self.traits.map(|traits| traits.set_aside).unwrap_or_default();
        own.min(self.max)
    }

    /// What shows of it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown_at(self.actual, self.host_rss)
    }

    /// What shows of it when it reads so much.
    #[must_use]
    pub fn shown_at(&self, actual: ByteCount, host_rss: Option<ByteCount>) -> Shown {
        // What a process takes beside cannot be told from memory that stays in place.
        let overhead = self.overhead.filter(|_| self.obstacle().is_none()).unwrap_or_default();
        Shown { actual, taken: host_rss.map(|rss| rss.saturating_sub(overhead)) }
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
        let executes = matches!(self.run, RunState::Running | RunState::Busy);
        let tells = matches!(self.freshness, Freshness::Fresh | Freshness::Unsettled);
        executes && tells && self.obstacle().is_none()
    }

    /// Why the host would get back nothing of what it gives; `None` where nothing is known to speak
    /// against it.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.traits.and_then(|traits| traits.obstacle)
    }

    /// True where the host gets back nothing of it, unless it is leaving the host: then all of it is about to be
    /// there.
    #[must_use]
    pub fn gives_nothing_back(&self) -> bool {
        let leaves = matches!(self.run, RunState::MigratingOut | RunState::ShuttingDown);
        self.obstacle().is_some() && !leaves
    }
}

/// What shows of a VM's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it holds.
    pub actual: ByteCount,
    /// What is resident of it on the host; `None` where that is not known.
    pub taken: Option<ByteCount>,
}

impl Shown {
    /// What the host shows the VM to hold: its actual, or what is resident of it where that is
    /// more. A balloon that was filled and freed nothing shows here.
    #[must_use]
    pub fn held(&self) -> ByteCount {
        self.taken.map_or(self.actual, |taken| taken.max(self.actual))
    }
}

/// How a kernel began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// With its VM.
    Start,
    /// In a VM that ran already.
    Reboot,
}

/// How far guest figures can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Taken lately, and after the VM's memory last moved.
    Fresh,
    /// Taken while the VM's memory was moving: not to be paired with its actual.
    Unsettled,
    /// There are figures, but none counts yet: too few new ones came since it was first seen, began
    /// anew or went on, or its memory has not rested since.
    Unproven,
    /// Not seen to change for too long.
    Stale,
    /// There are none.
    Absent,
}
