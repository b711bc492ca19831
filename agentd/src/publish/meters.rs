//! [`Meters`]: what the parts of agentd count beside the log, for whoever shows it.
//!
//! Every one is a number or a small map whose keys are fixed texts, so that their size is bounded by the
//! program. Whoever counts waits for nobody but for another one who counts.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::Spread;

/// What the parts of agentd count.
#[derive(Debug, Default)]
pub struct Meters {
    watchers: AtomicU64,
    fixed: Mutex<Counted>,
}

/// What is counted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Entries of the log that somebody did not get, by who that was.
    pub lost: BTreeMap<&'static str, u64>,
    /// Calls over gRPC that are over, by method and by the name of their status.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// How long they took, by method; streams are not among them.
    pub call_times: BTreeMap<&'static str, Spread>,
    /// Until when certificates and lists of revoked ones are valid.
    pub expiries: BTreeMap<&'static str, SystemTime>,
    /// Reloads of the config, by what came of them.
    pub reloads: BTreeMap<&'static str, u64>,
}

/// Who did not get entries of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A watcher that read too slowly.
    SlowConsumer,
    /// Everybody: the recorder had no room for them.
    NotRecorded,
    /// Whoever reads the history: it could not be written.
    History,
    /// Whoever counts what the log tells.
    NotCounted,
}

impl Lost {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SlowConsumer, Self::NotRecorded, Self::History, Self::NotCounted];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::NotRecorded => "not_recorded",
            Self::History => "history",
            Self::NotCounted => "not_counted",
        }
    }
}

/// A watcher, for as long as it is there.
#[derive(Debug)]
pub struct Watching(std::sync::Arc<Meters>);

impl Meters {
    /// Counts a watcher until what is returned is dropped.
    #[must_use]
    pub fn watching(self: std::sync::Arc<Self>) -> Watching {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watching(self)
    }

    /// Watchers now.
    #[must_use]
    pub fn watchers(&self) -> u64 {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Counts entries of the log that somebody did not get.
    pub fn lose(&self, who: Lost, entries: u64) {
        count(self.lock().lost.entry(who.name()).or_default(), entries);
    }

    /// Counts a call that is over. `took` is `None` for a stream.
    pub fn call(&self, method: &'static str, status: &'static str, took: Option<Duration>) {
        let mut counted = self.lock();
        count(counted.calls.entry((method, status)).or_default(), 1);
        if let Some(took) = took {
            counted.call_times.entry(method).or_default().add(took);
        }
    }

    /// Notes until when something is valid; `None` where there is no such thing.
    pub fn expires(&self, what: &'static str, until: Option<SystemTime>) {
        let mut counted = self.lock();
        match until {
            Some(until) => counted.expiries.insert(what, until),
            None => counted.expiries.remove(what),
        };
    }

    /// Counts a reload of the config.
    pub fn reloaded(&self, done: bool) {
        let result = if done { "done" } else { "failed" };
        count(self.lock().reloads.entry(result).or_default(), 1);
    }

    /// All that is counted by name.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.fixed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_watcher_counts_for_as_long_as_it_is_there() {
        let meters = Arc::new(Meters::default());
        let (one, other) = (Arc::clone(&meters).watching(), Arc::clone(&meters).watching());
        assert_eq!(meters.watchers(), 2);
        drop(one);
        assert_eq!(meters.watchers(), 1);
        drop(other);
        assert_eq!(meters.watchers(), 0);
    }

    #[test]
    fn what_has_no_end_any_more_has_no_expiry() {
        let meters = Meters::default();
        meters.expires("server", Some(SystemTime::UNIX_EPOCH));
        assert_eq!(meters.counted().expiries.len(), 1);
        meters.expires("server", None);
        assert_eq!(meters.counted(), Counted::default());
    }
}
