//! [`Witness`]: stands between agentd and the simulated hypervisor, tells the judge of every call
//! with what is really so, and lets faults strike agentd in the middle of a tick.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentd::clock::{Clock, VirtualClock};
use agentd::control::{Gate, Mode};
use agentd::hypervisor::sim::{Onlooker, Sim};
use agentd::hypervisor::{Answer, Hypervisor, LiveActual, ReadError, Target};
use agentd_core::sample::Reading;
use agentd_core::vm::VmId;

use super::judge::Judge;

/// What the witness shares with who drives the run.
#[derive(Debug)]
pub(super) struct Scene {
    /// The judge.
    pub(super) judge: Judge,
    /// What is to strike in this tick, at its n-th call.
    pub(super) strike: Option<(u32, Strike)>,
    /// agentd was killed in this tick: nothing of it reaches the hypervisor any more.
    pub(super) dead: bool,
    /// A number that follows from every order, answer and reading of the run.
    pub(super) digest: u64,
    /// Orders and answers of this tick, where somebody wants to see them.
    pub(super) orders: Option<Vec<(Target, Answer)>>,
}

/// What strikes agentd in the middle of a tick.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strike {
    /// It is killed.
    Kill,
    /// It stands still for so long.
    Stop(Duration),
    /// It is paused.
    Pause,
}

/// Sees every call.
#[derive(Debug)]
pub(super) struct Witness {
    sim: Arc<Mutex<Sim>>,
    truth: Onlooker,
    clock: Arc<VirtualClock>,
    gate: Arc<Gate>,
    scene: Arc<Mutex<Scene>>,
}

impl Witness {
    /// One that sees what goes to this hypervisor.
    #[must_use]
    pub(super) fn new(
        sim: Arc<Mutex<Sim>>,
        clock: Arc<VirtualClock>,
        gate: Arc<Gate>,
        scene: Arc<Mutex<Scene>>,
    ) -> Self {
        let truth = lock(&sim).onlooker();
        Self { sim, truth, clock, gate, scene }
    }

    /// Lets strike what is due at this call. True when agentd is dead. A gate that an order is
    /// passing cannot be closed: a pause waits for the next call.
    fn strikes(&self, passing: bool) -> bool {
        let mut scene = lock(&self.scene);
        let due = match &mut scene.strike {
            Some((0 | 1, strike)) => Some(*strike),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match due {
            Some(Strike::Pause) if passing => {}
            Some(strike) => {
                scene.strike = None;
                match strike {
                    Strike::Kill => scene.dead = true,
                    Strike::Stop(time) => self.clock.sleep(time),
                    Strike::Pause => {
                        self.gate.set(Mode::Paused);
                        scene.judge.set_active(false);
                    }
                }
            }
            None => {}
        }
        scene.dead
    }
}

impl Hypervisor for Witness {
    fn uri(&self) -> &'static str {
        "sim:soak"
    }

    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        if self.strikes(false) {
            let problem = "agentd is dead".to_owned();
            return Err(ReadError::Failed { uri: self.uri().to_owned(), problem });
        }
        let reading = lock(&self.sim).read(live, timeout)?;
        let mut scene = lock(&self.scene);
        scene.note(reading.host.usable.as_u64());
        scene.judge.reads(&reading, self.truth.facts(), self.clock.now());
        Ok(reading)
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        if self.strikes(false) {
            return Vec::new();
        }
        let live = lock(&self.sim).read_actuals(vms, timeout);
        lock(&self.scene).judge.looks(&live, &self.truth.facts());
        live
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        let asked = self.clock.now();
        if self.strikes(true) {
            return orders.iter().map(|_| Answer::InDoubt).collect();
        }
        if self.clock.now().saturating_sub(asked) > timeout {
            // The port promises it: what was not begun in time never goes out.
            let late = || Answer::Refused("it was not passed on in time".to_owned());
            return orders.iter().map(|_| late()).collect();
        }
        let before = self.truth.facts();
        lock(&self.scene).judge.orders(orders, &before, self.clock.now());
        let answers = lock(&self.sim).set_targets(orders, timeout);
        let mut scene = lock(&self.scene);
        scene.judge.answered(orders, &answers, &before);
        for (order, answer) in orders.iter().zip(&answers) {
            scene.note(order.target.as_u64());
            if let Some(orders) = &mut scene.orders {
                orders.push((*order, answer.clone()));
            }
        }
        answers
    }

    fn take_reconnected(&mut self) -> bool {
        let is_new = lock(&self.sim).take_reconnected();
        if is_new {
            lock(&self.scene).judge.reconnected();
        }
        is_new
    }

    fn parked(&self) -> usize {
        lock(&self.sim).parked()
    }
}

impl Scene {
    /// Works a figure into the digest (FNV-1a, a word at a time).
    fn note(&mut self, figure: u64) {
        self.digest = (self.digest ^ figure).wrapping_mul(0x0100_0000_01b3);
    }
}

/// What is shared, also after a panic: the run that panicked is over.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
