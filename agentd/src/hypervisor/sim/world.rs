//! [`World`]: a host with VMs that have physics, stale figures and faults, in time.
//!
//! Moves in whole steps, of 20 ms by default, as far as they are over when it is called. The same
//! calls at the same times of a world with the same seed are answered the same.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{HostMemory, Pressure, Reading, Share},
    vm::VmId,
};

use super::{
    facts::Facts,
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
        let mut world = Self {
            sim: scenario.sim.clone(),
            host: scenario.host.clone(),
            vms: vms.collect(),
            now: Duration::ZERO,
            lost: false,
            reconnected: false,
        };
        world.note_line();
        world
    }

    /// Lets the steps pass that are over by `to`.
    pub(super) fn advance(&mut self, to: Duration) {
        let step = self.sim.step;
        let length = (to.saturating_sub(self.now) / MOST_STEPS).max(step);
        while self.now.saturating_add(step) <= to {
            let next = self.now.saturating_add(length).min(to);
            let silent = self.is_silent(next);
            for vm in self.vms.values_mut() {
                vm.advance(next, silent);
            }
            self.now = next;
            self.note_line();
        }
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
        self.vms.values().filter(|vm| vm.hangs()).count()
    }

    /// True when a call to this VM gets no answer.
    pub(super) fn is_silent_of(&self, vm: VmId) -> bool {
        self.vms.get(&vm).is_some_and(SimVm::is_silent)
    }

    /// How many calls have not returned for long.
    pub(super) fn parked(&self) -> usize {
        self.vms.values().filter(|vm| vm.is_parked()).count()
    }

    /// The VMs that run.
    pub(super) fn running(&self) -> impl Iterator<Item = VmId> {
        let runs = |vm: &SimVm| vm.is_present() && !vm.is_silent();
        self.vms.iter().filter(move |(_, vm)| runs(vm)).map(|(id, _)| *id)
    }

    /// Has these report at once.
    pub(super) fn prompt(&mut self, vms: &[VmId]) {
        for vm in vms {
            if let Some(vm) = self.vms.get_mut(vm) {
                vm.prompt();
            }
        }
    }

    pub(super) fn read(&self, live: impl Fn(VmId) -> bool) -> Reading {
        let present = self.vms.iter().filter(|(_, vm)| vm.is_present());
        Reading {
            host: self.host_memory(),
            granule: PAGE,
            ideal: false,
            vms: present.map(|(id, vm)| vm.read(live(*id))).collect(),
        }
    }

    pub(super) fn actual(&self, vm: VmId) -> Option<LiveActual> {
        self.vms.get(&vm).and_then(SimVm::actual)
    }

    pub(super) fn order(&mut self, order: Target) -> Answer {
        let silent = match self.line() {
            Line::Lost => return Answer::Refused("there is no connection".to_owned()),
            Line::Silent => true,
            Line::Open => false,
        };
        let vm = self.vms.get_mut(&order.vm);
        vm.map_or(Answer::VmGone, |vm| vm.order(order.target, silent))
    }

    pub(super) fn facts(&self) -> Facts {
        let present = self.vms.iter().filter(|(_, vm)| vm.is_present());
        Facts {
            now: self.now,
            host: self.host_memory(),
            taken: self.taken(),
            vms: present.map(|(id, vm)| (*id, vm.facts())).collect(),
        }
    }

    /// What the host itself and the processes of all VMs take; more than there is when the host
    /// swaps.
    fn taken(&self) -> ByteCount {
        let present = self.vms.values().filter(|vm| vm.is_present());
        let processes: ByteCount = present.map(SimVm::rss).sum();
        processes.saturating_add(self.host.other.at(self.now))
    }

    fn host_memory(&self) -> HostMemory {
        let (total, taken) = (self.host.total, self.taken());
        let usable = total.saturating_sub(taken);
        HostMemory { total, usable, pressure: Some(self.pressure(taken)) }
    }

    /// What the scenario says, and much where more is taken than there is.
    fn pressure(&self, taken: ByteCount) -> Pressure {
        let spell = self.host.pressure.iter().find(|spell| spell.during.holds_at(self.now));
        let told = spell.map(|spell| spell.pressure).unwrap_or_default();
        if taken <= self.host.total {
            return told;
        }
        Pressure { some: told.some.max(OVERFULL.some), full: told.full.max(OVERFULL.full) }
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

/// A host whose memory is all taken, and more, does little else than swap.
const OVERFULL: Pressure = Pressure { some: Share::percent(90), full: Share::percent(70) };
/// Steps of one call, at most: longer ones after a long time without calls.
const MOST_STEPS: u32 = 4096;
