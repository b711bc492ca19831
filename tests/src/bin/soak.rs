//! The seeded simulation, as a program: plays many seeds and says which broke a promise, or one and
//! shows all of it. Ends with how many runs passed and how many failed; fails when one did.
//!
//! Its usage, below, says how it is called.

#![allow(clippy::print_stdout, reason = "it prints what it found")]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use agentd_tests::soak::report::{Tally, kept_seeds, play_all};
use agentd_tests::soak::{Played, Saboteur, play};
use agentd_tests::usage;
use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    // A tick that panics is one of the things looked for: the judge tells of it.
    std::panic::set_hook(Box::new(|_| {}));
    usage::run("soak", USAGE, std::env::args().skip(1), |words| Wish::read(words)?.grant())
}

/// What the command line asks for.
#[derive(Debug)]
struct Wish {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    saboteur: Option<Saboteur>,
}

impl Wish {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut wish = Self { seeds: 20_000, from: 1, seed: None, saboteur: None };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let number = || value.parse().with_context(|| format!("{word} {value} is no number"));
            match word.as_str() {
                "--seeds" => wish.seeds = number()?,
                "--from" => wish.from = number()?,
                "--seed" => wish.seed = Some(number()?),
                "--sabotage" => {
                    let mut all = Saboteur::ALL.into_iter();
                    let named = all.find(|saboteur| saboteur.name() == value);
                    wish.saboteur = Some(named.with_context(|| format!("no saboteur {value}"))?);
                }
                _ => bail!("{word} is not known: --seeds, --from, --seed, --sabotage"),
            }
        }
        Ok(wish)
    }

    fn grant(self) -> Result<bool> {
        match self.seed {
            Some(seed) => Ok(replay(seed, self.saboteur)),
            None => play_many(&self),
        }
    }
}

/// One run, tick by tick.
fn replay(seed: u64, saboteur: Option<Saboteur>) -> bool {
    let played = play(seed, saboteur, Some(&mut |line| println!("{line}")));
    let faults = played.faults.iter().map(|(fault, times)| format!("{} x{times}", fault.name()));
    println!("faults: {}", faults.collect::<Vec<_>>().join(", "));
    println!("digest: {:016x}", played.digest);
    tell_failure(&played);
    println!(
        "{}",
        verdict(u64::from(played.breaches.is_empty()), u64::from(!played.breaches.is_empty()))
    );
    played.breaches.is_empty()
}

fn play_many(wish: &Wish) -> Result<bool> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut seeds = kept_seeds(KEPT).map_err(|error| anyhow::anyhow!("{KEPT_FILE}: {error}"))?;
    let kept = seeds.len();
    seeds.extend(wish.from..wish.from.saturating_add(wish.seeds));
    let clock = RealClock::start();
    let tally = play_all(&seeds, wish.saboteur, threads);
    tell(&tally, kept, clock.now());
    let (mut passed, mut failed) =
        (tally.seeds - tally.failed.len() as u64, tally.failed.len() as u64);
    if wish.saboteur.is_none() && seeds.len() < SABOTAGED {
        println!(
            "saboteurs: not played: that takes {SABOTAGED} seeds, with the {kept} kept ones, and these are {}",
            seeds.len()
        );
    } else if wish.saboteur.is_none() {
        let few: Vec<u64> = seeds.iter().copied().take(SABOTAGED).collect();
        for saboteur in Saboteur::ALL {
            if is_caught(saboteur, &few, &tally, threads) {
                passed += 1;
            } else {
                failed += 1;
            }
        }
    }
    println!("{}", verdict(passed, failed));
    Ok(failed == 0)
}

/// Plays runs with a saboteur. It is caught where a promise that it breaks is broken in a run in
/// which it is kept without it.
fn is_caught(saboteur: Saboteur, seeds: &[u64], honest: &Tally, threads: usize) -> bool {
    let sabotaged = play_all(seeds, Some(saboteur), threads);
    let breaks = |played: &Played| {
        played.breaches.iter().any(|breach| saboteur.breaks().contains(&breach.rule))
    };
    let honestly = |seed| honest.failed.iter().any(|played| played.seed == seed && breaks(played));
    let caught: Vec<&Played> =
        sabotaged.failed.iter().filter(|played| breaks(played) && !honestly(played.seed)).collect();
    let name = saboteur.name();
    let first = caught.first().map(|played| played.seed);
    let (count, of) = (caught.len(), seeds.len());
    match first {
        Some(seed) => {
            println!("saboteur {name}: caught in {count} of {of} runs, first in seed {seed}");
        }
        None => println!("saboteur {name}: NOT CAUGHT in {of} runs"),
    }
    first.is_some()
}

fn tell(tally: &Tally, kept: usize, took: Duration) {
    println!("seeds: {} ({kept} of them kept from before)", tally.seeds);
    println!("ticks: {}", tally.ticks);
    println!("orders: {}", tally.orders);
    println!("programs killed for want of memory, whoever is to blame: {}", tally.kills);
    for (fault, times) in &tally.faults {
        println!("fault: {}: {times}", fault.name());
    }
    for (rule, times) in &tally.checks {
        let broken = tally.broken.get(rule).copied().unwrap_or(0);
        println!("promise: {}: looked at {times} times, broken in {broken} runs", rule.name());
    }
    for played in tally.failed.iter().take(MOST_TOLD) {
        tell_failure(played);
    }
    let rate = u128::from(tally.ticks) * 1_000 / took.as_millis().max(1);
    println!("rate: {rate} ticks/s, {took:.1?} in all");
}

fn tell_failure(played: &Played) {
    for breach in &played.breaches {
        println!("seed {}: {breach}", played.seed);
    }
    if !played.breaches.is_empty() {
        println!("  replay: make soak SEED={}", played.seed);
    }
}

fn verdict(passed: u64, failed: u64) -> String {
    format!("{passed} passed, {failed} failed")
}

const USAGE: &str = "\
soak [--seeds N] [--from N]     the kept seeds, then N others (20000, from 1), then every saboteur
soak --seed N                   one run, tick by tick
soak --sabotage NAME --seed N   one run with a saboteur
";
const KEPT: &str = include_str!("../../soak-seeds.txt");
const KEPT_FILE: &str = "tests/soak-seeds.txt";
/// A saboteur shows in a few hundred runs, or the judge is blind.
const SABOTAGED: usize = 300;
/// More of them tell nothing new.
const MOST_TOLD: usize = 40;
