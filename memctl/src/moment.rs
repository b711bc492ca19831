//! [`Moment`]: a point in time as a person types it. Pure.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};

use crate::failure::Failure;
use crate::quantity::parse_positive_duration;

/// A point in time, some of it left to the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago.
    Ago(Duration),
    /// The last time that a clock showed this.
    Clock(Time),
    /// A date with the time of day.
    Local(DateTime),
    /// An instant, whatever the zone.
    Instant(Timestamp),
}

impl Moment {
    /// Reads "10m", "14:05", "2026-01-02 14:05" and RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ago) = parse_positive_duration(text) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Ok(Self::Instant(instant));
        }
        let has_date = text.contains('-');
        if has_date && let Ok(local) = text.parse::<DateTime>() {
            return Ok(Self::Local(local));
        }
        if has_date && let Ok(date) = text.parse::<Date>() {
            return Ok(Self::Local(date.to_datetime(Time::midnight())));
        }
        if !has_date
            && text.contains(':')
            && let Ok(time) = text.parse::<Time>()
        {
            return Ok(Self::Clock(time));
        }
        Err(format!(
            "\"{text}\" is no time: write 10m for ten minutes ago, 14:05, \"2026-01-02 14:05\", or \
             2026-01-02T14:05:00Z"
        ))
    }

    /// The instant that is meant, at `now` in the zone of whoever typed it.
    pub(crate) fn at(&self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Failure> {
        let found = match self {
            Self::Instant(instant) => Ok(*instant),
            Self::Ago(ago) => SignedDuration::try_from(*ago).and_then(|ago| now.checked_sub(ago)),
            Self::Local(local) => local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()),
            Self::Clock(time) => last_time(*time, &now.to_zoned(zone.clone())),
        };
        found.map_err(|error| Failure::usage(format!("there is no such time: {error}")))
    }
}

fn last_time(time: Time, now: &Zoned) -> Result<Timestamp, jiff::Error> {
    let day = if now.time() < time { now.date().checked_sub(1.day())? } else { now.date() };
    Ok(day.to_datetime(time).to_zoned(now.time_zone().clone())?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let now: Timestamp = "2026-01-02T10:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        Moment::parse(text).unwrap().at(now, &zone).unwrap().to_string()
    }

    #[test]
    fn what_people_type_is_a_time() {
        for (typed, meant) in [
            ("10m", "2026-01-02T09:50:00Z"),
            ("1d2h", "2026-01-01T08:00:00Z"),
            ("09:30", "2026-01-02T08:30:00Z"),
            ("09:30:05", "2026-01-02T08:30:05Z"),
            // It is 11 there: 14 was yesterday.
            ("14:05", "2026-01-01T13:05:00Z"),
            ("2025-12-31", "2025-12-30T23:00:00Z"),
            ("2025-12-31 14:05", "2025-12-31T13:05:00Z"),
            ("2025-12-31T14:05:06", "2025-12-31T13:05:06Z"),
            ("2025-12-31T14:05:06Z", "2025-12-31T14:05:06Z"),
            ("2025-12-31T14:05:06.5+05:00", "2025-12-31T09:05:06.5Z"),
        ] {
            assert_eq!(read(typed), meant, "{typed}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write() {
        for typed in ["", "10", "noon", "25:00", "2026-13-01", "14:05 o'clock", "-5m"] {
            let refused = Moment::parse(typed).unwrap_err();
            assert!(refused.contains("10m for ten minutes ago"), "{refused}");
        }
    }
}
