//! [`Lock`]: a file that one agentd holds.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
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
}

/// A file system that has become read-only can still be locked.
fn open(path: &Path) -> io::Result<File> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match open {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(path),
        other => other,
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
        drop(first);
        assert!(Lock::take(&path).is_ok());
    }
}
