//! The contest of policies, as a program: runs every policy on every family of workloads, prints
//! the tables, and writes them with all figures and a plot for each workload.
//!
//! Its usage, below, says how it is called. `BENCH_VERSION` is the version that is written down.

#![allow(clippy::print_stdout, reason = "it prints what it found")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, thread};

use agentd::clock::{Clock, RealClock};
use agentd_tests::contest::arena::Prompts;
use agentd_tests::contest::contestant::{CLAIRVOYANT, Contestant, Part};
use agentd_tests::contest::measures::MEASURES;
use agentd_tests::contest::plot::{Reel, svg};
use agentd_tests::contest::report;
use agentd_tests::contest::results::{Programme, Results, Terms};
use agentd_tests::contest::workload::{Family, Rates};
use agentd_tests::usage;
use anyhow::{Context, Result, bail, ensure};

fn main() -> ExitCode {
    usage::run("bench-policies", USAGE, env::args().skip(1), |words| {
        Wish::read(words)?.grant().map(|()| true)
    })
}

const USAGE: &str = "\
bench-policies [--seed N] [--seeds N] [--family NAME] [--policy NAME] [--rates usual|lab]
               [--prompts ours|all] [--out DIR] [--no-plots]

--seed is the first of so many seeds, 10 from 1 on by default. A family or policy can be named more than
once; the clairvoyant always runs along. --rates lab has VMs as slow as those of the lab. VMs report when
they are read to agentd only, or with --prompts all to everybody.
";

/// What the command line asks for.
#[derive(Debug)]
struct Wish {
    seed: u64,
    seeds: u64,
    families: Vec<Family>,
    policies: Vec<&'static str>,
    terms: Terms,
    out: PathBuf,
    plots: bool,
}

impl Wish {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let mut wish = Self {
            seed: 1,
            seeds: 10,
            families: Vec::new(),
            policies: Vec::new(),
            terms: Terms::default(),
            out: Path::new(&target).join("bench-policies"),
            plots: true,
        };
        while let Some(word) = words.next() {
            if word == "--no-plots" {
                wish.plots = false;
                continue;
            }
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let number = || value.parse().with_context(|| format!("{word} {value} is no number"));
            match word.as_str() {
                "--seed" => wish.seed = number()?,
                "--seeds" => {
                    wish.seeds = number()?;
                    ensure!(
                        wish.seeds > 0,
                        "--seeds 0: there would be nothing to tell of; at least 1"
                    );
                }
                "--family" => wish.families.push(family(&value)?),
                "--policy" => wish.policies.push(policy(&value)?),
                "--rates" => wish.terms.rates = rates(&value)?,
                "--prompts" => wish.terms.prompts = prompts(&value)?,
                "--out" => wish.out = value.into(),
                _ => bail!(
                    "{word} is not known: --seed, --seeds, --family, --policy, --rates, --prompts, --out, \
                     --no-plots"
                ),
            }
        }
        Ok(wish)
    }

    fn grant(self) -> Result<()> {
        let version = env::var("BENCH_VERSION").ok().filter(|version| !version.is_empty());
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let clock = RealClock::start();
        let results = self.programme().run(threads);
        let text = report::markdown(&results, &version);
        println!("{text}");
        self.write("results.md", &text)?;
        self.write("results.json", &format!("{:#}\n", report::json(&results, &version)))?;
        self.write("results.csv", &report::csv(&results, &version))?;
        if self.plots {
            self.plot(&results, &version)?;
        }
        let (runs, out) = (results.entries.len(), self.out.display());
        println!("{runs} runs in {:.0?}; written to {out}", clock.now());
        Ok(())
    }

    fn programme(&self) -> Programme {
        let families = if self.families.is_empty() { Family::ALL } else { &self.families };
        let mut contestants = self.policies.clone();
        if contestants.is_empty() {
            contestants = Contestant::all().iter().map(Contestant::name).collect();
        } else if !contestants.contains(&CLAIRVOYANT) {
            contestants.push(CLAIRVOYANT);
        }
        let seeds = (self.seed..self.seed.saturating_add(self.seeds)).collect();
        Programme { families: families.to_vec(), seeds, contestants, terms: self.terms }
    }

    fn plot(&self, results: &Results, version: &str) -> Result<()> {
        for family in &results.programme.families {
            let shown = self.shown(results, *family);
            let reel = |who: &&'static str| {
                let of = results.entries.iter();
                let mut of = of.filter(|one| one.family == *family && one.contestant == *who);
                Some((*who, of.find_map(|entry| entry.reel.as_ref())?))
            };
            let runs: Vec<(&str, &Reel)> = shown.iter().filter_map(reel).collect();
            let text = svg(*family, self.seed, version, &runs);
            self.write(&format!("{}.svg", family.name()), &text)?;
        }
        Ok(())
    }

    /// Those that were asked for; else ours, the best rival, and the clairvoyant.
    fn shown(&self, results: &Results, family: Family) -> Vec<&'static str> {
        if !self.policies.is_empty() {
            return results.programme.contestants.clone();
        }
        let unmet = |who: &&'static str| results.figure(&MEASURES[0], who, Some(family));
        let rivals = results.of_part(Part::Rival);
        let best = rivals
            .filter(|rival| results.keeps_reserve(rival, Some(family)))
            .filter_map(|rival| Some((unmet(&rival)?, rival)))
            .min_by(|one, two| one.0.total_cmp(&two.0));
        let best = best.map(|(_, rival)| rival);
        results.of_part(Part::Ours).chain(best).chain(results.of_part(Part::Clairvoyant)).collect()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let write = || {
            fs::create_dir_all(&self.out)?;
            fs::write(self.out.join(name), text)
        };
        write().with_context(|| format!("cannot write {name} to {}", self.out.display()))
    }
}

fn family(name: &str) -> Result<Family> {
    let all: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
    Family::named(name).with_context(|| format!("no family {name}: there is {}", all.join(", ")))
}

fn policy(name: &str) -> Result<&'static str> {
    let all: Vec<_> = Contestant::all().iter().map(Contestant::name).collect();
    let found = all.iter().copied().find(|own| *own == name);
    found.with_context(|| format!("no policy {name}: there is {}", all.join(", ")))
}

fn rates(name: &str) -> Result<Rates> {
    Rates::named(name).with_context(|| format!("no rates {name}: there is usual, lab"))
}

fn prompts(name: &str) -> Result<Prompts> {
    Prompts::named(name).with_context(|| format!("no prompts {name}: there is ours, all"))
}
