//! [`Results`]: the scores of many runs, and what is read off them.

use std::collections::BTreeMap;

use super::arena::run;
use super::contestant::{BOUND, Contestant, Part};
use super::measures::{Measure, Score};
use super::plot::Reel;
use super::workload::Family;
use crate::threads::on_all;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Programme {
    /// These families,
    pub families: Vec<Family>,
    /// each with these seeds,
    pub seeds: Vec<u64>,
    /// by these contestants.
    pub contestants: Vec<&'static str>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The family of its workload.
    pub family: Family,
    /// The seed of its workload.
    pub seed: u64,
    /// Who had the host.
    pub contestant: &'static str,
    /// What came of it.
    pub score: Score,
    /// What it looked like; of the first seed only.
    pub reel: Option<Reel>,
}

/// All runs.
#[derive(Debug)]
pub struct Results {
    /// What was run.
    pub programme: Programme,
    /// The runs, in the order of the programme.
    pub entries: Vec<Entry>,
    parts: BTreeMap<&'static str, Part>,
}

impl Programme {
    /// Runs all of it, on so many threads.
    #[must_use]
    pub fn run(self, threads: usize) -> Results {
        let mut jobs = Vec::new();
        for family in &self.families {
            for seed in &self.seeds {
                jobs.extend(self.contestants.iter().map(|who| (*family, *seed, *who)));
            }
        }
        let first = self.seeds.first().copied();
        let entries = on_all(&jobs, threads, |(family, seed, who)| {
            play(*family, *seed, who, first == Some(*seed))
        });
        Results::new(self, entries.into_iter().flatten().collect())
    }
}

fn play(family: Family, seed: u64, who: &str, filmed: bool) -> Option<Entry> {
    let (load, contestant) = (family.draw(seed), Contestant::named(who)?);
    let contestant_name = contestant.name();
    let run = run(&load, contestant);
    let score = Score::of(&load, &run);
    let reel = filmed.then(|| Reel::of(&load, &run));
    Some(Entry { family, seed, contestant: contestant_name, score, reel })
}

impl Results {
    /// These runs, each held against the bound of its workload.
    #[must_use]
    pub fn new(programme: Programme, mut entries: Vec<Entry>) -> Self {
        let bounds: BTreeMap<(Family, u64), f64> = entries
            .iter()
            .filter(|entry| entry.contestant == BOUND)
            .map(|entry| ((entry.family, entry.seed), entry.score.met()))
            .collect();
        for entry in &mut entries {
            let bound = bounds.get(&(entry.family, entry.seed)).filter(|bound| **bound > 0.0);
            entry.score.met_of_bound = bound.map(|bound| entry.score.met() / bound);
        }
        let parts = Contestant::all().into_iter().map(|who| (who.name(), who.part())).collect();
        Self { programme, entries, parts }
    }

    /// What part somebody has.
    #[must_use]
    pub fn part(&self, who: &str) -> Part {
        self.parts.get(who).copied().unwrap_or(Part::Rival)
    }

    /// What a measure says of the runs of somebody, in one family or in all: the mean, for all
    /// families that of their means, or the worst. `None` where it has no figure in any.
    #[must_use]
    pub fn figure(&self, measure: &Measure, who: &str, family: Option<Family>) -> Option<f64> {
        let families = family.map_or_else(|| self.programme.families.clone(), |one| vec![one]);
        let of_family = |family: Family| {
            let own = move |entry: &&Entry| entry.family == family && entry.contestant == who;
            let figures = self.entries.iter().filter(own);
            summary(measure, figures.filter_map(|entry| (measure.of)(&entry.score)))
        };
        summary(measure, families.into_iter().filter_map(of_family))
    }

    /// True for one that left hosts their reserve, in one family or in all.
    #[must_use]
    pub fn keeps_reserve(&self, who: &str, family: Option<Family>) -> bool {
        let of = |entry: &&Entry| {
            entry.contestant == who && family.is_none_or(|family| entry.family == family)
        };
        self.entries.iter().filter(of).all(|entry| entry.score.keeps_reserve())
    }

    /// Those of one part.
    pub fn of_part(&self, part: Part) -> impl Iterator<Item = &'static str> {
        let all = self.programme.contestants.iter().copied();
        all.filter(move |who| self.part(who) == part)
    }
}

fn summary(measure: &Measure, figures: impl Iterator<Item = f64>) -> Option<f64> {
    if measure.worst { figures.reduce(f64::max) } else { average(figures) }
}

/// The mean of some figures; none of none.
pub(super) fn average(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0_u32), |(sum, count), one| (sum + one, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::measures::MEASURES;

    #[test]
    fn every_run_is_held_against_the_bound_of_its_workload() {
        let entry = |contestant, seed, unmet| Entry {
            family: Family::Burst,
            seed,
            contestant,
            score: Score { demand: 10.0, unmet, reserve_worst: seed as f64, ..Score::default() },
            reel: None,
        };
        let entries = vec![
            entry(BOUND, 1, 0.0),
            entry("two-pointer", 1, 5.0),
            entry(BOUND, 2, 5.0),
            entry("two-pointer", 2, 6.0),
        ];
        let programme = Programme {
            families: vec![Family::Burst],
            seeds: vec![1, 2],
            contestants: vec!["two-pointer", BOUND],
        };
        let results = Results::new(programme, entries);
        let measure = MEASURES.iter().find(|one| one.key == "met_of_bound_percent").unwrap();
        let mean = results.figure(measure, "two-pointer", None).unwrap();
        assert!((mean - 65.0).abs() < 1e-9, "{mean}");
        assert_eq!(results.figure(measure, "nobody", None), None);
        let worst = MEASURES.iter().find(|one| one.worst).unwrap();
        assert_eq!(results.figure(worst, "two-pointer", None), Some(2.0));
    }

    #[test]
    fn a_programme_is_run_in_its_order() {
        let programme = Programme {
            families: vec![Family::Steady],
            seeds: vec![1],
            contestants: vec!["two-pointer", BOUND],
        };
        let results = programme.run(2);
        let names: Vec<_> = results.entries.iter().map(|entry| entry.contestant).collect();
        assert_eq!(names, ["two-pointer", BOUND]);
        assert!(results.entries.iter().all(|entry| entry.reel.is_some()));
    }
}
