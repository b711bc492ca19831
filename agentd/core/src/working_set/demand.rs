//! [`Demand`]: what the programs of one VM work with, and where that is going.

use std::time::Duration;

use crate::{
    assess::View,
    bytes::ByteCount,
    policy::WorkingSet,
    sample::{Freshness, Swapped},
    verdict::Reason,
};

/// The demand of one VM, followed from report to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Of which kernel.
    generation: u64,
    /// When the last report was taken.
    at: Duration,
    /// What was swapped until then.
    since_boot: Swapped,
    /// `actual − usable`: what could not be had without hurting anybody in it.
    working: ByteCount,
    /// What is swapped out and was not missed so far, forgotten over time.
    swapped: ByteCount,
    /// How fast `working` and `swapped` grow, a second; a quarter is left by every report that shows less.
    growth: ByteCount,
    /// The most that was worked with, forgotten over time.
    peak: ByteCount,
}

impl Demand {
    /// The demand as of now; `None` as long as no figures have counted.
    pub(super) fn follow(
        before: Option<&Self>,
        constants: &WorkingSet,
        view: &View<'_>,
        now: Duration,
    ) -> Option<Self> {
        let vm = view.vm;
        let before = before.filter(|before| before.generation == vm.generation);
        let counts = vm.freshness == Freshness::Fresh && view.bar != Some(Reason::Settling);
        let usable = vm.guest.idle().filter(|_| counts);
        let (Some(usable), Some(age)) = (usable, vm.figures_age) else {
            return before.copied();
        };
        let (at, working) = (now.saturating_sub(age), vm.actual.saturating_sub(usable));
        let Some(before) = before else {
            let (swapped, growth) = (ByteCount::ZERO, ByteCount::ZERO);
            let (generation, since_boot, peak) = (vm.generation, vm.guest.swapped(), working);
            return Some(Self { generation, at, since_boot, working, swapped, growth, peak });
        };
        Some(before.after(constants, vm.guest.swapped(), at, working))
    }

    /// The demand after another report; the same where it is none.
    fn after(
        &self,
        constants: &WorkingSet,
        since_boot: Swapped,
        at: Duration,
        working: ByteCount,
    ) -> Self {
        let passed = at.saturating_sub(self.at);
        if passed.is_zero() {
            return Self { working, ..*self };
        }
        let remembered = fading(self.swapped, constants.keep_for, passed);
        let swapped = since_boot.away(remembered, &self.since_boot);
        let high = working.saturating_add(swapped);
        let grown = high.saturating_sub(self.working_set());
        let rate = grown.fraction(SECOND, millis(passed).max(1));
        let growth = rate.max(self.growth.fraction(1, 4));
        let excess = self.peak.saturating_sub(high);
        let peak = high.saturating_add(fading(excess, constants.keep_for, passed));
        Self { generation: self.generation, at, since_boot, working, swapped, growth, peak }
    }

    /// What its programs work with, in memory or on its swap device.
    pub(super) const fn working_set(&self) -> ByteCount {
        self.working.saturating_add(self.swapped)
    }

    /// What it is to have now: what it works with, and headroom.
    pub(super) fn asks_now(&self, constants: &WorkingSet) -> ByteCount {
        with_headroom(self.working_set(), constants)
    }

    /// The same when the next order arrives, as far as can be told.
    pub(super) fn asks_soon(&self, constants: &WorkingSet) -> ByteCount {
        let ahead = self.growth.fraction(millis(constants.lead), SECOND);
        self.asks_now(constants).saturating_add(ahead)
    }

    /// What it would like to keep.
    pub(super) fn would_keep(&self, constants: &WorkingSet) -> ByteCount {
        with_headroom(self.peak, constants).max(self.asks_soon(constants))
    }
}

fn with_headroom(demand: ByteCount, constants: &WorkingSet) -> ByteCount {
    let share = demand.fraction(u64::from(constants.headroom_percent), 100);
    demand.saturating_add(share.max(constants.headroom))
}

/// What is left of an amount that is forgotten over time, to about a third within `over`.
fn fading(amount: ByteCount, over: Duration, passed: Duration) -> ByteCount {
    let over = millis(over).max(1);
    amount.fraction(over, over.saturating_add(millis(passed)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// In milliseconds.
const SECOND: u64 = 1000;
