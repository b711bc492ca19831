//! [`Denied`]: the clients that are not let in whatever they show.
//!
//! ```text
//! # left the company
//! serial 4a:0f:99
//! name spiffe://example.org/agentd/alice
//! ```

use std::collections::BTreeSet;

use crate::server::peer::Certificate;

/// The clients that are not let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Denied {
    /// Lower hexadecimal digits, without leading zeros.
    serials: BTreeSet<String>,
    names: BTreeSet<String>,
}

/// What is wrong with a list, and in which of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {problem}")]
pub(super) struct BadLine {
    line: usize,
    problem: String,
}

impl Denied {
    /// Reads a list.
    pub(super) fn parse(text: &str) -> Result<Self, BadLine> {
        let mut denied = Self::default();
        let lines = text.lines().count();
        for (index, line) in text.lines().enumerate() {
            let number = index.saturating_add(1);
            let bad = |problem: String| BadLine { line: number, problem };
            if number == lines && !text.ends_with('\n') {
                return Err(
                    bad("the last line has no end: was the file written whole?".to_owned()),
                );
            }
            denied.take(line.trim()).map_err(bad)?;
        }
        Ok(denied)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (kind, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        match kind {
            "serial" => self.serials.insert(number(value).ok_or_else(|| {
                format!("\"{value}\" is no serial number: write hexadecimal digits such as 4a0f")
            })?),
            "name" if !value.is_empty() => self.names.insert(value.to_owned()),
            _ => {
                return Err(format!(
                    "\"{line}\" denies nobody: write \"serial 4a0f\" or \"name NAME\""
                ));
            }
        };
        Ok(())
    }

    /// True for one that is not let in.
    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        let serial = number(&certificate.serial);
        serial.is_some_and(|serial| self.serials.contains(&serial))
            || self.names.contains(&certificate.name)
    }
}

/// A serial number in the one form that can be compared.
fn number(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
    is_number.then(|| digits.trim_start_matches('0').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn has(list: &str, name: &str, serial: &str) -> bool {
        let certificate = Certificate {
            name: name.to_owned(),
            organizations: Vec::new(),
            serial: serial.to_owned(),
            not_after: SystemTime::UNIX_EPOCH,
        };
        Denied::parse(list).unwrap().has(&certificate)
    }

    #[test]
    fn denies_by_serial_however_it_is_written_and_by_whole_names() {
        let list = "# gone\n\nserial 0A:0F\n  name  spiffe://x/a b \n";
        assert!(has(list, "anybody", "0a0f") && has(list, "anybody", "a0f"));
        assert!(has(list, "spiffe://x/a b", "1"));
        assert!(!has(list, "spiffe://x/a", "1") && !has(list, "anybody", "a0f1"));
        assert!(!has("", "anybody", "1"));
        assert!(has("serial 00\n", "anybody", "0"));
    }

    #[test]
    fn says_what_is_wrong_in_which_line() {
        let table = [
            ("serial 1\nserial 2", "2: the last line has no end: was the file written whole?"),
            (
                "\nserial xyz\n",
                "2: \"xyz\" is no serial number: write hexadecimal digits such as 4a0f",
            ),
            ("serial\n", "1: \"\" is no serial number: write hexadecimal digits such as 4a0f"),
            ("name\n", "1: \"name\" denies nobody: write \"serial 4a0f\" or \"name NAME\""),
            ("alice\n", "1: \"alice\" denies nobody: write \"serial 4a0f\" or \"name NAME\""),
        ];
        for (list, expected) in table {
            assert_eq!(Denied::parse(list).unwrap_err().to_string(), expected);
        }
    }
}
