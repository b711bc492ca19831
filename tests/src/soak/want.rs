//! [`Wants`]: how VMs use their memory by what they truly said, and how often one was in want and got
//! nothing although there was some for it.
//!
//! ```text
//! true reports -> Usage -> is it in want?  could it give?  -> missed, missed, ... -> too often
//!                                                             got something       -> all is well
//! ```
//!
//! What want is follows from the words of the design, in figures that agentd was shown, and never from
//! what agentd says of a VM. Whether there is memory for it is `judge::want`'s to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd::hypervisor::sim::Report;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Algorithm, Policy};
use agentd_core::vm::VmId;

use super::known::Known;

/// How one VM uses its memory, as anybody could tell who was shown the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    generation: u64,
    /// When its kernel was seen to begin; `None` for the first.
    began: Option<Duration>,
    /// What it holds, and since when it has rested there.
    actual: ByteCount,
    rests_since: Duration,
    /// The last report that counted, when it was shown, and what it said.
    last: Option<(Report, Duration)>,
    pub(super) unused: ByteCount,
    pub(super) idle: ByteCount,
    /// The most that it used since it rests; `None` before a first report.
    most_used: Option<ByteCount>,
    /// Its use is more than ever since it rests, by a report that is new now.
    pub(super) grows: bool,
    /// It has written much to its swap device, by a report that is new now.
    pub(super) swaps_hard: bool,
    /// Whatever is true of it, it may seem to use more than before, or to swap.
    pub(super) seems_to_grow: bool,
    seemed: Option<(ByteCount, ByteCount)>,
    /// The most that was ever in use that could not be had without hurting anybody.
    pub(super) peak: ByteCount,
    /// When that, or its use, was last seen to be more than in the report before.
    grew_at: Duration,
}

/// What one VM is to have by the words of `working-set`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    /// Now.
    pub(super) now: ByteCount,
    /// Most that it would like to keep, where its use has not grown lately.
    pub(super) keep: ByteCount,
}

impl Usage {
    /// Takes in what was shown of the VM now.
    pub(super) fn see(&mut self, known: &Known, now: Duration) {
        (self.grows, self.swaps_hard) = (false, false);
        let facts = &known.facts;
        if facts.generation != self.generation {
            let generation = facts.generation;
            *self = Self { generation, began: Some(now), grew_at: now, ..Self::default() };
        }
        let rests = facts.target == facts.actual && known.actual == facts.actual;
        if !rests || facts.actual != self.actual {
            (self.actual, self.rests_since, self.most_used) = (facts.actual, now, None);
        }
        self.seem(known);
        let Some(report) = known.report.filter(|report| report.is_true) else {
            (self.last, self.most_used) = (None, None);
            return;
        };
        let idle = report.figures.usable.or(report.figures.unused).unwrap_or_default();
        self.peak = self.peak.max(facts.actual.max(known.actual).saturating_sub(idle));
        let before = self.last.filter(|(before, _)| before.stamp != report.stamp);
        if let Some((before, at)) = before {
            self.compare(&before, &report, now.saturating_sub(at));
        }
        if before.is_some() || self.last.is_none() {
            self.last = Some((report, now));
        }
        (self.idle, self.unused) = (idle, report.figures.unused.unwrap_or_default());
        // A report of before it rested says nothing of how it uses what it has.
        if report.at > self.rests_since {
            let used = self.used();
            self.grows = self.most_used.is_some_and(|most| used > most);
            self.most_used = Some(self.most_used.map_or(used, |most| most.max(used)));
        }
        if self.grows {
            self.grew_at = now;
        }
    }

    /// Takes in what seems to be so.
    fn seem(&mut self, known: &Known) {
        let figures = known.report.map(|report| report.figures).unwrap_or_default();
        let used = known.actual.saturating_sub(figures.unused.unwrap_or_default());
        let swapped = figures.swap_out.unwrap_or_default();
        let more = |before: (ByteCount, ByteCount)| used > before.0 || swapped != before.1;
        self.seems_to_grow = self.seemed.is_none_or(more);
        self.seemed = Some((used, swapped));
    }

    fn compare(&mut self, before: &Report, report: &Report, passed: Duration) {
        let out = |report: &Report| report.figures.swap_out.unwrap_or_default();
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = out(report).saturating_sub(out(before)).fraction(1000, millis);
        self.swaps_hard = rate >= HARD;
        let idle = |report: &Report| report.figures.usable.unwrap_or_default();
        if idle(report) < idle(before) || out(report) > out(before) {
            self.grew_at = self.last.map_or(Duration::ZERO, |(_, at)| at.saturating_add(passed));
        }
    }

    /// What it uses.
    fn used(&self) -> ByteCount {
        self.actual.saturating_sub(self.unused)
    }

    /// It has rested for so long that its figures are of how it is now.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        self.last.is_some() && now.saturating_sub(self.rests_since) >= SETTLED
    }

    /// Its kernel began long ago.
    pub(super) fn has_run_long(&self, now: Duration) -> bool {
        self.began.is_none_or(|began| now.saturating_sub(began) >= BOOTED)
    }

    /// It has used no more from report to report for long, and never swapped.
    pub(super) fn is_calm(&self, now: Duration) -> bool {
        self.never_swapped() && now.saturating_sub(self.grew_at) >= CALM
    }

    /// It never wrote anything to its swap device.
    pub(super) fn never_swapped(&self) -> bool {
        let out = self.last.map(|(report, _)| report.figures.swap_out.unwrap_or_default());
        out.is_some_and(ByteCount::is_zero)
    }

    /// What it is to have by the words of `working-set`.
    pub(super) fn asks(&self, policy: &Policy) -> Asks {
        let constants = &policy.working_set;
        let with_headroom = |demand: ByteCount| {
            let share = demand.fraction(u64::from(constants.headroom_percent), 100);
            demand.saturating_add(share.max(constants.headroom))
        };
        let now = with_headroom(self.actual.saturating_sub(self.idle));
        let more = self.actual.fraction(1, 4).max(constants.headroom);
        let starving = self.actual.saturating_add(more);
        let now = if self.swaps_hard { now.max(starving) } else { now };
        Asks { now, keep: with_headroom(self.peak).max(now) }
    }

    /// True where it has to get memory by the words of the algorithm in force, if it may hold `cap`.
    pub(super) fn wants(&self, policy: &Policy, cap: ByteCount) -> bool {
        let room = cap.saturating_sub(self.actual);
        match policy.algorithm {
            Algorithm::TwoPointer => {
                let needs = self.grows && self.unused < policy.two_pointer.need_below;
                room >= ROOM && (needs || self.swaps_hard)
            }
            Algorithm::WorkingSet => {
                let band = policy.working_set.dead_band.saturating_add(PAGE);
                let lacks = self.asks(policy).now.min(cap).saturating_sub(self.actual);
                lacks >= band || self.swaps_hard && room >= ROOM
            }
        }
    }
}

/// Who was in want, and got nothing.
#[derive(Debug, Default)]
pub(super) struct Wants {
    usages: BTreeMap<VmId, Usage>,
    /// Turns in which there was something for a VM in want and it got nothing, the first and the last.
    missed: BTreeMap<VmId, Missed>,
    /// Since when nothing kept agentd from acting.
    acts_since: Option<Duration>,
}

/// In how many turns a VM got nothing, when in the first of them, and when in the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    turns: u32,
    first: Duration,
    last: Duration,
}

impl Wants {
    /// Takes in what was shown of a VM.
    pub(super) fn see(&mut self, id: VmId, known: &Known, now: Duration) {
        self.usages.entry(id).or_default().see(known, now);
    }

    /// How a VM uses its memory.
    pub(super) fn usage(&self, id: VmId) -> Usage {
        self.usages.get(&id).copied().unwrap_or_default()
    }

    /// Something keeps agentd from acting, or did until now: it begins anew.
    pub(super) fn begin_anew(&mut self) {
        self.missed.clear();
        self.acts_since = None;
    }

    /// A turn in which nothing kept it from acting. True once it has done so for long enough to know
    /// all VMs that can be known.
    pub(super) fn acts(&mut self, now: Duration) -> bool {
        let since = *self.acts_since.get_or_insert(now);
        now.saturating_sub(since) >= KNOWS_AFTER
    }

    /// A VM was told to take memory.
    pub(super) fn gets(&mut self, id: VmId) {
        self.missed.remove(&id);
    }

    /// There was something for a VM in want in this turn, and it got nothing. For how long that has
    /// been so, where that is too long.
    pub(super) fn misses(&mut self, id: VmId, now: Duration) -> Option<(u32, Duration)> {
        let fresh = Missed { turns: 0, first: now, last: now };
        let own = self.missed.entry(id).or_insert(fresh);
        if now.saturating_sub(own.last) > FORGOTTEN {
            *own = fresh;
        }
        (own.turns, own.last) = (own.turns + 1, now);
        let passed = now.saturating_sub(own.first);
        (own.turns >= TURNS && passed >= TIME).then_some((own.turns, passed))
    }
}

/// Figures of two reports while it rests, each two seconds after the one before at most, and of a
/// balloon event that may be late.
const SETTLED: Duration = Duration::from_secs(5);
/// A kernel has begun by then, in fifteen seconds at most, and its driver has said three times that it rests.
const BOOTED: Duration = Duration::from_secs(30);
/// What grew is forgotten by then: a quarter of it is left by every report, of which there are six.
const CALM: Duration = Duration::from_secs(12);
/// A start or a gap has every VM proven by then, and told to hold what it holds.
const KNOWS_AFTER: Duration = Duration::from_secs(8);
/// A turn may come to nothing, and another one for what came of it.
const TURNS: u32 = 4;
/// An order and its figures may be under way.
const TIME: Duration = Duration::from_secs(8);
/// Who was not in want for so long begins anew.
const FORGOTTEN: Duration = Duration::from_secs(20);
/// Twice what a VM that swaps hard swaps a second, so that no clock matters.
const HARD: ByteCount = ByteCount::mib(2);
/// Who has less to its maximum may be there.
const ROOM: ByteCount = ByteCount::mib(16);
const PAGE: ByteCount = ByteCount::kib(4);

#[cfg(test)]
mod tests {
    use agentd::hypervisor::sim::VmFacts;
    use agentd_core::sample::{GuestFigures, Reported, Stamp, VmReading};

    use super::super::fixture::{TAKER, holding, mib};
    use super::*;

    const fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// How a VM of 500 MiB uses them that said at these seconds that so many MiB were unused, all of them
    /// usable, and so many had been swapped out.
    fn usage(reports: &[(u64, u32, u32)]) -> Usage {
        let (mut usage, mut known) = (Usage::default(), None::<Known>);
        for (at, unused, out) in reports {
            let unused = Some(mib(*unused));
            let swap_out = Some(mib(*out));
            let figures = GuestFigures { unused, usable: unused, swap_out, ..Default::default() };
            let (stamp, at) = (Stamp { second: *at, mark: 0 }, second(*at));
            let used = ByteCount::ZERO;
            let report = Some(Report { figures, stamp, at, is_true: true, used });
            let facts = VmFacts { report, ..holding(500) };
            let reading = VmReading {
                id: TAKER,
                name: "taker".into(),
                run: facts.run,
                generation: facts.generation,
                traits: None,
                actual: facts.actual,
                max: facts.max,
                guest: figures,
                reported: Reported::At(stamp),
                host_rss: None,
                paired: false,
            };
            let mut own = known.take().unwrap_or_else(|| Known::first(&reading, &facts));
            own.next(&reading, &facts, at);
            usage.see(&own, at);
            known = Some(own);
        }
        usage
    }

    #[test]
    fn by_two_pointer_who_uses_more_than_before_with_little_unused_is_in_want() {
        let policy = Policy::default();
        let wants = |reports| usage(reports).wants(&policy, mib(1000));
        assert!(wants(&[(0, 190, 0), (1, 190, 0), (2, 180, 0)]));
        assert!(!wants(&[(0, 190, 0), (1, 180, 0), (2, 180, 0)]), "not any more");
        assert!(!wants(&[(0, 190, 0), (1, 150, 0), (2, 160, 0), (3, 155, 0)]), "it had less");
        assert!(!wants(&[(0, 290, 0), (1, 290, 0), (2, 280, 0)]), "it has enough");
        assert!(wants(&[(0, 190, 0), (1, 190, 3)]), "it swaps hard");
        let full = usage(&[(0, 190, 0), (1, 190, 0), (2, 180, 0)]);
        assert!(!full.wants(&policy, mib(510)), "it is nearly at its maximum");
    }

    #[test]
    fn by_working_set_who_has_less_than_it_works_with_and_headroom_is_in_want() {
        let policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let wants = |unused| usage(&[(0, unused, 0), (1, unused, 0)]).wants(&policy, mib(1000));
        // Of 64 MiB of headroom 16 are not worth an order.
        assert_eq!([wants(60), wants(49), wants(47)], [false, false, true]);
        let asks = usage(&[(0, 100, 0), (1, 400, 0)]).asks(&policy);
        assert_eq!((asks.now, asks.keep), (mib(164), mib(464)));
    }

    #[test]
    fn figures_tell_once_the_vm_has_rested_and_calm_is_who_has_not_grown_for_long() {
        let settled = usage(&[(0, 100, 0), (3, 90, 0), (5, 90, 0)]);
        assert!(settled.is_settled(second(5)) && !settled.is_settled(second(4)));
        assert!(!settled.is_calm(second(14)) && settled.is_calm(second(15)));
        assert!(!usage(&[(0, 100, 7), (60, 100, 7)]).is_calm(second(60)), "it has swapped");
    }

    #[test]
    fn who_misses_some_again_and_again_is_told_and_who_got_some_begins_anew() {
        let missed = |seconds: &[u64]| {
            let mut wants = Wants::default();
            let misses = seconds.iter().map(|at| wants.misses(TAKER, second(*at)).is_some());
            misses.collect::<Vec<_>>()
        };
        assert_eq!(missed(&[0, 2, 4, 6, 8]), [false, false, false, false, true]);
        assert_eq!(missed(&[0, 9, 18]), [false; 3], "a few may come to nothing");
        assert_eq!(missed(&[0, 1, 2, 30, 31, 32]), [false; 6], "long ago");
        let mut wants = Wants::default();
        let misses = |wants: &mut Wants, at| wants.misses(TAKER, second(at)).is_some();
        assert!(!(0..4).any(|at| misses(&mut wants, at * 2)));
        wants.gets(TAKER);
        assert!(!misses(&mut wants, 8));
    }
}
