//! The seeded simulation: that a seed replays, and that what it judges by can fail. `make soak` plays
//! many seeds.

use agentd_tests::soak::report::kept_seeds;
use agentd_tests::soak::{Plot, Rule, Saboteur, TICKS, play};

#[test]
fn a_seed_replays_bit_for_bit_and_another_one_does_not() {
    for seed in [3, 11] {
        let first = play(seed, None, None);
        assert_eq!(first.ticks, TICKS);
        let mut lines = 0;
        let second = play(seed, None, Some(&mut |_| lines += 1));
        assert_eq!(first, second, "told or not, it is the same run");
        assert!(lines >= 600, "a line a tick: {lines}");
        assert_ne!(first.digest, play(seed + 1, None, None).digest);
    }
}

#[test]
fn every_drawn_policy_is_valid_and_every_fault_ends_before_the_calm() {
    for seed in 0..500 {
        let plot = Plot::draw(seed);
        assert_eq!(plot.policy.validate(), [], "seed {seed}");
        assert!((5..=18).contains(&plot.faults.len()), "seed {seed}: {:?}", plot.faults);
        let windows = plot.scenario.sim.silent.iter().chain(&plot.scenario.sim.connection_lost);
        for window in windows {
            assert!(window.until.is_some_and(|until| until <= plot.calm), "seed {seed}");
        }
    }
}

/// Each promise is looked at, or nobody would notice that it is broken.
#[test]
fn every_promise_is_looked_at() {
    let mut looked_at = std::collections::BTreeSet::new();
    for seed in 0..60 {
        looked_at.extend(play(seed, None, None).checks.into_keys());
    }
    let missing: Vec<_> = Rule::ALL.iter().filter(|rule| !looked_at.contains(rule)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_saboteur_is_caught() {
    for saboteur in Saboteur::ALL {
        let is_caught = |seed: &u64| {
            let broken = play(*seed, Some(saboteur), None).breaches;
            broken.iter().any(|breach| saboteur.breaks().contains(&breach.rule))
        };
        let caught = (0..150).find(is_caught);
        assert!(caught.is_some(), "{} goes unnoticed", saboteur.name());
    }
}

#[test]
fn the_kept_seeds_are_a_list_with_reasons() {
    assert_eq!(kept_seeds("# why\n\n7 was bad\n12\n"), Ok(vec![7, 12]));
    assert_eq!(kept_seeds("7\nx y\n"), Err("line 2: \"x\" is no seed".to_owned()));
}
