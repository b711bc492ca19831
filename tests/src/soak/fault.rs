//! [`Fault`]: every kind of fault that a run may have, by name.

use agentd::hypervisor::sim::{Claims, Kind};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A VM does something that a cooperative one would not.
    Vm(Kind),
    /// A VM lies about its memory.
    Lie(Claims),
    /// A VM begins to exist in the middle of the run.
    Starts,
    /// A VM is destroyed and made anew with the same name and another UUID.
    Recreated,
    /// Another process takes much of the host's memory within a second.
    Hog,
    /// Work on the host waits for memory.
    Pressure,
    /// There is no connection to the hypervisor.
    ConnectionLost,
    /// The hypervisor does not answer.
    Silent,
    /// Every call takes long.
    Latency,
    /// agentd is killed between two ticks, and started anew.
    Killed,
    /// agentd is killed in the middle of a tick, and started anew.
    KilledInside,
    /// agentd is stopped for long between two ticks.
    Stopped,
    /// agentd is stopped for long in the middle of a tick.
    StoppedInside,
    /// A tick comes late.
    Late,
    /// The mode changes between two ticks.
    Mode,
    /// agentd is paused in the middle of a tick.
    PausedInside,
    /// The policy changes.
    Policy,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 49] = [
        Self::Vm(Kind::Stuck),
        Self::Vm(Kind::Slow),
        Self::Vm(Kind::Partial),
        Self::Vm(Kind::Intermittent),
        Self::Vm(Kind::NoDriver),
        Self::Vm(Kind::FrozenStats),
        Self::Vm(Kind::Reboots),
        Self::Vm(Kind::Pauses),
        Self::Vm(Kind::Hangs),
        Self::Vm(Kind::Refuses),
        Self::Vm(Kind::Vanishes),
        Self::Vm(Kind::HiddenFloor),
        Self::Vm(Kind::Vfio),
        Self::Vm(Kind::HiddenVfio),
        Self::Vm(Kind::HugePages),
        Self::Vm(Kind::Locked),
        Self::Vm(Kind::Confidential),
        Self::Vm(Kind::NoBalloon),
        Self::Vm(Kind::TakesBack),
        Self::Vm(Kind::Leaks),
        Self::Vm(Kind::CacheHolder),
        Self::Vm(Kind::ForeignOrder),
        Self::Vm(Kind::Busy),
        Self::Vm(Kind::Saves),
        Self::Vm(Kind::Restores),
        Self::Vm(Kind::MigratesOut),
        Self::Vm(Kind::MigratesIn),
        Self::Vm(Kind::Crashes),
        Self::Vm(Kind::ShutsDown),
        Self::Vm(Kind::MaxChanges),
        Self::Vm(Kind::ClockBack),
        Self::Lie(Claims::NothingUnused),
        Self::Lie(Claims::AllUnused),
        Self::Lie(Claims::Sawtooth),
        Self::Lie(Claims::Absurd),
        Self::Lie(Claims::Garbage),
        Self::Lie(Claims::Absent),
        Self::Starts,
        Self::Recreated,
        Self::Hog,
        Self::Pressure,
        Self::ConnectionLost,
        Self::Silent,
        Self::Latency,
        Self::Killed,
        Self::KilledInside,
        Self::Stopped,
        Self::StoppedInside,
        Self::Late,
    ];
    /// What an operator does, which is no fault, and comes in between all the same.
    pub const OPERATOR: [Self; 3] = [Self::Mode, Self::PausedInside, Self::Policy];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vm(kind) => kind.name(),
            Self::Lie(Claims::NothingUnused) => "lies: nothing unused",
            Self::Lie(Claims::AllUnused) => "lies: all unused",
            Self::Lie(Claims::Sawtooth) => "lies: sawtooth",
            Self::Lie(Claims::Absurd) => "lies: absurd",
            Self::Lie(Claims::Garbage) => "lies: garbage",
            Self::Lie(Claims::Absent) => "figures absent",
            Self::Starts => "VM starts",
            Self::Recreated => "VM recreated with its name",
            Self::Hog => "host: memory taken in a second",
            Self::Pressure => "host: pressure",
            Self::ConnectionLost => "libvirtd: connection lost",
            Self::Silent => "libvirtd: hangs",
            Self::Latency => "libvirtd: slow",
            Self::Killed => "agentd: SIGKILL",
            Self::KilledInside => "agentd: SIGKILL in a tick",
            Self::Stopped => "agentd: SIGSTOP",
            Self::StoppedInside => "agentd: SIGSTOP in a tick",
            Self::Late => "agentd: tick late",
            Self::Mode => "operator: mode",
            Self::PausedInside => "operator: pause in a tick",
            Self::Policy => "operator: policy",
        }
    }
}
