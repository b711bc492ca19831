//! What the attacks came to, as a table and as JSON.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::ticks::percentile;
use super::trial::{Answers, Trial};

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
        let Pooled { quiet, beside, attacked } = self.pooled();
        let median = |what: fn(&Trial) -> f64| median(self.trials.iter().map(what).collect());
        let _ = write!(
            text,
            "\nAll ticks together, {} quiet and {} attacked: p50 {} µs quiet, {} µs attacked ({:.2} times); p99 {} µs and {} µs ({:.2} times,\n\
             {:.2} times that beside an attacked neighbour).\n\
             Of the rows, the median: p99 {:.2} times the quiet one, {:.2} times that beside an attacked neighbour; one quiet is {:.2} times the other.\n\n{LEGEND}",
            quiet.len(),
            attacked.len(),
            micros(percentile(&quiet, 50)),
            micros(percentile(&attacked, 50)),
            times(&attacked, &quiet, 50),
            micros(percentile(&quiet, 99)),
            micros(percentile(&attacked, 99)),
            times(&attacked, &quiet, 99),
            times(&attacked, &beside, 99),
            median(|trial| trial.ratio(99)),
            median(Trial::own),
            median(Trial::noise),
        );
        text
    }

    /// All of it for programs.
    pub fn json(&self) -> Value {
        let Pooled { quiet, beside, attacked } = self.pooled();
        json!({
            "version": self.version,
            "p99_ratio": times(&attacked, &quiet, 99),
            "p50_ratio": times(&attacked, &quiet, 50),
            "own_p99_ratio": times(&attacked, &beside, 99),
            "trials": self.trials.iter().map(Trial::json).collect::<Vec<_>>(),
        })
    }

    fn pooled(&self) -> Pooled {
        let all = |some: fn(&Trial) -> &[Duration]| self.trials.iter().flat_map(some).copied();
        let first = self.trials.first().map(|trial| trial.ticks[0].clone());
        Pooled {
            quiet: first.into_iter().flatten().chain(all(|trial| &trial.ticks[2])).collect(),
            beside: all(|trial| &trial.beside).collect(),
            attacked: all(|trial| &trial.ticks[1]).collect(),
        }
    }
}

/// The ticks of all trials, each once.
struct Pooled {
    quiet: Vec<Duration>,
    beside: Vec<Duration>,
    attacked: Vec<Duration>,
}

impl Trial {
    /// How much longer the ticks took than in the quiet around them.
    fn ratio(&self, percent: usize) -> f64 {
        times(&self.ticks[1], &self.quiet(), percent)
    }

    /// How much longer they took than while the same was done to a neighbour.
    fn own(&self) -> f64 {
        times(&self.ticks[1], &self.beside, 99)
    }

    /// The p99 of the longer quiet by that of the shorter one.
    fn noise(&self) -> f64 {
        let ratio = times(&self.ticks[2], &self.ticks[0], 99);
        ratio.max(ratio.recip())
    }

    fn quiet(&self) -> Vec<Duration> {
        [self.ticks[0].as_slice(), &self.ticks[2]].concat()
    }

    fn per_second(&self, count: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = count as f64;
        count / self.lasted.as_secs_f64()
    }

    fn json(&self) -> Value {
        let tally = &self.foe.tally;
        let micros_of =
            |percent| self.ticks.each_ref().map(|some| micros(percentile(some, percent)));
        let friend = self.friend.each_ref().map(|answers| {
            json!({"answered": answers.took.len(), "failed": answers.failed,
                "p50_us": micros(percentile(&answers.took, 50)), "most_us": micros(most(answers))})
        });
        let figures = self.figures.map(|at| {
            json!({"resident": at.resident, "peak": at.peak, "descriptors": at.descriptors,
                "audit": at.audit, "log": at.log})
        });
        json!({
            "attack": self.attack.name, "by": self.by.name(),
            "ticks": self.ticks.each_ref().map(Vec::len),
            "p50_us": micros_of(50), "p99_us": micros_of(99),
            "p50_ratio": self.ratio(50), "p99_ratio": self.ratio(99), "noise": self.noise(),
            "beside_p99_us": micros(percentile(&self.beside, 99)), "own_p99_ratio": self.own(),
            "friend": friend, "figures": figures, "processor": self.processor,
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
    let rate =
        |count: &std::sync::atomic::AtomicU64| trial.per_second(count.load(Ordering::Relaxed));
    let back = trial.recovered.map_or_else(|| "no".to_owned(), |time| format!("{time:.1?}"));
    format!(
        "| {} | {} | {:.0} | {:.1} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} {:.0} | {known} | {anew} | {} {} {} | {} {} {} | {} | {back} |",
        trial.attack.name,
        trial.by.name(),
        rate(&tally.dialled),
        rate(&tally.sent) / f64::from(1 << 20),
        micros(percentile(&trial.quiet(), 99)),
        trial.ratio(50),
        trial.ratio(99),
        trial.own(),
        trial.noise(),
        trial.processor[0] * 100.0,
        trial.processor[1] * 100.0,
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

fn times(some: &[Duration], others: &[Duration], percent: usize) -> f64 {
    let [some, others] = [some, others].map(|times| percentile(times, percent).as_secs_f64());
    if others > 0.0 { some / others } else { f64::NAN }
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}

const HEAD: &str = "\
| attack | by | connections/s | sent MiB/s | quiet p99 µs | p50 × | p99 × | own p99 × | quiet × | processor % | known: answered, ms | new: answered, ms | memory MiB | descriptors | audit B | back after |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- | --- | --- | ---: | ---: |
";
const LEGEND: &str = "\
p50 × and p99 ×: ticks under attack by those of the quiet before and after it; own p99 ×: by those while an agentd beside it was\n\
attacked in the same way, so that it is not what attackers and victim on one machine take of each other; quiet ×: the p99 of the longer of the two quiets\n\
by that of the other, which is noise. known, new: what a reader got who behaves well, over a connection that it had and\n\
over new ones: answered/asked, the median and the longest time. processor: what agentd took of one, quiet and attacked. memory and descriptors of agentd: before, at most, after.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_percentiles() {
        let of = |count: u64| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
        assert!((times(&of(200), &of(100), 99) - 2.0).abs() < 0.001);
        assert!(times(&of(1), &[], 50).is_nan());
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 0.001);
        let answers = Answers { took: vec![Duration::from_micros(1250)], failed: 2 };
        assert_eq!(answered(&answers), "1/3 1.2 1.2");
    }
}
