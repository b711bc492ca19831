use agentd_tests::lab::{BOOT_LIMIT, Balloon, VmSpec, clock};
use serde_json::Value;

use crate::coordinator::{PATIENCE, kills};
use crate::faults_rig::{Rig, Setup, brief, grows, orders, vm_in};

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
        rig.feed.until("its state", 15, |t| vm_in(t, "vm2")["state"] == "no-driver").unwrap();
    rig.until_fed();
    ticks.extend(rig.feed.ticks(10).unwrap());
    for tick in &ticks {
        assert!(orders(tick, "vm2").is_empty(), "{}", tick["resizes"]);
        assert!(from(tick, "vm2").is_empty(), "{}", tick["transfers"]);
    }
    let last = ticks.last().unwrap();
    let (limit, kept) = (last["pool"]["limit_bytes"].as_u64(), last["pool"]["kept_bytes"].as_u64());
    let counted = limit.unwrap() - kept.unwrap();
    let others = actual(last, "vm1") + actual(last, "vm3");
    assert!(counted >= others + (512 << 20), "{counted} of {others}: {}", brief(&ticks[..1]));
    rig.held();
}

/// vm2 gave most of what it had and begins anew: until its driver is there its kernel may touch all
/// of its maximum, and does. Nobody gets more meanwhile, and nobody runs out of memory.
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
    rig.need();
    clock::wait_until("vm2 to have given", PATIENCE, || Ok(rig.vms[1].actual_kib()? < GIVEN_KIB))
        .unwrap();
    let before = rig.vms[1].rss_kib().unwrap();
    rig.need();
    rig.vms[1].reset().unwrap();
    rig.feed.skip().unwrap();
    let mut ticks = rig.feed.until("the reboot to be told", 1 + 3, |t| anew(t, "vm2")).unwrap();
    clock::wait_until("the second boot", BOOT_LIMIT, || Ok(rig.vms[1].boots()? == 2)).unwrap();
    let peak = rig.vms[1].rss_kib().unwrap();
    assert!(peak > before, "it took nothing early: {before} KiB, then {peak} KiB");
    rig.need();
    let told = ticks.len() - 1;
    ticks.extend(rig.feed.until("vm2 to run again", 60, |t| !anew(t, "vm2")).unwrap());
    for tick in ticks[told..].iter().filter(|tick| anew(tick, "vm2")) {
        assert!(orders(tick, "vm2").is_empty(), "{}", brief(std::slice::from_ref(tick)));
        assert!(
            !grows(tick, "vm1") && !grows(tick, "vm3"),
            "{}",
            brief(std::slice::from_ref(tick))
        );
        let pool = &tick["pool"];
        assert!(pool["kept_bytes"].as_u64() <= pool["reserve_bytes"].as_u64(), "{pool}");
    }
    rig.control_returns();
    assert_eq!(kills(&rig.vms), [0, 0, 0], "nobody ran out of memory");
}

fn anew(tick: &Value, vm: &str) -> bool {
    let state = &vm_in(tick, vm)["state"];
    state == "rebooting" || state == "booting"
}

fn from<'a>(tick: &'a Value, vm: &str) -> Vec<&'a Value> {
    let transfers = tick["transfers"].as_array().into_iter().flatten();
    transfers.filter(|transfer| transfer["from"]["name"] == vm).collect()
}

fn actual(tick: &Value, vm: &str) -> u64 {
    vm_in(tick, vm)["memory"]["actual_bytes"].as_u64().unwrap()
}

/// With what the VM itself uses, less than it is left with.
const EARLY_MIB: u64 = 380;
const GIVEN_KIB: u64 = 560 * 1024;
