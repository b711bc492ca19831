//! [`Bench`]: what tests have turns on.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::reserve::Reservation;

use super::{TickConfig, Ticker, Turn};
use crate::{
    clock::{Clock, VirtualClock},
    control::{Gate, InForce, Mode, Reservations, Reserved},
    hypervisor::sim::{Scenario, Sim},
};

/// A loop on a simulated host in virtual time.
pub(crate) struct Bench {
    pub(crate) ticker: Ticker,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) gate: Gate,
    pub(crate) in_force: InForce,
    interval: Duration,
}

impl Bench {
    pub(crate) fn new(scenario: &str) -> Self {
        Self::every(INTERVAL, scenario)
    }

    /// With ticks at this interval.
    pub(crate) fn every(interval: Duration, scenario: &str) -> Self {
        let scenario = Scenario::parse("bench.toml", scenario).unwrap();
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
        let config = TickConfig {
            interval,
            settle: interval / 2,
            call_timeout: interval / 2,
            stale_after: Duration::from_secs(5),
        };
        let ticker = Ticker::new(Box::new(sim), clock.clone(), config);
        let policy = scenario.policy.unwrap_or_default();
        let in_force = InForce::fixed(Mode::Active, policy);
        Self { ticker, clock, gate: Gate::new(Mode::Active), in_force, interval }
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.gate.set(mode);
        self.in_force.mode = mode;
    }

    /// Has this kept together for half an hour.
    pub(crate) fn reserve(&mut self, reservation: Reservation) {
        let expires = self.clock.now().saturating_add(Duration::from_secs(1800));
        let reserved = Reserved {
            reservation,
            actor: self.in_force.policy.actor.clone(),
            reason: String::new(),
            request_id: String::new(),
            expires_at: SystemTime::UNIX_EPOCH,
            expires,
            filled: false,
            end: None,
        };
        let (open, ended) = (vec![Arc::new(reserved)], Vec::new());
        self.in_force.reservations = Arc::new(Reservations { open, ended });
    }

    pub(crate) fn turn(&mut self) -> Turn {
        let turn = self.ticker.turn(&self.in_force, &self.gate);
        let next = self.interval * u32::try_from(turn.record.tick + 1).unwrap();
        self.clock.advance_to(next);
        turn
    }

    pub(crate) fn turns(&mut self, count: usize) -> Vec<Turn> {
        (0..count).map(|_| self.turn()).collect()
    }
}

pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
