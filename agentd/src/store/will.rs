//! [`Will`]: the operator's will on disk: the policy with its revisions, the mode, what is reserved, and
//! what is pinned for a while.
//!
//! One small SQLite file with a rollback journal and full synchronisation: a change that was
//! acknowledged survives a power cut. A pause is kept twice, in the database and as a marker
//! file, and counts where either says so.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use agentd_core::reserve::ReservationId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    aside::{Why, move_aside},
    database::{Layout, OpenError},
    ease,
    encode::{from_json, to_json},
    marker::Marker,
    pins, reserved,
};
use crate::control::{
    Actor, Mode, Pins, Reserved, Revision, Saved, SavedMode, Storage, StorageError,
};

/// The policy and the mode on disk.
#[derive(Debug)]
pub struct Will {
    path: PathBuf,
    marker: Marker,
    /// `None` where there is no file that could be used.
    db: Option<Connection>,
    lost: Option<String>,
    /// Numbers of the reservations that could not be read.
    unread: Vec<i64>,
}

impl Will {
    /// Opens the database in a state directory, anew where agentd was never there. `is_used` says
    /// that it was; what is in the directory may say so too.
    ///
    /// One that is broken, of a newer agentd, or may not be read is moved aside. What it said does
    /// not count then, a pause among it perhaps: agentd is paused until somebody sets another mode.
    /// One that cannot be opened for any other reason may be whole: it stays where it is, and
    /// agentd is paused and changes nothing until it is started again. One that is missing where
    /// agentd was before is lost as a broken one is: nobody knows what it said.
    #[must_use]
    pub fn open(dir: &Path, is_used: bool) -> Self {
        let path = dir.join("agentd.db");
        let marker = Marker::new(dir);
        if is_missing(&path)
            && let Some(sign) = sign_of_use(dir, &marker, is_used)
        {
            let why = format!("it is not there, and agentd was here before: there is {sign}");
            return Self::begin_anew(marker, &path, Why::Missing, &why);
        }
        match LAYOUT.open(&path).and_then(check) {
            Ok(db) => Self { path, marker, db: Some(db), lost: None, unread: Vec::new() },
            Err(OpenError::Broken(why)) => Self::begin_anew(marker, &path, Why::Corrupt, &why),
            Err(OpenError::Barred(why)) => Self::begin_anew(marker, &path, Why::Unreadable, &why),
            Err(OpenError::Newer { found, known }) => {
                let why = format!(
                    "it was made by a newer agentd (schema {found}, this one knows up to {known})"
                );
                Self::begin_anew(marker, &path, Why::Newer, &why)
            }
            Err(OpenError::Other(error)) => {
                let lost = Some(closed_message(&error.to_string()));
                Self { path, marker, db: None, lost, unread: Vec::new() }
            }
        }
    }

    /// First the marker, then the rest: whenever this is cut short, the next start is paused.
    fn begin_anew(marker: Marker, path: &Path, kind: Why, why: &str) -> Self {
        let own = path.to_owned();
        let was = format!("{} could not be used: {why}", path.display());
        let marked = marker.set(&format!("by agentd itself: {was}")).map_err(|e| e.to_string());
        let moved =
            marked.and_then(|()| move_aside(path, kind, KEPT_ASIDE).map_err(|e| e.to_string()));
        let fresh = moved.and_then(|aside| match LAYOUT.open(path) {
            Ok(db) => Ok((db, aside)),
            Err(OpenError::Broken(why) | OpenError::Barred(why)) => Err(why),
            Err(OpenError::Newer { .. }) => Err("another process writes it".to_owned()),
            Err(OpenError::Other(error)) => Err(error.to_string()),
        });
        match fresh {
            Ok((db, aside)) => {
                let lost = lost_message(&was, path, kind, &aside);
                // Where this fails the marker still pauses; only the reason is forgotten.
                let noted = db.execute(PUT_NOTE, params![LOST, lost]);
                if let Err(error) = noted {
                    tracing::warn!(%error, "cannot note that the state was lost");
                }
                Self { path: own, marker, db: Some(db), lost: Some(lost), unread: Vec::new() }
            }
            Err(problem) => {
                let lost = closed_message(&format!("{was}; nor could it be replaced: {problem}"));
                Self { path: own, marker, db: None, lost: Some(lost), unread: Vec::new() }
            }
        }
    }

    fn db(&mut self) -> Result<&mut Connection, StorageError> {
        let none = || StorageError("the state directory cannot be used".to_owned());
        self.db.as_mut().ok_or_else(none)
    }

    fn write_mode(&mut self, saved: &SavedMode) -> Result<(), StorageError> {
        let SavedMode { mode, actor, reason, .. } = saved;
        let time = to_nanos(actor.time);
        let db = self.db()?.transaction()?;
        db.execute(PUT_MODE, params![mode.name(), actor.id, actor.peer, time, reason])?;
        db.execute(PUT_NOTE, params![EASED_BY, ease::note(saved)])?;
        if *mode != Mode::Paused {
            db.execute("DELETE FROM note WHERE name = ?1", params![LOST])?;
        }
        Ok(db.commit()?)
    }

    /// What the database says, and the marker.
    fn read(&mut self) -> Result<Saved, StorageError> {
        let is_marked = self.marker.is_set();
        let (said, since) = self.marker.said();
        let lost = self.lost.clone();
        let db = self.db()?;
        let mode = db.query_row(GET_MODE, [], read_mode).optional()?;
        let eased_by: Option<String> =
            db.query_row(GET_NOTE, params![EASED_BY], |row| row.get(0)).optional()?;
        let mode = mode.map(|mode| SavedMode {
            eased_by: eased_by.and_then(|note| ease::read(&note, &mode)),
            ..mode
        });
        let is_paused = mode.as_ref().is_some_and(|saved| saved.mode == Mode::Paused);
        let mode = if (is_marked || lost.is_some()) && !is_paused {
            let colon = if said.is_empty() { "" } else { ": " };
            let file = "the file \"paused\" in the state directory";
            Some(paused_by_agentd(format!("{file}{colon}{said}"), since))
        } else {
            mode
        };
        let lost = match lost {
            Some(lost) => Some(lost),
            None => db.query_row(GET_NOTE, params![LOST], |row| row.get(0)).optional()?,
        };
        let newest = db.query_row(GET_NEWEST, [], read_newest).optional()?;
        let (newest, falls_back_to) = newest.unzip();
        let file_policy: Option<String> =
            db.query_row(GET_NOTE, params![FILE_POLICY], |row| row.get(0)).optional()?;
        let file_policy = file_policy.map(|json| from_json(&json)).transpose();
        let kept = reserved::load(db);
        let pinned: Option<String> =
            db.query_row(GET_NOTE, params![PINS], |row| row.get(0)).optional()?;
        let (pins, unread_pins) = pinned.map(|note| pins::read(&note)).unwrap_or_default();
        self.unread = kept.unread;
        Ok(Saved {
            mode,
            newest,
            falls_back_to: falls_back_to.flatten(),
            file_policy: file_policy.map_err(StorageError)?,
            reservations: kept.reserved,
            unread_reservations: kept.why,
            last_reservation: kept.last,
            pins,
            unread_pins,
            lost,
        })
    }
}

impl Storage for Will {
    fn load(&mut self) -> Result<Saved, StorageError> {
        let problem = match self.read() {
            Ok(saved) => return Ok(saved),
            Err(StorageError(problem)) => problem,
        };
        self.db = None;
        let lost = self.lost.get_or_insert_with(|| closed_message(&problem)).clone();
        let (_, since) = self.marker.said();
        let mode = Some(paused_by_agentd("the state could not be read".to_owned(), since));
        Ok(Saved { mode, lost: Some(lost), ..Saved::default() })
    }

    fn save_mode(&mut self, saved: &SavedMode) -> Result<(), StorageError> {
        if saved.mode != Mode::Paused {
            // The database first: cut short between the two, agentd is still paused.
            self.write_mode(saved)?;
            return self.marker.clear().map_err(|error| StorageError(error.to_string()));
        }
        let SavedMode { actor, reason, .. } = saved;
        let marked = self.marker.set(&format!("by {}: {reason}", actor.id));
        match (marked, self.write_mode(saved)) {
            (Ok(()), written) => {
                if let Err(error) = written {
                    tracing::warn!(%error, "the pause is kept in its marker file alone");
                }
                Ok(())
            }
            (Err(_), Ok(())) => Ok(()),
            (Err(marker), Err(database)) => Err(StorageError(format!("{database}; {marker}"))),
        }
    }

    fn forget_mode(&mut self) -> Result<(), StorageError> {
        let db = self.db()?.transaction()?;
        db.execute("DELETE FROM mode", [])?;
        db.execute("DELETE FROM note WHERE name = ?1", params![EASED_BY])?;
        Ok(db.commit()?)
    }

    fn save_revision(
        &mut self,
        revision: &Revision,
        falls_back_to: Option<u64>,
    ) -> Result<(), StorageError> {
        let Revision { number, etag, policy, actor, reason, revert_at } = revision;
        let json = to_json(policy).map_err(StorageError)?;
        let (number, falls_back_to) = (to_i64(*number), falls_back_to.map(to_i64));
        let (time, revert_at) = (to_nanos(actor.time), revert_at.map(to_nanos));
        let db = self.db()?.transaction()?;
        // What a caller was never told of may be in the way.
        db.execute("DELETE FROM revision WHERE number > ?1", params![number])?;
        db.execute(
            PUT_REVISION,
            params![
                number,
                etag,
                json,
                actor.id,
                actor.peer,
                time,
                reason,
                revert_at,
                falls_back_to
            ],
        )?;
        db.execute(PRUNE, params![falls_back_to, KEPT_REVISIONS, KEPT_BYTES])?;
        if actor.id == "config" {
            db.execute(PUT_NOTE, params![FILE_POLICY, json])?;
        }
        Ok(db.commit()?)
    }

    fn confirm(&mut self, revision: &Revision) -> Result<(), StorageError> {
        let db = self.db()?;
        let changed = db.execute(CONFIRM, params![to_i64(revision.number)])?;
        if changed == 0 {
            return Err(StorageError(format!("revision {} is not there", revision.number)));
        }
        Ok(())
    }

    fn forget(&mut self, number: u64) -> Result<(), StorageError> {
        let db = self.db()?.transaction()?;
        db.execute("DELETE FROM revision WHERE number = ?1", params![to_i64(number)])?;
        db.execute(RESTORE_FILE_POLICY, params![FILE_POLICY])?;
        Ok(db.commit()?)
    }

    fn save_reservation(&mut self, own: &Reserved) -> Result<(), StorageError> {
        Ok(reserved::save(self.db()?, own)?)
    }

    fn forget_reservation(&mut self, id: ReservationId) -> Result<(), StorageError> {
        Ok(reserved::forget(self.db()?, id)?)
    }

    fn forget_unread(&mut self) -> Result<(), StorageError> {
        if !self.unread.is_empty() {
            let unread = self.unread.clone();
            reserved::forget_unread(self.db()?, &unread)?;
            self.unread.clear();
        }
        Ok(())
    }

    fn save_pins(&mut self, pins: &Pins) -> Result<(), StorageError> {
        let note = pins::note(pins).map_err(StorageError)?;
        self.db()?.execute(PUT_NOTE, params![PINS, note])?;
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StorageError> {
        let path = self.path.clone();
        self.db()?.execute(PUT_NOTE, params![PROBE, ""])?;
        // A file that was removed can be written for as long as it is open.
        if is_missing(&path) {
            return Err(StorageError(format!("{} is gone", path.display())));
        }
        Ok(())
    }

    fn revisions(&mut self, before: u64, limit: usize) -> Result<Vec<Revision>, StorageError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = self.db()?.prepare_cached(GET_PAGE)?;
        let rows = query.query_map(params![to_i64(before), limit], read_revision)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// Whole pages can still hold nonsense: what a start needs has to be readable.
fn check(db: Connection) -> Result<Connection, OpenError> {
    let broken = |error: rusqlite::Error| OpenError::Broken(error.to_string());
    db.query_row(GET_MODE, [], read_mode).optional().map_err(broken)?;
    let newest = db.query_row(GET_NEWEST, [], read_newest).optional().map_err(broken)?;
    if let Some(number) = newest.and_then(|(_, falls_back_to)| falls_back_to) {
        let fallback = db.query_row(GET_REVISION, params![to_i64(number)], read_revision);
        fallback.optional().map_err(broken)?;
    }
    let note = db.query_row(GET_NOTE, params![FILE_POLICY], |row| row.get::<_, String>(0));
    if let Some(json) = note.optional().map_err(broken)? {
        from_json(&json).map_err(OpenError::Broken)?;
    }
    Ok(db)
}

fn lost_message(was: &str, path: &Path, kind: Why, aside: &Path) -> String {
    let (path, aside) = (path.display(), aside.display());
    let in_force =
        "the policy in force is the config file's, and agentd is paused in case it had been";
    let end =
        "the policy again where it was changed, then end the pause with \"memctl mode active\"";
    let begin = match kind {
        Why::Missing => {
            return format!(
                "{was}. Now {in_force}. To go back to a copy of it, stop agentd, put the copy at \
                 {path}, and start agentd again. To go on without it, set {end}"
            );
        }
        Why::Corrupt => "Set".to_owned(),
        Why::Newer => format!(
            "To go back to it, stop agentd, move it to {path} again, and start the newer agentd. \
             To stay with this one, set"
        ),
        Why::Unreadable => format!(
            "To go back to it, stop agentd, move it to {path} again, and let agentd's user read \
             it. To go on without it, set"
        ),
    };
    format!("{was}. It was moved to {aside}; {in_force}. {begin} {end}")
}

/// True where there is no such file, or a link that leads nowhere.
fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// What says that agentd was in this directory before. What a first start that was cut short leaves
/// says nothing, nor does an empty marker, which people make before the first start.
fn sign_of_use(dir: &Path, marker: &Marker, is_used: bool) -> Option<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let is_sign = |name: &String| {
        let of_ours = name.starts_with("agentd.db") || name.starts_with("history.db");
        of_ours && !name.starts_with("agentd.db.new")
    };
    let mut found = names.into_iter().find(is_sign);
    if found.is_none() && marker.is_written() {
        found = Some("paused".to_owned());
    }
    if found.is_none() && is_used {
        found = Some("the lock of an earlier one".to_owned());
    }
    found
}

fn closed_message(problem: &str) -> String {
    format!(
        "{problem}. agentd is paused and accepts no change: see to the state directory, then start \
         agentd again"
    )
}

/// A pause that nobody asked for by memctl.
fn paused_by_agentd(reason: String, time: SystemTime) -> SavedMode {
    let actor = Actor { id: "agent".to_owned(), peer: String::new(), time };
    SavedMode { mode: Mode::Paused, actor, reason, eased_by: None }
}

fn read_mode(row: &Row<'_>) -> rusqlite::Result<SavedMode> {
    let name: String = row.get(0)?;
    let mode = Mode::named(&name).ok_or_else(|| nonsense(format!("\"{name}\" is no mode")))?;
    let actor = Actor { id: row.get(1)?, peer: row.get(2)?, time: from_nanos(row.get(3)?) };
    Ok(SavedMode { mode, actor, reason: row.get(4)?, eased_by: None })
}

fn read_newest(row: &Row<'_>) -> rusqlite::Result<(Revision, Option<u64>)> {
    let falls_back_to: Option<i64> = row.get(8)?;
    Ok((read_revision(row)?, falls_back_to.map(i64::unsigned_abs)))
}

fn read_revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    let number: i64 = row.get(0)?;
    let json: String = row.get(2)?;
    let revert_at: Option<i64> = row.get(7)?;
    Ok(Revision {
        number: number.unsigned_abs(),
        etag: row.get(1)?,
        policy: from_json(&json).map_err(nonsense)?,
        actor: Actor { id: row.get(3)?, peer: row.get(4)?, time: from_nanos(row.get(5)?) },
        reason: row.get(6)?,
        revert_at: revert_at.map(from_nanos),
    })
}

pub(super) fn nonsense(why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, why.into())
}

pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Nanoseconds since 1970. What lies outside of 1970 to 2262 becomes the nearest that does not.
pub(super) fn to_nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn from_nanos(nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

const LAYOUT: Layout = Layout {
    // "agtd"
    application_id: 0x6167_7464,
    birth_pragmas: "",
    pragmas: "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA;
              PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
    migrations: &[
        "
        CREATE TABLE mode (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            mode TEXT NOT NULL,
            actor TEXT NOT NULL, peer TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL
        ) STRICT;
        CREATE TABLE revision (
            number INTEGER PRIMARY KEY,
            etag TEXT NOT NULL,
            policy TEXT NOT NULL,
            actor TEXT NOT NULL, peer TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL,
            revert_at INTEGER,
            falls_back_to INTEGER
        ) STRICT;
        CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
    ",
        reserved::MIGRATION,
    ],
};
const PUT_MODE: &str = "INSERT OR REPLACE INTO mode VALUES (1, ?1, ?2, ?3, ?4, ?5)";
const GET_MODE: &str = "SELECT mode, actor, peer, time, reason FROM mode";
const PUT_REVISION: &str =
    "INSERT OR REPLACE INTO revision VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const GET_NEWEST: &str = "SELECT * FROM revision ORDER BY number DESC LIMIT 1";
const GET_REVISION: &str = "SELECT * FROM revision WHERE number = ?1";
const GET_PAGE: &str = "SELECT * FROM revision WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
const CONFIRM: &str =
    "UPDATE revision SET revert_at = NULL, falls_back_to = NULL WHERE number = ?1";
/// Old revisions, but never the newest nor the one that it falls back to.
const PRUNE: &str = "
    DELETE FROM revision WHERE number IS NOT ?1 AND number IN (
        SELECT number FROM (
            SELECT number,
                row_number() OVER newer AS place,
                sum(length(policy)) OVER newer AS bytes
            FROM revision WINDOW newer AS (ORDER BY number DESC)
        ) WHERE place > 1 AND (place > ?2 OR bytes > ?3)
    )";
const PUT_NOTE: &str = "INSERT OR REPLACE INTO note VALUES (?1, ?2)";
/// The file's policy again where that of another file was forgotten.
const RESTORE_FILE_POLICY: &str = "UPDATE note SET text = newest.policy
    FROM (SELECT policy FROM revision WHERE actor = 'config' ORDER BY number DESC LIMIT 1) AS newest
    WHERE name = ?1";
const GET_NOTE: &str = "SELECT text FROM note WHERE name = ?1";
/// Note: the config file's policy when it was last in force.
const FILE_POLICY: &str = "file_policy";
/// Note: who may ease the mode, as [`ease`] writes it.
const EASED_BY: &str = "eased_by";
/// Note: VMs that are pinned for a while, as [`pins`] writes them.
const PINS: &str = "pins";
/// Note: nothing; written to see whether that can be done.
const PROBE: &str = "probe";
/// Note: why the state was lost, until somebody sets a mode.
const LOST: &str = "state_lost";
/// Revisions kept, and the bytes that their policies may take: a policy with 4096 VMs takes 400
/// KiB.
const KEPT_REVISIONS: i64 = 1000;
const KEPT_BYTES: i64 = 64 << 20;
/// Databases kept of those that were moved aside for the same reason.
const KEPT_ASIDE: u64 = 5;

#[cfg(test)]
#[path = "will_tests.rs"]
mod tests;
