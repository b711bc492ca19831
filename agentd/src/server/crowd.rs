//! Listeners whose places are all taken: said in the log, but not for every connection that is
//! turned away, and as a condition for as long as it lasts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::limits;
use crate::publish::Publisher;

/// Every listener that turned somebody away lately, with the number of its places.
#[derive(Debug)]
pub(super) struct Crowd {
    publisher: Arc<Publisher>,
    full: Mutex<BTreeMap<String, usize>>,
}

impl Crowd {
    pub(super) fn new(publisher: Arc<Publisher>) -> Self {
        Self { publisher, full: Mutex::default() }
    }

    fn note(&self, listener: &str, full: Option<usize>) {
        let mut all = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        match full {
            Some(most) => all.insert(listener.to_owned(), most),
            None => all.remove(listener),
        };
        if all.is_empty() {
            self.publisher.clear(CONNECTIONS_FULL);
            return;
        }
        let each: Vec<String> =
            all.iter().map(|(name, most)| format!("{name} (all {most} places)")).collect();
        let message = format!(
            "connections are turned away at {}: see who holds them, with \"ss -tnp\" or \"ss -xp\", \
             and end that; every other listener has places of its own",
            each.join(", ")
        );
        self.publisher.raise(CONNECTIONS_FULL, message);
    }
}

/// One listener, and whom it turned away.
#[derive(Debug)]
pub(super) struct Door {
    name: String,
    most: usize,
    crowd: Arc<Crowd>,
    /// When to look whether there is room again; `None` while nobody was turned away.
    look_at: Option<Instant>,
    logged: Option<Instant>,
    /// Turned away and not yet told.
    untold: u64,
}

impl Door {
    pub(super) const fn new(name: String, most: usize, crowd: Arc<Crowd>) -> Self {
        Self { name, most, crowd, look_at: None, logged: None, untold: 0 }
    }

    pub(super) const fn is_crowded(&self) -> bool {
        self.look_at.is_some()
    }

    /// When to [`look`](Self::look) while it is crowded.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at.unwrap_or_else(Instant::now)
    }

    /// Somebody found no place.
    pub(super) fn turn_away(&mut self) {
        let now = Instant::now();
        self.untold = self.untold.saturating_add(1);
        if self.look_at.replace(later(now, limits::CROWD_OVER)).is_none() {
            self.crowd.note(&self.name, Some(self.most));
        }
        if self.logged.is_some_and(|logged| now.duration_since(logged) < limits::CROWD_LOG) {
            return;
        }
        self.logged = Some(now);
        let (listener, most) = (&self.name, self.most);
        let turned_away = std::mem::take(&mut self.untold);
        tracing::warn!(
            condition = CONNECTIONS_FULL,
            listener,
            most,
            turned_away,
            "all places are taken: connections are turned away"
        );
    }

    /// Looks whether there is room again, now that nobody was turned away for a while.
    pub(super) fn look(&mut self, free: usize) {
        if free == 0 {
            self.look_at = Some(later(Instant::now(), limits::CROWD_LOOK));
            return;
        }
        self.look_at = None;
        self.crowd.note(&self.name, None);
        let (listener, turned_away) = (&self.name, std::mem::take(&mut self.untold));
        tracing::info!(condition = CONNECTIONS_FULL, listener, turned_away, "is over");
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

/// Raised while a listener has no place for another connection.
const CONNECTIONS_FULL: &str = "CONNECTIONS_FULL";
