//! The freeze file as a condition: what there is, and how it is taken away.

use std::{fs, io::ErrorKind, path::Path};

use crate::{control::Gate, publish::Publisher};

/// Looks for the freeze file now, and says whether it is there.
pub(crate) fn look(gate: &Gate, publisher: &Publisher) {
    publisher.tell(FROZEN, gate.freeze().map(message));
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
