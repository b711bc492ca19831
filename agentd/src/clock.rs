//! The clock port: real time for a daemon, virtual time for `agentd simulate` and for tests.
//!
//! Nothing else in agentd reads a clock or sleeps, but for the timers of the server's runtime.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

/// Tells and passes time.
pub trait Clock: Debug + Send + Sync {
    /// Monotonic time since the start of this clock, in which the machine's own sleep counts.
    fn now(&self) -> Duration;

    /// Wall-clock time. For people only: it may jump.
    fn wall(&self) -> SystemTime;

    /// Returns when so much time has passed while the machine was awake.
    fn sleep(&self, time: Duration);
}

/// The operating system's clock. It goes on while the machine is suspended, unlike the clock that
/// waits are measured by: figures of before a suspend are old, and a wait that it fell into goes on.
#[derive(Debug)]
pub struct RealClock {
    /// As the kernel counts it, from its boot.
    start: Duration,
}

impl RealClock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Arc::new(Self { start: since_boot() })
    }

    /// A clock that started at zero when the kernel booted.
    #[must_use]
    pub fn of_boot() -> Arc<Self> {
        Arc::new(Self { start: Duration::ZERO })
    }
}

/// Time since the kernel booted, suspended or not.
fn since_boot() -> Duration {
    // The kernel's nanoseconds are below a second, and never before the boot.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
impl Clock for RealClock {
    fn now(&self) -> Duration {
        since_boot().saturating_sub(self.start)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock that the kernel does not stop while the machine sleeps.
    #[test]
    fn counts_as_the_kernel_does_from_its_boot() {
        let clock = RealClock::start();
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds = text.split_once('.').unwrap().0;
            Duration::from_secs(seconds.parse().unwrap())
        };
        let before = uptime();
        let boot = clock.start + clock.now();
        // The file cuts off fractions.
        assert!(before <= boot && boot <= uptime() + Duration::from_secs(1), "{boot:?}");
        let now = clock.now();
        clock.sleep(Duration::from_millis(2));
        assert!(clock.now() >= now + Duration::from_millis(2));
    }
}
