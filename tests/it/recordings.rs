//! agentd's ticks, recorded and decided once more; and a policy that decides along without acting.

use std::fs;

use serde_json::Value;

use crate::sim_host::{Answer, SCENARIO, World, until};

/// Where the host `local` is recorded.
const FILE: &str = "local.rec";

fn recorded(world: &World) -> crate::sim_host::Agentd {
    let mut command = world.agentd("local");
    command.arg("--record").arg(world.path(FILE));
    world.start_as("local", command)
}

fn replay(world: &World, more: &[&str]) -> Answer {
    let file = world.path(FILE).display().to_string();
    world.run_agentd(&[&["replay", &file], more].concat())
}

fn ticks(world: &World) -> u64 {
    world.ask(&["status"], "status")["tick"].as_u64().unwrap_or(0)
}

/// The last line of `-o jsonl`.
fn summary(answer: &Answer) -> Value {
    let last = answer.stdout.lines().last().unwrap_or_default();
    let line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{answer:?}"));
    line["summary"].clone()
}

#[test]
fn a_recording_of_agentd_is_replayed_to_the_letter() {
    let world = World::new(SCENARIO);
    let mut agentd = recorded(&world);
    until("some ticks", || Ok(ticks(&world) >= 10));
    // Whatever the operator does in between is recorded as well.
    world.done(&["policy", "set", "two-pointer.step=60MiB"]);
    world.done(&["mode", "paused"]);
    let paused = ticks(&world);
    until("paused ticks", || Ok(ticks(&world) >= paused + 3));
    world.done(&["mode", "active", "-y"]);
    world.done(&["policy", "set", "algorithm=working-set"]);
    let active = ticks(&world);
    until("ticks of the other policy", || Ok(ticks(&world) >= active + 10));
    agentd.signal("TERM");
    assert!(agentd.wait().success());

    let same = replay(&world, &["-o", "jsonl"]);
    assert_eq!((same.exit, same.stderr.as_str()), (Some(0), ""), "{same:?}");
    let sum = summary(&same);
    let (all, decided) = (sum["ticks"].as_u64().unwrap(), sum["decided"].as_u64().unwrap());
    assert!(all >= active + 10 && decided < all, "{sum}");
    let table = replay(&world, &[]);
    assert!(table.stdout.contains(&format!("each of {decided} decisions is as recorded")));

    let other = replay(&world, &["--policy", "working-set", "-o", "jsonl"]);
    assert_eq!(other.exit, Some(0), "{other:?}");
    let sum = summary(&other);
    let differed = sum["differed"].as_u64().unwrap();
    assert!(differed > 0 && differed < decided, "by the end it is the same policy: {sum}");
    let set = replay(&world, &["--set", "two_pointer.step=20MiB"]);
    assert!(set.exit == Some(0) && set.stdout.contains("shrink 20 MiB"), "{set:?}");
    fs::write(world.path("policy.toml"), "[policy]\npool_limit = \"1600MiB\"\n").unwrap();
    let file = world.path("policy.toml").display().to_string();
    let limited = replay(&world, &["--policy-file", &file]);
    assert!(limited.exit == Some(0) && limited.stdout.contains(" differ\n"), "{limited:?}");

    let wrong = replay(&world, &["--set", "two_pointer.stepp=20MiB"]);
    assert_eq!((wrong.exit, wrong.stdout.as_str()), (Some(2), ""));
    assert!(wrong.stderr.contains("did you mean"), "{}", wrong.stderr);
}

#[test]
fn what_a_killed_agentd_recorded_is_whole_up_to_its_end() {
    let world = World::new(SCENARIO);
    let agentd = recorded(&world);
    until("some ticks", || Ok(ticks(&world) >= 10));
    agentd.kill();
    let bytes = fs::read(world.path(FILE)).unwrap();
    let killed = replay(&world, &[]);
    assert_eq!(killed.exit, Some(0), "{killed:?}");

    // As a kill in the middle of a write leaves it, which is rare.
    fs::write(world.path(FILE), &bytes[..bytes.len() - 5]).unwrap();
    let torn = replay(&world, &[]);
    assert_eq!(torn.exit, Some(0), "{torn:?}");
    assert!(torn.stderr.contains("is cut off"), "{}", torn.stderr);

    let mut changed = bytes;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(world.path(FILE), &changed).unwrap();
    let damaged = replay(&world, &[]);
    assert_eq!(damaged.exit, Some(2), "{damaged:?}");
    assert!(damaged.stderr.contains("at byte "), "{}", damaged.stderr);

    fs::write(world.path(FILE), "[policy]\n").unwrap();
    let other = replay(&world, &[]);
    assert_eq!(other.exit, Some(2));
    assert!(other.stderr.contains("it is no recording"), "{}", other.stderr);

    // Started again, agentd keeps what is there and begins anew.
    let agentd = recorded(&world);
    until("some ticks", || Ok(ticks(&world) >= 3));
    agentd.kill();
    assert_eq!(fs::read_to_string(world.path("local.rec.before")).unwrap(), "[policy]\n");
    assert_eq!(replay(&world, &[]).exit, Some(0));
}

#[test]
fn a_recording_that_cannot_go_on_is_told_and_stops_no_tick() {
    let world = World::new(SCENARIO);
    let config = format!("[recording]\nfile = \"{}\"\n", world.path(FILE).display());
    fs::write(world.path("agentd.toml"), config).unwrap();
    let mut command = world.agentd("local");
    command.arg("--record").arg(world.path("no-folder/x.rec"));
    let agentd = world.start_as("local", command);
    let is_stopped = || {
        let conditions = world.ask(&["status"], "status")["conditions"].to_string();
        conditions.contains("RECORDING_STOPPED")
    };
    until("the condition", || Ok(is_stopped()));
    let now = ticks(&world);
    until("more ticks", || Ok(ticks(&world) > now + 3));
    agentd.kill();

    // Without the flag it is the config that says where.
    let agentd = world.start("local");
    until("some ticks", || Ok(ticks(&world) >= 3));
    assert!(!is_stopped());
    agentd.kill();
    assert_eq!(replay(&world, &[]).exit, Some(0));
}

#[test]
fn a_simulation_is_recorded_too() {
    let world = World::new(SCENARIO);
    let (scenario, file) = (world.path("scenario.toml"), world.path(FILE));
    let (scenario, file) = (scenario.display().to_string(), file.display().to_string());
    for policy in ["two-pointer", "working-set"] {
        let args = ["simulate", &scenario, "--policy", policy, "--ticks", "50", "--record", &file];
        let run = world.run_agentd(&args);
        assert_eq!((run.exit, run.stdout.lines().count()), (Some(0), 50), "{}", run.stderr);
        let same = replay(&world, &[]);
        assert!(same.stdout.contains("each of 50 decisions is as recorded"), "{same:?}");
    }
    assert!(world.path("local.rec.before").exists(), "the first of the two is kept");
    let args = ["simulate", &scenario, "--ticks", "1", "--record", "/dev/null"];
    let refused = world.run_agentd(&args);
    assert_eq!(refused.exit, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("/dev/null") && refused.stderr.contains("a device"));
}

/// What it decides is what it decides alone: every recorded decision is made again without a shadow.
#[test]
fn a_shadow_tells_what_it_would_do_and_changes_no_decision() {
    let world = World::new(SCENARIO);
    fs::write(world.path("agentd.toml"), "[shadow]\ntwo_pointer.step = \"20MiB\"\n").unwrap();
    let mut agentd = recorded(&world);
    let of_config = world.ask(&["shadow", "status"], "shadow");
    assert_eq!(of_config["actor"]["id"], "config", "{of_config}");
    assert_eq!(of_config["changes"][0]["key"], "two-pointer.step", "{of_config}");

    let set = world.done(&["shadow", "set", "algorithm=working-set", "--reason", "to see"]);
    assert!(set.contains("algorithm two-pointer -> working-set"), "{set}");
    until("a difference", || {
        Ok(world.ask(&["shadow", "status"], "summary")["differed"].as_u64() > Some(3))
    });
    let mut shadows: Vec<Value> = Vec::new();
    // It passes over ticks where a look takes it long.
    until("a tick with a shadow", || {
        let args = ["watch", "--shadow", "--kind", "tick", "--count", "10", "-o", "jsonl"];
        let ticks = world.done(&args);
        let ticks = ticks.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        shadows.extend(ticks.filter_map(|tick| tick.get("shadow").cloned()));
        Ok(!shadows.is_empty())
    });
    assert!(shadows.iter().all(|shadow| shadow["algorithm"] == "working-set"), "{shadows:?}");
    let plain = world.done(&["watch", "--kind", "tick", "--count", "3", "-o", "jsonl"]);
    assert!(!plain.contains("\"shadow\""), "only who asks is told: {plain}");

    let table = world.done(&["shadow", "status", "--ticks", "5"]);
    assert!(table.contains(" of 5 ticks since "), "{table}");
    let refused = world.memctl(&["shadow", "set", "floor=1MiB"]);
    assert_eq!(refused.exit, Some(8), "{}", refused.stderr);
    assert!(refused.stderr.contains("must be at least 16 MiB"), "{}", refused.stderr);
    assert_eq!(world.ask(&["shadow", "off"], "shadow"), Value::Null);
    let off = world.done(&["shadow", "status"]);
    assert!(off.contains("none"), "{off}");

    agentd.signal("TERM");
    assert!(agentd.wait().success());
    let same = replay(&world, &[]);
    assert_eq!(same.exit, Some(0), "{same:?}");
    let replayed = replay(&world, &["--policy", "working-set", "-o", "jsonl"]);
    assert!(summary(&replayed)["differed"].as_u64() > Some(3), "{replayed:?}");
}
