//! `memctl host`: the configured hosts. Asks no agent but for `host test`.

mod edit;
mod test;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::Ended;
use crate::completers;
use crate::config::{Config, HostEntry};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::render::host::{HostBody, ShownHost};
use crate::session::Session;
use crate::suggest::did_you_mean;

/// What to do with the configured hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Add a host to the configuration
    Add(AddArgs),
    /// Show the configured hosts
    List,
    /// Show all that is configured of hosts
    Show(HostNames),
    /// Call a host by another name, also in its groups and among the current ones
    Rename {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(completers::host_names))]
        old: String,
        /// The name it is to have.
        new: String,
    },
    /// Remove a host from the configuration
    Remove {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(completers::host_names))]
        name: String,
    },
    /// Ask these hosts whenever none is named
    Use(UseArgs),
    /// Name several hosts at once: @GROUP stands for them
    Group {
        /// Name of the group.
        group: String,
        /// Its hosts, all of them; without any the group is removed. One of the system's file is shadowed,
        /// for you alone, and counts again once yours is removed.
        hosts: Vec<String>,
    },
    /// Ask hosts who they are, how long that takes, and who you are to them; all that are configured, where
    /// none is named, none is current and no agent is on this machine
    Test(HostNames),
}

/// Options of `memctl host add`.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Name to call it by.
    name: String,
    /// Where its agent listens: ssh://[user@]host[:port][/path], https://host[:port] or unix:///path.
    /// With --ca, --cert, --key and --server-name, https shows it these from now on.
    uri: String,
    /// Put it in this group; one of the system's file becomes your own, with its hosts. May be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Ask it whenever no host is named.
    #[arg(long)]
    current: bool,
}

/// Options of `memctl host use`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(false))]
pub(crate) struct UseArgs {
    /// Names of hosts, or groups as @GROUP.
    #[arg(value_name = "HOST", group = "which", add = ArgValueCompleter::new(completers::hosts))]
    names: Vec<String>,
    /// Ask the local agent, or what the system's configuration says.
    #[arg(long, group = "which")]
    none: bool,
}

/// Hosts by name; those that any command would ask if none is given.
#[derive(Args, Debug)]
pub(crate) struct HostNames {
    /// Hosts, as --host takes them.
    #[arg(value_name = "HOST", add = ArgValueCompleter::new(completers::hosts))]
    hosts: Vec<String>,
}

/// Shows, changes or tests the configured hosts.
pub(crate) async fn run(command: &HostCommand, session: &mut Session) -> Ended {
    match command {
        HostCommand::List => show(&session.config, session, |_| true),
        HostCommand::Show(names) => show_whole(names, session),
        HostCommand::Add(args) => edit::add(args, session),
        HostCommand::Rename { old, new } => edit::rename(old, new, session),
        HostCommand::Remove { name } => edit::remove(name, session),
        HostCommand::Use(args) => edit::use_hosts(args, session),
        HostCommand::Group { group, hosts } => edit::group(group, hosts, session),
        HostCommand::Test(names) => test::run(names, session).await,
    }
}

/// The entry of a host that is configured, or what to do where it is not.
fn entry<'a>(name: &str, config: &'a Config) -> Result<&'a HostEntry, Failure> {
    if let Some(entry) = config.host(name) {
        return Ok(entry);
    }
    let known: Vec<&str> = config.hosts.iter().map(|h| h.name.as_str()).collect();
    let what = format!("no host \"{name}\" is configured");
    let close = did_you_mean(name, &known).map(|k| format!("did you mean \"{k}\"?"));
    let failure = Failure::new(Code::NotFound, "UNKNOWN_HOST", what);
    Err(failure.hint(close.unwrap_or_else(|| LISTS.to_owned())))
}

fn show_whole(names: &HostNames, session: &Session) -> Ended {
    let mut entries = Vec::with_capacity(names.hosts.len());
    for name in &names.hosts {
        entries.push(entry(name, &session.config)?);
    }
    if names.hosts.is_empty() {
        entries.extend(&session.config.hosts);
    }
    let config = &session.config;
    let shown = entries
        .into_iter()
        .map(|own| Item::answered(&own.name, ShownHost { shown: body(own, config) }));
    let mut items: Vec<_> = shown.collect();
    session.output.show(&mut items)?;
    tell_none(items.is_empty(), session)
}

fn show(config: &Config, session: &Session, wanted: impl Fn(&str) -> bool) -> Ended {
    let mut items: Vec<Item<HostBody>> = config
        .hosts
        .iter()
        .filter(|host| wanted(&host.name))
        .map(|host| Item::answered(&host.name, body(host, config)))
        .collect();
    session.output.show(&mut items)?;
    tell_none(items.is_empty(), session)
}

fn tell_none(is_empty: bool, session: &Session) -> Ended {
    if is_empty {
        let missing = session.places.own.as_ref().filter(|path| !path.exists());
        let missing = missing.map(|path| format!(" ({} is not there)", path.display()));
        session.output.notice(&format!(
            "no host is configured{}; memctl host add NAME URI adds one",
            missing.unwrap_or_default()
        ))?;
    }
    Ok(Exit::Done)
}

fn body(host: &HostEntry, config: &Config) -> HostBody {
    let groups: Vec<String> = config
        .groups
        .iter()
        .filter(|(_, names)| names.contains(&host.name))
        .map(|(group, _)| group.clone())
        .collect();
    let is_current = |name: &String| {
        *name == host.name || name.strip_prefix('@').is_some_and(|g| groups.iter().any(|o| o == g))
    };
    let identity = host.identity.clone().or(&config.identity);
    let text = |path: Option<std::path::PathBuf>| path.map(|path| path.display().to_string());
    HostBody {
        uri: host.address.to_string(),
        identity: text(host.identity.cert.clone()),
        ca: text(identity.ca),
        cert: text(identity.cert),
        key: text(identity.key),
        server_name: host.server_name.clone(),
        current: config.current.iter().any(is_current),
        groups,
        file: host.file.display().to_string(),
    }
}

const LISTS: &str = "memctl host list shows those that there are";
