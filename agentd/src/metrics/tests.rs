use std::{collections::BTreeSet, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    clock::VirtualClock,
    control::{Gate, InForce, Mode},
    hypervisor::sim::{Scenario, Sim},
    publish::{DEFAULT_RING_BYTES, Lost},
    tick::{TickConfig, Ticker},
};

/// A desk over the ticks of a simulated host, in virtual time.
struct Bench {
    desk: Desk,
    clock: Arc<VirtualClock>,
    ticker: Ticker,
    events: Receiver<Event>,
}

impl Bench {
    fn new(vms: &str) -> Self {
        let text = format!("[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n{vms}");
        let scenario = Scenario::parse("bench.toml", &text).unwrap();
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
        let config = TickConfig {
            interval: INTERVAL,
            settle: INTERVAL / 2,
            call_timeout: INTERVAL / 2,
            stale_after: 5 * INTERVAL,
        };
        let ticker = Ticker::new(Box::new(sim), clock.clone(), config);
        let publisher = Arc::new(Publisher::new(clock.clone(), DEFAULT_RING_BYTES));
        let events = publisher.feed().subscribe().unwrap();
        let about =
            About { version: "1.2.3".into(), commit: "abc".into(), tick_interval: INTERVAL };
        let address = ([127, 0, 0, 1], 0).into();
        let parts = Parts { address, about, publisher, clock: clock.clone() };
        Self { desk: Desk { parts, shared: Mutex::default() }, clock, ticker, events }
    }

    /// A turn of the loop, published and counted.
    fn turn(&mut self) {
        let in_force = InForce::fixed(Mode::Active, agentd_core::policy::Policy::default());
        let turn = self.ticker.turn(&in_force, &Gate::new(Mode::Active));
        let publisher = &self.desk.parts.publisher;
        publisher.feed().tell(&Event::Tick(turn.record.clone()), publisher.meters());
        publisher.show(turn.record);
        while let Ok(event) = self.events.try_recv() {
            self.desk.lock().tally.count(&event);
        }
        self.clock.advance_to(self.clock.now() + INTERVAL);
    }

    /// The page, made anew.
    fn page(&self) -> String {
        self.desk.lock().pages.clear();
        String::from_utf8(self.desk.page(Form::Text).unwrap().to_vec()).unwrap()
    }

    /// The value of a series.
    fn value(&self, series: &str) -> Option<String> {
        let page = self.page();
        let mut values = page.lines().filter_map(|line| line.strip_prefix(series));
        values.find_map(|rest| rest.strip_prefix(' ')).map(str::to_owned)
    }
}

#[test]
fn tells_of_every_vm_what_it_holds_and_what_was_decided() {
    let mut bench = Bench::new(PAIR);
    assert_eq!(bench.value("agentd_ticks_total{outcome=\"active\"}"), None);
    assert_eq!(bench.value("agentd_hypervisor_up"), None, "nobody has looked yet");
    for _ in 0..40 {
        bench.turn();
    }
    let web = "{domain=\"web\\\"1\",uuid=\"00000000-0000-0000-0000-000000000001\"}";
    let whole = |name: &str| bench.value(name).unwrap().parse::<f64>().unwrap();
    assert_eq!(whole("agentd_ticks_total{outcome=\"active\"}"), 40.0);
    assert_eq!(whole("agentd_tick_duration_seconds_count"), 40.0);
    assert_eq!(whole("agentd_hypervisor_up"), 1.0);
    assert_eq!(whole("agentd_host_total_bytes"), 8.0 * f64::from(1 << 30));
    let actual = whole(&format!("agentd_guest_balloon_actual_bytes{web}"));
    assert!(actual > 256.0 * f64::from(1 << 20), "it grew: {actual}");
    assert_eq!(whole(&format!("agentd_vm_max_bytes{web}")), f64::from(1 << 30));
    let used = whole(&format!("agentd_vm_used_bytes{web}"));
    let unused = whole(&format!("agentd_guest_unused_bytes{web}"));
    assert_eq!(used + unused, actual);
    assert!(whole("agentd_transferred_bytes_total{direction=\"grow\"}") > 0.0);
    let pool = whole("agentd_pool_actual_bytes");
    assert!(pool > actual, "{pool}");
    let verdict = format!("agentd_vm_verdict{},verdict=", web.trim_end_matches('}'));
    assert_eq!(bench.page().lines().filter(|line| line.starts_with(&verdict)).count(), 1);
}

#[test]
fn what_is_on_a_page_is_in_the_catalogue_with_its_labels() {
    let mut bench = Bench::new(PAIR);
    for _ in 0..5 {
        bench.turn();
    }
    let publisher = &bench.desk.parts.publisher;
    publisher.raise("DISK_FULL", "1 left".to_owned());
    publisher.meters().call("/a.B/C", "OK", Some(INTERVAL));
    publisher.meters().expires("server", Some(std::time::SystemTime::UNIX_EPOCH));
    let page = bench.page();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<String> =
        types.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
    let known: BTreeSet<String> = catalogue::ALL.iter().map(|metric| metric.name()).collect();
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let silent: Vec<_> = known.difference(&told).map(String::as_str).collect();
    // Nobody changed anything, nothing is limited, and a simulated host tells no pressure.
    let expected = [
        "agentd_mode_changes_total",
        "agentd_policy_changes_total",
        "agentd_pool_limit_bytes",
        "agentd_pressure_ratio",
    ];
    assert!(silent.iter().all(|name| expected.contains(name)), "{silent:?}");
}

#[test]
fn a_vm_that_is_gone_leaves_no_series_behind() {
    let mut bench = Bench::new(PAIR);
    bench.turn();
    assert!(bench.page().contains("domain=\"db1\""));
    let mut other = Bench::new(ALONE);
    other.turn();
    let latest = other.desk.parts.publisher.latest().unwrap();
    bench.desk.parts.publisher.show(Arc::clone(&latest.record));
    let page = bench.page();
    assert!(page.contains("domain=\"web") && !page.contains("db1"), "{page}");
}

#[test]
fn once_ticks_stall_nothing_is_told_of_vms_and_health_says_so() {
    let mut bench = Bench::new(PAIR);
    assert!(bench.desk.health().unwrap_err().contains("no tick has ended yet"));
    bench.turn();
    assert_eq!(bench.desk.health(), Ok(()));
    bench.clock.advance_to(Duration::from_secs(60));
    assert_eq!(bench.desk.health().unwrap_err(), "no tick has ended for 60 s");
    let page = bench.page();
    assert!(page.contains("agentd_last_tick_timestamp_seconds"), "{page}");
    assert!(!page.contains("uuid=") && !page.contains("agentd_host_total"), "{page}");
}

#[test]
fn whoever_asks_without_end_gets_the_same_page_for_a_while() {
    let mut bench = Bench::new(PAIR);
    bench.turn();
    let first = bench.desk.page(Form::Text).unwrap();
    bench.desk.parts.publisher.meters().lose(Lost::History, 1);
    assert_eq!(bench.desk.page(Form::Text).unwrap(), first);
    bench.clock.advance_to(bench.clock.now() + FRESH);
    assert_ne!(bench.desk.page(Form::Text).unwrap(), first);
}

/// Asks over a real socket and reads to the end of the connection.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that cuts a connection may reset it.
    let _ = io.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_request_a_connection_and_none_that_is_long() {
    let mut bench = Bench::new(PAIR);
    bench.turn();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve::serve(listener, Arc::new(bench.desk)));
    let page = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("connection: close\r\n") && page.contains("agentd_host_total_bytes "));
    let open = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n";
    assert!(ask(address, open).await.ends_with("# EOF\n"));
    let two = "GET /healthz HTTP/1.1\r\n\r\n".repeat(2);
    assert_eq!(ask(address, &two).await.matches("HTTP/1.1").count(), 1);
    let head = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let refused = ask(address, &head).await;
    assert!(!refused.contains("200 OK"), "{refused}");
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert!(!ask(address, &many).await.contains("200 OK"));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn who_takes_all_places_and_says_nothing_is_cut() {
    let bench = Bench::new(PAIR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve::serve(listener, Arc::new(bench.desk)));
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Time passes by itself while everybody waits.
    let answer = ask(address, "GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(silent);
    serving.abort();
}

const INTERVAL: Duration = Duration::from_secs(1);
const PAIR: &str = r#"
[[vm]]
name = "web\"1"
uuid = "00000000-0000-0000-0000-000000000001"
max = "1GiB"
actual = "256MiB"
demand = [{ at = "0s", used = "100MiB" }, { at = "30s", used = "700MiB" }]
[[vm]]
name = "db1"
uuid = "00000000-0000-0000-0000-000000000002"
max = "1GiB"
actual = "512MiB"
demand = "100MiB"
"#;
const ALONE: &str = r#"
[[vm]]
name = "web1"
max = "1GiB"
actual = "256MiB"
demand = "100MiB"
"#;

#[allow(dead_code, clippy::print_stdout, reason = "a program of cargo's")]
#[path = "../../build.rs"]
mod build;

#[test]
fn a_build_knows_the_commit_of_its_own_checkout_and_of_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let commit = build::commit_of(root);
    let whole = build::git(root, &["rev-parse", "HEAD"]).filter(|_| root.join(".git").exists());
    assert_eq!(commit.is_some(), whole.is_some());
    if let (Some(commit), Some(whole)) = (commit, whole) {
        assert!(commit.len() == 12 && whole.starts_with(&commit), "{commit} of {whole}");
        assert_ne!(build::changes_with_it(root), Vec::<String>::new());
    }
    // A folder within a checkout is none, nor is one that is nowhere.
    assert_eq!(build::commit_of(&root.join("agentd")), None);
    assert_eq!(build::commit_of(tempfile::tempdir().unwrap().path()), None);
}
