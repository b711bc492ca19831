//! `agentd simulate`: the very same tick on a simulated host in virtual time, one JSON line a tick.
//!
//! No server, no store, no threads: [`Ticker::turn`] is called once per interval. Figures are those
//! that the tick saw at its beginning; targets are those in force after it.

mod reserved;

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    plan::{Party, Transfer},
    policy::{Policy, UnknownAlgorithm},
    reserve::Booking,
    sample::{Sample, VmSample},
    vm::VmId,
};
use serde::Serialize;

use self::reserved::Kept;
use crate::{
    args::{SimulateArgs, SimulateOutput},
    clock::{Clock, VirtualClock},
    control::{Gate, InForce, Mode},
    event::TickRecord,
    hypervisor::sim::{LoadError, Scenario, Sim},
    recording::{Head, WriteError, Writer, create},
    tick::{TickConfig, Ticker},
};

/// Runs what the command line asks for and prints it.
///
/// # Errors
///
/// Fails when the scenario or the policy makes no sense, or standard output cannot be written.
pub fn simulate(args: &SimulateArgs) -> Result<(), SimulateError> {
    let scenario = Scenario::load(&args.scenario)?;
    let mut policy = scenario.policy.clone().unwrap_or_default();
    if let Some(algorithm) = &args.policy {
        policy.algorithm = algorithm.parse()?;
    }
    let ticks = args.ticks;
    let simulation = Simulation { name: &args.scenario, scenario: &scenario, policy, ticks };
    let mut out = BufWriter::new(io::stdout().lock());
    let SimulateOutput::Jsonl = args.output;
    let Some(file) = &args.record else { return Ok(simulation.run(&mut out)?) };
    let refused = |error| SimulateError::Recording { file: file.clone(), error };
    let tape = create(file)
        .map_err(|error| SimulateError::NoRecording { file: file.clone(), error: plain(error) })?;
    let mut tape = simulation.begin_recording(tape).map_err(refused)?;
    let run = simulation.run_each(|record| {
        tape.put(record).map_err(refused)?;
        Ok(write_line(&mut out, record)?)
    });
    match run {
        Err(SimulateError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        run => run,
    }
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] LoadError),
    /// There is no such algorithm.
    #[error("--policy {0}")]
    Algorithm(#[from] UnknownAlgorithm),
    /// The recording cannot be begun.
    #[error("cannot record into {}: {error}", .file.display())]
    NoRecording {
        /// The recording.
        file: PathBuf,
        /// Why.
        error: String,
    },
    /// The recording cannot be written.
    #[error("the recording {} is not whole: {error}", .file.display())]
    Recording {
        /// The recording.
        file: PathBuf,
        /// Why.
        error: WriteError,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Why a recording cannot be begun. That says nothing about the disk yet.
fn plain(error: WriteError) -> String {
    match error {
        WriteError::Disk(error) => format!("{error}; name a file in a folder that may be written"),
        WriteError::Full(_) | WriteError::TooLong(_) | WriteError::NoFile(_) => error.to_string(),
    }
}

/// What to simulate.
#[derive(Debug)]
pub struct Simulation<'a> {
    /// How people call the scenario, for example the path of its file.
    pub name: &'a Path,
    /// The simulated host and its VMs.
    pub scenario: &'a Scenario,
    /// The policy that decides.
    pub policy: Policy,
    /// How many ticks.
    pub ticks: u64,
}

impl Simulation<'_> {
    /// Runs it and writes one JSON line for each tick as soon as it is over. Tick k is at k
    /// intervals, or as soon as an earlier one ends that took too long.
    ///
    /// # Errors
    ///
    /// Fails when `out` does, unless nobody reads it any more: then it just ends.
    pub fn run(self, out: &mut impl Write) -> io::Result<()> {
        match self.run_each(|record| write_line(out, record)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            run => run,
        }
    }

    /// Runs it and shows each tick as soon as it is over.
    ///
    /// # Errors
    ///
    /// Ends with the first error of `each`.
    pub fn run_each<E>(self, each: impl FnMut(&TickRecord) -> Result<(), E>) -> Result<(), E> {
        let in_force = InForce::fixed(Mode::Active, self.policy.clone());
        self.run_under(&in_force, each)
    }

    /// The same where this is the operator's will.
    pub(crate) fn run_under<E>(
        self,
        in_force: &InForce,
        mut each: impl FnMut(&TickRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let clock = Arc::new(VirtualClock::default());
        let interval = self.scenario.tick_interval;
        let sim = Sim::new(self.name, self.scenario, clock.clone());
        let mut ticker = Ticker::new(Box::new(sim), clock.clone(), timing(interval));
        let gate = Gate::new(in_force.mode);
        let mut kept = Kept::new(&self.scenario.reservations);
        let mut due = Duration::ZERO;
        for _ in 0..self.ticks {
            clock.advance_to(due);
            let record = ticker.turn(&kept.at(clock.now(), in_force), &gate).record;
            kept.note(&record);
            each(&record)?;
            due = due.saturating_add(interval);
        }
        Ok(())
    }

    /// Begins a recording of it.
    ///
    /// # Errors
    ///
    /// When `out` refuses it.
    pub fn begin_recording<W: Write>(&self, out: W) -> Result<Writer<W>, WriteError> {
        let head = Head {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: "simulated".to_owned(),
            hypervisor: format!("sim:{}", self.name.display()),
            began: SystemTime::UNIX_EPOCH,
        };
        Writer::begin(out, &head, ByteCount::MAX)
    }
}

/// Waits that leave every tick room to end before the next, also when nothing answers.
fn timing(interval: Duration) -> TickConfig {
    TickConfig {
        interval,
        settle: interval / 2,
        call_timeout: (interval / 8).min(CALL_TIMEOUT),
        stale_after: interval.saturating_mul(3).max(STALE_AFTER),
    }
}

fn write_line(out: &mut impl Write, record: &TickRecord) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line::of(record))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// One tick.
#[derive(Serialize)]
struct Line<'a> {
    tick: u64,
    offset: Option<u64>,
    host: Option<HostLine>,
    vms: Vec<VmLine<'a>>,
    transfers: Vec<TransferLine<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reservations: Vec<ReservationLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct HostLine {
    usable_bytes: u64,
}

#[derive(Serialize)]
struct VmLine<'a> {
    name: &'a str,
    uuid: String,
    actual_bytes: u64,
    guest_unused_bytes: Option<u64>,
    used_bytes: Option<u64>,
    target_bytes: u64,
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct TransferLine<'a> {
    from: &'a str,
    to: &'a str,
    amount_bytes: u64,
}

/// How a reservation stands after the tick.
#[derive(Serialize)]
struct ReservationLine<'a> {
    id: u64,
    min_bytes: u64,
    max_bytes: u64,
    held_bytes: u64,
    filled: bool,
    handed_to: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(record: &'a TickRecord) -> Self {
        let sample = record.sample.as_ref();
        let transfers = record.decision.iter().flat_map(|decision| &decision.transfers);
        let vms = sample.iter().flat_map(|sample| &sample.vms);
        let bookings = record.decision.iter().flat_map(|decision| &decision.bookings);
        Self {
            tick: record.tick,
            offset: record.decision.as_ref().and_then(|decision| decision.offset),
            host: sample.map(|sample| HostLine { usable_bytes: sample.host.usable.as_u64() }),
            vms: vms.map(|(id, vm)| VmLine::of(*id, vm, record)).collect(),
            transfers: transfers.map(|transfer| TransferLine::of(transfer, sample)).collect(),
            reservations: bookings.map(|own| ReservationLine::of(own, sample)).collect(),
            error: record.error.as_deref(),
        }
    }
}

impl<'a> VmLine<'a> {
    fn of(id: VmId, vm: &'a VmSample, record: &TickRecord) -> Self {
        let verdict = record.decision.as_ref().and_then(|decision| decision.verdicts.get(&id));
        // A VM that was never given an order is to hold what it holds.
        let target = record.targets.get(&id).copied().unwrap_or(vm.actual);
        Self {
            name: &vm.name,
            uuid: id.to_string(),
            actual_bytes: vm.actual.as_u64(),
            guest_unused_bytes: vm.guest.unused.map(ByteCount::as_u64),
            used_bytes: vm.used().map(ByteCount::as_u64),
            target_bytes: target.as_u64(),
            verdict: verdict.map(|verdict| verdict.kind.name()),
            reason: verdict.map(|verdict| verdict.reason.name()),
        }
    }
}

impl<'a> TransferLine<'a> {
    fn of(transfer: &Transfer, sample: Option<&'a Sample>) -> Self {
        let name = |party| match party {
            Party::Host => "host",
            Party::Vm(id) => name_of(id, sample),
        };
        Self {
            from: name(transfer.from),
            to: name(transfer.to),
            amount_bytes: transfer.amount.as_u64(),
        }
    }
}

impl<'a> ReservationLine<'a> {
    fn of(own: &Booking, sample: Option<&'a Sample>) -> Self {
        Self {
            id: own.id.0,
            min_bytes: own.min.as_u64(),
            max_bytes: own.max.as_u64(),
            held_bytes: own.held.as_u64(),
            filled: own.filled,
            handed_to: own.handed_to.map(|vm| name_of(vm, sample)),
        }
    }
}

fn name_of(id: VmId, sample: Option<&Sample>) -> &str {
    sample.and_then(|all| all.vms.get(&id)).map_or("", |vm| &vm.name)
}

/// What the daemon waits for an answer by default; shorter where ticks are.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Figures come once a second; five of them missing is no accident.
const STALE_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = r#"
        [sim]
        ideal = true
        [host]
        total = "2GiB"
        other = "1GiB"
        [[vm]]
        name = "busy"
        uuid = "00000000-0000-0000-0000-000000000001"
        max = "1GiB"
        actual = "256MiB"
        demand = [{ at = "0s", used = "150MiB" }, { at = "1s", used = "160MiB" }]
        [[vm]]
        name = "idle"
        uuid = "00000000-0000-0000-0000-000000000002"
        max = "1GiB"
        actual = "512MiB"
        demand = "100MiB"
    "#;

    fn run(text: &str, ticks: u64) -> Vec<String> {
        let scenario = Scenario::parse("test.toml", text).unwrap();
        let name = Path::new("test.toml");
        let policy = Policy::default();
        let mut out = Vec::new();
        Simulation { name, scenario: &scenario, policy, ticks }.run(&mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    /// At tick 0 nothing is known of use before, so that everybody's counts as growing.
    #[test]
    fn writes_one_line_a_tick_in_the_documented_shape() {
        let lines = run(SCENARIO, 3);
        assert_eq!(
            lines[1],
            "{\"tick\":1,\"offset\":1,\"host\":{\"usable_bytes\":216006656},\"vms\":[\
             {\"name\":\"busy\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\
             \"actual_bytes\":320864256,\"guest_unused_bytes\":153092096,\
             \"used_bytes\":167772160,\"target_bytes\":373293056,\"verdict\":\"grow\",\
             \"reason\":\"NEEDS_MEMORY\"},\
             {\"name\":\"idle\",\"uuid\":\"00000000-0000-0000-0000-000000000002\",\
             \"actual_bytes\":536870912,\"guest_unused_bytes\":432013312,\
             \"used_bytes\":104857600,\"target_bytes\":484442112,\"verdict\":\"shrink\",\
             \"reason\":\"GIVES_TO_VM\"}],\
             \"transfers\":[{\"from\":\"idle\",\"to\":\"busy\",\"amount_bytes\":52428800}]}"
        );
        assert_eq!(lines.len(), 3);
    }

    /// A real host is ordered nothing by such a policy: it is a mistake.
    #[test]
    fn an_ideal_world_carries_out_a_policy_beyond_its_host() {
        let policy = Policy { host_reserve: ByteCount::gib(3), ..Policy::default() };
        let last_held = |text: &str| {
            let scenario = Scenario::parse("test.toml", text).unwrap();
            let (name, policy) = (Path::new("test.toml"), policy.clone());
            let simulation = Simulation { name, scenario: &scenario, policy, ticks: 40 };
            let mut held = ByteCount::ZERO;
            let each = simulation.run_each(|record| {
                held = record
                    .sample
                    .iter()
                    .flat_map(|sample| sample.vms.values())
                    .map(|vm| vm.actual)
                    .sum();
                Ok::<_, io::Error>(())
            });
            each.unwrap();
            held
        };
        assert!(last_held(SCENARIO) < ByteCount::mib(700));
        assert_eq!(last_held(&SCENARIO.replace("ideal = true", "")), ByteCount::mib(768));
    }

    #[test]
    fn replays_to_the_letter_and_survives_no_vms() {
        assert_eq!(run(SCENARIO, 20), run(SCENARIO, 20));
        // What VMs that are not ideal report differs from seed to seed, and from nothing else.
        let real = SCENARIO.replace("ideal = true", "");
        let seeded = |seed: u32| run(&format!("seed = {seed}\n{real}"), 60);
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
        let none = run("[sim]\nideal = true\n[host]\ntotal = \"1GiB\"\n", 1);
        assert_eq!(
            none,
            ["{\"tick\":0,\"offset\":0,\"host\":{\"usable_bytes\":1073741824},\
                 \"vms\":[],\"transfers\":[]}"]
        );
    }

    #[test]
    fn the_bundled_scenarios_run_without_an_error_and_move_memory() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/scenarios");
        for name in ["demo", "one-grows", "all-grow", "two-grow-one-stops"] {
            let path = folder.join(name).with_extension("toml");
            let lines = run(&std::fs::read_to_string(path).unwrap(), 60);
            assert!(lines.iter().all(|line| !line.contains("\"error\"")), "{name}");
            assert!(lines.iter().any(|line| line.contains("\"grow\"")), "{name}");
            assert!(lines.iter().any(|line| line.contains("\"from\":\"host\"")), "{name}");
        }
    }

    /// What lines say of their reservations, `None` where nothing.
    fn reservations(lines: &[String]) -> Vec<Option<&str>> {
        lines.iter().map(|line| Some(line.split_once("\"reservations\":[")?.1)).collect()
    }

    /// The first goes to its VM when that comes; nobody comes for the second, which is released.
    #[test]
    fn a_scenario_reserves_hands_over_and_releases() {
        let gib = ByteCount::gib(1).as_u64();
        let late = "[[vm]]\nname = \"late\"\nmax = \"512MiB\"\nactual = \"512MiB\"\n\
                    demand = \"300MiB\"\nstart = \"20s\"\n";
        let scenario = SCENARIO.replacen("2GiB", "2400MiB", 1);
        let text = format!(
            "{scenario}{late}\
             [[reservation]]\nfrom = \"2s\"\nmin = \"512MiB\"\nvm = \"late\"\n\
             [[reservation]]\nfrom = \"4s\"\nuntil = \"9s\"\nmin = \"1GiB\"\nmax = \"2GiB\"\n"
        );
        let lines = run(&text, 23);
        let said = reservations(&lines);
        let of = |tick: usize, id: u32| {
            let all = said[tick].unwrap_or_default();
            all.split('{').find(|own| own.starts_with(&format!("\"id\":{id},"))).unwrap_or_default()
        };
        assert!(said[..2].iter().all(Option::is_none), "{said:?}");
        assert!(of(2, 1).contains("\"filled\":false,\"handed_to\":null"), "{}", of(2, 1));
        let second = of(4, 2);
        assert!(second.contains(&format!("\"min_bytes\":{gib},\"max_bytes\":{}", 2 * gib)));
        let open = |id| (0..23).filter(|tick| !of(*tick, id).is_empty()).collect::<Vec<_>>();
        assert_eq!(open(2), [4, 5, 6, 7, 8], "released");
        let filled = of(19, 1);
        assert!(
            filled.contains(&format!("\"held_bytes\":{},\"filled\":true", gib / 2)),
            "{filled}"
        );
        assert!(of(20, 1).contains("\"held_bytes\":0,\"filled\":true,\"handed_to\":\"late\""));
        assert_eq!(open(1), (2..=20).collect::<Vec<_>>(), "handed over, and over with it");
    }

    #[test]
    fn says_that_nothing_could_be_read_and_goes_on() {
        let lost = "[sim]\nconnection_lost = [{ from = \"1s\", until = \"2s\" }]\n";
        let lines = run(&format!("{lost}[host]\ntotal = \"1GiB\"\n"), 3);
        assert_eq!(
            lines[1],
            "{\"tick\":1,\"offset\":null,\"host\":null,\"vms\":[],\"transfers\":[],\
             \"error\":\"cannot reach sim:test.toml: the connection is lost; wait: the scenario \
             says when it comes back; trying again in 1.0s\"}"
        );
        assert!(lines[2].contains("\"usable_bytes\":1073741824"), "{}", lines[2]);
    }

    #[test]
    fn ends_quietly_when_nobody_reads() {
        #[derive(Debug)]
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let scenario = Scenario::parse("test.toml", SCENARIO).unwrap();
        let simulation = Simulation {
            name: Path::new("test.toml"),
            scenario: &scenario,
            policy: Policy::default(),
            ticks: u64::MAX,
        };
        assert!(simulation.run(&mut Closed).is_ok());
    }
}
