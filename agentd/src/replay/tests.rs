//! A recording replayed gives the recorded decisions, whatever happened to the VMs.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    policy::Algorithm,
    reserve::{Reservation, ReservationId},
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::VirtualClock,
    control::{Actor, Gate, InForce, Mode, Pin, Reservations, Reserved},
    hypervisor::sim::{Scenario, Sim, derived_id},
    recording::{Head, Reader, Recorded, WriteError, Writer},
    shadow::{Shadow, Wish},
    simulate::Simulation,
    tick::{TickConfig, Ticker},
};

const TICKS: u64 = 40;

/// Runs a scenario with so many MiB reserved and records it.
fn record(scenario: &str, algorithm: Algorithm, reserved_mib: u32, file: &Path) {
    let scenario = Scenario::parse("test.toml", scenario).unwrap();
    let policy = Policy { algorithm, ..scenario.policy.clone().unwrap_or_default() };
    let name = Path::new("test.toml");
    let simulation = Simulation { name, scenario: &scenario, policy, ticks: TICKS };
    let mut writer = simulation.begin_recording(File::create(file).unwrap()).unwrap();
    let mut in_force = InForce::fixed(Mode::Active, simulation.policy.clone());
    in_force.reservations = Arc::new(reserved(reserved_mib));
    let run: Result<(), WriteError> = simulation.run_under(&in_force, |record| writer.put(record));
    run.unwrap();
}

/// So much is reserved for whoever comes, and as much again where nobody needs it.
fn reserved(mib: u32) -> Reservations {
    let min = ByteCount::mib(mib);
    let time = SystemTime::UNIX_EPOCH;
    let one = Reserved {
        reservation: Reservation {
            id: ReservationId(1),
            min,
            max: min.saturating_add(min),
            vm: None,
        },
        actor: Actor { id: "test".to_owned(), peer: String::new(), time },
        reason: String::new(),
        request_id: String::new(),
        expires_at: time,
        expires: Duration::MAX,
        filled: false,
        end: None,
    };
    let open = if mib == 0 { Vec::new() } else { vec![Arc::new(one)] };
    Reservations { open, ended: Vec::new() }
}

/// What a replay prints, what it notes, and how it ends.
fn run(
    file: &Path,
    other: Option<&Other>,
    output: ReplayOutput,
) -> (String, String, Result<(), ReplayError>) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let end = Replay { file, other, output }.run(&mut out, &mut notes);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(notes), end)
}

fn by(words: &[&str]) -> Other {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Other { whole: None, words: Variation::of_words(&words) }
}

/// One VM that grows beside one that idles, each of some behaviour, on a host of some size.
fn scenario(seed: u64, behaviours: [&str; 2], total: u64, more: &str) -> String {
    let behaviour = |name: &str| {
        if name.is_empty() { String::new() } else { format!("behaviour = \"{name}\"\n") }
    };
    let [one, other] = behaviours.map(behaviour);
    format!(
        "seed = {seed}\n[sim]\n{more}\n[host]\ntotal = \"{total}MiB\"\nother = \"500MiB\"\n\
         [[vm]]\nname = \"grows\"\nmax = \"2GiB\"\nactual = \"512MiB\"\ncache = \"20MiB\"\n\
         swap_rate = \"20MiB\"\n{one}\
         demand = [{{ at = \"6s\", used = \"300MiB\" }}, {{ at = \"30s\", used = \"1GiB\" }}]\n\
         [[vm]]\nname = \"idle\"\nmax = \"1GiB\"\nactual = \"800MiB\"\n{other}\
         demand = \"100MiB\"\n"
    )
}

fn grows_beside_idle() -> String {
    scenario(1, ["", ""], 4096, "")
}

const BEHAVIOURS: [&str; 20] = [
    "",
    "stuck",
    "slow",
    "partial",
    "intermittent",
    "no-driver",
    "frozen-stats",
    "lying",
    "hidden-vfio",
    "leaks",
    "refuses",
    "reboots",
    "pauses",
    "hangs",
    "vanishes",
    "busy",
    "saves",
    "crashes",
    "clock-back",
    "takes-back",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_recorded_samples_give_the_recorded_decisions(
        seed in 0_u64..1000,
        one in prop::sample::select(&BEHAVIOURS[..]),
        other in prop::sample::select(&BEHAVIOURS[..]),
        total in 1900_u64..4096,
        lost in any::<bool>(),
        reserved in prop::sample::select(&[0, 100, 500, 1500][..]),
    ) {
        let lost = if lost { "connection_lost = [{ from = \"9s\", until = \"12s\" }]" } else { "" };
        let scenario = scenario(seed, [one, other], total, lost);
        let folder = TempDir::new().unwrap();
        for algorithm in Algorithm::ALL {
            let file = folder.path().join("recording");
            record(&scenario, algorithm, reserved, &file);
            let (out, notes, end) = run(&file, None, ReplayOutput::Table);
            prop_assert!(end.is_ok(), "{}: {}", algorithm, end.unwrap_err());
            prop_assert!(out.starts_with("40 ticks of host \"simulated\""), "{}", out);
            prop_assert_eq!(notes, "");
            // A shade of the same policy remembers the same and differs in nothing.
            let same = by(&[&format!("algorithm={algorithm}")]);
            let (out, notes, end) = run(&file, Some(&same), ReplayOutput::Table);
            prop_assert!(end.is_ok() && notes.is_empty(), "{}{:?}", notes, end);
            prop_assert!(out.contains(" decisions, 0 differ\n"), "{}", out);
        }
    }
}

#[test]
fn another_policy_tells_what_it_would_have_done() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    record(&grows_beside_idle(), Algorithm::TwoPointer, 0, &file);
    let other = by(&["algorithm=working-set"]);
    let (table, notes, end) = run(&file, Some(&other), ReplayOutput::Table);
    end.unwrap();
    assert_eq!(notes, "");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("40 ticks of host \"simulated\""), "{table}");
    assert!(!lines[0].ends_with(" 0 differ"), "{table}");
    assert!(lines[3].starts_with("VM     TICKS  MORE"), "{table}");
    assert_eq!(lines.len(), 6, "both VMs: {table}");

    let (jsonl, _, end) = run(&file, Some(&other), ReplayOutput::Jsonl);
    end.unwrap();
    let lines: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, ticks) = lines.split_last().unwrap();
    let differ = |line: &&serde_json::Value| !line["vms"].as_array().unwrap().is_empty();
    let differed = ticks.iter().filter(differ).count();
    assert_eq!(summary["summary"]["differed"], differed);
    assert!(differed > 0);
    // What each VM would have had beyond is the sum of what its ticks say.
    let amount = |ruled: &serde_json::Value| {
        let amount = i64::try_from(ruled["amount_bytes"].as_u64().unwrap()).unwrap();
        match ruled["verdict"].as_str().unwrap() {
            "grow" => amount,
            "shrink" => -amount,
            _ => 0,
        }
    };
    for vm in summary["summary"]["vms"].as_array().unwrap() {
        let own = ticks.iter().flat_map(|tick| tick["vms"].as_array().unwrap());
        let own = own.filter(|own| own["uuid"] == vm["uuid"]);
        let by = |own: &serde_json::Value| amount(&own["replayed"]) - amount(&own["recorded"]);
        let net: i64 = own.map(by).sum();
        let bytes = |key: &str| i64::try_from(vm[key].as_u64().unwrap()).unwrap();
        assert_eq!(net, bytes("more_bytes") - bytes("less_bytes"), "{vm}");
    }
}

#[test]
fn a_decision_that_is_not_as_recorded_is_told_with_both() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    record(&grows_beside_idle(), Algorithm::TwoPointer, 0, &file);
    // The same ticks under a policy that was not in force.
    let changed = folder.path().join("changed");
    rewrite(&file, &changed, |recorded| {
        if let Some(policy) = &mut recorded.policy {
            policy.two_pointer.step = ByteCount::mib(60);
        }
    });
    let (_, _, end) = run(&changed, None, ReplayOutput::Table);
    let error = end.unwrap_err();
    let ReplayError::Differs { tick, what, .. } = &error else { panic!("{error}") };
    assert!(*tick > 0, "nothing was proven at tick 0");
    assert_eq!(
        what,
        "grows: recorded grow 50 MiB (NEEDS_MEMORY), replayed grow 60 MiB (NEEDS_MEMORY)"
    );
    assert!(error.to_string().contains(&format!("changed: tick {tick}: ")), "{error}");

    // Against another policy it is a note: what was recorded is what happened.
    let (out, notes, end) = run(&changed, Some(&by(&["floor=65MiB"])), ReplayOutput::Table);
    end.unwrap();
    assert!(notes.contains(&format!("from tick {tick} on: {what}")), "{notes}");
    assert!(out.contains("40 decisions"), "{out}");
}

#[test]
fn a_missing_tick_and_a_torn_end_are_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    record(&grows_beside_idle(), Algorithm::TwoPointer, 0, &file);
    let changed = folder.path().join("changed");
    rewrite(&file, &changed, |recorded| recorded.tick += u64::from(recorded.tick > 4));
    let (_, _, end) = run(&changed, None, ReplayOutput::Table);
    let error = end.unwrap_err().to_string();
    assert!(error.contains("tick 6 follows where tick 5 should"), "{error}");

    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let (out, notes, end) = run(&file, None, ReplayOutput::Jsonl);
    end.unwrap();
    assert!(notes.contains("is cut off"), "{notes}");
    assert!(out.ends_with("\"ticks\":39,\"decided\":39}}\n"), "{out}");
}

#[test]
fn a_recording_gives_the_terminal_no_commands() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    record(&grows_beside_idle(), Algorithm::TwoPointer, 0, &file);
    let changed = folder.path().join("changed");
    let head = |head: &Head| Head { agent_version: "0.0.9\x1b[2J".to_owned(), ..head.clone() };
    rewrite_as(&file, &changed, head, |recorded| {
        for vm in recorded.sample.iter_mut().flat_map(|sample| sample.vms.values_mut()) {
            vm.name = "evil\x1b[2J".into();
        }
        if let Some(policy) = &mut recorded.policy {
            policy.two_pointer.step = ByteCount::mib(60);
        }
    });
    let error = run(&changed, None, ReplayOutput::Table).2.unwrap_err().to_string();
    assert!(error.contains("evil\\u{1b}[2J: recorded grow"), "{error}");
    assert!(error.contains("it was recorded by agentd 0.0.9\\u{1b}[2J, "), "{error}");
    let other = by(&["algorithm=working-set"]);
    let (out, notes, end) = run(&changed, Some(&other), ReplayOutput::Table);
    end.unwrap();
    assert!(out.contains("recorded by agentd 0.0.9\\u{1b}[2J: "), "{out}");
    assert!(![out, notes, error].concat().contains('\x1b'));
}

/// The recording with its ticks changed.
fn rewrite(file: &Path, to: &Path, change: impl Fn(&mut Recorded)) {
    rewrite_as(file, to, Clone::clone, change);
}

/// The same with its head changed.
fn rewrite_as(
    file: &Path,
    to: &Path,
    head: impl Fn(&Head) -> Head,
    change: impl Fn(&mut Recorded),
) {
    let mut reader = Reader::open(file).unwrap();
    let head = head(reader.head());
    let mut writer = Writer::begin(File::create(to).unwrap(), &head, ByteCount::MAX).unwrap();
    while let Some(mut recorded) = reader.next_tick().unwrap() {
        change(&mut recorded);
        writer.put_recorded(&recorded).unwrap();
    }
}

#[test]
fn a_policy_beyond_the_host_is_refused_and_not_compared() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    for scenario in [grows_beside_idle(), IDEAL.to_owned()] {
        record(&scenario, Algorithm::TwoPointer, 0, &file);
        let beyond = by(&["host_reserve=100GiB"]);
        let (out, _, end) = run(&file, Some(&beyond), ReplayOutput::Table);
        let error = end.unwrap_err();
        assert!(!error.is_difference() && out.is_empty(), "{out}");
        let words =
            "tick 0: host_reserve = 100 GiB: must be less than the host's memory, which is 4 GiB";
        assert!(error.to_string().contains(words), "{error}");
        let within = by(&["host_reserve=1GiB"]);
        assert!(run(&file, Some(&within), ReplayOutput::Table).2.is_ok());
    }
}

const IDEAL: &str = "[sim]\nideal = true\n[host]\ntotal = \"4GiB\"\n[[vm]]\nname = \"web1\"\nmax = \"2GiB\"\n\
                     actual = \"512MiB\"\ndemand = \"300MiB\"\n";

/// A pin comes and goes, and no revision of the policy tells so.
#[test]
fn what_is_pinned_for_a_while_is_recorded_replayed_and_shadowed() {
    let (name, text) = (Path::new("test.toml"), grows_beside_idle());
    let scenario = Scenario::parse("test.toml", &text).unwrap();
    let clock = Arc::new(VirtualClock::default());
    let interval = Duration::from_secs(2);
    let (settle, call_timeout) = (interval / 2, interval / 2);
    let config = TickConfig { interval, settle, call_timeout, stale_after: Duration::from_secs(5) };
    let sim = Sim::new(name, &scenario, clock.clone());
    let mut ticker = Ticker::new(Box::new(sim), clock.clone(), config);
    let free = InForce::fixed(Mode::Active, Policy::default());
    let pinned = free.with_pins(&Arc::new([Arc::new(pin("grows"))].into_iter().collect()));
    // One that thinks by the same policy, and would have nobody pinned.
    let shadow = Shadow::none(clock.clone());
    let vary = Arc::new(|policy: &Policy| Ok(Policy { vms: BTreeMap::new(), ..policy.clone() }));
    shadow.set(Wish { vary, actor: pin("grows").actor, reason: String::new() });

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording");
    let simulation =
        Simulation { name, scenario: &scenario, policy: Policy::default(), ticks: TICKS };
    let mut writer = simulation.begin_recording(File::create(&file).unwrap()).unwrap();
    let while_pinned = 10..20;
    for tick in 0..TICKS {
        // Its end is one by its time, whoever has still to write that.
        let in_force = if tick < while_pinned.start { &free } else { &pinned };
        let record = ticker.turn(in_force, &Gate::new(Mode::Active)).record;
        writer.put(&record).unwrap();
        let verdict = record.decision.as_ref().unwrap().verdicts.get(&derived_id("grows")).unwrap();
        let is_pinned = verdict.reason == agentd_core::verdict::Reason::Pinned;
        assert_eq!(is_pinned, while_pinned.contains(&tick), "tick {tick}: {verdict:?}");
        let differs = shadow.look(&record, |look| look.compared.vms.len()).unwrap();
        assert_eq!(differs, 0, "tick {tick}");
        clock.advance_to(interval * u32::try_from(tick + 1).unwrap());
    }
    let (out, _, end) = run(&file, None, ReplayOutput::Table);
    assert!(end.is_ok(), "{}", end.unwrap_err());
    assert!(out.starts_with("40 ticks of host"), "{out}");
    // A file that says the same differs in nothing: what is pinned beside the policy stays so.
    let same = Other { whole: Some(Variation::of_file("same.toml", "")), words: by(&[]).words };
    let told = |other| run(&file, Some(other), ReplayOutput::Table).0;
    assert_eq!(told(&same), told(&by(&[])));
    let mut reader = Reader::open(&file).unwrap();
    let ticks = std::iter::from_fn(|| reader.next_tick().unwrap());
    let told: Vec<u64> =
        ticks.filter(|tick| tick.policy.is_some()).map(|recorded| recorded.tick).collect();
    assert_eq!(told, [0, 10, 20]);
}

fn pin(name: &str) -> Pin {
    let time = SystemTime::UNIX_EPOCH;
    Pin {
        vm: derived_id(name),
        name: Arc::from(name),
        actor: Actor { id: "test".to_owned(), peer: String::new(), time },
        reason: String::new(),
        ends_at: time,
        ends: Duration::from_secs(40),
    }
}
