//! [`ReportTime`]: when a VM reported, as far as that is known, and how much time is between two of its reports.

use std::time::Duration;

use crate::sample::Reported;

/// When a report was taken, in monotonic time since the start of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportTime {
    /// After this: the reading of then did not show it. `None` where the first reading did.
    pub after: Option<Duration>,
    /// Before this: the reading of then showed it.
    pub until: Duration,
    /// The second of its stamp; `None` where it has none.
    pub second: Option<u64>,
}

impl ReportTime {
    /// That of a report which a reading shows now, and one that was taken at `before` did not.
    #[must_use]
    pub const fn seen(reported: Reported, before: Option<Duration>, now: Duration) -> Self {
        match reported {
            Reported::Now => Self { after: Some(now), until: now, second: None },
            Reported::At(stamp) => Self { after: before, until: now, second: Some(stamp.second) },
            Reported::Never => Self { after: before, until: now, second: None },
        }
    }

    /// The time since an earlier report, for what changed between the two in a second: the time between the
    /// readings that showed them first, or what their stamps are apart where that is more. An earlier one
    /// that was old already when it was seen is further away than the readings are.
    ///
    /// Stamps are whole seconds: the time between is what they are apart, and up to a second more or less. Of that
    /// half a second less counts, so that of VMs which report at every reading hardly any seems to change more
    /// slowly than it does. Somebody may have set the clock of the stamps: no more counts than the time since
    /// the reading that did not show the earlier one yet.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let seen = self.until.saturating_sub(earlier.until);
        let most = earlier.after.map_or(Duration::MAX, |after| self.until.saturating_sub(after));
        let seconds = self.second.zip(earlier.second);
        let apart = seconds.map_or(0, |(second, before)| second.saturating_sub(before));
        seen.max(Duration::from_secs(apart).saturating_sub(COARSE).min(most))
    }
}

/// Stamps are less than this further apart than the reports were, seven times in eight.
const COARSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A report of this second that was seen at this time in milliseconds, two seconds after the reading before.
    const fn seen(second: u64, at: u64) -> ReportTime {
        let after = Some(millis(at.saturating_sub(2000)));
        ReportTime { after, until: millis(at), second: Some(second) }
    }

    #[test]
    fn one_that_was_old_already_is_further_away_than_the_readings_are() {
        assert_eq!(seen(103, 4000).since(&seen(100, 2000)), millis(2500));
        let first = ReportTime { after: None, ..seen(100, 0) };
        assert_eq!(seen(3700, 2000).since(&first), millis(3_599_500), "it was of its boot");
    }

    #[test]
    fn stamps_make_no_time_shorter_and_are_a_second_off() {
        for second in [98, 100, 101, 102] {
            let since = seen(second, 4000).since(&seen(100, 2000));
            assert_eq!(since, millis(2000), "in second {second}");
        }
        // Readings a second and a half apart, each with a report of that moment.
        let moments = [0_u64, 1500, 3000, 4500, 6000].map(|at| seen(100 + at / 1000, at));
        let apart = moments.windows(2).map(|pair| pair[1].since(&pair[0]));
        assert!(apart.eq([millis(1500); 4]));
    }

    #[test]
    fn a_clock_that_was_set_makes_no_time_longer_than_it_can_have_been() {
        assert_eq!(seen(3700, 4000).since(&seen(100, 2000)), millis(4000));
        assert_eq!(seen(100, 4000).since(&seen(3700, 2000)), millis(2000));
        let ever = ReportTime { after: None, ..seen(0, 0) };
        assert_eq!(seen(0, 4000).since(&ever), millis(4000));
        assert!(seen(u64::MAX, 4000).since(&ever) > millis(4000), "nothing overflows");
    }

    #[test]
    fn without_stamps_it_is_the_time_between_the_readings() {
        let now = |at| ReportTime::seen(Reported::Now, Some(Duration::ZERO), millis(at));
        assert_eq!(now(3000).since(&now(1000)), millis(2000));
        assert_eq!(now(3000).since(&now(3000)), Duration::ZERO);
        assert_eq!(seen(9, 4000).since(&now(1000)), millis(3000));
    }
}
