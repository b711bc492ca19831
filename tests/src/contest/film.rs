//! [`Film`]: what was really so through a run, a frame each 100 ms; [`FilmedClock`] takes them
//! whenever virtual time passes, also in the middle of a tick.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agentd::clock::{Clock, VirtualClock};
use agentd::hypervisor::sim::{Facts, Onlooker, VmFacts};
use agentd_core::vm::VmId;

use super::stopwatch::Stopwatch;

/// What was really so at one moment. Amounts are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Time since the beginning.
    pub at: Duration,
    /// What the host and all VMs take of the host's memory.
    pub taken: u64,
    /// Each VM, in the order of the workload; `None` while there is none.
    pub vms: Vec<Option<Shot>>,
}

/// What was really so in one VM. Amounts are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shot {
    /// Its kernel works: before that nobody wants anything.
    pub works: bool,
    /// How often its kernel has begun.
    pub generation: u64,
    /// What its programs want.
    pub demand: u64,
    /// What they have in memory.
    pub resident: u64,
    /// What it holds.
    pub actual: u64,
    /// What it was told to hold.
    pub target: u64,
    /// Written to its swap device since its boot.
    pub swap_out: u64,
    /// Programs killed since its boot.
    pub oom_kills: u64,
}

/// Virtual time that is filmed.
#[derive(Debug)]
pub(super) struct FilmedClock {
    time: VirtualClock,
    film: Mutex<Option<Film>>,
    stopwatch: Arc<Stopwatch>,
}

#[derive(Debug)]
struct Film {
    truth: Onlooker,
    ids: Vec<VmId>,
    frames: Vec<Frame>,
}

impl FilmedClock {
    pub(super) fn new(stopwatch: Arc<Stopwatch>) -> Arc<Self> {
        Arc::new(Self { time: VirtualClock::default(), film: Mutex::default(), stopwatch })
    }

    /// Films from now on.
    pub(super) fn roll(&self, truth: Onlooker, ids: Vec<VmId>) {
        let first = frame(&truth.facts(), &ids);
        *self.lock() = Some(Film { truth, ids, frames: vec![first] });
    }

    /// Lets time pass until then.
    pub(super) fn pass_to(&self, to: Duration) {
        self.stopwatch.aside(|| {
            if let Some(film) = self.lock().as_mut() {
                while let Some(next) = film.next().filter(|next| *next <= to) {
                    self.time.advance_to(next);
                    let frame = frame(&film.truth.facts(), &film.ids);
                    film.frames.push(Frame { at: next, ..frame });
                }
            }
            self.time.advance_to(to);
        });
    }

    /// What was filmed.
    pub(super) fn develop(&self) -> Vec<Frame> {
        self.lock().take().map(|film| film.frames).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Film>> {
        self.film.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Film {
    fn next(&self) -> Option<Duration> {
        self.frames.last().map(|frame| frame.at.saturating_add(EVERY))
    }
}

impl Clock for FilmedClock {
    fn now(&self) -> Duration {
        self.time.now()
    }

    fn wall(&self) -> SystemTime {
        self.time.wall()
    }

    fn sleep(&self, time: Duration) {
        self.pass_to(self.now().saturating_add(time));
    }
}

fn frame(facts: &Facts, ids: &[VmId]) -> Frame {
    let vms = ids.iter().map(|id| facts.vms.get(id).map(shot)).collect();
    Frame { at: facts.now, taken: facts.taken.as_u64(), vms }
}

fn shot(vm: &VmFacts) -> Shot {
    Shot {
        works: vm.works,
        generation: vm.generation,
        demand: vm.demand.as_u64(),
        resident: vm.resident.as_u64(),
        actual: vm.actual.as_u64(),
        target: vm.target.as_u64(),
        swap_out: vm.swap_out.as_u64(),
        oom_kills: vm.oom_kills,
    }
}

/// From frame to frame.
pub(super) const EVERY: Duration = Duration::from_millis(100);
