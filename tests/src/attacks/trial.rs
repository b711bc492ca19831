//! [`Stage`]: an agentd under attack, by turns with quiet, and what was measured of it.
//!
//! Victim and attackers share a machine here. What that alone costs a tick is seen by the same attack on a
//! neighbour, another agentd beside the victim. The three take turns in short blocks, in another order each
//! round, so that whatever else the machine does meanwhile befalls all of them alike.

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
    /// What the neighbour takes while nobody attacks it.
    alone: Figures,
    friend: Friend,
    ticks: Ticks,
    /// For whoever behaves well.
    calm: Runtime,
    /// For attackers, who are on another machine in truth: here they take only the processor time that nobody
    /// else wants, so that it is the victim's work that slows a tick, and not theirs.
    rough: Runtime,
}

/// What goes on in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Nobody attacks.
    Quiet,
    /// The neighbour is attacked.
    Beside,
    /// The victim is.
    Attacked,
}

/// What one attack came to.
#[derive(Debug)]
pub struct Trial {
    /// Which attack.
    pub attack: Attack,
    /// Who tried.
    pub by: By,
    /// How long, all blocks together.
    pub lasted: Duration,
    /// What was seen of the victim's ticks, round by round.
    pub rounds: Vec<Round>,
    /// What the friend was told under attack over the connection that it had, and over new ones.
    pub friend: [Answers; 2],
    /// What agentd took before, at most meanwhile, and after.
    pub figures: [Figures; 3],
    /// The longest until all was as before; `None` where it was not within 15 s.
    pub recovered: Option<Duration>,
    /// The attackers, and their tally.
    pub foe: Arc<Foe>,
}

/// How long the victim's ticks took in one block of each.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// By [`Scene`].
    ticks: [Vec<Duration>; 3],
    /// The share of one processor that agentd took, likewise.
    processor: [f64; 3],
}

/// What somebody was answered who asked again and again.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// How long each answer took.
    pub took: Vec<Duration>,
    /// Questions without one.
    pub failed: usize,
}

/// How often all take turns, and how long each block is.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Blocks of each.
    pub rounds: usize,
    /// Each of them.
    pub block: Duration,
}

impl Scene {
    /// Those of a round: no two of six in a row have the same order.
    fn in_order(round: usize) -> [Self; 3] {
        let mut all = [Self::Quiet, Self::Beside, Self::Attacked];
        let most = all.len();
        all.rotate_left(round % most);
        if !(round / most).is_multiple_of(2) {
            all.reverse();
        }
        all
    }

    const fn index(self) -> usize {
        match self {
            Self::Quiet => 0,
            Self::Beside => 1,
            Self::Attacked => 2,
        }
    }
}

impl Round {
    /// With these ticks, by [`Scene`].
    #[cfg(test)]
    pub(super) fn of(ticks: [Vec<Duration>; 3]) -> Self {
        Self { ticks, ..Self::default() }
    }

    /// How long ticks took meanwhile.
    pub fn ticks(&self, scene: Scene) -> &[Duration] {
        &self.ticks[scene.index()]
    }
}

impl Trial {
    /// The share of one processor that agentd took meanwhile.
    pub fn processor(&self, scene: Scene) -> f64 {
        let all = self.rounds.iter().map(|round| round.processor[scene.index()]);
        let rounds = u32::try_from(self.rounds.len()).unwrap_or(u32::MAX).max(1);
        all.sum::<f64>() / f64::from(rounds)
    }
}

impl Stage {
    /// Starts an agentd and its neighbour.
    pub fn set(agentd: &Path) -> Result<Self> {
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
        // What comes with a start is not looked at.
        calm.block_on(async { sleep(WARM_UP).await });
        let alone = neighbour.figures()?;
        Ok(Self { victim, neighbour, alone, friend, ticks, calm, rough })
    }

    /// Attacks by turns with quiet.
    pub fn attack(&mut self, attack: Attack, by: By, span: Span) -> Result<Trial> {
        let foes = [self.victim.foe(by)?, self.neighbour.foe(by)?].map(Arc::new);
        self.victim.forget_peak()?;
        let before = self.victim.figures()?;
        let mut trial = Trial {
            attack,
            by,
            lasted: Duration::ZERO,
            rounds: Vec::new(),
            friend: Default::default(),
            figures: [before; 3],
            recovered: Some(Duration::ZERO),
            foe: Arc::clone(&foes[0]),
        };
        for number in 0..span.rounds {
            trial.rounds.push(Round::default());
            let patience = if number + 1 == span.rounds { RECOVERY } else { SETTLE };
            for scene in Scene::in_order(number) {
                self.block(&mut trial, scene, &foes, span.block)?;
                self.settle(&mut trial, scene, patience)?;
            }
        }
        let now = self.victim.figures()?;
        let [_, worst, after] = &mut trial.figures;
        (*worst, *after) = (Figures { descriptors: worst.descriptors, ..now }, now);
        Ok(trial)
    }

    /// One block: what was seen of it goes into the last round.
    fn block(
        &mut self,
        trial: &mut Trial,
        scene: Scene,
        [own, others]: &[Arc<Foe>; 2],
        length: Duration,
    ) -> Result<()> {
        let against = match scene {
            Scene::Quiet => None,
            Scene::Beside => Some((others, &self.neighbour)),
            Scene::Attacked => Some((own, &self.victim)),
        };
        let mut going_on = None;
        if let Some((foe, whom)) = against {
            if trial.attack.starves {
                whom.starve()?;
            }
            going_on = Some(self.rough.spawn(trial.attack.go_on(Arc::clone(foe))));
        }
        let seen = self.calm.block_on(async {
            sleep(LEAD).await;
            // What was seen before is of neither.
            self.ticks.take().await?;
            let seen = watch(&self.friend, &self.victim, length).await?;
            anyhow::Ok((seen, self.ticks.take().await?))
        });
        if let Some(attack) = going_on {
            attack.abort();
        }
        if let Some((_, whom)) = against {
            whom.feed()?;
        }
        let (seen, ticks) = seen?;
        if let Some(round) = trial.rounds.last_mut() {
            round.ticks[scene.index()] = ticks;
            round.processor[scene.index()] = seen.processor;
        }
        if scene == Scene::Attacked {
            trial.lasted = trial.lasted.saturating_add(LEAD).saturating_add(length);
            trial.friend.iter_mut().zip(seen.friend).for_each(|(all, some)| all.add(some));
            let [_, worst, _] = &mut trial.figures;
            worst.descriptors = worst.descriptors.max(seen.open);
        }
        Ok(())
    }

    /// Waits until what a block took is free again.
    fn settle(&self, trial: &mut Trial, scene: Scene, patience: Duration) -> Result<()> {
        match scene {
            Scene::Quiet => {}
            Scene::Beside => self.calm.block_on(let_go(&self.neighbour, &self.alone))?,
            Scene::Attacked => {
                let [before, ..] = &trial.figures;
                let back = recover(&self.victim, &self.friend, before, patience);
                let back = self.calm.block_on(back)?;
                trial.recovered = match patience {
                    // Whether it is ever over shows after the last one.
                    RECOVERY => trial.recovered.zip(back).map(|(one, other)| one.max(other)),
                    _ => trial.recovered.max(Some(back.unwrap_or(patience))),
                };
            }
        }
        Ok(())
    }

    /// What agentd said.
    pub fn log(&self) -> String {
        self.victim.log()
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
async fn recover(
    victim: &Victim,
    friend: &Friend,
    before: &Figures,
    patience: Duration,
) -> Result<Option<Duration>> {
    let began = Instant::now();
    let here = local(&victim.socket()).await?;
    while began.elapsed() < patience {
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

/// Waits until nobody who attacked a neighbour is left there, but not for long.
async fn let_go(neighbour: &Victim, alone: &Figures) -> Result<()> {
    let began = Instant::now();
    while neighbour.figures()?.descriptors > alone.descriptors && began.elapsed() < SETTLE {
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

impl Answers {
    fn add(&mut self, more: Self) {
        self.took.extend(more.took);
        self.failed += more.failed;
    }

    async fn ask<T>(&mut self, asked: impl Future<Output = Result<T>>) {
        let began = Instant::now();
        match asked.await {
            Ok(_) => self.took.push(began.elapsed()),
            Err(_) => self.failed += 1,
        }
    }
}

/// A hundred ticks in a block, where a host in use has one.
const TICK_INTERVAL: Duration = Duration::from_millis(4);
const WARM_UP: Duration = Duration::from_secs(2);
/// How long an attack goes on before it is looked at: its first connections are made by then.
const LEAD: Duration = Duration::from_millis(100);
/// The nicest that a thread can be.
const LEAST_PRIORITY: i32 = 19;
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Of so many questions, one goes over a new connection.
const ANEW_EVERY: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long what an attack leaves behind is waited for between two blocks. What is not over by then is in what follows,
/// as it would be of an attack that goes on.
const SETTLE: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scene_has_every_place_and_every_other_one_before_it() {
        let orders: Vec<_> = (0..6).map(Scene::in_order).collect();
        for (at, order) in orders.iter().enumerate() {
            assert!(!orders[..at].contains(order), "{order:?} comes twice");
            for scene in [Scene::Quiet, Scene::Beside, Scene::Attacked] {
                assert!(order.contains(&scene), "{order:?}");
            }
        }
    }
}
