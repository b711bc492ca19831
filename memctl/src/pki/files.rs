//! Files of the authority: keys that only their owner can read, each written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::failure::{Code, Failure};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner alone: keys.
    Owner,
    /// Everybody: certificates.
    All,
}

/// Puts a file in its place, and takes another's place.
pub(super) fn write(path: &Path, text: &str, readers: Readers) -> Result<(), Failure> {
    prepare(path, text, readers)
        .and_then(|file| file.persist(path).map_err(|error| error.error))
        .and_then(|_| sync_folder(path))
        .map_err(|error| unwritable(path, &error))
}

/// Makes a folder with all that `fill` puts into it at once, unless there is one that holds
/// something. It is its owner's alone.
pub(super) fn place_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    make_folder(parent)?;
    let unwritable = |error: io::Error| unwritable(&path, &error);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let made = builder.prefix(".new-").tempdir_in(parent).map_err(unwritable)?;
    fill(made.path())?;
    fs::rename(made.path(), &path).map_err(unwritable)?;
    // It is no longer there to be removed.
    let _ = made.keep();
    sync_folder(&path).map_err(unwritable)
}

/// Reads a file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            Err(Failure::new(Code::Unknown, "CA_UNREADABLE", what))
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a folder that is its owner's alone, unless there is one.
fn make_folder(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| unwritable(path, &error))
}

fn prepare(path: &Path, text: &str, readers: Readers) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // Made for its owner alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    // Where files have no such modes, a folder's owner sees to it.
    #[cfg(not(unix))]
    let _ = readers;
    #[cfg(unix)]
    if readers == Readers::All {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// A name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) {
        let what = format!("{} is there already, and not empty", path.display());
        return Failure::new(Code::AlreadyExists, "FOLDER_EXISTS", what)
            .hint("move it away, or choose another folder with --dir");
    }
    let what = format!("cannot write {}: {error}", path.display());
    Failure::new(Code::Unknown, "CA_UNWRITABLE", what)
}
