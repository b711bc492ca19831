//! What metrics cost, by the number of VMs: a tick that tells of itself with and without somebody who
//! counts, and a whole scrape.
//!
//! `cargo bench -p agentd --bench metrics` prints medians.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark measures time and prints it"
)]

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agentd::{
    clock::{Clock as _, RealClock, VirtualClock},
    control::{Gate, InForce, Mode},
    event::TickRecord,
    hypervisor::sim::{Scenario, Sim},
    metrics::{About, Metrics, Parts},
    publish::{DEFAULT_RING_BYTES, Publisher},
    record::{NoHistory, Recorder},
    tick::{TickConfig, Ticker},
};
use agentd_core::policy::Policy;

fn main() {
    println!("{:>6}  {:>10}  {:>10}  {:>10}  {:>9}", "VMs", "untold", "told", "scrape", "page");
    for count in [10, 100, 1_000, 2_000] {
        let record = tick(count);
        let (untold, told) = (tell(&record, false), tell(&record, true));
        let (scrape, bytes) = scrape(&record);
        println!(
            "{count:>6}  {untold:>10.2?}  {told:>10.2?}  {scrape:>10.2?}  {:>5} KiB",
            bytes / 1024
        );
    }
}

/// A tick of so many VMs.
fn tick(count: usize) -> Arc<TickRecord> {
    let interval = Duration::from_secs(1);
    let clock = Arc::new(VirtualClock::default());
    let total = count * 2 + 8;
    let mut text = format!("[sim]\nideal = true\n[host]\ntotal = \"{total}GiB\"\n");
    for vm in 0..count {
        writeln!(
            text,
            "[[vm]]\nname = \"vm{vm}\"\nmax = \"2GiB\"\nactual = \"512MiB\"\ndemand = \"300MiB\""
        )
        .unwrap();
    }
    let scenario = Scenario::parse("bench.toml", &text).unwrap();
    let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
    let (settle, stale_after) = (interval / 2, 5 * interval);
    let config = TickConfig { interval, settle, call_timeout: interval, stale_after };
    let mut ticker = Ticker::new(Box::new(sim), clock, config);
    ticker.turn(&InForce::fixed(Mode::Active, Policy::default()), &Gate::new(Mode::Active)).record
}

/// The median that the tick's thread takes to tell of a tick.
fn tell(record: &Arc<TickRecord>, is_counted: bool) -> Duration {
    let (publisher, _address, metrics) = serve(is_counted);
    let recorder = Recorder::start(publisher, |_, _, _| Vec::new(), Box::new(NoHistory)).unwrap();
    let clock = RealClock::start();
    let times = (0..500).map(|_| {
        let start = Instant::now();
        recorder.tick(record.clone());
        let took = start.elapsed();
        clock.sleep(Duration::from_millis(1));
        took
    });
    let median = median(times.collect());
    metrics.into_iter().for_each(Metrics::stop);
    median
}

/// The median of a scrape, each of a page that is made anew, and its length in bytes.
fn scrape(record: &Arc<TickRecord>) -> (Duration, usize) {
    let (publisher, address, metrics) = serve(true);
    let recorder = Recorder::start(publisher, |_, _, _| Vec::new(), Box::new(NoHistory)).unwrap();
    recorder.tick(record.clone());
    let clock = RealClock::start();
    let mut bytes = 0;
    let times = (0..30).map(|_| {
        clock.sleep(Duration::from_millis(120));
        let start = Instant::now();
        bytes = get(address);
        start.elapsed()
    });
    let median = median(times.collect());
    metrics.into_iter().for_each(Metrics::stop);
    (median, bytes)
}

fn serve(is_counted: bool) -> (Arc<Publisher>, SocketAddr, Option<Metrics>) {
    let clock = RealClock::start();
    let publisher = Arc::new(Publisher::new(clock.clone(), DEFAULT_RING_BYTES));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tick_interval = Duration::from_secs(3600);
    let about = About { version: String::new(), commit: String::new(), tick_interval };
    let parts = Parts { address, about, publisher: publisher.clone(), clock: clock.clone() };
    let metrics = is_counted.then(|| Metrics::start(parts).unwrap());
    while is_counted && TcpStream::connect(address).is_err() {
        clock.sleep(Duration::from_millis(1));
    }
    (publisher, address, metrics)
}

fn get(address: SocketAddr) -> usize {
    let mut io = TcpStream::connect(address).unwrap();
    io.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    answer.len()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
