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
    /// What is reserved for a VM is kept for somebody else.
    ReservedForNobody,
    /// No reservation is ever over.
    NeverExpires,
    /// Old figures are trusted: their stamps are shown to change all the time.
    StaleTrusted,
    /// No shrink is ever called off: who is told to stay where it is on its way down is not told.
    NeverCancels,
    /// The host never runs out of memory: it is shown with as much as any policy wants it to keep, and
    /// without pressure.
    NoEmergency,
    /// No VM ever gets anything: who is told to take more than it holds is not told.
    GrantsNothing,
    /// No VM ever gives anything: who is told to hold less than it does is not told.
    TakesNothing,
    /// Nothing that VMs hold is in use: each is shown with all of it unused.
    NothingInUse,
}

impl Saboteur {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::OnePhase,
        Self::NoFloor,
        Self::NothingReserved,
        Self::ReservedForNobody,
        Self::NeverExpires,
        Self::StaleTrusted,
        Self::NeverCancels,
        Self::NoEmergency,
        Self::GrantsNothing,
        Self::TakesNothing,
        Self::NothingInUse,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnePhase => "one-phase",
            Self::NoFloor => "no-floor",
            Self::NothingReserved => "nothing-reserved",
            Self::ReservedForNobody => "reserved-for-nobody",
            Self::NeverExpires => "never-expires",
            Self::StaleTrusted => "stale-trusted",
            Self::NeverCancels => "never-cancels",
            Self::NoEmergency => "no-emergency",
            Self::GrantsNothing => "grants-nothing",
            Self::TakesNothing => "takes-nothing",
            Self::NothingInUse => "nothing-in-use",
        }
    }

    /// The promises of which it has to be caught breaking one.
    #[must_use]
    pub const fn breaks(self) -> &'static [Rule] {
        match self {
            Self::OnePhase => &[Rule::TakeThenGive, Rule::Budget],
            Self::NoFloor => &[Rule::Floor],
            Self::NothingReserved => &[Rule::Reserved],
            Self::ReservedForNobody | Self::NeverExpires => &[Rule::HandOver],
            Self::StaleTrusted => &[Rule::Freshness],
            Self::NeverCancels => &[Rule::Cancel],
            Self::NoEmergency => &[Rule::Emergency],
            Self::GrantsNothing | Self::TakesNothing => &[Rule::Want],
            Self::NothingInUse => &[Rule::InUse],
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
    /// VMs on their way down: what they were told to hold, and what they were last shown to.
    shrinking: BTreeMap<VmId, (ByteCount, ByteCount)>,
    /// What VMs were last shown to hold.
    shown: BTreeMap<VmId, ByteCount>,
    stamp: u64,
}

impl<H> Sabotaged<H> {
    /// A port that this saboteur has.
    #[must_use]
    pub(super) fn new(port: H, saboteur: Saboteur) -> Self {
        let (told, shrinking, shown) = Default::default();
        Self { port, saboteur, told, shrinking, shown, stamp: 0 }
    }

    /// True for an order that is to reach nobody.
    fn swallows(&self, order: Target) -> bool {
        let shown = self.shown.get(&order.vm).copied().unwrap_or_default();
        let is = |saboteur| self.saboteur == saboteur;
        is(Saboteur::NeverCancels) && self.calls_off(order)
            || is(Saboteur::GrantsNothing) && order.target > shown
            || is(Saboteur::TakesNothing) && order.target < shown
    }

    /// True for an order that stops a VM on its way down: more than it was told, and no more than it
    /// was shown to hold.
    fn calls_off(&self, order: Target) -> bool {
        let own = self.shrinking.get(&order.vm);
        own.is_some_and(|(told, shown)| *told < order.target && order.target <= *shown)
    }

    fn stamp(&mut self, reported: &mut Reported) {
        if self.saboteur == Saboteur::StaleTrusted && *reported != Reported::Never {
            self.stamp += 1;
            *reported = Reported::at(self.stamp);
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
        self.shown = reading.vms.iter().map(|vm| (vm.id, vm.actual)).collect();
        for vm in &mut reading.vms {
            self.stamp(&mut vm.reported);
            if self.saboteur == Saboteur::NothingInUse && vm.guest.unused.is_some() {
                (vm.guest.unused, vm.guest.usable) = (Some(vm.actual), Some(vm.actual));
            }
            if let Some((_, shown)) = self.shrinking.get_mut(&vm.id) {
                *shown = vm.actual;
            }
        }
        if self.saboteur == Saboteur::NoEmergency {
            reading.host.usable = reading.host.usable.max(MOST_RESERVE);
            reading.host.pressure = None;
        }
        Ok(reading)
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        let mut live = self.port.read_actuals(vms, timeout);
        for vm in &mut live {
            self.shown.insert(vm.vm, vm.actual);
            if let Some(told) = self.told.get(&vm.vm).filter(|told| **told < vm.actual) {
                let gave = vm.actual.saturating_sub(*told);
                vm.actual = *told;
                vm.host_rss = vm.host_rss.map(|rss| rss.saturating_sub(gave));
            }
            self.stamp(&mut vm.reported);
            if let Some((_, shown)) = self.shrinking.get_mut(&vm.vm) {
                *shown = vm.actual;
            }
        }
        live
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        if self.saboteur == Saboteur::OnePhase {
            self.told.extend(orders.iter().map(|order| (order.vm, order.target)));
        }
        let (swallowed, passed): (Vec<Target>, Vec<Target>) =
            orders.iter().copied().partition(|order| self.swallows(*order));
        let answers = self.port.set_targets(&passed, timeout);
        let answers: BTreeMap<VmId, Answer> =
            passed.iter().map(|order| order.vm).zip(answers).collect();
        for order in &passed {
            self.shrinking.insert(order.vm, (order.target, ByteCount::MAX));
        }
        let taken = swallowed.iter().map(|order| (order.vm, Answer::Accepted));
        let mut all: BTreeMap<VmId, Answer> = answers.into_iter().chain(taken).collect();
        orders.iter().filter_map(|order| all.remove(&order.vm)).collect()
    }

    fn take_reconnected(&mut self) -> bool {
        self.port.take_reconnected()
    }

    fn parked(&self) -> usize {
        self.port.parked()
    }
}

/// The most that policies of runs want a host to keep.
const MOST_RESERVE: ByteCount = ByteCount::mib(500);
