//! What may become of a connection that nobody closes: its line dies without a word, it outlives the time for an
//! answer, its reader is slow, and who connects again shows what it has then.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStdout};
use tokio::sync::Notify;

use crate::agent::{Agent, Script, Step, send};
use crate::door::Files;
use crate::memctl::World;
use crate::pki::Pki;
use crate::sample::{busy_tick, hello};

/// A line between two sockets. What goes over connections that are lost arrives nowhere, and no end is told.
struct Line {
    generation: Arc<AtomicUsize>,
}

impl Line {
    fn between(from: &Path, to: &Path) -> Self {
        let (listener, to) = (UnixListener::bind(from).unwrap(), to.to_owned());
        let generation = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&generation);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = UnixStream::connect(&to).await else { continue };
                let own = now.load(Ordering::SeqCst);
                let (near, far) = (near.into_split(), far.into_split());
                for (mut from, mut to) in [(near.0, far.1), (far.0, near.1)] {
                    let now = Arc::clone(&now);
                    tokio::spawn(async move {
                        let mut part = vec![0; 64 * 1024];
                        while let Ok(read @ 1..) = from.read(&mut part).await {
                            let is_lost = now.load(Ordering::SeqCst) != own;
                            if !is_lost && to.write_all(&part[..read]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { generation }
    }

    fn lose(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// A watch, record by record.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(world: &World, args: &[&str]) -> Self {
        let all = [&["watch", "-o", "jsonl"], args].concat();
        let mut child = world.command(&all).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    /// The next record of this type.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.next_line().await.unwrap().expect("the watch ended");
            let record: Value = serde_json::from_str(&line).unwrap();
            if record["type"] == kind {
                return record;
            }
        }
    }
}

/// The next heartbeat is due in ten minutes: only pings can tell that nobody is there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_died_is_noticed_by_pings_alone_and_said() {
    let world = World::new();
    world.configure(&["node1"]);
    let line = Line::between(&world.path("node1.sock"), &world.path("agent.sock"));
    let mut first = send(vec![hello(0, 600_000), busy_tick(1)]);
    first.push(Step::FallSilent);
    let mut second = send(vec![hello(1, 600_000), busy_tick(2)]);
    second.push(Step::FallSilent);
    let script = Script { streams: vec![first, second].into(), ..Default::default() };
    let agent = Agent::start(&world.path("agent.sock"), script);
    let mut watch = Watch::start(&world, &[]);
    watch.next("tick").await;
    line.lose();
    let loss = watch.next("host").await;
    assert_eq!(loss["state"], "reconnecting", "{loss}");
    assert_eq!(loss["error"]["reason"], "STREAM_SILENT", "{loss}");
    assert!(loss["error"]["message"].as_str().unwrap().contains(" was silent for "), "{loss}");
    assert_eq!(watch.next("tick").await["seq"], 2);
    assert_eq!(agent.script().watches.len(), 2);
    watch.child.kill().await.unwrap();
}

/// What bounds an answer bounds no stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_the_time_for_an_answer() {
    let world = World::new();
    world.configure(&["node1"]);
    let go_on = Arc::new(Notify::new());
    let mut stream = send(vec![hello(0, 60_000)]);
    stream.push(Step::Await(Arc::clone(&go_on)));
    stream.extend(send(vec![busy_tick(1)]));
    stream.push(Step::FallSilent);
    let agent = Agent::start(
        &world.path("node1.sock"),
        Script { streams: vec![stream].into(), ..Default::default() },
    );
    let mut watch = Watch::start(&world, &["--timeout", "2s"]);
    watch.next("hello").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    go_on.notify_one();
    assert_eq!(watch.next("tick").await["seq"], 1);
    assert_eq!(agent.script().watches.len(), 1, "it had to connect again");
    watch.child.kill().await.unwrap();
}

/// By HTTP/2's usual windows it would learn of it thousands of entries later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_learns_soon_that_a_watch_is_not_read() {
    let world = World::new();
    world.configure(&["node1"]);
    let stream = vec![Step::Send(hello(0, 60_000).into()), Step::SendForever];
    let script = Script { streams: vec![stream].into(), ..Default::default() };
    let agent = Agent::start(&world.path("node1.sock"), script);
    let mut watch = Watch::start(&world, &[]);
    watch.next("tick").await;
    let sent = crate::watch::stuck(&agent).await;
    assert!(sent < MOST_UNREAD, "{sent} entries were sent to who does not read");
    watch.child.kill().await.unwrap();
}

/// A certificate that was renewed, or taken away, counts from the next connection on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_again_shows_the_certificate_that_is_there_then() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let go_on = Arc::new(Notify::new());
    let mut stream = send(vec![hello(0, 60_000), busy_tick(1)]);
    stream.push(Step::Await(Arc::clone(&go_on)));
    stream.push(Step::Fail(tonic::Status::unavailable("restarting")));
    let socket = world.path("agent.sock");
    Agent::start(&socket, Script { streams: vec![stream].into(), ..Default::default() });
    let uri = format!("https://{}", Files::of(&pki.folder(), "node1").open(&socket).await);
    let identity = pki.shown("alice");
    let args = ["-H", &uri].into_iter().chain(identity.iter().map(String::as_str));
    let mut watch = Watch::start(&world, &args.collect::<Vec<_>>());
    watch.next("tick").await;
    std::fs::remove_file(identity.last().unwrap()).unwrap();
    go_on.notify_one();
    assert_eq!(watch.next("host").await["state"], "reconnecting");
    let end = watch.next("host").await;
    assert_eq!((&end["state"], &end["error"]["reason"]), (&"ended".into(), &UNREADABLE.into()));
    assert_eq!(world.finish(watch.child).await.exit, 5);
}

/// Several times what fits into a small window, the pipe and what memctl holds; with the usual windows it is
/// thousands.
const MOST_UNREAD: u64 = 700;
const UNREADABLE: &str = "IDENTITY_UNREADABLE";
