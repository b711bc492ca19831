//! `memctl host`: the configured hosts. Asks no agent.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Ended;
use crate::address::Address;
use crate::config::{Config, HostEntry, check_name};
use crate::config_edit::{self, NewHost};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::hosts::{Host, exposed};
use crate::render::host::HostBody;
use crate::session::Session;
use crate::suggest::did_you_mean;

/// What to do with the configured hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Add a host to the configuration
    Add(AddArgs),
    /// Show the configured hosts
    List,
    /// Remove a host from the configuration
    Remove {
        /// Its name.
        name: String,
    },
}

/// Options of `memctl host add`.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Name to call it by.
    name: String,
    /// Where its agent listens: unix:///path or tcp://host:port. With --insecure, TCP to another
    /// machine is accepted for this host from now on.
    uri: String,
    /// Put it in this group. May be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Ask it whenever no host is named.
    #[arg(long)]
    current: bool,
}

/// Shows or changes the configured hosts.
pub(crate) fn run(command: &HostCommand, session: &Session) -> Ended {
    match command {
        HostCommand::List => show(&session.config, session, |_| true),
        HostCommand::Add(args) => add(args, session),
        HostCommand::Remove { name } => remove(name, session),
    }
}

fn add(args: &AddArgs, session: &Session) -> Ended {
    for name in std::iter::once(&args.name).chain(&args.groups) {
        check_name(name).map_err(Failure::usage)?;
    }
    if session.config.host(&args.name).is_some() {
        let what = format!("there is a host \"{}\" already", args.name);
        let hint = format!("memctl host remove {} first, or take another name", args.name);
        return Err(Failure::new(Code::AlreadyExists, "HOST_EXISTS", what).hint(hint).into());
    }
    let address = Address::parse(&args.uri)?;
    let entry = HostEntry { name: args.name.clone(), address, insecure: session.global.insecure };
    if entry.address.is_exposed() && !entry.insecure {
        let HostEntry { name, address, insecure } = entry;
        return Err(exposed(&Host { name, address, insecure }).into());
    }
    let new = NewHost { entry: &entry, groups: &args.groups, current: args.current };
    let config = change(session, |text| config_edit::added(text, &new))?;
    show(&config, session, |name| name == args.name)
}

fn remove(name: &str, session: &Session) -> Ended {
    if session.config.host(name).is_none() {
        let known: Vec<&str> = session.config.hosts.iter().map(|h| h.name.as_str()).collect();
        let what = format!("no host \"{name}\" is configured");
        let failure = Failure::new(Code::NotFound, "UNKNOWN_HOST", what);
        let close = did_you_mean(name, &known).map(|k| format!("did you mean \"{k}\"?"));
        return Err(failure.hint(close.unwrap_or_else(|| LISTS.to_owned())).into());
    }
    change(session, |text| config_edit::removed(text, name))?;
    show(&session.config, session, |known| known == name)?;
    session.output.notice(&format!("removed {name}"))?;
    Ok(Exit::Done)
}

/// Rewrites the file, and returns what it says then.
fn change(
    session: &Session,
    edit: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<Config, Failure> {
    let path: &PathBuf = session.config_path.as_ref().ok_or_else(|| {
        Failure::new(Code::NotFound, "NO_HOME", "there is no home to keep a configuration in")
            .hint("give --config FILE, or set HOME")
    })?;
    let old = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read the configuration {}: {error}", path.display());
            return Err(Failure::new(Code::InvalidArgument, "CONFIG_UNREADABLE", what));
        }
    };
    let new = edit(&old)?;
    config_edit::replace(path, &new)?;
    Config::parse(&new, &path.display().to_string())
}

fn show(config: &Config, session: &Session, wanted: impl Fn(&str) -> bool) -> Ended {
    let items: Vec<Item<HostBody>> = config
        .hosts
        .iter()
        .filter(|host| wanted(&host.name))
        .map(|host| Item::answered(&host.name, body(host, config)))
        .collect();
    session.output.show(&items)?;
    if items.is_empty() {
        let missing = session.config_path.as_ref().filter(|path| !path.exists());
        let missing = missing.map(|path| format!(" ({} is not there)", path.display()));
        session.output.notice(&format!(
            "no host is configured{}; memctl host add NAME URI adds one",
            missing.unwrap_or_default()
        ))?;
    }
    Ok(Exit::Done)
}

fn body(host: &HostEntry, config: &Config) -> HostBody {
    let groups = config.groups.iter().filter(|(_, names)| names.contains(&host.name));
    HostBody {
        uri: host.address.to_string(),
        insecure: host.insecure,
        current: config.current.contains(&host.name),
        groups: groups.map(|(group, _)| group.clone()).collect(),
    }
}

const LISTS: &str = "memctl host list shows those that there are";
