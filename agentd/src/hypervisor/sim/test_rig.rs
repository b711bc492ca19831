//! A world under test, for the tests of what it promises and of its faults.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{Reading, VmReading},
    vm::VmId,
};

use super::{Onlooker, Scenario, Sim, VmFacts};
use crate::{
    clock::{Clock, VirtualClock},
    hypervisor::{Answer, Hypervisor, Target},
};

/// A world under test, with its time.
pub(super) struct Rig {
    pub(super) sim: Sim,
    pub(super) truth: Onlooker,
    pub(super) clock: Arc<VirtualClock>,
}

impl Rig {
    pub(super) fn new(text: &str) -> Self {
        let scenario = Scenario::parse("test.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("test.toml"), &scenario, clock.clone());
        Self { truth: sim.onlooker(), sim, clock }
    }

    /// One VM of 1 GiB that holds 512 MiB and wants 100 MiB, without noise, with these keys too.
    pub(super) fn with(vm: &str) -> Self {
        Self::new(&format!("[sim]\nnoise_percent = 0\n{HOST}{VM}{vm}"))
    }

    pub(super) fn pass(&self, millis: u64) -> &Self {
        self.clock.sleep(Duration::from_millis(millis));
        self
    }

    pub(super) fn reading(&mut self) -> Reading {
        self.sim.read(&BTreeSet::new(), WAIT).unwrap()
    }

    pub(super) fn vm(&mut self) -> VmReading {
        self.reading().vms.remove(0)
    }

    pub(super) fn live(&mut self) -> Option<ByteCount> {
        self.sim.read_actuals(&[ID], WAIT).first().map(|live| live.actual)
    }

    pub(super) fn order(&mut self, mib: u32) -> Answer {
        let orders = [Target { vm: ID, target: ByteCount::mib(mib) }];
        self.sim.set_targets(&orders, WAIT).remove(0)
    }

    pub(super) fn facts(&self) -> VmFacts {
        *self.truth.facts().vms.get(&ID).unwrap()
    }
}

pub(super) const fn mib(count: u32) -> ByteCount {
    ByteCount::mib(count)
}

pub(super) const HOST: &str = "[host]\ntotal = \"4GiB\"\nother = \"1GiB\"\n";
pub(super) const VM: &str = "[[vm]]\nname = \"web1\"\nuuid = \"00000000-0000-0000-0000-000000000001\"\n\
                  max = \"1GiB\"\nactual = \"512MiB\"\ndemand = \"100MiB\"\n";
pub(super) const ID: VmId = VmId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
pub(super) const WAIT: Duration = Duration::from_millis(100);
