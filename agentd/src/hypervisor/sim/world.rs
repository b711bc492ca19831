//! [`World`]: a host with VMs that have physics, stale figures and faults, in time.
//!
//! Moves in steps of 20 ms from call to call. The same calls at the same times of a world with the
//! same seed are answered the same.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{HostMemory, Reading},
    vm::VmId,
};

use super::{
    facts::{Facts, VmFacts},
    memory::PAGE,
    rng::Rng,
    scenario::{HostScenario, Scenario, SimScenario},
    vm::SimVm,
};
use crate::hypervisor::{Answer, LiveActual, Target};

/// A host with VMs that have physics.
#[derive(Debug)]
pub(super) struct World {
    sim: SimScenario,
    host: HostScenario,
    vms: BTreeMap<VmId, SimVm>,
    now: Duration,
    /// There was no connection at the last step.
    lost: bool,
    reconnected: bool,
}

/// Whether the hypervisor can be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Open,
    Silent,
    Lost,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let streams = scenario.vms.iter().zip(1..);
        let vms = streams.map(|(vm, stream)| {
            let rng = Rng::new(scenario.seed, stream);
            (vm.id, SimVm::new(vm, rng))
        });
        Self {
            sim: scenario.sim.clone(),
            host: scenario.host.clone(),
            vms: vms.collect(),
            now: Duration::ZERO,
            lost: false,
            reconnected: false,
        }
    }

    /// Lets time pass until `to`.
    pub(super) fn advance(&mut self, to: Duration) {
        let length = (to.saturating_sub(self.now) / MOST_STEPS).max(STEP);
        while self.now < to {
            let next = self.now.saturating_add(length).min(to);
            let silent = self.is_silent(next);
            for vm in self.vms.values_mut() {
                vm.advance(self.now, next, silent);
            }
            self.now = next;
            self.note_line();
        }
        self.note_line();
    }

    pub(super) fn line(&self) -> Line {
        if self.lost {
            Line::Lost
        } else if self.is_silent(self.now) {
            Line::Silent
        } else {
            Line::Open
        }
    }

    /// How long the connection stays lost; a second where it stays so for good.
    pub(super) fn lost_for(&self) -> Duration {
        let lost = self.sim.connection_lost.iter().filter(|window| window.holds_at(self.now));
        let end = lost.filter_map(|window| window.until).max();
        end.map_or(Duration::from_secs(1), |end| end.saturating_sub(self.now))
    }

    pub(super) fn take_reconnected(&mut self) -> bool {
        std::mem::take(&mut self.reconnected)
    }

    /// How many VMs do not answer.
    pub(super) fn hanging(&self) -> usize {
        self.vms.values().filter(|vm| vm.hangs_at(self.now)).count()
    }

    /// True when this VM does not answer.
    pub(super) fn hangs(&self, vm: VmId) -> bool {
        self.vms.get(&vm).is_some_and(|vm| vm.hangs_at(self.now))
    }

    pub(super) fn read(&self, live: impl Fn(VmId) -> bool) -> Reading {
        let present = self.vms.iter().filter(|(_, vm)| vm.is_present());
        Reading {
            host: self.host_memory(),
            granule: PAGE,
            ideal: false,
            vms: present.map(|(id, vm)| vm.read(self.now, live(*id))).collect(),
        }
    }

    pub(super) fn actual(&self, vm: VmId) -> Option<LiveActual> {
        self.vms.get(&vm).and_then(|vm| vm.actual(self.now))
    }

    pub(super) fn order(&mut self, order: Target) -> Answer {
        let silent = match self.line() {
            Line::Lost => return Answer::Refused("there is no connection".to_owned()),
            Line::Silent => true,
            Line::Open => false,
        };
        let vm = self.vms.get_mut(&order.vm);
        vm.map_or(Answer::VmGone, |vm| vm.order(order.target, self.now, silent))
    }

    pub(super) fn facts(&self) -> Facts {
        let present = self.vms.iter().filter(|(_, vm)| vm.is_present());
        let fact = |(id, vm): (&VmId, &SimVm)| {
            let memory = vm.memory();
            let facts = VmFacts {
                actual: memory.actual,
                demand: vm.demand(self.now),
                resident: memory.resident,
                swapped: memory.swapped,
                cache: memory.cache,
                rss: vm.rss(self.now),
                swap_in: memory.swap_in,
                swap_out: memory.swap_out,
                oom_kills: memory.oom_kills,
            };
            (*id, facts)
        };
        Facts {
            now: self.now,
            host: self.host_memory(),
            taken: self.taken(),
            vms: present.map(fact).collect(),
        }
    }

    /// What the host itself and the processes of all VMs take; more than there is when the host
    /// swaps.
    fn taken(&self) -> ByteCount {
        let present = self.vms.values().filter(|vm| vm.is_present());
        let processes: ByteCount = present.map(|vm| vm.rss(self.now)).sum();
        processes.saturating_add(self.host.other.at(self.now))
    }

    fn host_memory(&self) -> HostMemory {
        let total = self.host.total;
        HostMemory { total, usable: total.saturating_sub(self.taken()), pressure: None }
    }

    fn is_silent(&self, now: Duration) -> bool {
        self.sim.silent.iter().any(|window| window.holds_at(now))
    }

    fn note_line(&mut self) {
        let lost = self.sim.connection_lost.iter().any(|window| window.holds_at(self.now));
        self.reconnected |= self.lost && !lost;
        self.lost = lost;
    }
}

/// Balloons move some MiB in this time.
const STEP: Duration = Duration::from_millis(20);
/// Steps of one call, at most: longer ones after a long time without calls.
const MOST_STEPS: u32 = 4096;
