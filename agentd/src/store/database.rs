//! Opens an SQLite file of ours: checks whose it is, whether it is whole and of which version, and
//! brings it up to date. What is in it is not known here.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{StoreError, sync_dir};

/// What a file of ours is.
#[derive(Debug)]
pub(super) struct Layout {
    /// Tells it from other programs' databases.
    pub(super) application_id: i32,
    /// Set on every connection.
    pub(super) pragmas: &'static str,
    /// Set on a new file before anything is in it.
    pub(super) birth_pragmas: &'static str,
    /// From version to version: the first makes version 1 of an empty file.
    pub(super) migrations: &'static [&'static str],
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is not what was written, or not ours: why.
    Broken(String),
    /// A newer agentd made it.
    Newer {
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// It may not be read, or is no file: why.
    Barred(String),
    /// Anything else. It may be whole, and be read the next time.
    Other(StoreError),
}

impl Layout {
    /// Opens the file; makes it where it is missing.
    pub(super) fn open(&self, path: &Path) -> Result<Connection, OpenError> {
        let other = |problem: String| {
            let path = path.display().to_string();
            OpenError::Other(StoreError::Unopenable { path, problem })
        };
        match fs::metadata(path) {
            Ok(file) if !file.is_file() => Err(OpenError::Barred("it is no file".to_owned())),
            Ok(file) if file.len() == 0 => Err(OpenError::Broken("it is empty".to_owned())),
            Ok(_) => self.open_existing(path).map_err(|error| match error {
                Fault::Sqlite(error) if is_broken(&error) => OpenError::Broken(error.to_string()),
                Fault::Sqlite(error) => match File::open(path) {
                    Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                        OpenError::Barred(why.to_string())
                    }
                    Ok(_) | Err(_) => other(error.to_string()),
                },
                Fault::Broken(why) => OpenError::Broken(why),
                Fault::Newer(found) => OpenError::Newer { found, known: self.version() },
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create(path).map_err(other)
            }
            Err(error) => Err(other(error.to_string())),
        }
    }

    fn open_existing(&self, path: &Path) -> Result<Connection, Fault> {
        let db = Connection::open_with_flags(path, FLAGS)?;
        db.busy_timeout(BUSY)?;
        let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if id != self.application_id {
            return Err(Fault::Broken("it is another program's".to_owned()));
        }
        if version > self.version() {
            return Err(Fault::Newer(version));
        }
        let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(Fault::Broken(check));
        }
        db.execute_batch(self.pragmas)?;
        self.migrate(&db, version)?;
        Ok(db)
    }

    /// Under another name first, so that a file of this name is always whole.
    fn create(&self, path: &Path) -> Result<Connection, String> {
        let new = PathBuf::from(format!("{}.new", path.display()));
        let make = || -> Result<(), Box<dyn std::error::Error>> {
            for left in ["", "-journal", "-wal", "-shm"] {
                let left = PathBuf::from(format!("{}{left}", new.display()));
                if left.try_exists()? {
                    fs::remove_file(left)?;
                }
            }
            let db = Connection::open_with_flags(&new, FLAGS | OpenFlags::SQLITE_OPEN_CREATE)?;
            db.execute_batch(self.birth_pragmas)?;
            db.pragma_update(None, "application_id", self.application_id)?;
            self.migrate(&db, 0)?;
            db.close().map_err(|(_, error)| error)?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, path)?;
            Ok(sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))?)
        };
        make().map_err(|error| error.to_string())?;
        self.open_existing(path).map_err(|error| match error {
            Fault::Sqlite(error) => error.to_string(),
            Fault::Broken(why) => why,
            Fault::Newer(version) => format!("it is of version {version}"),
        })
    }

    fn migrate(&self, db: &Connection, from: i64) -> Result<(), rusqlite::Error> {
        let done = usize::try_from(from).unwrap_or(0);
        for (index, step) in self.migrations.iter().enumerate().skip(done) {
            let version = index.saturating_add(1);
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;"
            ))?;
        }
        Ok(())
    }

    fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }
}

#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Broken(String),
    Newer(i64),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn is_broken(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Our own locks order the threads.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Only a backup or a person with `sqlite3` competes for the file.
const BUSY: Duration = Duration::from_secs(2);
