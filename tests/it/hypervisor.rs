use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use agentd::hypervisor::contract::{Subject, hold};
use agentd::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use agentd::hypervisor::{Answer, Hypervisor, Target};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::{GuestFigures, Reported, RunState, VmReading};
use agentd_core::vm::VmId;
use agentd_tests::lab::{Balloon, Host, Vm, VmSpec};

use crate::open_lab;

#[test]
fn real_vms_keep_the_contract() {
    let Some(lab) = open_lab("real_vms_keep_the_contract") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host
        .boot([
            VmSpec::new("vm1", 256),
            VmSpec::new("driverless", 192).balloon(Balloon::Driverless),
            VmSpec::new("absent", 192).balloon(Balloon::Absent),
        ])
        .unwrap();
    let mut agent = Agent::on(&host);
    let clock = agent.clock.clone();
    hold(&mut Subject {
        hypervisor: &mut agent.libvirt,
        clock: &*clock,
        timeout: LONGEST_CALL,
        settle: PATIENCE,
    });

    let [_, driverless, absent] = &vms[..] else { panic!("three VMs were asked for") };
    for vm in [driverless, absent] {
        let seen = agent.see(vm);
        assert_eq!((seen.run, seen.reported), (RunState::Running, Reported::Never));
        assert_eq!(seen.guest, GuestFigures::default());
        assert_eq!(seen.actual, ByteCount::mib(192));
        assert!(seen.host_rss.is_some());
    }
    // Without a driver an order is taken, and nothing comes of it.
    agent.until_accepted(driverless, 160);
    assert_eq!(agent.see(driverless).actual, ByteCount::mib(192));
    let Answer::Refused(words) = agent.order(absent, 160) else {
        panic!("there is no balloon to obey")
    };
    assert!(words.contains("balloon"), "{words}");
}

#[test]
fn a_vm_that_hangs_is_seen_to_and_the_others_go_on() {
    let Some(lab) = open_lab("a_vm_that_hangs_is_seen_to_and_the_others_go_on") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot(["vm1", "vm2", "vm3"].map(|name| VmSpec::new(name, 256))).unwrap();
    let mut agent = Agent::on(&host);
    let known = agent.wait(&vms[1], "to report", |vm| vm.reported != Reported::Never);

    vms[1].freeze().unwrap();
    let hung = agent.wait(&vms[1], "to be found hanging", |vm| vm.run == RunState::Unresponsive);
    assert_eq!((hung.actual, hung.max), (known.actual, known.max));
    assert_eq!(hung.guest.usable.is_some(), known.guest.usable.is_some());
    let well = agent.wait(&vms[0], "to be read", |vm| vm.run == RunState::Running);
    assert!(well.guest.unused.is_some() && well.host_rss.is_some());
    // An order to it is not said to be accepted, and those to others are.
    let answer = agent.order(&vms[1], 200);
    assert_ne!(answer, Answer::Accepted);
    agent.until_accepted(&vms[0], 200);
    assert_eq!(agent.see(&vms[0]).run, RunState::Running);
    vms[1].thaw().unwrap();
    agent.wait(&vms[1], "to be back", |vm| vm.run == RunState::Running);

    // An order is the first to meet a VM that hangs: it stays in doubt until the VM goes on.
    vms[1].freeze().unwrap();
    for _ in 0..2 {
        assert_eq!(agent.order(&vms[1], 208), Answer::InDoubt);
    }
    agent.until_accepted(&vms[0], 216);
    agent.wait(&vms[1], "to be found hanging", |vm| vm.run == RunState::Unresponsive);
    assert_eq!(agent.see(&vms[0]).run, RunState::Running);
    vms[1].thaw().unwrap();
    agent
        .wait(&vms[1], "to obey an order from when it hung", |vm| vm.actual == ByteCount::mib(208));

    // Two at once park a bulk call each, and the third is still read.
    vms[1].freeze().unwrap();
    vms[2].freeze().unwrap();
    agent.wait(&vms[1], "to be found hanging", |vm| vm.run == RunState::Unresponsive);
    agent.wait(&vms[2], "to be found hanging", |vm| vm.run == RunState::Unresponsive);
    assert_eq!(agent.see(&vms[0]).run, RunState::Running);
    vms[1].thaw().unwrap();
    vms[2].thaw().unwrap();
    agent.wait(&vms[1], "to be back", |vm| vm.run == RunState::Running);
    agent.wait(&vms[2], "to be back", |vm| vm.run == RunState::Running);
    assert!(!agent.libvirt.take_reconnected());
}

#[test]
fn an_order_whose_time_is_over_before_it_goes_out_never_does() {
    let Some(lab) = open_lab("an_order_whose_time_is_over_before_it_goes_out_never_does") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256)]).unwrap();
    let mut agent = Agent::on(&host);
    let known = agent.wait(&vms[0], "to report", |vm| vm.reported != Reported::Never);

    host.freeze_libvirtd().unwrap();
    let answer = agent.order(&vms[0], 200);
    host.thaw_libvirtd().unwrap();
    let Answer::Refused(words) = &answer else { panic!("nobody could take it: {answer:?}") };
    assert!(words.contains("not passed on"), "{words}");
    // The thread that was at it goes on, and finds its time over.
    agent.wait(&vms[0], "to report on", |vm| vm.reported != known.reported);
    agent.clock.sleep(Duration::from_secs(2));
    assert_eq!(agent.see(&vms[0]).actual, ByteCount::mib(256));
    agent.until_accepted(&vms[0], 200);
    agent.wait(&vms[0], "to obey", |vm| vm.actual == ByteCount::mib(200));
}

#[test]
fn a_libvirtd_that_comes_back_is_taken_up_again() {
    let Some(lab) = open_lab("a_libvirtd_that_comes_back_is_taken_up_again") else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 256)]).unwrap();
    let mut agent = Agent::on(&host);
    agent.wait(&vms[0], "to report", |vm| vm.reported != Reported::Never);
    assert!(!agent.libvirt.take_reconnected());

    host.kill_libvirtd();
    let error = agent.try_until(|agent| agent.libvirt.read(&BTreeSet::new(), TIMEOUT).err());
    assert!(error.to_string().contains(&host.uri()), "{error}");
    let answer = agent.order(&vms[0], 200);
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    host.start_libvirtd().unwrap();
    let back = agent.wait(&vms[0], "to be seen again", |vm| vm.run == RunState::Running);
    assert!(agent.libvirt.take_reconnected());
    assert!(!agent.libvirt.take_reconnected());
    agent.wait(&vms[0], "to report on", |vm| vm.reported != back.reported);

    // Its figures go on after a reboot, and a VM that starts later has some too.
    vms[0].reset().unwrap();
    vms[0].wait_ready(PATIENCE).unwrap();
    let rebooted = agent.see(&vms[0]);
    agent.wait(&vms[0], "to report after its reboot", |vm| {
        vm.reported != rebooted.reported && vm.guest.unused.is_some()
    });
    let late = host.boot([VmSpec::new("vm2", 192)]).unwrap();
    let first = agent.wait(&late[0], "to report", |vm| vm.reported != Reported::Never);
    agent.wait(&late[0], "to report again", |vm| vm.reported != first.reported);
}

/// QEMU would ask this VM for its figures once a minute. A reading shows what is so when it is made,
/// unless somebody else said that the VM is not to report at all.
#[test]
fn a_vm_reports_when_it_is_read() {
    let Some(lab) = open_lab("a_vm_reports_when_it_is_read") else { return };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 512)]).unwrap();
    let vm = &vms[0];
    let mut agent = Agent::with_period(&host, MINUTE);
    let mut last = agent.wait(vm, "to report", |seen| seen.guest.usable.is_some());
    let began = agent.clock.now();
    for round in 1..=ROUNDS {
        vm.finish(vm.hold(&format!("work{round}"), 24, 0).unwrap(), PATIENCE).unwrap();
        let less = |seen: &VmReading| seen.guest.usable < last.guest.usable.map(most_left);
        last = agent.wait(vm, "to show its work", less);
    }
    // By itself it reports once more than minutes have passed, at most.
    let minutes = (agent.clock.now() - began).as_secs() / MINUTE.as_secs();
    assert!(minutes + 1 < ROUNDS, "in {minutes} minutes");

    let xml = |host: &Host| host.virsh(&["dumpxml", "vm1"]).unwrap();
    assert!(xml(&host).contains("<stats period='60'/>"), "{}", xml(&host));
    host.virsh(&["dommemstat", "vm1", "--live", "--period", "0"]).unwrap();
    let last = agent.see(vm);
    vm.release("work1").unwrap();
    for _ in 0..5 {
        let seen = agent.see(vm);
        assert_eq!((seen.reported, seen.guest), (last.reported, last.guest));
    }
    assert!(!xml(&host).contains("<stats"), "{}", xml(&host));
}

/// The figures of a VM whose memory has just moved count with what it holds now, and not only after the tick
/// after: it held as much before it was asked to report. While it moves they do not.
#[test]
fn figures_are_paired_with_what_a_vm_holds_as_soon_as_it_rests() {
    let Some(lab) = open_lab("figures_are_paired") else { return };
    let host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 512)]).unwrap();
    let vm = &vms[0];
    let mut agent = Agent::with_period(&host, MINUTE);
    agent.wait(vm, "to report", |seen| seen.guest.usable.is_some());
    let mut holds = ByteCount::mib(512);
    for target in [384, 448, 320, 512].map(ByteCount::mib) {
        agent.until_accepted(vm, u32::try_from(target.mib_floor()).unwrap());
        let mut at_rest = 0;
        let paired = agent.try_until(|agent| {
            let seen = agent.see(vm);
            let before = std::mem::replace(&mut holds, seen.actual);
            let is_there = seen.actual == target;
            assert!(is_there || !seen.paired || seen.actual == before, "{seen:?} moves");
            at_rest += u32::from(is_there);
            // It may have arrived in the middle of the first, and libvirt be late with another.
            assert!(at_rest <= 3, "{seen:?} has rested for {at_rest} readings");
            (is_there && seen.paired).then_some(seen)
        });
        let (unused, usable) = (paired.guest.unused.unwrap(), paired.guest.usable.unwrap());
        // What its kernel and its programs use is the same whatever it holds.
        let used = paired.actual.saturating_sub(unused.max(usable)).mib_floor();
        assert!((20..160).contains(&used), "{used} MiB of {paired:?}");
    }
}

/// Of what was usable, after work that takes 24 MiB began.
fn most_left(before: ByteCount) -> ByteCount {
    before.saturating_sub(ByteCount::mib(16))
}

/// The adapter as the tick uses it.
pub(crate) struct Agent {
    pub(crate) clock: Arc<RealClock>,
    pub(crate) libvirt: Libvirt,
}

impl Agent {
    pub(crate) fn on(host: &Host) -> Self {
        Self::at(host, host.uri())
    }

    /// At this URI, with the processes of that host.
    pub(crate) fn at(host: &Host, uri: String) -> Self {
        Self::new(host, LibvirtConfig { uri, ..LibvirtConfig::default() })
    }

    /// The VMs of that host are to report so often.
    fn with_period(host: &Host, stats_period: Duration) -> Self {
        Self::new(host, LibvirtConfig { uri: host.uri(), stats_period, ..LibvirtConfig::default() })
    }

    fn new(host: &Host, config: LibvirtConfig) -> Self {
        let clock = RealClock::start();
        let inside = |path: &str| host.space().path(path);
        let (processes, vm_processes) = (inside("/proc"), inside("/run/libvirt/qemu"));
        let config = LibvirtConfig { processes, vm_processes, ..config };
        let libvirt = Libvirt::new(config, clock.clone());
        Self { clock, libvirt }
    }

    /// The VM in a reading of this moment, which must come.
    pub(crate) fn see(&mut self, vm: &Vm) -> VmReading {
        let found = self.find(vm);
        found.unwrap_or_else(|| panic!("{} is not in the reading", vm.name()))
    }

    /// The same, where the VM may not be there. On a busy machine libvirt may be late with an answer, or be
    /// at the VM just then for others: then it is read again.
    pub(crate) fn find(&mut self, vm: &Vm) -> Option<VmReading> {
        self.try_until(|agent| {
            let reading = agent.libvirt.read(&BTreeSet::from([id(vm)]), TIMEOUT).ok()?;
            let found = reading.vms.into_iter().find(|seen| seen.id == id(vm));
            let answers = found.as_ref().is_none_or(|seen| seen.run != RunState::Unresponsive);
            answers.then_some(found)
        })
    }

    pub(crate) fn order(&mut self, vm: &Vm, mib: u32) -> Answer {
        self.order_within(vm, mib, TIMEOUT)
    }

    pub(crate) fn order_within(&mut self, vm: &Vm, mib: u32, timeout: Duration) -> Answer {
        let target = ByteCount::mib(mib);
        let mut answers = self.libvirt.set_targets(&[Target { vm: id(vm), target }], timeout);
        answers.remove(0)
    }

    /// Orders until libvirt takes the order: it may be busy with the VM.
    pub(crate) fn until_accepted(&mut self, vm: &Vm, mib: u32) {
        self.try_until(|agent| (agent.order(vm, mib) == Answer::Accepted).then_some(()));
    }

    /// Reads until the VM is as it should be.
    pub(crate) fn wait(
        &mut self,
        vm: &Vm,
        what: &str,
        is: impl Fn(&VmReading) -> bool,
    ) -> VmReading {
        let end = self.clock.now() + PATIENCE;
        loop {
            let reading = self.libvirt.read(&BTreeSet::new(), TIMEOUT);
            let vms = reading.map(|reading| reading.vms).unwrap_or_default();
            let seen = vms.into_iter().find(|seen| seen.id == id(vm));
            if let Some(seen) = seen.clone().filter(&is) {
                return seen;
            }
            assert!(self.clock.now() < end, "waited for {} {what}: {seen:?}", vm.name());
            self.clock.sleep(POLL);
        }
    }

    pub(crate) fn try_until<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = self.clock.now() + PATIENCE;
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(self.clock.now() < end, "it never came to that");
            self.clock.sleep(POLL);
        }
    }
}

pub(crate) fn id(vm: &Vm) -> VmId {
    vm.uuid().parse().unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 6;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);
/// More than any call takes on a busy machine, and less than libvirt waits for a VM: half a minute.
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(20);
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const POLL: Duration = Duration::from_millis(100);
