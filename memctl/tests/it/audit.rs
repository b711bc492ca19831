//! What a scripted agent says of its audit, and how much of it is asked for.

use agentd_proto::v1;
use agentd_proto::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use crate::agent::{Agent, Script};
use crate::memctl::World;
use crate::sample;

#[tonic::async_trait]
impl AuditService for Agent {
    /// A page holds one entry, so that every list takes several.
    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let at: usize = request.page_token.parse().unwrap_or(0);
        let mut all = entries();
        let next_page_token = if at + 1 < all.len() { (at + 1).to_string() } else { String::new() };
        self.script().audits.push(request);
        Ok(Response::new(v1::ListAuditResponse { entries: vec![all.remove(at)], next_page_token }))
    }
}

fn entry(seq: u64, kind: v1::AuditKind, method: &str) -> v1::AuditEntry {
    v1::AuditEntry {
        seq,
        time: sample::time(i64::try_from(seq).unwrap()),
        kind: kind.into(),
        identity: "alice".to_owned(),
        serial: "4a0f".to_owned(),
        peer: "192.0.2.7:51234".to_owned(),
        method: method.to_owned(),
        decision: v1::AuditDecision::Allowed.into(),
        count: 1,
        ..v1::AuditEntry::default()
    }
}

/// One of every kind; names and reasons try to steer the terminal.
fn entries() -> Vec<v1::AuditEntry> {
    let facts = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let counted = v1::AuditEntry {
        decision: v1::AuditDecision::Denied.into(),
        count: 917,
        ..entry(9, v1::AuditKind::Counted, "agentd.v1.HostService/SetMode")
    };
    let denied = v1::AuditEntry {
        identity: "evil\u{1b}[31m\u{202e}".to_owned(),
        decision: v1::AuditDecision::Denied.into(),
        outcome: "ROLE_MISSING".to_owned(),
        ..entry(8, v1::AuditKind::Denial, "agentd.v1.HostService/SetMode")
    };
    let unfinished = v1::AuditEntry {
        target: "mode".to_owned(),
        before: facts("mode", "active"),
        after: facts("mode", "observe"),
        ..entry(7, v1::AuditKind::Unfinished, "agentd.v1.HostService/SetMode")
    };
    let changed = v1::AuditEntry {
        identity: "uid:0".to_owned(),
        serial: String::new(),
        peer: String::new(),
        request_id: "r-1".to_owned(),
        target: "policy".to_owned(),
        reason: "night\u{1b}[2J".to_owned(),
        outcome: "OK".to_owned(),
        before: facts("revision", "1"),
        after: facts("revision", "2"),
        changes: sample::changes(),
        more_changes: 3,
        took: sample::millis(12),
        ..entry(6, v1::AuditKind::Change, "agentd.v1.PolicyService/UpdatePolicy")
    };
    let refused = v1::AuditEntry {
        decision: v1::AuditDecision::Refused.into(),
        target: "policy".to_owned(),
        outcome: "ETAG_MISMATCH".to_owned(),
        detail: "the policy has changed since it was read".to_owned(),
        took: sample::millis(1),
        ..entry(4, v1::AuditKind::Change, "agentd.v1.PolicyService/UpdatePolicy")
    };
    let started = v1::AuditEntry {
        seq: 1,
        time: sample::time(1),
        kind: v1::AuditKind::Agent.into(),
        detail: "agentd 9.8.7 has started (pid 7): mode active".to_owned(),
        ..v1::AuditEntry::default()
    };
    vec![counted, denied, unfinished, changed, refused, started]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_asked_for_and_shown_than_is_wanted() {
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), Script::default());
    let run = world.run(&["audit", "--limit", "2", "--identity", "alice", "--denied"]).await;
    assert_eq!((run.exit, run.stdout.lines().count()), (0, 3), "{}", run.stdout);
    let asked = agent.script().audits.clone();
    let sizes: Vec<i32> = asked.iter().map(|request| request.page_size).collect();
    assert_eq!(sizes, [2, 1]);
    assert!(asked.iter().all(|request| request.identity == "alice"));
    assert!(asked.iter().all(|request| request.decision() == v1::AuditDecision::Denied));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_wanted_is_neither_shown_nor_looked_for() {
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), Script::default());
    let run = world.run(&["audit", "--since", "2026-01-02T03:04:12Z", "-o", "name"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, "9\n8\n7\n"), "{run:?}");
    assert_eq!(agent.script().audits.len(), 4);
    let run = world.run(&["audit", "--since", "2026-01-03", "--method", "SetMod", "--utc"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, ""), "{run:?}");
    assert_eq!(run.stderr, "no such entry in the audit; did you mean SetMode?\n");
}
