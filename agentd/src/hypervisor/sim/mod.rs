//! The simulated hypervisor: a [`Scenario`] that runs in virtual or real time.
//!
//! [`Sim`] is the port. An `ideal` world does at once what it is told, to the byte; any other has
//! physics, stale figures and faults that follow from its seed. docs/SCENARIOS.md describes both.
//!
//! ```text
//! scenario (fields, duration) --> Sim --> ideal
//! ```
//!
//! The world moves only when it is called: to `clock.now()`, whatever happened since.

mod behaviour;
mod curve;
mod ideal;
mod numbers;
mod scenario;
#[cfg(test)]
mod scenario_tests;

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use agentd_core::{sample::Reading, vm::VmId};

use self::ideal::IdealWorld;
pub use self::{
    behaviour::{Behaviour, Claims, Kind},
    curve::{Curve, Point},
    numbers::Numbers,
    scenario::{HostScenario, LoadError, Scenario, SimScenario, VmScenario, Window, derived_id},
};
use super::{Answer, Hypervisor, LiveActual, ReadError, Target};
pub use crate::fields::FieldError;
use crate::{clock::Clock, fields};

/// A simulated host with its VMs.
#[derive(Debug)]
pub struct Sim {
    uri: String,
    clock: Arc<dyn Clock>,
    /// What the clock said when this world began.
    start: Duration,
    world: IdealWorld,
}

impl Sim {
    /// The world of a scenario, from its beginning on. `name` is how people call it, for example
    /// the path of the file.
    #[must_use]
    pub fn new(name: &Path, scenario: &Scenario, clock: Arc<dyn Clock>) -> Self {
        Self {
            uri: format!("sim:{}", name.display()),
            start: clock.now(),
            clock,
            world: IdealWorld::new(scenario),
        }
    }

    /// Time since the world began.
    fn now(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }
}

impl Hypervisor for Sim {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn read(&mut self, _live: &BTreeSet<VmId>, _timeout: Duration) -> Result<Reading, ReadError> {
        Ok(self.world.read(self.now()))
    }

    fn read_actuals(&mut self, vms: &[VmId], _timeout: Duration) -> Vec<LiveActual> {
        let now = self.now();
        vms.iter().filter_map(|vm| self.world.actual(*vm, now)).collect()
    }

    fn set_targets(&mut self, orders: &[Target], _timeout: Duration) -> Vec<Answer> {
        let now = self.now();
        orders.iter().map(|order| self.world.set_target(*order, now)).collect()
    }

    fn take_reconnected(&mut self) -> bool {
        false
    }
}
