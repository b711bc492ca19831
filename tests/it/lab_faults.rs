use std::time::Duration;

use agentd_tests::lab::{BOOT_LIMIT, VmSpec, clock};

use crate::open_lab;

#[test]
fn libvirtd_dies_hangs_and_comes_back_and_vms_run_on() {
    let Some(lab) = open_lab("libvirtd_dies_hangs_and_comes_back_and_vms_run_on") else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256)]).unwrap();
    let pid = vms[0].pid().unwrap();

    host.kill_libvirtd();
    assert!(host.virsh(&["list"]).is_err(), "nobody answers");
    assert_eq!(vms[0].ask("ping").unwrap(), "pong");
    host.start_libvirtd().unwrap();
    assert_eq!(host.actuals_kib().unwrap()["vm1"], 256 * 1024);
    assert_eq!(vms[0].pid().unwrap(), pid, "it is the same VM");

    host.freeze_libvirtd().unwrap();
    assert_eq!(vms[0].ask("ping").unwrap(), "pong");
    host.thaw_libvirtd().unwrap();
    assert_eq!(host.actuals_kib().unwrap()["vm1"], 256 * 1024);
}

#[test]
fn a_vm_freezes_suspends_resets_and_is_saved() {
    let Some(lab) = open_lab("a_vm_freezes_suspends_resets_and_is_saved") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256).persistent()]).unwrap();
    let vm = &vms[0];
    vm.finish(vm.hold("a", 32, 0).unwrap(), PATIENCE).unwrap();

    vm.freeze().unwrap();
    let ticket = vm.order("ping").unwrap();
    assert!(vm.finish(ticket, Duration::from_secs(1)).is_err(), "a frozen VM does not answer");
    vm.thaw().unwrap();
    assert_eq!(vm.finish(ticket, PATIENCE).unwrap(), "pong", "it does when it goes on");

    vm.suspend().unwrap();
    assert_eq!(host.virsh(&["domstate", "vm1"]).unwrap().trim(), "paused");
    vm.resume().unwrap();
    assert_eq!(vm.ask("ping").unwrap(), "pong");

    vm.managed_save().unwrap();
    assert!(vm.pid().is_err(), "a saved VM has no process");
    vm.start_again().unwrap();
    vm.wait_ready(PATIENCE).unwrap();
    assert!(vm.held_kib("a").unwrap() >= 32 * 1024, "it is where it was");
    assert_eq!(vm.boots().unwrap(), 1);

    vm.reset().unwrap();
    clock::wait_until("the second boot", BOOT_LIMIT, || Ok(vm.boots()? == 2)).unwrap();
    vm.wait_ready(PATIENCE).unwrap();
    assert_eq!(vm.held_kib("a").unwrap(), 0, "a reset forgets everything");

    vm.kill().unwrap();
    clock::wait_until("libvirtd to notice", PATIENCE, || {
        Ok(host.virsh(&["domstate", "vm1"])?.trim() == "shut off")
    })
    .unwrap();
}

/// For what takes moments on an idle machine and longer on a busy one.
const PATIENCE: Duration = Duration::from_secs(120);
