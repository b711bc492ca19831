//! What the port promises, as checks that every adapter passes: the simulated host, libvirt's own
//! `test:///default`, real VMs.
//!
//! [`hold`] runs them all. They panic where a promise is broken. Each leaves the VMs as it found
//! them; nobody else may order them meanwhile.

use std::{collections::BTreeSet, fmt, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, Reading, Reported, RunState, VmReading},
    vm::VmId,
};

use super::{Answer, Hypervisor, LiveActual, Target};
use crate::clock::Clock;

/// An adapter, and how long its world takes.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The adapter.
    pub hypervisor: &'a mut dyn Hypervisor,
    /// Passes the time of its world.
    pub clock: &'a dyn Clock,
    /// For one call: more than it ever takes.
    pub timeout: Duration,
    /// For VMs to report and to follow an order: more than they ever take.
    pub settle: Duration,
}

/// Holds an adapter to all promises. At least one VM must run and report its figures.
pub fn hold(subject: &mut Subject<'_>) {
    every_vm_is_read_once_and_keeps_its_id(subject);
    figures_are_within_their_bounds(subject);
    live_actuals_are_of_the_vms_asked_for(subject);
    a_target_above_the_maximum_is_refused(subject);
    an_unknown_vm_is_gone(subject);
    answers_come_in_the_order_of_the_orders(subject);
    nothing_asked_is_nothing_answered(subject);
    an_accepted_target_arrives(subject);
    a_steady_connection_is_not_new(subject);
}

/// Two readings have the same VMs, each once.
pub fn every_vm_is_read_once_and_keeps_its_id(subject: &mut Subject<'_>) {
    let first = subject.read(&BTreeSet::new());
    let second = subject.read(&ids(&first));
    assert!(!first.vms.is_empty(), "there is no VM");
    assert_eq!(ids(&first).len(), first.vms.len(), "a VM is there twice");
    assert_eq!(names(&first), names(&second), "ids or names changed");
}

/// A VM holds whole granules and at most its maximum, and says nothing before it reports.
pub fn figures_are_within_their_bounds(subject: &mut Subject<'_>) {
    let reading = subject.read(&BTreeSet::new());
    assert!(!reading.granule.is_zero(), "there is no granule");
    assert!(!reading.host.total.is_zero() && reading.host.usable <= reading.host.total);
    for vm in &reading.vms {
        assert!(!vm.actual.is_zero() && vm.actual <= vm.max, "{vm:?}");
        assert_eq!(vm.actual.align_down(reading.granule), vm.actual, "{vm:?}");
        if vm.reported == Reported::Never {
            assert_eq!(vm.guest, GuestFigures::default(), "{vm:?}");
        }
    }
}

/// A live actual comes for every VM that is asked for and runs, and for no other.
pub fn live_actuals_are_of_the_vms_asked_for(subject: &mut Subject<'_>) {
    let vms = running(&subject.read(&BTreeSet::new()));
    let mut asked: Vec<VmId> = vms.iter().map(|vm| vm.id).collect();
    asked.push(NOBODY);
    let live = subject.actuals(&asked);
    asked.pop();
    let answered: BTreeSet<VmId> = live.iter().map(|live| live.vm).collect();
    assert_eq!(answered, asked.iter().copied().collect());
    assert_eq!(live.len(), asked.len(), "a VM is there twice: {live:?}");
}

/// More than its maximum is not silently less.
pub fn a_target_above_the_maximum_is_refused(subject: &mut Subject<'_>) {
    let (vm, granule) = subject.reporting();
    let answers = subject.order(&[Target { vm: vm.id, target: vm.max.saturating_add(granule) }]);
    match &answers[..] {
        [Answer::Refused(words)] => assert!(!words.is_empty(), "refused without a word"),
        _ => panic!("{answers:?}"),
    }
    assert_eq!(subject.actual(vm.id), vm.actual, "it changed all the same");
}

/// An unknown VM is said to be gone, and is left out of what is read.
pub fn an_unknown_vm_is_gone(subject: &mut Subject<'_>) {
    let target = ByteCount::mib(256);
    assert_eq!(subject.order(&[Target { vm: NOBODY, target }]), [Answer::VmGone]);
    assert_eq!(subject.actuals(&[NOBODY]), []);
    let reading = subject.read(&BTreeSet::from([NOBODY]));
    assert!(!ids(&reading).contains(&NOBODY));
}

/// Answers belong to the orders at their places.
pub fn answers_come_in_the_order_of_the_orders(subject: &mut Subject<'_>) {
    let (vm, granule) = subject.reporting();
    let as_it_is = Target { vm: vm.id, target: vm.actual };
    let too_much = Target { vm: vm.id, target: vm.max.saturating_add(granule) };
    let unknown = Target { vm: NOBODY, target: vm.actual };
    for order in [[unknown, as_it_is], [as_it_is, unknown]] {
        let wanted = order.map(|o| if o.vm == NOBODY { Answer::VmGone } else { Answer::Accepted });
        assert_eq!(subject.order(&order), wanted);
    }
    let answers = subject.order(&[unknown, too_much]);
    let [Answer::VmGone, Answer::Refused(_)] = &answers[..] else { panic!("{answers:?}") };
}

/// No orders have no answers.
pub fn nothing_asked_is_nothing_answered(subject: &mut Subject<'_>) {
    assert_eq!(subject.order(&[]), []);
    assert_eq!(subject.actuals(&[]), []);
}

/// An accepted target is what the VM holds in the end, down and up again.
pub fn an_accepted_target_arrives(subject: &mut Subject<'_>) {
    let (vm, granule) = subject.reporting();
    let step = ByteCount::mib(16).align_down(granule);
    let less = vm.actual.saturating_sub(step);
    for target in [less, vm.actual] {
        assert_eq!(subject.order(&[Target { vm: vm.id, target }]), [Answer::Accepted]);
        subject.wait(format_args!("VM {} to hold {target}", vm.name), |subject| {
            let actual = subject.actual(vm.id);
            (actual.abs_diff(target) <= granule).then_some(())
        });
        let reading = subject.read(&BTreeSet::from([vm.id]));
        let read = reading.vms.iter().find(|read| read.id == vm.id).map(|read| read.actual);
        assert!(read.is_some_and(|read| read.abs_diff(target) <= granule), "{read:?}");
    }
}

/// Nothing was interrupted so far.
pub fn a_steady_connection_is_not_new(subject: &mut Subject<'_>) {
    assert!(!subject.hypervisor.take_reconnected(), "reconnected without a reason");
}

impl Subject<'_> {
    fn read(&mut self, live: &BTreeSet<VmId>) -> Reading {
        match self.hypervisor.read(live, self.timeout) {
            Ok(reading) => reading,
            Err(error) => panic!("{error}"),
        }
    }

    fn actuals(&mut self, vms: &[VmId]) -> Vec<LiveActual> {
        self.hypervisor.read_actuals(vms, self.timeout)
    }

    fn actual(&mut self, vm: VmId) -> ByteCount {
        match &self.actuals(&[vm])[..] {
            [live] => live.actual,
            other => panic!("asked for VM {vm}, got {other:?}"),
        }
    }

    fn order(&mut self, orders: &[Target]) -> Vec<Answer> {
        self.hypervisor.set_targets(orders, self.timeout)
    }

    /// A VM that runs and reports, with its live actual, and the granule.
    fn reporting(&mut self) -> (VmReading, ByteCount) {
        self.wait(format_args!("a VM to report"), |subject| {
            let reading = subject.read(&BTreeSet::new());
            let granule = reading.granule;
            let mut vm = running(&reading).into_iter().find(|vm| vm.reported != Reported::Never)?;
            vm.actual = subject.actual(vm.id);
            Some((vm, granule))
        })
    }

    fn wait<T>(
        &mut self,
        what: fmt::Arguments<'_>,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let end = self.clock.now().saturating_add(self.settle);
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(self.clock.now() < end, "waited {:?} for {what}", self.settle);
            self.clock.sleep(POLL);
        }
    }
}

fn ids(reading: &Reading) -> BTreeSet<VmId> {
    reading.vms.iter().map(|vm| vm.id).collect()
}

fn names(reading: &Reading) -> BTreeSet<(VmId, &str)> {
    reading.vms.iter().map(|vm| (vm.id, &*vm.name)).collect()
}

fn running(reading: &Reading) -> Vec<VmReading> {
    reading.vms.iter().filter(|vm| vm.run == RunState::Running).cloned().collect()
}

/// An id that no VM has.
const NOBODY: VmId = VmId::from_bytes([0xfe; 16]);
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        clock::VirtualClock,
        hypervisor::sim::{Scenario, Sim},
    };

    #[test]
    fn the_ideal_simulated_host_keeps_the_contract() {
        let clock = Arc::new(VirtualClock::default());
        let scenario = Scenario::parse("contract.toml", SCENARIO).expect("a scenario");
        let mut sim = Sim::new(Path::new("contract.toml"), &scenario, clock.clone());
        hold(&mut Subject {
            hypervisor: &mut sim,
            clock: &*clock,
            timeout: Duration::from_secs(1),
            settle: Duration::from_secs(10),
        });
    }

    const SCENARIO: &str = r#"
        tick_interval = "1s"
        seed = 1
        [sim]
        ideal = true
        [host]
        total = "8GiB"
        other = "1GiB"
        [[vm]]
        name = "web1"
        max = "2GiB"
        actual = "512MiB"
        demand = [{ at = "0s", used = "150MiB" }]
        [[vm]]
        name = "web2"
        max = "1GiB"
        actual = "512MiB"
        demand = [{ at = "0s", used = "300MiB" }]
    "#;
}
