//! [`HistoryStore`]: the event log on disk, for longer than the ring in memory holds it.
//!
//! Loses at most the last moments in a power cut, for which it writes without waiting for the
//! disk. Old entries make way by age and by size, a few with each append, so that no append takes
//! much longer than another.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    StoreError,
    aside::{Why, move_aside},
    database::{Layout, OpenError},
};
use crate::{
    publish::{Entry, Kind},
    record::{History, HistoryError},
};

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older entries make way.
    pub age: Duration,
    /// Bytes that the file may take, beside the last few MiB that SQLite is still moving.
    pub bytes: u64,
}

/// The event log on disk.
#[derive(Debug)]
pub struct HistoryStore {
    db: Connection,
    retention: Retention,
    /// The run of the log that was written last, and its number here.
    epoch: Option<(String, i64)>,
}

/// An entry as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Which run of the log.
    pub epoch: String,
    /// Its place in it.
    pub seq: u64,
    /// When it was made, by the wall clock.
    pub wall: SystemTime,
    /// What it tells of; `None` for what only a newer agentd knows.
    pub kind: Option<Kind>,
    /// False for a tick that decided and ordered nothing.
    pub eventful: bool,
    /// The whole entry as it goes over the wire.
    pub bytes: Vec<u8>,
}

impl HistoryStore {
    /// Opens the log, anew where there is none. A broken one is moved aside.
    ///
    /// # Errors
    ///
    /// Fails when the file is of a newer agentd, or cannot be opened at all.
    pub fn open(path: &Path, retention: Retention) -> Result<Self, StoreError> {
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
        Ok(Self { db, retention, epoch: None })
    }

    /// At most `limit` entries made at `from` or later, oldest first.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn since(&self, from: SystemTime, limit: usize) -> Result<Vec<StoredEntry>, HistoryError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = self.db.prepare_cached(GET_SINCE)?;
        let rows = query.query_map(params![to_nanos(from), limit], |row| {
            let (seq, wall, kind): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(StoredEntry {
                epoch: row.get(0)?,
                seq: seq.unsigned_abs(),
                wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(wall.unsigned_abs()),
                kind: KINDS.into_iter().find(|known| number_of(*known) == kind),
                eventful: row.get(4)?,
                bytes: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Bytes that entries take in the file.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn size(&self) -> Result<u64, HistoryError> {
        size(&self.db)
    }
}

impl History for HistoryStore {
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let write = self.db.transaction()?;
        let most = entries.len().saturating_mul(2).saturating_add(PRUNED);
        let pruned = prune(&write, &self.retention, last.stamp.wall, most)?;
        let mut epoch = self.epoch.clone();
        for entry in entries {
            let name = entry.position.epoch.as_str();
            let number = match &epoch {
                Some((known, number)) if known == name => *number,
                _ => number_epoch(&write, name)?,
            };
            epoch = Some((name.to_owned(), number));
            write.prepare_cached(PUT_ENTRY)?.execute(params![
                number,
                i64::try_from(entry.position.seq).unwrap_or(i64::MAX),
                to_nanos(entry.stamp.wall),
                number_of(entry.kind),
                entry.eventful,
                &*entry.bytes
            ])?;
        }
        write.commit()?;
        self.epoch = epoch;
        if pruned > 0 {
            give_back(&self.db)?;
        }
        Ok(())
    }
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

fn number_epoch(db: &Connection, name: &str) -> Result<i64, HistoryError> {
    let known = db.query_row(GET_EPOCH, params![name], |row| row.get(0)).optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    db.execute("DELETE FROM epoch WHERE number NOT IN (SELECT epoch FROM entry)", [])?;
    db.execute("INSERT INTO epoch (name) VALUES (?1)", params![name])?;
    Ok(db.last_insert_rowid())
}

/// Deletes at most so many of the oldest entries, where they are too old or too many.
fn prune(
    db: &Connection,
    retention: &Retention,
    now: SystemTime,
    most: usize,
) -> Result<usize, HistoryError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let oldest = now.checked_sub(retention.age).unwrap_or(SystemTime::UNIX_EPOCH);
    let old = db.prepare_cached(DELETE_OLD)?.execute(params![to_nanos(oldest), most])?;
    let excess = i64::try_from(size(db)?.saturating_sub(retention.bytes)).unwrap_or(i64::MAX);
    let large = match excess {
        0 => 0,
        excess => db.prepare_cached(DELETE_OLDEST)?.execute(params![most, excess])?,
    };
    Ok(old.saturating_add(large))
}

/// Gives some pages that are free back to the file system.
fn give_back(db: &Connection) -> Result<(), HistoryError> {
    let mut query = db.prepare_cached(GIVE_BACK)?;
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

fn to_nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// On disk: never to be changed.
const fn number_of(kind: Kind) -> i64 {
    match kind {
        Kind::Tick => 1,
        Kind::Vm => 2,
        Kind::Policy => 3,
        Kind::Mode => 4,
        Kind::Reservation => 6,
    }
}

const KINDS: [Kind; 5] = [Kind::Tick, Kind::Vm, Kind::Policy, Kind::Mode, Kind::Reservation];
const LAYOUT: Layout = Layout {
    // "agth"
    application_id: 0x6167_7468,
    birth_pragmas: "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;",
    pragmas: "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216;
              PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
    migrations: &["
        CREATE TABLE epoch (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)
            STRICT;
        CREATE TABLE entry (
            id INTEGER PRIMARY KEY,
            epoch INTEGER NOT NULL REFERENCES epoch (number),
            seq INTEGER NOT NULL,
            wall INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            eventful INTEGER NOT NULL,
            body BLOB NOT NULL,
            UNIQUE (epoch, seq)
        ) STRICT;
        CREATE INDEX entry_wall ON entry (wall);
    "],
};
const PUT_ENTRY: &str = "INSERT INTO entry (epoch, seq, wall, kind, eventful, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const GET_EPOCH: &str = "SELECT number FROM epoch WHERE name = ?1";
const GET_SINCE: &str = "SELECT name, seq, wall, kind, eventful, body
    FROM entry JOIN epoch ON epoch.number = entry.epoch
    WHERE wall >= ?1 ORDER BY entry.id LIMIT ?2";
const DELETE_OLD: &str = "DELETE FROM entry WHERE id IN
    (SELECT id FROM entry WHERE wall < ?1 ORDER BY wall LIMIT ?2)";
/// As many of the oldest as the excess takes.
const DELETE_OLDEST: &str = "DELETE FROM entry WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(length(body)) OVER (ORDER BY id) - length(body) AS before
        FROM (SELECT id, body FROM entry ORDER BY id LIMIT ?1)
    ) WHERE before < ?2)";
/// 1 MiB of pages at most.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(256);";
/// Entries deleted with each append, beside twice as many as it adds.
const PRUNED: usize = 32;
/// A broken log may be large.
const KEPT_ASIDE: u64 = 1;

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
