use std::slice;

use agentd_tests::lab::{BOOT_LIMIT, Balloon, VmSpec, clock};
use serde_json::Value;

use crate::coordinator::kills;
use crate::faults_rig::{Rig, Setup, brief, orders, vm_in};

/// A VM whose balloon has no driver takes part in nothing, and all that it may hold is its own.
#[test]
fn a_vm_without_the_driver_is_counted_at_its_maximum() {
    let vms = [
        VmSpec::new("vm1", 1024).actual_mib(256).small_pages(),
        VmSpec::new("vm2", 512).actual_mib(256).balloon(Balloon::Driverless),
        VmSpec::new("vm3", 512).small_pages(),
    ];
    let setup = Setup { vms, ..Setup::default() };
    let Some(mut rig) = Rig::open_as("a_vm_without_the_driver", setup) else { return };
    rig.need();
    let mut ticks =
        rig.feed.until("its state", 30, |t| vm_in(t, "vm2")["state"] == "no-driver").unwrap();
    rig.until_fed();
    ticks.extend(rig.feed.ticks(10).unwrap());
    for tick in &ticks {
        assert!(orders(tick, "vm2").is_empty(), "{}", tick["resizes"]);
        assert!(from(tick, "vm2").is_empty(), "{}", tick["transfers"]);
    }
    let last = ticks.iter().rfind(|tick| !tick["pool"].is_null()).unwrap();
    let (limit, kept) = (last["pool"]["limit_bytes"].as_u64(), last["pool"]["kept_bytes"].as_u64());
    let counted = limit.unwrap() - kept.unwrap();
    let others = actual(last, "vm1") + actual(last, "vm3");
    assert!(counted >= others + (512 << 20), "{counted} of {others}: {}", brief(&ticks[..1]));
    rig.held();
}

/// Somebody has libvirt ask vm2 for its figures no longer: what it said last is believed for some
/// seconds and no longer.
#[test]
fn a_vm_whose_figures_stand_still_is_left_alone_until_they_do_not() {
    let Some(mut rig) = Rig::open("a_vm_whose_figures_stand_still") else { return };
    rig.need();
    rig.until_fed();
    let ask_every = |rig: &Rig, seconds| {
        rig.host.virsh(&["dommemstat", "vm2", "--live", "--period", seconds]).unwrap();
    };
    ask_every(&rig, "0");
    let frozen = |tick: &Value| vm_in(tick, "vm2")["state"] == "frozen";
    rig.feed.until("it to be told", 30, frozen).unwrap();
    rig.need();
    // The others go on.
    let ticks = rig.ticks_until_fed(10);
    for tick in &ticks {
        assert!(frozen(tick), "{}", brief(slice::from_ref(tick)));
        assert!(orders(tick, "vm2").is_empty(), "{}", tick["resizes"]);
        assert!(from(tick, "vm2").is_empty(), "{}", tick["transfers"]);
    }
    rig.need();
    ask_every(&rig, "1");
    rig.control_returns();
    rig.feed.until("vm2 to run", 30, |t| vm_in(t, "vm2")["state"] == "running").unwrap();
    rig.held();
}

/// vm2 gave most of what it had and begins anew: until its driver is there its kernel may touch all
/// of its maximum, and does. Nobody gets more of the host meanwhile, and nobody runs out of memory.
#[test]
fn a_vm_that_reboots_and_takes_memory_early_is_counted_at_its_maximum() {
    let vms = [
        VmSpec::new("vm1", 1024).actual_mib(256).small_pages(),
        VmSpec::new("vm2", 768).hold_at_boot_mib(EARLY_MIB).small_pages(),
        VmSpec::new("vm3", 256).small_pages(),
    ];
    let policy = vec!["two-pointer.step=48MiB".to_owned(), "vm.vm2.min=480MiB".to_owned()];
    let others_mib = [768, 256];
    let setup = Setup { vms, policy, others_mib, ..Setup::default() };
    let Some(mut rig) = Rig::open_as("a_vm_that_reboots", setup) else { return };
    rig.vms[1].release("boot").unwrap();
    let given = until_given(&mut rig);
    // From here on there is room for what vm2 holds, and none at all with vm2 at its maximum.
    let limit = given["pool"]["actual_bytes"].as_u64().unwrap() + ROOM;
    rig.memctl().done(&["policy", "set", &format!("pool-limit={limit}B")]).unwrap();
    rig.need();
    let before = rig.vms[1].rss_kib().unwrap();
    rig.vms[1].forget_peak().unwrap();
    rig.vms[1].reset().unwrap();
    rig.feed.skip().unwrap();
    let mut ticks = rig.feed.until("the reboot to be told", 1 + 10, |t| anew(t, "vm2")).unwrap();
    clock::wait_until("the second boot", BOOT_LIMIT, || Ok(rig.vms[1].boots()? == 2)).unwrap();
    // Its driver may have taken some of that away by now.
    let peak = rig.vms[1].peak_kib().unwrap();
    assert!(peak > before, "it took nothing early: {before} KiB, then {peak} KiB");
    let told = ticks.len() - 1;
    let runs = |tick: &Value| vm_in(tick, "vm2")["state"] == "running";
    ticks.extend(rig.feed.until("vm2 to run again", 120, runs).unwrap());
    let ticks: Vec<Value> = ticks.drain(told..).filter(|tick| anew(tick, "vm2")).collect();
    assert!(is_spent(&ticks[0]), "nothing would show here: {}", brief(&ticks[..1]));
    for tick in &ticks {
        let told = || brief(slice::from_ref(tick));
        assert!(orders(tick, "vm2").is_empty(), "{}", told());
        let [limit, kept] = ["limit_bytes", "kept_bytes"].map(|of| tick["pool"][of].as_u64());
        let (others, kept) = (actual(tick, "vm1") + actual(tick, "vm3"), kept.unwrap());
        assert!(kept == 0 || limit.unwrap() - kept >= others + REBOOTED_MAX, "{}", told());
        // vm1 may have given back what it needs no longer, and one of the others may give to the other one.
        assert!(!is_spent(tick) || !host_gives(tick), "{}", told());
    }
    rig.set_policy();
    rig.need();
    rig.control_returns();
    assert_eq!(kills(&rig.vms), [0, 0, 0], "nobody ran out of memory");
    rig.gauge_held(u64::MAX);
}

/// Waits until vm2 has given most of what it can, and gives the tick that shows it.
fn until_given(rig: &mut Rig) -> Value {
    let has_given = |tick: &Value| {
        vm_in(tick, "vm2")["memory"]["actual_bytes"].as_u64().is_some_and(|held| held < GIVEN)
    };
    for _ in 0..TRIES {
        rig.need();
        if let Ok(mut ticks) = rig.feed.until("vm2 to have given", NEED_TICKS, has_given) {
            return ticks.pop().unwrap();
        }
    }
    panic!("vm2 gives nothing: {}", rig.status());
}

/// Whether nothing is left of the pool with vm2 at its maximum.
fn is_spent(tick: &Value) -> bool {
    let others = actual(tick, "vm1") + actual(tick, "vm3");
    Some(others + REBOOTED_MAX) >= tick["pool"]["limit_bytes"].as_u64()
}

fn anew(tick: &Value, vm: &str) -> bool {
    let state = &vm_in(tick, vm)["state"];
    state == "rebooting" || state == "booting"
}

fn from<'a>(tick: &'a Value, vm: &str) -> Vec<&'a Value> {
    let transfers = tick["transfers"].as_array().into_iter().flatten();
    transfers.filter(|transfer| transfer["from"]["name"] == vm).collect()
}

/// Whether somebody was granted something that no VM gave.
fn host_gives(tick: &Value) -> bool {
    let transfers = tick["transfers"].as_array().unwrap();
    transfers.iter().any(|own| own["from"].is_null() && own["granted_bytes"] != 0)
}

fn actual(tick: &Value, vm: &str) -> u64 {
    vm_in(tick, vm)["memory"]["actual_bytes"].as_u64().unwrap()
}

/// With what the VM itself uses, less than it is left with.
const EARLY_MIB: u64 = 380;
/// What the VM that reboots may hold.
const REBOOTED_MAX: u64 = 768 << 20;
/// What it has left, or less, when it has given most of what it can.
const GIVEN: u64 = 560 << 20;
/// Far less than what it may take back at once.
const ROOM: u64 = 128 << 20;
const TRIES: usize = 5;
const NEED_TICKS: usize = 40;
