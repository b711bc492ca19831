//! [`play`]: one run from its seed to its end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agentd::clock::{Clock, VirtualClock};
use agentd::control::{Actor, Gate, InForce, Mode, Reservations, Reserved};
use agentd::event::TickRecord;
use agentd::hypervisor::Hypervisor;
use agentd::hypervisor::sim::{Facts, Kind, Onlooker, Sim};
use agentd::pace::Pace;
use agentd::tick::Ticker;
use agentd_core::bytes::ByteCount;
use agentd_core::life::Life;
use agentd_core::policy::{Algorithm, Policy, VmKey};
use agentd_core::reserve::ReservationId;
use agentd_core::sample::RunState;
use agentd_core::verdict::Reason;

use super::draw::{Act, CALM_TICK, Plot};
use super::draw_reserved::Planned;
use super::fault::Fault;
use super::judge::Judge;
use super::rule::{Breach, Rule};
use super::saboteur::{Sabotaged, Saboteur};
use super::trace;
use super::troubles::Troubles;
use super::witness::{Scene, Strike, Witness, lock};

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Its seed.
    pub seed: u64,
    /// How many ticks it had.
    pub ticks: u64,
    /// Promises that were broken.
    pub breaches: Vec<Breach>,
    /// How often each promise was looked at.
    pub checks: BTreeMap<Rule, u64>,
    /// How often each kind of fault was put in.
    pub faults: BTreeMap<Fault, u64>,
    /// Orders that were given.
    pub orders: u64,
    /// Programs that VMs' kernels killed for want of memory, whoever is to blame.
    pub kills: u64,
    /// A number that follows from every order and reading.
    pub digest: u64,
}

/// Plays the run of a seed. `tell` is given a line for each tick, where somebody wants to see them.
#[must_use]
pub fn play(seed: u64, saboteur: Option<Saboteur>, tell: Option<&mut dyn FnMut(&str)>) -> Played {
    Stage::new(seed, saboteur, tell).play()
}

struct Stage<'a> {
    plot: Plot,
    saboteur: Option<Saboteur>,
    tell: Option<&'a mut dyn FnMut(&str)>,
    clock: Arc<VirtualClock>,
    sim: Arc<Mutex<Sim>>,
    truth: Onlooker,
    gate: Arc<Gate>,
    scene: Arc<Mutex<Scene>>,
    mode: Mode,
    policy: Arc<Policy>,
    /// What is reserved now.
    reserved: Vec<Planned>,
    in_force: InForce,
    ticker: Ticker,
    pace: Pace,
    played: Played,
}

impl<'a> Stage<'a> {
    fn new(seed: u64, saboteur: Option<Saboteur>, tell: Option<&'a mut dyn FnMut(&str)>) -> Self {
        let plot = Plot::draw(seed);
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("soak"), &plot.scenario, clock.clone());
        let truth = sim.onlooker();
        let gate = Arc::new(Gate::new(Mode::Active));
        let names = plot.scenario.vms.iter().map(|vm| (vm.id, vm.name.clone())).collect();
        let own = plot.scenario.vms.iter().map(|vm| (vm.id, vm.behaviours.clone()));
        let troubles = Troubles::new(own);
        let policy = Arc::new(plot.policy.clone());
        let scene = Scene {
            judge: Judge::new(plot.config, (names, troubles), policy.clone()),
            strike: None,
            dead: false,
            digest: 0,
            orders: tell.is_some().then(Vec::new),
        };
        let (sim, scene) = (Arc::new(Mutex::new(sim)), Arc::new(Mutex::new(scene)));
        let port =
            port(saboteur, Witness::new(sim.clone(), clock.clone(), gate.clone(), scene.clone()));
        let ticker = Ticker::new(port, clock.clone(), plot.config);
        let (checks, breaches) = Default::default();
        let faults = plot.faults.clone();
        let played =
            Played { seed, ticks: 0, breaches, checks, faults, orders: 0, kills: 0, digest: 0 };
        let reserved = Vec::new();
        let in_force = in_force(Mode::Active, saboteur, &policy, &reserved);
        let mode = Mode::Active;
        let pace = Pace::new(plot.config.interval, Duration::ZERO);
        Self {
            plot,
            saboteur,
            tell,
            clock,
            sim,
            truth,
            gate,
            scene,
            mode,
            policy,
            reserved,
            in_force,
            ticker,
            pace,
            played,
        }
    }

    fn play(mut self) -> Played {
        for tick in 0..TICKS {
            for act in self.plot.acts.remove(&tick).unwrap_or_default() {
                self.befall(act);
            }
            if tick == u64::from(CALM_TICK) {
                self.set_mode(Mode::Active);
            }
            self.clock.advance_to(self.pace.due());
            self.reserve(tick);
            let Some(next) = self.turn(tick) else { break };
            if next < self.pace.due() {
                self.clock.advance_to(next);
                if self.turn(tick).is_none() {
                    break;
                }
            }
        }
        let mut scene = lock(&self.scene);
        self.played.digest = scene.digest;
        self.played.kills = scene.judge.all_kills;
        self.played.breaches = std::mem::take(&mut scene.judge.breaches);
        self.played.checks = std::mem::take(&mut scene.judge.checks);
        drop(scene);
        self.played
    }

    /// One turn, and when the next one begins; `None` when it was the last, because it panicked.
    fn turn(&mut self, tick: u64) -> Option<Duration> {
        lock(&self.scene).judge.begin(tick, self.clock.now());
        self.played.ticks += 1;
        let (ticker, in_force, gate) = (&mut self.ticker, &self.in_force, &self.gate);
        let turn = catch_unwind(AssertUnwindSafe(|| ticker.turn(in_force, gate)));
        let mut scene = lock(&self.scene);
        scene.strike = None;
        let fine = turn.is_ok();
        scene.judge.hold(Rule::NoPanic, fine, || "the tick panicked".to_owned());
        self.played.orders += scene.judge.orders;
        let facts = self.truth.facts();
        if let Ok(turn) = &turn {
            if !scene.dead {
                scene.judge.ends(&turn.record, &facts);
                judge_calm(&mut scene.judge, &self.plot, tick, &turn.record, &facts);
            }
            if let Some(tell) = &mut self.tell {
                let orders = scene.orders.replace(Vec::new()).unwrap_or_default();
                tell(&trace::line(tick, &turn.record, &facts, &orders));
            }
        }
        let dead = std::mem::take(&mut scene.dead);
        // Who was paused within the tick is so from now on.
        let paused = self.gate.pass().is_none() && self.mode == Mode::Active;
        drop(scene);
        if let Some(turn) = turn.as_ref().ok().filter(|_| !dead) {
            self.note_bookings(&turn.record);
        }
        if paused {
            self.set_mode(Mode::Paused);
        }
        if dead {
            self.restart();
        }
        self.pace.look(&turn.ok()?.record);
        Some(self.pace.next(self.clock.now()))
    }

    fn befall(&mut self, act: Act) {
        if let Some(tell) = &mut self.tell {
            tell(&format!("       {act:?}"));
        }
        let strike = match act {
            Act::Kill => return self.restart(),
            Act::Stop(time) => return self.clock.sleep(time),
            Act::Mode(mode) => return self.set_mode(mode),
            Act::Policy(policy) => return self.set_policy(*policy),
            Act::KillInside(call) => (call, Strike::Kill),
            Act::StopInside(call, time) => (call, Strike::Stop(time)),
            Act::PauseInside(call) => (call, Strike::Pause),
        };
        lock(&self.scene).strike = Some(strike);
    }

    /// A new process, that knows nothing of the one before. Policy and mode are durable.
    fn restart(&mut self) {
        lock(&self.scene).judge.restarted();
        let witness = Witness::new(
            self.sim.clone(),
            self.clock.clone(),
            self.gate.clone(),
            self.scene.clone(),
        );
        let port = port(self.saboteur, witness);
        self.ticker = Ticker::new(port, self.clock.clone(), self.plot.config);
    }

    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.gate.set(mode);
        lock(&self.scene).judge.set_active(mode == Mode::Active);
        self.look_anew();
    }

    fn set_policy(&mut self, policy: Policy) {
        self.policy = Arc::new(policy);
        lock(&self.scene).judge.set_policy(self.policy.clone());
        self.look_anew();
    }

    /// Reservations are made when their time comes, and expire when it is up.
    fn reserve(&mut self, tick: u64) {
        let due = |own: &mut Planned| own.made <= tick;
        self.reserved.extend(self.plot.reserved.extract_if(.., due));
        let now = self.clock.now();
        let mut is_changed = false;
        for own in &mut self.reserved {
            is_changed |= own.made == tick || own.ends == tick;
            if own.ends == tick {
                own.expires = now;
            }
        }
        if is_changed {
            self.reserved_anew();
        }
    }

    /// Those that a tick handed over are over, and so it is noted once it has ended.
    fn note_bookings(&mut self, record: &TickRecord) {
        let bookings = record.decision.iter().flat_map(|decision| &decision.bookings);
        let over = bookings.filter(|own| own.handed_to.is_some()).map(|own| own.id);
        let over: Vec<ReservationId> = over.collect();
        if !over.is_empty() {
            self.reserved.retain(|own| !over.contains(&own.reservation.id));
            self.reserved_anew();
        }
    }

    fn reserved_anew(&mut self) {
        lock(&self.scene).judge.set_reserved(self.reserved.clone());
        self.look_anew();
    }

    /// What is in force has changed.
    fn look_anew(&mut self) {
        self.in_force = in_force(self.mode, self.saboteur, &self.policy, &self.reserved);
    }
}

/// What is promised of the calm: control is back, and the orders end.
fn judge_calm(judge: &mut Judge, plot: &Plot, tick: u64, record: &TickRecord, facts: &Facts) {
    let since = tick.saturating_sub(u64::from(CALM_TICK));
    let is_tried = |life: &Life| matches!(life, Life::Uncooperative | Life::Quarantined);
    let tried = record.lives.iter().filter(|(_, life)| is_tried(life));
    judge.tried.extend(tried.map(|(id, _)| *id));
    if since >= 3 {
        let error = record.error.as_deref().unwrap_or("no decision");
        let works = record.decision.is_some() && record.error.is_none();
        judge.hold(Rule::Liveness, works, || format!("{since} ticks after the faults: {error}"));
        bystanders(judge, plot, record, facts);
    }
    // Whose programs are killed again and again uses now this, now that.
    let calm = judge.last_kill.saturating_add(SETTLES) < tick;
    if tick >= TICKS - QUIET && calm && converges(plot, facts) {
        // Who was left alone for a time is asked again after it, for as long as it does not follow.
        let resized = record.applied.resized.iter();
        let settled = resized.filter(|own| own.ordered.is_some() && !judge.tried.contains(&own.vm));
        let count = settled.count();
        let orders = count == 0;
        let name = |id| plot.scenario.vms.iter().find(|vm| vm.id == id).map(|vm| vm.name.clone());
        judge.hold(Rule::Convergence, orders, || {
            let resized = record.applied.resized.iter();
            let told: Vec<String> = resized
                .map(|own| format!("{:?} {:?} {:?}", name(own.vm), own.ordered, own.outcome))
                .collect();
            format!("{count} orders {since} ticks after the faults: {}", told.join(", "))
        });
    }
}

/// VMs that no fault ever met have figures that count.
fn bystanders(judge: &mut Judge, plot: &Plot, record: &TickRecord, facts: &Facts) {
    let Some(decision) = &record.decision else {
        return;
    };
    let alone = |vm: &&agentd::hypervisor::sim::VmScenario| vm.behaviours.is_empty();
    for vm in plot.scenario.vms.iter().filter(alone) {
        let Some(truth) = facts.vms.get(&vm.id) else {
            continue;
        };
        let settled = truth.works && truth.run == RunState::Running && truth.generation == 0;
        let reason = decision.verdicts.get(&vm.id).map(|verdict| verdict.reason);
        let blind = [
            Reason::FiguresAbsent,
            Reason::FiguresUnproven,
            Reason::FiguresStale,
            Reason::Unresponsive,
            Reason::Booting,
            Reason::Rebooting,
            Reason::Paused,
        ];
        let barred = reason.is_none_or(|reason| blind.contains(&reason));
        judge.hold(Rule::Liveness, !settled || !barred, || format!("{} is {reason:?}", vm.name));
    }
}

/// True when the steps of the policy in force at the end are wide enough for the calm to suffice:
/// every VM could give all it has in half of it. A policy that asks for what kernels keep for
/// themselves asks for ever, now and then; so does one that takes noise for growth.
fn converges(plot: &Plot, facts: &Facts) -> bool {
    // A policy that changed in the run is another one.
    let changed = plot.faults.contains_key(&Fault::Policy);
    let (two_pointer, working_set) = (&plot.policy.two_pointer, &plot.policy.working_set);
    let (step, sane) = match plot.policy.algorithm {
        Algorithm::TwoPointer => {
            let step = two_pointer.step.min(plot.policy.shrink_step);
            (step, two_pointer.spare_above > KEPT_BY_KERNELS)
        }
        Algorithm::WorkingSet => {
            let is_calm = working_set.lead <= SHORT && working_set.keep_for <= MINUTE;
            (plot.policy.shrink_step, is_calm && working_set.dead_band > KEPT_BY_KERNELS)
        }
    };
    let most: ByteCount = facts.vms.values().map(|vm| vm.max).max().unwrap_or_default();
    let ticks = most.as_u64().checked_div(step.as_u64()).unwrap_or(u64::MAX);
    let cooperative = plot.faults.keys().all(|fault| !UNCOOPERATIVE.contains(fault));
    !changed && cooperative && sane && ticks <= (TICKS - u64::from(CALM_TICK)) / 2
}

fn port(saboteur: Option<Saboteur>, witness: Witness) -> Box<dyn Hypervisor> {
    match saboteur {
        Some(saboteur) => Box::new(Sabotaged::new(witness, saboteur)),
        None => Box::new(witness),
    }
}

fn in_force(
    mode: Mode,
    saboteur: Option<Saboteur>,
    policy: &Policy,
    reserved: &[Planned],
) -> InForce {
    let policy = saboteur.map_or_else(|| policy.clone(), |saboteur| saboteur.policy(policy));
    let is_seen = saboteur != Some(Saboteur::NothingReserved);
    let open = reserved.iter().filter(|_| is_seen);
    let open = open.map(|own| Arc::new(made(own, saboteur))).collect();
    let reservations = Arc::new(Reservations { open, ended: Vec::new() });
    InForce { reservations, ..InForce::fixed(mode, policy) }
}

/// A reservation as agentd keeps it.
fn made(own: &Planned, saboteur: Option<Saboteur>) -> Reserved {
    let time = SystemTime::UNIX_EPOCH;
    let actor = Actor { id: "config".to_owned(), peer: String::new(), time };
    let mut reservation = own.reservation.clone();
    if saboteur == Some(Saboteur::ReservedForNobody) {
        reservation.vm = Some(VmKey::Name("nobody".to_owned()));
    }
    let lasts = saboteur != Some(Saboteur::NeverExpires);
    Reserved {
        reservation,
        actor,
        reason: String::new(),
        request_id: String::new(),
        expires_at: time,
        expires: if lasts { own.expires } else { Duration::MAX },
        filled: false,
        end: None,
    }
}

/// How many ticks a run has.
pub const TICKS: u64 = 600;
/// The last ticks of a run, in which nothing is ordered any more.
const QUIET: u64 = 20;
/// So long after a kill the orders end.
const SETTLES: u64 = 100;
/// Who does so, did so or moves by himself is asked again now and then, for ever.
const UNCOOPERATIVE: [Fault; 9] = [
    Fault::Vm(Kind::Stuck),
    Fault::Vm(Kind::Slow),
    Fault::Vm(Kind::Partial),
    Fault::Vm(Kind::Intermittent),
    Fault::Vm(Kind::NoDriver),
    Fault::Vm(Kind::HiddenFloor),
    Fault::Vm(Kind::HiddenVfio),
    Fault::Vm(Kind::TakesBack),
    Fault::Vm(Kind::ForeignOrder),
];
/// Growth of a report that is not reckoned to go on.
const SHORT: Duration = Duration::from_secs(3);
const MINUTE: Duration = Duration::from_secs(60);
/// More than any kernel of a run keeps unused.
const KEPT_BY_KERNELS: ByteCount = ByteCount::mib(64);
