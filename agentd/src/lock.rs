//! [`Lock`]: a file that one agentd holds.
//!
//! Whoever may open the file may hold it, if only to read: it is its owner's alone.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Held until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why it is not ours.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another agentd holds it: who, as far as the file says.
    Busy(String),
    /// It cannot be locked at all.
    Unusable(io::Error),
}

impl Lock {
    /// Takes the lock, or says at once why it cannot be had.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = open(path).map_err(LockError::Unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Busy(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Unusable(error)),
        }
        // Only for people: a full disk must not keep agentd from starting.
        let _ = sign(&mut file);
        Ok(Self { _file: file })
    }

    /// The process that holds the lock now; `None` where none does, or it may not be seen.
    pub(crate) fn holder_of(path: &Path) -> Option<i32> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => holder(&mut file).strip_prefix("pid ")?.parse().ok(),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

/// A file system that has become read-only can still be locked.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNERS_ALONE);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(path),
        other => other,
    }?;
    close_to_others(&file, path);
    Ok(file)
}

/// A file that is there already may be open to others. Where that cannot be changed it is a lock all
/// the same.
fn close_to_others(file: &File, path: &Path) {
    let is_open = |mode: u32| mode & !OWNERS_ALONE & 0o777 != 0;
    if file.metadata().is_ok_and(|metadata| is_open(metadata.permissions().mode()))
        && let Err(error) = file.set_permissions(Permissions::from_mode(OWNERS_ALONE))
    {
        tracing::warn!(
            "{} is open to other users, who can hold it and keep agentd from starting: {error}",
            path.display()
        );
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "pid {}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(LONGEST).read_to_string(&mut text);
    let line = text.lines().next().unwrap_or_default().trim();
    if read.is_err() || line.is_empty() { "of unknown pid".to_owned() } else { line.to_owned() }
}

const OWNERS_ALONE: u32 = 0o600;
/// "pid " and a number.
const LONGEST: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let me = format!("pid {}", std::process::id());
        match Lock::take(&path).unwrap_err() {
            LockError::Busy(holder) => assert_eq!(holder, me),
            LockError::Unusable(error) => panic!("{error}"),
        }
        assert_eq!(Lock::holder_of(&path), i32::try_from(std::process::id()).ok());
        drop(first);
        assert_eq!(Lock::holder_of(&path), None);
        assert!(Lock::take(&path).is_ok());
    }

    #[test]
    fn nobody_else_can_open_it_be_it_new_or_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let lock = Lock::take(&path).unwrap();
        assert_eq!(mode(), 0o600);
        drop(lock);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = Lock::take(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
