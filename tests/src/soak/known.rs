//! [`Known`]: what one life of agentd could have learned of a VM by what it was shown.
//!
//! The judge must not blame agentd for what nobody could know. So it notes what the port showed,
//! and when, on its own.

use std::time::Duration;

use agentd::hypervisor::sim::{Report, VmFacts};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::{Reported, RunState, VmReading};

/// What could be known of a VM.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) run: RunState,
    /// Its configuration says that its balloon frees nothing.
    pub(super) obstacle: bool,
    pub(super) max: ByteCount,
    /// What it was shown to hold: up to a balloon event's time old.
    pub(super) actual: ByteCount,
    /// What was so when it was shown.
    pub(super) facts: VmFacts,
    /// When its figures were first shown to be others than before; `None` while they were not.
    pub(super) changed: Option<Duration>,
    /// Its last two reports showed that it swapped out in between, and both were true.
    pub(super) swaps: bool,
    stamp: Reported,
    /// What was really so of the figures shown; `None` where it said nothing.
    pub(super) report: Option<Report>,
    /// The same of those that came with this stamp first: stamps are whole seconds.
    compared: Option<Report>,
}

impl Known {
    /// What a first reading shows.
    pub(super) fn first(vm: &VmReading, facts: &VmFacts) -> Self {
        Self {
            run: vm.run,
            obstacle: obstacle(vm),
            max: vm.max,
            actual: vm.actual,
            facts: *facts,
            changed: None,
            swaps: false,
            stamp: vm.reported,
            report: facts.report,
            compared: facts.report,
        }
    }

    /// What the next reading shows.
    pub(super) fn next(&mut self, vm: &VmReading, facts: &VmFacts, now: Duration) {
        if vm.reported != self.stamp {
            self.stamp = vm.reported;
            self.changed = Some(now);
            self.swaps = self.swapped_out(facts);
            self.compared = facts.report;
        }
        self.report = facts.report;
        if facts.generation != self.facts.generation {
            // A kernel that began anew is a stranger.
            self.changed = None;
            self.swaps = false;
        }
        self.run = vm.run;
        self.obstacle = obstacle(vm);
        self.max = vm.max;
        self.actual = vm.actual;
        self.facts = *facts;
    }

    /// Forgets what changed: another connection may show it anew.
    pub(super) fn distrust(&mut self) {
        self.changed = None;
        self.swaps = false;
    }

    fn swapped_out(&self, facts: &VmFacts) -> bool {
        let (Some(before), Some(after)) = (self.compared, facts.report) else {
            return false;
        };
        let grew = after.figures.swap_out > before.figures.swap_out;
        grew && before.is_true && after.is_true && facts.generation == self.facts.generation
    }
}

fn obstacle(vm: &VmReading) -> bool {
    vm.traits.is_some_and(|traits| traits.obstacle.is_some())
}
