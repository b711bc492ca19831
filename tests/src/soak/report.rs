//! Many runs over all processors, and what is told of them.

use std::collections::BTreeMap;

use super::{Fault, Played, Rule, Saboteur, play};
use crate::threads::on_all;

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many runs.
    pub seeds: u64,
    /// How many ticks in all.
    pub ticks: u64,
    /// How many orders in all.
    pub orders: u64,
    /// How many programs were killed in VMs for want of memory, whoever is to blame.
    pub kills: u64,
    /// How often each kind of fault was put in.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each promise was looked at.
    pub checks: BTreeMap<Rule, u64>,
    /// In how many runs each promise was broken.
    pub broken: BTreeMap<Rule, u64>,
    /// Runs in which a promise was broken, in the order of their seeds.
    pub failed: Vec<Played>,
}

impl Tally {
    fn add(&mut self, played: Played) {
        self.seeds += 1;
        self.ticks += played.ticks;
        self.orders += played.orders;
        self.kills += played.kills;
        for (fault, times) in &played.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (rule, times) in &played.checks {
            *self.checks.entry(*rule).or_default() += times;
        }
        let mut rules: Vec<Rule> = played.breaches.iter().map(|breach| breach.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            *self.broken.entry(rule).or_default() += 1;
        }
        if !played.breaches.is_empty() {
            self.failed.push(played);
        }
    }
}

/// Plays all of these seeds, on so many threads.
#[must_use]
pub fn play_all(seeds: &[u64], saboteur: Option<Saboteur>, threads: usize) -> Tally {
    let mut tally = Tally::default();
    for played in on_all(seeds, threads, |seed| play(*seed, saboteur, None)) {
        tally.add(played);
    }
    tally.failed.sort_by_key(|played| played.seed);
    tally
}

/// The seeds of a list: a line each, the seed first, then why it is kept. Empty lines and those that
/// begin with `#` count for nothing.
///
/// # Errors
///
/// Names the line that does not begin with a number.
pub fn kept_seeds(text: &str) -> Result<Vec<u64>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let full = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    full.map(|(number, line)| {
        let word = line.split_whitespace().next().unwrap_or_default();
        word.parse().map_err(|_| format!("line {}: \"{word}\" is no seed", number + 1))
    })
    .collect()
}
