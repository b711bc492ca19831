//! The command line as typed. The help text here is the manual.

use std::path::PathBuf;
use std::time::Duration;

use clap::{
    ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
};
use clap_complete::ArgValueCompleter;

use crate::commands;
use crate::completers;
use crate::exit::{Exit, HELP};
use crate::failure::Failure;
use crate::identity::IdentityFiles;
use crate::output::{ColorChoice, Format, Output};
use crate::quantity::{Units, parse_positive_duration, parse_whole};
use crate::session::ConfigNeed;

/// Asks, watches and steers agentd, the memory coordinator, on many hosts.
#[derive(Debug, Parser)]
#[command(name = "memctl", version, after_help = HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line as typed, and the words of the command: "policy get".
    pub(crate) fn typed() -> Result<(Self, String), clap::Error> {
        let mut matches = Self::command().try_get_matches()?;
        let command = words_of(&matches).join(" ");
        let cli = Self::from_arg_matches_mut(&mut matches);
        Ok((cli.map_err(|error| error.format(&mut Self::command()))?, command))
    }
}

fn words_of(matches: &ArgMatches) -> Vec<&str> {
    let own = matches.subcommand();
    own.map(|(name, inner)| [vec![name], words_of(inner)].concat()).unwrap_or_default()
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Host to ask: a configured name, a glob over names, @GROUP, or a URI
    /// (ssh://[user@]host[:port][/path], https://host[:port], unix:///path). A name that is not
    /// configured is taken for one that ssh knows, or that https reaches where there is a default
    /// identity. May be repeated; commas separate several.
    #[arg(short = 'H', long = "host", global = true, value_name = "NAME|URI")]
    #[arg(add = ArgValueCompleter::new(completers::hosts))]
    pub(crate) hosts: Vec<String>,
    /// Ask every configured host.
    #[arg(short = 'A', long, global = true, conflicts_with = "hosts")]
    pub(crate) all_hosts: bool,
    /// Configuration file.
    #[arg(long, global = true, env = "MEMCTL_CONFIG", hide_env = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Columns of the table, by their headings or by the names of the fields in -o json, or the ends of them:
    /// name,actual,target. "help" lists all that there are.
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    #[arg(add = ArgValueCompleter::new(completers::columns))]
    pub(crate) columns: Vec<String>,
    /// Order of what is listed, by a field as in --columns; -NAME puts the largest first.
    #[arg(long, global = true, value_name = "NAME", allow_hyphen_values = true)]
    #[arg(add = ArgValueCompleter::new(completers::sort_columns))]
    pub(crate) sort_by: Option<String>,
    /// Leave out the column heads.
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Units of memory.
    #[arg(long, global = true, value_name = "UNITS", default_value = "iec")]
    pub(crate) units: Units,
    /// Show times in UTC, not in the local time zone.
    #[arg(long, global = true)]
    pub(crate) utc: bool,
    /// Time for one host, connecting included; for watch, until the stream stands.
    #[arg(long, global = true, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = parse_positive_duration)]
    pub(crate) timeout: Duration,
    /// Time for the connection alone, where it is to be less.
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_positive_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Hosts asked at the same time.
    #[arg(long, global = true, value_name = "N", default_value = "16")]
    #[arg(value_parser = |text: &str| parse_whole(text, 1..=1024))]
    pub(crate) max_parallel: u16,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Only data and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell more.
    #[arg(short, long, global = true, conflicts_with = "quiet", action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Do not ask before changing several hosts.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Ask nobody anything: what would be asked is refused.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// What https:// shows an agent and expects of it; wins over the configuration.
#[derive(Args, Debug)]
pub(crate) struct IdentityArgs {
    /// Certificates of the CAs whose servers https:// trusts.
    #[arg(long = "ca", id = "identity_ca", global = true, value_name = "FILE")]
    #[arg(env = "MEMCTL_CA", hide_env = true)]
    ca: Option<PathBuf>,
    /// Certificate that https:// shows.
    #[arg(long = "cert", id = "identity_cert", global = true, value_name = "FILE")]
    #[arg(env = "MEMCTL_CERT", hide_env = true)]
    cert: Option<PathBuf>,
    /// Key of that certificate.
    #[arg(long = "key", id = "identity_key", global = true, value_name = "FILE")]
    #[arg(env = "MEMCTL_KEY", hide_env = true)]
    key: Option<PathBuf>,
    /// Name that the agent's certificate is to be for, where the address does not say it.
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
}

impl IdentityArgs {
    /// The files, by paths that hold from anywhere, and the name.
    pub(crate) fn named(&self) -> Result<(IdentityFiles, Option<String>), Failure> {
        let whole = |path: &Option<PathBuf>| {
            let path = path.as_deref().filter(|path| !path.as_os_str().is_empty());
            path.map(std::path::absolute).transpose().map_err(|error| {
                Failure::usage(format!("a path of the identity does not work: {error}"))
            })
        };
        let files = IdentityFiles {
            ca: whole(&self.ca)?,
            cert: whole(&self.cert)?,
            key: whole(&self.key)?,
        };
        Ok((files, self.server_name.clone()))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of hosts and their agents
    Status(commands::status::StatusArgs),
    /// Show the VMs of hosts with their memory
    Vms(commands::vms::VmsArgs),
    /// Follow the decisions: who gives memory to whom, how much, and why
    Watch(commands::watch::WatchArgs),
    /// Show all hosts and their VMs on one screen, as they change
    Top(commands::top::TopArgs),
    /// Tell why a VM got what it got
    Explain(commands::explain::ExplainArgs),
    /// Show or draw how VMs or hosts fared over time
    History(commands::history::HistoryArgs),
    /// Show and change the policy: what is wanted of memory
    Policy {
        /// What to do with it.
        #[command(subcommand)]
        command: commands::policy::PolicyCommand,
    },
    /// Let a second policy decide along without acting, and see what it would do differently
    Shadow {
        /// What to do with it.
        #[command(subcommand)]
        command: commands::shadow::ShadowCommand,
    },
    /// Show or set the mode: active, observe or paused
    Mode(commands::mode::ModeArgs),
    /// Leave a VM alone: it keeps what it has
    Pin(commands::pin::PinArgs),
    /// Let a VM that was pinned take part again
    Unpin(commands::pin::UnpinArgs),
    /// Free memory for a VM that is about to start or arrive, and wait until it is there
    Reserve(commands::reserve::ReserveArgs),
    /// Show what is reserved
    Reservations(commands::reserve::ReservationsArgs),
    /// End a reservation
    Release(commands::reserve::ReleaseArgs),
    /// Wait until hosts are as they are to be
    Wait(commands::wait::WaitArgs),
    /// Show and change the configured hosts
    Host {
        /// What to do with them.
        #[command(subcommand)]
        command: commands::host::HostCommand,
    },
    /// Show who asked for which change, who was denied, and what came of it
    Audit(commands::audit::AuditArgs),
    /// Show who you are to the agents, and what you may do
    Whoami(commands::whoami::WhoAmIArgs),
    /// Make and keep the certificates of agents and of those who use memctl
    Ca(commands::ca::CaArgs),
    /// Look for what is wrong between you and the hosts, and say what mends it
    Doctor(commands::doctor::DoctorArgs),
    /// Show and check memctl's own configuration
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: commands::config::ConfigCommand,
    },
    /// Print the JSON Schema of what -o json, jsonl and yaml print
    Schema(commands::schema::SchemaArgs),
    /// Show the versions of memctl and of the agents
    Version(commands::version::VersionArgs),
    /// Print a completion script for a shell
    Completion(commands::completion::CompletionArgs),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual(commands::manual::ManualArgs),
}

impl Command {
    /// What it needs of the configuration.
    pub(crate) fn config_need(&self) -> ConfigNeed {
        use commands::host::HostCommand::{Add, List};
        if matches!(self, Self::Host { command: Add(_) | List } | Self::Ca(_)) {
            return ConfigNeed::MayLack;
        }
        let looks_into_it = matches!(
            self,
            Self::Config { .. } | Self::Doctor(_) | Self::Completion(_) | Self::Schema(_)
        );
        if looks_into_it { ConfigNeed::MayBeWrong } else { ConfigNeed::Whole }
    }
}

/// Tells what clap found: help and version to stdout, an error in the format asked for.
pub(crate) fn refused(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let broken = error.print().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
        return if broken { Exit::BrokenPipe } else { Exit::Done };
    }
    match format_as_typed() {
        Some(format) if matches!(format, Format::Json | Format::Jsonl | Format::Yaml) => {
            let text = error.render().to_string();
            let message = text.lines().next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            let failure = Failure::usage(message).hint("memctl --help tells what can be said");
            let output = Output::plain(format);
            let broken = output.refuse(&failure).is_err();
            if broken { Exit::BrokenPipe } else { Exit::Usage }
        }
        _ => {
            // Without a stderr there is nobody to tell.
            let _ = error.print();
            Exit::Usage
        }
    }
}

/// The format that the command line asks for, found without understanding the rest of it.
fn format_as_typed() -> Option<Format> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut typed = None;
    for (at, word) in words.iter().enumerate() {
        let value = match word.as_str() {
            "-o" | "--output" => words.get(at + 1).map(String::as_str),
            _ => word
                .strip_prefix("--output=")
                .or_else(|| word.strip_prefix("-o").map(|v| v.trim_start_matches('='))),
        };
        typed = value.map(str::to_owned).or(typed);
    }
    let name = typed.or_else(|| std::env::var("MEMCTL_OUTPUT").ok())?;
    <Format as clap::ValueEnum>::from_str(&name, false).ok()
}
