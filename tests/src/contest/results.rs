//! [`Results`]: the scores of many runs, and what is read off them.

use std::collections::BTreeMap;

use super::arena::{Prompts, run};
use super::contestant::{Contestant, Part};
use super::measures::{Measure, Over, Score, worse_than_99};
use super::plot::Reel;
use super::workload::{Family, Rates};
use crate::threads::on_all;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Programme {
    /// These families,
    pub families: Vec<Family>,
    /// each with these seeds,
    pub seeds: Vec<u64>,
    /// by these contestants,
    pub contestants: Vec<&'static str>,
    /// on such hosts.
    pub terms: Terms,
}

/// What is the same for all workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How fast VMs and their programs are.
    pub rates: Rates,
    /// Whose VMs report when they are read.
    pub prompts: Prompts,
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
        let (first, terms) = (self.seeds.first().copied(), self.terms);
        let entries = on_all(&jobs, threads, |(family, seed, who)| {
            play((*family, *seed), who, terms, first == Some(*seed))
        });
        Results::new(self, entries.into_iter().flatten().collect())
    }
}

fn play((family, seed): (Family, u64), who: &str, terms: Terms, filmed: bool) -> Option<Entry> {
    let (load, contestant) = (family.draw(seed).at(terms.rates), Contestant::named(who)?);
    let contestant_name = contestant.name();
    let run = run(&load, contestant, terms.prompts);
    let score = Score::of(&load, &run);
    let reel = filmed.then(|| Reel::of(&load, &run));
    Some(Entry { family, seed, contestant: contestant_name, score, reel })
}

impl Results {
    /// These runs.
    #[must_use]
    pub fn new(programme: Programme, entries: Vec<Entry>) -> Self {
        let parts = Contestant::all().into_iter().map(|who| (who.name(), who.part())).collect();
        Self { programme, entries, parts }
    }

    /// What part somebody has.
    #[must_use]
    pub fn part(&self, who: &str) -> Part {
        self.parts.get(who).copied().unwrap_or(Part::Rival)
    }

    /// What a measure says of the runs of somebody, in one family or in all: what it tells of many, for
    /// all families the mean of theirs, or the worst. `None` where it has no figure in any.
    #[must_use]
    pub fn figure(&self, measure: &Measure, who: &str, family: Option<Family>) -> Option<f64> {
        let Some(family) = family else {
            let families = self.programme.families.iter();
            let theirs = families.filter_map(|one| self.figure(measure, who, Some(*one)));
            return if measure.over == Over::Worst {
                theirs.reduce(f64::max)
            } else {
                average(theirs)
            };
        };
        let scores = || self.scores(who, Some(family));
        let figures = scores().filter_map(measure.of);
        match measure.over {
            Over::Mean => average(figures),
            Over::Worst => figures.reduce(f64::max),
            Over::Vms => {
                scores().next()?;
                Some(worse_than_99(scores().flat_map(|score| score.unmet_of_vms.iter().copied())))
            }
        }
    }

    /// True for one that left hosts their reserve, in one family or in all.
    #[must_use]
    pub fn keeps_reserve(&self, who: &str, family: Option<Family>) -> bool {
        self.scores(who, family).all(Score::keeps_reserve)
    }

    /// True for one whose VMs held no more than the pool, in one family or in all.
    #[must_use]
    pub fn keeps_to_pool(&self, who: &str, family: Option<Family>) -> bool {
        self.scores(who, family).all(Score::keeps_to_pool)
    }

    fn scores(&self, who: &str, family: Option<Family>) -> impl Iterator<Item = &Score> {
        let of = move |entry: &&Entry| {
            entry.contestant == who && family.is_none_or(|family| entry.family == family)
        };
        self.entries.iter().filter(of).map(|entry| &entry.score)
    }

    /// Those of one part.
    pub fn of_part(&self, part: Part) -> impl Iterator<Item = &'static str> {
        let all = self.programme.contestants.iter().copied();
        all.filter(move |who| self.part(who) == part)
    }
}

/// The mean of some figures; none of none.
pub(super) fn average(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0_u32), |(sum, count), one| (sum + one, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::contestant::CLAIRVOYANT;
    use crate::contest::measures::MEASURES;

    fn programme(families: &[Family], seeds: &[u64]) -> Programme {
        Programme {
            families: families.to_vec(),
            seeds: seeds.to_vec(),
            contestants: vec!["two-pointer", CLAIRVOYANT],
            terms: Terms::default(),
        }
    }

    #[test]
    fn of_many_runs_the_mean_is_told_or_the_worst_or_what_the_vms_say() {
        let entry = |family, seed: u32, unmet: &[f64]| Entry {
            family,
            seed: seed.into(),
            contestant: "two-pointer",
            score: Score {
                unmet: unmet.iter().sum(),
                unmet_of_vms: unmet.to_vec(),
                reserve_worst: f64::from(seed),
                ..Score::default()
            },
            reel: None,
        };
        let all: Vec<f64> = (0..100).map(f64::from).collect();
        let entries = vec![
            entry(Family::Burst, 1, &all),
            entry(Family::Burst, 2, &[0.0; 100]),
            entry(Family::Many, 1, &[7.0]),
        ];
        let results = Results::new(programme(&[Family::Burst, Family::Many], &[1, 2]), entries);
        let told = |key, who, family| {
            let measure = MEASURES.iter().find(|one| one.key == key).unwrap();
            results.figure(measure, who, family)
        };
        assert_eq!(told("unmet_gib_s", "two-pointer", Some(Family::Burst)), Some(2_475.0));
        assert_eq!(told("unmet_gib_s", "two-pointer", None), Some(f64::midpoint(2_475.0, 7.0)));
        assert_eq!(told("reserve_worst_mib", "two-pointer", None), Some(2.0));
        // Of 200 VMs two are worse off.
        assert_eq!(told("unmet_p99_gib_s", "two-pointer", Some(Family::Burst)), Some(97.0));
        assert_eq!(told("unmet_p99_gib_s", "two-pointer", None), Some(52.0));
        assert_eq!(told("unmet_p99_gib_s", "nobody", None), None);
    }

    #[test]
    fn a_programme_is_run_in_its_order() {
        let results = programme(&[Family::Steady], &[1]).run(2);
        let names: Vec<_> = results.entries.iter().map(|entry| entry.contestant).collect();
        assert_eq!(names, ["two-pointer", CLAIRVOYANT]);
        assert!(results.entries.iter().all(|entry| entry.reel.is_some()));
    }
}
