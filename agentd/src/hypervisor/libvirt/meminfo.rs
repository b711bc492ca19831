//! The host's own memory, from its kernel. libvirt has no figure for MemAvailable.

use std::{fs, path::Path};

use agentd_core::{bytes::ByteCount, sample::HostMemory};

/// Reads the file that the kernel keeps at `/proc/meminfo`.
pub(super) fn read(path: &Path) -> Result<HostMemory, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    parse(&text)
}

pub(super) fn parse(text: &str) -> Result<HostMemory, String> {
    let (total, usable) = (amount(text, "MemTotal")?, amount(text, "MemAvailable")?);
    Ok(HostMemory { total, usable, pressure: None })
}

/// The amount on the line "`key`:   123 kB", where kB means KiB.
fn amount(text: &str, key: &str) -> Result<ByteCount, String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .ok_or_else(|| format!("there is no line \"{key}:\""))?;
    let kib = line.trim().strip_suffix("kB").and_then(|number| number.trim().parse().ok());
    kib.and_then(ByteCount::from_kib)
        .ok_or_else(|| format!("\"{key}:{line}\" is no amount like \"{key}: 1024 kB\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "MemTotal:       24615388 kB\nMemFree:         1000 kB\n\
                        MemAvailable:   22000000 kB\nMemAvailableNot:   1 kB\n";

    #[test]
    fn reads_what_the_kernel_writes() {
        let memory = parse(REAL).expect("a real file");
        assert_eq!(memory.total.kib_floor(), 24_615_388);
        assert_eq!(memory.usable.kib_floor(), 22_000_000);
        assert!(read(Path::new("/proc/meminfo")).is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse("MemTotal: 1 kB").unwrap_err(), "there is no line \"MemAvailable:\"");
        assert_eq!(
            parse("MemTotal: many kB\nMemAvailable: 1 kB").unwrap_err(),
            "\"MemTotal: many kB\" is no amount like \"MemTotal: 1024 kB\""
        );
        assert!(parse("MemTotal: 1 MB\nMemAvailable: 1 kB").is_err());
        assert!(parse(&format!("MemTotal: {} kB\nMemAvailable: 1 kB", u64::MAX)).is_err());
        assert!(read(Path::new("/nowhere/meminfo")).is_err());
    }
}
