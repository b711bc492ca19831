//! What the judge holds agentd to of reservations: what they hold is there and nobody's, and goes to
//! their VM in the tick in which that is seen, once, or to everybody when their time is up.

use std::collections::{BTreeMap, BTreeSet};

use agentd::event::TickRecord;
use agentd::hypervisor::sim::Facts;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Policy, VmKey};
use agentd_core::reserve::{Booking, ReservationId};
use agentd_core::sample::{Reading, VmReading};
use agentd_core::vm::VmId;

use super::Judge;
use crate::soak::budget::Budget;
use crate::soak::draw_reserved::Planned;
use crate::soak::rule::Rule;

/// What is known of the reservations of a run.
#[derive(Debug, Default)]
pub(in crate::soak) struct Promises {
    open: Vec<Planned>,
    /// The VM that each is to go to in this turn.
    due: BTreeMap<ReservationId, VmId>,
    /// Those that this agentd said were filled.
    filled: BTreeSet<ReservationId>,
    /// The VMs that it last decided on; `None` while it has decided on nothing.
    decided_on: Option<BTreeSet<VmId>>,
}

impl Judge {
    /// From now on this is reserved, until the time of each is up.
    pub(in crate::soak) fn set_reserved(&mut self, open: Vec<Planned>) {
        self.promises.open = open;
    }

    /// A new process knows of no tick of before.
    pub(super) fn forget_promises(&mut self) {
        self.promises.filled.clear();
        self.promises.decided_on = None;
    }

    /// A reading shows these VMs: who takes the place of what was reserved?
    pub(super) fn sees_newcomers(&mut self, reading: &Reading) {
        let began = self.last_began.unwrap_or_default();
        self.promises.open.retain(|own| own.expires > began);
        self.promises.due = self.promises.due_in(reading);
        let due = &self.promises.due;
        let open = self.promises.open.iter().map(|own| &own.reservation);
        let open = open.filter(|own| !due.contains_key(&own.id));
        self.reserved = open.map(|own| own.min).sum();
    }

    /// What a tick made of them.
    pub(super) fn hands_over(&mut self, record: &TickRecord) {
        let Some(decision) = &record.decision else { return };
        let (due, open) = (self.promises.due.clone(), self.promises.open.clone());
        let looked_at: Vec<ReservationId> = decision.bookings.iter().map(|own| own.id).collect();
        let in_force: Vec<ReservationId> = open.iter().map(|own| own.reservation.id).collect();
        if !looked_at.is_empty() || !in_force.is_empty() {
            self.hold(Rule::HandOver, looked_at == in_force, || {
                format!("{looked_at:?} are looked at of {in_force:?} that are in force")
            });
        }
        for own in &decision.bookings {
            let vm = due.get(&own.id).copied();
            let fine = own.handed_to == vm && (vm.is_none() || own.held.is_zero());
            self.hold(Rule::HandOver, fine, || {
                format!("{own:?} and the VM that it is for is {vm:?}")
            });
        }
        self.holds_what_is_there(&decision.bookings);
        let filled = decision.bookings.iter().filter(|own| own.filled).map(|own| own.id);
        self.promises.filled.extend(filled);
        let vms = record.sample.as_ref().map(|sample| sample.vms.keys().copied().collect());
        self.promises.decided_on = vms.or_else(|| self.promises.decided_on.take());
    }

    /// What they hold is free on the host, and no VM can come to take it.
    fn holds_what_is_there(&mut self, bookings: &[Booking]) {
        let held: ByteCount = bookings.iter().map(|own| own.held).sum();
        let Some((_, read)) = self.read.clone().filter(|_| !held.is_zero()) else { return };
        let missing = self.missing_of(held, read);
        let words = missing.clone().unwrap_or_default();
        self.hold(Rule::HandOver, missing.is_none(), || format!("{held} are held: {words}"));
    }

    fn missing_of(&self, held: ByteCount, mut read: Facts) -> Option<String> {
        self.forget_strangers(&mut read);
        for (id, vm) in &mut read.vms {
            // A balloon event may be late.
            let shown = self.known.get(id).map_or(vm.actual, |known| known.actual);
            vm.actual = vm.actual.min(shown);
            // No figure carries the target that somebody else gave.
            if vm.foreign_at.is_some() {
                vm.target = vm.target.min(vm.actual);
            }
        }
        let host_reserve = self.policy.host_reserve.saturating_add(held);
        let policy = Policy { host_reserve, ..Policy::clone(&self.policy) };
        let budget = Budget {
            policy: &policy,
            now: &read,
            read: Some(&read),
            recent: true,
            looked: &BTreeMap::new(),
            stay: &BTreeSet::new(),
            known: &self.known,
            undone: BTreeMap::new(),
            delivered: ByteCount::ZERO,
            grown: ByteCount::ZERO,
            returned: ByteCount::ZERO,
            noise: self.ledger.noise(),
        };
        budget.excess(&BTreeMap::new(), true)
    }
}

impl Promises {
    /// Which VM each goes to by the words of OPERATING: its own, or the first that came since it was
    /// filled.
    fn due_in(&self, reading: &Reading) -> BTreeMap<ReservationId, VmId> {
        let named = |key: &VmKey| {
            let is = |vm: &&VmReading| match key {
                VmKey::Id(id) => vm.id == *id,
                VmKey::Name(name) => *vm.name == **name,
            };
            reading.vms.iter().find(is).map(|vm| vm.id)
        };
        let open = || self.open.iter().map(|own| &own.reservation);
        let own = open().filter_map(|own| Some((own.id, named(own.vm.as_ref()?)?)));
        let mut due: BTreeMap<ReservationId, VmId> = own.collect();
        let taken: BTreeSet<VmId> = due.values().copied().collect();
        let came = |id: &VmId| {
            let before = self.decided_on.as_ref();
            before.is_some_and(|before| !before.contains(id)) && !taken.contains(id)
        };
        let came: BTreeSet<VmId> = reading.vms.iter().map(|vm| vm.id).filter(came).collect();
        let wait = open().filter(|own| own.vm.is_none() && self.filled.contains(&own.id));
        due.extend(wait.map(|own| own.id).zip(came));
        due
    }
}
