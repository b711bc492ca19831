//! [`Contender`]: a way of sharing memory among VMs whose bursts take turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::score::Score;
use super::script;
use super::stage::{Stage, Start};
use crate::agent::{Agent, CONFIG};
use crate::programs::Programs;

/// A way of sharing memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// How it is called in tables.
    pub name: &'static str,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Every VM has all that it wants.
    AllMemory,
    /// Every VM keeps an equal part of the pool.
    StaticSplit,
    /// agentd, with ticks of this length and this said of its policy.
    Agentd(&'static str, &'static [&'static str]),
    /// A script of a few lines.
    Script,
}

/// What all others are held against.
pub const ALL_MEMORY: Contender = Contender { name: "all the memory", way: Way::AllMemory };

/// What is promised of this one.
pub const OURS: Contender =
    Contender { name: "working-set", way: Way::Agentd("1s", &["algorithm=working-set"]) };

/// All of them; what they are held against first.
pub const CONTENDERS: [Contender; 7] = [
    ALL_MEMORY,
    Contender { name: "static split", way: Way::StaticSplit },
    Contender { name: "two-pointer", way: Way::Agentd("1s", &["algorithm=two-pointer"]) },
    OURS,
    Contender {
        name: "working-set, ticks of 500ms",
        way: Way::Agentd("500ms", &["algorithm=working-set"]),
    },
    Contender {
        name: "working-set, shrink-step 512MiB",
        way: Way::Agentd("1s", &["algorithm=working-set", "shrink-step=512MiB"]),
    },
    Contender { name: "plain script", way: Way::Script },
];

/// What came of a round of one contender.
#[derive(Debug)]
pub struct Show {
    /// The figures.
    pub score: Score,
    /// What `memctl watch -o jsonl` told of it; `None` where there is no agentd.
    pub told: Option<String>,
}

impl Contender {
    /// Lets it share the memory of the stage's VMs for the length of a round.
    pub fn play(self, stage: &Stage, programs: &Programs) -> Result<Show> {
        let bare = |score| Show { score, told: None };
        match self.way {
            Way::AllMemory => {
                stage.set(Start::Maximum)?;
                let score = stage.play(false)?;
                Ok(bare(Score { over_pool_kib: None, ..score }))
            }
            Way::StaticSplit => {
                stage.set(Start::EqualPart)?;
                stage.play(false).map(bare)
            }
            Way::Agentd(tick, policy) => by_agentd(stage, programs, tick, policy),
            Way::Script => by_script(stage).map(bare),
        }
    }
}

fn by_agentd(stage: &Stage, programs: &Programs, tick: &str, policy: &[&str]) -> Result<Show> {
    stage.set(Start::EqualPart)?;
    // What an agentd of an earlier round knew does not count.
    let state = stage.host().space().path(STATE);
    if state.exists() {
        std::fs::remove_dir_all(&state).context("cannot remove the state of an earlier round")?;
    }
    let config = CONFIG.replace("interval = \"1s\"", &format!("interval = \"{tick}\""));
    let agent = Agent::start_with(programs, stage.host(), &config, &[])?;
    // Of a limit as of the host's memory the reserve is kept: what is left is what others share, too.
    let limit = format!("pool-limit={}MiB", stage.plot().pool_mib + RESERVE_MIB);
    let reserve = format!("host-reserve={RESERVE_MIB}MiB");
    agent.memctl().done(&[&["policy", "set", &limit, &reserve][..], policy].concat())?;
    agent.memctl().done(&["mode", "active", "--reason", "bench"])?;
    let watch = agent.memctl().watch("watch", &[])?;
    let heard = watch.told_since(0)?.len();
    watch.wait_ticks(TICKS_BEFORE, PATIENCE)?;
    let score = stage.play(true)?;
    let told = watch.told_since(u64::try_from(heard)?)?;
    Ok(Show { score, told: Some(told) })
}

fn by_script(stage: &Stage) -> Result<Score> {
    stage.set(Start::EqualPart)?;
    script::arm(stage)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let script = scope.spawn(|| script::run(stage, &stop));
        let score = stage.play(true);
        stop.store(true, Ordering::Relaxed);
        script.join().map_err(|_| anyhow!("the script panicked"))??;
        score
    })
}

/// Where the agentd of the lab keeps its state.
const STATE: &str = "/run/lab/agentd";
/// The default.
const RESERVE_MIB: u64 = 200;
/// Until every VM has proven that it reports.
const TICKS_BEFORE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
