//! [`Stage`]: an agentd under attack, with quiet before and after, and what was measured of it.
//!
//! Victim and attackers share a machine here. What that alone costs a tick is seen first: the same attack on a
//! neighbour, another agentd beside the victim.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::friend::{Friend, local, status};
use super::ticks::Ticks;
use super::victim::{Figures, Victim};
use super::{Attack, By, Foe};

/// One agentd, its friend, and who attacks it.
#[derive(Debug)]
pub struct Stage {
    victim: Victim,
    neighbour: Victim,
    friend: Friend,
    ticks: Ticks,
    /// For whoever behaves well.
    calm: Runtime,
    /// For attackers, who are on another machine in truth: here they take only the processor time that nobody
    /// else wants, so that it is the victim's work that slows a tick, and not theirs.
    rough: Runtime,
    /// The quiet that is just over.
    quiet: Quiet,
}

/// What was seen while nobody attacked.
#[derive(Clone, Debug, Default)]
struct Quiet {
    ticks: Vec<Duration>,
    /// The share of one processor that agentd took.
    processor: f64,
}

/// What one attack came to.
#[derive(Debug)]
pub struct Trial {
    /// Which attack.
    pub attack: Attack,
    /// Who tried.
    pub by: By,
    /// How long.
    pub lasted: Duration,
    /// The ticks of the quiet before, of the attack, and of the quiet after.
    pub ticks: [Vec<Duration>; 3],
    /// The victim's ticks while its neighbour was attacked in the same way.
    pub beside: Vec<Duration>,
    /// What the friend was told over the connection that it had, and over new ones.
    pub friend: [Answers; 2],
    /// What agentd took before, at most meanwhile, and after.
    pub figures: [Figures; 3],
    /// The share of one processor that agentd took in the quiet before and under attack.
    pub processor: [f64; 2],
    /// How long until all was as before; `None` where it was not within 15 s.
    pub recovered: Option<Duration>,
    /// The attackers, and their tally.
    pub foe: Arc<Foe>,
}

/// What somebody was answered who asked again and again.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// How long each answer took.
    pub took: Vec<Duration>,
    /// Questions without one.
    pub failed: usize,
}

impl Stage {
    /// Starts an agentd, and looks at its first quiet.
    pub fn set(agentd: &Path, span: Duration) -> Result<Self> {
        let calm = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let rough = Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(|| {
                // The attack goes on all the same, only rougher.
                let _ = setpriority_process(None, LEAST_PRIORITY);
            })
            .enable_all()
            .build()?;
        let victim = Victim::start(agentd, TICK_INTERVAL)?;
        let neighbour = Victim::start(agentd, TICK_INTERVAL)?;
        let friend = calm.block_on(Friend::new(victim.address(), victim.reader("alice")?))?;
        let ticks = calm.block_on(Ticks::follow(&victim.socket()))?;
        let quiet = Quiet::default();
        let mut stage = Self { victim, neighbour, friend, ticks, calm, rough, quiet };
        // What comes with a start is not looked at.
        stage.watch_quiet(WARM_UP)?;
        stage.quiet = stage.watch_quiet(span)?;
        Ok(stage)
    }

    /// Attacks for so long, and looks at the quiet after.
    pub fn attack(&mut self, attack: Attack, by: By, span: Duration) -> Result<Trial> {
        let beside = self.attack_neighbour(attack, by, span)?;
        let foe = Arc::new(self.victim.foe(by)?);
        self.victim.forget_peak()?;
        let before = self.victim.figures()?;
        // What was seen since the neighbour was let alone is neither.
        self.calm.block_on(self.ticks.take())?;
        let Seen { friend, open, processor } = self.under(attack, &foe, &self.victim, span)?;
        let during = self.calm.block_on(self.ticks.take())?;
        let recovered = self.calm.block_on(recover(&self.victim, &self.friend, &before))?;
        let worst = Figures { descriptors: open, ..self.victim.figures()? };
        let after = self.watch_quiet(span)?;
        let quiet = std::mem::replace(&mut self.quiet, after.clone());
        let ticks = [quiet.ticks, during, after.ticks];
        let figures = [before, worst, self.victim.figures()?];
        let processor = [quiet.processor, processor];
        let lasted = span;
        Ok(Trial { attack, by, lasted, ticks, beside, friend, figures, processor, recovered, foe })
    }

    /// The victim's ticks while somebody else is attacked for so long.
    fn attack_neighbour(
        &mut self,
        attack: Attack,
        by: By,
        span: Duration,
    ) -> Result<Vec<Duration>> {
        let foe = Arc::new(self.neighbour.foe(by)?);
        self.calm.block_on(self.ticks.take())?;
        self.under(attack, &foe, &self.neighbour, span)?;
        let beside = self.calm.block_on(self.ticks.take())?;
        self.calm.block_on(async { sleep(NEIGHBOUR_RECOVERS).await });
        Ok(beside)
    }

    /// What the victim's friend sees while somebody is attacked.
    fn under(&self, attack: Attack, foe: &Arc<Foe>, whom: &Victim, span: Duration) -> Result<Seen> {
        if attack.starves {
            whom.starve()?;
        }
        let going_on = self.rough.spawn(attack.go_on(Arc::clone(foe)));
        let seen = self.calm.block_on(watch(&self.friend, &self.victim, span));
        going_on.abort();
        whom.feed()?;
        seen
    }

    /// What agentd said.
    pub fn log(&self) -> String {
        self.victim.log()
    }

    /// So much time in which nobody but the friend wants anything.
    fn watch_quiet(&mut self, span: Duration) -> Result<Quiet> {
        self.calm.block_on(async {
            // What was seen since the attack ended is neither.
            self.ticks.take().await?;
            let seen = watch(&self.friend, &self.victim, span).await?;
            Ok(Quiet { ticks: self.ticks.take().await?, processor: seen.processor })
        })
    }
}

/// What was seen in a while.
struct Seen {
    friend: [Answers; 2],
    /// The most descriptors that were open.
    open: usize,
    /// The share of one processor that agentd took.
    processor: f64,
}

/// What the friend is told for so long, and what agentd takes.
async fn watch(friend: &Friend, victim: &Victim, span: Duration) -> Result<Seen> {
    let (mut known, mut anew, mut open) = (Answers::default(), Answers::default(), 0);
    let (began, before) = (Instant::now(), victim.figures()?.processor);
    let mut turn = 0_u32;
    while began.elapsed() < span {
        known.ask(friend.ask()).await;
        if turn.is_multiple_of(ANEW_EVERY) {
            anew.ask(friend.ask_anew()).await;
        }
        open = open.max(victim.figures()?.descriptors);
        turn += 1;
        sleep(ASK_EVERY).await;
    }
    let took = victim.figures()?.processor.saturating_sub(before);
    let processor = took.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok(Seen { friend: [known, anew], open, processor })
}

/// Waits until what the attack took is free again and a new client is let in.
async fn recover(victim: &Victim, friend: &Friend, before: &Figures) -> Result<Option<Duration>> {
    let began = Instant::now();
    let here = local(&victim.socket()).await?;
    while began.elapsed() < RECOVERY {
        let watchers = status(here.clone()).await.context("agentd does not answer")?.watchers;
        // One more than before, over which this is asked.
        let open = victim.figures()?.descriptors;
        if watchers <= 1 && open <= before.descriptors + 1 && friend.ask_anew().await.is_ok() {
            return Ok(Some(began.elapsed()));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

impl Answers {
    async fn ask<T>(&mut self, asked: impl Future<Output = Result<T>>) {
        let began = Instant::now();
        match asked.await {
            Ok(_) => self.took.push(began.elapsed()),
            Err(_) => self.failed += 1,
        }
    }
}

/// The least that a host and an agentd can do; ticks of a host in use are a hundred times rarer.
const TICK_INTERVAL: Duration = Duration::from_millis(10);
const WARM_UP: Duration = Duration::from_secs(2);
/// The nicest that a thread can be.
const LEAST_PRIORITY: i32 = 19;
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Of so many questions, one goes over a new connection.
const ANEW_EVERY: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What an attack leaves behind is over by then, as [`Trial::recovered`] shows of the victim.
const NEIGHBOUR_RECOVERS: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(15);
