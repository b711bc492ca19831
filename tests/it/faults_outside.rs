use std::time::Duration;

use agentd_tests::lab::{VmSpec, clock};
use serde_json::Value;

use crate::coordinator::{PATIENCE, kills};
use crate::faults_rig::{Rig, Setup, brief, orders, state_and_reason, vm_in};

/// Somebody else resizes vm2: agentd sees it, says so, and does not fight over it.
#[test]
fn a_vm_that_is_resized_by_another_hand_is_quarantined() {
    let Some(mut rig) = Rig::open("a_vm_that_is_resized_by_another_hand") else { return };
    rig.need();
    rig.feed.until("an order for vm2", 60, |tick| !orders(tick, "vm2").is_empty()).unwrap();
    // An order of agentd that was on its way may come after it.
    let is_moved = (0..TRIES).any(|_| {
        rig.vms[1].set_memory(OTHERS_WILL_MIB).unwrap();
        rig.vms[1].wait_actual(OTHERS_WILL_MIB, MOVE_LIMIT).is_ok()
    });
    assert!(is_moved, "vm2 does not come to hold {OTHERS_WILL_MIB} MiB: {}", rig.status());
    rig.feed.skip().unwrap();
    rig.feed.tick().unwrap();
    let quarantined = ("quarantined".to_owned(), "QUARANTINED".to_owned());
    let is = |tick: &_| state_and_reason(vm_in(tick, "vm2")) == quarantined;
    let seen = rig.feed.until("the quarantine", NOTICED_TICKS, is).unwrap();
    assert!(seen.iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(&seen));
    let is_told = || Ok(rig.state("vm2") == quarantined);
    clock::wait_until("memctl vms to tell it", PATIENCE, is_told).unwrap();

    rig.need();
    // The others go on.
    let ticks = &rig.ticks_until_fed(10)[..10];
    assert!(ticks.iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(ticks));
    assert_eq!(rig.vms[1].actual_kib().unwrap(), OTHERS_WILL_MIB * 1024, "it is left alone");
    rig.held();
}

/// It takes memory back because its programs need it: nobody else did that, and it is not left alone.
#[test]
fn a_vm_that_takes_memory_in_need_is_nobody_elses() {
    let Some(mut rig) = Rig::open_as("a_vm_that_takes_memory_in_need", obliging()) else { return };
    until_vm2_has_given(&mut rig);
    let free = rig.vms[1].meminfo_kib().unwrap()["MemAvailable"] / 1024;
    let before = rig.vms[1].actual_kib().unwrap();
    let held = rig.vms[1].hold("need", free + NEEDED_MIB, 0).unwrap();
    rig.vms[1].finish(held, PATIENCE).unwrap();
    assert!(rig.vms[1].actual_kib().unwrap() > before, "it took none back");
    // What it took it keeps: it is told so, or to take more.
    let keeps = |tick: &Value| {
        let told = orders(tick, "vm2").into_iter().filter_map(|own| own["ordered_bytes"].as_u64());
        told.max() > Some(before * 1024)
    };
    let mut ticks = rig.feed.until("it to be told to keep it", NOTICED_TICKS, keeps).unwrap();
    ticks.extend(rig.feed.ticks(5).unwrap());
    assert!(!ticks.iter().any(is_quarantined), "{}", brief(&ticks));
    assert_eq!(kills(&rig.vms), [0, 0, 0]);
}

/// vm2's balloon gives memory back before its kernel kills, and vm2 gives in large steps.
fn obliging() -> Setup {
    let [vm1, _, vm3] = Setup::default().vms;
    let vm2 = VmSpec::new("vm2", MOST_MIB).small_pages().autodeflate();
    let policy = vec!["two-pointer.step=16MiB".to_owned()];
    Setup { vms: [vm1, vm2, vm3], policy, ..Setup::default() }
}

/// Waits until vm2 has given much of what it may hold.
fn until_vm2_has_given(rig: &mut Rig) {
    rig.need();
    let held = |tick: &Value| vm_in(tick, "vm2")["memory"]["actual_bytes"].as_u64();
    let has_given =
        |tick: &Value| held(tick).is_some_and(|held| held < (MOST_MIB - GIVEN_MIB) << 20);
    for _ in 0..TRIES {
        if rig.feed.until("vm2 to have given", GIVES_TICKS, has_given).is_ok() {
            return;
        }
        rig.need();
    }
    panic!("vm2 gives nothing: {}", rig.status());
}

fn is_quarantined(tick: &Value) -> bool {
    state_and_reason(vm_in(tick, "vm2")) == ("quarantined".to_owned(), "QUARANTINED".to_owned())
}

/// What vm2 may hold.
const MOST_MIB: u64 = 512;
/// What it has given before anything happens; more than it takes to tell who grew it.
const GIVEN_MIB: u64 = 96;
/// What its programs want beyond what it has.
const NEEDED_MIB: u64 = 40;
const GIVES_TICKS: usize = 60;
/// Its figures must have settled first.
const NOTICED_TICKS: usize = 30;
const TRIES: usize = 5;
/// Time for a move of this size on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(30);
/// Far from what agentd would order, and above the floor.
const OTHERS_WILL_MIB: u64 = 333;
