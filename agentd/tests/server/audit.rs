//! Every call that changes something is in the audit, whatever becomes of it.

use std::{collections::BTreeSet, fs};

use agentd::control::Mode;
use agentd_proto::{DESCRIPTORS, v1 as wire};
use prost::Message as _;
use serde_json::Value;
use tonic::{Code, Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use wire::{
    audit_service_client::AuditServiceClient, host_service_client::HostServiceClient,
    policy_service_client::PolicyServiceClient,
    reservation_service_client::ReservationServiceClient,
    shadow_service_client::ShadowServiceClient,
};

use crate::rig::{ADMIN, LONG, NOBODYS, OPERATORS, Rig, cannot_be_others};

/// Methods that change nothing. Whatever else there is has to be in the audit.
const READS: [&str; 12] = [
    "agentd.v1.AuditService/ListAudit",
    "agentd.v1.EventService/Watch",
    "agentd.v1.HistoryService/ListHistory",
    "agentd.v1.HostService/GetStatus",
    "agentd.v1.PolicyService/GetPolicy",
    "agentd.v1.PolicyService/ListPolicyRevisions",
    "agentd.v1.ReservationService/GetReservation",
    "agentd.v1.ReservationService/ListReservations",
    "agentd.v1.ShadowService/GetShadow",
    "agentd.v1.VmService/ExplainVm",
    "agentd.v1.HostService/WhoAmI",
    "agentd.v1.VmService/ListVms",
];

/// Every method of agentd's own services, by its full name.
fn methods() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut methods = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("agentd.")) {
        for service in &file.service {
            let full = |name| format!("{}.{}/{name}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| full(method.name())));
        }
    }
    methods
}

fn changing() -> BTreeSet<String> {
    let all = methods();
    let unknown: Vec<_> = READS.iter().filter(|read| !all.contains(**read)).collect();
    assert!(unknown.is_empty(), "no such method: {unknown:?}");
    all.into_iter().filter(|method| !READS.contains(&method.as_str())).collect()
}

/// The lines so far.
fn lines(rig: &Rig) -> Vec<Value> {
    let text = fs::read_to_string(rig.dir.path().join("audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines once all that is queued was written.
pub(crate) fn all_lines(rig: &mut Rig) -> Vec<Value> {
    rig.server = None;
    assert!(rig.audit.close(LONG));
    lines(rig)
}

fn of<'a>(lines: &'a [Value], method: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["method"] == method).collect()
}

async fn call_with_nothing(channel: &Channel, method: &str) -> Result<(), tonic::Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    client.unary(Request::new(()), path, codec).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_that_changes_something_is_in_the_audit_however_it_ends() {
    let mut rig = Rig::start();
    let channel = rig.channel().await;
    let mut answers = Vec::new();
    for method in changing() {
        answers.push((method.clone(), call_with_nothing(&channel, &method).await));
    }
    drop(channel);
    let lines = all_lines(&mut rig);
    for (method, answer) in answers {
        let own = of(&lines, &method);
        let last = own.last().unwrap_or_else(|| panic!("{method} is not in the audit"));
        assert!(last["who"].as_str().unwrap().starts_with("uid:"), "{last}");
        match answer {
            Ok(()) => assert_eq!((own.len(), &last["outcome"]), (2, &"OK".into()), "{last}"),
            Err(status) => {
                let reason = status.get_error_details().error_info().unwrap().reason.clone();
                assert_eq!(
                    (&last["decision"], &last["outcome"]),
                    (&"refused".into(), &reason.into())
                );
            }
        }
    }
}

fn step(mib: u64) -> wire::UpdatePolicyRequest {
    let two_pointer =
        wire::TwoPointer { step_bytes: Some(mib << 20), ..wire::TwoPointer::default() };
    let paths = vec!["two_pointer.step_bytes".to_owned()];
    wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { two_pointer: Some(two_pointer), ..wire::Policy::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
        reason: "night".to_owned(),
        ..wire::UpdatePolicyRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_with_who_what_before_and_after() {
    let mut rig = Rig::start();
    let mut policy = PolicyServiceClient::new(rig.channel().await);
    let made = policy.update_policy(step(60)).await.unwrap().into_inner();
    let etag = made.current.unwrap().etag;
    let based = wire::UpdatePolicyRequest { etag: "other".to_owned(), ..step(70) };
    policy.update_policy(based).await.unwrap_err();
    let check = wire::UpdatePolicyRequest { validate_only: true, ..step(80) };
    policy.update_policy(check).await.unwrap();
    drop(policy);

    let lines = all_lines(&mut rig);
    let own = of(&lines, "agentd.v1.PolicyService/UpdatePolicy");
    let [intent, outcome, _, refused] = own[..] else { panic!("{own:?}") };
    assert_eq!(intent["kind"], "intent");
    assert_eq!(intent["before"]["revision"], "1");
    assert_eq!((&intent["target"], &intent["reason"]), (&"policy".into(), &"night".into()));
    for told in [intent, outcome] {
        let change = &told["changes"][0];
        assert_eq!(change["field"], "two_pointer.step_bytes");
        assert_eq!((&change["old"], &change["new"]), (&"50 MiB".into(), &"60 MiB".into()));
    }
    assert_eq!(outcome["change"], intent["change"]);
    assert_eq!(
        (&outcome["after"]["revision"], &outcome["after"]["etag"]),
        (&"2".into(), &etag.into())
    );
    assert_eq!((&outcome["decision"], &outcome["outcome"]), (&"allowed".into(), &"OK".into()));
    assert_eq!(
        (&refused["decision"], &refused["outcome"]),
        (&"refused".into(), &"ETAG_MISMATCH".into())
    );
    assert!(refused.get("after").is_none(), "nothing has changed: {refused}");
}

/// Whether a fact is this time, to the microsecond.
fn is_time(fact: &Value, time: Option<prost_types::Timestamp>) -> bool {
    let told: jiff::Timestamp = fact.as_str().unwrap().parse().unwrap();
    let time = time.unwrap();
    (told.as_second(), told.subsec_nanosecond() / 1000) == (time.seconds, time.nanos / 1000)
}

#[tokio::test(flavor = "multi_thread")]
async fn trials_reservations_shadows_and_modes_are_told_of_too() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let channel = rig.channel().await;
    let mut policy = PolicyServiceClient::new(channel.clone());
    let revert_after = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let trial = wire::UpdatePolicyRequest { revert_after, ..step(60) };
    let etag = policy.update_policy(trial).await.unwrap().into_inner().current.unwrap().etag;
    policy.confirm_policy(wire::ConfirmPolicyRequest { etag }).await.unwrap();
    policy.revert_policy(wire::RevertPolicyRequest::default()).await.unwrap();
    let (vm, duration) = ("web1".to_owned(), Some(prost_types::Duration { seconds: 60, nanos: 0 }));
    let pin = wire::PinVmRequest { vm: vm.clone(), duration, ..Default::default() };
    let pinned = policy.pin_vm(pin).await.unwrap().into_inner().pin.unwrap();
    policy.unpin_vm(wire::UnpinVmRequest { vm, ..Default::default() }).await.unwrap();

    let mut reservations = ReservationServiceClient::new(channel.clone());
    let wanted = wire::CreateReservationRequest {
        min_bytes: 64 << 20,
        vm: "db\u{202e}7".to_owned(),
        request_id: "r-1".to_owned(),
        ..wire::CreateReservationRequest::default()
    };
    let made = reservations.create_reservation(wanted).await.unwrap().into_inner();
    let id = made.reservation.unwrap().id;
    let gone = wire::DeleteReservationRequest { id, ..wire::DeleteReservationRequest::default() };
    reservations.delete_reservation(gone).await.unwrap();

    let mut shadow = ShadowServiceClient::new(channel.clone());
    let wire::UpdatePolicyRequest { policy: wish, update_mask, .. } = step(70);
    let set = wire::SetShadowRequest { policy: wish, update_mask, ..Default::default() };
    shadow.set_shadow(set).await.unwrap();
    shadow.clear_shadow(wire::ClearShadowRequest {}).await.unwrap();

    let mut host = HostServiceClient::new(channel.clone());
    let paused = wire::SetModeRequest { mode: wire::Mode::Paused.into(), reason: String::new() };
    host.set_mode(paused).await.unwrap();
    drop((policy, reservations, shadow, host, channel));

    let lines = all_lines(&mut rig);
    let facts = |method: &str| {
        let own = of(&lines, method);
        let [intent, outcome] = own[..] else { panic!("{method}: {own:?}") };
        assert_eq!((&outcome["outcome"], &outcome["decision"]), (&"OK".into(), &"allowed".into()));
        (intent.clone(), outcome["before"].clone(), outcome["after"].clone())
    };
    let (trial, ..) = facts("agentd.v1.PolicyService/UpdatePolicy");
    assert_eq!(trial["asked"]["revert_after"], "60s");
    assert_eq!(facts("agentd.v1.PolicyService/ConfirmPolicy").2["trial"], "confirmed");
    let (intent, before, after) = facts("agentd.v1.PolicyService/RevertPolicy");
    assert_eq!(intent["asked"]["revert_to"], "the one before");
    assert_eq!((&before["revision"], &after["revision"]), (&"2".into(), &"3".into()));
    let (intent, before, after) = facts("agentd.v1.PolicyService/PinVm");
    assert_eq!((&intent["target"], &intent["asked"]["for"]), (&"pin".into(), &"60s".into()));
    assert_eq!((&before["pinned_by"], &before["vm"]), (&"".into(), &after["vm"]));
    assert!(is_time(&after["pinned_until"], pinned.end_time), "{after}");
    let (_, pinned, unpinned) = facts("agentd.v1.PolicyService/UnpinVm");
    assert_eq!((&pinned, &unpinned), (&after, &before));
    let (intent, _, after) = facts("agentd.v1.ReservationService/CreateReservation");
    assert_eq!(intent["request_id"], "r-1");
    assert_eq!((&after["min"], &after["vm"]), (&"64 MiB".into(), &"db\u{202e}7".into()));
    let (_, before, after) = facts("agentd.v1.ReservationService/DeleteReservation");
    assert_eq!(before["reservation"], after["reservation"]);
    assert_eq!(after["state"], "released");
    let words = "two_pointer.step_bytes 50 MiB -> 70 MiB";
    assert_eq!(facts("agentd.v1.ShadowService/SetShadow").2["shadow"], words);
    let (_, before, after) = facts("agentd.v1.ShadowService/ClearShadow");
    assert_eq!((&before["shadow"], &after["shadow"]), (&words.into(), &"none".into()));
    let (_, before, after) = facts("agentd.v1.HostService/SetMode");
    assert_eq!((&before["mode"], &after["mode"]), (&"active".into(), &"paused".into()));
    let told: BTreeSet<String> =
        lines.iter().filter_map(|line| Some(line["method"].as_str()?.to_owned())).collect();
    assert_eq!(told, changing(), "each was called once with something to do");

    let raw = fs::read(rig.dir.path().join("audit.jsonl")).unwrap();
    assert!(raw.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "a name is escaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done_but_for_a_pause() {
    let rig = Rig::start();
    let mut policy = PolicyServiceClient::new(rig.channel().await);
    let mut host = HostServiceClient::new(rig.channel().await);
    // Its own socket is in the same directory, so only the way to the file is taken away.
    fs::create_dir(rig.dir.path().join("audit.jsonl")).unwrap();

    let refused = policy.update_policy(step(60)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "AUDIT_NOT_DURABLE");
    assert_eq!(rig.control.in_force().policy.number, 1, "nothing has changed");
    let mode = |mode: wire::Mode| wire::SetModeRequest { mode: mode.into(), reason: String::new() };
    host.set_mode(mode(wire::Mode::Observe)).await.unwrap_err();
    assert_eq!(rig.control.in_force().mode, Mode::Active);
    host.set_mode(mode(wire::Mode::Paused)).await.unwrap();
    assert_eq!(rig.control.in_force().mode, Mode::Paused);
    let status = host.get_status(wire::GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.conditions.iter().any(|condition| condition.reason == "AUDIT_LOST"));
    policy.get_policy(wire::GetPolicyRequest {}).await.unwrap();
    let check = wire::UpdatePolicyRequest { validate_only: true, ..step(60) };
    policy.update_policy(check).await.unwrap();

    fs::remove_dir(rig.dir.path().join("audit.jsonl")).unwrap();
    policy.update_policy(step(60)).await.unwrap();
    let lines = lines(&rig);
    assert_eq!((&lines[0]["kind"], &lines[0]["late"]), (&"missed".into(), &4.into()));
    let paused = of(&lines, "agentd.v1.HostService/SetMode");
    let last = paused.last().unwrap();
    assert_eq!((&last["outcome"], &last["after"]["mode"]), (&"OK".into(), &"paused".into()));
}

/// Every page of what an admin wants to know.
async fn listed(channel: &Channel, wanted: wire::ListAuditRequest) -> Vec<wire::AuditEntry> {
    let mut client = AuditServiceClient::new(channel.clone());
    let (mut entries, mut wanted) = (Vec::new(), wanted);
    loop {
        let page = client.list_audit(wanted.clone()).await.unwrap().into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        wanted.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_lists_what_was_asked_for_and_denied_and_nobody_else_does() {
    if cannot_be_others("an_admin_lists_what_was_asked_for_and_denied_and_nobody_else_does") {
        return;
    }
    let rig = Rig::start();
    let admin = rig.channel_as(ADMIN, NOBODYS).await;
    let mut policy = PolicyServiceClient::new(admin.clone());
    for mib in 60..64 {
        policy.update_policy(step(mib)).await.unwrap();
    }
    let evil = wire::UpdatePolicyRequest { etag: "\u{1b}[31m".to_owned(), ..step(70) };
    policy.update_policy(evil).await.unwrap_err();
    let operator = rig.channel_as(NOBODYS, OPERATORS).await;
    let none = wire::ListAuditRequest::default;
    let denied = AuditServiceClient::new(operator).list_audit(none()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);

    // A denial is answered before it is written.
    let written = async {
        loop {
            let all = listed(&admin, none()).await;
            if all.len() >= 6 {
                return all;
            }
        }
    };
    let all = tokio::time::timeout(LONG, written).await.unwrap();
    let by_twos = listed(&admin, wire::ListAuditRequest { page_size: 2, ..none() }).await;
    assert_eq!(by_twos, all);
    let kinds: Vec<_> = all.iter().map(wire::AuditEntry::kind).collect();
    let (change, denial) = (wire::AuditKind::Change, wire::AuditKind::Denial);
    assert_eq!(kinds, [denial, change, change, change, change, change]);
    assert!(all.is_sorted_by(|newer, older| newer.seq > older.seq));
    let newest = &all[2];
    assert_eq!(newest.identity, format!("uid:{ADMIN}"));
    assert_eq!((newest.outcome.as_str(), newest.decision()), ("OK", wire::AuditDecision::Allowed));
    assert_eq!((newest.changes[0].new_value.as_str(), newest.reason.as_str()), ("63 MiB", "night"));
    assert_eq!((newest.before["revision"].as_str(), newest.after["revision"].as_str()), ("4", "5"));
    assert_eq!(all[1].outcome, "ETAG_MISMATCH");

    let refused = wire::ListAuditRequest { decision: wire::AuditDecision::Denied.into(), ..none() };
    let refused = listed(&admin, refused).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (refused[0].identity.as_str(), refused[0].method.as_str(), refused[0].outcome.as_str()),
        ("uid:61003", "agentd.v1.AuditService/ListAudit", "ROLE_MISSING")
    );
    let mut client = AuditServiceClient::new(admin);
    for (field, bad) in [
        ("page_token", wire::ListAuditRequest { page_token: "x".to_owned(), ..none() }),
        ("page_size", wire::ListAuditRequest { page_size: -1, ..none() }),
        ("decision", wire::ListAuditRequest { decision: 9, ..none() }),
    ] {
        let refused = client.list_audit(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    }
}
