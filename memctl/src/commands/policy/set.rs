//! `memctl policy set KEY=VALUE..`: checks the change on every host first, then makes it on one
//! after another. Stops at the first that fails, and says what is done and what is not.

use std::time::Duration;

use agentd_proto::v1;
use clap::Args;

use super::{assignments, tell_changes, update};
use crate::commands::{Ended, consent, exit_of};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_all, ask_one};
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::render::Show;
use crate::render::policy::ChangeBody;
use crate::session::Session;

/// Options of `memctl policy set`.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// New values: host-reserve=1GiB, algorithm=working-set, working-set.lead=5s,
    /// vm.NAME.max=2GiB, vm.NAME.weight=200, vm.NAME.pinned=true, pool-limit=unset, vm.NAME=unset
    /// (no exception for this VM). `memctl policy explain` tells what each key does.
    #[arg(value_name = "KEY=VALUE", required = true)]
    assignments: Vec<String>,
    /// Check everything, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Go back after this time unless the change is confirmed with `memctl policy confirm`.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    revert_after: Option<Duration>,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Only if this is the etag of the policy in force. One host only.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

/// Changes the policy of every host.
pub(crate) async fn run(args: &SetArgs, session: &mut Session) -> Ended {
    let request = request(args)?;
    let hosts = session.hosts()?;
    if args.if_match.is_some() && hosts.len() > 1 {
        let what = format!("--if-match with {} hosts: each has its own etag", hosts.len());
        return Err(Failure::usage(what).hint("change one host at a time").into());
    }
    let trial = v1::UpdatePolicyRequest { validate_only: true, ..request.clone() };
    let answers = ask_all(&hosts, session.bounds(), move |c| update(c, trial.clone())).await;
    let mut items = Item::of_answers(answers, |body| vec![body]);
    let refused = items.iter().any(|item| !item.ok);
    if refused && !args.dry_run {
        let exit = Exit::of_hosts(0, items.iter().filter_map(|i| i.error.as_ref()));
        withhold(&mut items, "not changed: another host refused or did not answer");
        session.output.show(&items)?;
        return Ok(exit);
    }
    if !args.dry_run {
        let changes = <ChangeBody as Show>::text(&items, &session.output.view);
        consent::ask(&changes, hosts.len(), session)?;
        items = apply(&hosts, &request, session).await;
    }
    session.output.show(&items)?;
    tell_changes(&items, session)?;
    let tried = items.iter().filter_map(|i| i.error.as_ref()).filter(|e| e.reason != NOT_TRIED);
    let done = items.iter().filter(|i| i.ok).count();
    Ok(if args.dry_run { exit_of(&items) } else { Exit::of_hosts(done, tried) })
}

fn request(args: &SetArgs) -> Result<v1::UpdatePolicyRequest, Failure> {
    let (policy, update_mask) = assignments(&args.assignments)?;
    let revert_after = args.revert_after.map(prost_types::Duration::try_from).transpose();
    Ok(v1::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(update_mask),
        etag: args.if_match.clone().unwrap_or_default(),
        validate_only: false,
        revert_after: revert_after
            .map_err(|error| Failure::usage(format!("--revert-after: {error}")))?,
        reason: args.reason.clone(),
    })
}

/// One host after another, until one fails.
async fn apply(
    hosts: &[Host],
    request: &v1::UpdatePolicyRequest,
    session: &Session,
) -> Vec<Item<ChangeBody>> {
    let mut items: Vec<Item<ChangeBody>> = Vec::with_capacity(hosts.len());
    for host in hosts {
        if items.iter().any(|item| !item.ok) {
            items.push(Item::failed(&host.name, not_tried("not tried: an earlier host failed")));
            continue;
        }
        let request = request.clone();
        let done = ask_one(host, session.global.timeout, move |c| update(c, request)).await;
        items.push(match done {
            Ok(body) => Item::answered(&host.name, body),
            Err(failure) => Item::failed(&host.name, in_doubt(failure)),
        });
    }
    items
}

/// After a timeout nobody knows: the agent may still have made the change.
fn in_doubt(failure: Failure) -> Failure {
    if failure.code != Code::DeadlineExceeded {
        return failure;
    }
    failure.hint("the change may have been made all the same: memctl policy get shows it")
}

/// Marks hosts that agreed as not changed.
fn withhold(items: &mut [Item<ChangeBody>], why: &str) {
    for item in items.iter_mut().filter(|item| item.ok) {
        *item = Item::failed(&item.host, not_tried(why));
    }
}

fn not_tried(why: &str) -> Failure {
    Failure::new(Code::Cancelled, NOT_TRIED, why)
}

const NOT_TRIED: &str = "NOT_TRIED";
