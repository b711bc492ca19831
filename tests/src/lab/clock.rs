//! Waiting with a deadline: the one place of the lab that reads the clock and sleeps.
//!
//! Everything here waits for a condition, never for an amount of time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Asks `probe` again and again until it has an answer, at most for `limit`.
///
/// `what` completes the sentence "still waiting after 3s for …".
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Deadline::after(limit);
    loop {
        let answer = probe().with_context(|| format!("while waiting for {what}"))?;
        if let Some(found) = answer {
            return Ok(found);
        }
        if deadline.is_over() {
            bail!("still waiting after {limit:?} for {what}");
        }
        pause();
    }
}

/// Like [`wait_for`], for a condition.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, limit, || Ok(probe()?.then_some(())))
}

/// Leaves the machine to others for a moment, between two looks at something that goes on.
pub fn breathe() {
    pause();
}

/// A moment after which waiting is given up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment that is `limit` from now.
    #[allow(clippy::disallowed_methods, reason = "the lab watches real machines in real time")]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether that moment has passed.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// The time left, nothing when it has passed.
    #[allow(clippy::disallowed_methods, reason = "the lab watches real machines in real time")]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[allow(clippy::disallowed_methods, reason = "the lab watches real machines in real time")]
fn pause() {
    std::thread::sleep(POLL_EVERY);
}

/// Short beside what is waited for (a boot takes seconds), long beside what a probe costs.
const POLL_EVERY: Duration = Duration::from_millis(25);
