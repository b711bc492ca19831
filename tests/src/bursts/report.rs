//! [`Report`]: the rounds of every contender as a table for people and as figures for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contender::{ALL_MEMORY, CONTENDERS, OURS};
use super::score::Score;
use super::stage::Plot;

/// All rounds so far.
#[derive(Debug)]
pub struct Report {
    plot: Plot,
    version: String,
    /// By contender, a score for each round.
    scores: Vec<(&'static str, Vec<Score>)>,
}

/// The least, the middle and the most of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Report {
    /// No round yet.
    pub fn new(plot: Plot, version: &str) -> Self {
        let scores = CONTENDERS.iter().map(|one| (one.name, Vec::new())).collect();
        Self { plot, version: version.to_owned(), scores }
    }

    /// Adds a round of one contender.
    pub fn add(&mut self, contender: &str, score: Score) {
        let mut own = self.scores.iter_mut();
        if let Some((_, scores)) = own.find(|(name, _)| *name == contender) {
            scores.push(score);
        }
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let Plot { vms, max_mib, burst_mib, length, pool_mib } = self.plot;
        let mut text = format!(
            "agentd {}: {vms} VMs of {max_mib} MiB at most, bursts of {burst_mib} MiB for {} s in \
             turn, pool {pool_mib} MiB.\nTimes are those of all bursts of a round, in seconds: \
             median (least to most) of the rounds.\n\n\
             | contender | rounds | reached | reached and worked with | of all the memory | late \
             | over the pool, MiB | swapped, MiB | OOM kills |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            self.version,
            length.as_secs(),
        );
        for (name, scores) in self.scores.iter().filter(|(_, scores)| !scores.is_empty()) {
            let seconds = |of: fn(&Score) -> f64| words(spread(scores.iter().map(of)), 1);
            let late: usize = scores.iter().map(Score::late).sum();
            let bursts: usize = scores.iter().map(|score| score.bursts.len()).sum();
            let over = scores.iter().filter_map(|score| score.over_pool_kib).max();
            let kills: usize = scores.iter().map(|score| score.oom_kills).sum();
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {late} of {bursts} | {} | {} | {kills} |",
                scores.len(),
                seconds(Score::reached),
                seconds(Score::done),
                words(self.ratio(scores), 2),
                over.map_or_else(|| "-".to_owned(), |kib| kib.div_ceil(1024).to_string()),
                words(spread(scores.iter().map(|score| mib(score.swapped_kib))), 0),
            );
        }
        text + &self.verdict()
    }

    /// What is promised, and what came of it.
    fn verdict(&self) -> String {
        let scores = self.of(OURS.name);
        let Some(ratio) = self.ratio(scores) else {
            return String::new();
        };
        let is_kept = if ratio.median <= GOAL { "reached" } else { "not reached" };
        format!(
            "\n{} takes {:.2} times what bursts take with all the memory; the goal, {GOAL}, is \
             {is_kept}.\n",
            OURS.name, ratio.median
        )
    }

    /// How much longer bursts took than with all the memory in the same round.
    fn ratio(&self, scores: &[Score]) -> Option<Spread> {
        let best = self.of(ALL_MEMORY.name);
        spread(scores.iter().zip(best).map(|(score, best)| score.done() / best.done()))
    }

    fn of(&self, contender: &str) -> &[Score] {
        let mut own = self.scores.iter().filter(|(name, _)| *name == contender);
        own.next().map_or(&[], |(_, scores)| scores)
    }

    /// All figures.
    pub fn json(&self) -> Value {
        let contender = |(name, scores): &(&str, Vec<Score>)| {
            let ratio = self.ratio(scores).map(|ratio| ratio.median);
            let rounds: Vec<Value> = scores.iter().map(round).collect();
            json!({ "contender": name, "of_all_the_memory": ratio, "rounds": rounds })
        };
        let Plot { vms, max_mib, burst_mib, length, pool_mib } = self.plot;
        json!({
            "version": self.version,
            "vms": vms, "max_mib": max_mib, "burst_mib": burst_mib,
            "burst_seconds": length.as_secs_f64(), "pool_mib": pool_mib,
            "goal": GOAL,
            "contenders": self.scores.iter().map(contender).collect::<Vec<_>>(),
        })
    }
}

fn round(score: &Score) -> Value {
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    let burst = |burst: &super::score::Burst| json!({ "reached_seconds": seconds(burst.reached), "done_seconds": seconds(burst.done) });
    json!({
        "bursts": score.bursts.iter().map(burst).collect::<Vec<_>>(),
        "reached_seconds": score.reached(),
        "done_seconds": score.done(),
        "late": score.late(),
        "over_pool_kib": score.over_pool_kib,
        "swapped_kib": score.swapped_kib,
        "oom_kills": score.oom_kills,
    })
}

fn spread(figures: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    let (low, high) = (all.get(all.len().checked_sub(1)? / 2)?, all.get(all.len() / 2)?);
    Some(Spread { least: *all.first()?, median: f64::midpoint(*low, *high), most: *all.last()? })
}

fn words(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { least, median, most }) = spread else {
        return "-".to_owned();
    };
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Bursts that `working-set` shares memory among take no longer than this many times what they take
/// with all the memory.
const GOAL: f64 = 1.15;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::score::Burst;
    use super::super::stage::PLOT;
    use super::*;

    #[test]
    fn contenders_are_held_against_all_the_memory_of_the_same_round() {
        let took = |millis| Score {
            bursts: vec![Burst {
                reached: Some(Duration::from_millis(millis / 2)),
                done: Some(Duration::from_millis(millis)),
            }],
            length: PLOT.length,
            ..Score::default()
        };
        let mut report = Report::new(PLOT, "0");
        // A machine that was twice as slow in the second round was so for both.
        for (all, ours) in [(2000, 2200), (4000, 4400), (2000, 2600)] {
            report.add(ALL_MEMORY.name, took(all));
            report.add(OURS.name, took(ours));
        }
        let text = report.markdown();
        let row = "| working-set | 3 | 1.3 (1.1 to 2.2) | 2.6 (2.2 to 4.4) | 1.10 (1.10 to 1.30) |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("1.10 times") && text.contains("1.15, is reached"), "{text}");
        report.add(OURS.name, took(9000));
        let ours = &report.json()["contenders"][3];
        assert_eq!(ours["rounds"].as_array().map(Vec::len), Some(4));
    }
}
