//! What makes way for newer entries, a little at a time.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Known, Retention, layout, pack::to_nanos, size};
use crate::record::HistoryError;

/// Deletes some of what is too old or too much, more than as many entries take as are added. True where
/// there was any.
pub(super) fn prune(
    db: &Connection,
    retention: &Retention,
    known: &mut Known,
    (now, added): (SystemTime, usize),
) -> Result<bool, HistoryError> {
    let oldest = to_nanos(now.checked_sub(retention.age).unwrap_or(SystemTime::UNIX_EPOCH));
    let most = i64::try_from(added.saturating_mul(2).saturating_add(ENTRIES)).unwrap_or(i64::MAX);
    let rows = db.prepare_cached(layout::DELETE_OLD_ENTRIES)?.execute(params![oldest, most])?;
    let mut pruned = rows > 0;
    for _ in 0..BLOCKS {
        let old = block(db, layout::GET_OLD_BLOCK, Some(oldest))?;
        let Some(old) = old else { break };
        delete(db, old, known)?;
        pruned = true;
    }
    let excess = size(db)?.saturating_sub(retention.bytes);
    if excess > 0 {
        make_room(db, excess, most)?;
        pruned = true;
    }
    for _ in 0..BLOCKS {
        if known.digested <= retention.bytes / DIGESTS {
            break;
        }
        let Some(old) = block(db, layout::GET_OLDEST_BLOCK, None)? else { break };
        delete(db, old, known)?;
        pruned = true;
    }
    Ok(pruned)
}

/// The entries of the oldest blocks first; the oldest rows where there is no block.
fn make_room(db: &Connection, excess: u64, most: i64) -> Result<(), HistoryError> {
    let mut left = excess;
    for _ in 0..BLOCKS {
        if left == 0 {
            return Ok(());
        }
        let oldest = db.prepare_cached(layout::GET_OLDEST_BODY)?;
        let Some((id, bytes)) = first(oldest, None)? else {
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            db.prepare_cached(layout::DELETE_OLDEST)?.execute(params![most, left])?;
            return Ok(());
        };
        db.prepare_cached(layout::DELETE_BODY)?.execute(params![id])?;
        left = left.saturating_sub(bytes);
    }
    Ok(())
}

fn block(
    db: &Connection,
    query: &str,
    than: Option<i64>,
) -> Result<Option<(i64, u64)>, HistoryError> {
    first(db.prepare_cached(query)?, than)
}

fn first(
    mut query: rusqlite::CachedStatement<'_>,
    than: Option<i64>,
) -> Result<Option<(i64, u64)>, HistoryError> {
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    let found = match than {
        Some(than) => query.query_row(params![than], pair),
        None => query.query_row([], pair),
    };
    Ok(found.optional()?)
}

fn delete(
    db: &Connection,
    (id, digest): (i64, u64),
    known: &mut Known,
) -> Result<(), HistoryError> {
    db.prepare_cached(layout::DELETE_BODY)?.execute(params![id])?;
    db.prepare_cached(layout::DELETE_BLOCK)?.execute(params![id])?;
    known.digested = known.digested.saturating_sub(digest);
    Ok(())
}

/// Entries deleted with each append, beside twice as many as it adds.
const ENTRIES: usize = 32;
/// Blocks deleted with each append: one comes with sixty of them, or with one of 4 MiB.
const BLOCKS: usize = 4;
/// Digests take this part of the file at most: the last hours to the tick are worth more than the last year
/// to the minute.
const DIGESTS: u64 = 4;
