//! The chain: every line has a number and holds the hash of the line before it, so that whatever is
//! changed, left out or moved afterwards shows. Pure.

use std::{fmt, io, str::FromStr};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use super::record::Record;

/// The hash of a line, without its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u8; 32]);

/// The end of a chain: its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its number: the first line has 1.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

/// When something was written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct When {
    /// Wall-clock time, RFC 3339 in UTC.
    pub(super) time: String,
    /// Names this boot of the kernel.
    pub(super) boot: String,
    /// Time since that boot.
    pub(super) mono_ns: u64,
}

/// A line, read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) link: Link,
    #[serde(flatten)]
    pub(super) when: When,
    #[serde(flatten)]
    pub(super) record: Record,
}

/// The part of a line that the chain is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    /// Hash of the line before it; zeros before the first.
    pub(super) prev: String,
}

impl Head {
    /// Before the first line.
    pub(super) const NONE: Self = Self { seq: 0, hash: Hash([0; 32]) };

    /// The line that comes next, with its end, and the chain's end then.
    pub(super) fn next(&self, when: &When, record: &Record) -> io::Result<(Vec<u8>, Self)> {
        let link = Link { seq: self.seq.saturating_add(1), prev: self.hash.to_string() };
        let seq = link.seq;
        let line = Line { link, when: when.clone(), record: record.clone() };
        let mut bytes = Vec::new();
        line.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Ascii))?;
        let hash = Hash::of(&bytes);
        bytes.push(b'\n');
        Ok((bytes, Self { seq, hash }))
    }

    /// The end of a chain that ends with this line; `None` where it is none of ours.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let link: Link = serde_json::from_slice(line).ok()?;
        Some(Self { seq: link.seq, hash: Hash::of(line) })
    }
}

impl Hash {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, line).as_ref());
        Self(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoHash);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NoHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoHash)?;
        }
        Ok(Self(hash))
    }
}

/// As long as every other one, so that it can be written over the one before it.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:020} {}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let (seq, hash) = text.trim_end().split_once(' ').ok_or(NoHash)?;
        Ok(Self { seq: seq.parse().map_err(|_| NoHash)?, hash: hash.parse()? })
    }
}

/// JSON of which every character shows itself: names of VMs, and reasons, are chosen by others, and
/// what turns the reading direction or steers a terminal must do neither to who reads the file.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                write!(writer, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when() -> When {
        When { time: "2026-01-02T03:04:05Z".to_owned(), boot: "b".to_owned(), mono_ns: 7 }
    }

    fn broken(detail: &str) -> Record {
        Record::Broken { detail: detail.to_owned() }
    }

    #[test]
    fn each_line_holds_the_hash_of_the_one_before_it() {
        let (first, head) = Head::NONE.next(&when(), &broken("a")).unwrap();
        let (second, end) = head.next(&when(), &broken("b")).unwrap();
        let line = |bytes: &[u8]| serde_json::from_slice::<Line>(bytes).unwrap();
        assert_eq!(line(&first).link.prev, "0".repeat(64));
        assert_eq!(line(&second).link.prev, Hash::of(first.trim_ascii_end()).to_string());
        assert_eq!((line(&second).link.seq, line(&second).record), (2, broken("b")));
        assert_eq!(Head::of(second.trim_ascii_end()), Some(end));
        assert_eq!(Head::of(b"{}"), None);
        assert_eq!(end.to_string().parse(), Ok(end));
        assert_eq!(end.to_string().len(), Head::NONE.to_string().len());
        assert_eq!("17 abc".parse::<Head>(), Err(NoHash));
    }

    #[test]
    fn every_character_of_a_line_shows_itself() {
        let name = "web\u{202e}gpj\u{7f}\u{9b}31m\u{1b}[2J\n\"\\\u{200b}ü\u{1f600}";
        let (line, _) = Head::NONE.next(&when(), &broken(name)).unwrap();
        let (end, shown) = line.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert!(shown.iter().all(|byte| (b' '..=b'~').contains(byte)), "{shown:?}");
        let text = std::str::from_utf8(shown).unwrap();
        assert!(
            text.contains(r#"web\u202egpj\u007f\u009b31m\u001b[2J\n\"\\\u200b\u00fc\ud83d\ude00"#)
        );
        let read: Line = serde_json::from_slice(shown).unwrap();
        assert_eq!(read.record, broken(name));
    }
}
