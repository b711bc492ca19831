//! [`Curve`]: an amount of memory over time, linear between points.

use std::time::Duration;

use agentd_core::bytes::ByteCount;

/// An amount of memory over time: linear between its points, constant before the first and after
/// the last. Of two points at the same time the later one counts from then on: a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    points: Vec<Point>,
}

/// One point of a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Time since the start of the world.
    pub at: Duration,
    /// The amount at that time.
    pub used: ByteCount,
}

impl Curve {
    /// The curve through these points, which are in the order of their times.
    #[must_use]
    pub const fn new(points: Vec<Point>) -> Self {
        Self { points }
    }

    /// The same amount at all times.
    #[must_use]
    pub fn constant(used: ByteCount) -> Self {
        let at = Duration::ZERO;
        Self::new(vec![Point { at, used }])
    }

    /// The exact amount at a time, rounded down to whole bytes.
    #[must_use]
    pub fn at(&self, now: Duration) -> ByteCount {
        if let [only] = &self.points[..] {
            return only.used;
        }
        let passed = self.points.partition_point(|point| point.at <= now);
        let (before, after) = self.points.split_at(passed);
        match (before.last(), after.first()) {
            (Some(from), Some(to)) => between(*from, *to, now),
            (Some(only), None) | (None, Some(only)) => only.used,
            (None, None) => ByteCount::ZERO,
        }
    }
}

/// The largest whole number of bytes that is not above the line from `from` to `to` at `now`.
fn between(from: Point, to: Point, now: Duration) -> ByteCount {
    let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    let length = nanos(to.at.saturating_sub(from.at)).max(1);
    let passed = nanos(now.saturating_sub(from.at));
    let (start, end) = (i128::from(from.used.as_u64()), i128::from(to.used.as_u64()));
    let change = (end - start).saturating_mul(passed).div_euclid(length);
    ByteCount::bytes(u64::try_from(start + change).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(u64, u64)]) -> Curve {
        let point = |(at, used): &(u64, u64)| Point {
            at: Duration::from_millis(*at),
            used: ByteCount::bytes(*used),
        };
        Curve::new(points.iter().map(point).collect())
    }

    #[test]
    fn is_linear_between_points_and_constant_outside() {
        let ramp = [(1_000, 100), (4_000, 110)];
        let fall = [(0, 10), (3_000, 0)];
        let step = [(0, 5), (1_000, 5), (1_000, 9), (2_000, 9)];
        for (points, millis, bytes) in [
            (&ramp[..], 0, 100),
            (&ramp, 1_000, 100),
            (&ramp, 1_299, 100),
            (&ramp, 1_300, 101),
            (&ramp, 2_000, 103),
            (&ramp, 3_999, 109),
            (&ramp, 4_000, 110),
            (&ramp, 999_000, 110),
            // Falling, too, it is rounded down: 10 - 1/3 is 9, not 10.
            (&fall, 0, 10),
            (&fall, 100, 9),
            (&fall, 1_000, 6),
            (&fall, 2_999, 0),
            (&fall, 3_000, 0),
            (&step, 999, 5),
            (&step, 1_000, 9),
            (&[(500, 7)][..], 0, 7),
        ] {
            let at = Duration::from_millis(millis);
            assert_eq!(curve(points).at(at), ByteCount::bytes(bytes), "{points:?} at {at:?}");
        }
    }

    #[test]
    fn the_largest_amounts_and_times_do_not_overflow() {
        let year = 366 * 24 * 3_600_000;
        let top = 1 << 50;
        let half = Duration::from_millis(year / 2);
        assert_eq!(curve(&[(0, 0), (year, top)]).at(half), ByteCount::bytes(top / 2));
    }
}
