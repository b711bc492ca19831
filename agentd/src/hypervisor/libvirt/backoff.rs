//! How long to wait before the next attempt to connect.
//!
//! Pure. Doubles from a quarter of a second to ten, with jitter so that the agents of many hosts do
//! not come all at once.

use std::time::Duration;

/// Counts attempts that failed in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and says how long to wait. `dice` is any random number.
    pub(super) fn fail(&mut self, dice: u64) -> Duration {
        let delay = FIRST.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        let quarter = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) / 4;
        let jitter = dice.checked_rem(quarter.saturating_add(1)).unwrap_or(0);
        delay.saturating_add(Duration::from_millis(jitter)).min(LONGEST)
    }

    /// Notes a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// 2^6 quarters of a second are more than the longest delay.
const MOST_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(dice: u64) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..8).map(|_| backoff.fail(dice).as_millis()).collect()
    }

    #[test]
    fn doubles_up_to_the_longest() {
        assert_eq!(delays(0), [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn jitter_adds_at_most_a_quarter_and_never_passes_the_longest() {
        for dice in [1, 62, 63, 12_345, u64::MAX] {
            for (jittered, plain) in delays(dice).into_iter().zip(delays(0)) {
                assert!(jittered >= plain, "{jittered} ms is less than {plain} ms");
                assert!(jittered <= plain + plain / 4 && jittered <= 10_000);
            }
        }
        assert_eq!(delays(62)[0], 312);
    }

    #[test]
    fn a_success_starts_over_and_failures_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.fail(0), LONGEST);
        assert_eq!(backoff.fail(7), LONGEST);
        backoff.reset();
        assert_eq!(backoff.fail(0), FIRST);
    }
}
