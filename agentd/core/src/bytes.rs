//! [`ByteCount`]: the one quantity of memory.
//!
//! Inputs come in KiB (libvirt, the kernel), bytes (cgroups) and pages (virtio). Bytes hold all of
//! them exactly, so that nothing in the core converts or rounds by surprise.

use std::{cmp::Ordering, fmt, iter::Sum, num::NonZeroU64, str::FromStr};

/// An exact amount of memory in bytes.
///
/// There is no `-`: a difference of unsigned amounts has to say what happens below zero.
///
/// An amount that may be absent takes no more room than one that is there: most of what is known of
/// thousands of VMs are such. So what is kept is how much is missing to the one number that is no amount.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteCount(NonZeroU64);

impl ByteCount {
    /// No memory at all.
    pub const ZERO: Self = Self(NonZeroU64::MAX);
    /// More memory than any host has.
    pub const MAX: Self = Self(NonZeroU64::MIN);

    /// So many bytes; [`ByteCount::MAX`] where that is more.
    #[must_use]
    pub const fn bytes(count: u64) -> Self {
        match NonZeroU64::new(!count) {
            Some(missing) => Self(missing),
            None => Self::MAX,
        }
    }

    /// So many KiB; `None` when that is more than fits.
    #[must_use]
    pub const fn from_kib(count: u64) -> Option<Self> {
        match count.checked_mul(KIB) {
            Some(bytes) => Some(Self::bytes(bytes)),
            None => None,
        }
    }

    /// So many KiB.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self::bytes((count as u64).saturating_mul(KIB))
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self::bytes((count as u64).saturating_mul(MIB))
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(count: u32) -> Self {
        Self::bytes((count as u64).saturating_mul(GIB))
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        !self.0.get()
    }

    /// The amount in whole KiB, rounded down.
    #[must_use]
    pub const fn kib_floor(self) -> u64 {
        self.as_u64() / KIB
    }

    /// The amount in whole MiB, rounded down.
    #[must_use]
    pub const fn mib_floor(self) -> u64 {
        self.as_u64() / MIB
    }

    /// True for no memory at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.as_u64() == 0
    }

    /// The sum, or [`ByteCount::MAX`] where it does not fit.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::bytes(self.as_u64().saturating_add(other.as_u64()))
    }

    /// How much this is more than `other`; zero when it is not.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self::bytes(self.as_u64().saturating_sub(other.as_u64()))
    }

    /// The sum, where it fits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.as_u64().checked_add(other.as_u64()) {
            Some(sum) if sum < u64::MAX => Some(Self::bytes(sum)),
            _ => None,
        }
    }

    /// How far the two are apart.
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Self {
        Self::bytes(self.as_u64().abs_diff(other.as_u64()))
    }

    /// `share` of `whole` of this amount, rounded down. A `whole` of zero counts as one.
    #[must_use]
    pub fn fraction(self, share: u64, whole: u64) -> Self {
        // Nearly always it fits, and then costs a tenth.
        let bytes = self.as_u64();
        if let Some(exact) = bytes.checked_mul(share).and_then(|all| all.checked_div(whole.max(1)))
        {
            return Self::bytes(exact);
        }
        let exact = u128::from(bytes)
            .saturating_mul(u128::from(share))
            .checked_div(u128::from(whole.max(1)))
            .unwrap_or(0);
        Self::bytes(u64::try_from(exact).unwrap_or(u64::MAX))
    }

    /// The largest multiple of `granule` that is not more. A granule of zero changes nothing.
    #[must_use]
    pub const fn align_down(self, granule: Self) -> Self {
        let bytes = self.as_u64();
        match bytes.checked_rem(granule.as_u64()) {
            Some(rest) => Self::bytes(bytes.saturating_sub(rest)),
            None => self,
        }
    }

    /// The smallest multiple of `granule` that is not less, where one fits.
    #[must_use]
    pub const fn align_up(self, granule: Self) -> Self {
        let down = self.align_down(granule);
        if down.as_u64() == self.as_u64() { self } else { down.saturating_add(granule) }
    }
}

/// Two amounts in words, for where it matters that they differ: with KiB or bytes where the usual words would be
/// the same of both.
#[must_use]
pub fn told_apart(one: ByteCount, other: ByteCount) -> (String, String) {
    let words = (one.to_string(), other.to_string());
    let plain = |words: &str| words.replace(".0 ", " ");
    if one == other || plain(&words.0) != plain(&words.1) {
        return words;
    }
    let (kib, more_kib) = (one.kib_floor(), other.kib_floor());
    if kib == more_kib {
        return (format!("{} B", one.as_u64()), format!("{} B", other.as_u64()));
    }
    (format!("{kib} KiB"), format!("{more_kib} KiB"))
}

impl Default for ByteCount {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Ord for ByteCount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_u64().cmp(&other.as_u64())
    }
}

impl PartialOrd for ByteCount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteCount").field(&self.as_u64()).finish()
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
        let all = self.as_u64();
        let is_whole = |unit: u64| all >= unit && all.checked_rem(unit) == Some(0);
        let (unit, name) = match all {
            _ if is_whole(TIB) => (TIB, "TiB"),
            _ if is_whole(GIB) => (GIB, "GiB"),
            MANY_TIB.. => (TIB, "TiB"),
            MIB.. => (MIB, "MiB"),
            KIB.. => (KIB, "KiB"),
            bytes => return write!(f, "{bytes} B"),
        };
        let whole = all.checked_div(unit).unwrap_or(0);
        let rest = all.checked_rem(unit).unwrap_or(0);
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
        bytes.map(Self::bytes).ok_or_else(|| ParseError::TooMuch(text.to_owned()))
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
    fn amounts_that_differ_are_told_apart_however_little_it_is() {
        let mib = ByteCount::mib(768);
        let told = |more| {
            let (one, other) = told_apart(mib, mib.saturating_add(ByteCount::bytes(more)));
            format!("{one} to {other}")
        };
        assert_eq!(told(0), "768 MiB to 768 MiB");
        assert_eq!(told(1), "805306368 B to 805306369 B");
        assert_eq!(told(4096), "786432 KiB to 786436 KiB");
        assert_eq!(told(1 << 17), "768 MiB to 768.1 MiB");
    }

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
    fn one_that_may_be_absent_takes_no_more_room() {
        assert_eq!(size_of::<Option<ByteCount>>(), size_of::<ByteCount>());
        assert_eq!(ByteCount::bytes(u64::MAX), ByteCount::MAX, "there is no more");
        assert_eq!(ByteCount::MAX.checked_add(ByteCount::bytes(1)), None);
        assert_eq!(ByteCount::MAX.saturating_add(ByteCount::MAX), ByteCount::MAX);
        assert_eq!(ByteCount::default(), ByteCount::ZERO);
        assert!(ByteCount::ZERO < ByteCount::bytes(1) && ByteCount::bytes(1) < ByteCount::MAX);
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
