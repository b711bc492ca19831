//! [`Rule`]: the promises that the judge holds every run to, and [`Breach`]: one that was broken.

use std::fmt;

/// A promise of docs/OPERATING.md and of the design, with its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A grow is ordered only where all that VMs may come to hold, with it, leaves the host its
    /// reserve and keeps to the pool's limit; where it does not already, nothing makes it worse.
    Budget,
    /// While memory is reserved for a VM to come, no grow is ordered out of it.
    Reserved,
    /// What a reservation holds is there, and goes to its VM in the tick in which that is seen; when
    /// its time is up it is over.
    HandOver,
    /// No VM is shrunk below its floor.
    Floor,
    /// No VM is told to hold less than it said its programs use.
    InUse,
    /// What is granted out of a giver is no more than it let go of.
    TakeThenGive,
    /// No VM is shrunk on figures that were not seen to change lately.
    Freshness,
    /// No VM gives more in a tick than its step.
    Step,
    /// No VM is told to hold more than its maximum.
    Range,
    /// A liar moves no honest VM out of its limits.
    Isolation,
    /// An order without answer stays booked, and no other goes to that VM meanwhile.
    InDoubt,
    /// No order starts after a pause was set, or while only observing.
    KillSwitch,
    /// After a start, a gap in time or a new connection it observes before it orders.
    ObserveFirst,
    /// A VM that is pinned is left alone.
    Pinned,
    /// A VM that does not run, or whose memory stays in place, is left alone.
    Untouchable,
    /// A VM that swaps out is not shrunk.
    Swapping,
    /// A shrink ends where it is when the VM is seen to swap out.
    Cancel,
    /// Nobody gets anything while the host runs out of memory, and VMs that were made to give are
    /// asked again only when the effect can be seen.
    Emergency,
    /// No VM's kernel kills a program because it was shrunk below what it said it uses.
    OutOfMemory,
    /// Without faults and with constant demand the orders end.
    Convergence,
    /// Nobody is moved to and fro more often than what is wanted of the host changes.
    Hunting,
    /// Once faults are over, control is back within three ticks.
    Liveness,
    /// A VM in want gets something before long where there is something for it.
    Want,
    /// No input makes it panic.
    NoPanic,
    /// No plan of its own is refused by its own check.
    PlanAccepted,
}

impl Rule {
    /// Every promise.
    pub const ALL: [Self; 25] = [
        Self::Budget,
        Self::Reserved,
        Self::HandOver,
        Self::Floor,
        Self::InUse,
        Self::TakeThenGive,
        Self::Freshness,
        Self::Step,
        Self::Range,
        Self::Isolation,
        Self::InDoubt,
        Self::KillSwitch,
        Self::ObserveFirst,
        Self::Pinned,
        Self::Untouchable,
        Self::Swapping,
        Self::Cancel,
        Self::Emergency,
        Self::OutOfMemory,
        Self::Convergence,
        Self::Hunting,
        Self::Liveness,
        Self::Want,
        Self::NoPanic,
        Self::PlanAccepted,
    ];

    /// Its number in the list of promises, and its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Budget => "S1 budget",
            Self::Reserved => "S1 reserved",
            Self::HandOver => "S1 hand-over",
            Self::Floor => "S2 floor",
            Self::InUse => "S2 in use",
            Self::TakeThenGive => "S3 take then give",
            Self::Freshness => "S4 freshness",
            Self::Step => "S5 step",
            Self::Range => "S6 range",
            Self::Isolation => "S7 isolation",
            Self::InDoubt => "S8 in doubt",
            Self::KillSwitch => "S9 kill switch",
            Self::ObserveFirst => "S13 observe first",
            Self::Pinned => "S16 pinned",
            Self::Untouchable => "S17 untouchable",
            Self::Swapping => "S4 swapping",
            Self::Cancel => "S4 cancel",
            Self::Emergency => "S15 emergency",
            Self::OutOfMemory => "S2 out of memory",
            Self::Convergence => "L1 convergence",
            Self::Hunting => "L1 hunting",
            Self::Liveness => "L3 liveness",
            Self::Want => "L3 want",
            Self::NoPanic => "A5 no panic",
            Self::PlanAccepted => "plan accepted",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// At which tick of the run, counted from its beginning.
    pub tick: u64,
    /// Which promise.
    pub rule: Rule,
    /// By what, with the figures.
    pub words: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}: {}: {}", self.tick, self.rule.name(), self.words)
    }
}
