//! `memctl manual FOLDER`: the manual pages, made of the command line itself, for whoever makes packages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::Ended;
use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::{Code, Failure};

/// Options of `memctl manual`.
#[derive(Args, Debug)]
pub(crate) struct ManualArgs {
    /// A folder that is there.
    folder: PathBuf,
}

/// Writes a page for `memctl` and one for each of its commands.
pub(crate) fn run(args: &ManualArgs) -> Ended {
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|error| {
        let what = format!("cannot write into {}: {error}", args.folder.display());
        Failure::new(Code::Unknown, "MANUAL_NOT_WRITTEN", what)
    })?;
    Ok(Exit::Done)
}
