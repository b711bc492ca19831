//! [`OrderLog`]: stands before the simulated hypervisor and writes down every order that it took.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentd::clock::Clock;
use agentd::hypervisor::sim::Sim;
use agentd::hypervisor::{Answer, Hypervisor, LiveActual, ReadError, Target};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::Reading;
use agentd_core::vm::VmId;

use super::film::FilmedClock;
use super::stopwatch::Stopwatch;

/// An order that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// When, since the beginning.
    pub at: Duration,
    /// To whom.
    pub vm: VmId,
    /// What it is to hold.
    pub target: ByteCount,
}

/// Writes down orders.
#[derive(Debug)]
pub(super) struct OrderLog {
    sim: Sim,
    clock: Arc<FilmedClock>,
    stopwatch: Arc<Stopwatch>,
    orders: Orders,
}

/// The orders of a run, for who does not have the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Arc<Mutex<Vec<Order>>>);

impl OrderLog {
    pub(super) fn new(sim: Sim, clock: Arc<FilmedClock>, stopwatch: Arc<Stopwatch>) -> Self {
        Self { sim, clock, stopwatch, orders: Orders::default() }
    }

    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

impl Orders {
    pub(super) fn take(&self) -> Vec<Order> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, order: Order) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }
}

impl Hypervisor for OrderLog {
    fn uri(&self) -> &str {
        self.sim.uri()
    }

    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        let (sim, stopwatch) = (&mut self.sim, &self.stopwatch);
        stopwatch.aside(|| sim.read(live, timeout))
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        let (sim, stopwatch) = (&mut self.sim, &self.stopwatch);
        stopwatch.aside(|| sim.read_actuals(vms, timeout))
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        let (sim, stopwatch) = (&mut self.sim, &self.stopwatch);
        let answers = stopwatch.aside(|| sim.set_targets(orders, timeout));
        let at = self.clock.now();
        for (order, _) in orders.iter().zip(&answers).filter(|(_, one)| **one == Answer::Accepted) {
            self.orders.note(Order { at, vm: order.vm, target: order.target });
        }
        answers
    }

    fn take_reconnected(&mut self) -> bool {
        self.sim.take_reconnected()
    }

    fn parked(&self) -> usize {
        self.sim.parked()
    }
}
