//! [`Saboteur`]: breaks one promise on purpose, from outside of agentd's code, to show that the
//! judge would see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentd::hypervisor::{Answer, Hypervisor, LiveActual, ReadError, Target};
use agentd_core::bytes::ByteCount;
use agentd_core::policy::Policy;
use agentd_core::sample::{Reading, Reported};
use agentd_core::vm::VmId;

use super::rule::Rule;

/// Who breaks which promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saboteur {
    /// Grows are granted without waiting for what givers give: each is shown to have given at once.
    OnePhase,
    /// There is no floor: the policy that is decided by has the least floor that is valid.
    NoFloor,
    /// What is reserved is looked at by nobody.
    NothingReserved,
    /// Old figures are trusted: their stamps are shown to change all the time.
    StaleTrusted,
}

impl Saboteur {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::OnePhase, Self::NoFloor, Self::NothingReserved, Self::StaleTrusted];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnePhase => "one-phase",
            Self::NoFloor => "no-floor",
            Self::NothingReserved => "nothing-reserved",
            Self::StaleTrusted => "stale-trusted",
        }
    }

    /// The promises of which it has to be caught breaking one.
    #[must_use]
    pub const fn breaks(self) -> &'static [Rule] {
        match self {
            Self::OnePhase => &[Rule::TakeThenGive, Rule::Budget],
            Self::NoFloor => &[Rule::Floor],
            Self::NothingReserved => &[Rule::Reserved],
            Self::StaleTrusted => &[Rule::Freshness],
        }
    }

    /// The policy that agentd is made to decide by.
    #[must_use]
    pub(super) fn policy(self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        if self == Self::NoFloor {
            policy.floor = ByteCount::mib(16);
            for own in policy.vms.values_mut() {
                own.min = None;
            }
        }
        policy
    }
}

/// A port that shows what a saboteur wants agentd to see.
#[derive(Debug)]
pub(super) struct Sabotaged<H> {
    port: H,
    saboteur: Saboteur,
    /// What VMs were told to hold in this tick.
    told: BTreeMap<VmId, ByteCount>,
    stamp: u64,
}

impl<H> Sabotaged<H> {
    /// A port that this saboteur has.
    #[must_use]
    pub(super) const fn new(port: H, saboteur: Saboteur) -> Self {
        Self { port, saboteur, told: BTreeMap::new(), stamp: 0 }
    }

    fn stamp(&mut self, reported: &mut Reported) {
        if self.saboteur == Saboteur::StaleTrusted && *reported != Reported::Never {
            self.stamp += 1;
            *reported = Reported::At(self.stamp);
        }
    }
}

impl<H: Hypervisor> Hypervisor for Sabotaged<H> {
    fn uri(&self) -> &str {
        self.port.uri()
    }

    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        let mut reading = self.port.read(live, timeout)?;
        self.told.clear();
        for vm in &mut reading.vms {
            self.stamp(&mut vm.reported);
        }
        Ok(reading)
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        let mut live = self.port.read_actuals(vms, timeout);
        for vm in &mut live {
            if let Some(told) = self.told.get(&vm.vm).filter(|told| **told < vm.actual) {
                let gave = vm.actual.saturating_sub(*told);
                vm.actual = *told;
                vm.host_rss = vm.host_rss.map(|rss| rss.saturating_sub(gave));
            }
            self.stamp(&mut vm.reported);
        }
        live
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        if self.saboteur == Saboteur::OnePhase {
            self.told.extend(orders.iter().map(|order| (order.vm, order.target)));
        }
        self.port.set_targets(orders, timeout)
    }

    fn take_reconnected(&mut self) -> bool {
        self.port.take_reconnected()
    }

    fn parked(&self) -> usize {
        self.port.parked()
    }
}
