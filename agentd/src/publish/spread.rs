//! [`Spread`]: how long something took, counted by length.

use std::time::Duration;

/// How long something took, many times: how often up to each of [`Spread::BOUNDS`], and in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// One for each bound, and the last for what took longer.
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl Spread {
    /// Where one count ends and the next begins, in microseconds: from what costs nothing to what is
    /// longer than any deadline here.
    pub const BOUNDS: [u32; BUCKETS - 1] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000,
    ];

    /// Counts something that took so long.
    pub fn add(&mut self, took: Duration) {
        let fits = |bound: &u32| took <= Duration::from_micros(u64::from(*bound));
        let place = Self::BOUNDS.iter().position(fits).unwrap_or(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// How often in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long in sum.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound in seconds with what is between it and the one before; the last is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let finite = Self::BOUNDS.map(|bound| f64::from(bound) / 1e6);
        finite.into_iter().chain([f64::INFINITY]).zip(self.counts)
    }
}

const BUCKETS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_bound_with_what_is_below_it_and_the_longest_as_well() {
        let mut spread = Spread::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            spread.add(Duration::from_micros(micros));
        }
        let buckets: Vec<_> = spread.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(buckets, [(0.0005, 2), (0.001, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((spread.count(), spread.sum()), (5, Duration::from_micros(20_001_002)));
    }
}
