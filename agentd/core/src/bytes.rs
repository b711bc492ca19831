//! [`ByteCount`]: the one quantity of memory.
//!
//! Inputs come in KiB (libvirt, the kernel), bytes (cgroups) and pages (virtio). Bytes hold all of
//! them exactly, so that nothing in the core converts or rounds by surprise.

use std::{fmt, iter::Sum, str::FromStr};

/// An exact amount of memory in bytes.
///
/// There is no `-`: a difference of unsigned amounts has to say what happens below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

impl ByteCount {
    /// No memory at all.
    pub const ZERO: Self = Self(0);
    /// More memory than any host has.
    pub const MAX: Self = Self(u64::MAX);

    /// So many bytes.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// So many KiB; `None` when that is more than fits.
    #[must_use]
    pub const fn from_kib(count: u64) -> Option<Self> {
        match count.checked_mul(KIB) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// So many KiB.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self((count as u64).saturating_mul(KIB))
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self((count as u64).saturating_mul(MIB))
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(count: u32) -> Self {
        Self((count as u64).saturating_mul(GIB))
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The amount in whole KiB, rounded down.
    #[must_use]
    pub const fn kib_floor(self) -> u64 {
        self.0 / KIB
    }

    /// The amount in whole MiB, rounded down.
    #[must_use]
    pub const fn mib_floor(self) -> u64 {
        self.0 / MIB
    }

    /// True for no memory at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or [`ByteCount::MAX`] where it does not fit.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// How much this is more than `other`; zero when it is not.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, where it fits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How far the two are apart.
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    /// `share` of `whole` of this amount, rounded down. A `whole` of zero counts as one.
    #[must_use]
    pub fn fraction(self, share: u64, whole: u64) -> Self {
        // Nearly always it fits, and then costs a tenth.
        if let Some(exact) = self.0.checked_mul(share).and_then(|all| all.checked_div(whole.max(1)))
        {
            return Self(exact);
        }
        let exact = u128::from(self.0)
            .saturating_mul(u128::from(share))
            .checked_div(u128::from(whole.max(1)))
            .unwrap_or(0);
        Self(u64::try_from(exact).unwrap_or(u64::MAX))
    }

    /// The largest multiple of `granule` that is not more. A granule of zero changes nothing.
    #[must_use]
    pub const fn align_down(self, granule: Self) -> Self {
        match self.0.checked_rem(granule.0) {
            Some(rest) => Self(self.0.saturating_sub(rest)),
            None => self,
        }
    }

    /// The smallest multiple of `granule` that is not less, where one fits.
    #[must_use]
    pub const fn align_up(self, granule: Self) -> Self {
        let down = self.align_down(granule);
        if down.0 == self.0 { self } else { down.saturating_add(granule) }
    }
}

impl Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Exact where whole TiB or GiB fit ("2 GiB"), else in MiB with one decimal, rounded down
/// ("1433.6 MiB"), so that amounts of one size can be told apart and compared.
impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = |unit: u64| self.0 >= unit && self.0.checked_rem(unit) == Some(0);
        let (unit, name) = match self.0 {
            _ if is_whole(TIB) => (TIB, "TiB"),
            _ if is_whole(GIB) => (GIB, "GiB"),
            MANY_TIB.. => (TIB, "TiB"),
            MIB.. => (MIB, "MiB"),
            KIB.. => (KIB, "KiB"),
            bytes => return write!(f, "{bytes} B"),
        };
        let whole = self.0.checked_div(unit).unwrap_or(0);
        let rest = self.0.checked_rem(unit).unwrap_or(0);
        match rest.saturating_mul(10).checked_div(unit) {
            Some(tenths) if rest > 0 => write!(f, "{whole}.{tenths} {name}"),
            _ => write!(f, "{whole} {name}"),
        }
    }
}

/// Why a text is no amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is no unit.
    #[error("\"{0}\" has no unit: write for example \"{0}MiB\"")]
    NoUnit(String),
    /// The unit is not known.
    #[error("\"{0}\" is no unit: use B, KiB, MiB, GiB or TiB")]
    BadUnit(String),
    /// There is no number in front of the unit.
    #[error("\"{0}\" is no amount of memory: write a number and a unit, for example \"512MiB\"")]
    BadNumber(String),
    /// The amount is more than 16 EiB.
    #[error("\"{0}\" is more memory than any host has")]
    TooMuch(String),
}

/// A number, decimals allowed, and a binary unit: "512MiB", "1.5 GiB". A bare number is refused.
impl FromStr for ByteCount {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit.trim() {
            _ if number.is_empty() => return Err(ParseError::BadNumber(text.to_owned())),
            "" => return Err(ParseError::NoUnit(text.to_owned())),
            "B" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            "GiB" => GIB,
            "TiB" => TIB,
            other => return Err(ParseError::BadUnit(other.to_owned())),
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
            return Err(ParseError::BadNumber(text.to_owned()));
        }
        let bytes = scale(whole, decimals, unit);
        bytes.map(Self).ok_or_else(|| ParseError::TooMuch(text.to_owned()))
    }
}

/// `whole.decimals` times `unit` in exact integers, rounded down to whole bytes. Decimals beyond
/// the twelfth are worth less than a byte of any unit.
fn scale(whole: &str, decimals: &str, unit: u64) -> Option<u64> {
    let decimals = decimals.get(..12).unwrap_or(decimals);
    let parts = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let digits = whole.parse::<u128>().ok()?.checked_mul(parts)?;
    let exact = digits.checked_add(decimals.parse::<u128>().ok()?)?;
    u64::try_from(exact.checked_mul(u128::from(unit))?.checked_div(parts)?).ok()
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// From here on nobody counts in MiB.
const MANY_TIB: u64 = 10 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["0 B", "1023 B", "64 MiB", "2 GiB", "1 TiB", "512 KiB"] {
            assert_eq!(text.parse::<ByteCount>().map(|b| b.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("1.5GiB".parse(), Ok(ByteCount::mib(1536)));
        assert_eq!(ByteCount::mib(1434).to_string(), "1434 MiB");
        assert_eq!(ByteCount::kib(1_500_000).to_string(), "1464.8 MiB");
    }

    #[test]
    fn refuses_what_could_be_mistaken() {
        let error = |text: &str| text.parse::<ByteCount>().unwrap_err().to_string();
        assert_eq!(error("512"), "\"512\" has no unit: write for example \"512MiB\"");
        assert_eq!(error("512MB"), "\"MB\" is no unit: use B, KiB, MiB, GiB or TiB");
        assert!(error("MiB").contains("is no amount of memory"));
        assert!(error("1.2.3MiB").contains("is no amount of memory"));
        assert!(error("-1MiB").contains("is no amount of memory"));
        assert!(error("99999999999TiB").contains("more memory than any host has"));
    }

    #[test]
    fn aligns_without_overflow() {
        let page = ByteCount::kib(4);
        assert_eq!(ByteCount::bytes(4097).align_down(page), page);
        assert_eq!(ByteCount::bytes(4097).align_up(page), ByteCount::kib(8));
        assert_eq!(ByteCount::MAX.align_up(page), ByteCount::MAX);
        assert_eq!(ByteCount::bytes(5).align_down(ByteCount::ZERO), ByteCount::bytes(5));
        assert_eq!(ByteCount::MAX.fraction(5, 100), ByteCount::bytes(u64::MAX / 20));
    }
}
