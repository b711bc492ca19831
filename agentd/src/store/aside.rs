//! Moves a file that cannot be used out of the way, for whoever wants to look into it or to have it
//! back, and keeps few of them.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::sync_dir;

/// Why a file is moved aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is not what was written.
    Corrupt,
    /// A newer agentd made it.
    Newer,
    /// It may not be read, or is no file.
    Unreadable,
    /// Its name is there, and nothing behind it, or not even that.
    Missing,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Newer => "newer",
            Self::Unreadable => "unreadable",
            Self::Missing => "missing",
        }
    }
}

/// Moves a database to "NAME.WHY-N", with the largest N so far plus 1, and deletes all but the newest
/// `keep` of these. Returns where it is now.
pub(super) fn move_aside(path: &Path, why: Why, keep: u64) -> io::Result<PathBuf> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.{}-", why.word());
    let earlier = numbers(dir, &prefix)?;
    let number = earlier.iter().max().copied().unwrap_or(0).saturating_add(1);
    let aside = dir.join(format!("{prefix}{number}"));

    // A journal would be taken for that of the next database of this name: away with it first.
    for suffix in ["-journal", "-wal", "-shm"] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (with_suffix(path), with_suffix(&aside));
        if from.try_exists()? {
            fs::rename(from, to)?;
        }
    }
    match fs::rename(path, &aside) {
        // Nothing was there to be kept; what stood beside it is.
        Err(error) if why == Why::Missing && error.kind() == ErrorKind::NotFound => {}
        other => other?,
    }
    sync_dir(dir)?;

    for old in earlier.into_iter().filter(|old| old.saturating_add(keep) <= number) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // The oldest are in nobody's way but the disk's.
            let _ = fs::remove_file(dir.join(format!("{prefix}{old}{suffix}")));
        }
    }
    Ok(aside)
}

fn numbers(dir: &Path, prefix: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentd.db");
        for turn in 1..=12 {
            fs::write(&path, format!("{turn}")).unwrap();
            fs::write(dir.path().join("agentd.db-journal"), "j").unwrap();
            move_aside(&path, Why::Corrupt, 3).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kept = [10, 11, 12].map(|n| format!("agentd.db.corrupt-{n}"));
        let both = kept.iter().flat_map(|name| [name.clone(), format!("{name}-journal")]);
        assert_eq!(names, both.collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(dir.path().join(&kept[2])).unwrap(), "12");
    }
}
