//! [`InARow`]: something that was so time after time.

use std::time::Duration;

/// How often in a row something was so, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InARow {
    times: u32,
    since: Option<Duration>,
}

impl InARow {
    /// Notes that it is so now.
    pub(crate) fn add(&mut self, now: Duration) {
        self.times = self.times.saturating_add(1);
        self.since = self.since.or(Some(now));
    }

    /// True where it was so at three looks and for two seconds: once may be chance, and looks may come in
    /// quick succession.
    #[must_use]
    pub(crate) fn is_long(&self, now: Duration) -> bool {
        self.times >= TIMES && self.since.is_some_and(|since| now.saturating_sub(since) >= LASTING)
    }
}

const TIMES: u32 = 3;
const LASTING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_times_and_two_seconds() {
        let is_long = |millis: &[u64]| {
            let mut row = InARow::default();
            let times = millis.iter().copied().map(Duration::from_millis);
            times.clone().for_each(|at| row.add(at));
            row.is_long(times.max().unwrap_or_default())
        };
        assert!(is_long(&[0, 1000, 2000]) && is_long(&[7000, 7500, 8000, 8500, 9000]));
        assert!(!is_long(&[0, 500, 1000]), "one interval");
        assert!(!is_long(&[0, 5000]) && !is_long(&[]));
    }
}
