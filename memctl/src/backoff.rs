//! How long to wait before another try: exponential with full jitter, so that many watchers of one
//! restarted agent do not come back together. Pure: the dice are an argument.

use std::time::Duration;

/// The state of one host's tries.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `roll` is any number, evenly drawn.
    pub(crate) fn next(&mut self, roll: u64) -> Duration {
        let ceiling = ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(roll % nanos.saturating_add(1))
    }

    /// Forgets earlier failures when a connection was good for long enough.
    pub(crate) fn after_connection_of(&mut self, lasted: Duration) {
        if lasted >= HEALTHY {
            self.failures = 0;
        }
    }
}

/// The longest wait after so many failures before this one.
fn ceiling(failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
    FIRST.saturating_mul(factor).min(MOST)
}

const FIRST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(15);
/// A connection that lasted this long was no part of the trouble.
const HEALTHY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_and_stops_at_its_most() {
        let seconds: Vec<f64> = (0..9).map(|n| ceiling(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]);
        assert_eq!(ceiling(u32::MAX), MOST);
    }

    #[test]
    fn no_wait_is_longer_than_its_ceiling_whatever_the_dice_say() {
        for roll in [0, 1, 250_000_000, 250_000_001, u64::MAX / 3, u64::MAX] {
            let mut backoff = Backoff::default();
            for failures in 0..40 {
                assert!(backoff.next(roll) <= ceiling(failures));
            }
        }
    }

    #[test]
    fn the_whole_range_is_used() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0), Duration::ZERO);
        assert_eq!(backoff.next(500_000_000), Duration::from_millis(500));
        assert_eq!(backoff.next(500_000_001), Duration::from_nanos(500_000_001));
    }

    #[test]
    fn only_a_connection_that_lasted_resets() {
        let mut backoff = Backoff { failures: 6 };
        backoff.after_connection_of(Duration::from_millis(29_999));
        assert_eq!(backoff.failures, 6);
        backoff.after_connection_of(HEALTHY);
        assert_eq!(backoff.failures, 0);
    }
}
