//! The command line, as typed. The help text is the manual.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{LogFormat, MetricsAt},
    control::Mode,
};

/// Shares a host's memory among its VMs: reads them through libvirt, decides who gives and who
/// gets, moves memory with the virtio balloon, and tells what it did and why over gRPC.
///
/// Exit codes: 0 done; 1 the config or scenario makes no sense, or something failed, or a replay
/// came to another decision, or an audit is not whole; 2 the command line makes no sense, or a replay
/// was not possible; 70 agentd found itself broken and stopped; 75 another agentd is at work.
#[derive(Debug, Parser)]
#[command(name = "agentd", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve this host until stopped. Stopping leaves every VM with the memory that it has.
    Run(RunArgs),
    /// Run the same ticks on a simulated host in virtual time and print one JSON line for each.
    Simulate(SimulateArgs),
    /// Decide every tick of a recording once more: by the policy that was recorded, which has to come to
    /// the same decisions, or by another one, to see what it would have done differently.
    Replay(ReplayArgs),
    /// Read the audit on this host: who asked for which change, from where, and what came of it. No agentd
    /// needs to run.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Join standard input and output with the local agent's socket, for memctl through ssh.
    Proxy(ProxyArgs),
    /// Have the agentd at work read its config again, as "systemctl reload agentd" does. Ends with 1, and the
    /// reason, where it makes no sense: all is then as before.
    Reload(ReloadArgs),
    /// Check a config file and say what is wrong with it.
    CheckConfig {
        /// The file; /etc/agentd/agentd.toml by default.
        file: Option<PathBuf>,
    },
    /// Print the config file with every key at its default.
    PrintDefaultConfig,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Manual {
        /// A folder that is there.
        folder: PathBuf,
    },
}

/// How to serve. Flags win over the config file.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Config file; /etc/agentd/agentd.toml by default, if there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Local libvirt to serve, as a URI such as qemu:///system.
    #[arg(long, value_name = "URI", conflicts_with = "hypervisor")]
    pub connect: Option<String>,
    /// Hypervisor to serve: sim:FILE for a simulated host, or a libvirt URI.
    #[arg(long, value_name = "sim:FILE|URI")]
    pub hypervisor: Option<String>,
    /// Mode until one is set by memctl, active by default; observe decides and orders nothing. After
    /// that it counts for this run, where it is more cautious than the one that was set.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<ModeArg>,
    /// Where clients reach agentd; may be given several times. TCP is served with mutual TLS alone, by the
    /// files that [tls] of the config file names.
    #[arg(long, value_name = "unix:///PATH|tcp://HOST:PORT")]
    pub listen: Vec<String>,
    /// Where Prometheus reads metrics, as plain HTTP; "off" for nowhere. By default 127.0.0.1:9433 where
    /// VMs of this host are served.
    #[arg(long, value_name = "IP:PORT|off")]
    pub metrics: Option<MetricsAt>,
    /// Where policy, mode and history are kept; by default /var/lib/agentd for root, else
    /// ~/.local/state/agentd.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Record every tick into this file, for "agentd replay". One that is there is kept as FILE.before.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Form of the log. By itself it goes to the journal with its fields where standard error is the
    /// journal, and is text for people elsewhere.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,
    /// Log more; twice for even more.
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Whose config to read again.
#[derive(Args, Debug, Default)]
pub struct ReloadArgs {
    /// The state directory of that agentd; by default as for "agentd run".
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// What to join with.
#[derive(Args, Debug, Default)]
pub struct ProxyArgs {
    /// The agent's socket; by default /run/agentd/agentd.sock, or else that of this user's agent.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// A mode.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeArg {
    /// Decide and carry out.
    Active,
    /// Decide and publish, carry out nothing.
    Observe,
    /// Decide nothing.
    Paused,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Active => Self::Active,
            ModeArg::Observe => Self::Observe,
            ModeArg::Paused => Self::Paused,
        }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormatArg {
    /// As it fits where it goes.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> Self {
        match format {
            LogFormatArg::Auto => Self::Auto,
            LogFormatArg::Text => Self::Text,
            LogFormatArg::Json => Self::Json,
        }
    }
}

/// What to simulate.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// The scenario; - for standard input. docs/SCENARIOS.md describes the format.
    pub scenario: PathBuf,
    /// Algorithm that decides; by default the scenario's, or two-pointer where that names none.
    #[arg(long, value_name = "ALGORITHM")]
    pub policy: Option<String>,
    /// How many ticks.
    #[arg(long, value_name = "N", default_value = "60", value_parser = at_least_one)]
    pub ticks: u64,
    /// Form of the output.
    #[arg(long, short, value_name = "FORMAT", default_value = "jsonl")]
    pub output: SimulateOutput,
    /// Record every tick into this file, for "agentd replay".
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or("must be a whole number, 1 or more")
}

/// What to replay.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The recording, as --record of run or simulate wrote it.
    pub recording: PathBuf,
    /// Algorithm in the place of the recorded one.
    #[arg(long, value_name = "ALGORITHM")]
    pub policy: Option<String>,
    /// File with a policy in the place of the recorded one: with a [policy] table, as in the config file, or
    /// as "memctl policy get --as-file" writes it. What it leaves out has its default.
    #[arg(long, value_name = "FILE")]
    pub policy_file: Option<PathBuf>,
    /// A key of [policy] that is to be otherwise, for example two_pointer.step=60MiB or
    /// vm.NAME.weight=200; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Form of the output.
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: ReplayOutput,
}

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that every line is there and as it was written. Where one is not, say which is the first, and
    /// end with exit code 1.
    Verify {
        /// A state directory, or files of an audit that were copied from one; the state directory of this
        /// host's agentd by default. With files only, nobody can tell whether their end is missing.
        #[arg(value_name = "DIR|FILE")]
        places: Vec<PathBuf>,
    },
    /// Print what it says.
    Show(AuditShowArgs),
}

/// What to print of the audit.
#[derive(Args, Debug)]
pub struct AuditShowArgs {
    /// A state directory, or files of an audit; the state directory of this host's agentd by default.
    #[arg(value_name = "DIR|FILE")]
    pub places: Vec<PathBuf>,
    /// Only what was written since then: how long ago, for example 2h, or a time, for example
    /// 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Form of the output.
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: AuditOutput,
}

/// Form of what `audit show` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditOutput {
    /// A row for every call.
    Table,
    /// The lines as they are in the files, a JSON object each.
    Jsonl,
}

/// Form of what `replay` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayOutput {
    /// A summary for people.
    Table,
    /// One JSON object a tick, and one for the summary.
    Jsonl,
}

/// Form of what `simulate` prints.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SimulateOutput {
    /// One JSON object a tick.
    Jsonl,
}
