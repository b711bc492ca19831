//! [`IdealWorld`]: balloons that arrive at once and figures that are fresh and exact.
//!
//! What an algorithm decides here follows from its rules alone, to the byte. Nothing in it is
//! random, and nothing fails. `world` is the one with physics and faults.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, HostMemory, Reading, Reported, RunState, Traits, VmReading},
    vm::VmId,
};

use super::{
    facts::{Facts, VmFacts},
    scenario::{HostScenario, Scenario, VmScenario},
};
use crate::hypervisor::{Answer, LiveActual, Target};

/// A host whose VMs do at once what they are told.
#[derive(Debug)]
pub(super) struct IdealWorld {
    host: HostScenario,
    vms: BTreeMap<VmId, IdealVm>,
}

#[derive(Debug)]
struct IdealVm {
    scenario: VmScenario,
    actual: ByteCount,
}

impl IdealWorld {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let vm = |vm: &VmScenario| {
            let ideal = IdealVm { scenario: vm.clone(), actual: vm.actual };
            (vm.id, ideal)
        };
        Self { host: scenario.host.clone(), vms: scenario.vms.iter().map(vm).collect() }
    }

    pub(super) fn read(&self, now: Duration) -> Reading {
        let present = self.vms.values().filter(|vm| vm.scenario.life.holds_at(now));
        let vms: Vec<_> = present.map(|vm| vm.read(now)).collect();
        let held: ByteCount = vms.iter().map(|vm| vm.actual).sum();
        let taken = held.saturating_add(self.host.other.at(now));
        let host = HostMemory {
            total: self.host.total,
            usable: self.host.total.saturating_sub(taken),
            pressure: None,
        };
        Reading { host, granule: ByteCount::bytes(1), ideal: true, vms }
    }

    pub(super) fn actual(&self, vm: VmId, now: Duration) -> Option<LiveActual> {
        let found = self.vms.get(&vm).filter(|vm| vm.scenario.life.holds_at(now))?;
        let (actual, host_rss) = (found.actual, Some(found.actual));
        Some(LiveActual { vm, actual, reported: Reported::Now, host_rss })
    }

    pub(super) fn facts(&self, now: Duration) -> Facts {
        let reading = self.read(now);
        let fact = |vm: &IdealVm| {
            let (id, actual, demand) = (vm.scenario.id, vm.actual, vm.scenario.demand.at(now));
            let facts = VmFacts {
                run: RunState::Running,
                generation: 0,
                max: vm.scenario.max,
                actual,
                target: actual,
                late: None,
                foreign_at: None,
                in_place: ByteCount::ZERO,
                touched: actual,
                rss: actual,
                demand,
                resident: demand.min(actual),
                swapped: demand.saturating_sub(actual),
                cache: ByteCount::ZERO,
                swap_in: ByteCount::ZERO,
                swap_out: ByteCount::ZERO,
                oom_kills: 0,
                refuses: false,
                works: true,
                report: None,
            };
            (id, facts)
        };
        let present = self.vms.values().filter(|vm| vm.scenario.life.holds_at(now));
        let held: ByteCount = reading.vms.iter().map(|vm| vm.actual).sum();
        Facts {
            now,
            host: reading.host,
            taken: held.saturating_add(self.host.other.at(now)),
            vms: present.map(fact).collect(),
        }
    }

    pub(super) fn set_target(&mut self, order: Target, now: Duration) -> Answer {
        let Some(vm) = self.vms.get_mut(&order.vm).filter(|vm| vm.scenario.life.holds_at(now))
        else {
            return Answer::VmGone;
        };
        if let Some(refusal) = refusal(order.target, vm.scenario.max) {
            return refusal;
        }
        vm.actual = order.target;
        Answer::Accepted
    }
}

impl IdealVm {
    fn read(&self, now: Duration) -> VmReading {
        let wanted = self.scenario.demand.at(now);
        let unused = self.actual.saturating_sub(wanted);
        let none = Some(ByteCount::ZERO);
        VmReading {
            id: self.scenario.id,
            name: self.scenario.name.clone(),
            run: RunState::Running,
            generation: 0,
            traits: Some(Traits::default()),
            actual: self.actual,
            max: self.scenario.max,
            guest: GuestFigures {
                unused: Some(unused),
                usable: Some(unused),
                swap_in: none,
                swap_out: none,
                major_faults: Some(0),
            },
            reported: Reported::Now,
            host_rss: Some(self.actual),
            paired: true,
        }
    }
}

/// What every hypervisor refuses.
pub(super) fn refusal(target: ByteCount, max: ByteCount) -> Option<Answer> {
    let why = if target.is_zero() {
        "a VM cannot hold no memory at all".to_owned()
    } else if target > max {
        format!("cannot hold {target}, which is more than its maximum, {max}")
    } else {
        return None;
    };
    Some(Answer::Refused(why))
}
