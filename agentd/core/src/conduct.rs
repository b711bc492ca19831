//! [`Conduct`]: how a VM follows the orders that it is given.
//!
//! A VM that does not get on with an open order is inactive after a few seconds: others take up the
//! slack. Time without progress fills a bucket that leaks slowly, so that neither a page now and
//! then nor a second of work between long rests makes good for it. When the bucket is full, or when
//! what the VM gave did not become free on the host, the VM is not asked again for a while, for
//! twice as long each time.
//!
//! Xen's squeezed calls a VM inactive after 5 s and uncooperative after 20 s more; a byte of
//! progress resets both there, which the share and the leak here are for.

use std::time::Duration;

use crate::{bytes::ByteCount, in_a_row::InARow};

/// How a VM has followed its orders so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// Where its open order stood when it last got on; `None` while none is open.
    mark: Option<Mark>,
    /// It has not got on for [`INACTIVE_AFTER`].
    inactive: bool,
    /// Time without progress that has not leaked away.
    bucket: Duration,
    /// Its orders were refused.
    refused: InARow,
    /// Why it is not asked.
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    at: Duration,
    missing: ByteCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failing {
    frees_nothing: bool,
    /// When it is asked again.
    until: Duration,
    /// For how long it was not asked the last time.
    pause: Duration,
}

/// How a VM stands with those who order it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows.
    Cooperative,
    /// It has not got on with its order for some seconds.
    Inactive,
    /// It did not follow for so long that it is not asked for a while.
    Uncooperative,
    /// What it gave did not become free on the host: it is not asked for a while.
    Ineffective,
    /// Somebody else moved its balloon.
    Quarantined,
}

/// Where a VM's order stands at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none, or it is done.
    Done,
    /// So much is missing to what the VM was told to hold.
    Open(ByteCount),
    /// The VM shrank as it was told, and its memory may still be on its way to the host.
    Freeing,
    /// The VM shrank as it was told, and the host has little of it.
    Useless,
}

impl Conduct {
    /// Takes in where its order stands after so much more time.
    pub fn follow(&mut self, stage: Stage, passed: Duration, now: Duration) {
        match stage {
            Stage::Done | Stage::Freeing => self.rest(passed),
            Stage::Open(missing) => self.judge(missing, passed, now),
            Stage::Useless => {
                self.rest(passed);
                if self.failing.is_none_or(|failing| failing.until <= now) {
                    self.fail(true, now);
                }
            }
        }
        // After a time as long as the pause in which it did what it was told, all is forgotten.
        let forgiven = |f: &mut Failing| f.until.saturating_add(f.pause) <= now;
        if stage == Stage::Done && self.bucket.is_zero() {
            self.failing.take_if(forgiven);
        }
    }

    /// Takes in that an order for it was taken.
    pub fn accept(&mut self) {
        self.refused = InARow::default();
    }

    /// Takes in that an order for it was refused. libvirt refuses in passing where it is busy; one whose
    /// orders go on being refused is not asked for a while, so that others are.
    pub fn refuse(&mut self, now: Duration) {
        self.refused.add(now);
        if self.refused.is_long(now) {
            self.refused = InARow::default();
            self.fail(false, now);
        }
    }

    /// Forgets where the order stood: time has passed that nobody saw.
    pub const fn interrupt(&mut self) {
        self.mark = None;
    }

    /// True while an order is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.mark.is_some()
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: Duration) -> Standing {
        match self.failing {
            Some(failing) if now < failing.until && failing.frees_nothing => Standing::Ineffective,
            Some(failing) if now < failing.until => Standing::Uncooperative,
            Some(_) | None if self.inactive => Standing::Inactive,
            Some(_) | None => Standing::Cooperative,
        }
    }

    /// True at the moment from which it is not asked any more although its order is open: it is to
    /// be told to hold what it holds.
    #[must_use]
    pub fn gave_up(&self, now: Duration) -> bool {
        self.mark.is_some() && self.standing(now) == Standing::Uncooperative
    }

    fn rest(&mut self, passed: Duration) {
        (self.mark, self.inactive) = (None, false);
        self.leak(passed);
    }

    fn judge(&mut self, missing: ByteCount, passed: Duration, now: Duration) {
        let mark = *self.mark.get_or_insert(Mark { at: now, missing });
        let share = mark.missing.fraction(PROGRESS_PERCENT, 100).min(ENOUGH_PROGRESS);
        let wanted = share.max(LEAST_PROGRESS);
        let progress = mark.missing.saturating_sub(missing);
        let idle = now.saturating_sub(mark.at);
        if progress >= wanted.min(mark.missing) && !progress.is_zero() {
            (self.mark, self.inactive) = (Some(Mark { at: now, missing }), false);
            self.leak(passed);
            return;
        }
        // Another order that asks for more starts anew, but what has filled stays.
        if missing > mark.missing {
            self.mark = Some(Mark { at: mark.at, missing });
        }
        if idle >= INACTIVE_AFTER {
            let more = if self.inactive { passed } else { idle };
            self.inactive = true;
            self.bucket = self.bucket.saturating_add(more);
        }
        let on_probation = self.failing.is_some_and(|failing| failing.until <= now);
        let limit = if on_probation { INACTIVE_AFTER } else { UNCOOPERATIVE_AFTER };
        if self.inactive && self.bucket >= limit && self.failing.is_none_or(|f| f.until <= now) {
            self.fail(false, now);
        }
    }

    fn fail(&mut self, frees_nothing: bool, now: Duration) {
        let pause = self
            .failing
            .map_or(FIRST_PAUSE, |before| before.pause.saturating_mul(2).min(LONGEST_PAUSE));
        self.failing = Some(Failing { frees_nothing, until: now.saturating_add(pause), pause });
        self.bucket = Duration::ZERO;
    }

    fn leak(&mut self, passed: Duration) {
        let leaked = passed.checked_div(LEAK).unwrap_or_default();
        self.bucket = self.bucket.saturating_sub(leaked);
    }
}

/// squeezed's.
const INACTIVE_AFTER: Duration = Duration::from_secs(5);
/// squeezed's twenty seconds, less the tick of two seconds at whose end it is seen.
const UNCOOPERATIVE_AFTER: Duration = Duration::from_secs(18);
/// A full bucket is empty again after a minute.
const LEAK: u32 = 3;
/// Less than this of what is missing in [`INACTIVE_AFTER`] is no progress, unless it is
/// [`ENOUGH_PROGRESS`]: a kernel that has to swap for it gives some tens of MiB a second.
const PROGRESS_PERCENT: u64 = 10;
const ENOUGH_PROGRESS: ByteCount = ByteCount::mib(64);
/// Less than this is none at all.
const LEAST_PROGRESS: ByteCount = ByteCount::mib(1);
/// For how long a VM is not asked the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    const fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// Follows an order whose missing KiB at each second are told.
    fn follow(conduct: &mut Conduct, from: u64, missing_kib: impl IntoIterator<Item = u32>) {
        for (now, kib) in (from..).zip(missing_kib) {
            let stage = match kib {
                0 => Stage::Done,
                _ => Stage::Open(ByteCount::kib(kib)),
            };
            conduct.follow(stage, TICK, second(now));
        }
    }

    const MIB: u32 = 1024;

    #[test]
    fn a_vm_that_gets_on_is_cooperative_however_long_it_takes() {
        let mut conduct = Conduct::default();
        follow(&mut conduct, 0, (0..=300).map(|s| (300 - s) * 20 * MIB));
        assert_eq!(conduct, Conduct::default());
    }

    #[test]
    fn one_that_does_not_move_is_inactive_then_uncooperative_then_asked_again() {
        let mut conduct = Conduct::default();
        follow(&mut conduct, 0, [50 * MIB; 5]);
        assert_eq!(conduct.standing(second(4)), Standing::Cooperative);
        follow(&mut conduct, 5, [50 * MIB; 13]);
        assert_eq!(conduct.standing(second(17)), Standing::Inactive);
        assert!(!conduct.gave_up(second(17)));
        follow(&mut conduct, 18, [50 * MIB]);
        assert!(conduct.gave_up(second(18)), "within twenty seconds");
        follow(&mut conduct, 19, [0; 58]);
        assert_eq!(conduct.standing(second(77)), Standing::Uncooperative);
        assert_eq!(conduct.standing(second(78)), Standing::Cooperative);
    }

    #[test]
    fn a_page_every_few_seconds_does_not_count() {
        let mut conduct = Conduct::default();
        follow(&mut conduct, 0, (0..19).map(|s| 50 * MIB - s / 5 * 4));
        assert_eq!(conduct.standing(second(18)), Standing::Uncooperative);
    }

    #[test]
    fn a_little_work_between_long_rests_does_not_count_for_long() {
        let mut conduct = Conduct::default();
        // Ten seconds of nothing, then a tenth of it, over and over.
        follow(&mut conduct, 0, (0..40).map(|s| 500 * MIB - s / 11 * 60 * MIB));
        assert_eq!(conduct.standing(second(39)), Standing::Uncooperative);
    }

    #[test]
    fn who_fails_again_is_left_alone_for_twice_as_long_up_to_an_hour() {
        let mut conduct = Conduct::default();
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..9 {
            while conduct.standing(second(now)) != Standing::Uncooperative {
                conduct.follow(Stage::Open(ByteCount::mib(50)), TICK, second(now));
                now += u64::from(conduct.standing(second(now)) != Standing::Uncooperative);
            }
            let failed = now;
            while conduct.standing(second(now)) == Standing::Uncooperative {
                conduct.follow(Stage::Done, TICK, second(now));
                now += 1;
            }
            pauses.push(now - failed);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn who_frees_nothing_is_left_alone_at_once_and_forgiven_after_good_conduct() {
        let mut conduct = Conduct::default();
        conduct.follow(Stage::Useless, TICK, second(0));
        assert_eq!(conduct.standing(second(0)), Standing::Ineffective);
        assert!(!conduct.gave_up(second(0)), "there is nothing to take back");
        follow(&mut conduct, 1, [0; 120]);
        assert_eq!(conduct, Conduct::default());
    }

    #[test]
    fn time_that_nobody_saw_is_not_held_against_it() {
        let mut conduct = Conduct::default();
        follow(&mut conduct, 0, [50 * MIB; 4]);
        conduct.interrupt();
        follow(&mut conduct, 1000, [50 * MIB; 5]);
        assert_eq!(conduct.standing(second(1004)), Standing::Cooperative);
    }
}
