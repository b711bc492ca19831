//! What is told of the results: tables for people, and all figures for machines.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::arena::Prompts;
use super::contestant::Part;
use super::goals::{judge, lost, places};
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
        let _ = writeln!(text, "\n{}", lost_families(results, who));
    }
    for family in &results.programme.families {
        let (name, about) = (family.name(), family.about());
        let _ = writeln!(text, "## {name}\n\n{about}\n\n{}", table(results, Some(*family)));
    }
    text
}

fn heading(results: &Results, version: &str) -> String {
    let seeds: Vec<_> = results.programme.seeds.iter().map(ToString::to_string).collect();
    let terms = results.programme.terms;
    let prompts = match terms.prompts {
        Prompts::Ours => {
            "VMs of agentd report when it reads them, as libvirt's do for agentd; those of the others once a \
             period, which is what they ask for, and those of qmemman at once, as its own guests do"
        }
        Prompts::All => {
            "All VMs report when they are read, whoever reads: only the policies differ"
        }
    };
    format!(
        "agentd {version}, seeds {}. Figures are means over the seeds, but for the worst ones and p99.\n\n\
         Rates: {}: {}. Prompts: {}. {prompts}.\n",
        seeds.join(", "),
        terms.rates.name(),
        terms.rates.about(),
        terms.prompts.name(),
    )
}

/// The families that one of ours loses, and to whom.
fn lost_families(results: &Results, who: &str) -> String {
    let lost = lost(results, who);
    if lost.is_empty() {
        return format!(
            "No rival that keeps the reserve leaves less unmet than {who} in any family.\n"
        );
    }
    let mut text = format!("Families that {who} loses, in GiB·s unmet:\n\n");
    text.push_str("| family | own | bound | less is left by |\n| --- | ---: | ---: | --- |\n");
    for lost in lost {
        let mark =
            |rival| if results.keeps_to_pool(rival, Some(lost.family)) { "" } else { " †" };
        let to = lost.to.iter().map(|(rival, unmet)| format!("{rival}{} {unmet:.2}", mark(rival)));
        let (name, to) = (lost.family.name(), to.collect::<Vec<_>>().join(", "));
        let _ = writeln!(text, "| {name} | {:.2} | {:.2} | {to} |", lost.own, lost.bound);
    }
    text
}

fn table(results: &Results, family: Option<Family>) -> String {
    let titles: Vec<_> = MEASURES.iter().map(|measure| measure.title).collect();
    let mut text = format!("| policy | {} |\n|", titles.join(" | "));
    text.push_str(" --- |");
    text.push_str(&" ---: |".repeat(MEASURES.len()));
    text.push('\n');
    for who in &results.programme.contestants {
        let mut name = match results.part(who) {
            Part::Ours => format!("**{who}**"),
            Part::Clairvoyant => format!("*{who}*"),
            Part::Rival => (*who).to_owned(),
        };
        if !results.keeps_reserve(who, family) {
            name.push_str(" ✗");
        }
        if !results.keeps_to_pool(who, family) {
            name.push_str(" †");
        }
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
        run.insert("keeps_to_pool".to_owned(), entry.score.keeps_to_pool().into());
        for measure in MEASURES {
            run.insert(measure.key.to_owned(), (measure.of)(&entry.score).into());
        }
        Value::Object(run)
    });
    json!({
        "version": version,
        "seeds": results.programme.seeds,
        "rates": results.programme.terms.rates.name(),
        "prompts": results.programme.terms.prompts.name(),
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// The same as a table for spreadsheets.
#[must_use]
pub fn csv(results: &Results, version: &str) -> String {
    let keys: Vec<_> = MEASURES.iter().map(|measure| measure.key).collect();
    let (rates, prompts) = (results.programme.terms.rates, results.programme.terms.prompts);
    let (rates, prompts) = (rates.name(), prompts.name());
    let mut text = format!(
        "version,rates,prompts,family,seed,policy,keeps_reserve,keeps_to_pool,{}\n",
        keys.join(",")
    );
    for entry in &results.entries {
        let figure = |measure: &super::measures::Measure| {
            (measure.of)(&entry.score).map(|figure| figure.to_string()).unwrap_or_default()
        };
        let figures: Vec<_> = MEASURES.iter().map(figure).collect();
        let (family, seed, who) = (entry.family.name(), entry.seed, entry.contestant);
        let (reserve, pool) = (entry.score.keeps_reserve(), entry.score.keeps_to_pool());
        let run = format!("{version},{rates},{prompts},{family},{seed},{who},{reserve},{pool}");
        let _ = writeln!(text, "{run},{}", figures.join(","));
    }
    text
}

/// How to read the tables.
const LEGEND: &str = "\
**Ours**, rivals, and the *clairvoyant*, who knows what every VM will want. ✗: took more than 32 MiB of \
the host's reserve, so that its other figures are bought with memory that nobody had. †: its VMs held more \
than 32 MiB beyond the pool together: memory that was given out twice, which hurts as soon as VMs touch it. \
Unmet is what programs want and do not have in memory, through time. The bound is what is unmet with \
whatever division of the pool, moment by moment and without any time to move memory: less leaves only who \
gives out more than the pool or breaks a minimum. \"Met, % of bound\" is what is met of what can be. p99 \
is what is unmet of the VM worse off than 99 of 100, of those of all seeds of a family; for all families the \
mean of theirs. A burst \
is a rise of demand of 128 MiB or more, and lasts from where it is short until it is met. A useful \
byte is one of a rise that was met. Slack is what VMs hold beyond demand and what their kernels \
keep. Fairness is Jain's index of what each VM has of its share by weight, while there is too \
little for all. The cost is real time of deciding alone; for ours of the whole turn but for the calls.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::contestant::CLAIRVOYANT;
    use crate::contest::measures::Score;
    use crate::contest::results::{Entry, Programme, Terms};
    use crate::contest::workload::Rates;

    fn results() -> Results {
        let entry = |contestant, unmet, reserve_worst| Entry {
            family: Family::Burst,
            seed: 9,
            contestant,
            score: Score {
                demand: 10.0,
                unmet,
                reserve_worst,
                least_unmet: 1.0,
                beyond_pool_worst: reserve_worst / 2.0 + 20.0,
                ..Score::default()
            },
            reel: None,
        };
        let contestants = vec!["two-pointer", "hyper-v", CLAIRVOYANT];
        let entries = vec![
            entry("two-pointer", 2.5, 40.0),
            entry("hyper-v", 1.5, 30.0),
            entry(CLAIRVOYANT, 2.5, 0.0),
        ];
        let (families, seeds) = (vec![Family::Burst], vec![9]);
        let terms = Terms { rates: Rates::Lab, prompts: Prompts::All };
        Results::new(Programme { families, seeds, contestants, terms }, entries)
    }

    #[test]
    fn the_tables_say_seed_version_and_who_broke_the_reserve() {
        let text = markdown(&results(), "1.2.3-4-gabc");
        assert!(text.contains("agentd 1.2.3-4-gabc, seeds 9."), "{text}");
        assert!(text.contains("Rates: lab: programs take 90 to 250 MiB/s"), "{text}");
        assert!(text.contains("Prompts: all. All VMs report when they are read"), "{text}");
        assert!(text.contains("| **two-pointer** ✗ † | 2.50 | 1.00 | "), "{text}");
        assert!(text.contains("| hyper-v † | 1.50 | 1.00 | "), "{text}");
        assert!(text.contains("| *clairvoyant* | 2.50 | 1.00 | "), "{text}");
        assert!(text.contains("| burst | 2.50 | 1.00 | hyper-v † 1.50 |"), "{text}");
        assert!(text.contains("## burst\n"), "{text}");
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let wide = rows.filter(|row| row.matches('|').count() == MEASURES.len() + 2).count();
        assert_eq!(wide, 10, "{text}");
    }

    #[test]
    fn machines_get_every_figure() {
        let value = json(&results(), "1.2.3");
        assert_eq!(value["version"], "1.2.3");
        assert_eq!(value["runs"][0]["unmet_gib_s"], 2.5);
        assert_eq!(value["runs"][0]["burst_worst_s"], Value::Null);
        let text = csv(&results(), "1.2.3");
        let columns: Vec<_> = text.lines().map(|line| line.matches(',').count()).collect();
        assert_eq!(columns, [MEASURES.len() + 7; 4]);
        assert!(text.contains("\n1.2.3,lab,all,burst,9,hyper-v,true,false,1.5,1,"), "{text}");
        assert_eq!((&value["rates"], &value["prompts"]), (&"lab".into(), &"all".into()));
    }
}
