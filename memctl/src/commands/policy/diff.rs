//! `memctl policy diff`: what a change would change, or what was changed from the defaults. Ends
//! with 1 if anything, as diff does.

use std::path::PathBuf;

use agentd_proto::v1;
use clap::Args;

use super::apply::{read, whole};
use super::{assignments, between, get, tell_changes, update};
use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::quantity::Units;
use crate::render::policy::{ChangeBody, PolicyBody};
use crate::session::Session;

/// Options of `memctl policy diff`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("against").required(true).multiple(false))]
pub(crate) struct DiffArgs {
    /// Values to compare with, as in `policy set`.
    #[arg(value_name = "KEY=VALUE", group = "against")]
    assignments: Vec<String>,
    /// Compare with this file, as `policy apply` takes it; - for standard input.
    #[arg(short, long, value_name = "FILE", group = "against")]
    file: Option<PathBuf>,
    /// Compare with the built-in defaults.
    #[arg(long, group = "against")]
    defaults: bool,
}

/// Compares the policy of every host.
pub(crate) async fn run(args: &DiffArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let bounds = session.bounds();
    let answers = if args.defaults {
        let units = session.global.units;
        ask_all(&hosts, bounds, move |c| from_defaults(c, units)).await
    } else {
        let (policy, update_mask) = match &args.file {
            Some(file) => whole(read(file)?),
            None => assignments(&args.assignments)?,
        };
        let request = v1::UpdatePolicyRequest {
            policy: Some(policy),
            update_mask: Some(update_mask),
            validate_only: true,
            ..Default::default()
        };
        ask_all(&hosts, bounds, move |c| update(c, request.clone())).await
    };
    let mut items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&mut items)?;
    tell_changes(&items, session)?;
    let exit = exit_of(&items);
    let differs = items.iter().filter_map(|i| i.body.as_ref()).any(|b| !b.changes.is_empty());
    Ok(if differs && exit == Exit::Done { Exit::No } else { exit })
}

async fn from_defaults(connection: Connection, units: Units) -> Result<ChangeBody, Failure> {
    let PolicyBody { current, defaults, .. } = get::ask(connection).await?;
    let changes = between(&defaults, &current.policy, units);
    Ok(ChangeBody {
        applied: false,
        revision: current.revision,
        etag: current.etag,
        revert_time: current.revert_time,
        changes,
        warnings: Vec::new(),
        standing_warnings: Vec::new(),
    })
}
