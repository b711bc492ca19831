//! The clock port: real time for a daemon, virtual time for `agentd simulate` and for tests.
//!
//! Nothing else in agentd reads a clock or sleeps, but for the timers of the server's runtime.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Tells and passes time.
pub trait Clock: Debug + Send + Sync {
    /// Monotonic time since the start of this clock.
    fn now(&self) -> Duration;

    /// Wall-clock time. For people only: it may jump.
    fn wall(&self) -> SystemTime;

    /// Returns when so much time has passed.
    fn sleep(&self, time: Duration);
}

/// The operating system's clock.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock that starts at zero now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn start() -> Arc<Self> {
        Arc::new(Self { start: Instant::now() })
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A clock that stands still until somebody sleeps or advances it. Starts at the Unix epoch.
#[derive(Debug, Default)]
pub struct VirtualClock {
    nanos: AtomicU64,
}

impl VirtualClock {
    /// Sets the time to `now`, unless it is later already.
    pub fn advance_to(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_max(nanos, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }

    fn sleep(&self, time: Duration) {
        self.advance_to(self.now().saturating_add(time));
    }
}
