//! A shadow changes nothing, whatever it thinks and however long that takes.

use std::{cell::RefCell, path::Path, time::SystemTime};

use agentd_core::bytes::ByteCount;

use super::*;
use crate::{
    clock::{RealClock, VirtualClock},
    config::Variation,
    control::{InForce, Mode},
    hypervisor::sim::Scenario,
    simulate::Simulation,
};

const SCENARIO: &str = r#"
    [host]
    total = "4GiB"
    other = "1GiB"
    [[vm]]
    name = "grows"
    max = "2GiB"
    actual = "512MiB"
    cache = "0MiB"
    demand = [{ at = "6s", used = "300MiB" }, { at = "30s", used = "1GiB" }]
    [[vm]]
    name = "idle"
    max = "1GiB"
    actual = "800MiB"
    demand = "100MiB"
"#;
const TICKS: u64 = 40;

fn wish(words: &[&str]) -> Wish {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let variation = Variation::of_words(&words);
    let actor = Actor { id: "uid:0".to_owned(), peer: String::new(), time: SystemTime::UNIX_EPOCH };
    let vary: Vary = Arc::new(move |policy| variation.apply(policy).map_err(|e| e.to_string()));
    Wish { vary, actor, reason: "to see".to_owned() }
}

/// Runs the scenario with a shadow that looks at each tick; what was recorded of each, and its looks.
fn run(shadow: &Shadow) -> (Vec<TickRecord>, Vec<Option<Look>>) {
    run_told(shadow, Look::clone)
}

/// The same where the looks are told in this way.
fn run_told(shadow: &Shadow, tell: impl Fn(&Look) -> Look) -> (Vec<TickRecord>, Vec<Option<Look>>) {
    let scenario = Scenario::parse("test.toml", SCENARIO).unwrap();
    let (name, policy) = (Path::new("test.toml"), Policy::default());
    let simulation = Simulation { name, scenario: &scenario, policy, ticks: TICKS };
    let (mut records, mut looks) = (Vec::new(), Vec::new());
    let run: Result<(), ()> = simulation.run_each(|record| {
        looks.push(shadow.look(record, &tell));
        records.push(record.clone());
        Ok(())
    });
    run.unwrap();
    (records, looks)
}

/// The policy of all of these ticks.
fn in_force() -> Revision {
    let in_force = InForce::fixed(Mode::Active, Policy::default());
    Revision::clone(&in_force.policy)
}

fn none() -> Shadow {
    Shadow::none(Arc::new(VirtualClock::default()))
}

/// What was decided and done, without what a look could see of it.
fn done(records: &[TickRecord]) -> String {
    let done = |record: &TickRecord| {
        format!("{:?} {:?} {:?}\n", record.decision, record.applied, record.targets)
    };
    records.iter().map(done).collect()
}

#[test]
fn without_one_nothing_is_told() {
    let shadow = none();
    let (_, looks) = run(&shadow);
    assert!(looks.iter().all(Option::is_none));
    assert!(shadow.report(&in_force(), MOST_TICKS).is_none());
    assert!(!shadow.clear());
}

#[test]
fn the_same_policy_differs_in_nothing() {
    let shadow = none();
    shadow.set(wish(&[]));
    let (_, looks) = run(&shadow);
    assert!(looks.iter().flatten().all(|look| look.compared.vms.is_empty()), "{looks:#?}");
    let report = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert_eq!((report.tally.ticks, report.tally.differed), (TICKS, 0));
    assert_eq!(report.changes, Ok(Vec::new()));
}

#[test]
fn another_policy_is_told_and_changes_nothing() {
    let shadow = none();
    let (without, _) = run(&shadow);
    shadow.set(wish(&["algorithm=working-set"]));
    let (with, looks) = run(&shadow);
    assert_eq!(done(&with), done(&without));
    let differed = looks.iter().flatten().filter(|look| !look.compared.vms.is_empty()).count();
    assert!(differed > 0);
    let report = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert_eq!(report.tally.differed, u64::try_from(differed).unwrap());
    assert_eq!(report.tally.ticks, TICKS);
    let change = &report.changes.unwrap()[0];
    assert_eq!((change.old.as_str(), change.new.as_str()), ("two-pointer", "working-set"));
    // Of the last ticks alone.
    let last = shadow.report(&in_force(), 5).unwrap().tally;
    assert_eq!(last.ticks, 5);
    assert!(last.vms.values().all(|vm| vm.first.tick >= TICKS - 5));
    assert!(shadow.clear());
    assert!(shadow.report(&in_force(), MOST_TICKS).is_none());
}

#[test]
fn a_plan_that_makes_no_sense_is_told_and_reaches_nobody() {
    let shadow = none();
    let (without, _) = run(&shadow);
    let nonsense: Think = |shade, policy, before, sample| {
        let (mut decision, _) = shade.think(policy, before, sample);
        for shrink in &mut decision.plan.shrinks {
            shrink.to = ByteCount::ZERO;
        }
        let findings = agentd_core::check::check(policy, before, sample, &decision);
        (decision, findings)
    };
    let shadow = Shadow { think: nonsense, ..none() };
    shadow.set(wish(&["two_pointer.step=60MiB"]));
    let (with, looks) = run(&shadow);
    assert_eq!(done(&with), done(&without));
    assert!(looks.iter().flatten().any(|look| look.compared.objection.is_some()));
    assert!(shadow.report(&in_force(), MOST_TICKS).unwrap().tally.rejected > 0);
}

#[test]
fn it_rests_nine_times_as_long_as_all_of_a_look_took() {
    const LOOK: Duration = Duration::from_millis(20);
    let slow: Think = |shade, policy, before, sample| {
        RealClock::start().sleep(LOOK);
        shade.think(policy, before, sample)
    };
    // It counts as well what becomes of what it says.
    let tell = |look: &Look| {
        RealClock::start().sleep(LOOK);
        look.clone()
    };
    let clock = RealClock::start();
    let shadow = Shadow { think: slow, ..Shadow::none(clock.clone()) };
    shadow.set(wish(&[]));
    let start = clock.now();
    let (records, looks) = run_told(&shadow, tell);
    let took = clock.now() - start;
    let looked = u32::try_from(looks.iter().flatten().count()).unwrap();
    let report = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert_eq!(report.skipped, u64::try_from(records.len()).unwrap() - u64::from(looked));
    assert!(report.slowest >= 2 * LOOK, "{:?}", report.slowest);
    // Between two looks it rests for all of nine.
    assert!(looked > 0 && (looked - 1) * 2 * LOOK * (1 + REST) <= took, "{looked} in {took:?}");
}

thread_local! {
    /// Ticks on which the shade took over how the acting mind had seen the host fare.
    static ANEW: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn after_ticks_that_it_did_not_see_it_begins_anew() {
    let noting: Think = |shade, policy, before, sample| {
        if format!("{shade:?}").contains("host: None") {
            ANEW.with_borrow_mut(|ticks| ticks.push(sample.tick));
        }
        shade.think(policy, before, sample)
    };
    let (records, _) = run(&none());
    let shadow = Shadow { think: noting, ..none() };
    shadow.set(wish(&[]));
    // Ticks 5 to 7 found no room in the queue.
    for record in records[..5].iter().chain(&records[8..12]) {
        assert!(shadow.look(record, Look::clone).is_some());
    }
    // Beside this policy there is none.
    let mut odd = records[12].clone();
    let policy = Policy { floor: ByteCount::mib(80), ..Policy::default() };
    odd.policy = Arc::new(Revision { number: 7, policy, ..(*odd.policy).clone() });
    let vary: Vary = Arc::new(|policy| {
        if policy.floor == Policy::default().floor {
            Ok(policy.clone())
        } else {
            Err(String::new())
        }
    });
    shadow.set(Wish { vary, ..wish(&[]) });
    assert!(shadow.look(&records[11], Look::clone).is_some());
    assert_eq!(shadow.look(&odd, Look::clone), None);
    assert!(shadow.look(&records[13], Look::clone).is_some());
    assert_eq!(ANEW.take(), [8, 13]);
}

#[test]
fn a_policy_beyond_the_host_is_an_objection_and_its_words_are_not_kept() {
    let shadow = none();
    shadow.set(wish(&["host_reserve=5GiB"]));
    let (_, looks) = run(&shadow);
    let objections = looks.iter().flatten().map(|look| look.compared.objection.clone());
    for objection in objections {
        let objection = objection.unwrap();
        assert!(objection.contains("must be less than the host's memory"), "{objection}");
    }
    let report = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert_eq!(report.tally.rejected, TICKS);
    let kept: Vec<Option<String>> =
        shadow.shared().looks.iter().map(|look| look.objection.clone()).collect();
    assert!(kept.iter().all(|words| words.as_deref() == Some("")), "{kept:?}");
}

#[test]
fn a_policy_that_cannot_be_made_of_the_one_in_force_says_why_and_thinks_nothing() {
    let shadow = none();
    shadow.set(wish(&["two_pointer.need_below=90MiB"]));
    let (_, looks) = run(&shadow);
    assert!(looks.iter().all(Option::is_none));
    let report = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert!(report.changes.unwrap_err().contains("must be at most"));
    assert_eq!(report.tally.ticks, 0);
}

#[test]
fn the_sum_begins_anew_with_another_policy_in_force() {
    let (records, _) = run(&none());
    let shadow = none();
    shadow.set(wish(&["algorithm=working-set"]));
    let look = |record: &TickRecord| shadow.look(record, Look::clone).unwrap();
    for record in &records[..20] {
        look(record);
    }
    let before = shadow.report(&in_force(), MOST_TICKS).unwrap();
    assert_eq!((before.tally.ticks, before.since), (20, Some(records[0].began)));
    let next = Revision { number: in_force().number + 1, ..in_force() };
    let none_yet = shadow.report(&next, MOST_TICKS).unwrap();
    assert_eq!((none_yet.tally.ticks, none_yet.since), (0, None));
    for record in &records[20..25] {
        look(&TickRecord { policy: Arc::new(next.clone()), ..record.clone() });
    }
    let after = shadow.report(&next, MOST_TICKS).unwrap();
    assert_eq!((after.tally.ticks, after.since), (5, Some(records[20].began)));
    assert!(after.tally.vms.values().all(|vm| vm.first.tick >= 20));
    let last = shadow.report(&next, 2).unwrap();
    assert_eq!((last.tally.ticks, last.since), (2, Some(records[23].began)));
}
