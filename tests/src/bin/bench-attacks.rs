//! `make bench-attacks`: a real agentd under every attack, by turns with quiet in the same run, as a table.
//!
//! In each round quiet, an attacked neighbour and the attack have 0.4 s each. Six rounds are six hundred ticks of each, and ten
//! minutes for all attacks. Its usage, below, says how it is called. `BENCH_VERSION` is the version that is written down.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use agentd::clock::{Clock as _, RealClock};
use agentd_tests::attacks::ATTACKS;
use agentd_tests::attacks::report::Report;
use agentd_tests::attacks::trial::{Span, Stage};
use agentd_tests::programs::Programs;
use agentd_tests::usage;
use anyhow::{Context as _, Result, bail, ensure};

fn main() -> ExitCode {
    usage::run("bench-attacks", USAGE, env::args().skip(1), |words| {
        Wish::read(words)?.bench().map(|()| true)
    })
}

const USAGE: &str = "\
bench-attacks [--rounds N] [--only WORDS] [--out DIR]

6 rounds by default. --only takes the attacks whose name has these words in it.
";

/// What the command line asks for.
#[derive(Debug)]
struct Wish {
    span: Span,
    only: String,
    out: PathBuf,
}

impl Wish {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let out = Path::new(&target).join("bench-attacks");
        let mut wish = Self { span: SPAN, only: String::new(), out };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rounds" => {
                    let rounds: usize = value.parse().with_context(|| {
                        format!("--rounds {value}: rounds are a whole number, such as 6")
                    })?;
                    ensure!(
                        rounds > 0,
                        "--rounds 0: there would be nothing to tell of; at least 1"
                    );
                    wish.span.rounds = rounds;
                }
                "--only" => wish.only = value,
                "--out" => wish.out = value.into(),
                _ => bail!("{word} is not known: --rounds, --only, --out"),
            }
        }
        Ok(wish)
    }

    fn bench(self) -> Result<()> {
        let attacks: Vec<_> =
            ATTACKS.iter().filter(|attack| attack.name.contains(&self.only)).collect();
        ensure!(!attacks.is_empty(), "no attack has \"{}\" in its name", self.only);
        let version = env::var("BENCH_VERSION").ok().filter(|version| !version.is_empty());
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        let clock = RealClock::start();
        let mut report = Report::new(&version);
        let mut stage = Stage::set(&Programs::beside()?.agentd)?;
        for attack in attacks {
            for by in attack.by {
                let trial = stage.attack(*attack, *by, self.span);
                let trial = trial.with_context(|| format!("{} by {}", attack.name, by.name()));
                println!("{}", report.add(trial.with_context(|| stage.log())?));
                // After each, so that what was measured is there however the run ends.
                self.write("results.md", &report.markdown())?;
                self.write("results.json", &format!("{}\n", report.json()))?;
            }
        }
        println!("\n{}", report.markdown());
        println!("In {:.0?}; written to {}", clock.now(), self.out.display());
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let write = || {
            fs::create_dir_all(&self.out)?;
            fs::write(self.out.join(name), text)
        };
        write().with_context(|| format!("cannot write {name} to {}", self.out.display()))
    }
}

/// Each order of the three once, of a hundred ticks each time.
const SPAN: Span = Span { rounds: 6, block: Duration::from_millis(400) };
