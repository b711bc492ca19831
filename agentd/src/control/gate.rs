//! [`Gate`]: what every order has to pass, so that nothing starts after a pause was acknowledged, or
//! while the freeze file is there.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::Mode;

/// Lets orders through while the mode is active and nobody has frozen it.
#[derive(Debug, Default)]
pub struct Gate {
    mode: RwLock<Mode>,
    /// While there is something of this name, no order starts.
    freeze_file: Option<PathBuf>,
}

/// Leave to start orders. While it is held the gate cannot be closed: hold it for one call of the
/// hypervisor, which is bounded, and not longer.
#[derive(Debug)]
pub struct Pass<'a> {
    _mode: RwLockReadGuard<'a, Mode>,
}

impl Gate {
    /// A gate for this mode, which no file freezes.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { mode: RwLock::new(mode), freeze_file: None }
    }

    /// The same, closed as well while there is a file of this name.
    #[must_use]
    pub fn frozen_by(self, freeze_file: Option<PathBuf>) -> Self {
        Self { freeze_file, ..self }
    }

    /// Leave to start orders; `None` unless the mode is active and no file freezes it. The file is
    /// looked for each time, so that it counts from the moment in which it is there.
    #[must_use]
    pub fn pass(&self) -> Option<Pass<'_>> {
        let mode = self.mode.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = *mode == Mode::Active && self.freeze().is_none();
        is_open.then_some(Pass { _mode: mode })
    }

    /// Changes the mode. When this returns, no order starts against it.
    pub fn set(&self, mode: Mode) {
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// The file that would freeze this gate; `None` where none would.
    #[must_use]
    pub fn freeze_file(&self) -> Option<&Path> {
        self.freeze_file.as_deref()
    }

    /// The file that freezes this gate now; `None` where there is none.
    ///
    /// Whatever has the name counts, be it a link that leads nowhere; and where it cannot be looked
    /// for it has to be assumed.
    #[must_use]
    pub fn freeze(&self) -> Option<&Path> {
        let file = self.freeze_file.as_deref()?;
        match fs::symlink_metadata(file) {
            Err(error) if is_absent(error.kind()) => None,
            Ok(_) | Err(_) => Some(file),
        }
    }
}

const fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn passes_only_while_active() {
        let gate = Gate::new(Mode::Observe);
        assert!(gate.pass().is_none());
        gate.set(Mode::Active);
        assert!(gate.pass().is_some());
        gate.set(Mode::Paused);
        assert!(gate.pass().is_none());
    }

    #[test]
    fn a_freeze_file_closes_it_whatever_the_mode_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("freeze");
        let gate = Gate::new(Mode::Active).frozen_by(Some(file.clone()));
        assert!(gate.pass().is_some());
        fs::write(&file, "").unwrap();
        assert!(gate.pass().is_none());
        gate.set(Mode::Active);
        assert!(gate.pass().is_none(), "no mode opens it");
        assert_eq!(gate.freeze(), Some(file.as_path()));
        fs::remove_file(&file).unwrap();
        assert!(gate.pass().is_some());
        symlink("nowhere", &file).unwrap();
        assert!(gate.pass().is_none(), "a link that leads nowhere");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(gate.pass().is_none(), "a directory");
    }

    #[test]
    fn a_freeze_file_that_cannot_be_looked_for_counts_as_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("loop");
        symlink("loop", &file).unwrap();
        let gate = Gate::new(Mode::Active).frozen_by(Some(file.join("freeze")));
        assert!(gate.pass().is_none());
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let gate = Gate::new(Mode::Active).frozen_by(Some(plain.join("freeze")));
        assert!(gate.pass().is_some(), "below a file there is nothing");
    }
}
