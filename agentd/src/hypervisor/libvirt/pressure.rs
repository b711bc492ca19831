//! How much work on the host waits for memory, from its kernel's pressure stall information.

use std::{fs, path::Path};

use agentd_core::sample::{Pressure, Share};

/// Reads the file that the kernel keeps at `/proc/pressure/memory`. `None` where it keeps none, as
/// when built or booted without, or where nobody can make sense of it.
pub(super) fn read(path: &Path) -> Option<Pressure> {
    parse(&fs::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<Pressure> {
    Some(Pressure { some: average(text, "some")?, full: average(text, "full")? })
}

/// The share on the line "`which` avg10=1.23 avg60=0.00 avg300=0.00 total=0".
fn average(text: &str, which: &str) -> Option<Share> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(which));
    let mut fields = lines.next()?.split_whitespace();
    hundredths(fields.find_map(|field| field.strip_prefix("avg10="))?)
}

/// "12.34" is 1234. The kernel always writes two places, and never more than 100.00.
fn hundredths(text: &str) -> Option<Share> {
    let (whole, places) = text.split_once('.')?;
    if !whole.bytes().chain(places.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let places = places.get(..2)?.parse::<u32>().ok()?;
    let share = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(places)?;
    (share <= Share::percent(100).0).then_some(Share(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "some avg10=12.34 avg60=0.50 avg300=0.00 total=123456\n\
                        full avg10=0.07 avg60=0.00 avg300=0.00 total=99\n";

    #[test]
    fn reads_what_the_kernel_writes() {
        let pressure = parse(REAL).expect("a real file");
        assert_eq!((pressure.some, pressure.full), (Share(1234), Share(7)));
        assert_eq!(hundredths("100.00"), Some(Share::percent(100)));
    }

    #[test]
    fn nonsense_is_not_no_pressure() {
        for text in ["", "some avg10=1.00\n", "some\nfull\n", "some avg10=\nfull avg10=\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for share in ["", ".", "1", "1.", "1.2", "-1.00", "+1.00", "1e9.00", "99999999999.00"] {
            assert_eq!(hundredths(share), None, "{share}");
        }
        assert_eq!([hundredths("100.01"), hundredths("42949673.00")], [None; 2]);
        assert_eq!(read(Path::new("/nowhere/pressure")), None);
    }
}
