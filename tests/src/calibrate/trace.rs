//! [`Trace`]: what a VM's programs and its host do, and when.

use std::time::Duration;

/// What happens, from the moment on at which a VM that has just booted is up. Times are in seconds,
/// memory in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// What it is about.
    pub name: &'static str,
    /// What happens, in the order of the times.
    pub events: &'static [(u64, Event)],
    /// When it ends.
    pub end: u64,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The programs want so much from now on.
    Demand(u64),
    /// So much of files is read; at 0 s only.
    Files(u64),
    /// The VM is told to hold so much.
    Target(u64),
    /// The programs read all that they have.
    Touch,
}

/// What is so at one moment, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Since the VM was up.
    pub at: Duration,
    /// What it holds.
    pub actual: f64,
    /// `MemFree`.
    pub free: f64,
    /// What it keeps of files.
    pub files: f64,
    /// Written to its swap disk since the trace began.
    pub swap_out: f64,
    /// Read from it.
    pub swap_back: f64,
}

/// What one VM did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Film {
    /// From its start until it was up.
    pub boot: Duration,
    /// In the order of their times.
    pub samples: Vec<Sample>,
}

/// The most that the VM may hold, and holds at first.
pub const MAX_MIB: u64 = 768;
/// Its swap disk, and how fast that is: as in the simulator.
pub const SWAP_MIB: u64 = 1024;
/// MiB/s
pub const SWAP_RATE: u64 = 100;

/// Programs that take memory and leave it, and a balloon that has all the room.
pub const ROOM: Trace = Trace {
    name: "room",
    events: &[
        (2, Event::Demand(400)),
        (16, Event::Demand(0)),
        (18, Event::Target(352)),
        (24, Event::Target(768)),
    ],
    end: 28,
};

/// Programs that keep what the balloon takes.
pub const SQUEEZE: Trace = Trace {
    name: "squeeze",
    events: &[
        (0, Event::Demand(450)),
        (14, Event::Target(352)),
        (26, Event::Target(768)),
        (34, Event::Touch),
    ],
    end: 44,
};

/// Files that are read once, and a balloon that takes their memory.
pub const FILES: Trace = Trace {
    name: "files",
    events: &[(0, Event::Files(300)), (8, Event::Target(256)), (14, Event::Target(768))],
    end: 22,
};

/// Programs that want more than there is.
pub const OVERFULL: Trace = Trace {
    name: "overfull",
    events: &[(0, Event::Target(352)), (4, Event::Demand(450)), (24, Event::Touch)],
    end: 36,
};

/// All of them.
pub const TRACES: [Trace; 4] = [ROOM, SQUEEZE, FILES, OVERFULL];
