//! Whoever is not let in: said in the log, but not for every connection, and where a listener's places are
//! all taken as a condition for as long as it lasts.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::limits;
use crate::{
    audit::Audit,
    publish::{Meters, Publisher},
};

/// Every listener that turned somebody away lately, and who was refused.
#[derive(Debug)]
pub(super) struct Crowd {
    publisher: Arc<Publisher>,
    audit: Arc<Audit>,
    full: Mutex<BTreeMap<String, Full>>,
    refused: Mutex<Sparing>,
}

/// What there is no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Places for connections.
    Places(usize),
    /// Places for those that have not shown yet who they are, and wait to.
    Newcomers(usize),
    /// The same for those that are at it.
    Handshakes(usize),
    /// The same for one address, which keeps nobody else out.
    OfAddress(usize),
    /// Places for connections of one user of this host, likewise.
    OfUser(usize),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places(most) => write!(f, "all {most} places"),
            Self::Newcomers(most) => write!(f, "all {most} places for newcomers"),
            Self::Handshakes(most) => write!(f, "all {most} places for handshakes"),
            Self::OfAddress(most) => write!(f, "all {most} places for newcomers of one address"),
            Self::OfUser(most) => write!(f, "all {most} places of one user"),
        }
    }
}

/// Something that is said now and then, however often it happens.
#[derive(Debug, Default)]
struct Sparing {
    said: Option<Instant>,
    /// How often it happened since.
    unsaid: u64,
}

impl Sparing {
    /// It happened: how often since it was last said, where it may be said again.
    fn happened(&mut self, interval: Duration) -> Option<u64> {
        let now = Instant::now();
        self.unsaid = self.unsaid.saturating_add(1);
        if self.said.is_some_and(|said| now.duration_since(said) < interval) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Crowd {
    pub(super) fn new(publisher: Arc<Publisher>, audit: Arc<Audit>) -> Self {
        Self { publisher, audit, full: Mutex::default(), refused: Mutex::default() }
    }

    /// Where calls are counted.
    pub(super) fn meters(&self) -> &Arc<Meters> {
        self.publisher.meters()
    }

    /// Says that somebody was not let in, and why.
    pub(super) fn refuse(&self, address: SocketAddr, why: &str) {
        self.audit.not_let_in(address, why);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.happened(limits::REFUSAL_LOG) {
            Some(refused) => tracing::warn!(%address, refused, "a client was refused: {why}"),
            None => tracing::debug!(%address, "a client was refused: {why}"),
        }
    }

    fn note(&self, listener: &str, full: Option<Full>) {
        let mut all = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        match full {
            Some(full) => all.insert(listener.to_owned(), full),
            None => all.remove(listener),
        };
        if all.is_empty() {
            self.publisher.clear(CONNECTIONS_FULL);
            return;
        }
        let each: Vec<String> = all.iter().map(|(name, full)| format!("{name} ({full})")).collect();
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
    crowd: Arc<Crowd>,
    /// When to look whether there is room again; `None` while nobody was turned away.
    look_at: Option<Instant>,
    /// What there was no more of, as it was said.
    told: Option<Full>,
    turned_away: Sparing,
}

impl Door {
    pub(super) fn new(name: String, crowd: Arc<Crowd>) -> Self {
        Self { name, crowd, look_at: None, told: None, turned_away: Sparing::default() }
    }

    pub(super) const fn is_crowded(&self) -> bool {
        self.look_at.is_some()
    }

    /// When to [`look`](Self::look) while it is crowded.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at.unwrap_or_else(Instant::now)
    }

    /// Somebody found no place.
    pub(super) fn turn_away(&mut self, full: Full) {
        match full {
            Full::Places(_) | Full::Newcomers(_) | Full::Handshakes(_) => {
                self.look_at = Some(later(Instant::now(), limits::CROWD_OVER));
                if self.told.replace(full) != Some(full) {
                    self.crowd.note(&self.name, Some(full));
                }
            }
            // Who asks too often is alone with that.
            Full::OfAddress(_) | Full::OfUser(_) => {}
        }
        if let Some(turned_away) = self.turned_away.happened(limits::CROWD_LOG) {
            let listener = &self.name;
            tracing::warn!(
                condition = CONNECTIONS_FULL,
                listener,
                turned_away,
                "{full} are taken: connections are turned away"
            );
        }
    }

    /// Looks whether there is room again, now that nobody was turned away for a while.
    pub(super) fn look(&mut self, has_room: bool) {
        if !has_room {
            self.look_at = Some(later(Instant::now(), limits::CROWD_LOOK));
            return;
        }
        (self.look_at, self.told) = (None, None);
        self.crowd.note(&self.name, None);
        let (listener, turned_away) = (&self.name, std::mem::take(&mut self.turned_away.unsaid));
        tracing::info!(condition = CONNECTIONS_FULL, listener, turned_away, "is over");
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

/// Raised while a listener has no place for another connection.
const CONNECTIONS_FULL: &str = "CONNECTIONS_FULL";
