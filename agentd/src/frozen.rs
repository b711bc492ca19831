//! The freeze file for people: whether it is there, how it is taken away, and whether it can be made.

use std::{fs, io::ErrorKind, path::Path};

use crate::{control::Gate, publish::Publisher};

/// Looks for the freeze file now, and says whether it is there.
pub(crate) fn look(gate: &Gate, publisher: &Publisher) {
    publisher.tell(FROZEN, gate.freeze().map(message));
}

/// The file that is looked for, in words.
pub(crate) fn file(gate: &Gate) -> String {
    gate.freeze_file().map_or_else(|| "none".to_owned(), |file| file.display().to_string())
}

/// The directory of a file, where it is not there.
pub(crate) fn missing_folder(file: &Path) -> Option<&Path> {
    file.parent().filter(|folder| !folder.is_dir())
}

/// Warns where nobody could make the file.
pub(crate) fn warn_of_folder(gate: &Gate) {
    if let Some(folder) = gate.freeze_file().and_then(missing_folder) {
        let folder = folder.display();
        tracing::warn!("there is no directory {folder}: a freeze file cannot be put there");
    }
}

fn message(path: &Path) -> String {
    let file = path.display();
    let remedy = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => format!("\"rmdir {file}\" ends this"),
        Err(error) if !is_absent(error.kind()) => {
            return format!(
                "{file} cannot be looked for ({error}), and has to be taken to be there: {EFFECT}; \
                 let agentd look into its directory to end this"
            );
        }
        Ok(_) | Err(_) => format!("\"rm {file}\" ends this"),
    };
    format!("{file} is there: {EFFECT}; {remedy}")
}

const fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

const EFFECT: &str = "nothing is decided and no order starts, whatever the mode is";
/// Raised while the freeze file is there.
pub(crate) const FROZEN: &str = "FROZEN";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn says_what_takes_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("freeze");
        let file = path.display();
        fs::write(&path, "").unwrap();
        assert!(message(&path).ends_with(&format!("\"rm {file}\" ends this")));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(message(&path).ends_with(&format!("\"rmdir {file}\" ends this")));
        fs::remove_dir(&path).unwrap();
        symlink("freeze", &path).unwrap();
        let below = message(&path.join("freeze"));
        assert!(below.contains("cannot be looked for"), "{below}");
    }
}
