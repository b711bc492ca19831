//! Watch: what a stream carries, from where, and what its filters leave out.

use std::time::Duration;

use agentd::event::{Event, VmChange};
use agentd_core::bytes::ByteCount;
use agentd_core::life::Life;
use agentd_proto::v1 as wire;
use tonic::Code;
use wire::{GapReason, watch_request::Start, watch_response::Body};

use crate::rig::{Options, Rig, Watching, encoded, id};

fn from(start: Start) -> wire::WatchRequest {
    wire::WatchRequest { start: Some(start), ..wire::WatchRequest::default() }
}

fn follow() -> wire::WatchRequest {
    wire::WatchRequest { follow: true, ..wire::WatchRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn says_hello_replays_and_follows() {
    let mut rig = Rig::start();
    rig.ticks(3).await;
    let mut stream =
        rig.watch(wire::WatchRequest { follow: true, ..from(Start::Oldest(true)) }).await;
    let hello = stream.hello().await;
    assert_eq!((hello.host.as_str(), hello.agent_version.as_str()), ("node1", "1.2.3"));
    assert_eq!((hello.oldest, hello.newest), (Some(rig.position(1)), Some(rig.position(3))));
    assert_eq!((hello.ring_capacity_bytes, hello.resume_failed), (1 << 20, false));
    for seq in 1..=3 {
        assert_eq!(stream.tick().await.0, seq);
    }
    let live = rig.tick(&["web1", "db1"], true).await;
    let (seq, tick) = stream.tick().await;
    assert_eq!((seq, tick.tick), (live, live - 1));
    assert_eq!(tick.transfers.len(), 1);
    let given = tick.transfers.first().unwrap();
    assert_eq!((given.amount_bytes, given.granted_bytes), (50 << 20, 50 << 20));
    assert_eq!((given.from.clone(), given.to.clone().unwrap().name), (None, "web1".to_owned()));
    let order = tick.resizes.first().unwrap();
    assert_eq!((order.from_bytes, order.to_bytes), (1 << 30, (1 << 30) + (50 << 20)));
    assert_eq!(order.outcome(), wire::Outcome::Accepted);
    let verdict = tick.vms.first().unwrap().verdict.clone().unwrap();
    assert_eq!(
        (verdict.kind(), verdict.reason.as_str()),
        (wire::VerdictKind::Grow, "NEEDS_MEMORY")
    );
    assert!(verdict.message.starts_with("gets 50 MiB"), "{}", verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_the_next_entry_unless_told_otherwise() {
    let mut rig = Rig::start();
    rig.ticks(2).await;
    let mut stream = rig.watch(follow()).await;
    assert_eq!(stream.hello().await.newest, Some(rig.position(2)));
    rig.ticks(1).await;
    assert_eq!(stream.tick().await.0, 3);
    let mut ended = rig.watch(wire::WatchRequest::default()).await;
    ended.hello().await;
    assert_eq!(ended.rest().await, Vec::<u64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn resumes_behind_every_position() {
    let mut rig = Rig::start();
    rig.ticks(8).await;
    for seq in 0..=8 {
        let mut stream = rig.watch(from(Start::After(rig.position(seq)))).await;
        assert!(!stream.hello().await.resume_failed);
        assert_eq!(stream.rest().await, (seq + 1..=8).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_out_what_the_filter_names_and_counts_only_the_rest() {
    let mut rig = Rig::start();
    rig.tick(&["web1", "db1"], true).await; // 1
    rig.ticks(2).await; // 2, 3
    let gone = VmChange { vm: id(1), name: "db1".into(), before: Some(Life::Running), after: None };
    rig.recorder.note(Event::Vm(gone)); // 4
    rig.published(4).await;
    rig.tick(&["web1"], true).await; // 5
    rig.ticks(1).await; // 6

    let all = || from(Start::Oldest(true));
    let kind = |kind: wire::EventKind| vec![kind.into()];
    let names = |name: &str| vec![name.to_owned()];
    let last = |count| Some(Start::Tail(count));
    let ticks = kind(wire::EventKind::Tick);
    let cases = [
        (wire::WatchRequest { kinds: kind(wire::EventKind::Vm), ..all() }, vec![4]),
        (wire::WatchRequest { kinds: ticks.clone(), ..all() }, vec![1, 2, 3, 5, 6]),
        (wire::WatchRequest { only_changes: true, ..all() }, vec![1, 4, 5]),
        (wire::WatchRequest { only_changes: true, vms: names("db1"), ..all() }, vec![4]),
        (wire::WatchRequest { vms: names("web1"), ..all() }, vec![1, 2, 3, 5, 6]),
        (wire::WatchRequest { start: last(2), ..all() }, vec![5, 6]),
        (wire::WatchRequest { start: last(2), only_changes: true, ..all() }, vec![4, 5]),
        (wire::WatchRequest { start: last(4), kinds: ticks, ..all() }, vec![2, 3, 5, 6]),
        (wire::WatchRequest { start: last(0), ..all() }, vec![]),
        (wire::WatchRequest { start: last(u64::MAX), ..all() }, vec![1, 2, 3, 4, 5, 6]),
    ];
    for (request, expected) in cases {
        let mut stream = rig.watch(request.clone()).await;
        stream.hello().await;
        assert_eq!(stream.rest().await, expected, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_for_some_vms_tell_of_no_others() {
    let mut rig = Rig::start();
    rig.tick(&["web1", "db1"], true).await;
    let named = |name: String| wire::WatchRequest { vms: vec![name], ..from(Start::Oldest(true)) };
    for (name, vm, moved) in [("web1", "web1", 1), ("db1", "db1", 0)] {
        let mut stream = rig.watch(named(name.to_owned())).await;
        stream.hello().await;
        let (_, tick) = stream.tick().await;
        let names: Vec<_> = tick.vms.iter().map(|vm| vm.vm.clone().unwrap().name).collect();
        assert_eq!(names, [vm]);
        assert_eq!((tick.transfers.len(), tick.resizes.len()), (moved, moved));
    }
    let mut stream = rig.watch(named(id(1).to_string().to_uppercase())).await;
    stream.hello().await;
    assert_eq!(stream.tick().await.1.vms.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn since_goes_by_the_age_of_entries() {
    let mut rig = Rig::start();
    rig.ticks(5).await; // one a second
    rig.pass(Duration::from_millis(500));
    let since = |millis: i32| prost_types::Duration {
        seconds: i64::from(millis / 1000),
        nanos: millis % 1000 * 1_000_000,
    };
    for (age, expected) in
        [(0, vec![]), (600, vec![5]), (2600, vec![3, 4, 5]), (9_000_000, vec![1, 2, 3, 4, 5])]
    {
        let mut stream = rig.watch(from(Start::Since(since(age)))).await;
        stream.hello().await;
        assert_eq!(stream.rest().await, expected, "{age} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_carries_heartbeats_that_move_the_place_to_resume_at() {
    let mut rig = Rig::start();
    let request = wire::WatchRequest {
        kinds: vec![wire::EventKind::Policy.into()],
        heartbeat_interval: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
        ..follow()
    };
    let mut stream = rig.watch(request).await;
    let interval = stream.hello().await.heartbeat_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (1, 0));
    assert_eq!(stream.body().await, (rig.position(0), Body::Heartbeat(wire::Heartbeat {})));
    rig.ticks(3).await;
    let mut seen = rig.position(0);
    while seen != rig.position(3) {
        let (position, body) = stream.body().await;
        assert_eq!(body, Body::Heartbeat(wire::Heartbeat {}));
        assert!(position.seq >= seen.seq);
        seen = position;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_whole_state() {
    let mut rig = Rig::start();
    let ask = wire::WatchRequest { snapshot: true, ..wire::WatchRequest::default() };
    let mut empty = rig.watch(ask.clone()).await;
    empty.hello().await;
    let (position, Body::Snapshot(state)) = empty.body().await else { panic!("no snapshot") };
    assert_eq!((position, state.memory, &state.pool), (rig.position(0), None, &None));
    assert_eq!((state.mode(), state.policy.unwrap().revision), (wire::Mode::Active, 1));

    rig.tick(&["web1", "db1"], false).await;
    let mut stream = rig.watch(ask).await;
    stream.hello().await;
    let (position, Body::Snapshot(state)) = stream.body().await else { panic!("no snapshot") };
    assert_eq!((position, state.continued), (rig.position(1), false));
    assert_eq!(state.memory.unwrap().total_bytes, ByteCount::gib(16).as_u64());
    assert_eq!(state.pool.unwrap().actual_bytes, ByteCount::gib(2).as_u64());
    assert_eq!(state.vms.len(), 2);
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_encoded_once_for_all_watchers() {
    let mut rig = Rig::start();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = rig.watch(follow()).await;
        stream.hello().await;
        streams.push(stream);
    }
    rig.ticks(4).await;
    for stream in &mut streams {
        let mut last = 0;
        for seq in 1..=4 {
            last = stream.tick().await.0;
            assert_eq!(last, seq);
        }
        assert_eq!(last, 4);
    }
    assert_eq!(encoded(&rig.publisher), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_it_missed() {
    let mut rig = Rig::with(Options { ring_bytes: 32 << 10, ..Options::default() });
    let narrow = rig.endpoint().initial_stream_window_size(1 << 10);
    let request = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let channel = narrow.connect().await.unwrap();
    let mut slow = Watching::open(channel, request.clone()).await.unwrap();
    let mut quick = rig.watch(request).await;
    slow.hello().await;
    quick.hello().await;

    // Far more than the connection buffers and the ring holds together.
    let vms: Vec<String> = (0..40).map(|index| format!("vm{index}")).collect();
    let vms: Vec<&str> = vms.iter().map(String::as_str).collect();
    let mut newest = 0;
    for _ in 0..200 {
        newest = rig.tick(&vms, false).await;
        assert_eq!(quick.tick().await.0, newest);
    }

    let (mut seq, mut gaps) = (0, 0);
    while seq < newest {
        match slow.body().await {
            (position, Body::Tick(_)) => {
                assert_eq!(position.seq, seq + 1);
                seq = position.seq;
            }
            (position, Body::Gap(gap)) => {
                assert_eq!(gap.reason(), GapReason::SlowConsumer);
                assert_eq!(gap.first, Some(rig.position(seq + 1)));
                assert_eq!(gap.last, Some(position.clone()));
                assert_eq!(gap.missed, Some(position.seq - seq));
                (seq, gaps) = (position.seq, gaps + 1);
            }
            (_, Body::Heartbeat(_)) => {}
            (_, other) => panic!("{other:?} instead of a tick or a gap"),
        }
    }
    // More than one where the stream was served late, too.
    assert!(gaps > 0);
    let meters = rig.publisher.meters();
    assert!(meters.counted().lost["slow_consumer"] > 0, "{:?}", meters.counted());
    assert_eq!(meters.watchers(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_watcher_too_many_is_told_when_to_come_back() {
    let rig = Rig::with(Options { max_watchers: 2, ..Options::default() });
    let first = rig.watch(follow()).await;
    let _second = rig.watch(follow()).await;
    let refused = Watching::open(rig.channel().await, follow()).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    drop(first);
    while Watching::open(rig.channel().await, follow()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_requests_that_make_no_sense_and_names_the_field() {
    let rig = Rig::start();
    let long = || vec!["x".to_owned(); 257];
    let minus = prost_types::Duration { seconds: -1, nanos: 0 };
    let cases = [
        ("kinds[1]", wire::WatchRequest { kinds: vec![1, 0], ..follow() }),
        ("kinds[0]", wire::WatchRequest { kinds: vec![99], ..follow() }),
        ("vms", wire::WatchRequest { vms: long(), ..follow() }),
        ("vms[0]", wire::WatchRequest { vms: vec![String::new()], ..follow() }),
        ("vms[0]", wire::WatchRequest { vms: vec!["a\nb".to_owned()], ..follow() }),
        ("since", from(Start::Since(minus))),
        ("heartbeat_interval", wire::WatchRequest { heartbeat_interval: Some(minus), ..follow() }),
        ("after.epoch", from(Start::After(wire::Position::default()))),
        ("after.seq", from(Start::After(rig.position(7)))),
    ];
    for (field, request) in cases {
        let refused = Watching::open(rig.channel().await, request).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        let details = tonic_types::StatusExt::get_error_details(&refused);
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations.first().unwrap().field, field);
    }
}
