//! What is told of the results: tables for people, and all figures for machines.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::contestant::Part;
use super::goals::{judge, places};
use super::measures::MEASURES;
use super::results::Results;
use super::workload::Family;

/// The tables, in Markdown: all families together, the goals, then each family.
#[must_use]
pub fn markdown(results: &Results, version: &str) -> String {
    let mut text = format!("# The contest of policies\n\n{}\n", heading(results, version));
    let _ = writeln!(text, "{LEGEND}\n\n## All families\n\n{}", table(results, None));
    let places = places(results);
    let places = places.iter().map(|(who, place)| format!("{who} {place:.1}"));
    let places = places.collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "Mean place by unmet demand: {places}.\n");
    for who in results.of_part(Part::Ours) {
        let _ = writeln!(text, "## Goals of {who}\n\n| goal | | |\n| --- | --- | --- |");
        for goal in judge(results, who) {
            let mark = goal.reached.map_or("open", |reached| if reached { "yes" } else { "NO" });
            let _ = writeln!(text, "| {} | {mark} | {} |", goal.text, goal.detail);
        }
        text.push('\n');
    }
    for family in &results.programme.families {
        let (name, about) = (family.name(), family.about());
        let _ = writeln!(text, "## {name}\n\n{about}\n\n{}", table(results, Some(*family)));
    }
    text
}

fn heading(results: &Results, version: &str) -> String {
    let seeds: Vec<_> = results.programme.seeds.iter().map(ToString::to_string).collect();
    format!(
        "agentd {version}, seeds {}. Figures are means over the seeds, but for the worst ones.\n",
        seeds.join(", ")
    )
}

fn table(results: &Results, family: Option<Family>) -> String {
    let titles: Vec<_> = MEASURES.iter().map(|measure| measure.title).collect();
    let mut text = format!("| policy | {} |\n|", titles.join(" | "));
    text.push_str(" --- |");
    text.push_str(&" ---: |".repeat(MEASURES.len()));
    text.push('\n');
    for who in &results.programme.contestants {
        let mark = if results.keeps_reserve(who, family) { "" } else { " ✗" };
        let name = match results.part(who) {
            Part::Ours => format!("**{who}**{mark}"),
            Part::Bound => format!("*{who}*{mark}"),
            Part::Rival => format!("{who}{mark}"),
        };
        let figures = MEASURES.iter().map(|measure| {
            let figure = results.figure(measure, who, family);
            figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.*}", measure.digits))
        });
        let _ = writeln!(text, "| {name} | {} |", figures.collect::<Vec<_>>().join(" | "));
    }
    text
}

/// Every run with all its figures.
#[must_use]
pub fn json(results: &Results, version: &str) -> Value {
    let runs = results.entries.iter().map(|entry| {
        let mut run = Map::new();
        run.insert("family".to_owned(), entry.family.name().into());
        run.insert("seed".to_owned(), entry.seed.into());
        run.insert("policy".to_owned(), entry.contestant.into());
        run.insert("keeps_reserve".to_owned(), entry.score.keeps_reserve().into());
        for measure in MEASURES {
            run.insert(measure.key.to_owned(), (measure.of)(&entry.score).into());
        }
        Value::Object(run)
    });
    json!({
        "version": version,
        "seeds": results.programme.seeds,
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// The same as a table for spreadsheets.
#[must_use]
pub fn csv(results: &Results, version: &str) -> String {
    let keys: Vec<_> = MEASURES.iter().map(|measure| measure.key).collect();
    let mut text = format!("version,family,seed,policy,keeps_reserve,{}\n", keys.join(","));
    for entry in &results.entries {
        let figure = |measure: &super::measures::Measure| {
            (measure.of)(&entry.score).map(|figure| figure.to_string()).unwrap_or_default()
        };
        let figures: Vec<_> = MEASURES.iter().map(figure).collect();
        let (family, seed, who) = (entry.family.name(), entry.seed, entry.contestant);
        let keeps = entry.score.keeps_reserve();
        let _ = writeln!(text, "{version},{family},{seed},{who},{keeps},{}", figures.join(","));
    }
    text
}

/// How to read the tables.
const LEGEND: &str = "\
**Ours**, rivals, and the *bound* that knows what every VM will want. ✗: took more than 32 MiB of \
the host's reserve, so that its other figures are bought with memory that nobody had. The bound is \
one of unmet demand for who gives out no more than the pool; it may move memory as it likes. Unmet is what programs \
want and do not have in memory, through time; p99 that of the VM worse off than 99 of 100. A burst \
is a rise of demand of 128 MiB or more, and lasts from where it is short until it is met. A useful \
byte is one of a rise that was met. Slack is what VMs hold beyond demand and what their kernels \
keep. Fairness is Jain's index of what each VM has of its share by weight, while there is too \
little for all. The cost is real time of deciding alone; for ours of the whole turn but for the calls.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::contestant::BOUND;
    use crate::contest::measures::Score;
    use crate::contest::results::{Entry, Programme};

    fn results() -> Results {
        let entry = |contestant, reserve_worst| Entry {
            family: Family::Burst,
            seed: 9,
            contestant,
            score: Score { demand: 10.0, unmet: 2.5, reserve_worst, ..Score::default() },
            reel: None,
        };
        let contestants = vec!["two-pointer", BOUND];
        let entries = vec![entry("two-pointer", 40.0), entry(BOUND, 0.0)];
        Results::new(
            Programme { families: vec![Family::Burst], seeds: vec![9], contestants },
            entries,
        )
    }

    #[test]
    fn the_tables_say_seed_version_and_who_broke_the_reserve() {
        let text = markdown(&results(), "1.2.3-4-gabc");
        assert!(text.contains("agentd 1.2.3-4-gabc, seeds 9."), "{text}");
        assert!(text.contains("| **two-pointer** ✗ | 2.50 | "), "{text}");
        assert!(text.contains("| *clairvoyant* | 2.50 | "), "{text}");
        assert!(text.contains("## burst\n"), "{text}");
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let wide = rows.filter(|row| row.matches('|').count() == MEASURES.len() + 2).count();
        assert_eq!(wide, 8, "{text}");
    }

    #[test]
    fn machines_get_every_figure() {
        let value = json(&results(), "1.2.3");
        assert_eq!(value["version"], "1.2.3");
        assert_eq!(value["runs"][0]["unmet_gib_s"], 2.5);
        assert_eq!(value["runs"][0]["burst_worst_s"], Value::Null);
        let text = csv(&results(), "1.2.3");
        let columns: Vec<_> = text.lines().map(|line| line.matches(',').count()).collect();
        assert_eq!(columns, [MEASURES.len() + 4; 3]);
    }
}
