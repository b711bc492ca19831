use std::time::Duration;

use agentd_tests::agent::Agent;
use agentd_tests::lab::clock;
use serde_json::Value;

use crate::coordinator::set_mode;
use crate::faults_rig::{RETURN_TICKS, Rig, orders};
use crate::open_lab_with_programs;

#[test]
fn libvirtd_is_killed_ten_times() {
    let Some(mut rig) = Rig::open("libvirtd_is_killed_ten_times") else { return };
    for _ in 0..ROUNDS {
        rig.need();
        rig.until_fed();
        rig.host.kill_libvirtd();
        lost(&mut rig);
        rig.need();
        rig.host.start_libvirtd().unwrap();
        rig.control_returns();
    }
    rig.held();
}

/// The next tick is due in ten minutes: what is told sooner was not told by it.
#[test]
fn a_loss_is_told_when_it_happens_and_not_by_the_next_tick() {
    let test = "a_loss_is_told_when_it_happens_and_not_by_the_next_tick";
    let Some((lab, programs)) = open_lab_with_programs(test) else { return };
    let mut host = lab.host(test).unwrap();
    let agent = Agent::start_with(&programs, &host, TEN_MINUTES, &[]).unwrap();
    let status = || agent.memctl().items(&["status"]).map(|hosts| hosts[0].clone());
    let is_lost = |status: &Value| status.to_string().contains("HYPERVISOR_LOST");
    let seen = || Ok(status()?["status"]["last_tick_age_seconds"].is_number());
    clock::wait_until("the first tick", HALF_THE_TICK, seen).unwrap();
    assert!(!is_lost(&status().unwrap()), "{}", status().unwrap());
    host.kill_libvirtd();
    clock::wait_until("the loss to be told", HALF_THE_TICK, || Ok(is_lost(&status()?))).unwrap();
}

#[test]
fn libvirtd_is_restarted_ten_times() {
    let Some(mut rig) = Rig::open("libvirtd_is_restarted_ten_times") else { return };
    for _ in 0..ROUNDS {
        rig.need();
        rig.until_fed();
        rig.host.stop_libvirtd().unwrap();
        rig.host.start_libvirtd().unwrap();
        rig.control_returns();
    }
    rig.held();
}

/// Most hangs end before agentd gives the connection up, some after. In one of each it is paused.
#[test]
fn libvirtd_hangs_ten_times() {
    let Some(mut rig) = Rig::open("libvirtd_hangs_ten_times") else { return };
    for round in 0..ROUNDS {
        rig.need();
        rig.until_fed();
        rig.host.freeze_libvirtd().unwrap();
        lost(&mut rig);
        if round >= ROUNDS - LONG_HANGS {
            rig.feed.ticks(KEEPALIVE_TICKS).unwrap();
        }
        let pause = round == 0 || round == ROUNDS - 1;
        if pause {
            paused_in_a_hang(&mut rig);
        }
        rig.need();
        rig.host.thaw_libvirtd().unwrap();
        if pause {
            stays_paused(&mut rig);
        }
        rig.control_returns();
    }
    rig.held();
}

/// agentd says that the hypervisor is lost, and still answers from what it saw last.
fn lost(rig: &mut Rig) {
    rig.feed.skip().unwrap();
    let is = |tick: &Value| tick["error"] != "";
    let lost = rig.feed.until("the loss to be told", 1 + LOSS_TICKS, is).unwrap();
    assert!(orders(&lost[lost.len() - 1], "vm1").is_empty(), "nothing is ordered blindly");
    let status = rig.status();
    assert!(rig.conditions().contains(&"HYPERVISOR_LOST".to_owned()), "{status}");
    assert!(status["last_tick_age_seconds"].is_number(), "{status}");
    assert_eq!(rig.memctl().items(&["vms"]).unwrap().len(), 3, "as they were seen last");
}

/// The kill switch needs no hypervisor.
fn paused_in_a_hang(rig: &mut Rig) {
    set_mode(rig.memctl(), "paused");
    rig.feed.skip().unwrap();
    let is = |tick: &Value| tick["mode"] == "paused";
    rig.feed.until("the pause to be told", 1 + LOSS_TICKS, is).unwrap();
    assert_eq!(rig.status()["mode"], "paused");
}

/// libvirtd is back, and so is the view of the VMs; nothing is ordered until somebody says so.
fn stays_paused(rig: &mut Rig) {
    rig.feed.skip().unwrap();
    rig.feed.until("a reading", RETURN_TICKS, |tick| tick["error"] == "").unwrap();
    for tick in rig.feed.ticks(2).unwrap() {
        assert_eq!(tick["resizes"], serde_json::json!([]), "{tick}");
    }
    rig.need();
    set_mode(rig.memctl(), "active");
}

const TEN_MINUTES: &str =
    "mode = \"observe\"\n[tick]\ninterval = \"600s\"\n[state]\ndir = \"/run/lab/agentd\"\n";
const HALF_THE_TICK: Duration = Duration::from_secs(300);
const ROUNDS: usize = 10;
const LONG_HANGS: usize = 2;
/// agentd's keepalive gives a connection up after 20 s: then a new one hangs.
const KEEPALIVE_TICKS: usize = 22;
/// A tick that begins after the end of libvirtd says so. Some of its threads may end a moment later.
const LOSS_TICKS: usize = 2;
