//! [`Dice`]: what is drawn at random, and follows from a seed.

use std::time::Duration;

use agentd::hypervisor::sim::Rng;
use agentd_core::bytes::ByteCount;

/// Draws at random; the same seed draws the same.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Rng);

impl Dice {
    /// Those of a seed and a stream.
    #[must_use]
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(Rng::new(seed, stream))
    }

    /// True so many times of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// From `least` to `most`, both possible.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most.saturating_sub(least).saturating_add(1))
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T], or: T) -> T {
        let index = usize::try_from(self.0.below(from.len() as u64)).unwrap_or(0);
        from.get(index).copied().unwrap_or(or)
    }

    /// So many MiB.
    pub(crate) fn mib(&mut self, least: u64, most: u64) -> ByteCount {
        mib(self.between(least, most))
    }

    /// A size whose order of magnitude is drawn first, so that small ones come as often as large.
    pub(crate) fn size(&mut self, least: u64, most: u64) -> ByteCount {
        let doublings = most.checked_div(least.max(1)).map_or(0, |times| u64::from(times.ilog2()));
        let low = least << self.between(0, doublings.saturating_sub(1));
        self.mib(low, (low * 2).min(most))
    }

    /// A share of an amount, in percent.
    pub(crate) fn share(&mut self, of: ByteCount, least: u64, most: u64) -> ByteCount {
        of.fraction(self.between(least, most), 100).align_down(PAGE)
    }

    /// A time.
    pub(crate) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.between(millis(least), millis(most)))
    }
}

/// So many MiB.
#[must_use]
pub(crate) const fn mib(count: u64) -> ByteCount {
    ByteCount::bytes(count.saturating_mul(1 << 20))
}

const PAGE: ByteCount = ByteCount::kib(4);
