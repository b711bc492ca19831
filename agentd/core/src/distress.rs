//! [`Distress`]: signs that a VM suffers for want of memory, whatever its free memory looks like.
//!
//! A VM that swaps frees memory by it: what it moved to its swap device shows as unused, and its
//! use falls. Only its counters tell. They run since its boot, so that two reports have to be
//! compared.

use std::time::Duration;

use crate::{bytes::ByteCount, report::ReportTime, sample::GuestFigures};

/// The last sign that a VM suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distress {
    /// What was seen.
    pub sign: Sign,
    /// How long ago.
    pub age: Duration,
}

/// What shows that a VM suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It wrote so much to its swap device in a second.
    SwapsOut(ByteCount),
    /// It waited for so many pages to be read from a disk in a second.
    Faults(u64),
    /// It took memory back by itself because it had none left.
    TookBack,
}

impl Distress {
    /// For how long a sign counts at most: virtui lowers no VM for a minute after it swapped. It ends
    /// sooner for one that has recovered.
    pub const REMEMBERED: Duration = Duration::from_secs(60);

    /// True while it suffers so much that more memory is the remedy: it swaps out at the rate at
    /// which virtui found VMs to be slowed down noticeably.
    #[must_use]
    pub fn is_acute(&self) -> bool {
        let hard = match self.sign {
            Sign::SwapsOut(rate) => rate >= HARD_SWAPPING,
            Sign::TookBack => true,
            Sign::Faults(_) => false,
        };
        hard && self.age <= ACUTE_FOR
    }
}

/// The counters of a VM, followed from report to report.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    last: Option<(GuestFigures, ReportTime)>,
    sign: Option<(Sign, Duration)>,
    /// Swapped out since it was first seen, and not read back yet.
    swapped_away: ByteCount,
    /// Reports without a sign since, of those that come in quick succession one.
    quiet: u32,
    /// When the last of them came, or the sign.
    quiet_at: Duration,
    /// Since when every report showed room in it and nothing swapped either way; `None` where the last
    /// one did not.
    still_since: Option<Duration>,
}

impl Counters {
    /// Takes in a new report, which is seen now.
    pub fn follow(&mut self, figures: GuestFigures, report: ReportTime) {
        let now = report.until;
        if let Some((before, earlier)) = self.last {
            let sign = sign(&before, &figures, report.since(&earlier));
            self.swapped_away = figures.swapped().away(self.swapped_away, &before.swapped());
            let still = stands_still(&before, &figures);
            self.still_since = still.then(|| self.still_since.unwrap_or(earlier.until));
            if sign.is_some() {
                (self.quiet, self.quiet_at) = (0, now);
            } else if now.saturating_sub(self.quiet_at) >= REPORTS_APART {
                (self.quiet, self.quiet_at) = (self.quiet.saturating_add(1), now);
            }
            self.sign = sign.map(|sign| (sign, now)).or(self.sign);
            if self.has_recovered(&figures, now) {
                self.sign = None;
            }
        }
        self.last = Some((figures, report));
    }

    /// The same with nothing to compare the next report with: time has passed that nobody saw.
    #[must_use]
    pub const fn interrupted(self) -> Self {
        Self { last: None, still_since: None, ..self }
    }

    /// It has been quiet, and could take back all that it had to swap out and have room left. One that
    /// has had room for long and took nothing back misses nothing: what it was of may have ended.
    fn has_recovered(&self, figures: &GuestFigures, now: Duration) -> bool {
        let room = figures.usable.unwrap_or_default();
        let still_for = self.still_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let misses = if still_for < STILL_FOR { self.swapped_away } else { ByteCount::ZERO };
        self.quiet >= QUIET_REPORTS && room >= misses.saturating_add(ROOM)
    }

    /// True when the last report showed a sign.
    #[must_use]
    pub fn is_suffering(&self) -> bool {
        self.sign.is_some() && self.quiet == 0
    }

    /// The last sign, as long as it counts.
    #[must_use]
    pub fn distress(&self, now: Duration) -> Option<Distress> {
        let (sign, at) = self.sign?;
        let age = now.saturating_sub(at);
        (age < Distress::REMEMBERED).then_some(Distress { sign, age })
    }

    /// True when counters that only grow are less than they were: the VM's kernel started anew.
    #[must_use]
    pub fn went_back(&self, figures: &GuestFigures) -> bool {
        let Some((before, _)) = &self.last else { return false };
        let less = |before: Option<ByteCount>, now| before.zip(now).is_some_and(|(b, n)| n < b);
        less(before.swap_out, figures.swap_out) || less(before.swap_in, figures.swap_in)
    }
}

fn sign(before: &GuestFigures, now: &GuestFigures, passed: Duration) -> Option<Sign> {
    let grown = |before: Option<u64>, now: Option<u64>| {
        before.zip(now).map_or(0, |(before, now)| now.saturating_sub(before))
    };
    let bytes = |amount: Option<ByteCount>| amount.map(ByteCount::as_u64);
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    let a_second = |count| ByteCount::bytes(count).fraction(1000, millis).as_u64();
    let swapped_out = grown(bytes(before.swap_out), bytes(now.swap_out));
    let faults = a_second(grown(before.major_faults, now.major_faults));
    if swapped_out > 0 {
        return Some(Sign::SwapsOut(ByteCount::bytes(a_second(swapped_out))));
    }
    let roomy = lies_idle(before) && lies_idle(now);
    (faults >= MANY_FAULTS && !roomy).then_some(Sign::Faults(faults))
}

/// Much is free in it, which a kernel that has to take pages from programs or files does not have:
/// what it reads then it reads for the first time, or takes back because there is room again.
fn lies_idle(figures: &GuestFigures) -> bool {
    figures.unused.is_some_and(|unused| unused >= IDLE)
}

/// It had room at both reports, and swapped nothing out or in between. What it does not count is not
/// taken to be nothing.
fn stands_still(before: &GuestFigures, now: &GuestFigures) -> bool {
    let has_room = |own: &GuestFigures| own.usable.is_some_and(|usable| usable >= ROOM);
    let counts = now.swap_in.is_some() && now.swap_out.is_some();
    counts && now.swapped() == before.swapped() && has_room(before) && has_room(now)
}

/// One report may have come just after a sign.
const QUIET_REPORTS: u32 = 2;
/// A little less than the shortest period in which VMs report by themselves: what is asked for in quicker succession shows
/// no more than one.
pub(crate) const REPORTS_APART: Duration = Duration::from_millis(750);
/// More than kernels of ordinary VMs keep unused in any case.
const ROOM: ByteCount = ByteCount::mib(64);
/// For so long room that is not used says that nothing is missed. Reports come every five seconds at
/// most where a host does not ask more often.
const STILL_FOR: Duration = Duration::from_secs(10);
/// Guests that thrashed were measured to keep 40 to 60 MiB free all the time.
const IDLE: ByteCount = ByteCount::mib(128);
/// virtui raises the memory of a VM that swaps out at this rate.
const HARD_SWAPPING: ByteCount = ByteCount::mib(1);
/// Two reports of the default period of a second, and the tick of two seconds between them.
const ACUTE_FOR: Duration = Duration::from_secs(4);
/// At five milliseconds each, as of a rotating disk, all of a second.
const MANY_FAULTS: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Reported;

    fn report(swap_out: u32, faults: u64) -> GuestFigures {
        GuestFigures {
            swap_out: Some(ByteCount::mib(swap_out)),
            major_faults: Some(faults),
            ..GuestFigures::default()
        }
    }

    const fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// Taken when it is seen, at this second.
    const fn seen(at: u64) -> ReportTime {
        ReportTime::seen(Reported::Now, None, second(at))
    }

    #[test]
    fn swapping_is_seen_between_two_reports_and_remembered_for_a_minute() {
        let mut counters = Counters::default();
        counters.follow(report(500, 0), seen(0));
        assert_eq!(counters.distress(second(0)), None, "what was before nobody knows");
        counters.follow(report(504, 0), seen(2));
        let sign = Sign::SwapsOut(ByteCount::mib(2));
        let distress = counters.distress(second(2));
        assert_eq!(distress, Some(Distress { sign, age: Duration::ZERO }));
        assert!(distress.is_some_and(|distress| distress.is_acute()));
        counters.follow(report(504, 0), seen(10));
        assert!(counters.distress(second(10)).is_some_and(|distress| !distress.is_acute()));
        assert_eq!(counters.distress(second(62)), None);
    }

    #[test]
    fn who_has_room_for_all_that_it_swapped_out_suffers_no_more_once_it_is_quiet() {
        let with = |out, back, usable| GuestFigures {
            swap_in: Some(ByteCount::mib(back)),
            usable: Some(ByteCount::mib(usable)),
            ..report(out, 0)
        };
        let mut counters = Counters::default();
        counters.follow(with(500, 0, 10), seen(0));
        counters.follow(with(600, 0, 100), seen(1));
        counters.follow(with(600, 20, 200), seen(2));
        counters.follow(with(600, 20, 140), seen(3));
        assert!(counters.distress(second(3)).is_some(), "80 MiB are missing, and 140 are no room");
        counters.follow(with(600, 60, 110), seen(4));
        assert_eq!(counters.distress(second(4)), None);
        counters.follow(with(601, 60, 300), seen(5));
        assert!(counters.distress(second(5)).is_some(), "it begins again");
    }

    #[test]
    fn who_has_had_room_for_long_and_takes_nothing_back_misses_nothing() {
        let with = |back: Option<u32>, usable| GuestFigures {
            swap_in: back.map(ByteCount::mib),
            usable: Some(ByteCount::mib(usable)),
            ..report(500, 0)
        };
        let recovers_at = |reports: &dyn Fn(u64) -> GuestFigures| {
            let mut counters = Counters::default();
            counters.follow(report(0, 0), seen(0));
            (1..60).find(|at| {
                counters.follow(reports(*at), seen(*at));
                counters.distress(second(*at)).is_none()
            })
        };
        assert_eq!(recovers_at(&|_| with(Some(0), 100)), Some(11), "ten seconds of it were seen");
        assert_eq!(recovers_at(&|_| with(Some(0), 60)), None, "it has no room to take any back");
        let returns = |at: u64| if at < 8 { 0 } else { 1 };
        assert_eq!(recovers_at(&|at| with(Some(returns(at)), 100)), Some(18), "it took some back");
        assert_eq!(recovers_at(&|_| with(None, 100)), None, "it does not say what it takes back");
        let filled = |at: u64| if at == 6 { 50 } else { 100 };
        assert_eq!(recovers_at(&|at| with(Some(0), filled(at))), Some(17), "its room was gone");
    }

    #[test]
    fn what_nobody_saw_is_no_proof_that_it_misses_nothing() {
        let still = GuestFigures {
            swap_in: Some(ByteCount::ZERO),
            usable: Some(ByteCount::mib(100)),
            ..report(500, 0)
        };
        let mut counters = Counters::default();
        counters.follow(report(0, 0), seen(0));
        (1..9).for_each(|at| counters.follow(still, seen(at)));
        let mut counters = counters.interrupted();
        (20..30).for_each(|at| counters.follow(still, seen(at)));
        assert!(counters.distress(second(29)).is_some(), "it stood still for nine seconds since");
        counters.follow(still, seen(30));
        assert_eq!(counters.distress(second(30)), None);
    }

    #[test]
    fn faults_are_no_sign_while_much_is_free() {
        let with = |faults, unused: Option<u32>| GuestFigures {
            unused: unused.map(ByteCount::mib),
            ..report(0, faults)
        };
        let sign = |before, after| {
            let mut counters = Counters::default();
            counters.follow(with(0, before), seen(0));
            counters.follow(with(900, after), seen(2));
            counters.distress(second(2)).map(|distress| distress.sign)
        };
        let waits = Some(Sign::Faults(450));
        assert_eq!(sign(Some(128), Some(128)), None);
        assert_eq!(sign(Some(127), Some(500)), waits, "it may have made room by it");
        assert_eq!(sign(Some(500), Some(127)), waits, "it filled up");
        assert_eq!(sign(None, None), waits, "it does not say what is free");
    }

    #[test]
    fn many_faults_are_a_sign_and_few_are_not() {
        let mut counters = Counters::default();
        counters.follow(report(0, 0), seen(0));
        counters.follow(report(0, 300), seen(2));
        assert_eq!(counters.distress(second(2)), None);
        counters.follow(report(0, 900), seen(4));
        assert_eq!(counters.distress(second(4)).map(|d| d.sign), Some(Sign::Faults(300)));
    }

    #[test]
    fn what_came_since_a_report_that_was_old_already_is_no_sign_of_a_single_tick() {
        let of = |stamp, before, at| {
            ReportTime::seen(Reported::at(stamp), Some(second(before)), second(at))
        };
        let sign = |stamp| {
            let mut counters = Counters::default();
            counters.follow(report(0, 0), of(100, 0, 10));
            counters.follow(report(0, 1000), of(stamp, 10, 12));
            counters.distress(second(12)).map(|distress| distress.sign)
        };
        assert_eq!(sign(102), Some(Sign::Faults(500)), "it was as old as the other one");
        assert_eq!(sign(105), Some(Sign::Faults(222)));
        assert_eq!(sign(110), None, "ten seconds of faults");
        let mut counters = Counters::default();
        counters.follow(report(0, 0), ReportTime::seen(Reported::at(100), None, second(10)));
        counters.follow(report(600, 0), of(4000, 10, 12));
        let hour = counters.distress(second(12)).expect("it swapped out");
        assert!(!hour.is_acute(), "{hour:?}: it had reported nothing since its boot");
    }

    #[test]
    fn counters_that_go_back_are_of_another_boot() {
        let mut counters = Counters::default();
        counters.follow(report(500, 0), seen(0));
        assert!(!counters.went_back(&report(500, 0)));
        assert!(counters.went_back(&report(499, 0)));
        let silent = GuestFigures::default();
        assert!(!counters.went_back(&silent), "absent is not zero");
    }
}
