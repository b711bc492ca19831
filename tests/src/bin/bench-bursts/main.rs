//! `make bench-bursts`: bursts that take turns on real VMs, under every way of sharing memory in one
//! run, as a table.
//!
//! Contenders take turns, and each round begins with another one. What agentd told of each of its rounds
//! is written beside the figures. Its usage, below, says how it is called. `BENCH_VERSION` is the version
//! that is written down.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use agentd::clock::{Clock, RealClock};
use agentd_tests::bursts::contender::{ALL_MEMORY, CONTENDERS, Contender};
use agentd_tests::bursts::report::Report;
use agentd_tests::bursts::stage::{PLOT, Stage};
use agentd_tests::calibrate::trace::TRACES;
use agentd_tests::calibrate::{real, simulated, table};
use agentd_tests::lab::Lab;
use agentd_tests::programs::Programs;
use agentd_tests::usage;
use anyhow::{Context, Result, bail, ensure};

fn main() -> ExitCode {
    usage::run("bench-bursts", USAGE, env::args().skip(1), |words| {
        let wish = Wish::read(words)?;
        let done = if wish.calibrate { wish.calibrate() } else { wish.bench() };
        done.map(|()| true)
    })
}

const USAGE: &str = "\
bench-bursts [--rounds N] [--contender NAME] [--out DIR]   every way of sharing memory, in 3 rounds
bench-bursts --calibrate [--out DIR]                       the simulator's VM beside a real one instead

A contender can be named more than once; all the memory, which others are held against, always runs along.
";

/// What the command line asks for.
#[derive(Debug)]
struct Wish {
    calibrate: bool,
    rounds: usize,
    contenders: Vec<Contender>,
    out: PathBuf,
}

impl Wish {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let out = Path::new(&target).join("bench-bursts");
        let mut wish = Self { calibrate: false, rounds: 3, contenders: Vec::new(), out };
        while let Some(word) = words.next() {
            if word == "--calibrate" {
                wish.calibrate = true;
                continue;
            }
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rounds" => {
                    let number = value.parse().with_context(|| format!("--rounds {value}"));
                    wish.rounds = number.context("rounds are counted in whole numbers")?;
                    ensure!(
                        wish.rounds > 0,
                        "--rounds 0: there would be nothing to tell of; at least 1"
                    );
                }
                "--contender" => wish.contenders.push(contender(&value)?),
                "--out" => wish.out = value.into(),
                _ => bail!("{word} is not known: --rounds, --contender, --out, --calibrate"),
            }
        }
        if wish.contenders.is_empty() {
            wish.contenders = CONTENDERS.to_vec();
        } else if !wish.contenders.contains(&ALL_MEMORY) {
            wish.contenders.insert(0, ALL_MEMORY);
        }
        Ok(wish)
    }

    fn bench(self) -> Result<()> {
        let version = env::var("BENCH_VERSION").ok().filter(|version| !version.is_empty());
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        let clock = RealClock::start();
        let programs = Programs::beside()?;
        let stage = Stage::boot(&Lab::open()?, PLOT)?;
        let mut report = Report::new(PLOT, &version);
        for round in 0..self.rounds {
            let mut order = self.contenders.clone();
            order.rotate_left(round % self.contenders.len());
            for contender in order {
                let name = contender.name;
                let show = contender.play(&stage, &programs);
                let show = show.with_context(|| format!("{name}, round {}", round + 1))?;
                if let Some(told) = show.told {
                    self.write(&format!("{}-{}.jsonl", file_name(name), round + 1), &told)?;
                }
                let (done, late) = (show.score.done(), show.score.late());
                println!("round {}: {name}: {done:.1} s, {late} late", round + 1);
                report.add(name, show.score);
            }
        }
        let text = report.markdown();
        println!("\n{text}");
        self.write("results.md", &text)?;
        self.write("results.json", &format!("{:#}\n", report.json()))?;
        println!("In {:.0?}; written to {}", clock.now(), self.out.display());
        Ok(())
    }

    fn calibrate(self) -> Result<()> {
        let lab = Lab::open()?;
        let mut rows = Vec::new();
        for trace in &TRACES {
            let real = real::play(&lab, trace).with_context(|| trace.name)?;
            let simulated = simulated::play(trace).with_context(|| trace.name)?;
            println!("{}: {} samples of a real VM", trace.name, real.samples.len());
            rows.extend(table::rows(trace, &real, &simulated));
        }
        let text = table::markdown(&rows);
        println!("\n{text}");
        self.write("calibration.md", &text)?;
        self.write("calibration.json", &format!("{:#}\n", table::json(&rows)))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let write = || {
            fs::create_dir_all(&self.out)?;
            fs::write(self.out.join(name), text)
        };
        write().with_context(|| format!("cannot write {name} to {}", self.out.display()))
    }
}

fn contender(name: &str) -> Result<Contender> {
    let all: Vec<_> = CONTENDERS.iter().map(|one| one.name).collect();
    let found = CONTENDERS.iter().copied().find(|one| one.name == name);
    found.with_context(|| format!("no contender {name:?}: there is {}", all.join("; ")))
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
