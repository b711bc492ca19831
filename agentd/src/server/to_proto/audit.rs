//! Entries of the audit on the wire.

use agentd_proto::v1 as wire;

use super::{changes, duration, timestamp};
use crate::audit::{Decision, Entry, Kind, Page};

pub(in crate::server) fn page(page: Page) -> wire::ListAuditResponse {
    wire::ListAuditResponse {
        entries: page.entries.into_iter().map(entry).collect(),
        next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
    }
}

fn entry(entry: Entry) -> wire::AuditEntry {
    let (changed, more) = entry.changes;
    wire::AuditEntry {
        seq: entry.seq,
        time: entry.time.map(timestamp),
        kind: kind(entry.kind).into(),
        identity: entry.call.caller.who,
        serial: entry.call.caller.serial,
        peer: entry.call.caller.from,
        method: entry.call.method,
        request_id: entry.call.request_id,
        target: entry.call.target,
        reason: entry.call.reason,
        decision: entry.decision.map_or(wire::AuditDecision::Unspecified, decision).into(),
        outcome: entry.outcome,
        detail: entry.detail,
        before: entry.before.into_iter().collect(),
        after: entry.after.into_iter().collect(),
        changes: changes(&changed),
        more_changes: u64::try_from(more).unwrap_or(u64::MAX),
        took: entry.took.map(duration),
        count: entry.count,
    }
}

const fn kind(kind: Kind) -> wire::AuditKind {
    match kind {
        Kind::Change => wire::AuditKind::Change,
        Kind::Unfinished => wire::AuditKind::Unfinished,
        Kind::Denial => wire::AuditKind::Denial,
        Kind::Counted => wire::AuditKind::Counted,
        Kind::Agent => wire::AuditKind::Agent,
    }
}

const fn decision(decision: Decision) -> wire::AuditDecision {
    match decision {
        Decision::Allowed => wire::AuditDecision::Allowed,
        Decision::Denied => wire::AuditDecision::Denied,
        Decision::Refused => wire::AuditDecision::Refused,
    }
}
