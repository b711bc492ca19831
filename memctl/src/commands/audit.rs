//! `memctl audit`: who asked each host for which change, and what came of it.

use agentd_proto::v1;
use clap::Args;

use super::{Ended, exit_of};
use crate::client::Connection;
use crate::dto::{AuditEntry, Item};
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::render::audit::AuditBody;
use crate::session::Session;

/// Options of `memctl audit`.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// At most this many entries of each host, newest first.
    #[arg(long, value_name = "N", default_value = "50")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Only what this caller asked for: "uid:0", or the name in a certificate.
    #[arg(long, value_name = "NAME", default_value = "")]
    identity: String,
    /// Only calls of this method, for example SetMode.
    #[arg(long, value_name = "METHOD", default_value = "")]
    method: String,
    /// Only what ended so: OK, or a reason such as ETAG_MISMATCH.
    #[arg(long, value_name = "OUTCOME", default_value = "")]
    outcome: String,
    /// Only calls that were denied for who made them.
    #[arg(long, conflicts_with = "outcome")]
    denied: bool,
}

/// Asks every host.
pub(crate) async fn run(args: &AuditArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let decision = match args.denied {
        true => v1::AuditDecision::Denied,
        false => v1::AuditDecision::Unspecified,
    };
    let wanted = v1::ListAuditRequest {
        page_size: 0,
        page_token: String::new(),
        identity: args.identity.clone(),
        method: args.method.clone(),
        outcome: args.outcome.clone(),
        decision: decision.into(),
    };
    let limit = usize::from(args.limit);
    let answers =
        ask_all(&hosts, session.bounds(), move |c| entries(c, wanted.clone(), limit)).await;
    let items = Item::of_answers(answers, |entries| {
        entries.into_iter().map(|entry| AuditBody { entry }).collect()
    });
    session.output.show(&items)?;
    if items.is_empty() && !session.output.is_for_programs() {
        session.output.notice("no such entry in the audit")?;
    }
    Ok(exit_of(&items))
}

async fn entries(
    connection: Connection,
    mut wanted: v1::ListAuditRequest,
    limit: usize,
) -> Result<Vec<AuditEntry>, Failure> {
    let mut entries = Vec::new();
    // A page may bring none, for it looks through only so much; a whole audit has fewer pages.
    for _ in 0..MOST_PAGES {
        let missing = limit.saturating_sub(entries.len());
        wanted.page_size = i32::try_from(missing.min(PAGE)).unwrap_or(i32::MAX);
        let answer = connection.audits().list_audit(wanted.clone()).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        entries.extend(page.entries.into_iter().map(AuditEntry::from));
        wanted.page_token = page.next_page_token;
        if wanted.page_token.is_empty() || entries.len() >= limit {
            break;
        }
    }
    entries.truncate(limit);
    Ok(entries)
}

/// Entries that are asked for at once.
const PAGE: usize = 500;
const MOST_PAGES: usize = 10_000;
