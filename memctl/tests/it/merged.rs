//! The streams of several hosts as one: in the order of their times where that is wanted, to their end though one
//! host is never heard, and with a word on VMs that nobody knows.

use std::sync::Arc;

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use crate::agent::{Agent, Script, Step, send};
use crate::fleet::fleet;
use crate::memctl::{Run, World};
use crate::sample::{self, hello, message, quiet_tick};
use crate::watch::signal;

/// Two hosts whose ticks are in turn, of which the second waits until it is told to go on.
fn in_turn() -> (World, Vec<Agent>, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let first = send(vec![hello(0, 10_000), quiet_tick(1), quiet_tick(3)]);
    let mut second = vec![Step::Send(hello(0, 10_000).into()), Step::Await(Arc::clone(&go_on))];
    second.extend(send(vec![quiet_tick(2), quiet_tick(4)]));
    let script = |stream| Script { streams: vec![stream].into(), ..Default::default() };
    let (world, agents) = fleet(vec![("node1", script(first)), ("node2", script(second))]);
    (world, agents, go_on)
}

/// The numbers of the ticks as they were told.
fn ticks(run: &Run) -> Vec<u64> {
    let records = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|own| own["type"] == "tick").map(|own| own["tick"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_past_of_several_hosts_is_put_in_order_however_late_one_of_them_is() {
    let (world, agents, go_on) = in_turn();
    let args = ["watch", "--oldest", "--no-follow", "--sort", "-o", "jsonl"];
    let child = world.command(&args).spawn().unwrap();
    while agents.iter().any(|agent| agent.script().watches.is_empty()) {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    let run = world.finish(child).await;
    assert_eq!((run.exit, ticks(&run)), (0, vec![1, 2, 3, 4]), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_never_heard_keeps_no_past_from_ending() {
    for sort in [&["--sort"][..], &[]] {
        let (world, _agents, go_on) = in_turn();
        world.configure(&["node1", "node2", "node3"]);
        go_on.notify_one();
        let args = ["watch", "--oldest", "--no-follow", "-o", "jsonl"];
        let run = world.run(&[&args[..], sort].concat()).await;
        let mut told = ticks(&run);
        assert_eq!((run.exit, told.len()), (9, 4), "{run:?}");
        assert!(run.stdout.contains("\"reason\":\"SOCKET_MISSING\""), "{run:?}");
        if sort.is_empty() {
            told.sort_unstable();
        }
        assert_eq!(told, [1, 2, 3, 4], "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_wait_for_earlier_ones_do_not_wait_for_ever() {
    let (world, _agents, _never) = in_turn();
    // Nothing ever comes of the second host.
    let run = world.run(&["watch", "--sort=100ms", "--count", "2", "-o", "jsonl"]).await;
    assert_eq!((run.exit, ticks(&run)), (0, vec![1, 3]), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_no_host_knows_is_told_of_once() {
    let stream = || {
        let snapshot = v1::Snapshot { vms: sample::vms(), ..Default::default() };
        let mut steps = send(vec![hello(0, 10_000), message(0, Body::Snapshot(snapshot))]);
        steps.push(Step::FallSilent);
        Script { streams: vec![steps].into(), ..Default::default() }
    };
    let (world, _agents) = fleet(vec![("node1", stream()), ("node2", stream())]);
    let mut child =
        world.command(&["watch", "--vm", "web1,web9,web8", "-o", "jsonl"]).spawn().unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("web8") {
        let read = child.stderr.as_mut().unwrap().read_buf(&mut said).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
    }
    signal(&child, "INT").await;
    let run = world.finish(child).await;
    let line = |vm| format!("no VM \"{vm}\" is known to any host; it is told of once it comes\n");
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said, format!("{}{}", line("web9"), line("web8")), "{run:?}");
    assert!(!run.stderr.contains("no VM"), "{run:?}");
}
