use std::cell::Cell;
use std::collections::BTreeSet;
use std::process::Child;
use std::time::Duration;

use agentd::clock::Clock;
use agentd::hypervisor::{Answer, Hypervisor, ReadError};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::{Obstacle, Reported, RunState, Traits, VmReading};
use agentd_tests::lab::{Balloon, Host, Scope, Vm, VmSpec};

use crate::hypervisor::{Agent, LONGEST_CALL, PATIENCE, TIMEOUT};
use crate::open_lab;

#[test]
fn a_vm_is_seen_suspended_saved_restored_reset_and_made_anew() {
    let Some(lab) = open_lab("a_vm_is_seen_suspended_saved_restored_reset_and_made_anew") else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    // A program between the VM and its save can be stopped on every kernel.
    host.configure_qemu("save_image_format = \"gzip\"").unwrap();
    let mut vms =
        host.boot([VmSpec::new("vm1", 192).persistent(), VmSpec::new("vm2", 192)]).unwrap();
    let mut agent = Agent::on(&host);
    let vm = vms.remove(0);
    let first = agent.wait(&vm, "to be known", is_known);
    let other = agent.wait(&vms[0], "to be known", is_known);
    assert_eq!((first.run, first.traits), (RunState::Running, Some(Traits::default())));

    vm.suspend().unwrap();
    assert_eq!(agent.see(&vm).run, RunState::Paused);
    vm.resume().unwrap();
    let resumed = agent.see(&vm);
    assert_eq!((resumed.run, resumed.generation), (RunState::Running, first.generation));

    let save = host.begin_virsh(&["managedsave", "vm1"]).unwrap();
    let gzip = host.freeze_program("gzip").unwrap();
    assert_eq!(agent.see(&vm).run, RunState::Saving);
    is_not_ordered(&mut agent, &vm);
    assert_eq!(agent.see(&vms[0]).run, RunState::Running, "the other goes on");
    go_on(&host, gzip, save);
    assert_eq!(agent.find(&vm), None, "it is off");

    let start = host.begin_virsh(&["start", "vm1"]).unwrap();
    let gzip = host.freeze_program("gzip").unwrap();
    let restoring = agent.see(&vm);
    assert_eq!((restoring.run, restoring.actual), (RunState::Restoring, ByteCount::mib(192)));
    is_not_ordered(&mut agent, &vm);
    go_on(&host, gzip, start);
    let restored = agent.wait(&vm, "to be back", |vm| vm.run == RunState::Running && is_known(vm));
    assert_ne!(restored.generation, first.generation, "it is learned anew");

    vm.reset().unwrap();
    let reset = agent.wait(&vm, "to begin anew", |vm| {
        vm.generation != restored.generation && vm.run == RunState::Running
    });

    vm.destroy().unwrap();
    vm.start_again().unwrap();
    let same = agent.see(&vm);
    assert_ne!(same.generation, reset.generation, "no reading saw it gone, and yet");
    vm.destroy().unwrap();
    host.virsh(&["undefine", "vm1"]).unwrap();
    let namesake = host.vm(VmSpec::new("vm1", 160).uuid(NAMESAKE)).unwrap();
    let seen = agent.see(&namesake);
    assert_eq!((&*seen.name, seen.actual), ("vm1", ByteCount::mib(160)));
    assert_eq!(agent.find(&vm), None, "the name is all that they share");
    assert_eq!(agent.see(&vms[0]).generation, other.generation, "nothing befell this one");
}

#[test]
fn a_life_goes_on_over_a_restart_of_libvirtd_and_not_over_one_of_the_vm() {
    const TEST: &str = "a_life_goes_on_over_a_restart_of_libvirtd_and_not_over_one_of_the_vm";
    let Some(lab) = open_lab(TEST) else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 192).persistent(), VmSpec::new("vm2", 192)]).unwrap();
    let mut agent = Agent::on(&host);
    let first = agent.wait(&vms[0], "to be known", is_known);
    let other = agent.wait(&vms[1], "to be known", is_known);

    host.stop_libvirtd().unwrap();
    host.start_libvirtd().unwrap();
    let back = agent.wait(&vms[0], "to be back", |vm| vm.run == RunState::Running);
    assert!(agent.libvirt.take_reconnected());
    assert_eq!((back.generation, back.traits), (first.generation, first.traits));
    assert!(back.host_rss.is_some());

    host.kill_libvirtd();
    vms[0].kill().unwrap();
    host.start_libvirtd().unwrap();
    agent.try_until(|_| host.virsh(&["domstate", "vm1"]).unwrap().contains("off").then_some(()));
    vms[0].start_again().unwrap();
    // No reading has seen it gone, and its event came when nobody listened.
    let anew = agent.wait(&vms[0], "to be back", |vm| vm.run == RunState::Running);
    assert!(agent.libvirt.take_reconnected());
    assert_ne!(anew.generation, first.generation);
    assert_eq!(agent.see(&vms[1]).generation, other.generation, "nothing befell this one");

    // The same process with another kernel, and nobody listened again.
    agent.wait(&vms[0], "to be known", is_known);
    vms[0].reset().unwrap();
    agent.clock.sleep(Duration::from_secs(1));
    host.kill_libvirtd();
    host.start_libvirtd().unwrap();
    // The last that the old connection told counts.
    agent.wait(&vms[0], "to begin anew", |vm| {
        vm.generation != anew.generation && vm.run == RunState::Running
    });
}

#[test]
fn a_migration_is_seen_from_both_ends() {
    let Some(lab) = open_lab("a_migration_is_seen_from_both_ends") else {
        return;
    };
    let fleet = lab.fleet(&["node1", "node2"]).unwrap();
    let [from, to] = fleet.hosts() else { panic!("two hosts were asked for") };
    let vms = from.boot([VmSpec::new("vm1", 192)]).unwrap();
    let vm = &vms[0];
    vm.prepare_on(to).unwrap();
    let (mut here, mut there) = (Agent::on(from), Agent::on(to));
    let known = here.wait(vm, "to be known", is_known);
    assert_eq!(there.find(vm), None);

    let (uri, address) = (to.uri(), format!("tcp://{}", fleet.address("node2").unwrap()));
    let slowly = ["--live", "--unsafe", "--bandwidth", "1"];
    let order = [&["migrate", "vm1", &uri, &address][..], &slowly[..]].concat();
    let mut migration = from.begin_virsh(&order).unwrap();
    let going = here.wait(vm, "to be on its way", |vm| vm.run == RunState::MigratingOut);
    assert_eq!((going.actual, going.generation), (known.actual, known.generation));
    let coming = there.wait(vm, "to be on its way", |vm| vm.run == RunState::MigratingIn);
    assert_eq!((coming.actual, coming.max), (known.actual, known.max));
    is_not_ordered(&mut here, vm);
    is_not_ordered(&mut there, vm);
    here.wait(vm, "to take its time", |vm| vm.run == RunState::MigratingOut);

    from.virsh(&["migrate-setspeed", "vm1", "1000"]).unwrap();
    assert!(migration.wait().unwrap().success());
    let arrived = there.wait(vm, "to go on", |vm| vm.run == RunState::Running && is_known(vm));
    assert_ne!(arrived.generation, coming.generation, "it is learned anew");
    assert_eq!(here.find(vm), None);
    let stamp = arrived.reported;
    there.wait(vm, "to report here", |vm| vm.reported != stamp && vm.guest.unused.is_some());
}

#[test]
fn a_backup_hinders_no_order_and_a_dump_does() {
    let Some(lab) = open_lab("a_backup_hinders_no_order_and_a_dump_does") else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    host.configure_qemu("dump_image_format = \"gzip\"").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 192)]).unwrap();
    let vm = &vms[0];
    let mut agent = Agent::on(&host);
    agent.wait(vm, "to be known", is_known);

    let xml = host.space().path("/run/lab/backup.xml");
    let text = "<domainbackup mode='pull'>
        <server transport='unix' socket='/run/lab/backup.sock'/></domainbackup>";
    std::fs::write(&xml, text).unwrap();
    host.virsh(&["backup-begin", "vm1", xml.to_str().unwrap()]).unwrap();
    assert!(host.virsh(&["domjobinfo", "vm1"]).unwrap().contains("Backup"));
    assert_eq!(agent.see(vm).run, RunState::Running);
    agent.until_accepted(vm, 160);
    agent.wait(vm, "to obey", |vm| vm.actual == ByteCount::mib(160));
    host.virsh(&["domjobabort", "vm1"]).unwrap();

    let dump = host.begin_virsh(&["dump", "--live", "vm1", "/run/lab/vm1.dump"]).unwrap();
    let gzip = host.freeze_program("gzip").unwrap();
    let silent = Cell::new(0);
    agent.wait(vm, "to be dumped", |vm| {
        silent.set(silent.get() + usize::from(vm.run == RunState::Unresponsive));
        vm.run == RunState::Busy
    });
    assert!(silent.get() < 10, "something waits for the dump to end: {} times", silent.get());
    is_not_ordered(&mut agent, vm);
    assert_eq!(agent.see(vm).actual, ByteCount::mib(160), "its figures go on");
    go_on(&host, gzip, dump);
    agent.wait(vm, "to be free", |vm| vm.run == RunState::Running);
    agent.until_accepted(vm, 192);
}

#[test]
fn locked_memory_and_a_missing_balloon_are_read_from_the_xml() {
    let Some(lab) = open_lab("locked_memory_and_a_missing_balloon_are_read_from_the_xml") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let absent = host.vm(VmSpec::new("absent", 128).balloon(Balloon::Absent)).unwrap();
    let obliging = host.vm(VmSpec::new("obliging", 128).autodeflate()).unwrap();
    let mut agent = Agent::on(&host);
    let mut traits = |vm| agent.wait(vm, "to be known", |vm| vm.traits.is_some()).traits.unwrap();
    assert_eq!(traits(&absent).obstacle, Some(Obstacle::NoBalloon));
    let obliging = traits(&obliging);
    assert_eq!((obliging.obstacle, obliging.takes_back_on_oom), (None, true));
    match host.vm(VmSpec::new("locked", 128).locked()) {
        Ok(locked) => assert_eq!(traits(&locked).obstacle, Some(Obstacle::Locked)),
        // A machine that is itself confined lets nobody lock memory.
        Err(error) if format!("{error:#}").contains("cannot limit locked memory") => {
            eprintln!("skipped locked memory: {error:#}");
        }
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn resident_memory_is_that_of_the_control_group() {
    const TEST: &str = "resident_memory_is_that_of_the_control_group";
    let Some(lab) = open_lab(TEST) else {
        return;
    };
    let Some(scope) = Scope::make().unwrap() else {
        return eprintln!("skipped {TEST}: there is no memory controller to be used");
    };
    let host = lab.host("node1").unwrap();
    scope.take_in(&host).unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256)]).unwrap();
    let vm = &vms[0];
    let mut agent = Agent::on(&host);
    agent.wait(vm, "to be known", is_known);
    let mut resident = || {
        // They are not read at one moment: what moves in between is read again.
        agent.try_until(|agent| {
            let seen = agent.see(vm).host_rss?.kib_floor();
            let (group, process) = (scope.resident_kib().unwrap(), vm.rss_kib().unwrap());
            // What is mapped of QEMU's own files can be dropped, and is no memory of the VM.
            (seen.abs_diff(group) < 4096 && seen + 4096 < process).then_some(seen)
        })
    };
    let before = resident();
    vm.finish(vm.hold("a", 100, 0).unwrap(), PATIENCE).unwrap();
    let after = resident();
    assert!(after >= before + 50 * 1024, "{before} KiB, {after} KiB");
    drop(host);
}

#[test]
fn libvirtd_without_a_free_worker_is_ordered_nothing_and_comes_back() {
    let Some(lab) = open_lab("libvirtd_without_a_free_worker_is_ordered_nothing_and_comes_back")
    else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot(["vm1", "vm2"].map(|name| VmSpec::new(name, 192))).unwrap();
    let mut agent = Agent::on(&host);
    agent.wait(&vms[1], "to be known", is_known);

    vms[0].freeze().unwrap();
    // More than the 20 calls that libvirtd works on at once, each on a connection of its own.
    let order = ["setmem", "vm1", "160MiB", "--live"];
    let mut others: Vec<Child> = (0..24).map(|_| host.begin_virsh(&order).unwrap()).collect();
    let error = agent.try_until(|agent| agent.libvirt.read(&BTreeSet::new(), TIMEOUT).err());
    assert!(matches!(error, ReadError::Silent { .. }), "{error}");
    // libvirtd keeps workers of their own for what cannot hang.
    let begin = agent.clock.now();
    host.virsh(&["domcontrol", "vm2"]).unwrap();
    let took = agent.clock.now() - begin;
    assert!(took < LONGEST_CALL, "it took {took:?}");
    let Answer::Refused(words) = agent.order(&vms[1], 160) else {
        panic!("there is nobody to obey")
    };
    assert!(words.contains("hang"), "{words}");

    // Those that waited for the first give up after half a minute.
    agent.wait(&vms[1], "to be read again", |vm| vm.run == RunState::Running);
    agent.until_accepted(&vms[1], 160);
    vms[0].thaw().unwrap();
    agent.wait(&vms[0], "to be back", |vm| vm.run == RunState::Running);
    agent.try_until(|agent| (agent.libvirt.parked() == 0).then_some(()));
    for virsh in &mut others {
        virsh.wait().unwrap();
    }
}

#[test]
fn without_permission_it_reads_on_and_says_what_it_may_not() {
    let Some(lab) = open_lab("without_permission_it_reads_on_and_says_what_it_may_not") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 192)]).unwrap();
    let uri = host.uri().replace("libvirt-sock", "libvirt-sock-ro");
    let mut agent = Agent::at(&host, uri);
    let seen = agent.wait(&vms[0], "to be known", is_known);
    assert_eq!((seen.run, seen.actual), (RunState::Running, ByteCount::mib(192)));
    for _ in 0..2 {
        let Answer::Refused(words) = agent.order(&vms[0], 160) else { panic!("it may only look") };
        assert!(words.contains("read only access"), "{words}");
        assert_eq!(agent.see(&vms[0]).actual, ByteCount::mib(192));
    }
    assert!(!agent.libvirt.take_reconnected());
}

/// What it is made of was read, and it has reported.
fn is_known(vm: &VmReading) -> bool {
    vm.traits.is_some() && vm.reported != Reported::Never
}

/// An order is refused, and by libvirt's own words: it would wait for half a minute.
fn is_not_ordered(agent: &mut Agent, vm: &Vm) {
    let answer = agent.order_within(vm, 128, LONGEST_CALL);
    let Answer::Refused(words) = &answer else { panic!("{answer:?}") };
    assert!(!words.contains("no time within"), "{words}");
    assert_eq!(agent.libvirt.parked(), 0);
}

/// Lets a stopped program go on, and what waits for it end well.
fn go_on(host: &Host, program: u32, mut virsh: Child) {
    host.space().signal(program, "CONT").unwrap();
    assert!(virsh.wait().unwrap().success());
}

const NAMESAKE: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
