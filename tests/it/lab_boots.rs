use std::time::Duration;

use agentd_tests::lab::{Balloon, VmSpec, clock};

use crate::open_lab;

#[test]
fn three_vms_boot_and_are_resized() {
    let Some(lab) = open_lab("three_vms_boot_and_are_resized") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host
        .boot([
            VmSpec::new("vm1", 256),
            VmSpec::new("vm2", 512).actual_mib(256),
            VmSpec::new("vm3", 768).actual_mib(384),
        ])
        .unwrap();
    let [vm1, vm2, vm3] = &vms[..] else { panic!("three VMs were asked for") };

    vm2.wait_actual(256, PATIENCE).unwrap();
    vm3.wait_actual(384, PATIENCE).unwrap();
    let before = vm1.meminfo_kib().unwrap()["MemTotal"];
    vm1.set_memory(160).unwrap();
    vm1.wait_actual(160, PATIENCE).unwrap();
    vm3.set_memory(700).unwrap();
    vm3.wait_actual(700, PATIENCE).unwrap();

    clock::wait_until("the VM itself to miss what it gave", PATIENCE, || {
        Ok(before - vm1.meminfo_kib()?["MemTotal"] == 96 * 1024)
    })
    .unwrap();
    let actuals = host.actuals_kib().unwrap();
    assert_eq!(actuals.keys().collect::<Vec<_>>(), ["vm1", "vm2", "vm3"]);
    assert_eq!(actuals["vm1"], vm1.actual_kib().unwrap());
    assert!(vm1.rss_kib().unwrap() > 0);
    for vm in &vms {
        assert_eq!(vm.oom_kills().unwrap(), 0, "{}", vm.console().unwrap());
        assert_eq!(vm.boots().unwrap(), 1);
    }
}

#[test]
fn work_beyond_memory_is_killed_and_counted() {
    let Some(lab) = open_lab("work_beyond_memory_is_killed_and_counted") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 512).actual_mib(192)]).unwrap();
    let vm = &vms[0];
    vm.wait_actual(192, PATIENCE).unwrap();

    let small = vm.finish(vm.work(64).unwrap(), PATIENCE).unwrap();
    assert!(small.starts_with("WORK DONE 64 "), "{small}");
    assert_eq!(vm.oom_kills().unwrap(), 0, "{}", vm.console().unwrap());

    let large = vm.finish(vm.work(300).unwrap(), PATIENCE);
    let error = large.expect_err("300 MiB do not fit into a VM that holds 192");
    assert!(format!("{error:#}").contains("was killed"), "{error:#}");
    assert!(vm.oom_kills().unwrap() > 0, "{}", vm.console().unwrap());

    vm.set_memory(512).unwrap();
    vm.wait_actual(512, PATIENCE).unwrap();
    let again = vm.finish(vm.work(300).unwrap(), PATIENCE).unwrap();
    assert!(again.starts_with("WORK DONE 300 "), "{again}");
}

#[test]
fn memory_is_held_cached_and_swapped() {
    let Some(lab) = open_lab("memory_is_held_cached_and_swapped") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256).swap_mib(256)]).unwrap();
    let vm = &vms[0];

    let free = vm.meminfo_kib().unwrap()["MemFree"];
    vm.finish(vm.hold("a", 50, 100).unwrap(), PATIENCE).unwrap();
    let held = vm.held_kib("a").unwrap();
    assert!(held >= 50 * 1024, "50 MiB are held, and the process has {held} KiB");
    let missing = free - vm.meminfo_kib().unwrap()["MemFree"];
    assert!(missing > 40 * 1024, "50 MiB are held, and {missing} KiB less are free");

    let cached = |name| vm.meminfo_kib().unwrap()[name];
    let buffers = cached("Buffers");
    vm.finish(vm.cache(60).unwrap(), PATIENCE).unwrap();
    assert!(cached("Buffers") - buffers >= 59 * 1024, "what was read stays in the page cache");
    vm.drop_cache().unwrap();
    assert!(cached("Buffers") < 10 * 1024);

    vm.finish(vm.work(200).unwrap(), PATIENCE).unwrap();
    let meminfo = vm.meminfo_kib().unwrap();
    assert!(meminfo["SwapFree"] < meminfo["SwapTotal"], "the rest went to swap: {meminfo:?}");
    assert_eq!(vm.oom_kills().unwrap(), 0);

    vm.release("a").unwrap();
    assert_eq!(vm.held_kib("a").unwrap(), 0);
    assert!(vm.release("a").is_err(), "nothing is held as a any more");
}

#[test]
fn a_vm_without_driver_or_device_does_not_move() {
    let Some(lab) = open_lab("a_vm_without_driver_or_device_does_not_move") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host
        .boot([
            VmSpec::new("driverless", 256).balloon(Balloon::Driverless),
            VmSpec::new("absent", 256).balloon(Balloon::Absent),
        ])
        .unwrap();
    let total = vms[0].meminfo_kib().unwrap()["MemTotal"];

    vms[0].set_memory(160).unwrap();
    vms[0].finish(vms[0].work(150).unwrap(), PATIENCE).unwrap();
    assert_eq!(vms[0].meminfo_kib().unwrap()["MemTotal"], total);
    assert_eq!(vms[0].actual_kib().unwrap(), 256 * 1024, "the order was accepted and did nothing");
    assert!(vms[1].set_memory(160).is_err(), "there is nothing to order");
}

/// For what takes moments on an idle machine and longer on a busy one.
const PATIENCE: Duration = Duration::from_secs(120);
