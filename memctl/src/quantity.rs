//! Amounts of memory and times, as a person types and reads them. Pure. Nothing else in memctl
//! reads or writes a size or a duration.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How to print amounts of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Units {
    /// KiB, MiB, GiB: powers of 1024.
    Iec,
    /// kB, MB, GB: powers of 1000.
    Si,
    /// Exact bytes.
    Bytes,
}

/// Reads an amount of memory: "512MiB", "2G", "1.5GiB", "500MB". A bare number is refused.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor: u128 = match unit {
        "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "" if !number.is_empty() => {
            return Err(format!(
                "\"{text}\" has no unit: write {number}MiB or {number}GiB (or {number}B for bytes)"
            ));
        }
        _ => return Err(format!("\"{text}\" is not a size: {SIZE_FORM}")),
    };
    scaled(number, factor).ok_or_else(|| {
        format!("\"{text}\" is not a whole number of bytes below 16 EiB: {SIZE_FORM}")
    })
}

/// Reads a duration: "500ms", "30s", "10m", "1h30m", "2d". A bare number is refused.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total: u128 = 0;
    let refused =
        || format!("\"{text}\" is not a duration: write it like 500ms, 30s, 10m or 1h30m");
    while !rest.is_empty() {
        let (number, tail) = split_unit(rest);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(end);
        let factor: u128 = match unit {
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "" => {
                return Err(format!("\"{text}\" has no unit: write {number}s or {number}m"));
            }
            _ => return Err(refused()),
        };
        let part = scaled(number, factor).ok_or_else(refused)?;
        total = total.saturating_add(u128::from(part));
        rest = next;
    }
    let nanos = u64::try_from(total).ok().filter(|_| !text.is_empty()).ok_or_else(refused)?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a duration that is not 0.
pub(crate) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("\"{text}\" is no time at all")),
        duration => Ok(duration),
    }
}

/// Reads a whole number of this range.
pub(crate) fn parse_whole(text: &str, range: RangeInclusive<u16>) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!("\"{text}\" is no whole number from {} to {}", range.start(), range.end())
    })
}

/// Reads how many are wanted: at least one.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("\"{text}\" is no number of how many: write one from 1 up, as 20"))
}

/// One amount on its own: exact where it divides ("2 GiB"), else with one decimal.
pub(crate) fn format_size(bytes: u64, units: Units) -> String {
    Scale::of(units, &[bytes]).format(bytes)
}

/// An amount that somebody has set: in the largest unit that it is a whole number of, so that it reads as it was
/// typed ("2500 MiB") and two that differ look so. One that is whole in none of them is rounded as any other.
pub(crate) fn format_set(bytes: u64, units: Units) -> String {
    let is_whole = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let whole = ladder(units).iter().find(is_whole);
    whole.map_or_else(
        || format_size(bytes, units),
        |(unit, factor)| format!("{} {unit}", bytes / factor),
    )
}

/// The units that an amount is printed in, largest first; bytes beside.
const fn ladder(units: Units) -> &'static [(&'static str, u64)] {
    match units {
        Units::Iec => &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
        Units::Si => {
            &[("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)]
        }
        Units::Bytes => &[],
    }
}

/// The unit that a column of amounts is printed in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    unit: &'static str,
    factor: u64,
    decimal: bool,
}

impl Scale {
    /// The largest unit in which the least of `values` is at least 1, so that no row reads 0.0.
    pub(crate) fn of(units: Units, values: &[u64]) -> Self {
        let least = values.iter().copied().filter(|&v| v > 0).min().unwrap_or(0);
        let fits = ladder(units).iter().find(|(_, factor)| least >= *factor);
        let bytes = ("B", 1);
        let (unit, factor) = fits.copied().unwrap_or(bytes);
        Self { unit, factor, decimal: values.iter().any(|v| v % factor != 0) }
    }

    /// One amount in this unit; a decimal, rounded down as agents do, where any value of the column needs
    /// one.
    pub(crate) fn format(self, bytes: u64) -> String {
        if !self.decimal {
            return format!("{} {}", bytes / self.factor, self.unit);
        }
        let tenths = u128::from(bytes) * 10 / u128::from(self.factor);
        format!("{}.{} {}", tenths / 10, tenths % 10, self.unit)
    }
}

/// Two amounts, for where it matters that they differ: in the largest unit in which they do.
pub(crate) fn format_apart(one: u64, other: u64, units: Units) -> (String, String) {
    let usual = (format_size(one, units), format_size(other, units));
    let plain = |words: &str| words.replace(".0 ", " ");
    if one == other || plain(&usual.0) != plain(&usual.1) {
        return usual;
    }
    let finer: &[(&str, u64)] = match units {
        Units::Iec => &[("MiB", 1 << 20), ("KiB", 1 << 10)],
        Units::Si => &[("MB", 1_000_000), ("kB", 1_000)],
        Units::Bytes => &[],
    };
    let differs = finer.iter().find(|(_, factor)| one / factor != other / factor);
    let (unit, factor) = differs.copied().unwrap_or(("B", 1));
    (format!("{} {unit}", one / factor), format!("{} {unit}", other / factor))
}

/// A part of an amount: "less than 1 MiB" for a few bytes of many.
pub(crate) fn format_part(part: u64, whole: u64, units: Units) -> String {
    let (least, words) = match units {
        Units::Iec => (1 << 20, "less than 1 MiB"),
        Units::Si => (1_000_000, "less than 1 MB"),
        Units::Bytes => (0, ""),
    };
    let is_little = 0 < part && part < least && least <= whole;
    if is_little { words.to_owned() } else { format_size(part, units) }
}

/// A duration exactly, as it is typed and as agents say it: "0s", "1.5s", "90s", "24h".
pub(crate) fn format_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match time.subsec_nanos() {
        0 if seconds > 0 && seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        0 => format!("{seconds}s"),
        _ => format!("{time:?}"),
    }
}

/// A duration in its two largest units, for tables and messages: "0.4s", "3m12s", "2d4h".
pub(crate) fn format_seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = Duration::from_secs_f64(seconds.min(1e12)).as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes, whole % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start_matches(' '))
}

/// `number` times `factor`, where that is whole and fits.
fn scaled(number: &str, factor: u128) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let product = digits.checked_mul(factor)?;
    (product % divisor == 0).then(|| u64::try_from(product / divisor).ok())?
}

const SIZE_FORM: &str = "write it like 512MiB, 2GiB or 500MB";

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_with_units_are_read() {
        for (text, bytes) in [
            ("512MiB", 512 * MIB),
            ("512M", 512 * MIB),
            ("1.5GiB", 1536 * MIB),
            ("2G", 2048 * MIB),
            ("64KiB", 65_536),
            ("64K", 65_536),
            ("500MB", 500_000_000),
            ("1kB", 1_000),
            ("1KB", 1_000),
            ("2 GiB", 2048 * MIB),
            ("0B", 0),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_what_to_write() {
        let error = parse_size("512").unwrap_err();
        assert_eq!(error, "\"512\" has no unit: write 512MiB or 512GiB (or 512B for bytes)");
        assert!(parse_duration("30").unwrap_err().contains("write 30s or 30m"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "MiB", "-1MiB", "1..5GiB", "1.GiB", "0.1B", "17179869184GiB", "1mib", "1 M B"]
        {
            assert!(parse_size(text).is_err(), "{text} was taken");
        }
        for text in ["", "s", "1x", "1.5.5s", "-1s", "1h-3m", "999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text} was taken");
        }
        assert!(parse_positive_duration("0s").is_err());
    }

    #[test]
    fn a_number_that_is_none_says_what_is_wanted() {
        assert_eq!((parse_count("20"), parse_whole("9", 0..=9)), (Ok(20), Ok(9)));
        let error = parse_whole("ten", 1..=1024).unwrap_err();
        assert_eq!(error, "\"ten\" is no whole number from 1 to 1024");
        for text in ["0", "-1", "1.5", "", "x"] {
            assert!(parse_count(text).unwrap_err().contains("from 1 up"), "{text} was taken");
            assert!(parse_whole(text, 1..=9).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_printed_exactly_can_be_read_back() {
        for bytes in [0, 1, 1023, 1024, 50 * MIB, 2048 * MIB, 1 << 40] {
            assert_eq!(parse_size(&format_size(bytes, Units::Iec)), Ok(bytes));
        }
        assert_eq!(format_size(50 * MIB, Units::Iec), "50 MiB");
        assert_eq!(format_size(1536 * MIB, Units::Iec), "1.5 GiB");
        assert_eq!(format_size(1_500_000, Units::Si), "1.5 MB");
        assert_eq!(format_size(1_500_000, Units::Bytes), "1500000 B");
    }

    #[test]
    fn what_is_set_reads_as_it_was_typed() {
        for (text, units) in [
            ("2500 MiB", Units::Iec),
            ("12345 MiB", Units::Iec),
            ("100000 KiB", Units::Iec),
            ("2 GiB", Units::Iec),
            ("0 B", Units::Iec),
            ("2500 MB", Units::Si),
            ("1500 B", Units::Bytes),
        ] {
            assert_eq!(format_set(parse_size(text).unwrap(), units), text);
        }
        assert_eq!(format_set(1_000_000_000, Units::Iec), "953.6 MiB");
    }

    #[test]
    fn amounts_that_differ_are_told_apart_and_little_is_called_so() {
        let apart = |one, other, units| {
            let (one, other) = format_apart(one, other, units);
            format!("{one} to {other}")
        };
        let mib = 768 * MIB;
        assert_eq!(apart(mib, mib, Units::Iec), "768 MiB to 768 MiB");
        assert_eq!(apart(mib, mib + 1, Units::Iec), "805306368 B to 805306369 B");
        assert_eq!(apart(mib, mib + 4096, Units::Iec), "786432 KiB to 786436 KiB");
        assert_eq!(apart(2048 * MIB, 2049 * MIB, Units::Iec), "2048 MiB to 2049 MiB");
        assert_eq!(apart(2_000_000_000, 2_000_004_096, Units::Si), "2000000 kB to 2000004 kB");
        assert_eq!(format_part(1, 64 * MIB, Units::Iec), "less than 1 MiB");
        assert_eq!(format_part(1, 64 * MIB, Units::Bytes), "1 B");
        assert_eq!(format_part(4096, 8192, Units::Iec), "4 KiB");
        assert_eq!(format_part(2 * MIB, 64 * MIB, Units::Iec), "2 MiB");
        assert_eq!(format_part(0, 64 * MIB, Units::Iec), "0 B");
    }

    #[test]
    fn times_are_printed_as_they_are_typed() {
        for (ms, text) in
            [(0, "0s"), (1_500, "1.5s"), (60_000, "60s"), (86_400_000, "24h"), (20, "20ms")]
        {
            let time = Duration::from_millis(ms);
            assert_eq!((format_time(time), parse_duration(text)), (text.to_owned(), Ok(time)));
        }
    }

    #[test]
    fn a_column_has_one_unit_and_no_row_reads_zero() {
        let values = [50 * MIB, 8192 * MIB, 0];
        let scale = Scale::of(Units::Iec, &values);
        assert_eq!(values.map(|v| scale.format(v)), ["50 MiB", "8192 MiB", "0 MiB"]);
        let scale = Scale::of(Units::Iec, &[1536 * MIB, 2048 * MIB]);
        assert_eq!(scale.format(2048 * MIB), "2.0 GiB");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (0.44, "0.4s"),
            (42.0, "42s"),
            (192.0, "3m12s"),
            (7_260.0, "2h1m"),
            (187_200.0, "2d4h"),
        ] {
            assert_eq!(format_seconds(seconds), text);
        }
        assert_eq!(format_seconds(f64::NAN), "-");
    }
}
