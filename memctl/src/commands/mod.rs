//! The commands, one file each: what to ask the hosts, and what to make of the answers.

pub(crate) mod status;

use std::io;

use crate::args::Command;
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

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
