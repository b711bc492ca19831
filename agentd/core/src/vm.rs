//! What identifies a VM and what bounds it.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::bytes::ByteCount;

/// A VM's UUID. Names are for people and numeric ids are reused; only this identifies a VM.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VmId([u8; 16]);

impl VmId {
    /// The id with these bytes, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the UUID, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// As of their bytes one after the other, in a single step: everything that is decided goes by this order.
impl Ord for VmId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for VmId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The canonical form: lower-case hex in groups of 8-4-4-4-12.
impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no UUID: it takes 32 hex digits, for example 00000000-0000-0000-0000-000000000001"
)]
pub struct NotAUuid(String);

impl FromStr for VmId {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Self, NotAUuid> {
        let bad = || NotAUuid(text.to_owned());
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u128::from_str_radix(&hex, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| bad())
    }
}

/// How little and how much memory a VM may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Never shrunk below this.
    pub min: ByteCount,
    /// Never grown above this.
    pub max: ByteCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_canonical_form() {
        let text = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        assert_eq!(text.parse::<VmId>().map(|id| id.to_string()), Ok(text.to_owned()));
        assert_eq!("1B4E28BA2FA111D2883F0016D3CCA427".parse::<VmId>(), text.parse());
        assert!("web1".parse::<VmId>().is_err());
        assert!("+b4e28ba2fa111d2883f0016d3cca427".parse::<VmId>().is_err());
    }
}
