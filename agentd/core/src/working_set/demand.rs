//! [`Demand`]: what the programs of one VM work with, and where that is going.

use std::time::Duration;

use crate::{
    assess::View,
    bytes::ByteCount,
    policy::WorkingSet,
    report::ReportTime,
    sample::{Freshness, Reported, Swapped},
    verdict::Reason,
};

/// The demand of one VM, followed from report to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Of which kernel.
    generation: u64,
    /// When the last report was taken.
    at: ReportTime,
    /// What was swapped until then.
    since_boot: Swapped,
    /// What the VM held when it was last seen.
    held: ByteCount,
    /// `actual − usable`: what could not be had without hurting anybody in it.
    working: ByteCount,
    /// What is swapped out and was not missed so far, forgotten over time.
    swapped: ByteCount,
    /// What it had swapped out when it was first seen, had no room for and has not read back, forgotten
    /// over time.
    debt: ByteCount,
    /// How fast all of these grow, a second; a quarter is left by every report that shows less.
    growth: ByteCount,
    /// The most that was worked with, forgotten over time.
    peak: ByteCount,
    /// The most that it grew by in a second, where that was a burst, forgotten over a longer time.
    burst: ByteCount,
    /// The most that was worked with, forgotten over that time.
    top: ByteCount,
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
        let seen = || ReportTime::seen(Reported::Never, None, now.saturating_sub(age));
        let (at, working) = (vm.reported.unwrap_or_else(seen), vm.actual.saturating_sub(usable));
        let since_boot = vm.guest.swapped();
        let own = match before {
            Some(before) => {
                before.after(constants, since_boot, at, (vm.actual, working)).within(vm.max)
            }
            None => Self {
                generation: vm.generation,
                at,
                since_boot,
                held: vm.actual,
                working,
                swapped: ByteCount::ZERO,
                debt: debt(since_boot, usable),
                growth: ByteCount::ZERO,
                peak: working,
                burst: ByteCount::ZERO,
                top: working,
            },
        };
        Some(own)
    }

    /// The demand after another report; the same where it is none.
    fn after(
        &self,
        constants: &WorkingSet,
        since_boot: Swapped,
        at: ReportTime,
        (held, working): (ByteCount, ByteCount),
    ) -> Self {
        let passed = at.since(&self.at);
        if passed.is_zero() {
            return Self { held, working, ..*self };
        }
        let [swapped, debt] =
            [self.swapped, self.debt].map(|amount| fading(amount, constants.keep_for, passed));
        let away = since_boot.away(swapped.saturating_add(debt), &self.since_boot);
        let debt = debt.min(away);
        let swapped = away.saturating_sub(debt);
        let high = working.saturating_add(swapped);
        let grown = high.saturating_add(debt).saturating_sub(self.all());
        let rate = grown.fraction(SECOND, millis(passed).max(1));
        let rate =
            if self.keeps_of_room(constants, held, grown) { rate.min(self.growth) } else { rate };
        let growth = rate.max(self.growth.fraction(1, 4));
        let excess = self.peak.saturating_sub(high);
        let peak = high.saturating_add(fading(excess, constants.keep_for, passed));
        let remembered = constants.keep_for.saturating_mul(BURSTS_FOR);
        let last = fading(self.burst, remembered, passed);
        let burst = match rate.min(grown) {
            by if by >= BURST => last.max(rate),
            _ if last >= FORGOTTEN => last,
            _ => ByteCount::ZERO,
        };
        let top = high.saturating_add(fading(self.top.saturating_sub(high), remembered, passed));
        Self { at, since_boot, held, working, swapped, debt, growth, peak, burst, top, ..*self }
    }

    /// The same with no more on its swap device than it could hold beside: it can be given no more, and what a
    /// program that ended has left there never comes back.
    fn within(self, max: ByteCount) -> Self {
        Self { swapped: self.swapped.min(max.saturating_sub(self.working)), ..self }
    }

    /// What its programs work with, in memory or on its swap device.
    pub(super) fn working_set(&self) -> ByteCount {
        let debt = self.debt.min(self.held.fraction(DEBT_PERCENT, 100));
        self.working.saturating_add(self.swapped).saturating_add(debt)
    }

    /// True where what shows more may be what a kernel that had room keeps of more room that it was given, in
    /// page tables and small caches, and no growth.
    fn keeps_of_room(&self, constants: &WorkingSet, held: ByteCount, grown: ByteCount) -> bool {
        let had_room = self.held.saturating_sub(self.working) >= constants.headroom;
        had_room && grown <= held.saturating_sub(self.held).fraction(KEPT_PERCENT, 100)
    }

    /// The same with all of its debt: what is read back of that is no growth.
    const fn all(&self) -> ByteCount {
        self.working.saturating_add(self.swapped).saturating_add(self.debt)
    }

    /// Room that others than this one are to have for a burst: who has not burst yet may do so as well.
    pub(super) fn room_for_others(&self) -> ByteCount {
        self.burst.fraction(OTHERS_PERCENT, 100)
    }

    /// What it would have, whatever bounds it and whatever others do.
    pub(super) fn wish(&self, constants: &WorkingSet) -> Wish {
        let now = constants.with_headroom(self.working_set());
        let ahead = self.growth.fraction(millis(constants.lead), SECOND);
        let soon = now.saturating_add(ahead);
        let top = constants.with_headroom(self.top);
        let own = now.saturating_add(self.burst).min(top);
        let ready = own.max(soon);
        let keep = constants.with_headroom(self.peak).max(ready);
        Wish { now, soon, ready, keep }
    }
}

/// What a VM would have, each at least the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Now: what it works with, and headroom.
    pub now: ByteCount,
    /// When the next order arrives, as far as can be told.
    pub soon: ByteCount,
    /// With room for a burst like its own of late, which grows before anybody can tell: no more than at the
    /// top of those.
    pub ready: ByteCount,
    /// What it had a use for lately.
    pub keep: ByteCount,
}

/// What a VM that is seen for the first time has swapped out since its boot and may miss: the programs
/// that it was of may have ended, but who has room would have read it back.
fn debt(since_boot: Swapped, usable: ByteCount) -> ByteCount {
    let nothing = Swapped { back: Some(ByteCount::ZERO), out: Some(ByteCount::ZERO) };
    let said = since_boot.back.is_some() && usable < ROOM;
    if said { since_boot.away(ByteCount::ZERO, &nothing) } else { ByteCount::ZERO }
}

/// What is left of an amount that is forgotten over time, to about a third within `over`.
fn fading(amount: ByteCount, over: Duration, passed: Duration) -> ByteCount {
    let over = millis(over).max(1);
    amount.fraction(over, over.saturating_add(millis(passed)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// More than kernels of ordinary VMs keep for themselves: with less nothing is read back.
const ROOM: ByteCount = ByteCount::mib(64);
/// As much as one that swaps hard asks for beyond what it holds: the next reports tell how much it was.
const DEBT_PERCENT: u64 = 25;
/// Growth, and growth in a second, that passes for a burst: what kernels take and give back at rest is less.
const BURST: ByteCount = ByteCount::mib(32);
/// What is left of a burst is not worth an order then.
const FORGOTTEN: ByteCount = ByteCount::mib(16);
/// Of the sizes that were tried this left least unmet (decision 7).
const OTHERS_PERCENT: u64 = 50;
/// Bursts come back after longer than programs come back to what they worked with.
const BURSTS_FOR: u32 = 5;
/// The most that kernels keep so of what they are given: an eighth was seen.
const KEPT_PERCENT: u64 = 25;
/// In milliseconds.
const SECOND: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        assess::assess,
        fixture::{VM, holding, sample},
        policy::Policy,
        sample::{GuestFigures, VmSample},
        state::State,
    };

    /// A VM of so many MiB with so many usable, which has swapped so many out and back since its boot.
    fn says(holds: u32, usable: u32, out: u32, back: Option<u32>) -> VmSample {
        let mib = |count| Some(ByteCount::mib(count));
        let (unused, usable) = (mib(usable), mib(usable));
        let (swap_out, swap_in) = (mib(out), back.and_then(mib));
        let guest = GuestFigures { unused, usable, swap_in, swap_out, major_faults: None };
        VmSample { guest, ..holding(holds) }
    }

    /// The demand of a VM that is seen like this every second.
    fn demand(seen: &[VmSample]) -> Option<Demand> {
        let policy = Policy::default();
        let mut demand = None;
        for (second, vm) in (0..).zip(seen) {
            let sample = sample(second, [(VM, vm.clone())]);
            let (views, _) = assess(&policy, &State::default(), &sample);
            demand =
                Demand::follow(demand.as_ref(), &policy.working_set, views.first()?, sample.now);
        }
        demand
    }

    fn works_with(seen: &[VmSample]) -> Option<u64> {
        demand(seen).map(|own| own.working_set().mib_floor())
    }

    #[test]
    fn what_was_swapped_out_before_counts_where_there_is_no_room_for_it() {
        assert_eq!(works_with(&[says(400, 10, 100, Some(20))]), Some(390 + 80));
        assert_eq!(works_with(&[says(400, 64, 100, Some(20))]), Some(336), "it could read it back");
        assert_eq!(works_with(&[says(400, 10, 100, None)]), Some(390), "it may have read it back");
    }

    #[test]
    fn it_counts_as_a_quarter_of_what_the_vm_holds_at_most_and_more_once_it_holds_more() {
        let first = says(400, 10, 1000, Some(0));
        assert_eq!(works_with(std::slice::from_ref(&first)), Some(390 + 100));
        let grown = works_with(&[first, says(500, 10, 1000, Some(100))]);
        assert_eq!(grown, Some(490 + 125));
    }

    #[test]
    fn what_is_read_back_of_it_is_no_growth_and_no_peak_until_it_is_worked_with() {
        let first = says(400, 10, 100, Some(0));
        let own = demand(std::slice::from_ref(&first)).expect("its figures count");
        assert_eq!((own.peak.mib_floor(), own.working_set().mib_floor()), (390, 490));
        let own = demand(&[first, says(480, 30, 100, Some(60))]).expect("its figures count");
        assert_eq!(own.growth, ByteCount::ZERO);
        assert_eq!((own.peak.mib_floor(), own.working_set().mib_floor()), (450, 488));
    }

    #[test]
    fn it_grows_by_the_time_between_its_reports() {
        let grows = |reported: [Option<ReportTime>; 2]| {
            let [before, after] = reported;
            let first = VmSample { reported: before, ..says(400, 200, 0, Some(0)) };
            let second = VmSample { reported: after, ..says(400, 120, 0, Some(0)) };
            demand(&[first, second]).expect("its figures count").growth.mib_floor()
        };
        assert_eq!(grows([None, None]), 80);
        let of = |stamp, at| {
            let at = Duration::from_secs(at);
            Some(ReportTime::seen(Reported::at(stamp), None, at))
        };
        assert_eq!(grows([of(100, 0), of(101, 1)]), 80);
        assert_eq!(grows([of(91, 0), of(101, 1)]), 8, "80 MiB in some ten seconds");
    }

    #[test]
    fn a_burst_is_remembered_for_some_minutes_and_slow_growth_is_none() {
        let bursts = |usable: &[u32]| {
            let seen: Vec<VmSample> =
                usable.iter().map(|own| says(900, *own, 0, Some(0))).collect();
            demand(&seen).expect("its figures count").burst.mib_floor()
        };
        assert_eq!(bursts(&[800, 500]), 300);
        assert_eq!(bursts(&[800, 769, 738]), 0, "31 MiB a second");
        assert_eq!(bursts(&[800, 500, 800, 700]), 298, "the smaller one is met with it");
        let later = |seconds: usize| {
            let mut usable = vec![800, 500];
            usable.resize(2 + seconds, 800);
            bursts(&usable)
        };
        assert_eq!([later(60), later(300)], [245, 110]);
        assert_eq!(later(900), 0, "no order is worth what is left");
        let policy = Policy::default();
        let own = demand(&[says(900, 800, 0, Some(0)), says(900, 500, 0, Some(0))]);
        let own = own.expect("its figures count");
        let wish = own.wish(&policy.working_set);
        assert_eq!(wish.now.mib_floor(), 464);
        assert_eq!(wish.ready.mib_floor(), 464 + 900, "three seconds of it");
    }

    #[test]
    fn who_had_room_and_is_given_more_is_not_seen_to_grow_faster_for_that() {
        let growth = |holds: [u32; 3], usable: [u32; 3]| {
            let seen: Vec<VmSample> = holds
                .iter()
                .zip(usable)
                .map(|(holds, left)| says(*holds, left, 0, Some(0)))
                .collect();
            demand(&seen).expect("its figures count").growth.mib_floor()
        };
        assert_eq!(growth([400, 400, 500], [200, 200, 280]), 0, "it works with 20 MiB more");
        assert_eq!(growth([400, 400, 500], [200, 190, 270]), 10, "it grew before");
        assert_eq!(growth([400, 400, 500], [40, 40, 120]), 20, "it had no room");
        assert_eq!(growth([400, 400, 500], [200, 200, 270]), 30, "so much no kernel keeps");
        assert_eq!(growth([400, 400, 400], [200, 200, 180]), 20);
    }

    #[test]
    fn it_is_forgotten_over_time_and_what_is_swapped_out_since_is_none_of_it() {
        let first = says(400, 10, 90, Some(0));
        let later = [first.clone(), says(400, 10, 130, Some(0))];
        let own = demand(&later).expect("its figures count");
        assert_eq!((own.debt.mib_floor(), own.swapped.mib_floor()), (88, 40));
        let mut seen = vec![first];
        seen.resize(240, says(400, 100, 90, Some(0)));
        assert!(works_with(&seen).is_some_and(|mib| mib < 303), "nobody reads it back");
    }
}
