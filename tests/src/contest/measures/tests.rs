//! Each measure on a film made by hand: two VMs in a host, whose figures are counted in the head.

use std::time::Duration;

use agentd_core::bytes::ByteCount;

use super::*;
use crate::contest::arena::Order;
use crate::contest::workload::{Family, Workload};

/// The first two VMs of a workload, in a pool of 2 GiB, with a reserve of 1 GiB of 4 GiB.
fn load() -> Workload {
    let mut load = Family::Turns.draw(1);
    load.members.truncate(2);
    load.scenario.vms.truncate(2);
    for (vm, member) in load.scenario.vms.iter_mut().zip(&mut load.members) {
        (member.min, member.max) = (ByteCount::mib(256), ByteCount::gib(4));
        (member.weight, member.watermark) = (100, ByteCount::ZERO);
        vm.actual = ByteCount::gib(1);
    }
    load.pool = ByteCount::gib(2);
    load.reserve = ByteCount::gib(1);
    load.scenario.host.total = ByteCount::gib(4);
    load.length = Duration::from_secs(9);
    load
}

/// A VM that wants, has in memory, and holds so many MiB.
fn shot(demand: u64, resident: u64, actual: u64) -> Shot {
    let [demand, resident, actual] = [demand, resident, actual].map(|mib| mib << 20);
    Shot { works: true, demand, resident, actual, target: actual, ..Shot::default() }
}

/// A film with a frame a second.
fn film(frames: &[[Shot; 2]]) -> Run {
    let frame = |(shots, at): (&[Shot; 2], u64)| Frame {
        at: Duration::from_secs(at),
        taken: shots.iter().map(|shot| shot.actual).sum(),
        vms: shots.iter().copied().map(Some).collect(),
    };
    let costs = [5, 1, 9].map(Duration::from_micros).to_vec();
    Run { frames: frames.iter().zip(0..).map(frame).collect(), orders: Vec::new(), costs }
}

fn score(frames: &[[Shot; 2]]) -> Score {
    Score::of(&load(), &film(frames))
}

const CALM: (u64, u64, u64) = (512, 512, 1_024);

fn calm() -> Shot {
    shot(CALM.0, CALM.1, CALM.2)
}

#[test]
fn nothing_is_wrong_where_all_have_what_they_want() {
    let score = score(&[[calm(); 2]; 10]);
    let expected = Score {
        demand: 9.0,
        slack: 0.5,
        unmet_of_vms: vec![0.0; 2],
        cost: score.cost,
        ..Score::default()
    };
    assert_eq!(score, expected);
    assert!((score.cost - 5.0).abs() < 0.001 && score.keeps_reserve());
}

#[test]
fn what_is_missing_counts_for_as_long_as_it_is_missing() {
    let bad = shot(2_048, 1_024, 1_024);
    let score = score(&[[calm(), calm()], [bad, calm()], [bad, calm()], [calm(), calm()]]);
    assert_eq!((score.demand, score.unmet), (6.0, 2.0));
    assert_eq!(score.unmet_of_vms, [2.0, 0.0]);
    assert!((score.unmet_share - 1.0 / 3.0).abs() < 1e-9);
}

#[test]
fn what_does_not_run_wants_nothing() {
    let boots = Shot { works: false, ..shot(2_048, 0, 4_096) };
    let score = score(&[[calm(), calm()], [calm(), boots], [calm(), boots]]);
    assert_eq!((score.demand, score.unmet, score.moved), (1.0, 0.0, 0.0));
}

#[test]
fn a_rise_waits_from_where_it_is_short_until_it_is_met() {
    let short = shot(1_024, 700, 1_024);
    let met = shot(1_024, 1_020, 1_024);
    let waits = [calm(), calm(), short, short, short, met, met, calm()];
    let at_once = [calm(), calm(), calm(), met, met, met, met, met];
    let frames: Vec<[Shot; 2]> = waits.into_iter().zip(at_once).map(|(a, b)| [a, b]).collect();
    let score = score(&frames);
    // The frames at 2, 3 and 4 s show it short.
    assert_eq!((score.burst_median, score.burst_worst), (Some(0.0), Some(2.0)));
}

#[test]
fn a_rise_that_is_never_met_waits_to_the_end() {
    let short = shot(1_024, 512, 1_024);
    let frames: Vec<[Shot; 2]> =
        (0..6).map(|at| [if at == 0 { calm() } else { short }, calm()]).collect();
    assert_eq!(score(&frames).burst_worst, Some(4.0));
}

#[test]
fn the_host_misses_what_is_taken_of_its_reserve() {
    // 1 GiB of 4 is to be kept: 3.5 GiB are too much by half a GiB, for 2 s.
    let much = shot(512, 512, 2_560);
    let score = score(&[[calm(); 2], [much, calm()], [much, calm()], [calm(); 2]]);
    assert_eq!((score.reserve_unkept, score.reserve_worst), (1.0, 512.0));
    assert!(!score.keeps_reserve());
    // There and back.
    assert_eq!(score.moved, 3.0);
}

#[test]
fn what_is_given_out_twice_is_seen_though_nobody_touched_it() {
    // Of the pool of 2 GiB both hold 1.25, for 2 s.
    let much = shot(512, 512, 1_280);
    let frames = [[calm(); 2], [much, much], [much, much], [calm(); 2]];
    let mut run = film(&frames);
    run.frames.iter_mut().for_each(|frame| frame.taken = 1 << 30);
    let score = Score::of(&load(), &run);
    assert_eq!((score.beyond_pool, score.beyond_pool_worst), (1.0, 512.0));
    assert!(!score.keeps_to_pool() && score.keeps_reserve());
}

#[test]
fn what_a_vm_starts_with_nobody_gave_it() {
    let whole = Shot { generation: 1, target: 1 << 30, ..shot(512, 512, 4_096) };
    let arrived = Shot { actual: 1 << 30, ..whole };
    let boots = Shot { works: false, ..whole };
    let others = [boots, whole, whole, arrived].map(|own| [calm(), own]);
    assert!(score(&others).keeps_to_pool());
    // What it is given once it has arrived counts in full, also while it gives that back.
    let score = score(&[[calm(), arrived], [calm(), arrived], [calm(), whole]]);
    assert_eq!((score.beyond_pool, score.beyond_pool_worst), (3.0, 3_072.0));
}

#[test]
fn what_is_met_is_held_against_what_can_be() {
    // Of 3 GiB that are wanted the pool has 2, and 1 is met.
    let short = shot(1_536, 512, 1_024);
    let score = score(&[[short; 2]; 2]);
    assert_eq!((score.demand, score.unmet, score.least_unmet), (3.0, 2.0, 1.0));
    assert_eq!(score.met_of_bound(), Some(0.5));
}

#[test]
fn the_vm_worse_off_than_99_of_100_is_one_of_many() {
    assert_eq!(worse_than_99((1..=100).map(f64::from)), 99.0);
    assert_eq!(worse_than_99((1..=200).rev().map(f64::from)), 198.0);
    assert_eq!(worse_than_99([3.0, 1.0].into_iter()), 3.0);
    assert_eq!(worse_than_99(std::iter::empty()), 0.0);
}

#[test]
fn swapping_kills_and_broken_promises_are_counted() {
    let swaps = |out: u64, oom_kills| Shot { swap_out: out << 20, oom_kills, ..calm() };
    let reboots = Shot { generation: 1, ..swaps(512, 1) };
    let little = shot(100, 100, 128);
    let frames = [
        [swaps(256, 0), calm()],
        [swaps(256, 0), calm()],
        [swaps(1_280, 2), little],
        [reboots, little],
    ];
    let score = score(&frames);
    // What it swapped before is not counted; after a reboot the counters begin anew.
    assert_eq!((score.swapped, score.oom_kills), (1.5, 3.0));
    assert!((score.below_min - 0.25).abs() < 0.001, "{}", score.below_min);
}

#[test]
fn moved_memory_is_held_against_the_demand_that_it_met() {
    let big = shot(1_536, 1_536, 2_048);
    let score = score(&[[calm(); 2], [calm(); 2], [big, calm()], [big, calm()]]);
    // A GiB moved for a GiB of demand.
    assert_eq!((score.moved, score.moved_per_use), (1.0, Some(1.0)));
}

#[test]
fn turning_round_and_not_coming_to_rest_are_seen() {
    let load = load();
    let mut run = film(&[[calm(); 2]; 10]);
    let order = |(at, vm, mib): &(u64, usize, u32)| Order {
        at: Duration::from_secs(*at),
        vm: load.members[*vm].id,
        target: ByteCount::mib(*mib),
    };
    let told =
        [(1, 0, 2_048), (2, 0, 1_024), (3, 1, 512), (4, 1, 256), (6, 0, 2_048), (8, 0, 2_048)];
    run.orders = told.iter().map(order).collect();
    let score = Score::of(&load, &run);
    assert_eq!((score.orders, score.reversals, score.late_orders), (6.0, 2.0, 2.0));
}

#[test]
fn fair_is_who_gives_all_what_is_theirs() {
    let equal = [shot(2_048, 1_024, 1_024), shot(2_048, 1_024, 1_024)];
    let unequal = [shot(2_048, 2_048, 2_048), shot(2_048, 0, 0)];
    assert_eq!(score(&[equal; 11]).fairness, Some(1.0));
    assert_eq!(score(&[unequal; 11]).fairness, Some(0.5));
    assert_eq!(score(&[[calm(); 2]; 11]).fairness, None);
    // By weight a third is not less than two.
    let mut load = load();
    load.members[1].weight = 200;
    let third = [shot(2_048, 683, 683), shot(2_048, 1_366, 1_366)];
    let fair = Score::of(&load, &film(&[third; 11])).fairness.unwrap();
    assert!(fair > 0.999, "{fair}");
}

#[test]
fn every_measure_has_its_own_name() {
    let keys: std::collections::BTreeSet<_> = MEASURES.iter().map(|measure| measure.key).collect();
    assert_eq!(keys.len(), MEASURES.len());
}
