//! `memctl completion SHELL`: a script for the shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Ended;
use crate::args::Cli;
use crate::exit::Exit;
use crate::session::Session;

/// Options of `memctl completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

/// Writes the script.
pub(crate) fn run(args: &CompletionArgs, session: &Session) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "memctl", &mut script);
    session.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
