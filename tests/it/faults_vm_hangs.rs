use agentd_tests::lab::{Vm, clock};
use serde_json::Value;

use crate::coordinator::PATIENCE;
use crate::faults_rig::{Rig, brief, orders, vm_in};

/// vm2 stops in the middle of a shrink. The others go on, and what vm2 was told stays booked until
/// it is seen to follow.
#[test]
fn a_vm_hangs_in_the_middle_of_an_order() {
    let Some(mut rig) = Rig::open("a_vm_hangs_in_the_middle_of_an_order") else { return };
    rig.need();
    rig.until_fed();
    // From here on vm2's balloon finds nothing: the next order to it cannot be finished.
    rig.vms[1].keep_free(free_mib(&rig.vms[1])).unwrap();
    rig.feed.until("an order for vm2", 30, shrinks_vm2).unwrap();
    rig.vms[1].freeze().unwrap();
    rig.feed.skip().unwrap();
    let hung = rig.feed.until("vm2 to be told to hang", 1 + 2, hangs).unwrap();
    let memory = &vm_in(hung.last().unwrap(), "vm2")["memory"];
    let target = memory["target_bytes"].clone();
    let is_under_way = target.as_u64() < memory["actual_bytes"].as_u64();
    assert!(target.is_u64() && is_under_way, "{}", brief(&hung));

    let others = rig.host.gauge(&["vm1", "vm3"]).unwrap();
    rig.need();
    // The others go on.
    let ticks = rig.ticks_until_fed(12);
    for tick in &ticks {
        let vm = vm_in(tick, "vm2");
        assert_eq!(vm["state"], "unresponsive", "{vm}");
        assert_eq!(vm["memory"]["target_bytes"], target, "what it was told stays booked");
        assert!(orders(tick, "vm2").is_empty(), "it is told nothing more: {}", tick["resizes"]);
        assert_eq!(tick["error"], "", "one VM that hangs hides no other");
    }
    // vm2 holds at least what it is on its way to.
    let most = rig.pool_kib - target.as_u64().unwrap() / 1024;
    let held = others.largest_sum_kib();
    assert!(held <= most, "the others hold {held} KiB of {most} KiB: {}", brief(&hung));
    drop(others);

    rig.need();
    rig.vms[1].thaw().unwrap();
    // Before it is found not to follow.
    rig.vms[1].keep_free(LITTLE_MIB).unwrap();
    rig.control_returns();
    clock::wait_until("vm2 to get where it was told", PATIENCE, || {
        Ok(rig.vms[1].actual_kib()? * 1024 <= target.as_u64().unwrap_or(0))
    })
    .unwrap();
    rig.feed.skip().unwrap();
    let is_there = |tick: &Value| {
        let actual = vm_in(tick, "vm2")["memory"]["actual_bytes"].as_u64();
        actual.is_some() && actual <= target.as_u64()
    };
    rig.feed.until("vm2 to be seen there", 1 + 3, is_there).unwrap();
    rig.held();
}

/// QEMU is stopped at ten moments of a tick, be it while it is read, ordered or left alone.
#[test]
fn a_vm_hangs_at_any_moment() {
    let Some(mut rig) = Rig::open("a_vm_hangs_at_any_moment") else { return };
    for _ in 0..10 {
        rig.need();
        rig.until_fed();
        rig.vms[1].freeze().unwrap();
        rig.feed.skip().unwrap();
        rig.feed.until("vm2 to be told to hang", 1 + 2, hangs).unwrap();
        let ticks = rig.feed.ticks(3).unwrap();
        assert!(ticks.iter().all(|tick| tick["error"] == ""), "{}", brief(&ticks));
        rig.need();
        rig.vms[1].thaw().unwrap();
        rig.control_returns();
        let is_back = |tick: &Value| tick["error"] == "" && !hangs(tick);
        rig.feed.until("vm2 to be back", 30, is_back).unwrap();
    }
    rig.held();
}

fn hangs(tick: &Value) -> bool {
    vm_in(tick, "vm2")["state"] == "unresponsive"
}

pub(crate) fn shrinks_vm2(tick: &Value) -> bool {
    let shrinks =
        |resize: &&Value| resize["ordered_bytes"].as_u64() < resize["from_bytes"].as_u64();
    orders(tick, "vm2").iter().any(shrinks)
}

pub(crate) fn free_mib(vm: &Vm) -> u64 {
    vm.meminfo_kib().unwrap()["MemFree"] / 1024
}

/// What a kernel of this size keeps by itself.
pub(crate) const LITTLE_MIB: u64 = 4;
