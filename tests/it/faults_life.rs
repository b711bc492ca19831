use agentd_tests::lab::{BOOT_LIMIT, VmSpec};
use serde_json::Value;

use crate::coordinator::{PATIENCE, kills};
use crate::faults_rig::{Rig, Setup, brief, orders, vm_in};

#[test]
fn a_paused_vm_is_left_alone_until_it_runs_again() {
    let Some(mut rig) = Rig::open("a_paused_vm_is_left_alone") else { return };
    rig.need();
    rig.until_fed();
    rig.vms[1].suspend().unwrap();
    rig.feed.skip().unwrap();
    rig.feed.until("the pause to be told", 1 + 3, |tick| is(tick, "paused")).unwrap();
    let held = rig.vms[1].actual_kib().unwrap();
    rig.need();
    // The others go on.
    let ticks = rig.ticks_until_fed(10);
    assert!(ticks.iter().all(|tick| is(tick, "paused")), "{}", brief(&ticks));
    assert!(ticks.iter().all(|tick| orders(tick, "vm2").is_empty()), "{}", brief(&ticks));
    // An order to it would be carried out now.
    assert_eq!(rig.vms[1].actual_kib().unwrap(), held);
    rig.need();
    rig.vms[1].resume().unwrap();
    rig.control_returns();
    rig.feed.until("vm2 to run", 30, |tick| is(tick, "running")).unwrap();
    rig.held();
}

/// What is known of a VM before its save is not believed after its restore.
#[test]
fn a_saved_vm_is_gone_and_learned_anew_when_it_is_restored() {
    let setup = Setup { vms: with_vm2(VmSpec::new("vm2", 512).persistent()), ..Setup::default() };
    let Some(mut rig) = Rig::open_as("a_saved_vm_is_gone", setup) else { return };
    rig.need();
    rig.until_fed();
    rig.vms[1].managed_save().unwrap();
    rig.feed.skip().unwrap();
    rig.feed.until("vm2 to be gone", 1 + 3, |tick| vm_in(tick, "vm2").is_null()).unwrap();
    rig.need();
    // The others go on.
    rig.ticks_until_fed(3);
    rig.vms[1].start_again().unwrap();
    rig.vms[1].wait_ready(PATIENCE).unwrap();
    learned_anew(&mut rig);
    rig.control_returns();
    assert_eq!(rig.vms[1].boots().unwrap(), 1, "it went on where it was");
    assert_eq!(kills(&rig.vms), [0, 0, 0]);
    rig.gauge_held(u64::MAX);
}

/// A VM that has a name in common with one that is gone has nothing else of it.
#[test]
fn a_vm_of_the_same_name_inherits_nothing() {
    let Some(mut rig) = Rig::open("a_vm_of_the_same_name_inherits_nothing") else { return };
    rig.need();
    rig.feed.until("an order for vm2", 60, |tick| !orders(tick, "vm2").is_empty()).unwrap();
    rig.vms[1].destroy().unwrap();
    rig.feed.skip().unwrap();
    rig.feed.until("vm2 to be gone", 1 + 3, |tick| vm_in(tick, "vm2").is_null()).unwrap();
    let old = rig.vms[1].uuid().to_owned();
    rig.need();
    let new = rig.host.vm(VmSpec::new("vm2", 512).uuid(OTHER).small_pages()).unwrap();
    learned_anew(&mut rig);
    new.wait_ready(BOOT_LIMIT).unwrap();
    rig.need();
    rig.control_returns();
    let vms = rig.memctl().items(&["vms"]).unwrap();
    let uuids: Vec<&Value> = vms.iter().map(|item| &item["vm"]["uuid"]).collect();
    assert!(
        uuids.contains(&&Value::from(OTHER)) && !uuids.contains(&&Value::from(old)),
        "{uuids:?}"
    );
    assert_eq!(kills(&rig.vms), [0, 0, 0]);
    rig.gauge_held(u64::MAX);
}

/// From the first tick that shows vm2 until it runs with figures that count: it has no target of
/// ours, is told nothing, and all that it may hold is its own.
fn learned_anew(rig: &mut Rig) {
    let mut ticks =
        rig.feed.until("vm2 to be there", 30, |tick| !vm_in(tick, "vm2").is_null()).unwrap();
    let first = ticks.pop().unwrap();
    assert!(vm_in(&first, "vm2")["memory"]["target_bytes"].is_null(), "{}", brief(&[first]));
    let running = |tick: &Value| is(tick, "running");
    ticks = vec![first];
    if !running(&ticks[0]) {
        ticks.extend(rig.feed.until("vm2 to run", 120, running).unwrap());
        ticks.pop();
    }
    assert!(
        ticks.iter().all(|tick| !running(tick)),
        "it is believed at first sight: {}",
        brief(&ticks)
    );
    for tick in ticks.iter().filter(|tick| !tick["pool"].is_null()) {
        assert!(orders(tick, "vm2").is_empty(), "{}", brief(std::slice::from_ref(tick)));
        let pool = &tick["pool"];
        let kept = pool["kept_bytes"].as_u64().unwrap();
        let counted = pool["limit_bytes"].as_u64().unwrap() - kept;
        let others =
            ["vm1", "vm3"].map(|name| vm_in(tick, name)["memory"]["actual_bytes"].as_u64());
        let others: u64 = others.into_iter().flatten().sum();
        let whole = counted >= others + (512 << 20) || kept == 0;
        assert!(whole, "{counted} of {others}: {}", brief(std::slice::from_ref(tick)));
    }
}

fn is(tick: &Value, state: &str) -> bool {
    vm_in(tick, "vm2")["state"] == state
}

fn with_vm2(vm2: VmSpec) -> [VmSpec; 3] {
    let [vm1, _, vm3] = Setup::default().vms;
    [vm1, vm2.small_pages(), vm3]
}

const OTHER: &str = "5f8a3c52-0d55-4b51-9a40-3f6f8c1d2e77";
