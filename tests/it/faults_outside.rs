use crate::coordinator::PATIENCE;
use crate::faults_rig::{Rig, brief, grows, orders, state_and_reason, vm_in};

/// Somebody else resizes vm2: agentd sees it, says so, and does not fight over it.
#[test]
fn a_vm_that_is_resized_by_another_hand_is_quarantined() {
    let Some(mut rig) = Rig::open("a_vm_that_is_resized_by_another_hand") else { return };
    rig.need();
    rig.feed.until("an order for vm2", 60, |tick| !orders(tick, "vm2").is_empty()).unwrap();
    rig.vms[1].set_memory(OTHERS_WILL_MIB).unwrap();
    rig.vms[1].wait_actual(OTHERS_WILL_MIB, PATIENCE).unwrap();
    rig.feed.skip().unwrap();
    let quarantined = ("quarantined".to_owned(), "QUARANTINED".to_owned());
    let is = |tick: &_| state_and_reason(vm_in(tick, "vm2")) == quarantined;
    let seen = rig.feed.until("the quarantine", NOTICED_TICKS, is).unwrap();
    assert!(seen.iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(&seen));
    assert_eq!(rig.state("vm2"), quarantined);

    rig.need();
    let ticks = rig.feed.ticks(10).unwrap();
    assert!(ticks.iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(&ticks));
    assert!(ticks.iter().any(|tick| grows(tick, "vm1")), "others go on: {}", brief(&ticks));
    assert_eq!(rig.vms[1].actual_kib().unwrap(), OTHERS_WILL_MIB * 1024, "it is left alone");
    rig.held();
}

/// Its figures must have settled first.
const NOTICED_TICKS: usize = 12;
/// Far from what agentd would order, and above the floor.
const OTHERS_WILL_MIB: u64 = 333;
