//! `memctl audit`: who asked each host for which change, and what came of it.

use agentd_proto::v1;
use clap::Args;
use jiff::Timestamp;

use super::{Ended, exit_of};
use crate::client::Connection;
use crate::dto::{AuditEntry, Item};
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::moment::Moment;
use crate::quantity::parse_whole;
use crate::render::audit::AuditBody;
use crate::session::Session;
use crate::suggest::did_you_mean;

/// Options of `memctl audit`.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// At most this many entries of each host, newest first.
    #[arg(long, value_name = "N", default_value = "50")]
    #[arg(value_parser = |text: &str| parse_whole(text, 1..=u16::MAX))]
    limit: u16,
    /// Only what this caller asked for: "uid:0", or the name in a certificate.
    #[arg(long, value_name = "NAME", default_value = "")]
    identity: String,
    /// Only what was written from then on, by the host's clock: so long ago (10m), a time of day (14:05),
    /// or a date and time.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
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
    let (now, zone) = (Timestamp::now(), &session.output.view.zone);
    let since = args.since.as_ref().map(|since| since.at(now, zone)).transpose()?;
    let limit = usize::from(args.limit);
    let ask = move |connection| entries(connection, wanted.clone(), limit, since);
    let answers = ask_all(&hosts, session.bounds(), ask).await;
    let mut items = Item::of_answers(answers, |entries| {
        entries.into_iter().map(|entry| AuditBody { entry }).collect()
    });
    session.output.show(&mut items)?;
    if items.is_empty() && !session.output.is_for_programs() {
        session.output.notice(&format!("no such entry in the audit{}", unknown(&args.method)))?;
    }
    Ok(exit_of(&items))
}

/// What to say of a method that no agent of this version has in its audit.
fn unknown(method: &str) -> String {
    let short = method.rsplit('/').next().unwrap_or_default();
    let known = [&CHANGES[..], &BESIDE[..]].concat();
    if short.is_empty() || known.contains(&short) {
        return String::new();
    }
    let close = did_you_mean(short, &known).map(|close| format!("; did you mean {close}?"));
    let all = || format!("; what changes something is {}", known.join(", "));
    close.unwrap_or_else(all)
}

async fn entries(
    connection: Connection,
    mut wanted: v1::ListAuditRequest,
    limit: usize,
    since: Option<Timestamp>,
) -> Result<Vec<AuditEntry>, Failure> {
    let mut entries = Vec::new();
    // A page may bring none, for it looks through only so much; a whole audit has fewer pages.
    for _ in 0..MOST_PAGES {
        let missing = limit.saturating_sub(entries.len());
        wanted.page_size = i32::try_from(missing.min(PAGE)).unwrap_or(i32::MAX);
        let answer = connection.audits().list_audit(wanted.clone()).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        let page_entries = page.entries.into_iter().map(AuditEntry::from);
        // A line without a time is one that makes no sense: it is told wherever it stands.
        let is_older =
            |entry: &AuditEntry| entry.time.zip(since).is_some_and(|(time, since)| time.0 < since);
        let (older, newer): (Vec<_>, Vec<_>) = page_entries.partition(is_older);
        // One older line alone says nothing of those before it: a clock may have been set.
        let is_over = newer.is_empty() && !older.is_empty();
        entries.extend(newer);
        wanted.page_token = page.next_page_token;
        if wanted.page_token.is_empty() || entries.len() >= limit || is_over {
            break;
        }
    }
    entries.truncate(limit);
    Ok(entries)
}

/// Entries that are asked for at once.
const PAGE: usize = 500;
const MOST_PAGES: usize = 10_000;
/// The methods that change something.
const CHANGES: [&str; 8] = [
    "SetMode",
    "UpdatePolicy",
    "ConfirmPolicy",
    "RevertPolicy",
    "CreateReservation",
    "DeleteReservation",
    "SetShadow",
    "ClearShadow",
];
/// What is in an audit and is no call.
const BESIDE: [&str; 2] = ["reload", "connect"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_is_named_is_one() {
        for method in CHANGES {
            let name = method.as_bytes();
            let mut all = agentd_proto::DESCRIPTORS.windows(name.len());
            assert!(all.any(|window| window == name), "{method}");
        }
        assert_eq!(unknown("agentd.v1.HostService/SetMode"), "");
        assert_eq!(unknown("SetMod"), "; did you mean SetMode?");
        assert_eq!(unknown("reload"), "");
        assert!(unknown("Frobnicate").starts_with("; what changes something is SetMode,"));
    }
}
