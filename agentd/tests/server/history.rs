//! The history on disk as clients see it: streams that begin in it, ticks of it explained, and its steps.

use std::{
    collections::BTreeSet,
    sync::{atomic::Ordering, mpsc},
    time::Duration,
};

use agentd_proto::v1 as wire;
use tonic::Code;
use wire::{
    GapReason, history_service_client::HistoryServiceClient, vm_service_client::VmServiceClient,
    watch_request::Start, watch_response::Body,
};

use crate::{
    disk::Keeps,
    rig::{Options, Rig, Watching},
};

/// A ring that holds some ticks, and a history that holds all.
fn options() -> Options {
    Options { ring_bytes: 8 << 10, keeps: Keeps::All, ..Options::default() }
}

fn since(seconds: i64, follow: bool) -> wire::WatchRequest {
    let since = prost_types::Duration { seconds, nanos: 0 };
    wire::WatchRequest { start: Some(Start::Since(since)), follow, ..Default::default() }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn step(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_from_the_history_into_the_ring_and_on_without_a_seam() {
    let mut rig = Rig::with(options());
    rig.ticks(200).await;
    let oldest = rig.publisher.ring().span().oldest;
    assert!(oldest > 100, "the ring has all: {oldest}");
    for (age, first) in [(1000, 1), (199, 1), (150, 50), (20, 180), (1, 199)] {
        let mut stream = rig.watch(since(age, false)).await;
        let hello = stream.next().await.unwrap().unwrap();
        assert!(matches!(hello.body, Some(Body::Hello(_))));
        assert_eq!(stream.rest().await, (first..=200).collect::<Vec<_>>(), "since {age} s");
    }
    // Only what is wanted, also of the past.
    rig.tick(&["web1", "db1"], true).await;
    let request = wire::WatchRequest { only_changes: true, ..since(1000, false) };
    let mut stream = rig.watch(request).await;
    stream.next().await.unwrap();
    assert_eq!(stream.rest().await, [201]);

    // One that does not begin with the history is as far back as it was told to be.
    let after = |seq| wire::WatchRequest {
        start: Some(Start::After(rig.position(seq))),
        ..Default::default()
    };
    let mut stream = rig.watch(after(7)).await;
    assert!(!stream.hello().await.resume_failed);
    assert_eq!(stream.rest().await, (8..=201).collect::<Vec<_>>());

    let mut stream = rig.watch(since(1000, true)).await;
    stream.next().await.unwrap();
    for seq in 1..=300 {
        if seq > 201 {
            rig.ticks(1).await;
        }
        assert_eq!(stream.tick().await.0, seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_that_the_ring_has_no_longer_are_explained() {
    let mut rig = Rig::with(options());
    rig.ticks(150).await;
    assert!(rig.publisher.ring().span().oldest > 20);
    let mut client = VmServiceClient::new(rig.channel().await);
    let vm = || wire::ExplainVmRequest { vm: "web1".to_owned(), ..Default::default() };
    // The tick of seq n has number n - 1, and ended at 1000 + n.
    for (request, tick) in [
        (wire::ExplainVmRequest { at: Some(rig.position(5)), ..vm() }, 4),
        (wire::ExplainVmRequest { time: at(1005), ..vm() }, 4),
        (wire::ExplainVmRequest { time: at(1060), ..vm() }, 59),
        (wire::ExplainVmRequest { time: at(9999), ..vm() }, 149),
        (wire::ExplainVmRequest { tick: Some(0), ..vm() }, 0),
        (wire::ExplainVmRequest { tick: Some(77), ..vm() }, 77),
        (wire::ExplainVmRequest { tick: Some(149), ..vm() }, 149),
    ] {
        let told = client.explain_vm(request.clone()).await.unwrap().into_inner();
        assert_eq!((told.tick, told.position), (tick, Some(rig.position(tick + 1))), "{request:?}");
        assert!(told.sentences[0].contains("figures 0.3 s old"), "{:?}", told.sentences);
    }
    for (request, code) in [
        (wire::ExplainVmRequest { time: at(1000), ..vm() }, Code::NotFound),
        (wire::ExplainVmRequest { tick: Some(150), ..vm() }, Code::NotFound),
        (wire::ExplainVmRequest { tick: Some(u64::MAX), ..vm() }, Code::NotFound),
        (wire::ExplainVmRequest { time: at(1005), tick: Some(4), ..vm() }, Code::InvalidArgument),
        (
            wire::ExplainVmRequest { vm: "nobody".to_owned(), time: at(1005), ..vm() },
            Code::NotFound,
        ),
    ] {
        let refused = client.explain_vm(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_count_every_tick_once_whatever_their_length() {
    let mut rig = Rig::with(options());
    for tick in 0..200_u64 {
        rig.tick(&["web1", "db1"], tick % 50 == 0).await;
    }
    // What begins now is behind the end that nobody named.
    rig.pass(Duration::from_secs(1));
    let mut client = HistoryServiceClient::new(rig.channel().await);
    for (length, page_size) in [(1, 7), (7, 500), (60, 1), (60, 500), (120, 2), (86_400, 1)] {
        let mut request =
            wire::ListHistoryRequest { step: step(length), page_size, ..Default::default() };
        let mut points: Vec<wire::HistoryPoint> = Vec::new();
        loop {
            let page = client.list_history(request.clone()).await.unwrap().into_inner();
            assert!(page.points.len() <= usize::try_from(page_size).unwrap());
            assert_eq!((page.step, page.oldest_time), (step(length), at(1001)));
            points.extend(page.points);
            request.end_time = page.end_time;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let times: BTreeSet<i64> = points.iter().map(|p| p.time.unwrap().seconds).collect();
        assert_eq!(times.len(), points.len(), "a step came twice");
        assert!(times.iter().all(|time| time % length == 0), "{times:?}");
        assert_eq!(points.iter().map(|p| p.ticks).sum::<u64>(), 200, "steps of {length} s");
        let orders = |name: &str| -> u64 {
            let vms = points.iter().flat_map(|point| &point.vms);
            vms.filter(|vm| vm.vm.as_ref().unwrap().name == name).map(|vm| vm.orders).sum()
        };
        assert_eq!((orders("web1"), orders("db1")), (4, 0), "steps of {length} s");
        let host = points[0].host.as_ref().unwrap();
        assert_eq!((host.vms, host.actual_bytes, host.total_bytes), (2, 2 << 30, 16 << 30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_what_was_asked_for_and_no_more() {
    let mut rig = Rig::with(options());
    rig.ticks(30).await;
    let pause = agentd::event::Event::Vm(agentd::event::VmChange {
        vm: crate::rig::id(0),
        name: "web1".into(),
        before: None,
        after: Some(agentd_core::life::Life::Running),
    });
    rig.recorder.change(pause).unwrap();
    rig.ticks(100).await;
    let mut client = HistoryServiceClient::new(rig.channel().await);
    let base = || wire::ListHistoryRequest { changes: true, ..Default::default() };
    let mut ask = async |request: wire::ListHistoryRequest| {
        client.list_history(request).await.map(tonic::Response::into_inner)
    };
    let one = wire::ListHistoryRequest {
        start_time: at(1010),
        end_time: at(1021),
        vms: vec!["db1".to_owned()],
        ..base()
    };
    let page = ask(one.clone()).await.unwrap();
    assert_eq!((page.points.len(), page.step, page.start_time), (11, step(1), at(1010)));
    let named = page.points.iter().flat_map(|point| &point.vms);
    assert!(named.clone().all(|vm| vm.vm.as_ref().unwrap().name == "db1") && named.count() == 11);
    assert_eq!(page.changes.len(), 0);

    // A change is told once, by the minute and by the second, to whom it concerns.
    for (length, vms, count) in [(1, "web1", 1), (60, "web1", 1), (60, "db1", 0)] {
        let vms = vec![vms.to_owned()];
        let page =
            ask(wire::ListHistoryRequest { step: step(length), vms, ..base() }).await.unwrap();
        assert_eq!(page.changes.len(), count, "{length} s");
    }
    let page = ask(wire::ListHistoryRequest { changes: false, ..base() }).await.unwrap();
    assert_eq!(page.changes.len(), 0);
    let host = ask(wire::ListHistoryRequest { host_only: true, ..base() }).await.unwrap();
    assert!(host.points.iter().all(|point| point.vms.is_empty() && point.host.is_some()));
    let none = wire::ListHistoryRequest { start_time: at(1), end_time: at(900), ..base() };
    let page = ask(none).await.unwrap();
    assert_eq!((page.points.len(), page.next_page_token.as_str()), (0, ""));

    for bad in [
        wire::ListHistoryRequest { end_time: at(1000), start_time: at(1000), ..base() },
        wire::ListHistoryRequest { page_size: -1, ..base() },
        wire::ListHistoryRequest { page_token: "next".to_owned(), ..base() },
        wire::ListHistoryRequest { host_only: true, ..one },
    ] {
        assert_eq!(ask(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_history_that_is_said_and_all_else_goes_on() {
    let mut rig = Rig::start();
    rig.ticks(3).await;
    let mut client = HistoryServiceClient::new(rig.channel().await);
    let refused = client.list_history(wire::ListHistoryRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("HISTORY_NOT_RECORDED"), "{refused:?}");
    let mut stream = rig.watch(since(1000, false)).await;
    stream.next().await.unwrap();
    assert_eq!(stream.rest().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_still_being_checked_delays_no_tick_and_has_all_once_it_is_open() {
    let (opens, waits) = mpsc::channel();
    let mut rig = Rig::with(Options { keeps: Keeps::Late(waits), ..options() });
    rig.ticks(150).await;
    assert!(rig.publisher.ring().span().oldest > 20);
    assert!(rig.publisher.conditions().has("HISTORY_CHECKING"));
    let mut client = HistoryServiceClient::new(rig.channel().await);
    let list = wire::ListHistoryRequest::default;
    let after = |position| wire::WatchRequest {
        start: Some(Start::After(position)),
        ..wire::WatchRequest::default()
    };
    let former = wire::Position { epoch: "0".repeat(32), seq: 41 };
    let opened = async |request| Watching::open(rig.channel().await, request).await.err().unwrap();
    // Each waits a while for it; together they wait once.
    let (listed, since_then, behind, resumed) = tokio::join!(
        client.list_history(list()),
        opened(since(1000, false)),
        opened(after(rig.position(7))),
        opened(after(former)),
    );
    for refused in [listed.unwrap_err(), since_then, behind, resumed] {
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("is still being checked"), "{refused:?}");
    }
    // What is now, and what the ring has, needs no history.
    assert_eq!(
        rig.watch(after(rig.position(149))).await.hello().await.newest,
        Some(rig.position(150))
    );
    assert_eq!(explained(&rig, 1140).await, 139);

    drop(opens);
    let mut newest = 150;
    while client.list_history(list()).await.is_err() {
        rig.ticks(1).await;
        newest += 1;
    }
    assert!(!rig.publisher.conditions().has("HISTORY_CHECKING"));
    let mut stream = rig.watch(since(10_000, false)).await;
    stream.next().await.unwrap();
    assert_eq!(stream.rest().await, (1..=newest).collect::<Vec<_>>());
    assert_eq!(explained(&rig, 1005).await, 4);
}

/// The tick that is explained when one of this time is asked for.
async fn explained(rig: &Rig, seconds: i64) -> u64 {
    let mut client = VmServiceClient::new(rig.channel().await);
    let (vm, time) = ("web1".to_owned(), at(seconds));
    let request = wire::ExplainVmRequest { vm, time, ..Default::default() };
    client.explain_vm(request).await.unwrap().into_inner().tick
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_keeps_out_of_the_history_is_found_in_the_ring_and_is_no_readers_fault() {
    let mut rig = Rig::with(options());
    rig.ticks(50).await;
    rig.disk.is_full.store(true, Ordering::SeqCst);
    rig.ticks(150).await;
    let oldest = rig.publisher.ring().span().oldest;
    assert!(oldest > 52, "the ring has all: {oldest}");
    // The tick of seq n has number n - 1, and ended at 1000 + n.
    for (seconds, tick) in [(9999, 199), (1190, 189), (1060, 49), (1020, 19)] {
        assert_eq!(explained(&rig, seconds).await, tick, "{seconds} s");
    }
    let mut stream = rig.watch(since(1000, false)).await;
    stream.next().await.unwrap();
    for seq in 1..=50 {
        assert_eq!(stream.tick().await.0, seq);
    }
    let gap = stream.gap().await;
    assert_eq!(gap.reason(), GapReason::Expired);
    assert_eq!((gap.first, gap.last), (Some(rig.position(51)), Some(rig.position(oldest - 1))));
    assert_eq!((gap.missed, stream.rest().await), (Some(oldest - 51), (oldest..=200).collect()));
    assert_eq!(rig.publisher.meters().counted().lost, [("history", 150)].into());

    // It takes some again, which are in the ring as well, behind others that are there alone.
    rig.disk.is_full.store(false, Ordering::SeqCst);
    rig.ticks(5).await;
    let oldest = rig.publisher.ring().span().oldest;
    assert!(oldest < 200, "the ring has only what the history has: {oldest}");
    let mut stream = rig.watch(since(1000, false)).await;
    stream.next().await.unwrap();
    for seq in 1..=50 {
        assert_eq!(stream.tick().await.0, seq);
    }
    let gap = stream.gap().await;
    assert_eq!((gap.first, gap.last), (Some(rig.position(51)), Some(rig.position(oldest - 1))));
    assert_eq!((gap.missed, stream.rest().await), (Some(oldest - 51), (oldest..=205).collect()));
}
