//! The tick: `sample -> decide -> apply`, and what came of it, to be recorded and published.
//!
//! Synchronous, on a thread of its own; owns the state and is the only one who orders the
//! hypervisor.

mod targets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use agentd_core::{
    check::Finding,
    known::Known,
    life::Life,
    plan::{Plan, Resize},
    policy::Policy,
    sample::Sample,
    state::{Applied, Outcome, Resized, State},
    track::{Moment, Tracks},
    vm::{Limits, VmId},
};

use self::targets::Targets;
use crate::{
    apply::{Hands, Patience, apply, skip},
    bell::Bell,
    clock::Clock,
    control::{Gate, InForce, Mode, forbids},
    event::{TickRecord, VmChange},
    hypervisor::{Hypervisor, ReadError},
    log::SPANS,
    mind::{Mind, Thought},
};

/// How the loop runs.
#[derive(Clone, Copy, Debug)]
pub struct TickConfig {
    /// Time from tick to tick.
    pub interval: Duration,
    /// Longest wait for memory to arrive within a tick; half the interval at most.
    pub settle: Duration,
    /// Longest wait for an answer of the hypervisor.
    pub call_timeout: Duration,
    /// Figures not seen to change for longer than this are stale.
    pub stale_after: Duration,
}

/// The loop's own state.
#[derive(Debug)]
pub struct Ticker {
    hypervisor: Box<dyn Hypervisor>,
    clock: Arc<dyn Clock>,
    config: TickConfig,
    tracks: Tracks,
    mind: Mind,
    targets: Targets,
    tick: u64,
    last_began: Option<Duration>,
    known: BTreeMap<VmId, (Arc<str>, Life)>,
    /// The mode of the turn before; `None` where what it decided was not done.
    mode: Option<Mode>,
}

/// What one turn brought.
#[derive(Debug)]
pub struct Turn {
    /// VMs that came, went or changed their state.
    pub changes: Vec<VmChange>,
    /// What was seen, decided and done.
    pub record: Arc<TickRecord>,
    /// Calls of the hypervisor that only the end of this process would free.
    pub parked: usize,
}

/// A plan with what it was made of.
struct Planned<'a> {
    policy: &'a Policy,
    plan: &'a Plan,
    state: &'a State,
    sample: &'a Sample,
    /// When the sample is too old for any order, monotonic.
    expires: Duration,
}

impl Ticker {
    /// A loop at its beginning: it knows nothing of any VM.
    #[must_use]
    pub fn new(hypervisor: Box<dyn Hypervisor>, clock: Arc<dyn Clock>, config: TickConfig) -> Self {
        let (tracks, mind, targets, known) = Default::default();
        let (tick, last_began, mode) = (0, None, None);
        Self { hypervisor, clock, config, tracks, mind, targets, tick, last_began, known, mode }
    }

    /// The number of the turn to come.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.tick
    }

    /// Time from tick to tick.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.config.interval
    }

    /// What time it is, monotonic since the start of agentd.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Has `bell` rung as soon as the hypervisor is lost.
    pub fn ring_when_lost(&mut self, bell: &Arc<Bell>) {
        self.hypervisor.ring_when_lost(bell);
    }

    /// What is served, as a URI.
    #[must_use]
    pub fn hypervisor_uri(&self) -> &str {
        self.hypervisor.uri()
    }

    /// One turn. A gate that a file freezes makes it one of mode paused.
    pub fn turn(&mut self, in_force: &InForce, gate: &Gate) -> Turn {
        let (began, now) = (self.clock.wall(), self.clock.now());
        self.distrust_after_gap(now);
        // Whoever writes that a pin is over may wait for a disk.
        let ended = in_force.pins.ended(now).map(|(_, left)| in_force.with_pins(&Arc::new(left)));
        let in_force = ended.as_ref().unwrap_or(in_force);

        let frozen = gate.freeze().map(|file| file.display().to_string());
        let mode = if frozen.is_some() { Mode::Paused } else { in_force.mode };
        let mut record = TickRecord {
            tick: self.tick,
            began,
            now,
            took: Duration::ZERO,
            mode,
            frozen,
            policy: Arc::clone(&in_force.acting),
            pins: Arc::clone(&in_force.pins),
            sample: None,
            before: self.mind.state(),
            anew: false,
            decision: None,
            applied: Applied::default(),
            settled: now,
            lives: BTreeMap::new(),
            exposures: BTreeMap::new(),
            targets: BTreeMap::new(),
            error: None,
            conditions: Vec::new(),
        };
        self.begin_anew_in_mode(mode);
        let span = tracing::info_span!(target: SPANS, "sample");
        let sampled = span.in_scope(|| self.sample(now));
        (record.before, record.anew) = (self.mind.state(), self.mind.take_anew());
        let changes = match sampled {
            Ok(mut sample) => {
                sample.reservations = in_force.reservations.in_force(now).cloned().collect();
                if mode != Mode::Paused {
                    self.act(&sample, in_force, gate, &mut record);
                }
                record.lives = self.lives(&sample);
                self.targets.look(&sample, &record.lives);
                if record.decision.is_some() {
                    self.targets.note(&self.mind.state(), &sample);
                }
                let changes = self.changes(&sample, &record.lives);
                record.sample = Some(sample);
                changes
            }
            Err(error) => {
                self.mind.lose_sight();
                record.error = Some(error.to_string());
                Vec::new()
            }
        };
        record.targets = self.targets.last();
        record.took = self.clock.now().saturating_sub(now);
        self.tick = self.tick.saturating_add(1);
        Turn { changes, record: Arc::new(record), parked: self.hypervisor.parked() }
    }

    /// Figures of before a pause of the whole machine say nothing about now.
    fn distrust_after_gap(&mut self, now: Duration) {
        let gap = self.last_began.map(|began| now.saturating_sub(began));
        if gap.is_some_and(|gap| gap > self.longest_gap()) {
            self.begin_anew();
        }
        self.last_began = Some(now);
    }

    /// While paused nobody follows what VMs do, and whoever acts begins with what is so then.
    fn begin_anew_in_mode(&mut self, mode: Mode) {
        let begins = mode == Mode::Active && self.mode != Some(Mode::Active);
        if begins || mode == Mode::Paused {
            self.mind.begin_anew();
        }
        self.mode = Some(mode);
    }

    fn begin_anew(&mut self) {
        self.tracks.distrust();
        self.mind.begin_anew();
    }

    /// A call of the hypervisor that takes all the time it is given is no gap, however short the
    /// interval is.
    fn longest_gap(&self) -> Duration {
        self.config.interval.max(self.config.call_timeout).saturating_mul(GAP_TICKS)
    }

    fn sample(&mut self, now: Duration) -> Result<Sample, ReadError> {
        let mut live: BTreeSet<VmId> = self.mind.state().live(now).collect();
        live.extend(self.tracks.live());
        let reading = self.hypervisor.read(&live, self.config.call_timeout)?;
        if self.hypervisor.take_reconnected() {
            self.begin_anew();
        }
        let stale_after = self.config.stale_after;
        Ok(self.tracks.observe(reading, Moment { tick: self.tick, now, stale_after }))
    }

    fn act(&mut self, sample: &Sample, in_force: &InForce, gate: &Gate, record: &mut TickRecord) {
        let policy = &in_force.acting.policy;
        let Thought { decision, findings, state } = self.mind.think(policy, sample);
        let exposure = |(id, known): (VmId, Known<'_>)| {
            let pinned = policy.rules(id, &known.vm.name, known.vm.max).pinned;
            (id, known.exposure(pinned, sample))
        };
        record.exposures = state.each(sample).map(exposure).collect();
        let plan = &decision.plan;
        if !findings.is_empty() {
            record.error = Some(objection(&findings));
        }
        // A policy beyond the host is told as a condition, and not as an error of the plan.
        let may = findings.is_empty() && forbids(policy, sample).is_empty();
        let acts = may && in_force.mode == Mode::Active;
        record.applied = if acts {
            let expires = record.now.saturating_add(self.longest_gap());
            self.carry_out(&Planned { policy, plan, state: &state, sample, expires }, gate)
        } else {
            skip(plan)
        };
        let skipped = |own: &Resized| own.outcome == Outcome::Skipped;
        // What was decided is taken for done in what follows: whoever acts begins anew. So it is where somebody
        // paused within this turn, and does so no more at the next one.
        if !acts || record.applied.resized.iter().any(skipped) {
            self.mode = None;
        }
        record.settled = self.clock.now();
        self.mind.settle(state, (plan, &record.applied), sample, record.settled);
        record.decision = Some(decision);
    }

    fn carry_out(&mut self, planned: &Planned<'_>, gate: &Gate) -> Applied {
        let Planned { policy, plan, state, sample, expires } = *planned;
        if plan.is_empty() {
            return Applied::default();
        }
        let patience = Patience { settle: self.config.settle, call: self.config.call_timeout };
        let mut hands = Hands {
            hypervisor: self.hypervisor.as_mut(),
            clock: self.clock.as_ref(),
            gate,
            limits: limits(policy, plan, sample),
            patience,
            expires,
        };
        let done = apply(&mut hands, plan, state, sample);
        for (vm, live) in done.seen {
            self.tracks.note_actual(vm, live.actual, live.reported);
        }
        done.applied
    }

    fn lives(&self, sample: &Sample) -> BTreeMap<VmId, Life> {
        let state = self.mind.state();
        let life = |(id, known): (VmId, Known<'_>)| (id, known.life(sample.now));
        state.each(sample).map(life).collect()
    }

    fn changes(&mut self, sample: &Sample, lives: &BTreeMap<VmId, Life>) -> Vec<VmChange> {
        let now = lives.iter().filter_map(|(id, life)| {
            let name = sample.vms.get(id)?.name.clone();
            Some((*id, (name, *life)))
        });
        let before = std::mem::replace(&mut self.known, now.collect());
        let gone = before.iter().filter(|(id, _)| !self.known.contains_key(id));
        let gone = gone.map(|(vm, (name, life))| VmChange {
            vm: *vm,
            name: name.clone(),
            before: Some(*life),
            after: None,
        });
        let changed = self.known.iter().filter_map(|(vm, (name, after))| {
            let before = before.get(vm).map(|(_, life)| *life);
            let after = Some(*after);
            (before != after).then(|| VmChange { vm: *vm, name: name.clone(), before, after })
        });
        gone.chain(changed).collect()
    }
}

/// What bounds the VMs of a plan: looked up once more for the last look at every order.
fn limits(policy: &Policy, plan: &Plan, sample: &Sample) -> BTreeMap<VmId, Limits> {
    let of = |resize: &Resize| {
        let vm = sample.vms.get(&resize.vm)?;
        Some((resize.vm, policy.rules(resize.vm, &vm.name, vm.max).limits))
    };
    plan.resizes().filter_map(of).collect()
}

fn objection(findings: &[Finding]) -> String {
    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
    format!("the plan breaks a rule of safety and was thrown away: {}", all.join("; "))
}

/// After more than so many intervals without a tick nothing is as it was.
const GAP_TICKS: u32 = 3;

#[cfg(test)]
pub(crate) mod bench;

#[cfg(test)]
mod tests {
    use agentd_core::{
        bytes::ByteCount,
        reserve::{Reservation, ReservationId},
        verdict::Reason,
    };

    use super::{bench::Bench, *};
    use crate::hypervisor::sim::derived_id;

    fn actual(turn: &Turn, name: &str) -> ByteCount {
        turn.record.sample.as_ref().unwrap().vms.get(&derived_id(name)).unwrap().actual
    }

    fn reason(turn: &Turn, name: &str) -> Reason {
        let decision = turn.record.decision.as_ref().unwrap();
        decision.verdicts.get(&derived_id(name)).unwrap().reason
    }

    #[test]
    fn a_policy_beyond_the_host_orders_nothing() {
        let scenario = pair("");
        let mut bench = Bench::new(&scenario);
        assert!(bench.turns(20).iter().any(|turn| !turn.record.applied.resized.is_empty()));
        let total = ByteCount::gib(4);
        let beyond = [
            Policy { host_reserve: total, ..Policy::default() },
            Policy { floor: ByteCount::gib(100_000), ..Policy::default() },
        ];
        for policy in beyond {
            bench.in_force = InForce::fixed(Mode::Active, policy);
            for turn in bench.turns(20) {
                let resized = &turn.record.applied.resized;
                assert!(resized.iter().all(|done| done.ordered.is_none()), "{resized:?}");
                assert_eq!(turn.record.error, None);
            }
        }
        // What was decided meanwhile was never done: all are told anew before anything is given.
        bench.in_force = InForce::fixed(Mode::Active, Policy::default());
        let mended = bench.turns(2);
        let decision = mended[0].record.decision.as_ref().unwrap();
        assert_eq!(decision.plan.neutral.len(), 2);
        assert!(decision.plan.grows.is_empty(), "{decision:?}");
    }

    /// One VM that idles with much unused, one that grows; the host has nothing to give.
    fn pair(giver: &str) -> String {
        format!(
            "[host]\ntotal = \"4GiB\"\nother = \"1000MiB\"\n\
             [policy]\npool_limit = \"768MiB\"\n\
             [[vm]]\nname = \"giver\"\nmax = \"1GiB\"\nactual = \"512MiB\"\n\
             demand = \"100MiB\"\n{giver}\n\
             [[vm]]\nname = \"taker\"\nmax = \"1GiB\"\nactual = \"256MiB\"\n\
             demand = [{{ at = \"10s\", used = \"100MiB\" }}, {{ at = \"60s\", used = \"420MiB\" }}]\n"
        )
    }

    #[test]
    fn the_rest_of_a_slow_gift_arrives_in_later_ticks() {
        let mut bench = Bench::new(&pair("shrink_rate = \"16MiB\""));
        let turns = bench.turns(30);
        let awaiting = |turn: &&Turn| {
            turn.record.decision.is_some() && reason(turn, "taker") == Reason::Awaiting
        };
        assert!(turns.iter().filter(awaiting).count() >= 2, "nothing was ever awaited");
        let last = turns.last().unwrap();
        assert!(actual(last, "taker") > ByteCount::mib(350), "{}", actual(last, "taker"));
        for turn in &turns {
            let held =
                [actual(turn, "giver"), actual(turn, "taker")].into_iter().sum::<ByteCount>();
            assert!(held <= ByteCount::mib(768), "tick {}: {held}", turn.record.tick);
            assert_eq!(turn.record.error, None);
        }
    }

    #[test]
    fn what_a_giver_delivered_for_one_vm_is_not_granted_to_another() {
        let vm = |name: String, actual: &str, more: &str| {
            format!("[[vm]]\nname = \"{name}\"\nmax = \"2GiB\"\nactual = \"{actual}\"\n{more}\n")
        };
        let slow = "cache = \"0MiB\"\nshrink_rate = \"22MiB\"\ndemand = \"100MiB\"";
        let greedy = "cache = \"0MiB\"\ndemand = [{ at = \"4s\", used = \"250MiB\" }, \
                      { at = \"120s\", used = \"1900MiB\" }]";
        let mut scenario = "[host]\ntotal = \"64GiB\"\nother = \"1GiB\"\n\
                            [policy]\npool_limit = \"8900MiB\"\nhost_reserve = \"0MiB\"\n"
            .to_owned();
        for number in 0..6 {
            scenario += &vm(format!("giver{number}"), "1GiB", slow);
            scenario += &vm(format!("taker{number}"), "400MiB", greedy);
        }
        for turn in Bench::new(&scenario).turns(60) {
            let vms = &turn.record.sample.as_ref().unwrap().vms;
            let held: ByteCount = vms.values().map(|vm| vm.actual).sum();
            assert!(held <= ByteCount::mib(8900), "tick {}: {held}", turn.record.tick);
            assert_eq!(turn.record.error, None);
        }
    }

    #[test]
    fn a_stuck_giver_is_given_up_on() {
        let mut bench = Bench::new(&pair("behaviour = \"stuck\""));
        let turns = bench.turns(30);
        assert!(turns[3..].iter().any(|turn| reason(turn, "giver") == Reason::NotFollowing));
        assert_eq!(actual(turns.last().unwrap(), "taker"), ByteCount::mib(256));
    }

    #[test]
    fn memory_that_never_becomes_free_on_the_host_is_not_given_away() {
        let mut bench = Bench::new(&pair("behaviour = \"hidden-vfio\""));
        let turns = bench.turns(30);
        let last = turns.last().unwrap();
        assert!(actual(last, "giver") < ByteCount::mib(512), "the giver did shrink");
        assert_eq!(actual(last, "taker"), ByteCount::mib(256));
        let reasons: Vec<Reason> = turns[3..].iter().map(|turn| reason(turn, "giver")).collect();
        assert!(reasons.contains(&Reason::ReclaimIneffective), "{reasons:?}");
    }

    #[test]
    fn a_vm_whose_balloon_somebody_else_moves_is_left_to_them() {
        let foreign =
            "behaviour = { kind = \"foreign-order\", from = \"8s\", amount = \"300MiB\" }";
        let mut bench = Bench::new(&pair(foreign));
        let turns = bench.turns(30);
        let giver = derived_id("giver");
        let first = turns.iter().position(|turn| reason(turn, "giver") == Reason::Quarantined);
        let first = first.expect("it was noticed");
        assert!(first <= 7, "tick {first}");
        for turn in &turns[first..] {
            assert_eq!(turn.record.lives[&giver], Life::Quarantined);
            assert_eq!(turn.record.exposures[&giver], ByteCount::gib(1), "it may take all it may");
            assert!(turn.record.applied.resized.iter().all(|resized| resized.vm != giver));
        }
        assert_eq!(actual(turns.last().unwrap(), "giver"), ByteCount::mib(300));
    }

    #[test]
    fn a_vm_that_swaps_gets_memory_although_its_use_does_not_grow() {
        let scenario = "[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n\
             [[vm]]\nname = \"full\"\nmax = \"2GiB\"\nactual = \"512MiB\"\ncache = \"0MiB\"\n\
             swap_rate = \"20MiB\"\n\
             demand = [{ at = \"6s\", used = \"440MiB\" }, { at = \"8s\", used = \"1GiB\" }]\n";
        let turns = Bench::new(scenario).turns(40);
        let suffers = |turn: &Turn| {
            let vm = turn.record.sample.as_ref().unwrap().vms.get(&derived_id("full")).unwrap();
            vm.distress.is_some()
        };
        assert!(turns.iter().filter(|turn| suffers(turn)).count() > 5, "it swapped");
        let last = turns.last().unwrap();
        assert!(actual(last, "full") >= ByteCount::gib(1), "{}", actual(last, "full"));
        let shrinks = |turn: &Turn| !turn.record.decision.as_ref().unwrap().plan.shrinks.is_empty();
        assert!(
            !turns.iter().any(|turn| suffers(turn) && shrinks(turn)),
            "shrunk while it suffers"
        );
    }

    #[test]
    fn every_vm_is_told_once_to_hold_what_it_holds() {
        let mut bench = Bench::new(&pair(""));
        let neutral = |turn: &Turn| turn.record.decision.as_ref().unwrap().plan.neutral.len();
        assert_eq!(bench.turns(10).iter().map(neutral).sum::<usize>(), 2);
        bench.set_mode(Mode::Paused);
        bench.turn();
        bench.set_mode(Mode::Active);
        assert!(bench.turns(10).iter().map(neutral).sum::<usize>() > 0, "after a pause, anew");
    }

    /// Paused after the mode was looked at, and no more before the next turn: nobody was told anything.
    #[test]
    fn who_was_told_nothing_because_of_a_short_pause_is_told_afterwards() {
        let mut bench = Bench::new(&pair(""));
        bench.gate.set(Mode::Paused);
        let skipped: usize = (0..10).map(|_| bench.turn().record.applied.resized.len()).sum();
        assert!(skipped > 0);
        bench.gate.set(Mode::Active);
        let turn = bench.turn();
        assert!(turn.record.anew, "what was decided was not done");
        assert!(!bench.turn().record.anew, "it is now");
    }

    #[test]
    fn observe_and_paused_order_nothing() {
        let mut bench = Bench::new(&pair(""));
        bench.set_mode(Mode::Observe);
        let turns = bench.turns(15);
        assert!(
            turns.iter().any(|turn| !turn.record.decision.as_ref().unwrap().transfers.is_empty())
        );
        assert_eq!(actual(turns.last().unwrap(), "giver"), ByteCount::mib(512));
        bench.set_mode(Mode::Paused);
        let turns = bench.turns(5);
        assert!(turns.iter().all(|turn| turn.record.decision.is_none()));
        assert!(turns.iter().all(|turn| turn.record.sample.is_some()));
        assert_eq!(actual(turns.last().unwrap(), "giver"), ByteCount::mib(512));
        bench.set_mode(Mode::Active);
        let turns = bench.turns(10);
        assert!(actual(turns.last().unwrap(), "giver") < ByteCount::mib(512));
    }

    /// Nobody decides while paused, and whoever does next sees who has come meanwhile.
    #[test]
    fn a_reservation_goes_to_the_vm_that_comes_while_paused() {
        let mut bench = Bench::new(&pair("start = \"15s\""));
        let reservation = Reservation {
            id: ReservationId(1),
            min: ByteCount::mib(64),
            max: ByteCount::mib(64),
            vm: None,
        };
        bench.reserve(reservation);
        assert!(
            bench.turns(5).last().unwrap().record.decision.as_ref().unwrap().bookings[0].filled
        );
        bench.set_mode(Mode::Paused);
        bench.turns(5);
        bench.set_mode(Mode::Active);
        let turn = bench.turn();
        let booking = turn.record.decision.as_ref().unwrap().bookings[0];
        assert_eq!(booking.handed_to, Some(derived_id("giver")));
    }

    #[test]
    fn what_a_vm_was_last_told_shows_as_long_as_nobody_told_it_otherwise() {
        let mut bench = Bench::new(&pair("behaviour = { kind = \"reboots\", from = \"61s\" }"));
        let last = bench.turns(10).pop().unwrap();
        let targets = last.record.targets.clone();
        assert_eq!(targets.len(), 2);
        bench.set_mode(Mode::Paused);
        assert!(bench.turns(3).iter().all(|turn| turn.record.targets == targets), "a pause");
        bench.clock.sleep(Duration::from_secs(10));
        assert_eq!(bench.turn().record.targets, targets, "a gap");
        bench.clock.advance_to(Duration::from_secs(62));
        let rebooted = bench.turn();
        let vms: Vec<_> = rebooted.record.targets.keys().copied().collect();
        assert_eq!(vms, [derived_id("taker")], "another kernel was told nothing");
    }

    #[test]
    fn after_a_gap_it_observes_before_it_acts() {
        let mut bench = Bench::new(&pair(""));
        bench.turns(4);
        bench.clock.sleep(Duration::from_secs(60));
        let turn = bench.turn();
        assert_eq!(reason(&turn, "giver"), Reason::FiguresUnproven);
        assert!(turn.record.decision.as_ref().unwrap().plan.is_empty());
    }

    #[test]
    fn tells_of_vms_that_come_and_go() {
        let mut bench = Bench::new(&pair("start = \"3s\"\nstop = \"9s\""));
        let turns = bench.turns(8);
        let giver = derived_id("giver");
        let changes: Vec<_> = turns
            .iter()
            .flat_map(|turn| &turn.changes)
            .filter(|change| change.vm == giver)
            .map(|change| (change.before.is_some(), change.after.is_some()))
            .collect();
        assert_eq!(changes.first(), Some(&(false, true)));
        assert_eq!(changes.last(), Some(&(true, false)));
    }
}
