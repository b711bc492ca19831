//! [`HistoryStore`]: the event log on disk, for longer than the ring in memory holds it.
//!
//! Every entry is a row at once. When its minute is over, the rows of that minute become one block:
//! compressed together, with a digest beside them that says how the minute went. Old blocks make way by
//! age; by size the entries of the oldest go first and their digests stay, so that the last days are known
//! to the minute for longer than to the tick. All of it happens a little with each append, so that no
//! append takes much longer than another.
//!
//! Loses at most the last moments in a power cut, for which it writes without waiting for the disk; and what
//! waits for it while it is being opened, where agentd ends before.

mod layout;
mod opening;
mod pack;
mod prune;
mod read;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    StoreError,
    aside::{Why, move_aside},
    database::OpenError,
};
use crate::{
    publish::Entry,
    record::{History, HistoryError},
};
use layout::LAYOUT;
pub use opening::{Opening, Reading, Shelf};
use pack::to_nanos;
pub use read::{Digest, Found, HistoryReader, Place, Reach, Snapshot};

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older entries make way.
    pub age: Duration,
    /// Bytes that the file may take, beside the last few MiB that SQLite is still moving.
    pub bytes: u64,
}

/// What is kept of entries when they themselves have made way.
pub type Condense = fn(&[Entry]) -> Vec<u8>;

/// The event log on disk.
#[derive(Debug)]
pub struct HistoryStore {
    db: Connection,
    path: PathBuf,
    retention: Retention,
    condense: Condense,
    /// The run of the log that was written last, and its number here.
    epoch: Option<(String, i64)>,
    /// What the file is known to hold; `None` where it is to be asked.
    known: Option<Known>,
}

/// What the file holds.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The place of the newest entry.
    newest: i64,
    /// Bytes of all digests.
    digested: u64,
    /// The run and the minute of the newest rows, and the bytes of their entries.
    open: Option<(i64, u64, usize)>,
    /// Whether there may be rows of a minute that is over.
    is_due: bool,
}

impl HistoryStore {
    /// Opens the log, anew where there is none. A broken one is moved aside.
    ///
    /// # Errors
    ///
    /// Fails when the file is of a newer agentd, or cannot be opened at all.
    pub fn open(path: &Path, retention: Retention, condense: Condense) -> Result<Self, StoreError> {
        let db = match LAYOUT.open(path) {
            Err(OpenError::Broken(why)) => {
                let aside = move_aside(path, Why::Corrupt, KEPT_ASIDE)
                    .map_err(|error| unopenable(path, &error))?;
                tracing::warn!("the history was broken ({why}): moved to {}", aside.display());
                LAYOUT.open(path)
            }
            other => other,
        };
        let db = db.map_err(|error| match error {
            OpenError::Broken(why) | OpenError::Barred(why) => unopenable(path, &why),
            OpenError::Newer { found, known } => {
                StoreError::Newer { path: path.display().to_string(), found, known }
            }
            OpenError::Other(error) => error,
        })?;
        Ok(Self { db, path: path.to_owned(), retention, condense, epoch: None, known: None })
    }

    /// Reads it, on a connection of its own.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn reader(&self) -> Result<HistoryReader, HistoryError> {
        HistoryReader::open(&self.path)
    }

    /// Bytes that entries take in the file.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn size(&self) -> Result<u64, HistoryError> {
        size(&self.db)
    }

    /// One transaction: what is too old goes, what is over is packed, the new comes in.
    fn write(&mut self, entries: &[Entry], now: SystemTime) -> Result<(), HistoryError> {
        let write = self.db.transaction()?;
        let mut known = match self.known.take() {
            Some(known) => known,
            None => Known::of(&write)?,
        };
        let pruned = prune::prune(&write, &self.retention, &mut known, (now, entries.len()))?;
        let packed = known.is_due && pack_oldest(&write, self.condense, &mut known)?;
        let mut epoch = self.epoch.clone();
        for entry in entries {
            let name = entry.position.epoch.as_str();
            let number = match &epoch {
                Some((known, number)) if known == name => *number,
                _ => number_epoch(&write, name)?,
            };
            epoch = Some((name.to_owned(), number));
            known.note(number, entry);
            write.prepare_cached(layout::PUT_ENTRY)?.execute(params![
                known.newest,
                number,
                i64::try_from(entry.position.seq).unwrap_or(i64::MAX),
                to_nanos(entry.stamp.wall),
                layout::number_of(entry.kind),
                entry.eventful,
                pack::squeeze(&entry.bytes)?
            ])?;
        }
        write.commit()?;
        (self.epoch, self.known) = (epoch, Some(known));
        if pruned || packed {
            give_back(&self.db)?;
        }
        Ok(())
    }
}

impl History for HistoryStore {
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError> {
        match entries.last() {
            Some(last) => self.write(entries, last.stamp.wall),
            None => Ok(()),
        }
    }
}

impl Known {
    fn of(db: &Connection) -> Result<Self, HistoryError> {
        let newest = db.query_row(layout::GET_NEWEST, [], |row| row.get(0))?;
        let digested: i64 = db.query_row(layout::GET_DIGESTED, [], |row| row.get(0))?;
        Ok(Self { newest, digested: digested.unsigned_abs(), open: None, is_due: true })
    }

    /// Gives the next place to an entry, which may be the first of a new minute.
    fn note(&mut self, epoch: i64, entry: &Entry) {
        self.newest = self.newest.saturating_add(1);
        let (minute, size) = (minute(entry.stamp.wall), entry.bytes.len());
        self.open = match self.open {
            Some((run, of, bytes)) if (run, of) == (epoch, minute) && bytes < BLOCK => {
                Some((run, of, bytes.saturating_add(size)))
            }
            Some(_) | None => {
                // What was before may be over, also where another agentd wrote it.
                self.is_due = true;
                Some((epoch, minute, size))
            }
        };
    }
}

/// Packs the rows of the oldest minute that is over. False, and not due any more, where there is none.
fn pack_oldest(
    db: &Connection,
    condense: Condense,
    known: &mut Known,
) -> Result<bool, HistoryError> {
    let Some(group) = oldest_minute(db)? else {
        known.is_due = false;
        return Ok(false);
    };
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(false) };
    let entries: Vec<Entry> = group.iter().map(|found| found.entry.clone()).collect();
    let digest = pack::squeeze(&condense(&entries))?;
    let walls = || entries.iter().map(|entry| to_nanos(entry.stamp.wall));
    let seq = |found: &Found| i64::try_from(found.entry.position.seq).unwrap_or(i64::MAX);
    db.prepare_cached(layout::PUT_BLOCK)?.execute(params![
        first.place.0,
        last.place.0,
        first.entry.position.epoch.as_str(),
        seq(first),
        seq(last),
        walls().min(),
        walls().max(),
        digest
    ])?;
    db.prepare_cached(layout::PUT_BODY)?.execute(params![first.place.0, pack::pack(&group)?])?;
    db.prepare_cached(layout::DELETE_ROWS)?.execute(params![last.place.0])?;
    known.digested = known.digested.saturating_add(u64::try_from(digest.len()).unwrap_or(u64::MAX));
    Ok(true)
}

/// The rows of the oldest minute, where it is over; at most as many as fill a block. Rows that cannot be
/// read go with those around them.
fn oldest_minute(db: &Connection) -> Result<Option<Vec<Found>>, HistoryError> {
    let mut query = db.prepare_cached(layout::GET_ROWS)?;
    let mut rows = query.query(params![0, i64::MAX])?;
    let mut group: Vec<Found> = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let Ok(Some(found)) = read::row(row) else { continue };
        let fits = group.last().is_none_or(|before| is_together(&before.entry, &found.entry));
        if !fits || bytes >= BLOCK {
            return Ok(Some(group));
        }
        bytes = bytes.saturating_add(found.entry.bytes.len());
        group.push(found);
    }
    Ok(None)
}

/// True for entries of one run and one minute.
fn is_together(one: &Entry, other: &Entry) -> bool {
    let of = |entry: &Entry| minute(entry.stamp.wall);
    one.position.epoch == other.position.epoch && of(one) == of(other)
}

fn minute(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

fn number_epoch(db: &Connection, name: &str) -> Result<i64, HistoryError> {
    let known = db.query_row(layout::GET_EPOCH, params![name], |row| row.get(0)).optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    db.execute(layout::DELETE_EPOCHS, [])?;
    db.execute(layout::PUT_EPOCH, params![name])?;
    Ok(db.last_insert_rowid())
}

/// Gives some pages that are free back to the file system.
fn give_back(db: &Connection) -> Result<(), HistoryError> {
    let mut query = db.prepare_cached(layout::GIVE_BACK)?;
    let mut pages = query.query([])?;
    while pages.next()?.is_some() {}
    Ok(())
}

fn size(db: &Connection) -> Result<u64, HistoryError> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (pages, free) = (pragma("page_count")?, pragma("freelist_count")?);
    Ok(pages.saturating_sub(free).saturating_mul(pragma("page_size")?).unsigned_abs())
}

fn unopenable(path: &Path, problem: &dyn ToString) -> StoreError {
    let path = PathBuf::from(path).display().to_string();
    StoreError::Unopenable { path, problem: problem.to_string() }
}

/// Bytes of entries at which a block ends before its minute does.
const BLOCK: usize = 4 << 20;
/// A broken log may be large.
const KEPT_ASIDE: u64 = 1;

#[cfg(test)]
mod tests;
