//! `memctl policy confirm`, `revert` and `history`: the revisions of the policy.

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::change::one_etag;
use super::{between, get, tell_changes};
use crate::client::Connection;
use crate::commands::rollout::{Intent, roll_out};
use crate::commands::{Ended, exit_of};
use crate::completers;
use crate::dto::{Item, Revision, time};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::quantity::{Units, parse_whole};
use crate::render::policy::{ChangeBody, RevisionBody};
use crate::session::Session;

/// Options of `memctl policy confirm`.
#[derive(Args, Debug)]
pub(crate) struct ConfirmArgs {
    /// Etag that `policy set` returned; the one in force if not given.
    etag: Option<String>,
}

/// Options of `memctl policy revert`.
#[derive(Args, Debug)]
pub(crate) struct RevertArgs {
    /// Revision to go back to; if not given, the newest one before the policy in force that was no trial and says
    /// something else: what a trial goes back to.
    #[arg(value_parser = parse_revision, add = ArgValueCompleter::new(completers::revisions))]
    revision: Option<u64>,
    /// Show what would change, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Only if this is the etag of the policy in force.
    #[arg(long, value_name = "ETAG", default_value = "")]
    if_match: String,
}

/// Options of `memctl policy history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// At most this many revisions of each host, newest first.
    #[arg(long, value_name = "N", default_value = "20")]
    #[arg(value_parser = |text: &str| parse_whole(text, 1..=u16::MAX))]
    limit: u16,
}

/// Reads the number of a revision.
fn parse_revision(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!("\"{text}\" is no number of a revision, as 7 is: memctl policy history lists them")
    })
}

/// Confirms the change of every host.
pub(crate) async fn confirm(args: &ConfirmArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let (expected, etag) = (args.etag.clone(), args.etag.clone());
    let attempt = move |connection| would_confirm(connection, expected.clone());
    let confirm = |connection| confirm_one(connection, etag.clone());
    let mut done = roll_out(&hosts, session, Intent::Change, attempt, confirm).await?;
    session.output.show(&mut done.items)?;
    Ok(done.exit)
}

/// Takes back the change of every host.
pub(crate) async fn revert(args: &RevertArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    one_etag(&args.if_match, &hosts, "revert")?;
    let request = v1::RevertPolicyRequest {
        revision: args.revision.unwrap_or_default(),
        etag: args.if_match.clone(),
        reason: args.reason.clone(),
    };
    let (wanted, units) = (request.clone(), session.global.units);
    let attempt = move |connection| would_revert(connection, wanted.clone(), units);
    let revert = |connection| revert_one(connection, request.clone());
    let mut done = roll_out(&hosts, session, Intent::of(args.dry_run), attempt, revert).await?;
    session.output.show(&mut done.items)?;
    tell_changes(&done.items, session)?;
    Ok(done.exit)
}

/// Shows the revisions of every host.
pub(crate) async fn history(args: &HistoryArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let limit = usize::from(args.limit);
    let answers = ask_all(&hosts, session.bounds(), move |c| revisions(c, limit)).await;
    let mut items = Item::of_answers(answers, RevisionBody::of_history);
    session.output.show(&mut items)?;
    Ok(exit_of(&items))
}

/// What would be kept.
async fn would_confirm(
    connection: Connection,
    etag: Option<String>,
) -> Result<RevisionBody, Failure> {
    let revision = get::ask(connection).await?.current;
    match etag.filter(|etag| *etag != revision.etag) {
        Some(etag) => Err(mismatch(&revision.etag, &etag)),
        // What the agent would say, before any other host is changed.
        None if revision.revert_time.is_none() => {
            let what = "the policy in force is no trial: there is nothing to confirm";
            Err(Failure::new(Code::FailedPrecondition, "NOTHING_TO_CONFIRM", what))
        }
        None => Ok(RevisionBody::new(revision)),
    }
}

fn mismatch(in_force: &str, given: &str) -> Failure {
    let what = format!("the etag in force is {in_force}, not {given}");
    Failure::new(Code::Aborted, "ETAG_MISMATCH", what)
        .hint("memctl policy history shows who changed it")
}

async fn confirm_one(
    connection: Connection,
    etag: Option<String>,
) -> Result<RevisionBody, Failure> {
    let etag = match etag {
        Some(etag) => etag,
        None => get::ask(connection.clone()).await?.current.etag,
    };
    let answer = connection.policies().confirm_policy(v1::ConfirmPolicyRequest { etag }).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(RevisionBody::new(wire.current.unwrap_or_default().into()))
}

async fn revert_one(
    connection: Connection,
    request: v1::RevertPolicyRequest,
) -> Result<ChangeBody, Failure> {
    let answer = connection.policies().revert_policy(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    let current = wire.current.unwrap_or_default();
    Ok(ChangeBody {
        applied: !wire.changes.is_empty(),
        revision: current.revision,
        etag: current.etag,
        revert_time: time(current.revert_time),
        changes: wire.changes.into_iter().map(Into::into).collect(),
        warnings: Vec::new(),
        standing_warnings: Vec::new(),
    })
}

/// What a revert would change, found here: the agent has no dry run of it.
async fn would_revert(
    connection: Connection,
    request: v1::RevertPolicyRequest,
    units: Units,
) -> Result<ChangeBody, Failure> {
    let current = get::ask(connection.clone()).await?.current;
    if !request.etag.is_empty() && request.etag != current.etag {
        return Err(mismatch(&current.etag, &request.etag));
    }
    let kept = revisions(connection, MOST_REVISIONS).await?;
    let back_to = match request.revision {
        0 => {
            let differs = |r: &&Revision| !between(&current.policy, &r.policy, units).is_empty();
            let lasted = |r: &&Revision| r.revision < current.revision && r.revert_time.is_none();
            // Where none differs, the agent says that nothing changes.
            kept.iter().filter(lasted).find(differs).unwrap_or(&current)
        }
        number => kept.iter().find(|r| r.revision == number).ok_or_else(|| {
            let what = format!("revision {number} is not kept");
            Failure::new(Code::NotFound, "REVISION_NOT_KEPT", what)
                .hint("memctl policy history shows those that are")
        })?,
    };
    let changes = between(&current.policy, &back_to.policy, units);
    Ok(ChangeBody {
        applied: false,
        changes,
        revision: current.revision,
        etag: current.etag,
        revert_time: current.revert_time,
        warnings: Vec::new(),
        standing_warnings: Vec::new(),
    })
}

/// The newest revisions, at most so many.
pub(crate) async fn revisions(
    connection: Connection,
    limit: usize,
) -> Result<Vec<Revision>, Failure> {
    let mut revisions: Vec<Revision> = Vec::new();
    let mut page_token = String::new();
    // Each page brings at least one, so this many pages are enough.
    for _ in 0..limit {
        let wanted = i32::try_from(limit - revisions.len()).unwrap_or(i32::MAX);
        let request = v1::ListPolicyRevisionsRequest { page_size: wanted.min(100), page_token };
        let answer = connection.policies().list_policy_revisions(request).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        revisions.extend(page.revisions.into_iter().map(Revision::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || revisions.len() >= limit {
            break;
        }
    }
    revisions.truncate(limit);
    Ok(revisions)
}

/// As many as are looked through for the one to go back to.
const MOST_REVISIONS: usize = 10_000;
