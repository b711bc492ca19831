//! [`Marker`]: a file that says "paused", so that a pause outlives a broken database.
//!
//! Whoever finds agentd misbehaving while it is down can also create it by hand: only its presence
//! counts.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::sync_dir;

#[derive(Debug)]
pub(super) struct Marker {
    dir: PathBuf,
}

impl Marker {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// True where it is there, or cannot be looked for: whoever cannot tell has to assume it.
    pub(super) fn is_set(&self) -> bool {
        self.path().try_exists().unwrap_or(true)
    }

    /// True where it says who set it: people make an empty one by hand.
    pub(super) fn is_written(&self) -> bool {
        fs::metadata(self.path()).is_ok_and(|marker| marker.len() > 0)
    }

    /// What it says and since when it does.
    pub(super) fn said(&self) -> (String, SystemTime) {
        let mut said = String::new();
        let file = File::open(self.path());
        let since = file.as_ref().ok().and_then(|file| file.metadata().ok()?.modified().ok());
        if let Ok(file) = file {
            // What cannot be read says nothing.
            let _ = file.take(LONGEST).read_to_string(&mut said);
        }
        let line = said.lines().next().unwrap_or_default().trim().to_owned();
        (line, since.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Sets it, durably. `who` is for people.
    pub(super) fn set(&self, who: &str) -> io::Result<()> {
        let new = self.dir.join("paused.new");
        let mut file = File::create(&new)?;
        // An empty file says the same, and a full disk has room for one.
        let _ = writeln!(file, "{who}");
        file.sync_all()?;
        fs::rename(&new, self.path())?;
        sync_dir(&self.dir)
    }

    /// Removes it, durably.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("paused")
    }
}

/// A reason of 512 bytes, and who gave it.
const LONGEST: u64 = 1024;
