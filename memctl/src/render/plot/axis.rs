//! The axes of a plot: round values that a person reads off. Pure.

use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Unit, ZonedRound};

use super::instant;
use crate::quantity::{Units, format_size};

/// A value on an axis, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick<T> {
    pub(crate) at: T,
    pub(crate) label: String,
}

/// About `count` round amounts from 0 to above `most`; the last one is the end of the axis.
pub(crate) fn amounts(most: u64, count: u64, units: Units) -> Vec<Tick<u64>> {
    let (units_of, steps): (_, &[u64]) = match units {
        Units::Iec => ([1, 1 << 10, 1 << 20, 1 << 30, 1 << 40], &HALVES),
        Units::Si | Units::Bytes => {
            ([1, 1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000], &TENTHS)
        }
    };
    let most = most.max(1);
    let wanted = most.div_ceil(count.max(1));
    let steps = units_of.iter().flat_map(|unit| steps.iter().map(|n| n.saturating_mul(*unit)));
    let step = steps.filter(|step| *step >= wanted).min().unwrap_or(most);
    let ticks = (0..=most.div_ceil(step)).map(|n| n.saturating_mul(step));
    ticks.map(|at| Tick { at, label: format_size(at, units) }).collect()
}

/// At most about `count` round times between two, in seconds since the epoch, by the clocks of a zone.
pub(crate) fn times(start: i64, end: i64, count: i64, zone: &TimeZone) -> Vec<Tick<i64>> {
    let span = end.saturating_sub(start).max(1);
    let wanted = span / count.max(1);
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted);
    let form = match step {
        step if step >= DAY => "%Y-%m-%d",
        _ if span > DAY => "%m-%d %H:%M",
        step if step < 60 => "%H:%M:%S",
        _ => "%H:%M",
    };
    let first = instant(start).to_zoned(zone.clone());
    // Whole hours of that zone's clocks, whatever its offset.
    let day = first.round(ZonedRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc));
    let Ok(day) = day else { return Vec::new() };
    let mut at = day.timestamp().as_second();
    let mut ticks = Vec::new();
    while at <= end && ticks.len() < MOST {
        if at >= start {
            let label = instant(at).to_zoned(zone.clone()).strftime(form).to_string();
            ticks.push(Tick { at, label });
        } else if start.saturating_sub(at) > step {
            at = at.saturating_add(start.saturating_sub(at) / step * step);
            continue;
        }
        at = match step % DAY {
            // A day is not always of 24 hours.
            0 => {
                let next = instant(at).to_zoned(zone.clone()).checked_add((step / DAY).days());
                let after = |_| end.saturating_add(1);
                next.map_or_else(after, |next| next.timestamp().as_second())
            }
            _ => at.saturating_add(step),
        };
    }
    ticks
}

const HALVES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const TENTHS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const DAY: i64 = 86_400;
const STEPS: [i64; 20] = [
    1,
    5,
    10,
    30,
    60,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    90 * DAY,
];
/// Ticks on an axis, whatever was asked.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_round_and_reach_beyond_the_most() {
        let labels = |most, units| -> Vec<String> {
            amounts(most, 5, units).into_iter().map(|tick| tick.label).collect()
        };
        let gib = labels(3 << 30, Units::Iec);
        assert_eq!(gib, ["0 B", "1 GiB", "2 GiB", "3 GiB"]);
        assert_eq!(labels(700 << 20, Units::Iec), ["0 B", "256 MiB", "512 MiB", "768 MiB"]);
        assert_eq!(labels(0, Units::Iec), ["0 B", "1 B"]);
        assert_eq!(
            *amounts(u64::MAX, 5, Units::Iec).last().map(|tick| &tick.at).unwrap(),
            u64::MAX
        );
        assert_eq!(labels(2_400_000_000, Units::Si).last().unwrap(), "2.5 GB");
    }

    #[test]
    fn times_are_round_by_the_clock_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(5 * 3600 + 1800).unwrap());
        let start = 1_767_323_045;
        let labels = |span, zone: &TimeZone| -> Vec<String> {
            times(start, start + span, 6, zone).into_iter().map(|tick| tick.label).collect()
        };
        assert_eq!(
            labels(3600, &TimeZone::UTC),
            ["03:10", "03:20", "03:30", "03:40", "03:50", "04:00"]
        );
        assert_eq!(labels(4 * 3600, &zone), ["09:00", "10:00", "11:00", "12:00"]);
        let days = labels(5 * DAY, &TimeZone::UTC);
        assert_eq!((days.len(), days[0].as_str()), (5, "2026-01-03"));
        assert!(labels(20, &TimeZone::UTC)[0].starts_with("03:04:"));
        assert_eq!(labels(86_400, &TimeZone::UTC)[0], "06:00");
    }
}
