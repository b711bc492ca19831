use std::time::Duration;

use agentd_tests::lab::clock;

use crate::coordinator::PATIENCE;
use crate::faults_rig::{Rig, brief, orders, state_and_reason, vm_in};

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

/// Its figures must have settled first.
const NOTICED_TICKS: usize = 30;
const TRIES: usize = 5;
/// Time for a move of this size on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(30);
/// Far from what agentd would order, and above the floor.
const OTHERS_WILL_MIB: u64 = 333;
