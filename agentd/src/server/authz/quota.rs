//! [`Quotas`]: how much each identity may ask for, so that no client crowds out the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::Status;

use super::{Caller, Kind};
use crate::server::{
    fault::exhausted,
    limits::{self, Pace},
};

/// What every identity has asked for lately. Its number of identities is bounded.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    accounts: Mutex<BTreeMap<String, Account>>,
}

/// One identity.
#[derive(Debug)]
struct Account {
    reads: Bucket,
    changes: Bucket,
    streams: usize,
    seen: Instant,
}

/// A place for one stream of an identity; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    quotas: Arc<Quotas>,
    name: String,
}

/// A token bucket that holds no tokens but the time at which it is full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Quotas {
    /// Counts a call. A place where it is a stream of somebody who has only so many.
    pub(super) fn take(
        self: &Arc<Self>,
        caller: &Caller,
        kind: Kind,
    ) -> Result<Option<Place>, Status> {
        if caller.is_unlimited() {
            return Ok(None);
        }
        let (name, now) = (caller.peer.name(), Instant::now());
        let mut accounts = self.lock();
        let account = account(&mut accounts, &name, now)?;
        account.seen = now;
        match kind {
            Kind::Mode => Ok(None),
            Kind::Read => {
                let taken = account.reads.take(now, &limits::READS);
                taken
                    .map(|()| None)
                    .map_err(|after| too_fast(&name, "reads", &limits::READS, after))
            }
            Kind::Change => {
                let taken = account.changes.take(now, &limits::CHANGES_EACH);
                let told = |after| too_fast(&name, "changes", &limits::CHANGES_EACH, after);
                taken.map(|()| None).map_err(told)
            }
            Kind::Stream if account.streams >= limits::STREAMS_EACH => Err(too_many_streams(&name)),
            Kind::Stream => {
                account.streams = account.streams.saturating_add(1);
                drop(accounts);
                Ok(Some(Place { quotas: Arc::clone(self), name }))
            }
        }
    }

    /// How many identities are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account of an identity. Where there are too many, those that have nothing to remember make way
/// first, then the one that was not seen for the longest.
fn account<'a>(
    accounts: &'a mut BTreeMap<String, Account>,
    name: &str,
    now: Instant,
) -> Result<&'a mut Account, Status> {
    if accounts.len() >= limits::IDENTITIES && !accounts.contains_key(name) {
        accounts.retain(|_, account| !account.is_idle(now));
        if accounts.len() >= limits::IDENTITIES {
            let free = accounts.iter().filter(|(_, account)| account.streams == 0);
            let oldest = free.min_by_key(|(_, account)| account.seen).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return Err(too_many_identities()) };
            accounts.remove(&oldest);
        }
    }
    Ok(accounts.entry(name.to_owned()).or_insert_with(|| Account::new(now)))
}

impl Account {
    const fn new(now: Instant) -> Self {
        let bucket = Bucket { full_at: now };
        Self { reads: bucket, changes: bucket, streams: 0, seen: now }
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.streams == 0 && self.reads.full_at <= now && self.changes.full_at <= now
    }
}

impl Bucket {
    /// Takes one token, or says after what time there is one.
    fn take(&mut self, now: Instant, pace: &Pace) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let missing = full_at.saturating_duration_since(now);
        let most_missing = pace.every.saturating_mul(pace.burst.saturating_sub(1));
        if missing > most_missing {
            return Err(missing.saturating_sub(most_missing));
        }
        self.full_at = full_at.checked_add(pace.every).unwrap_or(full_at);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(account) = self.quotas.lock().get_mut(&self.name) {
            account.streams = account.streams.saturating_sub(1);
        }
    }
}

fn too_fast(name: &str, what: &str, pace: &Pace, after: Duration) -> Status {
    let Pace { burst, every } = pace;
    let message = format!(
        "{name} has made {burst} {what} in a short time, and may make one every {every:?}: wait \
         for {after:.1?}"
    );
    exhausted("TOO_FAST", message, after)
}

fn too_many_streams(name: &str) -> Status {
    let most = limits::STREAMS_EACH;
    let message = format!("{name} has {most} streams open, which is all that one may: end some");
    exhausted("TOO_MANY_STREAMS", message, limits::RETRY)
}

fn too_many_identities() -> Status {
    let message = "too many others are connected under names of their own; try again".to_owned();
    exhausted("TOO_MANY_IDENTITIES", message, limits::RETRY)
}
