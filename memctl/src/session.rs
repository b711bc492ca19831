//! One run of memctl: the command line joined with the configuration file. Commands ask it for the
//! hosts and the bounds; it does no I/O beyond reading the file.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::address::Address;
use crate::args::Global;
use crate::columns::Choice;
use crate::config::{Config, Places};
use crate::failure::{Code, Failure};
use crate::fleet::Bounds;
use crate::hosts::{Host, Selection, select};
use crate::identity::{Identity, IdentityFiles};
use crate::output::{Format, Output, wants_color};
use crate::render::View;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// The options as typed.
    pub(crate) global: Global,
    /// The configuration files as one. Empty where they cannot be read and the command bears it.
    pub(crate) config: Config,
    /// What is wrong with them. None but for commands that look into just that.
    pub(crate) config_failure: Option<Failure>,
    /// Where those files are, or would be.
    pub(crate) places: Places,
    /// Where to write.
    pub(crate) output: Output,
}

/// What a command needs of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigNeed {
    /// A file that was named is there, and all make sense.
    Whole,
    /// A file that was named need not be there.
    MayLack,
    /// They may be wrong: the command looks into just that.
    MayBeWrong,
}

impl Session {
    /// Reads the configuration files and settles how to write. A file that was named must be there,
    /// as far as the command says.
    pub(crate) fn open(global: Global, need: ConfigNeed) -> Result<Self, Box<(Output, Failure)>> {
        let places = Places::find(global.config.as_deref());
        let must_exist = global.config.is_some() && need != ConfigNeed::MayLack;
        let mut output = output_of(&global, Format::Table);
        let (config, config_failure) = match Config::load(&places, must_exist) {
            Ok(config) => (config, None),
            Err(failure) if need == ConfigNeed::MayBeWrong => (Config::default(), Some(failure)),
            Err(failure) => return Err(Box::new((output, failure))),
        };
        match usual_format(&config) {
            // What was typed wins over what is usual, and columns are of tables.
            _ if global.output.is_some() => {}
            Ok(_) if !global.columns.is_empty() => {}
            Ok(Some(format)) => output = output_of(&global, format),
            Ok(None) => {}
            Err(failure) => return Err(Box::new((output, failure))),
        }
        Ok(Self { global, config, config_failure, places, output })
    }

    /// Settles which columns of the tables of this command are wanted, and in which order.
    pub(crate) fn choose(&mut self, command: &str) -> Result<(), Failure> {
        let Global { columns, sort_by, .. } = &self.global;
        let is_table = matches!(self.output.format, Format::Table | Format::Wide);
        if !columns.is_empty() && !is_table {
            let name = format!("{:?}", self.output.format).to_lowercase();
            let what = format!("--columns is for tables, and the output is {}", name);
            let hint = "leave it out, as the other forms have every field, or say -o table";
            return Err(Failure::usage(what).hint(hint));
        }
        self.output.choice = Choice::of(command, columns, sort_by.as_deref())?;
        Ok(())
    }

    /// The hosts to ask. From here on, output names the host where there are several.
    pub(crate) fn hosts(&mut self) -> Result<Vec<Host>, Failure> {
        let sockets = local_sockets();
        if self.global.hosts.is_empty() && !self.global.all_hosts {
            self.global.hosts.extend(std::env::var("MEMCTL_HOST").ok().filter(|v| !v.is_empty()));
        }
        let (identity, server_name) = self.global.identity.named()?;
        let selection = Selection {
            typed: &self.global.hosts,
            all: self.global.all_hosts,
            identity: &identity,
            server_name: server_name.as_deref(),
            sockets: &sockets,
        };
        let mut hosts = select(&selection, &self.config)?;
        for host in &mut hosts {
            host.connect_timeout = self.global.connect_timeout;
        }
        let guesses = hosts.iter().filter_map(|host| host.guess.clone());
        for notice in guesses.chain(warnings(&hosts)) {
            // A notice that cannot be written is lost, as every notice.
            let _ = self.output.notice(&notice);
        }
        self.output.view.many_hosts = hosts.len() > 1;
        Ok(hosts)
    }

    /// How long and how many at once.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            timeout: self.global.timeout,
            max_parallel: usize::from(self.global.max_parallel),
            tells: !self.global.quiet && !self.output.is_for_programs(),
        }
    }
}

/// What is not wrong yet with the identities that are to be shown; each is said once.
fn warnings(hosts: &[Host]) -> Vec<String> {
    let mut looked_at: Vec<&IdentityFiles> = Vec::new();
    let mut warnings = Vec::new();
    for Host { address, identity, .. } in hosts {
        if !matches!(address, Address::Https { .. }) || looked_at.contains(&identity) {
            continue;
        }
        looked_at.push(identity);
        // What is wrong with it is said for each host that it keeps from being asked.
        let provider = rustls::crypto::ring::default_provider();
        if let Ok(identity) = Identity::load(identity, &provider, Timestamp::now()) {
            warnings.extend(identity.warnings);
        }
    }
    warnings
}

/// How to write as far as the command line says.
pub(crate) fn output_of(global: &Global, default: Format) -> Output {
    let format = global.output.unwrap_or(default);
    let zone = if global.utc { TimeZone::UTC } else { TimeZone::system() };
    let view = View {
        wide: format == Format::Wide,
        headers: !global.no_headers,
        color: wants_color(global.color),
        units: global.units,
        zone,
        many_hosts: false,
        width: terminal_width().filter(|_| format == Format::Table),
    };
    Output::new(format, view, global.quiet)
}

/// How wide the terminal is that stdout is.
fn terminal_width() -> Option<usize> {
    let size = terminal_size::terminal_size().filter(|_| std::io::stdout().is_terminal());
    size.map(|(width, _)| usize::from(width.0))
}

/// Where the local agent listens: as the system's service, or for a user.
fn local_sockets() -> Vec<PathBuf> {
    if let Some(socket) = std::env::var_os("MEMCTL_SOCKET") {
        return vec![PathBuf::from(socket)];
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|p| p.is_absolute());
    let user = user.map(|folder| folder.join("agentd/agentd.sock"));
    std::iter::once(PathBuf::from(DEFAULT_SOCKET)).chain(user).collect()
}

/// The format where none is typed: of the environment, or else of the configuration.
fn usual_format(config: &Config) -> Result<Option<Format>, Failure> {
    let read = |name: &str| <Format as clap::ValueEnum>::from_str(name, false);
    if let Some(name) = std::env::var("MEMCTL_OUTPUT").ok().filter(|name| !name.is_empty()) {
        let what = format!("MEMCTL_OUTPUT={name} in the environment is not a format");
        return read(&name).map(Some).map_err(|_| Failure::usage(what).hint(FORMATS));
    }
    let Some(name) = config.output.as_deref() else { return Ok(None) };
    read(name).map(Some).map_err(|_| {
        let what = format!("defaults.output = \"{name}\" in the configuration is not a format");
        Failure::new(Code::InvalidArgument, "CONFIG_INVALID", what).hint(FORMATS)
    })
}

const FORMATS: &str = "formats: table, wide, json, jsonl, yaml, name";
const DEFAULT_SOCKET: &str = "/run/agentd/agentd.sock";
