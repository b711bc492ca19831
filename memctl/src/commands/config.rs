//! `memctl config`: memctl's own configuration files: where they are, what they say together, and
//! what is wrong with them.

use std::path::Path;

use clap::Subcommand;

use super::Ended;
use crate::config::Config;
use crate::dto::Item;
use crate::exit::Exit;
use crate::render::check::{CheckBody, Finding};
use crate::render::config::{PlaceBody, ViewBody};
use crate::session::Session;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show where the files are, in the order in which they count
    Path,
    /// Show what the files say together
    View,
    /// Check the files; ends with 1 where one cannot be used
    Check,
}

/// Shows or checks the files.
pub(crate) fn run(command: &ConfigCommand, session: &Session) -> Ended {
    match command {
        ConfigCommand::Path => path(session),
        ConfigCommand::View => view(session),
        ConfigCommand::Check => check(session),
    }
}

fn path(session: &Session) -> Ended {
    let places = [("own", &session.places.own), ("system", &session.places.system)];
    let there = places.into_iter().filter_map(|(which, path)| Some((which, path.as_ref()?)));
    let mut items: Vec<_> = there
        .map(|(which, path)| {
            let body =
                PlaceBody { which, path: path.display().to_string(), is_there: path.exists() };
            Item::answered("-", body)
        })
        .collect();
    session.output.show(&mut items)?;
    Ok(Exit::Done)
}

fn view(session: &Session) -> Ended {
    if let Some(failure) = &session.config_failure {
        return Err(failure.clone().into());
    }
    session.output.show(&mut vec![Item::answered("-", ViewBody::new(&session.config))])?;
    Ok(Exit::Done)
}

fn check(session: &Session) -> Ended {
    let checks = checks(session);
    let bad = checks.iter().any(|check| check.finding == Finding::Bad);
    let mut items: Vec<_> = checks.into_iter().map(|check| Item::answered("-", check)).collect();
    session.output.show(&mut items)?;
    Ok(if bad { Exit::No } else { Exit::Done })
}

/// What is to be said of each file, and of both together.
pub(super) fn checks(session: &Session) -> Vec<CheckBody> {
    let places = [&session.places.own, &session.places.system];
    let mut checks: Vec<CheckBody> = Vec::new();
    for path in places.into_iter().flatten() {
        checks.push(match Config::read_file(path, true) {
            Ok(config) => {
                let (path, hosts) = (path.display(), config.hosts.len());
                let plural = if hosts == 1 { "" } else { "s" };
                CheckBody::good("config", format!("{path}: {hosts} host{plural}"))
            }
            Err(_) if !path.exists() => CheckBody::good(
                "config",
                format!("{} is not there, and need not be", path.display()),
            ),
            Err(failure) => CheckBody::bad("config", &failure),
        });
        checks.extend(open_to_others(path));
    }
    // A fault of one file is told already.
    let is_told = checks.iter().any(|check| check.finding == Finding::Bad);
    checks.extend(
        session.config_failure.as_ref().filter(|_| !is_told).map(|f| CheckBody::bad("config", f)),
    );
    checks.extend(idle_groups(&session.config));
    checks
}

/// Whoever may write the file chooses whom memctl talks to.
#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<CheckBody> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o022 != 0).then(|| {
        let what = format!("{} can be written by others (mode {:o})", path.display(), mode & 0o777);
        CheckBody::warning("config", what, &format!("chmod go-w {}", path.display()))
    })
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Option<CheckBody> {
    None
}

fn idle_groups(config: &Config) -> Vec<CheckBody> {
    let empty = config.groups.iter().filter(|(_, names)| names.is_empty());
    empty
        .map(|(group, _)| {
            let hint = format!("memctl host group {group} HOST.. fills it");
            CheckBody::warning("config", format!("the group \"{group}\" has no host"), &hint)
        })
        .collect()
}
