//! `agentd simulate` against another implementation of `two-pointer` and of the scenario format, in
//! another language and from the words alone (`tests/foreign/oracle.py`): tick for tick, transfer
//! for transfer, on random scenarios.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sim_host::{self, SCENARIO, World};

#[test]
fn simulate_agrees_with_another_implementation_on_scenarios_that_never_change() {
    let Some(oracle) = Oracle::find("simulate_agrees_with_another_implementation") else { return };
    let mut moved = [false; 3];
    for seed in 0..FIXED {
        oracle.compare(seed, &mut moved);
    }
    let kinds = ["from VM to VM", "from the host", "to the host"];
    assert_eq!(moved, [true; 3], "these scenarios show all of {kinds:?}");
}

#[test]
fn simulate_agrees_with_another_implementation_on_scenarios_that_nobody_has_seen() {
    let Some(oracle) = Oracle::find("simulate_agrees_with_another_implementation") else { return };
    let first = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse().expect("the seed is a number"),
        Err(_) => fresh_seed(),
    };
    // Straight to stderr: what a passing test prints by macro is not shown.
    let said = format!("scenarios from seed {first} on; {SEED_VARIABLE} repeats them\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    for seed in first..first + FRESH {
        oracle.compare(seed, &mut [false; 3]);
    }
}

/// The other implementation, and a place for both to work in.
struct Oracle {
    world: World,
}

impl Oracle {
    /// `None` where its language is not installed; with `LAB_REQUIRED=1` that is a failure.
    fn find(test: &str) -> Option<Self> {
        let works = Command::new(PYTHON).args(["-c", "import tomllib"]).output();
        if works.is_ok_and(|output| output.status.success()) {
            return Some(Self { world: World::new(SCENARIO) });
        }
        let required = std::env::var_os("LAB_REQUIRED").is_some_and(|value| value == "1");
        let missing = "python3 is not installed: run tests/install.sh";
        assert!(!required, "{test}: {missing}");
        std::io::stderr().write_all(format!("skipped {test}: {missing}\n").as_bytes()).unwrap();
        None
    }

    /// Notes in `moved` which kinds of transfers there were.
    fn compare(&self, seed: u64, moved: &mut [bool; 3]) {
        let file = self.world.path("random.toml").display().to_string();
        self.run(&["make", &seed.to_string(), &file]);
        let theirs = self.run(&["run", &file, TICKS]);
        let ours = self.world.run_agentd(&["simulate", &file, "--ticks", TICKS]);
        assert_eq!(ours.exit, Some(0), "seed {seed}: {}", ours.stderr);
        let (ours, theirs) = (lines(&ours.stdout), lines(&theirs));
        assert_eq!(ours.len(), theirs.len(), "seed {seed}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "ours and theirs differ at {} of seed {seed}", ours["tick"]);
            for transfer in ours["transfers"].as_array().unwrap() {
                let (from, to) = (transfer["from"] == "host", transfer["to"] == "host");
                *moved = [moved[0] || !from && !to, moved[1] || from, moved[2] || to];
            }
        }
    }

    fn run(&self, args: &[&str]) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/oracle.py");
        let mut command = Command::new(PYTHON);
        // No compiled code beside the sources.
        let answer = sim_host::run(command.arg("-B").arg(program).args(args));
        assert_eq!(answer.exit, Some(0), "oracle.py {args:?}: {}", answer.stderr);
        answer.stdout
    }
}

/// The lines as JSON, without the reasons: the words of the algorithm name none.
fn lines(text: &str) -> Vec<Value> {
    let parse = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for vm in line["vms"].as_array_mut().unwrap() {
            vm.as_object_mut().unwrap().remove("reason");
        }
        line
    };
    text.lines().map(parse).collect()
}

fn fresh_seed() -> u64 {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::from(u32::from_le_bytes(bytes))
}

const PYTHON: &str = "/usr/bin/python3";
const SEED_VARIABLE: &str = "ORACLE_SEED";
/// Longer than the demands of the scenarios take.
const TICKS: &str = "80";
const FIXED: u64 = 40;
const FRESH: u64 = 40;
