//! The file of the history: its tables, and every statement that is made of them.
//!
//! ```text
//! epoch   the runs of the log
//! entry   the newest entries, a row each, compressed on its own
//! block   a minute of older ones: which they are, and their digest
//! body    the entries of a block themselves, compressed together; gone where only the digest is kept
//! ```
//!
//! An entry's place in the file, `id`, grows for ever: a block's is that of its first entry.

use super::super::database::Layout;
use crate::publish::Kind;

/// On disk: never to be changed.
pub(super) const fn number_of(kind: Kind) -> i64 {
    match kind {
        Kind::Tick => 1,
        Kind::Vm => 2,
        Kind::Policy => 3,
        Kind::Mode => 4,
        Kind::Reservation => 6,
        Kind::Pin => 7,
    }
}

pub(super) const KINDS: [Kind; 6] =
    [Kind::Tick, Kind::Vm, Kind::Policy, Kind::Mode, Kind::Reservation, Kind::Pin];

pub(super) const LAYOUT: Layout = Layout {
    // "agth"
    application_id: 0x6167_7468,
    birth_pragmas: "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;",
    pragmas: "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216;
              PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
    migrations: &[
        "
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
        ",
        "
        ALTER TABLE entry ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE block (
            id INTEGER PRIMARY KEY,
            last INTEGER NOT NULL,
            epoch INTEGER NOT NULL REFERENCES epoch (number),
            first_seq INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            first_wall INTEGER NOT NULL,
            last_wall INTEGER NOT NULL,
            digest BLOB NOT NULL
        ) STRICT;
        CREATE INDEX block_wall ON block (last_wall, first_wall);
        CREATE INDEX block_seq ON block (epoch, first_seq);
        CREATE TABLE body (block INTEGER PRIMARY KEY REFERENCES block (id), entries BLOB NOT NULL)
            STRICT;
        ",
    ],
};

pub(super) const PUT_ENTRY: &str =
    "INSERT INTO entry (id, epoch, seq, wall, kind, eventful, packed, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)";
pub(super) const GET_EPOCH: &str = "SELECT number FROM epoch WHERE name = ?1";
pub(super) const PUT_EPOCH: &str = "INSERT INTO epoch (name) VALUES (?1)";
pub(super) const DELETE_EPOCHS: &str = "DELETE FROM epoch WHERE number NOT IN
    (SELECT epoch FROM entry UNION SELECT epoch FROM block)";
pub(super) const GET_NEWEST: &str = "SELECT max(
    (SELECT ifnull(max(id), 0) FROM entry), (SELECT ifnull(max(last), 0) FROM block))";
pub(super) const GET_DIGESTED: &str = "SELECT ifnull(sum(length(digest)), 0) FROM block";

/// Entries as rows, in the order of the log.
pub(super) const GET_ROWS: &str = "SELECT entry.id, name, seq, wall, kind, eventful, packed, body
    FROM entry JOIN epoch ON epoch.number = entry.epoch
    WHERE entry.id > ?1 ORDER BY entry.id LIMIT ?2";
pub(super) const GET_ROW: &str = "SELECT entry.id, name, seq, wall, kind, eventful, packed, body
    FROM entry JOIN epoch ON epoch.number = entry.epoch WHERE name = ?1 AND seq = ?2";
pub(super) const DELETE_ROWS: &str = "DELETE FROM entry WHERE id <= ?1";
pub(super) const PUT_BLOCK: &str =
    "INSERT INTO block (id, last, epoch, first_seq, last_seq, first_wall, last_wall, digest)
    VALUES (?1, ?2, (SELECT number FROM epoch WHERE name = ?3), ?4, ?5, ?6, ?7, ?8)";
pub(super) const PUT_BODY: &str = "INSERT INTO body (block, entries) VALUES (?1, ?2)";

/// The block that holds what comes behind a place, where it is kept whole.
pub(super) const GET_BODY: &str = "SELECT name, entries
    FROM block JOIN body ON body.block = block.id JOIN epoch ON epoch.number = block.epoch
    WHERE block.last > ?1 ORDER BY block.id LIMIT 1";
pub(super) const GET_BODY_OF: &str = "SELECT name, entries
    FROM block JOIN body ON body.block = block.id JOIN epoch ON epoch.number = block.epoch
    WHERE name = ?1 AND first_seq <= ?2 AND last_seq >= ?2 LIMIT 1";
/// The places of the first block and of the first row that end at this time or later.
pub(super) const GET_PLACE: &str = "SELECT min(id) FROM (
    SELECT min(block.id) AS id FROM block JOIN body ON body.block = block.id
        WHERE last_wall >= ?1
    UNION ALL SELECT min(id) AS id FROM entry WHERE wall >= ?1)";
/// The place of the last block and of the last row that begin at this time or before.
pub(super) const GET_PLACE_BEFORE: &str = "SELECT max(id) FROM (
    SELECT max(block.id) AS id FROM block JOIN body ON body.block = block.id
        WHERE first_wall <= ?1 AND block.id < ?2
    UNION ALL SELECT max(id) AS id FROM entry WHERE wall <= ?1 AND kind = 1 AND id < ?2)";
pub(super) const GET_DIGESTS: &str = "SELECT id, last, first_wall, last_wall, digest FROM block
    WHERE id > ?1 AND last_wall >= ?2 AND first_wall < ?3 ORDER BY id LIMIT ?4";
pub(super) const GET_OLDEST: &str = "SELECT min(wall) FROM (
    SELECT min(first_wall) AS wall FROM block UNION ALL SELECT min(wall) AS wall FROM entry)";
pub(super) const GET_OLDEST_WHOLE: &str = "SELECT min(wall) FROM (
    SELECT first_wall AS wall FROM block WHERE id = (SELECT min(block) FROM body)
    UNION ALL SELECT min(wall) AS wall FROM entry)";

pub(super) const DELETE_OLD_ENTRIES: &str = "DELETE FROM entry WHERE id IN
    (SELECT id FROM entry WHERE wall < ?1 ORDER BY wall LIMIT ?2)";
pub(super) const GET_OLD_BLOCK: &str =
    "SELECT id, length(digest) FROM block WHERE last_wall < ?1 ORDER BY last_wall LIMIT 1";
pub(super) const GET_OLDEST_BLOCK: &str =
    "SELECT id, length(digest) FROM block ORDER BY id LIMIT 1";
pub(super) const GET_OLDEST_BODY: &str =
    "SELECT block, length(entries) FROM body ORDER BY block LIMIT 1";
pub(super) const DELETE_BLOCK: &str = "DELETE FROM block WHERE id = ?1";
pub(super) const DELETE_BODY: &str = "DELETE FROM body WHERE block = ?1";
/// As many of the oldest as the excess takes.
pub(super) const DELETE_OLDEST: &str = "DELETE FROM entry WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(length(body)) OVER (ORDER BY id) - length(body) AS before
        FROM (SELECT id, body FROM entry ORDER BY id LIMIT ?1)
    ) WHERE before < ?2)";
/// 1 MiB of pages at most.
pub(super) const GIVE_BACK: &str = "PRAGMA incremental_vacuum(256);";
