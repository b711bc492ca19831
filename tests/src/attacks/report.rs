//! What the attacks came to, as a table and as JSON.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::ticks::percentile;
use super::trial::{Answers, Round, Scene, Trial};
use super::verdict::{GOAL, Ratio, Verdict, noise, p99};

/// The trials of one run.
#[derive(Debug)]
pub struct Report {
    version: String,
    trials: Vec<Trial>,
}

impl Report {
    /// Of this version of agentd.
    pub fn new(version: &str) -> Self {
        Self { version: version.to_owned(), trials: Vec::new() }
    }

    /// Takes in a trial, and gives its row.
    pub fn add(&mut self, trial: Trial) -> String {
        let row = row(&trial);
        self.trials.push(trial);
        row
    }

    /// All of it for people.
    pub fn markdown(&self) -> String {
        let mut text = format!("# agentd {} under attack\n\n{HEAD}", self.version);
        for trial in &self.trials {
            // A String takes whatever is written to it.
            let _ = writeln!(text, "{}", row(trial));
        }
        let rounds: Vec<&Round> = self.rounds().collect();
        let p99 = |scene| micros_of(p99(rounds.iter().copied(), scene));
        let median = |what: fn(&Trial) -> f64| median(self.trials.iter().map(what).collect());
        let _ = write!(
            text,
            "\nOf {} rows {}; of their own share {}.\n\
             All ticks together, {} quiet and {} attacked: p99 {} µs quiet, {} µs beside, {} µs attacked: {:.2} times the quiet one, {:.2}\n\
             times that beside an attacked neighbour. Of the rows, the median: {:.2} and {:.2}; one half of the quiet is {:.2} times the other.\n\n{LEGEND}",
            self.trials.len(),
            self.count(Trial::all),
            self.count(Trial::own),
            self.ticks(Scene::Quiet),
            self.ticks(Scene::Attacked),
            p99(Scene::Quiet),
            p99(Scene::Beside),
            p99(Scene::Attacked),
            self.pooled(Scene::Quiet),
            self.pooled(Scene::Beside),
            median(|trial| trial.all().times),
            median(|trial| trial.own().times),
            median(|trial| noise(&trial.rounds)),
        );
        text
    }

    /// All of it for programs.
    pub fn json(&self) -> Value {
        json!({
            "version": self.version,
            "goal": GOAL,
            "p99_ratio": self.pooled(Scene::Quiet),
            "own_p99_ratio": self.pooled(Scene::Beside),
            "trials": self.trials.iter().map(Trial::json).collect::<Vec<_>>(),
        })
    }

    /// "3 meet the goal, 1 misses it, 47 are in the noise".
    fn count(&self, ratio: fn(&Trial) -> Ratio) -> String {
        let of =
            |wanted| self.trials.iter().filter(|trial| ratio(trial).verdict() == wanted).count();
        let [meet, miss, unclear] = [Verdict::Meets, Verdict::Misses, Verdict::Unclear].map(of);
        format!("{meet} meet the goal of {GOAL}, {miss} miss it, {unclear} are in the noise")
    }

    fn rounds(&self) -> impl Iterator<Item = &Round> {
        self.trials.iter().flat_map(|trial| &trial.rounds)
    }

    fn ticks(&self, scene: Scene) -> usize {
        self.rounds().map(|round| round.ticks(scene).len()).sum()
    }

    /// The p99 of all attacked ticks by that of all of this scene.
    fn pooled(&self, by: Scene) -> f64 {
        p99(self.rounds(), Scene::Attacked) / p99(self.rounds(), by)
    }
}

impl Trial {
    /// How much longer the ticks took than in the quiet.
    fn all(&self) -> Ratio {
        Ratio::of(&self.rounds, Scene::Attacked, Scene::Quiet)
    }

    /// How much longer they took than while the same was done to a neighbour.
    fn own(&self) -> Ratio {
        Ratio::of(&self.rounds, Scene::Attacked, Scene::Beside)
    }

    fn p99_us(&self) -> [u64; 3] {
        SCENES.map(|scene| micros_of(p99(&self.rounds, scene)))
    }

    fn per_second(&self, count: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = count as f64;
        count / self.lasted.as_secs_f64()
    }

    fn json(&self) -> Value {
        let tally = &self.foe.tally;
        let ticks = |scene| self.rounds.iter().map(|round| round.ticks(scene).len()).sum::<usize>();
        let ratio = |ratio: Ratio| {
            json!({"times": ratio.times, "low": ratio.low, "high": ratio.high,
                "verdict": ratio.verdict().name()})
        };
        let friend = self.friend.each_ref().map(|answers| {
            json!({"answered": answers.took.len(), "failed": answers.failed,
                "p50_us": micros(percentile(&answers.took, 50)), "most_us": micros(most(answers))})
        });
        let figures = self.figures.map(|at| {
            json!({"resident": at.resident, "peak": at.peak, "descriptors": at.descriptors,
                "audit": at.audit, "log": at.log})
        });
        let took = |scene| {
            let of = |round: &Round| round.ticks(scene).iter().map(Duration::as_micros).collect();
            self.rounds.iter().map(of).collect::<Vec<Vec<u128>>>()
        };
        json!({
            "attack": self.attack.name, "by": self.by.name(),
            "scenes": ["quiet", "beside", "attacked"], "took_us": SCENES.map(took),
            "ticks": SCENES.map(ticks), "p99_us": self.p99_us(),
            "p99_ratio": ratio(self.all()), "own_p99_ratio": ratio(self.own()),
            "noise": noise(&self.rounds),
            "processor": SCENES.map(|scene| self.processor(scene)),
            "friend": friend, "figures": figures,
            "recovered_ms": self.recovered.map(|time| u64::try_from(time.as_millis()).ok()),
            "dialled": tally.dialled.load(Ordering::Relaxed),
            "shaken": tally.shaken.load(Ordering::Relaxed),
            "sent": tally.sent.load(Ordering::Relaxed), "heard": tally.heard.load(Ordering::Relaxed),
            "answers": tally.answers.load(Ordering::Relaxed),
            "goodbyes": tally.goodbyes.load(Ordering::Relaxed),
        })
    }
}

fn row(trial: &Trial) -> String {
    let tally = &trial.foe.tally;
    let [before, worst, after] = &trial.figures;
    let [known, anew] = trial.friend.each_ref().map(answered);
    let [quiet, beside, attacked] = trial.p99_us();
    let (all, own) = (trial.all(), trial.own());
    let rate =
        |count: &std::sync::atomic::AtomicU64| trial.per_second(count.load(Ordering::Relaxed));
    let back = trial.recovered.map_or_else(|| "no".to_owned(), |time| format!("{time:.1?}"));
    format!(
        "| {} | {} | {quiet} {beside} {attacked} | {all} | {} | {own} | {} | {:.2} | {:.0} | {:.1} | {:.0} {:.0} | {known} | {anew} | {} {} {} | {} {} {} | {} | {back} |",
        trial.attack.name,
        trial.by.name(),
        all.verdict().name(),
        own.verdict().name(),
        noise(&trial.rounds),
        rate(&tally.dialled),
        rate(&tally.sent) / f64::from(1 << 20),
        trial.processor(Scene::Quiet) * 100.0,
        trial.processor(Scene::Attacked) * 100.0,
        before.resident >> 20,
        worst.peak >> 20,
        after.resident >> 20,
        before.descriptors,
        worst.descriptors,
        after.descriptors,
        after.audit.saturating_sub(before.audit),
    )
}

/// "60/60 1.2 ms 9 ms": answered of asked, the median and the longest.
fn answered(answers: &Answers) -> String {
    let (took, all) = (answers.took.len(), answers.took.len() + answers.failed);
    let [p50, most] = [percentile(&answers.took, 50), most(answers)].map(micros);
    format!(
        "{took}/{all} {}.{} {}.{}",
        p50 / 1000,
        p50 % 1000 / 100,
        most / 1000,
        most % 1000 / 100
    )
}

fn most(answers: &Answers) -> Duration {
    answers.took.iter().copied().max().unwrap_or_default()
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tick takes less than a century, and no less than nothing"
)]
fn micros_of(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

const SCENES: [Scene; 3] = [Scene::Quiet, Scene::Beside, Scene::Attacked];
const HEAD: &str = "\
| attack | by | p99 µs: quiet, beside, attacked | × quiet | goal | × beside | own goal | noise | connections/s | sent MiB/s | processor % | known: answered, ms | new: answered, ms | memory MiB | descriptors | audit B | back after |
| --- | --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | --- | --- | --- | --- | --- | ---: | ---: |
";
const LEGEND: &str = "\
p99 µs: of the ticks in quiet, while an agentd beside it was attacked in the same way, and under attack. × quiet, × beside: the last by the first\n\
and by the second, which is what agentd itself adds, and not what attackers and victim on one machine take of each other; in brackets what nine of ten draws of the\n\
rounds stay above and below. goal, own goal: whether that ratio is at most 1.1: it meets or misses it where nine of ten draws do so, too, and is in the noise where they\n\
do not. noise: the longer p99 of one half of the quiet by that of the other. known, new: what a reader got who behaves well, over a connection\n\
that it had and over new ones: answered/asked, the median and the longest time. processor: what agentd took of one, quiet and attacked. memory and\n\
descriptors of agentd: before, at most, after.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 0.001);
        let answers = Answers { took: vec![Duration::from_micros(1250)], failed: 2 };
        assert_eq!(answered(&answers), "1/3 1.2 1.2");
    }
}
