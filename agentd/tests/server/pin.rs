//! VMs that are pinned for a while, through the wire.

use std::time::Duration;

use agentd_proto::v1 as wire;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::{
    PinEvent, host_service_client::HostServiceClient, policy_service_client::PolicyServiceClient,
    vm_service_client::VmServiceClient, watch_response::Body,
};

use crate::{
    authz::reason,
    rig::{ADMIN, NOBODYS, OPERATORS, READERS, Rig, Watching, cannot_be_others, id},
};

type Client = PolicyServiceClient<Channel>;

fn wanted(vm: &str, seconds: i64) -> wire::PinVmRequest {
    wire::PinVmRequest {
        vm: vm.to_owned(),
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        reason: "import".to_owned(),
        validate_only: false,
    }
}

async fn pin(
    client: &mut Client,
    request: wire::PinVmRequest,
) -> Result<wire::PinVmResponse, Status> {
    Ok(client.pin_vm(request).await?.into_inner())
}

async fn unpin(client: &mut Client, vm: &str) -> Result<wire::UnpinVmResponse, Status> {
    let request = wire::UnpinVmRequest { vm: vm.to_owned(), ..wire::UnpinVmRequest::default() };
    Ok(client.unpin_vm(request).await?.into_inner())
}

async fn policy(client: &mut Client) -> wire::GetPolicyResponse {
    client.get_policy(wire::GetPolicyRequest {}).await.unwrap().into_inner()
}

/// What a VM is pinned by at the last tick, as it is listed and as it is explained.
async fn seen(channel: &Channel, name: &str) -> (Option<wire::Pin>, String) {
    let mut client = VmServiceClient::new(channel.clone());
    let listed = client.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner();
    let vm = listed.vms.into_iter().find(|vm| vm.vm.as_ref().unwrap().name == name).unwrap();
    let request = wire::ExplainVmRequest { vm: name.to_owned(), ..Default::default() };
    let told = client.explain_vm(request).await.unwrap().into_inner();
    assert_eq!(told.pin, vm.pin);
    (vm.pin, told.verdict.unwrap().reason)
}

/// The next event of a pin, and of which VM.
async fn told(stream: &mut Watching) -> (PinEvent, String) {
    loop {
        let Body::PinChanged(change) = stream.body().await.1 else { continue };
        return (change.event(), change.pin.unwrap().vm.unwrap().name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_made_shown_beside_the_policy_and_over_at_its_time() {
    let mut rig = Rig::start();
    let channel = rig.channel().await;
    let mut client = Client::new(channel.clone());
    rig.tick(&["web1", "db1"], false).await;
    let follow = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    // What concerns another VM passes no filter of VMs.
    let filter = wire::WatchRequest { vms: vec!["db1".to_owned()], ..follow.clone() };
    let (mut stream, mut filtered) = (rig.watch(follow).await, rig.watch(filter).await);
    stream.hello().await;
    filtered.hello().await;

    let before = policy(&mut client).await.current.unwrap();
    let made = pin(&mut client, wanted("web1", 60)).await.unwrap();
    let own = made.pin.clone().unwrap();
    assert_eq!(own.vm.as_ref().unwrap().uuid, id(0).to_string());
    assert!(made.position.is_some() && made.replaced.is_none() && !made.policy_pins);
    assert!(own.actor.as_ref().unwrap().id.starts_with("uid:"));
    let now = policy(&mut client).await;
    assert_eq!((now.current.unwrap(), now.pins), (before.clone(), vec![own.clone()]));
    rig.tick(&["web1", "db1"], false).await;
    assert_eq!(seen(&channel, "web1").await, (Some(own.clone()), "PINNED".to_owned()));
    assert_eq!(seen(&channel, "db1").await.0, None);
    let status =
        HostServiceClient::new(channel.clone()).get_status(wire::GetStatusRequest {}).await;
    let status = status.unwrap().into_inner();
    assert_eq!((status.managed_vms, status.total_vms), (1, 2));
    // Said again it is for as long as it is said then.
    let again = pin(&mut client, wanted(&id(0).to_string(), 10)).await.unwrap();
    assert_eq!(again.replaced, Some(own.clone()));
    assert!(again.pin.unwrap().end_time.unwrap().seconds < own.end_time.unwrap().seconds);
    pin(&mut client, wanted("db1", 3600)).await.unwrap();

    rig.pass(Duration::from_secs(10));
    rig.control.expire().unwrap();
    rig.tick(&["web1", "db1"], false).await;
    let (gone, why) = seen(&channel, "web1").await;
    assert!(gone.is_none() && why != "PINNED", "{why}");
    assert_eq!(policy(&mut client).await.current, Some(before));
    unpin(&mut client, "db1").await.unwrap();
    let (web1, db1) = ("web1".to_owned(), "db1".to_owned());
    for expected in [
        (PinEvent::Begun, web1.clone()),
        (PinEvent::Replaced, web1.clone()),
        (PinEvent::Begun, db1.clone()),
        (PinEvent::Expired, web1),
        (PinEvent::Ended, db1.clone()),
    ] {
        assert_eq!(told(&mut stream).await, expected);
    }
    assert_eq!(told(&mut filtered).await, (PinEvent::Begun, db1.clone()));
    assert_eq!(told(&mut filtered).await, (PinEvent::Ended, db1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_pins_as_well_is_said() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    let pinned = wire::VmPolicy { pinned: Some(true), ..wire::VmPolicy::default() };
    let vms = [("web1".to_owned(), pinned)].into_iter().collect();
    let request = wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { vms, ..wire::Policy::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["vms.web1.pinned".to_owned()] }),
        ..wire::UpdatePolicyRequest::default()
    };
    client.update_policy(request).await.unwrap();
    assert!(pin(&mut client, wanted("web1", 60)).await.unwrap().policy_pins);
    // Also once its VM is gone, by the name that it had.
    rig.tick(&[], false).await;
    assert!(unpin(&mut client, "web1").await.unwrap().policy_pins);
    let refused = unpin(&mut client, "web1").await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_PINNED");
    assert_eq!(policy(&mut client).await.current.unwrap().revision, 2);
}

/// The name that a VM has now is its own, whatever another one was called when it was pinned.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_renamed_is_found_by_its_uuid_and_by_the_name_it_has_now() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let ended = |answer: wire::UnpinVmResponse| answer.pin.unwrap().vm.unwrap().uuid;
    for name in ["web2", &id(0).to_string()] {
        pin(&mut client, wanted(&id(0).to_string(), 60)).await.unwrap();
        rig.tick(&["web2", "db1"], false).await;
        assert_eq!(ended(unpin(&mut client, name).await.unwrap()), id(0).to_string(), "{name}");
        rig.tick(&["web1", "db1"], false).await;
    }
    // Nobody else has the name of before: it still says which is meant.
    pin(&mut client, wanted("web1", 60)).await.unwrap();
    rig.tick(&["web2", "db1"], false).await;
    assert_eq!(ended(unpin(&mut client, "web1").await.unwrap()), id(0).to_string());
    // Another one has it now, which is not pinned.
    pin(&mut client, wanted("web2", 60)).await.unwrap();
    rig.tick(&["web9", "web2"], false).await;
    let refused = unpin(&mut client, "web2").await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_PINNED");
    // The policy pins it by the name that it has now.
    let pinned = wire::VmPolicy { pinned: Some(true), ..wire::VmPolicy::default() };
    let vms = [("web9".to_owned(), pinned)].into_iter().collect();
    let request = wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { vms, ..wire::Policy::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["vms.web9.pinned".to_owned()] }),
        ..wire::UpdatePolicyRequest::default()
    };
    client.update_policy(request).await.unwrap();
    let answer = unpin(&mut client, "web9").await.unwrap();
    assert!(answer.policy_pins);
    assert_eq!(ended(answer), id(0).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_field_and_pins_nothing() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let early = pin(&mut client, wanted("web1", 60)).await.unwrap_err();
    assert_eq!((early.code(), reason(&early).as_str()), (Code::Unavailable, "VMS_UNREAD"));
    rig.tick(&["web1", "twin", "twin"], false).await;
    let newest = rig.publisher.ring().span().newest;
    let nonsense = [
        ("duration", wire::PinVmRequest { duration: None, ..wanted("web1", 60) }),
        ("duration", wanted("web1", 0)),
        ("duration", wanted("web1", -1)),
        ("duration", wanted("web1", 86_401)),
        ("vm", wanted("", 60)),
        ("vm", wanted("a\nb", 60)),
        ("vm", wanted("twin", 60)),
        ("reason", wire::PinVmRequest { reason: "x".repeat(513), ..wanted("web1", 60) }),
    ];
    for (field, request) in nonsense {
        let refused = pin(&mut client, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    }
    let unknown = pin(&mut client, wanted("web9", 60)).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "UNKNOWN_VM"));
    let dry = wire::PinVmRequest { validate_only: true, ..wanted("web1", 86_400) };
    let would = pin(&mut client, dry).await.unwrap();
    assert!(would.pin.is_some() && would.position.is_none());
    assert_eq!(policy(&mut client).await.pins, []);
    assert_eq!(rig.publisher.ring().span().newest, newest);
    // A tick that cannot read the hypervisor takes nobody's name.
    rig.tick_unread().await;
    pin(&mut client, wanted("web1", 60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_pins_for_a_while_and_undoes_nobody_elses() {
    if cannot_be_others("an_operator_pins_for_a_while_and_undoes_nobody_elses") {
        return;
    }
    let mut rig = Rig::start();
    rig.tick(&["web1"], false).await;
    let mut reader = Client::new(rig.channel_as(NOBODYS, READERS).await);
    let mut first = Client::new(rig.channel_as(NOBODYS, OPERATORS).await);
    let mut second = Client::new(rig.channel_as(READERS, OPERATORS).await);
    let mut admin = Client::new(rig.channel_as(ADMIN, NOBODYS).await);
    let refused = pin(&mut reader, wanted("web1", 60)).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    pin(&mut first, wanted("web1", 60)).await.unwrap();
    pin(&mut first, wanted("web1", 90)).await.unwrap();
    let refused = pin(&mut second, wanted("web1", 60)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "PIN_OF_ANOTHER")
    );
    let refused = unpin(&mut second, "web1").await.unwrap_err();
    assert_eq!(reason(&refused), "PIN_OF_ANOTHER");
    assert!(refused.message().contains(&format!("pinned by uid:{NOBODYS}")), "{refused:?}");
    pin(&mut admin, wanted("web1", 60)).await.unwrap();
    assert_eq!(reason(&unpin(&mut first, "web1").await.unwrap_err()), "PIN_OF_ANOTHER");
    unpin(&mut admin, "web1").await.unwrap();
    pin(&mut second, wanted("web1", 60)).await.unwrap();
    unpin(&mut second, "web1").await.unwrap();
}
