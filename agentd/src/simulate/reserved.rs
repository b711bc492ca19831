//! [`Kept`]: the reservations of a scenario from tick to tick, made and ended as an operator would.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::reserve::{Reservation, ReservationId};

use crate::{
    control::{Actor, InForce, Reservations, Reserved},
    event::TickRecord,
    hypervisor::sim::ReservationScenario,
};

/// The reservations of a scenario, and which of them have been handed over to their VMs.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    scenario: &'a [ReservationScenario],
    handed_over: BTreeSet<ReservationId>,
}

impl<'a> Kept<'a> {
    pub(super) const fn new(scenario: &'a [ReservationScenario]) -> Self {
        Self { scenario, handed_over: BTreeSet::new() }
    }

    /// What is in force at this moment, with the scenario's reservations where it has any.
    pub(super) fn at(&self, now: Duration, in_force: &InForce) -> InForce {
        let mut in_force = in_force.clone();
        if !self.scenario.is_empty() {
            let is_open = |(id, own): &(ReservationId, &ReservationScenario)| {
                own.during.holds_at(now) && !self.handed_over.contains(id)
            };
            let numbered = (1..).map(ReservationId).zip(self.scenario);
            let open = numbered.filter(is_open).map(|(id, own)| Arc::new(reserved(id, own)));
            in_force.reservations =
                Arc::new(Reservations { open: open.collect(), ended: Vec::new() });
        }
        in_force
    }

    /// Takes in what became of them in a tick.
    pub(super) fn note(&mut self, record: &TickRecord) {
        let bookings = record.decision.iter().flat_map(|decision| &decision.bookings);
        self.handed_over.extend(bookings.filter(|own| own.handed_to.is_some()).map(|own| own.id));
    }
}

fn reserved(id: ReservationId, own: &ReservationScenario) -> Reserved {
    let (time, vm) = (SystemTime::UNIX_EPOCH, own.vm.clone());
    Reserved {
        reservation: Reservation { id, min: own.min, max: own.max, vm },
        actor: Actor { id: "scenario".to_owned(), peer: String::new(), time },
        reason: String::new(),
        request_id: String::new(),
        expires_at: time,
        expires: own.during.until.unwrap_or(Duration::MAX),
        filled: false,
        end: None,
    }
}
