//! What a stream may do to a watcher: break, fall silent, skip, say farewell, refuse, overflow.

use std::collections::HashMap;
use std::sync::Arc;

use agentd_proto::v1;
use agentd_proto::v1::watch_request::Start;
use agentd_proto::v1::watch_response::Body;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::sync::Notify;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::agent::{Agent, Script, Step, send};
use crate::memctl::{Run, World};
use crate::sample::{busy_tick, hello, message, millis, position, quiet_tick};

/// A world whose one host plays these streams, one for each connection. A stream that is not said
/// to fail stays open.
fn world(mut streams: Vec<Vec<Step>>) -> (World, Agent) {
    for stream in streams.iter_mut().filter(|s| matches!(s.last(), Some(Step::Send(_)))) {
        stream.push(Step::FallSilent);
    }
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { streams: streams.into(), ..Default::default() };
    let agent = Agent::start(&world.path("node1.sock"), script);
    (world, agent)
}

/// `seq` of the position behind which each connection asked to go on.
fn resumed_after(agent: &Agent) -> Vec<Option<u64>> {
    let watches = &agent.script().watches;
    let after = watches.iter().map(|w| match &w.start {
        Some(Start::After(position)) => Some(position.seq),
        _ => None,
    });
    after.collect()
}

fn types(run: &Run) -> Vec<String> {
    let words = run.stdout.lines().map(|line| {
        let start = line.find(":\"").unwrap() + 2;
        let end = line[start..].find('"').unwrap() + start;
        line[start..end].to_owned()
    });
    words.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_behind_the_last_entry_when_the_stream_breaks() {
    let mut first = send(vec![hello(0, 10_000), busy_tick(1), busy_tick(2)]);
    first.push(Step::Fail(Status::unknown("h2 protocol error: error reading a body")));
    let mut second = send(vec![hello(2, 10_000), busy_tick(3)]);
    second.push(Step::FallSilent);
    let (world, agent) = world(vec![first, second]);
    let run = world.run(&["watch", "-o", "jsonl", "--count", "3"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert_eq!(resumed_after(&agent), [None, Some(2)]);
    assert_eq!(types(&run), ["hello", "tick", "tick", "host", "hello", "tick"]);
    assert!(run.stdout.contains("\"state\":\"reconnecting\""), "{run:?}");
    assert!(run.stdout.contains("\"code\":\"UNAVAILABLE\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_heartbeats_is_dead() {
    let mut first = send(vec![hello(0, 500), busy_tick(1)]);
    first.push(Step::FallSilent);
    let (world, agent) = world(vec![first, send(vec![hello(1, 10_000), busy_tick(2)])]);
    let run = world.run(&["watch", "--count", "2"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert_eq!(resumed_after(&agent), [None, Some(1)]);
    assert!(run.stderr.contains("was silent for 1.5s; next try in "), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_a_stream_alive_and_move_the_place_to_resume_at() {
    let heartbeat = message(7, Body::Heartbeat(v1::Heartbeat {}));
    let mut first = send(vec![hello(0, 10_000), heartbeat]);
    first.push(Step::Fail(Status::unavailable("restarting")));
    let (world, agent) = world(vec![first, send(vec![hello(7, 10_000), busy_tick(8)])]);
    let run = world.run(&["watch", "--count", "1", "--kind", "tick", "--vm", "web1"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert_eq!(resumed_after(&agent), [None, Some(7)]);
    let script = agent.script();
    assert_eq!(script.watches[1].kinds, [i32::from(v1::EventKind::Tick)]);
    assert_eq!(script.watches[1].vms, ["web1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_and_counted() {
    let gap = v1::Gap {
        reason: v1::GapReason::SlowConsumer.into(),
        first: position(2),
        last: position(90),
        missed: Some(89),
    };
    let stream = || {
        send(vec![
            hello(0, 10_000),
            quiet_tick(1),
            message(90, Body::Gap(gap.clone())),
            busy_tick(91),
        ])
    };
    let (world, _agent) = world(vec![stream(), stream()]);
    let run = world.run(&["watch", "--count", "2"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("node1: gap: 89 entries missing, this memctl read too slowly"));
    let summary = "2 ticks (1 quiet), 1 transfer moved 50 MiB, 1 gap with 89 entries missing";
    assert!(run.stderr.contains(summary), "{run:?}");
    let run = world.run(&["watch", "--count", "2", "-o", "json"]).await;
    assert_eq!(types(&run), ["hello", "tick", "gap", "tick"]);
    assert!(run.stdout.contains("\"reason\":\"slow_consumer\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farewell_is_told_and_the_stream_taken_up_again() {
    let farewell = v1::GoingAway { reason: "upgrade".to_owned(), reconnect_after: millis(1) };
    let mut first = send(vec![hello(0, 10_000), message(4, Body::GoingAway(farewell))]);
    first.push(Step::Fail(Status::unavailable("stopped")));
    let (world, agent) = world(vec![first, send(vec![hello(4, 10_000), busy_tick(5)])]);
    let run = world.run(&["watch", "--count", "1"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("node1: the agent is going away: upgrade"), "{run:?}");
    assert_eq!(resumed_after(&agent), [None, Some(4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_stream_ends_the_watch_where_reconnecting_is_not_wanted() {
    let mut stream = send(vec![hello(0, 10_000), busy_tick(1)]);
    stream.push(Step::Fail(Status::unavailable("stopped")));
    let (world, agent) = world(vec![stream]);
    let run = world.run(&["watch", "--no-reconnect"]).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains("memctl: node1: stopped"), "{run:?}");
    assert_eq!(agent.script().watches.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_final() {
    let mut details = ErrorDetails::new();
    details.set_error_info("BAD_FILTER", "agentd", HashMap::<String, String>::new());
    details.add_bad_request_violation("vms", "more than 256");
    let invalid = Status::with_error_details(tonic::Code::InvalidArgument, "bad filter", details);
    for (status, exit, said) in [
        (Status::permission_denied("reader role needed"), 5, "reader role needed"),
        (Status::unimplemented(""), 3, "does not know EventService/Watch"),
        (invalid, 8, "vms: more than 256"),
    ] {
        let (world, agent) = world(vec![vec![Step::Fail(status)]]);
        let run = world.run(&["watch"]).await;
        assert_eq!(run.exit, exit, "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
        assert_eq!(agent.script().watches.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_host_does_not_stop_the_others() {
    let (world, _agent) = world(vec![
        send(vec![hello(0, 10_000), busy_tick(1)]).into_iter().chain([Step::FallSilent]).collect(),
    ]);
    world.configure(&["node1", "node2"]);
    let run = world.run(&["watch", "--count", "1", "-o", "jsonl"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stdout.contains("\"type\":\"tick\",\"host\":\"node1\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_lost_for_good_is_told_at_once_and_the_rest_is_partial() {
    for (format, said) in [
        ("table", "memctl: node2: this agentd "),
        ("jsonl", "\"state\":\"ended\",\"error\":{\"code\":\"UNIMPLEMENTED\""),
    ] {
        let go_on = Arc::new(Notify::new());
        let mut stream = send(vec![hello(0, 10_000)]);
        stream.push(Step::Await(Arc::clone(&go_on)));
        stream.push(Step::Send(busy_tick(1).into()));
        let (world, _agent) = world(vec![stream]);
        world.configure(&["node1", "node2"]);
        let refusal = vec![Step::Fail(Status::unimplemented("no such service"))];
        let script = Script { streams: vec![refusal].into(), ..Default::default() };
        Agent::start(&world.path("node2.sock"), script);
        let args = ["watch", "--count", "1", "-o", format];
        let mut child = world.command(&args).spawn().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(said) {
            let read = match format {
                "table" => child.stderr.as_mut().unwrap().read_buf(&mut seen).await,
                _ => child.stdout.as_mut().unwrap().read_buf(&mut seen).await,
            };
            assert_ne!(read.unwrap(), 0, "{}", String::from_utf8_lossy(&seen));
        }
        go_on.notify_one();
        let run = world.finish(child).await;
        assert_eq!(run.exit, 9, "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_at_once_with_a_summary() {
    for (name, exit) in [("INT", 130), ("TERM", 143)] {
        let mut stream = send(vec![hello(0, 10_000), busy_tick(1)]);
        stream.push(Step::FallSilent);
        let (world, _agent) = world(vec![stream]);
        let mut child = world.command(&["watch", "--no-headers"]).spawn().unwrap();
        first_byte(&mut child).await;
        signal(&child, name).await;
        let run = world.finish(child).await;
        assert_eq!(run.exit, exit, "{run:?}");
        assert!(
            run.stderr.contains("1 tick (0 quiet), 1 transfer moved 50 MiB, no gap"),
            "{run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_for_a_time_ends_by_itself() {
    let (world, _agent) = world(vec![vec![Step::Send(hello(0, 10_000).into()), Step::FallSilent]]);
    let run = world.run(&["watch", "--for", "500ms"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert_eq!(run.stdout, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupting_works_also_when_nobody_reads_the_output() {
    let (world, agent) = world(vec![vec![Step::Send(hello(0, 10_000).into()), Step::SendForever]]);
    let mut child = world.command(&["watch", "-o", "jsonl"]).spawn().unwrap();
    first_byte(&mut child).await;
    stuck(&agent).await;
    let stdout = child.stdout.take();
    signal(&child, "INT").await;
    let status = child.wait().await.unwrap();
    assert_eq!(status.code(), Some(130));
    drop(stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_is_no_error() {
    let (world, _agent) = world(vec![vec![Step::Send(hello(0, 10_000).into()), Step::SendForever]]);
    let mut child = world.command(&["watch", "-q"]).spawn().unwrap();
    drop(child.stdout.take());
    let run = world.finish(child).await;
    assert_eq!((run.exit, run.stderr.as_str()), (141, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_to_start_is_asked_for_as_typed() {
    let (world, agent) = world(Vec::new());
    let stream = || vec![Step::Send(hello(0, 10_000).into())];
    for (args, want) in [
        (&["--tail", "5"][..], Start::Tail(5)),
        (&["--since", "10m"][..], Start::Since(prost_types::Duration { seconds: 600, nanos: 0 })),
        (&["--oldest"][..], Start::Oldest(true)),
        (&["--after", "AB:7"][..], Start::After(v1::Position { epoch: "ab".to_owned(), seq: 7 })),
    ] {
        agent.script().streams.push_back(stream());
        let all = [&["watch", "--no-follow", "--only-changes"], args].concat();
        let run = world.run(&all).await;
        assert_eq!(run.exit, 0, "{run:?}");
        let request = agent.script().watches.pop().unwrap();
        assert_eq!(request.start, Some(want));
        assert!(request.only_changes && !request.follow && !request.snapshot);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_make_no_sense_are_refused() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    for args in [
        &["--tail", "5", "--oldest"][..],
        &["--no-follow"][..],
        &["--since", "10"][..],
        &["--after", "nonsense"][..],
        &["--after", "ab:1"][..],
        &["--count", "0"][..],
        &["--for", "0s"][..],
        &["--kind", "colour"][..],
    ] {
        let run = world.run(&[&["watch"], args].concat()).await;
        assert_eq!(run.exit, 2, "{args:?} {run:?}");
    }
}

async fn first_byte(child: &mut Child) {
    let stdout = child.stdout.as_mut().unwrap();
    assert_ne!(stdout.read(&mut [0]).await.unwrap(), 0);
}

/// Waits until the agent can send no more because nobody takes it, and tells how much it has sent.
pub(crate) async fn stuck(agent: &Agent) -> u64 {
    let mut before = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let sent = agent.script().sent;
        if sent > 0 && sent == before {
            return sent;
        }
        before = sent;
    }
}

pub(crate) async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let script = "kill -s \"$0\" \"$1\"";
    let sent = tokio::process::Command::new("sh").args(["-c", script, name, &pid]).status().await;
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_to_see_a_shadow_is_told_where_there_is_none() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    for (host, has_no_shadow) in [("node1", true), ("node2", false)] {
        let streams = vec![send(vec![hello(0, 10_000), quiet_tick(1)]); 2].into();
        let script = Script { streams, has_no_shadow, ..Default::default() };
        Agent::start(&world.path(&format!("{host}.sock")), script);
    }
    let watch = ["watch", "--oldest", "--no-follow", "--no-reconnect"];
    let none = "node1: there is no shadow: `memctl shadow set KEY=VALUE..` sets one";
    let run = world.run(&[&watch[..], &["--shadow"]].concat()).await;
    assert!(run.exit == 0 && run.stderr.lines().any(|line| line == none), "{run:?}");
    assert!(!run.stderr.contains("node2: there is no shadow"), "{run:?}");
    let run = world.run(&watch).await;
    assert!(run.exit == 0 && !run.stderr.contains("no shadow"), "{run:?}");
}
