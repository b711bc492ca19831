//! `memctl policy explain`: what a key of the policy does. Asks no agent.

use clap::Args;
use clap_complete::ArgValueCompleter;

use crate::commands::Ended;
use crate::completers;
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::policy_book::{BOOK, entries};
use crate::render::policy_key::KeyBody;
use crate::session::Session;

/// Options of `memctl policy explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Keys as in `policy set`: working-set.lead, vm.NAME.weight, or working-set for all of its own; all of
    /// them if none is given.
    #[arg(value_name = "KEY", add = ArgValueCompleter::new(completers::policy_keys))]
    keys: Vec<String>,
}

/// Tells what the book says.
pub(crate) fn run(args: &ExplainArgs, session: &Session) -> Ended {
    let found: Result<Vec<_>, String> = args.keys.iter().map(|key| entries(key)).collect();
    let found = found.map_err(|what| {
        Failure::usage(what).hint("memctl policy explain without a KEY tells of all")
    })?;
    let mut entries = found.concat();
    if args.keys.is_empty() {
        entries.extend(BOOK);
    }
    let mut items: Vec<_> =
        entries.into_iter().map(|entry| Item::answered("-", KeyBody { entry })).collect();
    session.output.show(&mut items)?;
    Ok(Exit::Done)
}
