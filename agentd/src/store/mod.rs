//! The state directory: what outlives agentd.
//!
//! ```text
//! STATE_DIR/lock        held while agentd runs, so that there is one
//! STATE_DIR/agentd.db   policy with its revisions, mode, reservations Will, a control::Storage
//! STATE_DIR/paused      there while the mode is paused, whatever else is broken
//! STATE_DIR/history.db  the event log                                 HistoryStore
//! ```
//!
//! Policy and history are apart, so that the large one, when it is full or broken, takes nothing
//! of the small one along. What the entries of the log say is not known here.

mod aside;
mod database;
mod ease;
mod encode;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod history;
mod marker;
mod pins;
mod reserved;
mod will;

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

pub use history::{
    Condense, Digest, Found, HistoryReader, HistoryStore, Opening, Place, Reach, Reading,
    Retention, Shelf, Snapshot,
};
pub use will::Will;

pub(crate) use encode::{from_json as policy_from_json, to_json as policy_to_json};

use crate::lock::{Lock, LockError};

/// A state directory that is ours as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Whether an agentd had locked it before.
    is_used: bool,
    _lock: Lock,
}

impl StateDir {
    /// Creates the directory where it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be created or locked, or when another agentd holds it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: io::Error| StoreError::Unusable {
            path: path.display().to_string(),
            problem: error.to_string(),
        };
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(unusable)?;
        let lock_file = path.join("lock");
        let is_used = lock_file.try_exists().unwrap_or(true);
        let lock = Lock::take(&lock_file).map_err(|error| {
            let path = lock_file.display().to_string();
            match error {
                LockError::Busy(holder) => StoreError::Busy { path, holder },
                LockError::Unusable(error) => unusable(error),
            }
        })?;
        Ok(Self { path: path.to_owned(), is_used, _lock: lock })
    }

    /// Opens the policy and the mode, anew where agentd was never here. A file that cannot be used,
    /// or is missing, makes agentd start paused; see [`Will::open`]. Comes before the history: one
    /// that is there alone shows that the policy and the mode were lost.
    #[must_use]
    pub fn will(&self) -> Will {
        Will::open(&self.path, self.is_used)
    }

    /// Begins to open the event log, anew where there is none or it is broken. One of a newer agentd, or
    /// that cannot be opened at all, says so with every entry.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn history(
        &self,
        retention: Retention,
        condense: Condense,
    ) -> io::Result<(Opening, Shelf)> {
        let path = self.path.join("history.db");
        Opening::begin(move || HistoryStore::open(&path, retention, condense))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be used.
    #[error(
        "cannot use the state directory {path}: {problem}; name one that this user may write with \
         --state-dir"
    )]
    Unusable {
        /// The directory, or what is missing in it.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// Another agentd runs on it.
    #[error("another agentd ({holder}) runs on {path}: stop it, or name another --state-dir")]
    Busy {
        /// The lock file.
        path: String,
        /// Who holds it, as far as it says.
        holder: String,
    },
    /// A newer agentd made it.
    #[error(
        "{path} was made by a newer agentd (schema {found}, this one knows up to {known}): run \
         that one, or move the file away to begin anew"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// It cannot be opened, and not because it is broken.
    #[error("cannot open {path}: {problem}")]
    Unopenable {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
}

/// Makes what was created, renamed or removed in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The policy says which VMs matter: not for everybody's eyes.
const DIR_MODE: u32 = 0o750;
