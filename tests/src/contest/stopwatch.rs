//! [`Stopwatch`]: what deciding costs, without what the simulated world costs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentd::clock::{Clock, RealClock};

/// Runs, in real time, but for what is done aside.
#[derive(Debug)]
pub(super) struct Stopwatch {
    clock: Arc<RealClock>,
    aside: Mutex<Aside>,
}

#[derive(Debug, Default)]
struct Aside {
    depth: u32,
    since: Duration,
    sum: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self { clock: RealClock::start(), aside: Mutex::default() })
    }

    /// What this takes, without what is done aside in it.
    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let (began, before) = (self.clock.now(), self.lock().sum);
        let done = work();
        let aside = self.lock().sum.saturating_sub(before);
        (done, self.clock.now().saturating_sub(began).saturating_sub(aside))
    }

    /// Does something that does not count.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.clock.now();
        let mut aside = self.lock();
        aside.depth += 1;
        if aside.depth == 1 {
            aside.since = now;
        }
        drop(aside);
        let done = work();
        let now = self.clock.now();
        let mut aside = self.lock();
        aside.depth -= 1;
        if aside.depth == 0 {
            let took = now.saturating_sub(aside.since);
            aside.sum = aside.sum.saturating_add(took);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
