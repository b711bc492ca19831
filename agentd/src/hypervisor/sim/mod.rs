//! The simulated hypervisor: a [`Scenario`] that runs in virtual or real time.
//!
//! [`Sim`] is the port. An `ideal` world does at once what it is told, to the byte; any other has
//! physics, stale figures and faults that follow from its seed. docs/SCENARIOS.md describes both.
//!
//! ```text
//! scenario (curve, numbers, behaviour)
//!     \--> Sim --> ideal
//!             \--> world --> vm --> memory, report
//! ```
//!
//! The world moves only when it is called: towards `clock.now()`, whatever happened since.

mod behaviour;
mod curve;
mod facts;
mod ideal;
mod memory;
mod numbers;
mod report;
mod reservation;
mod rng;
mod scenario;
mod vm;
mod world;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod scenario_tests;
#[cfg(test)]
mod test_rig;
#[cfg(test)]
mod world_tests;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentd_core::{sample::Reading, vm::VmId};

pub use self::{
    behaviour::{Behaviour, Claims, Kind},
    curve::{Curve, Point},
    facts::{Facts, Report, VmFacts},
    numbers::Numbers,
    reservation::ReservationScenario,
    rng::Rng,
    scenario::{
        HostScenario, LoadError, PressureSpell, Scenario, SimScenario, VmScenario, Window,
        derived_id,
    },
};
use self::{
    ideal::IdealWorld,
    world::{Line, World},
};
use super::{Answer, Hypervisor, LiveActual, ReadError, Target, prompts::Prompts};
pub use crate::fields::FieldError;
use crate::{clock::Clock, fields};

/// A simulated host with its VMs.
#[derive(Debug)]
pub struct Sim {
    uri: String,
    view: Onlooker,
    /// How long every call takes.
    latency: Duration,
    /// How many VMs were found not to answer: a read waits only for those that are new.
    hanging: usize,
    /// Whom to have report at once; `None` where VMs report when they like.
    prompts: Option<Prompts>,
}

/// Sees what is really so in a simulated world while a [`Sim`] is in other hands.
#[derive(Clone, Debug)]
pub struct Onlooker {
    world: Arc<Mutex<AnyWorld>>,
    clock: Arc<dyn Clock>,
    /// What the clock said when this world began.
    start: Duration,
}

#[derive(Debug)]
enum AnyWorld {
    Ideal(IdealWorld),
    Real(World),
}

impl Sim {
    /// The world of a scenario, from its beginning on. `name` is how people call it, for example
    /// the path of the file.
    #[must_use]
    pub fn new(name: &Path, scenario: &Scenario, clock: Arc<dyn Clock>) -> Self {
        let world = if scenario.sim.ideal {
            AnyWorld::Ideal(IdealWorld::new(scenario))
        } else {
            AnyWorld::Real(World::new(scenario))
        };
        let (world, start) = (Arc::new(Mutex::new(world)), clock.now());
        Self {
            uri: format!("sim:{}", name.display()),
            view: Onlooker { world, clock, start },
            latency: scenario.sim.call_latency,
            hanging: 0,
            prompts: scenario.sim.prompts.then(Prompts::default),
        }
    }

    /// Somebody who sees what is really so.
    #[must_use]
    pub fn onlooker(&self) -> Onlooker {
        self.view.clone()
    }

    /// Waits as long as a call takes, and then until `timeout` if nothing answers.
    fn call(&self, timeout: Duration) -> Line {
        self.pass(self.latency.min(timeout));
        let line = match &mut *self.view.now().1 {
            AnyWorld::Ideal(_) => Line::Open,
            AnyWorld::Real(real) => real.line(),
        };
        if line == Line::Silent || self.latency > timeout {
            self.pass(timeout.saturating_sub(self.latency));
            return Line::Silent;
        }
        line
    }

    fn pass(&self, time: Duration) {
        if !time.is_zero() {
            self.view.clock.sleep(time);
        }
    }

    fn unreadable(&self, line: Line, timeout: Duration) -> ReadError {
        let uri = self.uri.clone();
        match line {
            Line::Open | Line::Silent => ReadError::Silent { uri, timeout },
            Line::Lost => ReadError::Unreachable {
                uri,
                problem: "the connection is lost".to_owned(),
                remedy: "wait: the scenario says when it comes back".to_owned(),
                retry: match &*self.view.now().1 {
                    AnyWorld::Ideal(_) => Duration::ZERO,
                    AnyWorld::Real(real) => real.lost_for(),
                },
            },
        }
    }

    /// Waits for a VM that newly does not answer, as a reader would that has to find out which.
    fn find_hanging(&mut self, timeout: Duration) {
        let hanging = match &*self.view.now().1 {
            AnyWorld::Ideal(_) => 0,
            AnyWorld::Real(real) => real.hanging(),
        };
        if hanging > self.hanging {
            self.pass(timeout / 2);
        }
        self.hanging = hanging;
    }

    /// Waits in vain for those of these VMs that do not answer.
    fn wait_for(&self, mut vms: impl Iterator<Item = VmId>, timeout: Duration) {
        let silent = match &*self.view.now().1 {
            AnyWorld::Ideal(_) => false,
            AnyWorld::Real(real) => vms.any(|vm| real.is_silent_of(vm)),
        };
        if silent {
            self.pass(timeout.saturating_sub(self.latency));
        }
    }
}

impl Hypervisor for Sim {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        match self.call(timeout) {
            Line::Open => self.find_hanging(timeout),
            line @ (Line::Silent | Line::Lost) => return Err(self.unreadable(line, timeout)),
        }
        let (now, mut world) = self.view.now();
        match &mut *world {
            AnyWorld::Ideal(ideal) => Ok(ideal.read(now)),
            AnyWorld::Real(real) => {
                if let Some(prompts) = &mut self.prompts {
                    let chosen = prompts.choose(real.running(), live);
                    real.prompt(&chosen);
                }
                Ok(real.read(|vm| live.contains(&vm)))
            }
        }
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        if self.call(timeout) != Line::Open {
            return Vec::new();
        }
        self.wait_for(vms.iter().copied(), timeout);
        let (now, world) = self.view.now();
        let live = |vm: &VmId| match &*world {
            AnyWorld::Ideal(ideal) => ideal.actual(*vm, now),
            AnyWorld::Real(real) => real.actual(*vm),
        };
        vms.iter().filter_map(live).collect()
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        self.pass(self.latency.min(timeout));
        let (now, mut world) = self.view.now();
        let mut order = |order: &Target| match &mut *world {
            AnyWorld::Ideal(ideal) => ideal.set_target(*order, now),
            AnyWorld::Real(real) => real.order(*order),
        };
        let answers: Vec<_> = orders.iter().map(&mut order).collect();
        drop(world);
        if self.latency > timeout {
            return orders.iter().map(|_| Answer::InDoubt).collect();
        }
        if answers.contains(&Answer::InDoubt) {
            self.pass(timeout.saturating_sub(self.latency));
        }
        answers
    }

    fn take_reconnected(&mut self) -> bool {
        match &mut *self.view.now().1 {
            AnyWorld::Ideal(_) => false,
            AnyWorld::Real(real) => real.take_reconnected(),
        }
    }

    fn parked(&self) -> usize {
        match &*self.view.now().1 {
            AnyWorld::Ideal(_) => 0,
            AnyWorld::Real(real) => real.parked(),
        }
    }
}

impl Onlooker {
    /// What is really so now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let (now, world) = self.now();
        match &*world {
            AnyWorld::Ideal(ideal) => ideal.facts(now),
            AnyWorld::Real(real) => real.facts(),
        }
    }

    /// Lets the world pass until the clock's now; that as time since its beginning, and the world.
    fn now(&self) -> (Duration, MutexGuard<'_, AnyWorld>) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now().saturating_sub(self.start);
        if let AnyWorld::Real(real) = &mut *world {
            real.advance(now);
        }
        (now, world)
    }
}
