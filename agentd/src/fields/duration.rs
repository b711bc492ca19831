//! Reads durations as people write them: "10s", "1m30s", "500ms", "1.5s". A bare number is refused.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotADuration {
    #[error("a duration is a number with a unit, for example \"10s\", \"1m30s\" or \"500ms\"")]
    Malformed,
    #[error("\"{0}\" has no unit: write for example \"{0}s\"")]
    NoUnit(String),
    #[error("\"{0}\" is no unit of time: use ms, s, m or h, the larger ones first")]
    BadUnit(String),
    #[error("must be at most 366 days")]
    TooLong,
    #[error("must be whole milliseconds")]
    TooFine,
}

/// Numbers with units, larger units first, each at most once.
pub(crate) fn parse(text: &str) -> Result<Duration, NotADuration> {
    let mut rest = text.trim();
    let mut units = UNITS.as_slice();
    let mut millis = 0_u64;
    while !rest.is_empty() || units.len() == UNITS.len() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split(after, |c| c.is_ascii_digit()),
            None => ("0", after),
        };
        let (unit, after) = split(after, |c| !c.is_ascii_digit());
        if number.is_empty() || fraction.is_empty() {
            return Err(NotADuration::Malformed);
        }
        if unit.is_empty() {
            return Err(NotADuration::NoUnit(rest.to_owned()));
        }
        let bad = || NotADuration::BadUnit(unit.to_owned());
        let at = units.iter().position(|(name, _)| *name == unit);
        let (head, tail) = units.split_at(at.ok_or_else(bad)?.saturating_add(1));
        let scale = head.last().map_or(0, |(_, millis)| *millis);
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale));
        let rest_of_one = part_of_one(fraction, scale)?;
        let sum = part.and_then(|part| millis.checked_add(part)?.checked_add(rest_of_one));
        millis = sum.filter(|sum| *sum <= LONGEST).ok_or(NotADuration::TooLong)?;
        (rest, units) = (after, tail);
    }
    Ok(Duration::from_millis(millis))
}

/// What comes behind the point of a number of units, in milliseconds.
fn part_of_one(digits: &str, scale: u64) -> Result<u64, NotADuration> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    let whole = u32::try_from(digits.len()).ok().and_then(|count| 10_u64.checked_pow(count));
    let part = digits.parse::<u64>().ok().and_then(|part| part.checked_mul(scale));
    let (Some(whole), Some(part)) = (whole, part) else { return Err(NotADuration::TooFine) };
    if part.is_multiple_of(whole) { Ok(part / whole) } else { Err(NotADuration::TooFine) }
}

fn split(text: &str, within: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !within(c)).unwrap_or(text.len());
    text.split_at(end)
}

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// 366 days. Far from overflow when multiplied with any amount of memory in 128 bits.
const LONGEST: u64 = 366 * 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let millis = |text| parse(text).map(|time| time.as_millis());
        assert_eq!(millis("0s"), Ok(0));
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis(" 2h1ms "), Ok(7_200_001));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert_eq!(millis("1.50m0.250s"), Ok(90_250));
        assert_eq!(millis("8784h"), Ok(u128::from(LONGEST)));
    }

    #[test]
    fn refuses_what_could_be_mistaken() {
        let error = |text| parse(text).unwrap_err().to_string();
        assert_eq!(error("10"), "\"10\" has no unit: write for example \"10s\"");
        assert_eq!(error("1.0005s"), "must be whole milliseconds");
        assert_eq!(error("0.5ms"), "must be whole milliseconds");
        assert_eq!(error("0.99999999999999999999h"), "must be whole milliseconds");
        assert!(error("1.s").contains("a number with a unit"));
        assert_eq!(error("1.5"), "\"1.5\" has no unit: write for example \"1.5s\"");
        assert!(error("10s5m").contains("\"m\" is no unit of time"));
        assert!(error("1s1s").contains("larger ones first"));
        assert!(error("10sec").contains("\"sec\" is no unit of time"));
        assert!(error("").contains("a number with a unit"));
        assert!(error("-5s").contains("a number with a unit"));
        assert_eq!(error("8785h"), "must be at most 366 days");
        assert_eq!(error("99999999999999999999s"), "must be at most 366 days");
    }
}
