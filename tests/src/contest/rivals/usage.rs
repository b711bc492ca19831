//! [`Usage`]: what VMs used when they reported.
//!
//! A VM's MemAvailable is seconds old where its actual is live: subtracted from each other while
//! memory moves, they tell of memory that nobody uses. The originals read both at once; so here
//! MemAvailable belongs to the actual that was seen nearest to the time of the report.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentd_core::vm::VmId;

use super::figures::{forget_gone, real, reported};
use crate::contest::rival::{Seen, SeenVm};

/// What VMs used when they reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    known: BTreeMap<VmId, Known>,
}

/// What a VM held at the time of its last report, and what its programs used of that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// What it held.
    pub(super) held: f64,
    /// All of that but MemAvailable.
    pub(super) used: f64,
}

impl Used {
    /// The part that is used.
    pub(super) fn part(self) -> f64 {
        self.used / self.held.max(1.0)
    }
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// What it was seen to hold, and when.
    held: VecDeque<(Duration, f64)>,
    report: Option<(Duration, Used)>,
}

impl Usage {
    /// Takes in what VMs reported since.
    pub(super) fn read(&mut self, seen: &Seen) {
        forget_gone(&mut self.known, seen);
        for vm in &seen.vms {
            self.known.entry(vm.id).or_default().read(seen, vm);
        }
    }

    /// What it used, where its last report told.
    pub(super) fn of(&self, vm: &SeenVm) -> Option<Used> {
        vm.usable?;
        self.known.get(&vm.id)?.report.map(|(_, used)| used)
    }
}

impl Known {
    fn read(&mut self, seen: &Seen, vm: &SeenVm) {
        let now = real(vm.actual);
        self.held.push_back((seen.now, now));
        if self.held.len() > TURNS {
            self.held.pop_front();
        }
        let (Some(at), Some(usable)) = (reported(seen, vm), vm.usable) else { return };
        if self.report.is_some_and(|(before, _)| at <= before) {
            return;
        }
        let nearest = self.held.iter().rev().min_by_key(|(seen, _)| seen.abs_diff(at));
        let held = nearest.map_or(now, |(_, held)| *held);
        self.report = Some((at, Used { held, used: (held - real(usable)).max(0.0) }));
    }
}

/// More than the turns for which a report matters.
const TURNS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, mib, reports, scene, vm};

    #[test]
    fn what_was_available_belongs_to_what_was_held_then() {
        let mut usage = Usage::default();
        let mut read = |seconds, actual, usable, age| {
            let vm = reports(vm(1, 100, 2000, actual), 0, usable);
            let vm = SeenVm { age: Some(Duration::from_secs(age)), ..vm };
            usage.read(&at(scene(4000, 1000, 100, vec![vm]), seconds));
            usage.of(&vm).map(|used| (used.held / mib(1), used.used / mib(1)))
        };
        assert_eq!(read(10, 1000, 600, 0), Some((1000.0, 400.0)));
        // It gives memory, and reports what it had before that.
        assert_eq!(read(11, 800, 600, 1), Some((1000.0, 400.0)));
        assert_eq!(read(12, 700, 400, 1), Some((800.0, 400.0)));
        assert_eq!(read(13, 600, 100, 0), Some((600.0, 500.0)));
    }
}
