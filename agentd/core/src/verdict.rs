//! [`Verdict`]: what a tick decided for one VM, and why. Every VM gets one in every tick.

use std::fmt;

use crate::{bytes::ByteCount, distress::Distress};

/// What was decided for one VM, with the figures that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was decided.
    pub kind: VerdictKind,
    /// Why.
    pub reason: Reason,
    /// Use at the tick before; `None` where the VM was not seen then, or the algorithm did not look.
    pub previous_used: Option<ByteCount>,
    /// What it was found to need; `None` where the algorithm did not ask.
    pub need: Option<ByteCount>,
    /// What it was found to have to spare; `None` where the algorithm did not ask.
    pub spare: Option<ByteCount>,
    /// What its programs were found to work with; `None` where the algorithm did not ask.
    pub demand: Option<ByteCount>,
    /// What it may hold of the pool, fairly shared; `None` where the algorithm did not ask.
    pub entitled: Option<ByteCount>,
    /// What it gets or gives in this tick.
    pub amount: ByteCount,
    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    pub distress: Option<Distress>,
}

/// What was decided for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// It keeps what it has.
    Hold,
    /// It is to get memory.
    Grow,
    /// It is to give memory.
    Shrink,
}

/// Why a VM grows, shrinks or holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Grow: its use grew and too little of its memory is unused.
    NeedsMemory,
    /// Grow: memory that it was given at an earlier tick is awaited or has arrived.
    Awaiting,
    /// Shrink: a VM needs what this one has to spare.
    GivesToVm,
    /// Shrink: no VM needs what this one has to spare.
    GivesToHost,
    /// Shrink: a reservation lacks what this VM has to spare.
    GivesToReservation,
    /// Hold: it neither needs memory nor has any to spare.
    Content,
    /// Hold: it has next to nothing usable, but what cannot grow does not count as needy.
    Full,
    /// Hold: it has memory to spare, but others gave what was needed.
    SpareNotNeeded,
    /// Hold: it needs memory and is at its maximum.
    AtMaximum,
    /// Hold: it has memory unused and is at its minimum.
    AtMinimum,
    /// Hold: it needs memory, no VM has any to spare, and the host is at its reserve.
    PoolEmpty,
    /// Hold: it needs memory, no VM has any to spare, and what the host has is reserved.
    Reserved,
    /// Hold: it needs memory and has its fair share of too little.
    FairShare,
    /// Hold: its memory is still moving, or its figures are of before the move's end.
    Settling,
    /// Hold: it has unused memory, but did not follow its last order to shrink.
    NotFollowing,
    /// Hold: it has unused memory, but what it gave last did not become free on the host.
    ReclaimIneffective,
    /// Hold: it reports no figures.
    FiguresAbsent,
    /// Hold: its figures were not yet seen to change.
    FiguresUnproven,
    /// Hold: its figures have not changed for too long.
    FiguresStale,
    /// Hold: it has just started, and its balloon driver has not settled.
    Booting,
    /// Hold: its kernel has started anew, and its balloon driver has not settled.
    Rebooting,
    /// Hold: the hypervisor is at a long job on it and would not take an order.
    Busy,
    /// Hold: it is paused.
    Paused,
    /// Hold: it is being saved.
    Saving,
    /// Hold: it is being brought back from a save.
    Restoring,
    /// Hold: it is being migrated, to this host or away from it.
    Migrating,
    /// Hold: it is shutting down.
    ShuttingDown,
    /// Hold: it has crashed.
    Crashed,
    /// Hold: the hypervisor did not answer for it in time.
    Unresponsive,
    /// Hold: somebody else moved its balloon.
    Quarantined,
    /// Hold: the host would get back nothing of what it gives.
    Unreclaimable,
    /// Hold: it has memory unused, but it suffers for want of memory.
    Distressed,
    /// Hold: it has unused memory, but did not follow its orders for so long that it is not asked
    /// for a while.
    Uncooperative,
    /// Shrink or hold: the host runs out of memory.
    HostEmergency,
    /// Hold: it needs memory, and the host is short of it itself.
    HostLow,
    /// Hold: it needs memory, and somebody unknown takes the host's.
    HostUnexplained,
    /// Hold: the policy says to leave it alone.
    Pinned,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 37] = [
        Self::NeedsMemory,
        Self::Awaiting,
        Self::GivesToVm,
        Self::GivesToHost,
        Self::GivesToReservation,
        Self::Content,
        Self::Full,
        Self::SpareNotNeeded,
        Self::AtMaximum,
        Self::AtMinimum,
        Self::PoolEmpty,
        Self::Reserved,
        Self::FairShare,
        Self::Settling,
        Self::NotFollowing,
        Self::ReclaimIneffective,
        Self::FiguresAbsent,
        Self::FiguresUnproven,
        Self::FiguresStale,
        Self::Booting,
        Self::Rebooting,
        Self::Busy,
        Self::Paused,
        Self::Saving,
        Self::Restoring,
        Self::Migrating,
        Self::ShuttingDown,
        Self::Crashed,
        Self::Unresponsive,
        Self::Quarantined,
        Self::Unreclaimable,
        Self::Distressed,
        Self::Uncooperative,
        Self::HostEmergency,
        Self::HostLow,
        Self::HostUnexplained,
        Self::Pinned,
    ];

    /// Its machine-readable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeedsMemory => "NEEDS_MEMORY",
            Self::Awaiting => "AWAITING",
            Self::GivesToVm => "GIVES_TO_VM",
            Self::GivesToHost => "GIVES_TO_HOST",
            Self::GivesToReservation => "GIVES_TO_RESERVATION",
            Self::Content => "CONTENT",
            Self::Full => "FULL",
            Self::SpareNotNeeded => "SPARE_NOT_NEEDED",
            Self::AtMaximum => "AT_MAXIMUM",
            Self::AtMinimum => "AT_MINIMUM",
            Self::PoolEmpty => "POOL_EMPTY",
            Self::Reserved => "RESERVED",
            Self::FairShare => "FAIR_SHARE",
            Self::Settling => "SETTLING",
            Self::NotFollowing => "NOT_FOLLOWING",
            Self::ReclaimIneffective => "RECLAIM_INEFFECTIVE",
            Self::FiguresAbsent => "FIGURES_ABSENT",
            Self::FiguresUnproven => "FIGURES_UNPROVEN",
            Self::FiguresStale => "FIGURES_STALE",
            Self::Booting => "BOOTING",
            Self::Rebooting => "REBOOTING",
            Self::Busy => "BUSY",
            Self::Paused => "PAUSED",
            Self::Saving => "SAVING",
            Self::Restoring => "RESTORING",
            Self::Migrating => "MIGRATING",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Crashed => "CRASHED",
            Self::Unresponsive => "UNRESPONSIVE",
            Self::Quarantined => "QUARANTINED",
            Self::Unreclaimable => "UNRECLAIMABLE",
            Self::Distressed => "DISTRESSED",
            Self::Uncooperative => "UNCOOPERATIVE",
            Self::HostEmergency => "HOST_EMERGENCY",
            Self::HostLow => "HOST_LOW",
            Self::HostUnexplained => "HOST_UNEXPLAINED",
            Self::Pinned => "PINNED",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl VerdictKind {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
        }
    }
}

impl Verdict {
    /// Keeps the VM as it is.
    #[must_use]
    pub const fn hold(reason: Reason) -> Self {
        Self {
            kind: VerdictKind::Hold,
            reason,
            previous_used: None,
            need: None,
            spare: None,
            demand: None,
            entitled: None,
            amount: ByteCount::ZERO,
            distress: None,
        }
    }
}
