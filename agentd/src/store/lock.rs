//! [`Lock`]: one agentd for one state directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::Path,
};

use super::StoreError;

/// Held until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: io::Error| StoreError::Unusable {
            path: path.display().to_string(),
            problem: error.to_string(),
        };
        let mut file = open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(StoreError::Busy { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
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
        let error = Lock::take(&path).unwrap_err().to_string();
        let me = format!("another agentd (pid {}) runs on ", std::process::id());
        assert!(error.starts_with(&me), "{error}");
        drop(first);
        assert!(Lock::take(&path).is_ok());
    }
}
