use std::{path::Path, sync::Arc};

use agentd_core::{
    plan::Transfer,
    policy::Policy,
    track::{Moment, Tracks},
};

use super::*;
use crate::{
    clock::VirtualClock,
    control::Mode,
    hypervisor::sim::{Scenario, Sim, derived_id},
};

/// Two VMs of 512 MiB; `giver` is what else is said of the one that gives.
struct Bench {
    sim: Sim,
    clock: Arc<VirtualClock>,
    gate: Gate,
    limits: Limits,
    /// How long a plan may be carried out.
    fresh_for: Duration,
}

impl Bench {
    fn new(giver: &str) -> Self {
        Self::of(giver, "")
    }

    fn of(giver: &str, taker: &str) -> Self {
        let vm = |name: &str, more: &str| {
            format!(
                "[[vm]]\nname = \"{name}\"\nmax = \"1GiB\"\nactual = \"512MiB\"\n\
                 demand = \"100MiB\"\n{more}\n"
            )
        };
        let text = format!(
            "[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n{}{}",
            vm("giver", giver),
            vm("taker", taker)
        );
        let scenario = Scenario::parse("bench.toml", &text).unwrap();
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
        clock.sleep(Duration::from_secs(30));
        let limits = Limits { min: ByteCount::mib(64), max: ByteCount::gib(1) };
        let fresh_for = Duration::from_secs(6);
        Self { sim, clock, gate: Gate::new(Mode::Active), limits, fresh_for }
    }

    fn apply(&mut self, plan: &Plan) -> Done {
        self.apply_in(plan, |_| State::default())
    }

    fn apply_in(&mut self, plan: &Plan, state: impl FnOnce(&Sample) -> State) -> Done {
        let patience =
            Patience { settle: Duration::from_secs(1), call: Duration::from_millis(500) };
        let reading = self.sim.read(&BTreeSet::new(), patience.call).unwrap();
        let (now, stale_after) = (self.clock.now(), Duration::from_secs(5));
        let sample = Tracks::default().observe(reading, Moment { tick: 0, now, stale_after });
        let (gate, clock) = (&self.gate, self.clock.as_ref());
        let limits = plan.resizes().map(|resize| (resize.vm, self.limits)).collect();
        let expires = now.saturating_add(self.fresh_for);
        let hypervisor = &mut self.sim;
        let mut hands = Hands { hypervisor, clock, gate, limits, patience, expires };
        apply(&mut hands, plan, &state(&sample), &sample)
    }

    fn actual(&mut self, name: &str) -> ByteCount {
        let live = self.sim.read_actuals(&[derived_id(name)], Duration::from_millis(500));
        live[0].actual
    }
}

/// The giver's 48 MiB for the taker.
fn plan() -> Plan {
    let (giver, taker) = (derived_id("giver"), derived_id("taker"));
    let amount = ByteCount::mib(48);
    let from = ByteCount::mib(512);
    Plan {
        shrinks: vec![Resize { vm: giver, from, to: ByteCount::mib(464) }],
        grows: vec![Resize { vm: taker, from, to: ByteCount::mib(560) }],
        funding: vec![Transfer { from: Party::Vm(giver), to: Party::Vm(taker), amount }],
        ..Plan::default()
    }
}

fn outcomes(done: &Done) -> Vec<(Outcome, Option<u64>)> {
    let tell = |r: &Resized| (r.outcome.clone(), r.ordered.map(ByteCount::mib_floor));
    done.applied.resized.iter().map(tell).collect()
}

/// What it was told before this agentd began may be less than it holds.
#[test]
fn who_gets_nothing_yet_is_told_to_stay_where_it_may_be_on_its_way_down() {
    let mut bench = Bench::new("behaviour = \"stuck\"");
    let began = |sample: &Sample| State::default().continued(&Policy::default(), sample);
    let done = bench.apply_in(&plan(), began);
    assert_eq!(outcomes(&done)[1], (Outcome::Accepted, Some(512)));
    assert_eq!(done.applied.granted, [ByteCount::ZERO]);
    assert_eq!(done.applied.resized[1].planned, ByteCount::mib(560), "it still is to get it");
    let known = bench.apply(&plan());
    assert_eq!(outcomes(&known)[1], (Outcome::Held, None), "nothing is known of it");
}

#[test]
fn moves_memory_from_the_giver_to_the_taker() {
    let mut bench = Bench::new("");
    let done = bench.apply(&plan());
    let accepted = |mib| (Outcome::Accepted, Some(mib));
    assert_eq!(outcomes(&done), [accepted(464), accepted(560)]);
    assert_eq!(done.applied.granted, [ByteCount::mib(48)]);
    assert_eq!(bench.actual("giver"), ByteCount::mib(464));
    assert_eq!(done.seen[&derived_id("giver")].actual, ByteCount::mib(464));
}

#[test]
fn a_number_beyond_the_limits_does_not_go_out_whatever_was_planned() {
    let mut bench = Bench::new("");
    bench.limits = Limits { min: ByteCount::mib(465), max: ByteCount::mib(559) };
    let done = bench.apply(&plan());
    let is_refused = |resized: &Resized| matches!(resized.outcome, Outcome::Refused(_));
    assert!(is_refused(&done.applied.resized[0]), "{done:?}");
    assert_eq!(bench.actual("giver"), ByteCount::mib(512));
    assert_eq!(bench.actual("taker"), ByteCount::mib(512));
}

#[test]
fn a_vm_is_told_to_hold_what_it_holds_without_being_waited_for() {
    let mut bench = Bench::new("");
    let (vm, holds) = (derived_id("giver"), ByteCount::mib(512));
    let neutral = vec![Resize { vm, from: holds, to: holds }];
    let before = bench.clock.now();
    let done = bench.apply(&Plan { neutral, ..Plan::default() });
    assert_eq!(outcomes(&done), [(Outcome::Accepted, Some(512))]);
    assert_eq!(bench.clock.now(), before);
}

#[test]
fn grants_only_what_was_seen_to_arrive() {
    let mut bench = Bench::new("shrink_rate = \"16MiB\"");
    let done = bench.apply(&plan());
    let granted = done.applied.granted[0];
    let let_go = ByteCount::mib(512).saturating_sub(bench.actual("giver"));
    assert!(granted > ByteCount::ZERO && granted <= let_go, "{granted} of {let_go}");
    assert!(let_go < ByteCount::mib(48), "the giver is too fast for this test: {let_go}");
    let ordered = ByteCount::mib(512).saturating_add(granted);
    assert_eq!(done.applied.resized[1].ordered, Some(ordered));
}

#[test]
fn holds_what_a_stuck_giver_does_not_deliver() {
    let mut bench = Bench::new("behaviour = \"stuck\"");
    let done = bench.apply(&plan());
    assert_eq!(outcomes(&done), [(Outcome::Accepted, Some(464)), (Outcome::Held, None)]);
    assert_eq!(done.applied.granted, [ByteCount::ZERO]);
    assert_eq!(bench.actual("taker"), ByteCount::mib(512));
}

#[test]
fn orders_nothing_once_the_gate_is_closed() {
    let mut bench = Bench::new("");
    bench.gate.set(Mode::Paused);
    let done = bench.apply(&plan());
    assert!(outcomes(&done).iter().all(|(outcome, ordered)| {
        matches!(outcome, Outcome::Skipped | Outcome::Held) && ordered.is_none()
    }));
    assert_eq!(bench.actual("giver"), ByteCount::mib(512));
    assert_eq!(bench.actual("taker"), ByteCount::mib(512));
}

#[test]
fn orders_nothing_on_figures_that_are_too_old_by_then() {
    let mut bench = Bench::new("");
    bench.fresh_for = Duration::ZERO;
    let done = bench.apply(&plan());
    assert!(outcomes(&done).iter().all(|(_, ordered)| ordered.is_none()));

    // The shrink is in time, and its memory arrives too late for the grow.
    let mut bench = Bench::new("shrink_rate = \"16MiB\"");
    bench.fresh_for = Duration::from_millis(500);
    let done = bench.apply(&plan());
    assert_eq!(outcomes(&done), [(Outcome::Accepted, Some(464)), (Outcome::Skipped, None)]);
    assert_eq!(bench.actual("taker"), ByteCount::mib(512));
}

#[test]
fn who_takes_a_part_of_its_grow_keeps_it_when_the_rest_comes_too_late() {
    let mut bench = Bench::new("shrink_rate = \"32MiB\"");
    bench.fresh_for = Duration::from_millis(800);
    let done = bench.apply(&plan());
    let part = match outcomes(&done)[1] {
        (Outcome::Accepted, Some(mib)) => mib - 512,
        _ => panic!("{done:?}"),
    };
    assert!((16..32).contains(&part), "it was there after half of the settle time: {part}");
    assert_eq!(done.applied.granted[0].mib_floor(), part);
    assert_eq!(bench.actual("taker").mib_floor(), 512 + part);
}

#[test]
fn who_is_refused_the_rest_of_its_grow_keeps_the_part_and_it_is_said_why() {
    let refuses = "behaviour = { kind = \"refuses\", from = \"30800ms\" }";
    let done = Bench::of("shrink_rate = \"32MiB\"", refuses).apply(&plan());
    let taker = &done.applied.resized[1];
    assert_eq!(taker.outcome, Outcome::Accepted);
    assert_eq!(taker.ordered.unwrap().mib_floor(), 512 + done.applied.granted[0].mib_floor());
    let why = taker.rest_refused.as_ref().unwrap();
    assert!(why.contains("refuses orders"), "{why}");
}

#[test]
fn grants_nothing_from_a_giver_that_was_refused() {
    let mut bench = Bench::new("behaviour = \"refuses\"");
    let done = bench.apply(&plan());
    assert!(matches!(done.applied.resized[0].outcome, Outcome::Refused(_)));
    assert_eq!(done.applied.resized[1].outcome, Outcome::Held);
    assert_eq!(done.applied.granted, [ByteCount::ZERO]);
}
