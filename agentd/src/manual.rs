//! The manual pages and the completions, made of the command line itself.

use std::{io, path::Path};

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::args::Cli;

/// Writes a page for `agentd` and one for each of its commands into a folder that is there.
///
/// # Errors
///
/// Fails where a file cannot be written.
pub fn write_pages(folder: &Path) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    write_page(&command, folder)
}

/// What completes command lines in this shell.
#[must_use]
pub fn completion(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentd", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn write_page(command: &clap::Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_page(below, folder)?;
    }
    // Daemons and what belongs to them are in section 8.
    Man::new(command.clone()).section("8").generate_to(folder).map(drop)
}
