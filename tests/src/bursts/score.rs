//! [`Score`]: what came of the bursts of one round.

use std::time::Duration;

/// What came of one burst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Burst {
    /// From its begin until it had its memory; `None` when it ended without.
    pub reached: Option<Duration>,
    /// From its begin until it had worked with all of it; `None` when it ended before.
    pub done: Option<Duration>,
}

/// What came of the bursts of one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// One after another.
    pub bursts: Vec<Burst>,
    /// How long a burst lasts: one that is not done by then is late, and counts as long.
    pub length: Duration,
    /// The most that VMs held together beyond the pool; `None` where there is no pool.
    pub over_pool_kib: Option<u64>,
    /// Written to swap disks and read from them.
    pub swapped_kib: u64,
    /// How often a kernel killed for want of memory.
    pub oom_kills: usize,
}

impl Score {
    /// Seconds that all bursts took to reach their memory.
    pub fn reached(&self) -> f64 {
        self.seconds(|burst| burst.reached)
    }

    /// Seconds that all bursts took to reach their memory and to work with it.
    pub fn done(&self) -> f64 {
        self.seconds(|burst| burst.done)
    }

    /// How many bursts ended before their work was done.
    pub fn late(&self) -> usize {
        self.bursts.iter().filter(|burst| burst.done.is_none()).count()
    }

    fn seconds(&self, of: impl Fn(&Burst) -> Option<Duration>) -> f64 {
        let taken = self.bursts.iter().map(|burst| of(burst).unwrap_or(self.length));
        taken.sum::<Duration>().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_burst_counts_as_long_as_it_lasts() {
        let second = Duration::from_secs;
        let burst = |reached, done| Burst { reached, done };
        let score = Score {
            bursts: vec![
                burst(Some(second(1)), Some(second(2))),
                burst(Some(second(9)), None),
                burst(None, None),
            ],
            length: second(14),
            ..Score::default()
        };
        assert_eq!((score.reached(), score.done(), score.late()), (24.0, 30.0, 2));
    }
}
