//! What memctl said was done is there after the hardest of stops.

use std::fs;
use std::time::Duration;

use agentd_tests::lab::clock;
use serde_json::Value;

use crate::sim_host::{LOCAL, SCENARIO, World, signal, until};

/// Killed right after memctl returned, in turn after a change of the policy and of the mode.
#[test]
fn acknowledged_changes_survive_sigkill() {
    let world = World::new(SCENARIO);
    let mut agentd = world.start(LOCAL);
    for (round, mode) in ["observe", "paused", "active", "paused"].into_iter().enumerate() {
        let floor = format!("floor={}MiB", 65 + round);
        world.done(&["policy", "set", &floor]);
        agentd.kill();
        agentd = world.start(LOCAL);
        assert_eq!(policy(&world)["floor_bytes"], (65 + round) << 20, "round {round}");

        world.done(&["mode", mode, "--reason", "a test"]);
        agentd.kill();
        agentd = world.start(LOCAL);
        assert_eq!(world.ask(&["status"], "status")["mode"], mode, "round {round}");
        assert_eq!(policy(&world)["floor_bytes"], (65 + round) << 20, "round {round}");
    }
    drop(agentd);
}

/// Two keys change together, again and again, until agentd is killed at any moment: after the
/// restart both are of the last change that was acknowledged, or both of the one under way.
#[test]
fn a_kill_in_a_burst_of_changes_leaves_the_last_or_the_one_under_way_whole() {
    let world = World::new(SCENARIO);
    let mut last = 0;
    for round in 0..12 {
        let agentd = world.start(LOCAL);
        let now = change(&world);
        assert!(now == last || now == last + 1, "round {round}: {now} in force, {last} said");
        last = now;
        let set = |next: u64| {
            let floor = format!("floor={}B", FLOOR + next);
            let step = format!("two-pointer.step={}B", STEP + next);
            world.memctl(&["policy", "set", &floor, &step]).exit == Some(0)
        };
        // From then on there is one to lose, however busy the machine is.
        assert!(set(last + 1), "round {round}: {}", agentd.log());
        last += 1;
        let pid = agentd.pid();
        let killer = std::thread::spawn(move || {
            // Nothing to wait for but the moment.
            let moment = Duration::from_millis(17 * round);
            let _ = clock::wait_until("the moment", moment, || Ok(false));
            signal(pid, "KILL");
        });
        while set(last + 1) {
            last += 1;
        }
        killer.join().unwrap();
        agentd.kill();
    }
    let agentd = world.start(LOCAL);
    assert!(change(&world) >= last, "what was acknowledged is lost");
    drop(agentd);
}

/// Whatever the database becomes while agentd is down: a pause holds, and one that cannot be read
/// might have been a pause.
#[test]
fn a_pause_outlives_its_database() {
    let ruins: [(&str, Ruin); 4] = [
        ("emptied", |_| Vec::new()),
        ("cut in half", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("garbage", |bytes| bytes.iter().map(|byte| byte ^ 0x5a).collect()),
        ("garbage behind the head", |bytes| {
            let garbage = bytes[100..].iter().map(|byte| byte ^ 0x5a);
            bytes[..100].iter().copied().chain(garbage).collect()
        }),
    ];
    for (how, ruin) in ruins {
        for mode in ["paused", "active"] {
            let world = World::new(SCENARIO);
            let agentd = world.start(LOCAL);
            world.done(&["policy", "set", "floor=65MiB"]);
            world.done(&["mode", mode]);
            agentd.kill();
            let file = world.state(LOCAL).join("agentd.db");
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, ruin(&bytes)).unwrap();
            for journal in ["agentd.db-wal", "agentd.db-shm", "agentd.db-journal"] {
                let _ = fs::remove_file(world.state(LOCAL).join(journal));
            }

            let agentd = world.start(LOCAL);
            let status = world.ask(&["status"], "status");
            assert_eq!(status["mode"], "paused", "{how}, {mode}: {}", agentd.log());
            assert!(has(&status, "STATE_LOST"), "{how}, {mode}: {status}");
            ticks_go_on(&world);
            world.done(&["mode", "active"]);
            assert!(!has(&world.ask(&["status"], "status"), "STATE_LOST"), "{how}, {mode}");
        }
    }
}

#[test]
fn a_trial_that_agentd_did_not_live_to_end_is_ended_by_the_next() {
    let world = World::new(SCENARIO);
    let agentd = world.start(LOCAL);
    world.done(&["policy", "set", "floor=65MiB"]);
    world.done(&["policy", "set", "floor=66MiB", "--revert-after", "2s"]);
    agentd.kill();
    let agentd = world.start(LOCAL);
    until("the trial's end", || Ok(policy(&world)["floor_bytes"] == 65 << 20));

    // A confirmed one stays, whatever comes.
    world.done(&["policy", "set", "floor=67MiB", "--revert-after", "60s"]);
    world.done(&["policy", "confirm"]);
    agentd.kill();
    let _agentd = world.start(LOCAL);
    assert_eq!(policy(&world)["floor_bytes"], 67 << 20);
}

#[test]
fn a_second_agentd_of_a_state_directory_is_told_who_is_first() {
    let world = World::new(SCENARIO);
    let agentd = world.start(LOCAL);
    let run = ["run", "--hypervisor", "sim:scenario.toml", "--config", "agentd.toml"];
    let (other, state) = (world.uri("other"), world.state(LOCAL).display().to_string());
    let more = ["--listen", &other, "--state-dir", &state];
    let second = world.run_agentd(&[&run[..], &more[..]].concat());
    assert_eq!(second.exit, Some(75), "{}", second.stderr);
    let who = format!("pid {}", agentd.pid());
    assert!(second.stderr.contains(&who), "{}", second.stderr);
    ticks_go_on(&world);
}

fn policy(world: &World) -> Value {
    world.ask(&["policy", "get"], "policy")
}

/// Which change is in force; a mixed one is none.
fn change(world: &World) -> u64 {
    let policy = policy(world);
    let floor = policy["floor_bytes"].as_u64().unwrap();
    let step = policy["two_pointer"]["step_bytes"].as_u64().unwrap();
    if (floor, step) == (64 << 20, 50 << 20) {
        return 0;
    }
    assert_eq!(floor - FLOOR, step - STEP, "half of a change is in force");
    floor - FLOOR
}

fn has(status: &Value, reason: &str) -> bool {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().any(|condition| condition["reason"] == reason)
}

fn ticks_go_on(world: &World) {
    let tick = || world.ask(&["status"], "status")["tick"].as_u64();
    let before = tick();
    until("more ticks", || Ok(tick() > before));
}

/// What becomes of a file.
type Ruin = fn(&[u8]) -> Vec<u8>;

const FLOOR: u64 = 70 << 20;
const STEP: u64 = 20 << 20;
