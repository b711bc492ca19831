//! Words for people: text from outside made harmless, and times. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `text` without anything that could steer a terminal or turn the reading direction: VM names and
/// reasons are chosen by others.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            c if steers(c) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character does something else than show itself.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Date and time to the second, in `zone`.
pub(crate) fn date_time(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    let suffix = if *zone == TimeZone::UTC { "Z" } else { "" };
    format!("{}{suffix}", zoned.strftime("%Y-%m-%d %H:%M:%S"))
}

/// Time of day to the millisecond, in `zone`.
pub(crate) fn time_of_day(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(safe("web1"), "web1");
        assert_eq!(safe("a\u{1b}[31mb\r\n\tc\u{9b}d"), "a\\u{1b}[31mb\\u{d}\\n\\tc\\u{9b}d");
        assert_eq!(safe("a\u{202e}b\u{7f}"), "a\\u{202e}b\\u{7f}");
        assert_eq!(safe("größe 日本"), "größe 日本");
    }

    #[test]
    fn times_are_given_in_the_zone_asked_for() {
        let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(date_time(time, &TimeZone::UTC), "2026-01-02 03:04:05Z");
        assert_eq!(time_of_day(time, &TimeZone::UTC), "03:04:05.678");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(date_time(time, &east), "2026-01-02 05:04:05");
    }
}
