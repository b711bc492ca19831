//! The journal of systemd: a line becomes an entry with its fields, where standard error is the journal's
//! anyway.

use std::{env, ffi::OsStr, io};

use tracing_subscriber::{Layer, Registry};

/// What writes entries; `None` where standard error is not the journal, or the journal cannot be reached:
/// text on standard error then ends up in the right place, too.
pub(super) fn layer() -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
    if !is_stderr(&env_var()?) {
        return None;
    }
    let journal = tracing_journald::layer().ok()?;
    let journal = journal.with_syslog_identifier("agentd".to_owned());
    Some(journal.with_field_prefix(Some("AGENTD".to_owned())).boxed())
}

#[allow(clippy::disallowed_methods, reason = "systemd says it by this variable alone")]
fn env_var() -> Option<std::ffi::OsString> {
    env::var_os("JOURNAL_STREAM")
}

/// True where this names the file that standard error is: a program may inherit the variable from one
/// that wrote to the journal, and write elsewhere itself.
fn is_stderr(stream: &OsStr) -> bool {
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_that_standard_error_is_counts() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stderr(OsStr::new(&own)));
        for other in ["", "1", &format!("{}:{}", stat.st_dev, stat.st_ino + 1), &format!("{own}0")]
        {
            assert!(!is_stderr(OsStr::new(other)), "{other}");
        }
    }
}
