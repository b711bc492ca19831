//! What is expected of ours, and whether it is so. A goal that is missed says by how much.

use std::fmt::Write;

use super::contestant::{CLAIRVOYANT, Part};
use super::measures::{MEASURES, Measure};
use super::results::{Results, average};
use super::workload::Family;

/// A goal and whether it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// What is expected.
    pub text: &'static str,
    /// `None` where there is nothing to judge it by.
    pub reached: Option<bool>,
    /// By what, or by how much not.
    pub detail: String,
}

/// Every goal, for one of ours.
#[must_use]
pub fn judge(results: &Results, who: &str) -> Vec<Goal> {
    vec![
        reserve(results, who),
        unmet(results, who),
        met(results, who),
        above_bound(results, who),
        pool(results, who),
        moved(results, who),
        rest(results, who),
        minimums(results, who),
        kills(results, who),
    ]
}

fn reserve(results: &Results, who: &str) -> Goal {
    let families = results.programme.families.iter();
    let broken: Vec<_> = families
        .filter(|family| !results.keeps_reserve(who, Some(**family)))
        .map(|family| {
            let worst = figure(results, "reserve_worst_mib", who, Some(*family));
            format!("{} by {worst:.0} MiB", family.name())
        })
        .collect();
    let worst = figure(results, "reserve_worst_mib", who, None);
    let fine = format!("everywhere; at worst {worst:.0} MiB are missing");
    goal("the host keeps its reserve", Some(broken.is_empty()), &fine, &broken)
}

/// On every family, beside each rival that keeps the reserve there.
fn unmet(results: &Results, who: &str) -> Goal {
    let text = "on every family, no rival that keeps the reserve leaves less unmet";
    let families = results.programme.families.iter();
    let compared = families.map(|family| rivals_in(results, *family).count()).sum::<usize>();
    let lost: Vec<_> = lost(results, who)
        .into_iter()
        .filter_map(|lost| {
            let (rival, least) = lost.to.first()?;
            let (name, own) = (lost.family.name(), lost.own);
            Some(format!("{name}: {own:.2} beside {least:.2} GiB·s of {rival}"))
        })
        .collect();
    goal(text, (compared > 0).then_some(lost.is_empty()), "on all", &lost)
}

/// A family in which rivals that keep the reserve there leave less unmet. Figures are GiB·s.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Which family.
    pub family: Family,
    /// What is unmet.
    pub own: f64,
    /// The least that anybody could leave.
    pub bound: f64,
    /// To whom, and what they leave; the best one first.
    pub to: Vec<(&'static str, f64)>,
}

/// Every family that one of ours loses.
#[must_use]
pub fn lost(results: &Results, who: &str) -> Vec<Lost> {
    let of_family = |family: &Family| {
        let unmet = |who| figure(results, "unmet_gib_s", who, Some(*family));
        let own = unmet(who);
        let theirs = rivals_in(results, *family).map(|rival| (rival, unmet(rival)));
        let mut to: Vec<_> = theirs.filter(|(_, least)| own > least + SAME).collect();
        to.sort_by(|one, two| one.1.total_cmp(&two.1));
        let bound = figure(results, "bound_gib_s", who, Some(*family));
        (!to.is_empty()).then_some(Lost { family: *family, own, bound, to })
    };
    results.programme.families.iter().filter_map(of_family).collect()
}

/// The rivals that keep the reserve in a family.
fn rivals_in(results: &Results, family: Family) -> impl Iterator<Item = &'static str> {
    let rivals = results.of_part(Part::Rival);
    rivals.filter(move |rival| results.keeps_reserve(rival, Some(family)))
}

/// One reading of "within 10 % of the bound": what is met.
fn met(results: &Results, who: &str) -> Goal {
    let text = "in the mean over all families at least 90 % met of what the bound meets";
    let measure = named("met_of_bound_percent");
    let mean = results.figure(measure, who, None);
    let families = results.programme.families.iter();
    let least = families
        .filter_map(|family| Some((results.figure(measure, who, Some(*family))?, family)))
        .min_by(|one, two| one.0.total_cmp(&two.0));
    let detail = match (mean, least) {
        (Some(mean), Some((least, family))) => {
            format!("{mean:.1} %, least in {}: {least:.1} %", family.name())
        }
        _ => "nothing was run".to_owned(),
    };
    Goal { text, reached: mean.map(|mean| mean >= 90.0), detail }
}

/// The other reading, which is the stricter one: what is unmet.
fn above_bound(results: &Results, who: &str) -> Goal {
    let text = "in the mean over all families at most 10 % more unmet than by the bound";
    let own = figure(results, "unmet_gib_s", who, None);
    let bound = figure(results, "bound_gib_s", who, None);
    let clairvoyant = results.figure(named("unmet_gib_s"), CLAIRVOYANT, None);
    let mut detail = format!("{own:.2} beside {bound:.2} GiB·s of the bound");
    if let Some(clairvoyant) = clairvoyant {
        let _ = write!(detail, "; {clairvoyant:.2} of {CLAIRVOYANT}, who also has to move memory");
    }
    Goal { text, reached: Some(own <= 1.1 * bound + SAME), detail }
}

fn moved(results: &Results, who: &str) -> Goal {
    let text = "no more memory moved than by the median rival";
    let own = figure(results, "moved_gib", who, None);
    let mut rivals: Vec<f64> = results
        .of_part(Part::Rival)
        .map(|rival| figure(results, "moved_gib", rival, None))
        .collect();
    rivals.sort_by(f64::total_cmp);
    // Of an even number the mean of the two in the middle.
    let middle = [rivals.len().saturating_sub(1) / 2, rivals.len() / 2];
    let median = average(middle.into_iter().filter_map(|index| rivals.get(index).copied()));
    let detail = median.map_or_else(
        || format!("{own:.1} GiB; no rivals were run"),
        |median| format!("{own:.1} GiB beside {median:.1} GiB"),
    );
    Goal { text, reached: median.map(|median| own <= median), detail }
}

fn rest(results: &Results, who: &str) -> Goal {
    let text = "no orders on steady demand after it has settled";
    if !results.programme.families.contains(&Family::Steady) {
        return Goal { text, reached: None, detail: "the family steady was not run".to_owned() };
    }
    let late = figure(results, "late_orders", who, Some(Family::Steady));
    let detail = format!("{late:.1} orders in the last third");
    Goal { text, reached: Some(late == 0.0), detail }
}

fn pool(results: &Results, who: &str) -> Goal {
    let worst = figure(results, "beyond_pool_worst_mib", who, None);
    let sum = figure(results, "beyond_pool_gib_s", who, None);
    let text = "no more than the pool is given out";
    let detail = format!("{sum:.3} GiB·s beyond it, at worst {worst:.0} MiB");
    Goal { text, reached: Some(results.keeps_to_pool(who, None)), detail }
}

fn minimums(results: &Results, who: &str) -> Goal {
    let below = figure(results, "below_min_gib_s", who, None);
    let detail = format!("{below:.3} GiB·s below");
    Goal { text: "guaranteed minimums are kept", reached: Some(below == 0.0), detail }
}

fn kills(results: &Results, who: &str) -> Goal {
    let text = "no more programs killed than with any rival that keeps the reserve";
    let own = figure(results, "oom_kills", who, None);
    let rivals = results.of_part(Part::Rival).filter(|rival| results.keeps_reserve(rival, None));
    let least = rivals
        .map(|rival| (figure(results, "oom_kills", rival, None), rival))
        .min_by(|one, two| one.0.total_cmp(&two.0));
    let detail = match least {
        Some((least, rival)) => format!("{own:.2} a run, least {least:.2} of {rival}"),
        None => format!("{own:.2} a run; no rival keeps the reserve everywhere"),
    };
    Goal { text, reached: least.map(|(least, _)| own <= least), detail }
}

fn goal(text: &'static str, reached: Option<bool>, fine: &str, broken: &[String]) -> Goal {
    let detail = match reached {
        None => "no rivals were run".to_owned(),
        Some(true) => fine.to_owned(),
        Some(false) => broken.join("; "),
    };
    Goal { text, reached, detail }
}

/// What a measure says; zero where it has no figure.
fn figure(results: &Results, key: &str, who: &str, family: Option<Family>) -> f64 {
    results.figure(named(key), who, family).unwrap_or(0.0)
}

/// How the contestants stand: the mean over all families of the place of each in unmet demand.
#[must_use]
pub fn places(results: &Results) -> Vec<(&'static str, f64)> {
    let all = &results.programme.contestants;
    let place = |who: &&'static str| {
        let better = |family: &Family| {
            let unmet = |who| figure(results, "unmet_gib_s", who, Some(*family));
            let own = unmet(who);
            let before = all.iter().filter(|other| unmet(other) < own - SAME).count();
            Some(1.0 + f64::from(u32::try_from(before).ok()?))
        };
        let mean = average(results.programme.families.iter().filter_map(better));
        (*who, mean.unwrap_or(0.0))
    };
    let mut places: Vec<_> = all.iter().map(place).collect();
    places.sort_by(|one, two| one.1.total_cmp(&two.1));
    places
}

/// The measure of this name.
pub(super) fn named(key: &str) -> &'static Measure {
    MEASURES.iter().find(|measure| measure.key == key).unwrap_or(&MEASURES[0])
}

/// What is less apart, in GiB·s, is the same.
const SAME: f64 = 0.005;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::measures::Score;
    use crate::contest::results::{Entry, Programme, Terms};

    /// Ours, a rival, one that spends the reserve, and the clairvoyant.
    fn results(ours: &Score) -> Results {
        let entry = |contestant, score| Entry {
            family: Family::Steady,
            seed: 1,
            contestant,
            score,
            reel: None,
        };
        let base = Score { demand: 100.0, least_unmet: 6.5, ..Score::default() };
        let rival = Score { unmet: 8.0, moved: 5.0, oom_kills: 1.0, ..base.clone() };
        let spender = Score { unmet: 1.0, moved: 9.0, reserve_worst: 300.0, ..base.clone() };
        let contestants = vec!["two-pointer", "rival", "spender", CLAIRVOYANT];
        let ours = Score { demand: base.demand, least_unmet: base.least_unmet, ..ours.clone() };
        let scores = [ours, rival, spender, base];
        let entries = contestants.iter().zip(scores).map(|(who, score)| entry(*who, score));
        let entries = entries.collect();
        let (families, seeds, terms) = (vec![Family::Steady], vec![1], Terms::default());
        let programme = Programme { families, seeds, contestants, terms };
        Results::new(programme, entries)
    }

    fn reached(ours: &Score) -> Vec<bool> {
        let goals = judge(&results(ours), "two-pointer");
        goals.iter().map(|goal| goal.reached.unwrap()).collect()
    }

    #[test]
    fn a_good_one_reaches_all() {
        let good = Score { unmet: 7.0, moved: 4.0, oom_kills: 1.0, ..Score::default() };
        assert_eq!(reached(&good), [true; 9]);
    }

    #[test]
    fn a_bad_one_is_told_what_it_misses_and_by_how_much() {
        let bad = Score {
            unmet: 20.0,
            moved: 12.0,
            late_orders: 3.0,
            below_min: 0.5,
            oom_kills: 2.0,
            reserve_worst: 40.0,
            beyond_pool: 0.25,
            beyond_pool_worst: 50.0,
            ..Score::default()
        };
        assert_eq!(reached(&bad), [false; 9]);
        let goals = judge(&results(&bad), "two-pointer");
        assert_eq!(goals[1].detail, "steady: 20.00 beside 8.00 GiB·s of rival");
        assert_eq!(goals[0].detail, "steady by 40 MiB");
        assert_eq!(goals[2].detail, "85.6 %, least in steady: 85.6 %");
        let above = "20.00 beside 6.50 GiB·s of the bound; 0.00 of clairvoyant, who also has to move memory";
        assert_eq!(goals[3].detail, above);
        assert_eq!(goals[4].detail, "0.250 GiB·s beyond it, at worst 50 MiB");
    }

    #[test]
    fn a_family_is_lost_to_who_keeps_the_reserve_and_leaves_less() {
        let lost_with = |unmet| lost(&results(&Score { unmet, ..Score::default() }), "two-pointer");
        let to = vec![("rival", 8.0)];
        let steady = Lost { family: Family::Steady, own: 20.0, bound: 6.5, to };
        assert_eq!(lost_with(20.0), [steady]);
        assert_eq!(lost_with(8.0), []);
    }

    #[test]
    fn what_is_moved_is_held_against_the_middle_of_the_rivals() {
        let ours = |moved| Score { unmet: 7.0, moved, oom_kills: 1.0, ..Score::default() };
        let two = |moved| reached(&ours(moved))[5];
        assert_eq!([two(7.0), two(7.1)], [true, false], "between 5 and 9");
        let three = |moved| {
            let mut results = results(&ours(moved));
            results.programme.contestants.push("another");
            let mut entry = results.entries[1].clone();
            (entry.contestant, entry.score.moved) = ("another", 20.0);
            results.entries.push(entry);
            judge(&results, "two-pointer")[5].reached
        };
        assert_eq!([three(9.0), three(9.1)], [Some(true), Some(false)]);
    }

    #[test]
    fn without_rivals_there_is_nothing_to_win() {
        let mut results = results(&Score::default());
        results.programme.contestants = vec!["two-pointer", CLAIRVOYANT];
        let open = judge(&results, "two-pointer");
        let open: Vec<_> = open.iter().filter(|goal| goal.reached.is_none()).collect();
        assert_eq!(open.len(), 3, "{open:?}");
    }

    #[test]
    fn places_are_by_what_is_unmet() {
        let results = results(&Score { unmet: 7.0, ..Score::default() });
        let names: Vec<_> = places(&results).into_iter().map(|(who, _)| who).collect();
        assert_eq!(names, [CLAIRVOYANT, "spender", "two-pointer", "rival"]);
    }
}
