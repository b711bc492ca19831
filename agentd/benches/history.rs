//! What the history costs: bytes on disk for each VM and tick, and time for each tick, through the writer
//! that agentd uses, for a simulated day or as many hours as are asked for.
//!
//! `cargo bench -p agentd --bench history -- [HOURS] [VMS]` prints both; a day of 100 VMs without arguments.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark measures time and prints it"
)]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use agentd::{
    clock::{Clock, VirtualClock},
    control::{Gate, InForce, Mode},
    event::Event,
    hypervisor::sim::{Scenario, Sim},
    publish::{Entry, Epoch, Kind, Position, Stamp},
    record::History as _,
    server::{condense, encode},
    store::{HistoryReader, HistoryStore, Place, Retention},
    tick::{TickConfig, Ticker},
};
use agentd_core::policy::Policy;
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let numbers: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let (hours, vms) = match numbers.as_slice() {
        [] => (24, 100),
        [hours] => (*hours, 100),
        [hours, vms, ..] => (*hours, *vms),
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.db");
    let ticks = hours * 3600;
    let spent = record(&file, vms, ticks);

    let bytes = size(dir.path());
    let share = bytes as f64 / (f64::from(ticks) * f64::from(vms));
    let day = share * 86_400.0 * f64::from(vms) / f64::from(1 << 20);
    println!("{vms} VMs, {ticks} ticks of one second each, of which every one moves memory");
    println!("written: {:.1} MiB, {share:.1} bytes for a VM and tick", mib(bytes));
    println!("a day of it: {day:.0} MiB (may be 500 MiB)");
    println!("{:<34} {:>10} {:>10} {:>10} {:>12}", "", "mean", "p50", "p99", "most");
    line("the turn itself, on the tick's thread", &spent.turns);
    line("encoding, on the recorder's", &spent.encoded);
    line("writing, on the recorder's", &spent.written);
    let busy = spent.cpu.as_secs_f64() / f64::from(ticks);
    let percent = busy * 100.0;
    println!(
        "processor time of both: {:.3} ms a tick, {percent:.2} % of its second (may be 5 %)",
        busy * 1e3
    );
    read(&file);
}

/// What was spent on each tick.
struct Spent {
    turns: Vec<Duration>,
    encoded: Vec<Duration>,
    written: Vec<Duration>,
    /// Processor time of encoding and writing.
    cpu: Duration,
}

fn record(file: &Path, vms: u32, ticks: u32) -> Spent {
    let interval = Duration::from_secs(1);
    let clock = Arc::new(VirtualClock::default());
    let scenario = Scenario::parse("bench.toml", &scenario(vms, ticks)).unwrap();
    let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
    let config = TickConfig {
        interval,
        settle: interval / 2,
        call_timeout: interval,
        stale_after: 5 * interval,
    };
    let mut ticker = Ticker::new(Box::new(sim), clock.clone(), config);
    let (gate, in_force) =
        (Gate::new(Mode::Active), InForce::fixed(Mode::Active, Policy::default()));
    let retention = Retention { age: Duration::from_secs(7 * 86_400), bytes: 8 << 30 };
    let mut history = HistoryStore::open(file, retention, condense).unwrap();
    let epoch = Epoch::random();
    let mut spent =
        Spent { turns: Vec::new(), encoded: Vec::new(), written: Vec::new(), cpu: Duration::ZERO };
    for tick in 0..ticks {
        clock.advance_to(clock.now().max(interval * tick));
        let start = Instant::now();
        let turn = ticker.turn(&in_force, &gate);
        spent.turns.push(start.elapsed());
        let position = Position { epoch: epoch.clone(), seq: u64::from(tick) + 1 };
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) + interval * tick;
        let stamp = Stamp { wall, monotonic: clock.now() };
        let event = Event::Tick(turn.record);

        let (start, cpu) = (Instant::now(), cpu_time());
        let bytes = encode(&position, stamp, &event);
        spent.encoded.push(start.elapsed());
        let entry = Entry {
            position,
            stamp,
            kind: Kind::Tick,
            eventful: true,
            bytes: bytes.into(),
            shadow: None,
        };
        let start = Instant::now();
        history.append(&[entry]).unwrap();
        spent.written.push(start.elapsed());
        spent.cpu += cpu_time() - cpu;
    }
    spent
}

/// What a question costs.
fn read(file: &Path) {
    let reader = HistoryReader::open(file).unwrap();
    let all = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33));
    let start = Instant::now();
    let (mut place, mut digests, mut bytes) = (Place::default(), 0, 0);
    loop {
        let found = reader.read(|past| past.digests(place, all, 64)).unwrap();
        let Some(last) = found.last() else { break };
        place = last.behind;
        digests += found.len();
        bytes += found.iter().map(|digest| digest.bytes.len()).sum::<usize>();
    }
    let took = start.elapsed();
    println!("{digests} minutes are read in {took:.1?} ({:.1} MiB)", mib(bytes as u64));
    let start = Instant::now();
    let middle = reader.read(|past| past.behind(Place::default(), 1)).unwrap();
    let position = middle[0].entry.position.clone();
    reader.read(|past| past.find(&position)).unwrap().unwrap();
    println!("one tick is found in {:.1?}", start.elapsed() / 2);
}

fn line(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    println!("{what:<38} {mean:>10.1?} {:>10.1?} {:>10.1?} {:>12.1?}", at(50), at(99), at(100));
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn size(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// VMs whose use goes up and down out of step all day, each at its own pace, on a host that is full.
fn scenario(vms: u32, ticks: u32) -> String {
    let total = vms * 3 / 2 + 4;
    let mut text = format!(
        "tick_interval = \"1s\"\nseed = 1\n[host]\ntotal = \"{total}GiB\"\nother = \"1GiB\"\n"
    );
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for vm in 0..vms {
        let (mut at, mut points) = (0, Vec::new());
        // 86,400 points are the most that a scenario may have.
        while at < u64::from(ticks) && points.len() < 800 {
            points.push(format!("{{ at = \"{at}s\", used = \"{}MiB\" }}", 200 + random(1500)));
            at += 20 + random(200);
        }
        writeln!(
            text,
            "[[vm]]\nname = \"customer{vm}-web\"\nmax = \"3GiB\"\nactual = \"1GiB\"\ndemand = [{}]",
            points.join(", ")
        )
        .unwrap();
    }
    text
}
