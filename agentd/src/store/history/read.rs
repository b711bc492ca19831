//! [`HistoryReader`]: reads the history beside the thread that writes it, which waits for no reader.
//!
//! What is asked at once is answered by the file as it is at one moment: a minute that is packed meanwhile is
//! neither missed nor met twice. It takes a moment, and nothing of the file is held when it is over: a reader
//! that goes away for an hour keeps no page of it from being used again.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior, params,
};

use super::{
    layout,
    pack::{self, Meta, from_nanos, to_nanos},
};
use crate::{
    publish::{Entry, Epoch, Kind, Position},
    record::HistoryError,
};

/// Reads the history.
#[derive(Debug)]
pub struct HistoryReader {
    db: Mutex<Connection>,
}

/// The history as it was at one moment.
#[derive(Debug)]
pub struct Snapshot<'a>(Transaction<'a>);

/// A place between two entries of the file, over all runs of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub(super) i64);

/// An entry that is kept, and the place behind it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The place behind it.
    pub place: Place,
    /// The entry, without its monotonic time.
    pub entry: Entry,
}

/// What is kept of the entries of at most a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The place before the first of them.
    pub before: Place,
    /// The place behind the last of them.
    pub behind: Place,
    /// When the first was made, by the wall clock.
    pub first: SystemTime,
    /// When the last was made.
    pub last: SystemTime,
    /// What [`super::Condense`] made of them.
    pub bytes: Vec<u8>,
}

/// How far back the file reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// When the oldest entry was made of which anything is kept.
    pub oldest: Option<SystemTime>,
    /// When the oldest was made that is kept whole.
    pub oldest_whole: Option<SystemTime>,
}

impl HistoryReader {
    /// Opens what a [`super::HistoryStore`] made, which may write on.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        db.execute_batch("PRAGMA query_only = ON; PRAGMA cell_size_check = ON;")?;
        Ok(Self { db: Mutex::new(db) })
    }

    /// Has `work` ask as much as it likes of the file as it is now.
    ///
    /// # Errors
    ///
    /// What `work` fails with, or whatever the disk says.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let mut db = self.db();
        // It is over when it is dropped; what only reads has nothing to commit.
        work(&Snapshot(db.transaction_with_behavior(TransactionBehavior::Deferred)?))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot<'_> {
    /// The place before the first entry that is kept whole and was made at this time or later, or a little
    /// before it.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn place_at(&self, from: SystemTime) -> Result<Place, HistoryError> {
        let db = &self.0;
        let mut query = db.prepare_cached(layout::GET_PLACE)?;
        let id: Option<i64> = query.query_row(params![to_nanos(from)], |row| row.get(0))?;
        // Nothing that late: behind all there is.
        let id = match id {
            Some(id) => id.saturating_sub(1),
            None => db.query_row(layout::GET_NEWEST, [], |row| row.get(0))?,
        };
        Ok(Place(id))
    }

    /// Entries behind a place in the order of the log, as many as fit into so many bytes and at least one;
    /// none where there is nothing. Those of which only the digest is kept are left out.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn behind(&self, place: Place, most: usize) -> Result<Vec<Found>, HistoryError> {
        let db = &self.0;
        let found = match one_block(db, layout::GET_BODY, params![place.0])? {
            Some(found) => found,
            None => rows(db, place, ROWS)?,
        };
        let mut bytes = 0_usize;
        let behind = found.into_iter().filter(|found| found.place > place);
        Ok(behind
            .take_while(|found| {
                let fits = bytes == 0 || bytes.saturating_add(found.entry.bytes.len()) <= most;
                bytes = bytes.saturating_add(found.entry.bytes.len().max(1));
                fits
            })
            .collect())
    }

    /// Rows behind a place that are not packed yet.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn loose(&self, place: Place, most: usize) -> Result<Vec<Found>, HistoryError> {
        rows(&self.0, place, most)
    }

    /// The entry at this position; `None` where it is not kept whole.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn find(&self, position: &Position) -> Result<Option<Entry>, HistoryError> {
        Ok(self.locate(position)?.map(|found| found.entry))
    }

    /// The same, with its place.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn locate(&self, position: &Position) -> Result<Option<Found>, HistoryError> {
        let db = &self.0;
        let seq = i64::try_from(position.seq).unwrap_or(i64::MAX);
        let key = (position.epoch.as_str(), seq);
        let mut query = db.prepare_cached(layout::GET_ROW)?;
        if let Some(found) = query.query_row(key, |at| Ok(row(at))).optional()? {
            return found;
        }
        let block = one_block(db, layout::GET_BODY_OF, key)?.unwrap_or_default();
        let is = |found: &Found| found.entry.position.seq == position.seq;
        Ok(block.into_iter().find(is))
    }

    /// The last tick that had ended by this time; `None` where none is kept whole.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn tick_before(&self, time: SystemTime) -> Result<Option<Entry>, HistoryError> {
        let mut below = i64::MAX;
        for _ in 0..TRIES {
            let Some(id) = self.place_before(time, below)? else { break };
            let found = self.behind(Place(id.saturating_sub(1)), usize::MAX)?;
            let is = |found: &&Found| {
                let (kind, wall) = (found.entry.kind, found.entry.stamp.wall);
                kind == Kind::Tick && wall <= time && found.place.0 < below
            };
            if let Some(found) = found.iter().rev().find(is) {
                return Ok(Some(found.entry.clone()));
            }
            below = id;
        }
        Ok(None)
    }

    /// What is kept of entries behind a place that were made from the one time until the other, at most so
    /// many digests, in the order of the log. Entries that are not packed yet are not among them.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn digests(
        &self,
        place: Place,
        (from, until): (SystemTime, SystemTime),
        most: usize,
    ) -> Result<Vec<Digest>, HistoryError> {
        let db = &self.0;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut query = db.prepare_cached(layout::GET_DIGESTS)?;
        let mut rows = query.query(params![place.0, to_nanos(from), to_nanos(until), most])?;
        let mut digests = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            digests.push(Digest {
                before: Place(id.saturating_sub(1)),
                behind: Place(row.get(1)?),
                first: from_nanos(row.get(2)?),
                last: from_nanos(row.get(3)?),
                bytes: pack::restore(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?)?,
            });
        }
        Ok(digests)
    }

    /// How far back it reaches.
    ///
    /// # Errors
    ///
    /// Whatever the disk says.
    pub fn reach(&self) -> Result<Reach, HistoryError> {
        let db = &self.0;
        let ask = |query| db.query_row(query, [], |row| row.get::<_, Option<i64>>(0));
        Ok(Reach {
            oldest: ask(layout::GET_OLDEST)?.map(from_nanos),
            oldest_whole: ask(layout::GET_OLDEST_WHOLE)?.map(from_nanos),
        })
    }

    fn place_before(&self, time: SystemTime, below: i64) -> Result<Option<i64>, HistoryError> {
        let db = &self.0;
        let mut query = db.prepare_cached(layout::GET_PLACE_BEFORE)?;
        Ok(query.query_row(params![to_nanos(time), below], |row| row.get(0))?)
    }
}

/// One row as an entry; `None` for a kind that only a newer agentd knows.
pub(super) fn row(row: &Row<'_>) -> Result<Option<Found>, HistoryError> {
    let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
    let (seq, wall, kind): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (eventful, is_packed): (bool, bool) = (row.get(5)?, row.get(6)?);
    let body = row.get_ref(7)?.as_blob().map_err(rusqlite::Error::from)?;
    let bytes = if is_packed { pack::restore(body)? } else { body.to_vec() };
    let epoch = epoch(&name)?;
    let meta = Meta { epoch: &epoch, seq: seq.unsigned_abs(), wall, eventful };
    let entry = pack::kind_of(kind).map(|kind| meta.entry(kind, bytes.into()));
    Ok(entry.map(|entry| Found { place: Place(id), entry }))
}

fn rows(db: &Connection, place: Place, most: usize) -> Result<Vec<Found>, HistoryError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut query = db.prepare_cached(layout::GET_ROWS)?;
    let mut rows = query.query(params![place.0, most])?;
    let mut found = Vec::new();
    while let Some(at) = rows.next()? {
        found.extend(row(at)?);
    }
    Ok(found)
}

fn one_block(
    db: &Connection,
    query: &str,
    key: impl Params,
) -> Result<Option<Vec<Found>>, HistoryError> {
    let mut query = db.prepare_cached(query)?;
    let mut rows = query.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let name: String = row.get(0)?;
    let blob = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(Some(pack::unpack(&epoch(&name)?, blob)?))
}

fn epoch(name: &str) -> Result<Epoch, HistoryError> {
    Epoch::parse(name).ok_or_else(|| HistoryError(format!("{name:?} is no run of the log")))
}

/// A writer's transaction takes milliseconds; in WAL mode a reader hardly ever waits for one.
const BUSY: Duration = Duration::from_secs(2);
/// Blocks looked into for a tick: a minute without one is one in which agentd began or was paused late.
const TRIES: usize = 16;
/// Rows read at a time where nothing is packed.
const ROWS: usize = 256;
