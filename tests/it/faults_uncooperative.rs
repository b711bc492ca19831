use serde_json::Value;

use crate::faults_rig::{Rig, brief, orders, vm_in};
use crate::faults_vm_hangs::{LITTLE_MIB, free_mib, shrinks_vm2};

/// vm2 reports memory unused that its balloon cannot have. Others take up the slack, vm2 is said to
/// be uncooperative, and its target goes back to what it holds.
#[test]
fn a_vm_whose_balloon_does_not_follow_is_named_and_left_alone() {
    let Some(mut rig) = Rig::open("a_vm_whose_balloon_does_not_follow") else { return };
    rig.need();
    rig.until_fed();
    let free = free_mib(&rig.vms[1]);
    rig.vms[1].keep_free(free).unwrap();
    rig.feed.until("an order for vm2", 60, shrinks_vm2).unwrap();
    rig.need();
    let named = |tick: &Value| vm_in(tick, "vm2")["state"] == "uncooperative";
    rig.feed.until("vm2 to be named", NAMED_TICKS, named).unwrap();

    rig.need();
    // The others go on.
    let ticks = &rig.ticks_until_fed(10)[..10];
    let last = &vm_in(&ticks[9], "vm2")["memory"];
    assert_eq!(last["target_bytes"], last["actual_bytes"], "{}", brief(ticks));
    assert!(!ticks.iter().any(shrinks_vm2), "it is asked again: {}", brief(ticks));
    assert!(ticks[1..].iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(ticks));
    rig.vms[1].keep_free(LITTLE_MIB).unwrap();
    rig.held();
}

/// Within twenty seconds it is promised; orders are a second apart, and a tick may come late.
const NAMED_TICKS: usize = 30;
