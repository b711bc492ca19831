//! DTOs of the audit: who asked for which change, and what came of it.

use std::collections::BTreeMap;

use agentd_proto::v1;
use serde::Serialize;

use super::{PolicyChange, Time, said, seconds, time, word};

/// Something that is in the audit of a host.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct AuditEntry {
    /// Number of its line; 0 where that makes no sense.
    pub(crate) seq: u64,
    pub(crate) time: Option<Time>,
    /// "change", "unfinished", "denial", "counted", "agent".
    pub(crate) kind: String,
    /// Empty where it tells of no call.
    pub(crate) identity: String,
    /// Serial number of the certificate; empty for none.
    pub(crate) serial: String,
    /// Address of the caller; empty for a process of the host.
    pub(crate) peer: String,
    pub(crate) method: String,
    pub(crate) request_id: String,
    pub(crate) target: String,
    pub(crate) reason: String,
    /// "allowed", "denied", "refused"; null where it tells of no call.
    pub(crate) decision: Option<String>,
    /// "OK", or the reason that the caller was given; empty where that is not known.
    pub(crate) outcome: String,
    /// The same in words.
    pub(crate) detail: String,
    pub(crate) before: BTreeMap<String, String>,
    pub(crate) after: BTreeMap<String, String>,
    pub(crate) changes: Vec<PolicyChange>,
    /// How many fields changed beyond these.
    pub(crate) more_changes: u64,
    /// How long it took; null where that is not known.
    pub(crate) took_seconds: Option<f64>,
    /// How many calls it stands for.
    pub(crate) count: u64,
}

impl From<v1::AuditEntry> for AuditEntry {
    fn from(wire: v1::AuditEntry) -> Self {
        Self {
            kind: word(wire.kind, v1::AuditKind::as_str_name, "AUDIT_KIND_"),
            seq: wire.seq,
            time: time(wire.time),
            identity: wire.identity,
            serial: wire.serial,
            peer: wire.peer,
            method: wire.method,
            request_id: wire.request_id,
            target: wire.target,
            reason: wire.reason,
            decision: said(wire.decision, v1::AuditDecision::as_str_name, "AUDIT_DECISION_"),
            outcome: wire.outcome,
            detail: wire.detail,
            before: wire.before.into_iter().collect(),
            after: wire.after.into_iter().collect(),
            changes: wire.changes.into_iter().map(Into::into).collect(),
            more_changes: wire.more_changes,
            took_seconds: seconds(wire.took),
            count: wire.count,
        }
    }
}
