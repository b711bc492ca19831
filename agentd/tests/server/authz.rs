//! Who may do what over the socket, as the kernel says who it is.

use agentd::{
    config::{AuthzConfig, Group},
    control::Mode,
};
use agentd_proto::v1 as wire;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::{
    host_service_client::HostServiceClient, policy_service_client::PolicyServiceClient,
    reservation_service_client::ReservationServiceClient,
};

use crate::{
    matrix::call,
    rig::{
        ADMIN, NOBODYS, OPERATORS, Options, READERS, Rig, Watching, cannot_be_others,
        default_policy,
    },
};

pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_is_not_made_and_says_whom_to_ask() {
    if cannot_be_others("a_refused_change_is_not_made_and_says_whom_to_ask") {
        return;
    }
    let mut rig = Rig::start();
    rig.tick(&["web1"], false).await;
    let before = rig.publisher.ring().span().newest;
    let reader = rig.channel_as(NOBODYS, READERS).await;
    let refused = pause(&reader).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        refused.message(),
        "agentd.v1.HostService/SetMode needs the role operator, and uid:61003 has the role reader \
         (group 61002): ask root of this host to add you to the group 61001"
    );
    let details = refused.get_error_details();
    let facts = &details.error_info().unwrap().metadata;
    assert_eq!((facts["needed"].as_str(), facts["role"].as_str()), ("operator", "reader"));
    let refused = floor(&reader, 80, None).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    let ask = wire::CreateReservationRequest { min_bytes: 1 << 30, ..Default::default() };
    let refused = ReservationServiceClient::new(reader).create_reservation(ask).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    let nobody = rig.channel_as(NOBODYS, NOBODYS).await;
    let refused = pause(&nobody).await.unwrap_err();
    assert!(refused.message().contains("uid:61003 has none: ask root"), "{refused:?}");
    let unknown = call(nobody, "/agentd.v1.HostService/Shutdown").await.unwrap_err();
    assert_eq!(reason(&unknown), "ROLE_MISSING");

    let in_force = rig.control.in_force();
    assert_eq!((in_force.mode, in_force.policy.number), (Mode::Active, 1));
    assert_eq!(in_force.policy.policy, default_policy());
    assert_eq!(in_force.reservations.open.len(), 0);
    assert_eq!(rig.publisher.ring().span().newest, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_goes_on_and_nobody_else_but_an_admin() {
    if cannot_be_others("who_pauses_goes_on_and_nobody_else_but_an_admin") {
        return;
    }
    let rig = Rig::start();
    let first = rig.channel_as(NOBODYS, OPERATORS).await;
    let second = rig.channel_as(READERS, OPERATORS).await;
    let admin = rig.channel_as(ADMIN, NOBODYS).await;
    let active = wire::Mode::Active;
    pause(&first).await.unwrap();
    let refused = mode(&second, active).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "MODE_OF_ANOTHER")
    );
    assert_eq!(rig.control.in_force().mode, Mode::Paused);
    mode(&first, active).await.unwrap();
    assert_eq!(rig.control.in_force().mode, Mode::Active);
    // Two that want a pause: none of them ends the other's.
    pause(&first).await.unwrap();
    pause(&admin).await.unwrap();
    assert_eq!(reason(&mode(&first, active).await.unwrap_err()), "MODE_OF_ANOTHER");
    mode(&admin, active).await.unwrap();
    // Nobody goes on by way of a pause of his own.
    mode(&admin, wire::Mode::Observe).await.unwrap();
    pause(&first).await.unwrap();
    assert_eq!(reason(&mode(&first, active).await.unwrap_err()), "MODE_OF_ANOTHER");
    mode(&first, wire::Mode::Observe).await.unwrap();
    assert_eq!(reason(&mode(&first, active).await.unwrap_err()), "MODE_OF_ANOTHER");
    assert_eq!(rig.control.in_force().mode, Mode::Observe);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tries_a_policy_and_an_admin_makes_it_stay() {
    if cannot_be_others("an_operator_tries_a_policy_and_an_admin_makes_it_stay") {
        return;
    }
    let rig = Rig::start();
    let operator = rig.channel_as(NOBODYS, OPERATORS).await;
    let admin = rig.channel_as(ADMIN, NOBODYS).await;
    let refused = floor(&operator, 80, None).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    assert!(
        refused.message().starts_with(
            "agentd.v1.PolicyService/UpdatePolicy without revert_after or validate_only needs the \
             role admin, and uid:61003 has the role operator (group 61001): ask root of this host"
        ),
        "{refused:?}"
    );
    assert_eq!(rig.control.in_force().policy.number, 1);
    let etag = floor(&operator, 80, Some(60)).await.unwrap();
    assert_eq!(rig.control.in_force().policy.number, 2);
    let confirm = wire::ConfirmPolicyRequest { etag };
    let mut theirs = PolicyServiceClient::new(operator);
    let refused = theirs.confirm_policy(confirm.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    PolicyServiceClient::new(admin.clone()).confirm_policy(confirm).await.unwrap();
    assert_eq!(rig.control.in_force().policy.revert_at, None);
    floor(&admin, 90, None).await.unwrap();
    assert_eq!(rig.control.in_force().policy.actor.id, format!("uid:{ADMIN}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_may_ask_who_they_are() {
    if cannot_be_others("whoever_connects_may_ask_who_they_are") {
        return;
    }
    let rig = Rig::start();
    for (uid, gid, role, from) in [
        (NOBODYS, NOBODYS, wire::Role::Unspecified, ""),
        (NOBODYS, READERS, wire::Role::Reader, "group 61002"),
        (NOBODYS, OPERATORS, wire::Role::Operator, "group 61001"),
        (ADMIN, READERS, wire::Role::Admin, "uid 61000 in local_admin_uids"),
        (0, NOBODYS, wire::Role::Admin, "uid 0 in local_admin_uids"),
    ] {
        let mut client = HostServiceClient::new(rig.channel_as(uid, gid).await);
        let told = client.who_am_i(wire::WhoAmIRequest {}).await.unwrap().into_inner();
        assert_eq!((told.role(), told.role_from.as_str()), (role, from));
        assert_eq!(told.caller.unwrap().name, format!("uid:{uid}"));
        assert_eq!((told.host.as_str(), told.peer.as_str()), ("node1", ""));
        assert!(told.certificate.is_none() && told.host_time.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_end_the_streams_of_those_who_have_no_role_by_them() {
    if cannot_be_others("other_rules_end_the_streams_of_those_who_have_no_role_by_them") {
        return;
    }
    let mut rig = Rig::start();
    let reader = rig.channel_as(NOBODYS, READERS).await;
    let operator = rig.channel_as(NOBODYS, OPERATORS).await;
    let mut ends = Watching::open(reader.clone(), live()).await.unwrap();
    let mut stays = Watching::open(operator, live()).await.unwrap();
    ends.hello().await;
    stays.hello().await;
    let rules = AuthzConfig { local_reader_groups: Vec::new(), ..Options::default().authz };
    rig.reload(rules);
    let end = loop {
        match ends.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an orderly end"),
            Err(end) => break end,
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    rig.tick(&["web1"], false).await;
    while !matches!(stays.body().await.1, wire::watch_response::Body::Tick(_)) {}
    // Nor may they open another one, until they are somebody again. The connection of before ends, with
    // whatever is sent over it.
    while reason(&Watching::open(reader.clone(), live()).await.err().unwrap()) != "ROLE_MISSING" {}
    let rules =
        AuthzConfig { local_reader_groups: vec![Group::Id(READERS)], ..Options::default().authz };
    rig.reload(rules);
    while Watching::open(reader.clone(), live()).await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_much_in_a_short_time_but_all_may_pause() {
    if cannot_be_others("nobody_changes_much_in_a_short_time_but_all_may_pause") {
        return;
    }
    let rig = Rig::start();
    let operator = rig.channel_as(NOBODYS, OPERATORS).await;
    let (began, mut made) = (tokio::time::Instant::now(), 0);
    let refused = loop {
        match floor(&operator, 64 + made, Some(600)).await {
            Ok(_) => made += 1,
            Err(refused) => break refused,
        }
    };
    // One comes back every three seconds, also between the calls below.
    assert!((20..=21 + began.elapsed().as_secs() / 3).contains(&made), "{made}");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_FAST"));
    assert!(refused.get_error_details().retry_info().is_some());
    pause(&operator).await.unwrap();
    // What is paused is no more paused by that, and the audit would be full of it.
    let again = refusal(async || pause(&operator).await).await;
    assert_eq!(reason(&again), "TOO_FAST");
    let refused = refusal(async || mode(&operator, wire::Mode::Active).await).await;
    assert_eq!(reason(&refused), "TOO_FAST");
    // Another operator, and an admin of this host, are not kept from anything by that.
    floor(&rig.channel_as(READERS, OPERATORS).await, 200, Some(600)).await.unwrap();
    let admin = rig.channel_as(ADMIN, NOBODYS).await;
    for step in 0..25 {
        floor(&admin, 300 + step, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_this_host_has_so_many_connections_and_keeps_nobody_out() {
    if cannot_be_others("a_user_of_this_host_has_so_many_connections_and_keeps_nobody_out") {
        return;
    }
    const WHO_AM_I: &str = "/agentd.v1.HostService/WhoAmI";
    let rig = Rig::start();
    let mut held = Vec::new();
    for _ in 0..16 {
        let channel = rig.channel_as(NOBODYS, READERS).await;
        call(channel.clone(), WHO_AM_I).await.unwrap();
        held.push(channel);
    }
    // It is turned away before or after its first words.
    if let Ok(more) = rig.try_channel_as(NOBODYS, READERS).await {
        call(more, WHO_AM_I).await.unwrap_err();
    }
    call(rig.channel_as(READERS, READERS).await, WHO_AM_I).await.unwrap();
    call(rig.channel_as(ADMIN, NOBODYS).await, WHO_AM_I).await.unwrap();
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_has_so_many_streams() {
    if cannot_be_others("each_has_so_many_streams") {
        return;
    }
    let rig = Rig::start();
    let reader = rig.channel_as(NOBODYS, READERS).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Watching::open(reader.clone(), live()).await.unwrap());
    }
    let refused = Watching::open(reader.clone(), live()).await.err().unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_STREAMS")
    );
    let other = rig.channel_as(READERS, READERS).await;
    Watching::open(other, live()).await.unwrap();
    streams.pop();
    while Watching::open(reader.clone(), live()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A stream that does not end by itself.
fn live() -> wire::WatchRequest {
    wire::WatchRequest { follow: true, ..wire::WatchRequest::default() }
}

/// Asks until it is refused.
async fn refusal(ask: impl AsyncFn() -> Result<(), Status>) -> Status {
    for _ in 0..100 {
        if let Err(refused) = ask().await {
            return refused;
        }
    }
    panic!("nothing is refused");
}

async fn pause(channel: &Channel) -> Result<(), Status> {
    mode(channel, wire::Mode::Paused).await
}

async fn mode(channel: &Channel, mode: wire::Mode) -> Result<(), Status> {
    let request = wire::SetModeRequest { mode: mode.into(), reason: String::new() };
    HostServiceClient::new(channel.clone()).set_mode(request).await.map(drop)
}

/// Sets the floor, for so many seconds or for good; the etag.
async fn floor(channel: &Channel, mib: u64, seconds: Option<i64>) -> Result<String, Status> {
    let request = wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { floor_bytes: Some(mib << 20), ..wire::Policy::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["floor_bytes".to_owned()] }),
        revert_after: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ..wire::UpdatePolicyRequest::default()
    };
    let answer = PolicyServiceClient::new(channel.clone()).update_policy(request).await?;
    Ok(answer.into_inner().current.unwrap().etag)
}
