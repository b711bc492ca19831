//! Changes of the policy and the mode through the wire.

use std::{sync::atomic::Ordering, time::Duration};

use agentd_proto::v1 as wire;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::{
    host_service_client::HostServiceClient, policy_service_client::PolicyServiceClient,
    watch_response::Body,
};

use crate::rig::{LONG, Rig, default_policy};

type Client = PolicyServiceClient<Channel>;

fn update(paths: &[&str], policy: wire::Policy) -> wire::UpdatePolicyRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    wire::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..wire::UpdatePolicyRequest::default()
    }
}

fn step(mib: u64) -> wire::UpdatePolicyRequest {
    let two_pointer =
        wire::TwoPointer { step_bytes: Some(mib << 20), ..wire::TwoPointer::default() };
    let policy = wire::Policy { two_pointer: Some(two_pointer), ..wire::Policy::default() };
    update(&["two_pointer.step_bytes"], policy)
}

/// Working-set with these constants.
fn constants(lead: i64, headroom_percent: u32) -> wire::UpdatePolicyRequest {
    let working_set = wire::WorkingSet {
        lead: Some(prost_types::Duration { seconds: lead, nanos: 0 }),
        headroom_percent: Some(headroom_percent),
        ..wire::WorkingSet::default()
    };
    let policy = wire::Policy {
        algorithm: "working-set".to_owned(),
        working_set: Some(working_set),
        ..wire::Policy::default()
    };
    update(&["algorithm", "working_set.lead", "working_set.headroom_percent"], policy)
}

fn weight(weight: u32) -> wire::UpdatePolicyRequest {
    let vm = wire::VmPolicy { weight: Some(weight), ..wire::VmPolicy::default() };
    let vms = [("db1".to_owned(), vm)].into();
    update(&["vms.db1.weight"], wire::Policy { vms, ..wire::Policy::default() })
}

/// What one VM may have at least and at most, in MiB.
fn between(name: &str, min: u64, max: u64) -> wire::UpdatePolicyRequest {
    let (min_bytes, max_bytes) = (Some(min << 20), Some(max << 20));
    let vm = wire::VmPolicy { min_bytes, max_bytes, ..wire::VmPolicy::default() };
    update(
        &["vms"],
        wire::Policy { vms: [(name.to_owned(), vm)].into(), ..wire::Policy::default() },
    )
}

async fn current(client: &mut Client) -> wire::PolicyRevision {
    let answer = client.get_policy(wire::GetPolicyRequest {}).await.unwrap().into_inner();
    answer.current.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_told_and_in_the_log() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let follow = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let mut stream = rig.watch(follow).await;
    stream.hello().await;

    let trial = wire::UpdatePolicyRequest { validate_only: true, ..step(60) };
    let would = client.update_policy(trial).await.unwrap().into_inner();
    assert_eq!((would.changes.len(), would.position), (1, None));
    assert_eq!(current(&mut client).await.revision, 1);

    let request = wire::UpdatePolicyRequest { reason: "night".to_owned(), ..step(60) };
    let made = client.update_policy(request).await.unwrap().into_inner();
    let change = made.changes.first().unwrap();
    assert_eq!(
        (change.path.as_str(), change.old_value.as_str(), change.new_value.as_str()),
        ("two_pointer.step_bytes", "50 MiB", "60 MiB")
    );
    let now = made.current.unwrap();
    assert_eq!((now.revision, now.reason.as_str()), (2, "night"));
    assert!(now.actor.clone().unwrap().id.starts_with("uid:"));
    assert_eq!(current(&mut client).await, now);
    let step_in_force = rig.control.in_force().policy.policy.two_pointer.step;
    assert_eq!(step_in_force.as_u64(), 60 << 20);

    let (position, Body::PolicyChanged(told)) = stream.body().await else { panic!("not told") };
    assert_eq!(Some(position), made.position);
    assert_eq!((told.etag, told.changes), (now.etag, made.changes));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_a_trial_until_it_is_kept() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let mut hosts = HostServiceClient::new(rig.channel().await);
    let revert_after = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let trial = wire::UpdatePolicyRequest { revert_after, ..step(60) };
    let tried = client.update_policy(trial).await.unwrap().into_inner().current.unwrap();
    let status = hosts.get_status(wire::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.policy_revision, status.policy_actor), (2, tried.actor));
    assert!(tried.revert_time.is_some());
    assert_eq!(status.policy_revert_time, tried.revert_time);
    // To set it for good is to keep it, though nothing changes.
    let kept = client.update_policy(step(60)).await.unwrap().into_inner();
    assert_eq!((kept.changes.len(), kept.warnings.len()), (0, 1));
    assert!(kept.position.is_some());
    let status = hosts.get_status(wire::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.policy_revision, status.policy_revert_time), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_based_on_another_revision_is_refused_with_the_etag_in_force() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let etag = current(&mut client).await.etag;
    let based = |etag: &str, mib| wire::UpdatePolicyRequest { etag: etag.to_owned(), ..step(mib) };
    client.update_policy(based(&etag, 60)).await.unwrap();
    let refused = client.update_policy(based(&etag, 70)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let details = refused.get_error_details();
    let facts = &details.error_info().unwrap().metadata;
    let now = current(&mut client).await;
    assert_eq!((facts.get("current_etag"), now.revision), (Some(&now.etag), 2));
}

/// Whoever comes second is told what is in force now, however close the two are.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_at_once_that_are_based_on_one_revision_one_is_made() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    for round in 0..20 {
        let etag = current(&mut client).await.etag;
        let ask = |mib| {
            let mut client = client.clone();
            let asked = wire::UpdatePolicyRequest { etag: etag.clone(), ..step(mib) };
            async move { until_asked(&mut client, asked).await }
        };
        let both = tokio::join!(ask(100 + 2 * round), ask(101 + 2 * round));
        let (made, refused) = match both {
            (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made, refused),
            both => panic!("{both:?}"),
        };
        let now = current(&mut client).await;
        assert_eq!(made.current.as_ref(), Some(&now));
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
        let details = refused.get_error_details();
        let facts = &details.error_info().unwrap().metadata;
        assert_eq!(facts.get("current_etag"), Some(&now.etag));
        assert_eq!(now.revision, round + 2);
    }
}

/// Asks again for as long as those before have not given up their places.
async fn until_asked(
    client: &mut Client,
    asked: wire::UpdatePolicyRequest,
) -> Result<wire::UpdatePolicyResponse, Status> {
    loop {
        match client.update_policy(asked.clone()).await {
            Err(refused) if refused.code() == Code::ResourceExhausted => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answer => return answer.map(tonic::Response::into_inner),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_field_and_changes_nothing() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let tiny = wire::VmPolicy { max_bytes: Some(1), ..wire::VmPolicy::default() };
    let vms = [("web.1".to_owned(), tiny)].into();
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let policy = wire::Policy::default;
    let cases = [
        (vec!["update_mask"], update(&[], policy())),
        (vec!["update_mask"], wire::UpdatePolicyRequest::default()),
        (vec!["update_mask.paths[1]"], update(&["floor_bytes", "florr"], policy())),
        (vec!["update_mask"], update(&["floor_bytes"; 257], policy())),
        (
            vec!["algorithm"],
            update(&["*"], wire::Policy { algorithm: "best".to_owned(), ..policy() }),
        ),
        (
            vec!["floor_bytes"],
            update(&["floor_bytes"], wire::Policy { floor_bytes: Some(1), ..policy() }),
        ),
        (
            vec!["floor_bytes"],
            update(&["floor_bytes"], wire::Policy { floor_bytes: Some(0), ..policy() }),
        ),
        (vec!["working_set.lead"], constants(-1, 10)),
        (vec!["working_set.lead"], constants(61, 10)),
        (vec!["working_set.headroom_percent"], constants(3, 201)),
        (vec!["vms.db1.weight"], weight(0)),
        (vec!["vms.db1.weight"], weight(10_001)),
        (vec!["vms.`web.1`.max_bytes"], update(&["vms"], wire::Policy { vms, ..policy() })),
        (vec!["revert_after"], wire::UpdatePolicyRequest { revert_after: seconds(0), ..step(60) }),
        (
            vec!["revert_after"],
            wire::UpdatePolicyRequest { revert_after: seconds(86_401), ..step(60) },
        ),
        (vec!["reason"], wire::UpdatePolicyRequest { reason: "x".repeat(513), ..step(60) }),
        (vec!["reason"], wire::UpdatePolicyRequest { reason: "\u{1b}[2J".to_owned(), ..step(60) }),
        (vec!["two_pointer.step_bytes"], step(1 << 40)),
        (
            vec!["floor_bytes"],
            update(&["floor_bytes"], wire::Policy { floor_bytes: Some(u64::MAX), ..policy() }),
        ),
        (
            vec!["pool_limit_bytes"],
            update(
                &["pool_limit_bytes"],
                wire::Policy { pool_limit_bytes: Some(u64::MAX), ..policy() },
            ),
        ),
        (vec!["vms.db1.min_bytes"], between("db1", 512, 256)),
        (vec!["vms"], between("db\u{1b}[2J1", 256, 512)),
        (vec!["vms"], between(&"x".repeat(257), 256, 512)),
    ];
    for (fields, request) in cases {
        let refused = client.update_policy(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
        assert_eq!(violated(&refused), fields, "{refused:?}");
    }
    for (time, said) in
        [(seconds(172_800), "48h: must be from 1 s to 24 h"), (seconds(0), "0s: must")]
    {
        let trial = wire::UpdatePolicyRequest { revert_after: time, ..step(60) };
        let refused = client.update_policy(trial).await.unwrap_err();
        assert!(refused.message().contains(said), "{}", refused.message());
    }
    let now = current(&mut client).await;
    assert_eq!(now.revision, 1);
    let floor = default_policy().floor;
    assert_eq!(now.policy.unwrap().floor_bytes, Some(floor.as_u64()));
}

/// The rig's host has 16 GiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_beyond_the_host_is_refused_once_the_host_was_seen_and_warned_of_before() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let gib = |gib: u64| Some(gib << 30);
    let policy = wire::Policy::default;
    let reserve = |size| {
        let policy = wire::Policy { host_reserve_bytes: gib(size), ..policy() };
        update(&["host_reserve_bytes"], policy)
    };
    let floor =
        |size| update(&["floor_bytes"], wire::Policy { floor_bytes: gib(size), ..policy() });
    // Nobody knows the host yet.
    client.update_policy(floor(17)).await.unwrap();
    client.update_policy(step(60)).await.unwrap();
    rig.tick(&["web1"], false).await;
    for (field, request) in [
        ("host_reserve_bytes", reserve(16)),
        ("host_reserve_bytes", reserve(102_400)),
        ("floor_bytes", floor(100 << 10)),
    ] {
        for validate_only in [true, false] {
            let request = wire::UpdatePolicyRequest { validate_only, ..request.clone() };
            let refused = client.update_policy(request).await.unwrap_err();
            assert_eq!(violated(&refused), [field]);
            let details = refused.get_error_details();
            let why = &details.bad_request().unwrap().field_violations[0].description;
            assert!(why.ends_with("less than the host's memory, which is 16 GiB"), "{why}");
        }
    }
    // What is beyond already is mended by itself, and not gone back to.
    client.update_policy(step(70)).await.unwrap();
    client.update_policy(floor(1)).await.unwrap();
    let back = wire::RevertPolicyRequest { revision: 2, ..Default::default() };
    assert_eq!(violated(&client.revert_policy(back).await.unwrap_err()), ["floor_bytes"]);
    let mut small = policy();
    (small.floor_bytes, small.host_reserve_bytes) = (Some(64 << 20), Some(17 << 29));
    let only = wire::UpdatePolicyRequest {
        validate_only: true,
        ..update(&["floor_bytes", "host_reserve_bytes"], small)
    };
    let warned = client.update_policy(only).await.unwrap().into_inner().warnings;
    let takes = "host_reserve_bytes = 8704 MiB: 8 GiB is usable, VMs get nothing of the host, and are \
                 asked for what they do not need";
    assert_eq!(
        warned,
        ["host_reserve_bytes = 8704 MiB: more than half of the host's 16 GiB", takes]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn working_set_and_weights_are_set_and_read_back() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let made = client.update_policy(constants(5, 25)).await.unwrap().into_inner();
    let told: Vec<_> = made
        .changes
        .iter()
        .map(|c| format!("{} {} -> {}", c.path, c.old_value, c.new_value))
        .collect();
    assert_eq!(
        told,
        [
            "algorithm two-pointer -> working-set",
            "working_set.headroom_percent 10 -> 25",
            "working_set.lead 3s -> 5s",
        ]
    );
    client.update_policy(weight(300)).await.unwrap();
    let now = current(&mut client).await.policy.unwrap();
    let constants = now.working_set.unwrap();
    assert_eq!((constants.lead.unwrap().seconds, constants.keep_for.unwrap().seconds), (5, 60));
    assert_eq!(constants.headroom_percent, Some(25));
    assert_eq!(constants.headroom_bytes, Some(64 << 20));
    assert_eq!(constants.dead_band_bytes, Some(16 << 20));
    assert_eq!(now.vms["db1"].weight, Some(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_tells_what_a_vm_works_with_and_what_it_may_have() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let mut vms = wire::vm_service_client::VmServiceClient::new(rig.channel().await);
    let ask = || wire::ListVmsRequest::default();
    rig.tick(&["web1"], false).await;
    let before = vms.list_vms(ask()).await.unwrap().into_inner().vms.remove(0).verdict.unwrap();
    assert_eq!((before.demand_bytes, before.entitled_bytes), (None, None));
    client.update_policy(constants(3, 10)).await.unwrap();
    rig.tick(&["web1"], false).await;
    let vm = vms.list_vms(ask()).await.unwrap().into_inner().vms.remove(0);
    let (verdict, memory) = (vm.verdict.unwrap(), vm.memory.unwrap());
    let demand = memory.actual_bytes - memory.guest_unused_bytes.unwrap();
    assert_eq!(verdict.demand_bytes, Some(demand), "{verdict:?}");
    assert!(verdict.entitled_bytes > Some(demand), "{verdict:?}");
}

/// The rig's host has 16 GiB, and each of its VMs holds 1 GiB and may hold 4.
#[tokio::test(flavor = "multi_thread")]
async fn minimums_that_the_pool_has_not_are_refused() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let gib = |amount: u64| Some(amount << 30);
    let of_four = || wire::Policy { vms: minimums([4, 4, 4]), ..Default::default() };
    let paths = ["host_reserve_bytes", "pool_limit_bytes", "floor_bytes", "vms"];
    // Of what the host uses beside its VMs, 6 GiB, nobody is guaranteed anything.
    let fits = wire::Policy { host_reserve_bytes: gib(2), ..of_four() };
    let made = client.update_policy(update(&paths, fits)).await.unwrap().into_inner();
    assert_eq!(of_minimums(&made), Vec::<&str>::new(), "new1 does not run");

    let reserve = wire::Policy { host_reserve_bytes: gib(3), ..of_four() };
    let floors =
        wire::Policy { pool_limit_bytes: gib(1), floor_bytes: gib(1), ..Default::default() };
    let limited = wire::Policy { pool_limit_bytes: gib(5), ..of_four() };
    let refused = [
        (
            reserve,
            "host_reserve_bytes",
            "3 GiB: by this 2 VMs that run here are guaranteed 8 GiB together, more than the host's 16 GiB \
             without host_reserve_bytes = 3 GiB and the 6 GiB that it uses beside its VMs: db1 4 GiB, web1 \
             4 GiB; lower",
        ),
        (
            floors,
            "floor_bytes",
            "1 GiB: by this 2 VMs that run here are guaranteed 2 GiB together, more than",
        ),
        (limited, "pool_limit_bytes", "at least 12 GiB"),
    ];
    for (policy, field, words) in refused {
        let refused = client.update_policy(update(&paths, policy)).await.unwrap_err();
        assert_eq!(violated(&refused), [field]);
        assert!(refused.message().contains(words), "{}", refused.message());
    }
}

/// VMs come and go; who lowers what they are guaranteed is not refused because it is still too much.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_guaranteed_too_much_already_may_become_less_and_not_more() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let policy = |mins| wire::Policy {
        host_reserve_bytes: Some(2 << 30),
        vms: minimums(mins),
        ..Default::default()
    };
    let paths = ["host_reserve_bytes", "vms"];
    client.update_policy(update(&paths, policy([3, 4, 4]))).await.unwrap();
    rig.tick(&["web1", "db1", "new1"], false).await;
    let refused = client.update_policy(update(&paths, policy([4, 4, 4]))).await.unwrap_err();
    assert_eq!(violated(&refused), ["vms.web1.min_bytes"]);
    let made = client.update_policy(update(&paths, policy([2, 4, 4]))).await.unwrap().into_inner();
    assert_eq!(
        of_minimums(&made),
        [
            "minimums: 3 VMs that run here are guaranteed 10 GiB together, more than the host's 16 GiB \
             without host_reserve_bytes = 2 GiB and the 5 GiB that it uses beside its VMs: db1 4 GiB, new1 \
             4 GiB, web1 2 GiB"
        ]
    );
}

/// VMs that hold more than the limit are what operators are told to pin.
#[tokio::test(flavor = "multi_thread")]
async fn who_pins_vms_that_hold_more_than_the_limit_guarantees_them_nothing() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let pinned = wire::VmPolicy { pinned: Some(true), ..Default::default() };
    let limited = wire::Policy { pool_limit_bytes: Some(3 << 29), ..Default::default() };
    let paths = ["pool_limit_bytes", "vms"];
    client.update_policy(update(&paths, limited.clone())).await.unwrap();
    let vms = ["web1", "db1"].map(|name| (name.to_owned(), pinned)).into();
    let policy = wire::Policy { vms, ..limited };
    let made = client.update_policy(update(&paths, policy)).await.unwrap().into_inner();
    let told = of_minimums(&made);
    assert!(told[0].contains("guaranteed 2 GiB together"), "{told:?}");
}

/// For web1, db1 and new1, in GiB.
fn minimums(of: [u64; 3]) -> std::collections::HashMap<String, wire::VmPolicy> {
    let vm = |gib: u64| wire::VmPolicy { min_bytes: Some(gib << 30), ..Default::default() };
    ["web1", "db1", "new1"]
        .into_iter()
        .zip(of)
        .map(|(name, gib)| (name.to_owned(), vm(gib)))
        .collect()
}

fn of_minimums(response: &wire::UpdatePolicyResponse) -> Vec<&str> {
    let warnings = response.warnings.iter().map(String::as_str);
    warnings.filter(|warning| warning.starts_with("minimums")).collect()
}

fn violated(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().unwrap().field_violations.clone();
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn trials_are_confirmed_and_earlier_revisions_come_back() {
    let rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let confirm = |etag: String| wire::ConfirmPolicyRequest { etag };
    let etag = current(&mut client).await.etag;
    let nothing = client.confirm_policy(confirm(etag)).await.unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition);

    let revert_after = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let trial = wire::UpdatePolicyRequest { revert_after, ..step(60) };
    let trial = client.update_policy(trial).await.unwrap().into_inner().current.unwrap();
    assert!(trial.revert_time.is_some());
    let other = client.confirm_policy(confirm("other".to_owned())).await.unwrap_err();
    assert_eq!(other.code(), Code::Aborted);
    let kept = client.confirm_policy(confirm(trial.etag)).await.unwrap().into_inner();
    assert_eq!(kept.current.unwrap().revert_time, None);

    let revert = |revision| wire::RevertPolicyRequest { revision, ..Default::default() };
    let back = client.revert_policy(revert(0)).await.unwrap().into_inner();
    assert_eq!((back.current.unwrap().revision, back.changes.len()), (3, 1));
    let unknown = client.revert_policy(revert(77)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let page = |page_token: String| wire::ListPolicyRevisionsRequest { page_size: 2, page_token };
    let first = client.list_policy_revisions(page(String::new())).await.unwrap().into_inner();
    let second = client.list_policy_revisions(page(first.next_page_token)).await.unwrap();
    let second = second.into_inner();
    let numbers: Vec<u64> =
        first.revisions.iter().chain(&second.revisions).map(|one| one.revision).collect();
    assert_eq!((numbers, second.next_page_token.as_str()), (vec![3, 2, 1], ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_changes_and_says_what_it_was() {
    let rig = Rig::start();
    let mut client = HostServiceClient::new(rig.channel().await);
    let ask = |mode: i32| wire::SetModeRequest { mode, reason: "test".to_owned() };
    let paused = client.set_mode(ask(wire::Mode::Paused.into())).await.unwrap().into_inner();
    assert_eq!((paused.mode(), paused.previous_mode()), (wire::Mode::Paused, wire::Mode::Active));
    assert_eq!((paused.durable, paused.position), (true, Some(rig.position(1))));
    assert!(rig.control.gate().pass().is_none());
    let again = client.set_mode(ask(wire::Mode::Paused.into())).await.unwrap().into_inner();
    assert_eq!((again.previous_mode(), again.position), (wire::Mode::Paused, None));
    for nonsense in [0, 17, -1] {
        let refused = client.set_mode(ask(nonsense)).await.unwrap_err();
        assert_eq!(violated(&refused), ["mode"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_finished_though_its_caller_went_and_a_pause_waits_for_none() {
    let rig = Rig::start();
    let saved = rig.will.saves.load(Ordering::SeqCst);
    rig.will.hang(true);
    let mut client = Client::new(rig.channel().await);
    let caller = tokio::spawn(async move { client.update_policy(step(60)).await });
    until(|| rig.will.saves.load(Ordering::SeqCst) > saved).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    let mut host = HostServiceClient::new(rig.channel().await);
    let pause = wire::SetModeRequest { mode: wire::Mode::Paused.into(), ..Default::default() };
    let paused = tokio::spawn(async move { host.set_mode(pause).await });
    until(|| rig.control.gate().pass().is_none()).await;
    assert_eq!(rig.control.in_force().policy.number, 1);
    rig.will.hang(false);
    let paused = paused.await.unwrap().unwrap().into_inner();
    assert_eq!(paused.mode(), wire::Mode::Paused);
    until(|| rig.control.in_force().policy.number == 2).await;
}

async fn until(reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_that_was_true_before_a_change_is_told_apart() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let mut client = Client::new(rig.channel().await);
    let first = client.update_policy(between("nobody", 64, 128)).await.unwrap().into_inner();
    assert_eq!((first.warnings.len(), first.standing_warnings.len()), (1, 0), "{first:?}");
    for validate_only in [true, false] {
        let request = wire::UpdatePolicyRequest { validate_only, ..step(60) };
        let next = client.update_policy(request).await.unwrap().into_inner();
        assert_eq!(next.standing_warnings, first.warnings);
        assert_eq!(next.warnings, first.warnings);
    }
    let both = between("nobody", 64, 256);
    let other = client.update_policy(both).await.unwrap().into_inner();
    assert_eq!(other.standing_warnings, first.warnings, "it says the same of another value");
}
