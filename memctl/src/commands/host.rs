//! `memctl host`: the configured hosts. Asks no agent.

use clap::{Args, Subcommand};

use super::Ended;
use crate::address::Address;
use crate::config::{Config, HostEntry, check_name};
use crate::config_edit::{self, NewHost, change};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
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
    /// Where its agent listens: ssh://[user@]host[:port][/path], https://host[:port] or unix:///path.
    /// With --ca, --cert, --key and --server-name, https shows it these from now on.
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
    let (identity, server_name) = session.global.identity.named()?;
    let entry = HostEntry { name: args.name.clone(), address, identity, server_name };
    let new = NewHost { entry: &entry, groups: &args.groups, current: args.current };
    let config = change(session.config_path.as_deref(), |text| config_edit::added(text, &new))?;
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
    change(session.config_path.as_deref(), |text| config_edit::removed(text, name))?;
    show(&session.config, session, |known| known == name)?;
    session.output.notice(&format!("removed {name}"))?;
    Ok(Exit::Done)
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
        identity: host.identity.cert.as_ref().map(|path| path.display().to_string()),
        server_name: host.server_name.clone(),
        current: config.current.contains(&host.name),
        groups: groups.map(|(group, _)| group.clone()).collect(),
    }
}

const LISTS: &str = "memctl host list shows those that there are";
