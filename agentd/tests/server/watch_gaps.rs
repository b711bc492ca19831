//! Watch: what a stream could not carry is told in its place.

use std::{sync::PoisonError, time::Duration};

use agentd_proto::v1 as wire;
use wire::{GapReason, watch_request::Start, watch_response::Body};

use crate::rig::{Options, Rig};

fn after(position: wire::Position) -> wire::WatchRequest {
    wire::WatchRequest { start: Some(Start::After(position)), ..wire::WatchRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_before_a_restart_gets_a_gap_and_then_all_there_is() {
    let mut rig = Rig::start();
    rig.ticks(3).await;
    let former = wire::Position { epoch: "0".repeat(32), seq: 41 };
    let mut stream = rig.watch(after(former.clone())).await;
    assert!(stream.hello().await.resume_failed);
    let gap = stream.gap().await;
    assert_eq!(gap.reason(), GapReason::Restarted);
    assert_eq!(gap.first, Some(wire::Position { seq: 42, ..former }));
    assert_eq!((gap.last, gap.missed), (Some(rig.position(0)), None));
    assert_eq!(stream.rest().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_no_longer_kept_gets_a_gap_with_what_is_missing() {
    let mut rig = Rig::with(Options { ring_bytes: 8 << 10, ..Options::default() });
    rig.ticks(40).await;
    let oldest = rig.publisher.ring().span().oldest;
    assert!(oldest > 3);
    let request = wire::WatchRequest { snapshot: true, ..after(rig.position(2)) };
    let mut stream = rig.watch(request).await;
    assert!(stream.hello().await.resume_failed);
    let (position, Body::Gap(gap)) = stream.body().await else { panic!("no gap") };
    assert_eq!(gap.reason(), GapReason::Expired);
    assert_eq!((gap.first, gap.last), (Some(rig.position(3)), Some(rig.position(oldest - 1))));
    assert_eq!((position, gap.missed), (rig.position(oldest - 1), Some(oldest - 3)));
    assert!(matches!(stream.body().await.1, Body::Snapshot(_)));
    assert_eq!(stream.rest().await, (oldest..=40).collect::<Vec<_>>());

    // The entry itself is gone, but nothing behind it is.
    let mut whole = rig.watch(after(rig.position(oldest - 1))).await;
    assert!(!whole.hello().await.resume_failed);
    assert_eq!(whole.rest().await.first(), Some(&oldest));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agentd_dropped_is_told_in_its_place() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let record = rig.publisher.latest().unwrap().record.clone();
    let hang = rig.disk.hangs.clone();
    let count = 200;
    {
        let _hangs = hang.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            rig.recorder.tick(record.clone());
        }
    }
    rig.published(1 + count).await;
    let dropped = rig.recorder.dropped();
    assert!(dropped > 0);

    let mut stream = rig.watch(after(rig.position(0))).await;
    assert!(!stream.hello().await.resume_failed);
    let (mut seq, mut missed) = (0, 0);
    while let Some(message) = stream.next().await.unwrap() {
        let position = message.position.unwrap().seq;
        match message.body.unwrap() {
            Body::Tick(_) => assert_eq!(position, seq + 1),
            Body::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::Dropped);
                assert_eq!(gap.first, Some(rig.position(seq + 1)));
                missed += gap.missed.unwrap();
            }
            other => panic!("{other:?} instead of a tick or a gap"),
        }
        seq = position;
    }
    assert_eq!((seq, missed), (1 + count, dropped));
    rig.pass(Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_once_a_second_and_of_everything() {
    let mut rig = Rig::with(Options { ring_bytes: 4 << 10, ..Options::default() });
    let request = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let mut stream = rig.watch(request).await;
    stream.hello().await;
    rig.ticks(1).await;
    let record = rig.publisher.latest().unwrap().record.clone();
    let began = tokio::time::Instant::now();
    let (recorder, publisher) = (rig.recorder.clone(), rig.publisher.clone());
    // Each burst alone is more than the ring holds.
    let flood = tokio::task::spawn_blocking(move || {
        for burst in 0..200 {
            for _ in 0..20 {
                recorder.tick(record.clone());
            }
            while publisher.ring().span().newest < 1 + (burst + 1) * 20 {
                std::thread::yield_now();
            }
        }
    });
    let (mut seq, mut gaps) = (0, 0);
    while seq < 4001 {
        let (position, body) = stream.body().await;
        match body {
            Body::Tick(_) => assert_eq!(position.seq, seq + 1),
            Body::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::SlowConsumer);
                assert_eq!(gap.first, Some(rig.position(seq + 1)));
                gaps += 1;
            }
            Body::Heartbeat(_) => continue,
            other => panic!("{other:?} instead of a tick or a gap"),
        }
        seq = position.seq;
    }
    flood.await.unwrap();
    assert!((1..=began.elapsed().as_secs() + 2).contains(&gaps), "{gaps} gaps");
}
