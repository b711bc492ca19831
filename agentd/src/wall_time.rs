//! [`WallTime`] of the core and the times of the system, one made of the other.

use std::time::{Duration, SystemTime};

use agentd_core::pin::WallTime;
use jiff::Timestamp;

/// The first whole second that is not before this time; 0 for a clock of before 1970.
#[must_use]
pub(crate) fn at_or_after(time: SystemTime) -> WallTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let begun = u64::from(since.subsec_nanos() > 0);
    WallTime(since.as_secs().saturating_add(begun))
}

/// How long it is from `from` to this time; nothing where that is over, and as long as can be where the
/// system knows no such time.
#[must_use]
pub(crate) fn left(WallTime(seconds): WallTime, from: SystemTime) -> Duration {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    at.map_or(Duration::MAX, |at| at.duration_since(from).unwrap_or_default())
}

/// The time in words: RFC 3339, in UTC.
#[must_use]
pub(crate) fn words(WallTime(seconds): WallTime) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_a_second_and_told_in_words() {
        let at = |millis| at_or_after(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(1000), at(1001)].map(|time| time.0), [0, 1, 1, 2]);
        assert_eq!(words(WallTime(1_767_323_045)), "2026-01-02T03:04:05Z");
        assert_eq!(words(WallTime(u64::MAX)), "18446744073709551615 s after 1970");
        let from = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(left(WallTime(2), from), Duration::from_millis(500));
        assert_eq!(left(WallTime(1), from), Duration::ZERO);
        assert!(left(WallTime(u64::MAX), from) > Duration::from_secs(u64::MAX / 2));
    }
}
