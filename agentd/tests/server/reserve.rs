//! Reservations through the wire.

use agentd::control::Control;
use agentd_core::bytes::ByteCount;
use agentd_proto::v1 as wire;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::{
    ReservationEvent, ReservationState, policy_service_client::PolicyServiceClient,
    reservation_service_client::ReservationServiceClient, watch_response::Body,
};

use crate::rig::{Rig, Watching};

type Client = ReservationServiceClient<Channel>;
type Request = wire::CreateReservationRequest;

const GIB: u64 = 1 << 30;

fn size(gib: u64) -> Request {
    Request { min_bytes: gib * GIB, ..Request::default() }
}

async fn create(client: &mut Client, request: Request) -> Result<wire::Reservation, Status> {
    let made = client.create_reservation(request).await?.into_inner();
    Ok(made.reservation.unwrap())
}

async fn get(client: &mut Client, id: u64) -> wire::Reservation {
    let request = wire::GetReservationRequest { id };
    client.get_reservation(request).await.unwrap().into_inner().reservation.unwrap()
}

async fn open(client: &mut Client) -> Vec<u64> {
    let listed = client.list_reservations(wire::ListReservationsRequest {}).await.unwrap();
    listed.into_inner().reservations.iter().map(|own| own.id).collect()
}

/// The reason of a refusal.
fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    (status.code(), details.error_info().unwrap().reason.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_made_filled_handed_over_and_told_in_the_log() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    let kinds = vec![wire::EventKind::Reservation.into()];
    let follow = wire::WatchRequest { follow: true, kinds, ..wire::WatchRequest::default() };
    let mut stream = rig.watch(follow).await;
    stream.hello().await;

    let asked = Request { vm: "db7".to_owned(), reason: "start db7".to_owned(), ..size(2) };
    let made = create(&mut client, asked).await.unwrap();
    assert_eq!((made.id, made.state()), (1, ReservationState::Filling));
    assert_eq!((made.min_bytes, made.max_bytes, made.held_bytes), (2 * GIB, 2 * GIB, None));
    assert!(made.actor.clone().unwrap().id.starts_with("uid:"));
    // The host has that much; its entry comes with the next tick.
    rig.tick(&["web1"], false).await;
    // What a tick says of reservations is noted a moment after it, and by another thread.
    assert_eq!(told(&mut stream).await, ReservationEvent::Made);
    assert_eq!(told(&mut stream).await, ReservationEvent::Filled);
    let filled = get(&mut client, 1).await;
    assert_eq!((filled.state(), filled.held_bytes), (ReservationState::Filled, Some(2 * GIB)));
    assert_eq!(filled.lacks_bytes, Some(0));
    rig.tick(&["web1", "db7"], false).await;
    assert_eq!(told(&mut stream).await, ReservationEvent::HandedOver);
    let over = get(&mut client, 1).await;
    assert_eq!(over.state(), ReservationState::HandedOver);
    assert_eq!(over.handed_to.unwrap().name, "db7");
    assert_eq!(open(&mut client).await, Vec::<u64>::new());
}

/// The next event of reservation 1.
async fn told(stream: &mut Watching) -> ReservationEvent {
    loop {
        let Body::ReservationChanged(change) = stream.body().await.1 else { continue };
        assert_eq!(change.reservation.as_ref().unwrap().id, 1);
        return change.event();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_says_how_much_and_who_gives_nothing() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    // Of 16 GiB the host has 8: what the two hold, and what it uses itself.
    rig.tick(&["web1", "db1"], true).await;
    let asked = Request { min_bytes: 9 * GIB, ..Request::default() };
    let asked = create(&mut client, asked).await.unwrap();
    assert_eq!(asked.message, "is made, and what it holds is not known yet");
    rig.tick(&["web1", "db1"], true).await;
    let lacks = get(&mut client, asked.id).await;
    assert_eq!(lacks.state(), ReservationState::Filling);
    let (held, missing) = (lacks.held_bytes.unwrap(), lacks.lacks_bytes.unwrap());
    assert!(held > 7 * GIB && held + missing == 9 * GIB, "{lacks:?}");
    assert!(lacks.message.contains("are missing"), "{}", lacks.message);
    let refusal = lacks.refusals.first().expect("web1 needs what it has");
    assert_eq!(refusal.vm.as_ref().unwrap().name, "web1");
    assert!(refusal.beyond_bytes > 0 && !refusal.reason.is_empty(), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_its_way_down_refuses_nothing_and_who_is_on_its_way_up_does() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    create(&mut client, Request { min_bytes: 9 * GIB, ..Request::default() }).await.unwrap();
    for (target, refuses) in [(900, false), (1024, true), (1100, true)] {
        rig.tick_on_the_way(&["web1", "db1"], ByteCount::mib(target)).await;
        let lacks = get(&mut client, 1).await;
        let names = lacks.refusals.iter().map(|own| own.vm.as_ref().unwrap().name.as_str());
        assert_eq!(names.collect::<Vec<_>>().contains(&"web1"), refuses, "{target} MiB: {lacks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_field_and_makes_nothing() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let early = create(&mut client, size(1)).await.unwrap_err();
    assert_eq!(reason(&early), (Code::Unavailable, "VMS_UNREAD".to_owned()));
    rig.tick(&["web1"], false).await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let nonsense = [
        ("min_bytes", size(0)),
        ("min_bytes", Request { min_bytes: 4095, ..size(1) }),
        ("min_bytes", size(17)),
        ("max_bytes", Request { max_bytes: 17 * GIB, ..size(1) }),
        ("max_bytes", Request { max_bytes: GIB, ..size(2) }),
        ("duration", Request { duration: seconds(9), ..size(1) }),
        ("duration", Request { duration: seconds(86_401), ..size(1) }),
        ("duration", Request { duration: seconds(-1), ..size(1) }),
        ("reason", Request { reason: "x".repeat(513), ..size(1) }),
        ("request_id", Request { request_id: "x".repeat(65), ..size(1) }),
        ("vm", Request { vm: "x".repeat(257), ..size(1) }),
    ];
    for (field, request) in nonsense {
        let refused = create(&mut client, request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
        let details = refused.get_error_details();
        let fields = &details.bad_request().unwrap().field_violations;
        assert_eq!(fields.first().unwrap().field, field, "{request:?}");
    }
    let runs = create(&mut client, Request { vm: "web1".to_owned(), ..size(1) }).await.unwrap_err();
    assert_eq!(reason(&runs), (Code::FailedPrecondition, "VM_RUNS".to_owned()));
    let huge = create(&mut client, size(16)).await.unwrap_err();
    assert_eq!(reason(&huge), (Code::FailedPrecondition, "DOES_NOT_FIT".to_owned()));
    assert!(huge.message().contains("host_reserve"), "{}", huge.message());
    assert_eq!(open(&mut client).await, Vec::<u64>::new());
    let dry = create(&mut client, Request { validate_only: true, ..size(1) }).await.unwrap();
    assert_eq!((dry.id, open(&mut client).await), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_hypervisor_cannot_be_read_nothing_older_is_told_for_true() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    create(&mut client, size(2)).await.unwrap();
    rig.tick(&["web1"], false).await;
    assert_eq!(get(&mut client, 1).await.held_bytes, Some(2 * GIB));
    rig.tick_unread().await;
    let now = get(&mut client, 1).await;
    assert_eq!((now.held_bytes, now.lacks_bytes), (None, None));
    assert!(now.message.contains("the last tick failed"), "{}", now.message);
    let refused = create(&mut client, size(1)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "VMS_UNREAD".to_owned()));
    rig.tick(&["web1"], false).await;
    assert_eq!(get(&mut client, 1).await.held_bytes, Some(2 * GIB));
    create(&mut client, size(1)).await.unwrap();
}

/// The end of a reservation is noted a moment after the tick in which its VM was seen.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_just_handed_over_lacks_nothing() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    let asked = Request { vm: "db7".to_owned(), request_id: "r1".to_owned(), ..size(2) };
    create(&mut client, asked.clone()).await.unwrap();
    rig.tick_not_noted(&["web1", "db7"]).await;
    let over = get(&mut client, 1).await;
    assert_eq!(over.state(), ReservationState::HandedOver);
    assert_eq!(over.handed_to.unwrap().name, "db7");
    assert_eq!((&*over.message, over.lacks_bytes), ("handed over to db7", None));
    // Whoever asks for the same again is told the same.
    assert_eq!(create(&mut client, asked).await.unwrap().id, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_released_once_and_an_unknown_one_not_at_all() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    create(&mut client, size(1)).await.unwrap();
    let twice = Request { request_id: "r".to_owned(), ..size(1) };
    let first = create(&mut client, twice.clone()).await.unwrap();
    assert_eq!(create(&mut client, twice).await.unwrap().id, first.id);
    assert_eq!(open(&mut client).await, [1, 2]);
    let delete = |id| wire::DeleteReservationRequest { id, reason: "late".to_owned() };
    let over = client.delete_reservation(delete(1)).await.unwrap().into_inner();
    assert_eq!(over.reservation.unwrap().state(), ReservationState::Released);
    let again = client.delete_reservation(delete(1)).await.unwrap().into_inner();
    assert!(over.position.is_some() && again.position.is_none());
    assert_eq!(open(&mut client).await, [2]);
    let unknown = client.delete_reservation(delete(77)).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_RESERVATION".to_owned()));
}

/// Of 16 GiB the host keeps 200 MiB and uses 6 GiB itself; each VM holds 1 GiB and may hold 4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_judged_by_the_policy_of_now_and_not_of_the_last_tick() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let mut policies = PolicyServiceClient::new(rig.channel().await);
    let mut set = async |vms: &[(&str, wire::VmPolicy)]| {
        let vms = vms.iter().map(|(name, vm)| ((*name).to_owned(), *vm)).collect();
        let request = wire::UpdatePolicyRequest {
            policy: Some(wire::Policy { vms, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["vms".to_owned()] }),
            ..Default::default()
        };
        policies.update_policy(request).await.unwrap();
    };
    let least = wire::VmPolicy { min_bytes: Some(4 * GIB), ..Default::default() };
    let pinned = wire::VmPolicy { pinned: Some(true), ..Default::default() };
    rig.tick(&["web1", "db1"], false).await;
    for (vms, most) in [
        (vec![("web1", least), ("db1", least)], 1),
        (vec![], 9),
        (vec![("web1", pinned)], 5),
        (vec![], 9),
    ] {
        set(&vms).await;
        let dry = |gib| Request { validate_only: true, ..size(gib) };
        create(&mut client, dry(most)).await.unwrap();
        let refused = create(&mut client, dry(most + 1)).await.unwrap_err();
        assert_eq!(reason(&refused).1, "DOES_NOT_FIT", "{vms:?}");
    }
    // A pin for a while counts as one of the policy does.
    let mut pins = PolicyServiceClient::new(rig.channel().await);
    let duration = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let pin = wire::PinVmRequest { vm: "web1".to_owned(), duration, ..Default::default() };
    pins.pin_vm(pin).await.unwrap();
    let refused = create(&mut client, size(6)).await.unwrap_err();
    assert_eq!(reason(&refused).1, "DOES_NOT_FIT", "{refused}");
    let unpin = wire::UnpinVmRequest { vm: "web1".to_owned(), ..Default::default() };
    pins.unpin_vm(unpin).await.unwrap();
    // The last tick knew of a pin that has ended since.
    set(&[("web1", pinned)]).await;
    rig.tick(&["web1", "db1"], false).await;
    set(&[]).await;
    create(&mut client, Request { validate_only: true, ..size(9) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_agentd_is_paused_one_that_was_filled_says_so_and_that_nobody_looks() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    create(&mut client, size(2)).await.unwrap();
    let made = create(&mut client, size(1)).await.unwrap();
    assert_eq!(made.message, "is made, and what it holds is not known yet");
    rig.tick(&["web1"], false).await;
    // Whoever keeps reservations takes that in beside the ticks.
    let is_noted = |control: &Control| {
        let reservations = &control.in_force().reservations;
        reservations.open.iter().all(|own| own.filled)
    };
    while !is_noted(&rig.control) {
        tokio::task::yield_now().await;
    }
    rig.tick_paused(&["web1"]).await;
    for id in [1, 2] {
        let paused = get(&mut client, id).await;
        assert_eq!((paused.state(), paused.held_bytes), (ReservationState::Filled, None));
        let words =
            "was filled, and what it holds now is not known; agentd is paused and decides nothing";
        assert_eq!(paused.message, words);
    }
}

/// Of the host's 8 GiB usable it keeps 200 MiB; each VM has 300 MiB unused.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_asked_for_what_it_could_spare_is_not_said_to_be_needed_by_nobody() {
    let mut rig = Rig::start();
    let mut client = Client::new(rig.channel().await);
    let vms = ["web1", "db1", "db2"];
    let working_set = wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { algorithm: "working-set".to_owned(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["algorithm".to_owned()] }),
        ..Default::default()
    };
    let mut policies = PolicyServiceClient::new(rig.channel().await);
    policies.update_policy(working_set).await.unwrap();
    rig.tick(&vms, false).await;
    create(&mut client, Request { min_bytes: (8 * 1024 - 200 + 20) << 20, ..size(0) })
        .await
        .unwrap();
    rig.tick(&vms, false).await;
    let lacks = get(&mut client, 1).await;
    assert_eq!(lacks.lacks_bytes, Some(20 << 20), "{lacks:?}");
    let idle = lacks.refusals.iter().find(|own| own.reason == "SPARE_NOT_NEEDED");
    let message = &idle.unwrap_or_else(|| panic!("one gives enough: {lacks:?}")).message;
    assert!(
        message.contains("is not asked for it: what is missing comes from others"),
        "{message}"
    );
}
