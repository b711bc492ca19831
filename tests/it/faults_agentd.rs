use std::time::Duration;

use agentd_tests::lab::clock;
use serde_json::Value;

use crate::coordinator::{PATIENCE, set_mode};
use crate::coordinator_restart::mode;
use crate::faults_rig::{Rig, START_TICKS, Setup, brief, state_and_reason, vm_in};
use crate::faults_vm_hangs::{LITTLE_MIB, free_mib};

/// A hundred times in the middle of transfers between VMs that take and give back what they need:
/// each start goes on from what is, needs no repair, and breaks nothing.
#[test]
fn agentd_is_killed_a_hundred_times_under_load() {
    // What a VM holds here fits into its floor, and into no less.
    let setup = Setup {
        interval: "200ms",
        floor_kib: 256 * 1024,
        policy: vec!["two-pointer.step=16MiB".to_owned()],
        ..Setup::default()
    };
    let Some(mut rig) = Rig::open_as("agentd_is_killed_a_hundred_times", setup) else { return };
    for round in 0..ROUNDS {
        load(&rig, round);
        rig.feed.until("an order", MOST_TICKS, ordered).unwrap();
        // Any moment of the next tick.
        let moment = Duration::from_millis(u64::try_from(round * 37 % 200).unwrap());
        let _ = clock::wait_until("the moment", moment, || Ok(false));
        rig.kill_agentd();
        rig.start_agentd();
        rig.decides_again();
    }
    rig.held();
}

/// Killed after vm2 was told to give and before vm1 was told to take: what vm2 lets go of meanwhile
/// is nobody's, and the next agentd finds it so.
#[test]
fn agentd_is_killed_between_take_and_give() {
    let Some(mut rig) = Rig::open("agentd_is_killed_between_take_and_give") else { return };
    rig.need();
    let fed = rig.until_fed();
    // The host has nothing for vm1, which goes on needing: only a gift can help it.
    rig.close_pool(&fed);
    rig.need();
    for vm in &rig.vms[1..] {
        vm.keep_free(free_mib(vm)).unwrap();
    }
    rig.feed.until("a gift that does not arrive", START_TICKS, taken_not_given).unwrap();
    rig.kill_agentd();
    for vm in &rig.vms[1..] {
        vm.keep_free(LITTLE_MIB).unwrap();
    }
    rig.need();
    rig.start_agentd();
    assert_eq!(mode(rig.memctl()), "active");
    rig.until_fed();
    rig.held();
}

/// A balloon has moved just before agentd starts, which libvirt's bulk statistics tell up to a
/// second late: what a VM is told to hold at first is what it really holds.
#[test]
fn agentd_starts_when_a_balloon_has_just_moved() {
    let setup = Setup { interval: "100ms", ..Setup::default() };
    let Some(mut rig) = Rig::open_as("agentd_starts_when_a_balloon_has_just_moved", setup) else {
        return;
    };
    for round in 0..MOVES {
        rig.kill_agentd();
        let mib = if round % 2 == 0 { 300 } else { 512 };
        rig.vms[1].set_memory(mib).unwrap();
        rig.vms[1].wait_actual(mib, PATIENCE).unwrap();
        let seen = rig.gauge.samples().len();
        rig.start_agentd();
        rig.feed.ticks(LOOKED_AT).unwrap();
        let samples = rig.gauge.samples();
        // A busy machine may have had more ticks than were told.
        let ticks = rig.feed.last_over().unwrap().unwrap() + 2;
        let most_kib = SLACK_KIB + ticks * STEP_KIB;
        // One sample was under way.
        let held: Vec<u64> = samples.iter().skip(seen + 1).map(|sample| sample["vm2"]).collect();
        let is_left = held.iter().all(|kib| kib.abs_diff(mib * 1024) <= most_kib);
        assert!(is_left, "round {round}: vm2 was at {mib} MiB, {ticks} ticks later {held:?}");
    }
    rig.held();
}

/// Stopped for a minute, as with a machine that sleeps: nothing that it knew is believed.
#[test]
fn agentd_is_stopped_for_a_minute_and_observes_before_it_acts() {
    let Some(mut rig) = Rig::open("agentd_is_stopped_for_a_minute") else { return };
    rig.need();
    let before = rig.until_fed();
    rig.agent.process().signal("STOP").unwrap();
    let _ = clock::wait_until("a minute", Duration::from_secs(60), || Ok(false));
    rig.need();
    rig.agent.process().signal("CONT").unwrap();

    // One that was under way has begun before it.
    let seconds = |tick: &Value, of: &str| tick[of].as_f64().unwrap();
    let began = |tick: &Value| seconds(tick, "monotonic_seconds") - seconds(tick, "took_seconds");
    let before = began(&before);
    let after_the_gap = |tick: &Value| began(tick) - before > 30.0;
    let mut ticks = rig.feed.until("a tick after the gap", 1 + 3, after_the_gap).unwrap();
    ticks.drain(..ticks.len() - 1);
    assert!(!ordered(&ticks[0]), "it acts on what it knew a minute ago: {}", brief(&ticks));
    rig.control_returns();
    rig.held();
}

/// Another agentd, with a state directory and a socket of its own, must not act on the same VMs.
#[test]
fn a_second_agentd_of_a_host_is_told_who_is_first() {
    let Some(mut rig) = Rig::open("a_second_agentd_of_a_host") else { return };
    let pid = rig.agent.process().pid();
    let mut second = rig.host.command("timeout");
    second.args(["-k", "1", "120"]).arg(&rig.programs.agentd).args(["run", "--mode", "active"]);
    second.args(["--state-dir", "/run/lab/other", "--listen", "unix:///run/lab/other.sock"]);
    let said = second.output().unwrap();
    let problem = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(75), "{problem}");
    assert!(problem.contains(&format!("pid {pid}")), "{problem}");

    rig.need();
    rig.control_returns();
    // When the first is gone, another may.
    set_mode(rig.memctl(), "paused");
    rig.kill_agentd();
    rig.start_agentd();
    assert_eq!(mode(rig.memctl()), "paused");
    rig.held();
}

/// One VM after the other takes memory, in turn, and gives it back two rounds later.
fn load(rig: &Rig, round: usize) {
    let vm = |round: usize| &rig.vms[round % rig.vms.len()];
    if let Some(old) = round.checked_sub(2) {
        vm(old).release(&format!("load{old}")).unwrap();
    }
    vm(round).hold(&format!("load{round}"), LOAD_MIB, LOAD_MIB_PER_S).unwrap();
}

fn ordered(tick: &Value) -> bool {
    let mut resizes = tick["resizes"].as_array().into_iter().flatten();
    resizes.any(|resize| resize["outcome"] == "accepted")
}

/// Whether vm1 needs what vm2 or vm3 was told to give and still has.
fn taken_not_given(tick: &Value) -> bool {
    let target = |vm: &Value| vm["memory"]["target_bytes"].as_u64();
    let owes =
        |vm: &Value| target(vm).is_some() && target(vm) < vm["memory"]["actual_bytes"].as_u64();
    let waits = state_and_reason(vm_in(tick, "vm1")).1;
    ["POOL_EMPTY", "AWAITING"].contains(&waits.as_str())
        && ["vm2", "vm3"].iter().any(|giver| owes(vm_in(tick, giver)))
}

const ROUNDS: usize = 100;
const MOVES: usize = 20;
/// What agentd moves a VM by in a tick, and what the host may give it at once: together, in the ticks that
/// are looked at, far less than it has just moved.
const STEP_KIB: u64 = 2 * 1024;
const SLACK_KIB: u64 = 64 * 1024;
/// Ticks of two seconds, over which a late figure comes and an order to it is carried out.
const LOOKED_AT: usize = 20;
/// With what a VM itself uses, nearly its floor.
const LOAD_MIB: u64 = 140;
const LOAD_MIB_PER_S: u64 = 30;
/// Until figures have been seen to change, five times a second.
const MOST_TICKS: usize = 10 * START_TICKS;
