//! The commands, one file each: what to ask the hosts, and what to make of the answers.

pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod columns;
pub(crate) mod completion;
pub(crate) mod config;
mod consent;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod history;
mod hold;
pub(crate) mod host;
pub(crate) mod manual;
pub(crate) mod mode;
pub(crate) mod pin;
pub(crate) mod policy;
mod repeat;
pub(crate) mod reserve;
mod rollout;
mod saved;
pub(crate) mod schema;
pub(crate) mod shadow;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod version;
pub(crate) mod vms;
pub(crate) mod wait;
pub(crate) mod watch;
mod watcher;
pub(crate) mod whoami;

use std::io;

use agentd_proto::v1;

use crate::args::Command;
use crate::dto::{Condition, Item};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::text::date_time;
use crate::session::Session;
use crate::versions::Skew;
use crate::wire_words::in_words;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed as a whole.
    Failed(Failure),
    /// Its output could not be written.
    Output(io::Error),
}

/// How a command ends.
pub(crate) type Ended = Result<Exit, Stop>;

/// Runs the command.
pub(crate) async fn run(command: Command, session: &mut Session) -> Ended {
    match command {
        Command::Status(args) => status::run(&args, session).await,
        Command::Vms(args) => vms::run(&args, session).await,
        Command::Watch(args) => watch::run(&args, session).await,
        Command::Top(args) => top::run(&args, session).await,
        Command::Explain(args) => explain::run(&args, session).await,
        Command::History(args) => history::run(&args, session).await,
        Command::Policy { command } => policy::run(&command, session).await,
        Command::Shadow { command } => shadow::run(&command, session).await,
        Command::Mode(args) => mode::run(&args, session).await,
        Command::Pin(args) => pin::pin(&args, session).await,
        Command::Unpin(args) => pin::unpin(&args, session).await,
        Command::Reserve(args) => reserve::run(&args, session).await,
        Command::Reservations(args) => reserve::list(&args, session).await,
        Command::Release(args) => reserve::release(&args, session).await,
        Command::Audit(args) => audit::run(&args, session).await,
        Command::Wait(args) => wait::run(&args, session).await,
        Command::Host { command } => host::run(&command, session).await,
        Command::Whoami(args) => whoami::run(&args, session).await,
        Command::Ca(args) => ca::run(&args, session),
        Command::Doctor(args) => doctor::run(&args, session).await,
        Command::Config { command } => config::run(&command, session),
        Command::Schema(args) => schema::run(&args, session),
        Command::Version(args) => version::run(&args, session).await,
        Command::Completion(args) => completion::run(&args, session),
        Command::Manual(args) => manual::run(&args),
    }
}

/// Reads EPOCH:SEQ.
pub(crate) fn parse_position(text: &str) -> Result<v1::Position, String> {
    let refused =
        || format!("\"{text}\" is not a position: write EPOCH:SEQ, as `-o name` prints it");
    let (epoch, seq) = text.split_once(':').ok_or_else(refused)?;
    if epoch.is_empty() || !epoch.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(refused());
    }
    let seq = seq.parse().map_err(|_| refused())?;
    Ok(v1::Position { epoch: epoch.to_ascii_lowercase(), seq })
}

/// Tells a person what is wrong on a host, beside the data that has no room for it.
pub(crate) fn tell_conditions(
    host: &str,
    conditions: &[Condition],
    session: &Session,
) -> io::Result<()> {
    if session.output.is_for_programs() {
        return Ok(());
    }
    for Condition { reason, message, since } in conditions {
        let since = since.map(|since| date_time(since.0, &session.output.view.zone));
        let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
        session.output.notice(&format!("{host}: {reason}{since}: {}", in_words(message)))?;
    }
    Ok(())
}

/// Tells a person where the agent of a host does not know the same wire as we do.
pub(crate) fn tell_skew(host: &str, version: &str, session: &Session) -> io::Result<()> {
    let told = Skew::of(version).meaning(version);
    match told.filter(|_| !session.output.is_for_programs()) {
        Some(told) => session.output.notice(&format!("{host}: {told}")),
        None => Ok(()),
    }
}

/// The exit code that follows from how the hosts answered.
pub(crate) fn exit_of<T>(items: &[Item<T>]) -> Exit {
    let done = items.iter().filter(|i| i.ok).count();
    Exit::of_hosts(done, items.iter().filter_map(|i| i.error.as_ref()))
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
