//! The control against a disk that works, fails and hangs, and against many callers at once.

use std::{collections::BTreeSet, thread, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    policy::{VmKey, VmPolicy},
};
use proptest::prelude::*;

use super::{
    desk::{Claim, Whose},
    keeper::Keeper,
    rig::{PATIENT, Rig, edit, somebody},
    *,
};
use crate::{clock::Clock as _, event::PolicyChange};

fn set_step(mib: u32) -> PolicyEdit {
    edit(move |policy| policy.two_pointer.step = ByteCount::mib(mib))
}

fn trial(mib: u32, seconds: u64) -> PolicyEdit {
    PolicyEdit { revert_after: Some(Duration::from_secs(seconds)), ..set_step(mib) }
}

fn step(control: &Control) -> ByteCount {
    control.in_force().policy.policy.two_pointer.step
}

#[test]
fn a_change_is_in_force_on_disk_and_announced() {
    let rig = Rig::default();
    let control = rig.start();
    let set = control.update(set_step(60)).unwrap();
    assert_eq!(set.revision.number, 2);
    assert_eq!(set.changes[0].path, "two_pointer.step_bytes");
    assert_eq!(set.position.map(|position| position.seq), Some(1));
    assert_eq!(control.in_force().policy, set.revision);
    assert_eq!(rig.disk.with(|disk| disk.revisions[&2].0.clone()), *set.revision);
    assert!(matches!(
        rig.ear.with(|heard| heard.events.clone())[..],
        [Event::Policy(PolicyChange { ref revision, .. })] if *revision == set.revision
    ));
}

#[test]
fn a_change_that_changes_nothing_makes_no_revision() {
    let rig = Rig::default();
    let control = rig.start();
    let set = control.update(set_step(50)).unwrap();
    assert_eq!((set.revision.number, set.changes.len(), set.position), (1, 0, None));
    assert_eq!(rig.ear.with(|heard| heard.events.len()), 0);
}

#[test]
fn nonsense_and_outdated_changes_change_nothing() {
    let rig = Rig::default();
    let control = rig.start();
    let before = control.in_force().policy.clone();
    let nonsense = control.update(edit(|policy| policy.floor = ByteCount::ZERO)).unwrap_err();
    assert!(nonsense.to_string().starts_with("floor = 0 B: must be at least"), "{nonsense}");
    let outdated = PolicyEdit { etag: Some("1-00".to_owned()), ..set_step(60) };
    let conflict = control.update(outdated).unwrap_err();
    assert_eq!(conflict, ControlError::Conflict { current_etag: before.etag.clone() });
    let long = PolicyEdit { revert_after: Some(Duration::from_secs(90_000)), ..set_step(60) };
    assert!(control.update(long).unwrap_err().to_string().contains("from 1 s to 24 h"));
    let only = PolicyEdit { validate_only: true, ..set_step(60) };
    let would_be = control.update(only).unwrap();
    assert_eq!(would_be.revision.policy.two_pointer.step, ByteCount::mib(60));
    assert_eq!(control.in_force().policy, before);
    assert_eq!(rig.disk.with(|disk| disk.revisions.len()), 1);
}

#[test]
fn a_trial_ends_by_itself() {
    let rig = Rig::default();
    let control = rig.start();
    let set = control.update(trial(60, 30)).unwrap();
    assert!(set.revision.revert_at.is_some());
    rig.pass(29);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(60));
    rig.pass(1);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));
    let revision = control.in_force().policy.clone();
    assert_eq!((revision.number, revision.actor.id.as_str()), (3, "agent"));
    assert_eq!(
        control.confirm(revision.etag.clone(), somebody()),
        Err(ControlError::NothingToConfirm)
    );
}

#[test]
fn a_confirmed_trial_stays_with_its_etag() {
    let rig = Rig::default();
    let control = rig.start();
    let set = control.update(trial(60, 30)).unwrap();
    let wrong = control.confirm("1-00".to_owned(), somebody()).unwrap_err();
    assert!(matches!(wrong, ControlError::Conflict { .. }));
    let kept = control.confirm(set.revision.etag.clone(), somebody()).unwrap();
    assert_eq!((kept.etag.as_str(), kept.revert_at), (set.revision.etag.as_str(), None));
    rig.pass(100);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(60));
    assert!(control.close(PATIENT));
    assert_eq!(step(&rig.start()), ByteCount::mib(60));
}

#[test]
fn a_trial_that_runs_out_while_agentd_is_away_is_over_at_its_start() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(60, 30)).unwrap();
    assert!(control.close(PATIENT));
    rig.pass(10);
    let control = rig.start();
    assert_eq!(step(&control), ByteCount::mib(60));
    rig.pass(20);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));

    control.update(trial(70, 30)).unwrap();
    assert!(control.close(PATIENT));
    rig.pass(31);
    assert_eq!(step(&rig.start()), ByteCount::mib(50));
}

#[test]
fn who_may_set_no_policy_for_good_has_none_last_by_trying_it_again() {
    const HOUR: u64 = 3600;
    let rig = Rig::default();
    let mut step = 60;
    let mut ask = |control: &Control, hours: u64, may_last| {
        step += 1;
        let actor = Actor { time: rig.clock.wall(), ..somebody() };
        control.update(PolicyEdit { may_last, actor, ..trial(step, hours * HOUR) }).map(drop)
    };
    let left = |hours| Err(ControlError::TrialsTooLong { left: Duration::from_secs(hours * HOUR) });
    let control = rig.start();
    ask(&control, 20, false).unwrap();
    rig.pass(10 * HOUR);
    assert_eq!(ask(&control, 15, false), left(14));
    ask(&control, 14, false).unwrap();
    assert!(control.close(PATIENT));
    let control = rig.start();
    rig.pass(2 * HOUR);
    assert_eq!(ask(&control, 13, false), left(12), "also after a restart");
    rig.pass(12 * HOUR);
    control.expire().unwrap();
    assert_eq!(control.in_force().policy.policy, Policy::default());
    assert_eq!(ask(&control, 1, false), left(0), "right behind them");
    rig.pass(HOUR - 1);
    assert!(control.close(PATIENT));
    let control = rig.start();
    assert_eq!(ask(&control, 1, false), left(0), "also after a restart between two of them");
    rig.pass(1);
    ask(&control, 24, false).unwrap();
    rig.pass(20 * HOUR);
    // An admin may, and what they set for good ends the row.
    ask(&control, 24, true).unwrap();
    control.update(set_step(200)).unwrap();
    assert!(control.close(PATIENT));
    let control = rig.start();
    ask(&control, 24, false).unwrap();
}

#[test]
fn trials_in_a_row_go_back_to_where_the_first_began() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(60, 30)).unwrap();
    control.update(trial(70, 30)).unwrap();
    rig.pass(30);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));
}

#[test]
fn a_lasting_change_on_a_trial_keeps_it_and_says_so() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(60, 30)).unwrap();
    let set = control.update(edit(|policy| policy.floor = ByteCount::mib(65))).unwrap();
    let ended = "revision 2 was a trial, which this change ends: what it tried and this does not change stays";
    assert_eq!(set.warnings, [ended]);
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(60));
}

#[test]
fn a_lasting_change_to_what_is_on_trial_keeps_the_trial_also_over_a_restart() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(60, 30)).unwrap();
    let only = PolicyEdit { validate_only: true, ..set_step(60) };
    let would = control.update(only).unwrap();
    assert_eq!((would.warnings.len(), would.revision.revert_at), (1, None));
    assert!(control.in_force().policy.revert_at.is_some(), "it was only asked");
    let told = rig.ear.with(|heard| heard.events.len());
    let set = control.update(set_step(60)).unwrap();
    assert_eq!((set.changes.len(), set.warnings), (0, would.warnings));
    assert_eq!((set.revision.number, set.revision.revert_at), (2, None));
    assert!(set.position.is_some());
    assert_eq!(rig.ear.with(|heard| heard.events.len()), told + 1);
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(60));
    assert!(control.close(PATIENT));
    assert_eq!(step(&rig.start()), ByteCount::mib(60));
    // Nothing is on trial any more: to say the same again changes nothing.
    assert_eq!(rig.start().update(set_step(60)).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn goes_back_to_any_revision_as_a_new_one() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(set_step(60)).unwrap();
    control.update(set_step(70)).unwrap();
    let back = |to| control.revert(to, None, somebody(), String::new());
    assert_eq!(back(None).unwrap().revision.number, 4);
    assert_eq!(step(&control), ByteCount::mib(60));
    back(Some(1)).unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));
    assert_eq!(back(Some(9)).unwrap_err(), ControlError::UnknownRevision(9));
    let numbers = |before, limit| -> Vec<u64> {
        control.revisions(before, limit).unwrap().iter().map(|r| r.number).collect()
    };
    assert_eq!(numbers(None, 2), [5, 4]);
    assert_eq!(numbers(Some(4), 100), [3, 2, 1]);
}

#[test]
fn what_was_only_tried_is_not_made_to_last_by_going_back() {
    let rig = Rig::default();
    let control = rig.start();
    let back = || control.revert(None, None, somebody(), String::new()).unwrap();
    control.update(trial(60, 30)).unwrap();
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));
    assert_eq!((back().changes.len(), step(&control)), (0, ByteCount::mib(50)));
    // Of trials in a row none is what the last one goes back to.
    control.update(trial(60, 30)).unwrap();
    control.update(trial(70, 30)).unwrap();
    let set = back();
    assert_eq!((step(&control), set.revision.revert_at), (ByteCount::mib(50), None));
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(control.in_force().policy.number, set.revision.number);
}

#[test]
fn modes_are_kept_and_announced_once() {
    let rig = Rig::default();
    let control = rig.start();
    let set = |mode| control.set_mode(mode, somebody(), "a test".to_owned()).unwrap();
    let paused = set(Mode::Paused);
    assert_eq!((paused.before, paused.after, paused.durable), (Mode::Active, Mode::Paused, true));
    assert!(control.gate().pass().is_none());
    assert_eq!(set(Mode::Paused).position, None);
    assert!(control.close(PATIENT));

    let control = rig.start();
    assert_eq!(control.in_force().mode, Mode::Paused);
    assert!(control.gate().pass().is_none());
    control.set_mode(Mode::Active, somebody(), String::new()).unwrap();
    assert!(control.gate().pass().is_some());
    assert_eq!(rig.ear.with(|heard| heard.events.len()), 2);
}

#[test]
fn who_set_the_mode_when_and_why_is_known_also_after_a_restart() {
    let mut rig = Rig::default();
    rig.base.source = "the config file /x".to_owned();
    let control = rig.start();
    let set = control.mode_set();
    assert_eq!((set.mode, set.actor.id.as_str()), (Mode::Active, "config"));
    assert_eq!(set.reason, "the config file /x");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
    let actor = Actor { id: "tcp".to_owned(), peer: "192.0.2.1:5".to_owned(), time };
    control.set_mode(Mode::Paused, actor.clone(), "backup".to_owned()).unwrap();
    // A second pause is no other one.
    control.set_mode(Mode::Paused, somebody(), "again".to_owned()).unwrap();
    assert!(control.close(PATIENT));
    let reason = "backup".to_owned();
    let paused = SavedMode { mode: Mode::Paused, actor, reason, eased_by: None };
    for control in [control, rig.start()] {
        assert_eq!(*control.mode_set(), paused);
    }
    assert_eq!(paused.actor.to_string(), "tcp 192.0.2.1:5");
    let control = rig.start();
    control.set_mode(Mode::Observe, somebody(), "done".to_owned()).unwrap();
    assert_eq!(
        (control.mode_set().mode, control.mode_set().reason.as_str()),
        (Mode::Observe, "done")
    );
}

#[test]
fn a_mode_that_somebody_set_wins_over_the_config_file() {
    let mut rig = Rig::default();
    // Also one that was in force already.
    rig.start().set_mode(Mode::Active, somebody(), String::new()).unwrap();
    rig.base.mode = Mode::Observe;
    assert_eq!(rig.start().in_force().mode, Mode::Active);
}

#[test]
fn a_flag_that_is_more_cautious_wins_for_its_run_and_one_that_is_less_is_said_to_be_ignored() {
    use Mode::{Active, Observe, Paused};
    let cases = [
        // stored, asked for, in force, said to be ignored
        (Active, Observe, Observe, false),
        (Active, Paused, Paused, false),
        (Observe, Paused, Paused, false),
        (Observe, Active, Observe, true),
        (Paused, Observe, Paused, true),
        (Paused, Active, Paused, true),
        (Observe, Observe, Observe, false),
    ];
    for (stored, asked, in_force, ignored) in cases {
        let mut rig = Rig::default();
        rig.start().set_mode(stored, somebody(), String::new()).unwrap();
        rig.base.asked = Some(asked);
        let control = rig.start();
        assert_eq!(control.in_force().mode, in_force, "{stored:?} and --mode {asked:?}");
        assert_eq!(control.gate().pass().is_some(), in_force == Active);
        assert_eq!(rig.ear.has(MODE_FLAG_IGNORED), ignored, "{stored:?} and --mode {asked:?}");
        // The flag is of this run: the next one without it is as somebody set it.
        assert!(control.close(PATIENT));
        rig.base.asked = None;
        assert_eq!(rig.start().in_force().mode, stored);
        // What is set counts in the same run.
        rig.base.asked = Some(asked);
        let control = rig.start();
        for mode in [Active, Paused] {
            control.set_mode(mode, somebody(), String::new()).unwrap();
            assert_eq!(control.in_force().mode, mode);
            assert!(!rig.ear.has(MODE_FLAG_IGNORED));
        }
    }
    let mut rig = Rig::default();
    rig.base.asked = Some(Observe);
    assert_eq!(rig.start().in_force().mode, Observe, "nobody has set one");
}

#[test]
fn on_a_full_disk_only_a_pause_is_accepted_and_written_later() {
    let rig = Rig::default();
    let control = rig.start();
    rig.disk.with(|disk| disk.is_full = true);
    let refused = control.update(set_step(60)).unwrap_err();
    assert!(refused.to_string().contains("so it was not made: the disk is full"), "{refused}");
    assert_eq!(step(&control), ByteCount::mib(50));
    let observe = control.set_mode(Mode::Observe, somebody(), String::new());
    assert!(matches!(observe, Err(ControlError::NotDurable(_))));

    let paused = control.set_mode(Mode::Paused, somebody(), String::new()).unwrap();
    assert_eq!((paused.after, paused.durable), (Mode::Paused, false));
    assert!(paused.position.is_some());
    assert!(control.gate().pass().is_none());
    assert!(rig.ear.has(PAUSE_NOT_DURABLE));

    rig.disk.with(|disk| disk.is_full = false);
    rig.pass(10);
    control.expire().unwrap();
    assert_eq!(rig.disk.with(|disk| disk.mode.as_ref().map(|m| m.mode)), Some(Mode::Paused));
    assert!(!rig.ear.has(PAUSE_NOT_DURABLE));
}

#[test]
fn a_disk_that_breaks_is_told_by_the_next_change_or_within_a_minute_and_until_it_works() {
    let rig = Rig::default();
    let control = rig.start();
    rig.disk.with(|disk| disk.is_full = true);
    control.expire().unwrap();
    assert!(!rig.ear.has(STATE_NOT_WRITABLE), "nothing was written");
    rig.pass(60);
    control.expire().unwrap();
    assert!(rig.ear.has(STATE_NOT_WRITABLE));
    rig.disk.with(|disk| disk.is_full = false);
    control.update(set_step(60)).unwrap();
    assert!(!rig.ear.has(STATE_NOT_WRITABLE));

    rig.disk.with(|disk| disk.is_full = true);
    control.update(set_step(70)).unwrap_err();
    assert!(rig.ear.has(STATE_NOT_WRITABLE));
    rig.disk.with(|disk| disk.is_full = false);
    rig.pass(60);
    control.expire().unwrap();
    assert!(!rig.ear.has(STATE_NOT_WRITABLE));
}

#[test]
fn a_trial_ends_on_a_full_disk_too() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(60, 30)).unwrap();
    rig.disk.with(|disk| disk.is_full = true);
    rig.pass(30);
    control.expire().unwrap();
    assert_eq!(step(&control), ByteCount::mib(50));
    assert!(rig.ear.has(POLICY_NOT_DURABLE));
    rig.disk.with(|disk| disk.is_full = false);
    // Before the next change it is written: no number is left out.
    control.update(set_step(70)).unwrap();
    assert!(!rig.ear.has(POLICY_NOT_DURABLE));
    let numbers = rig.disk.with(|disk| disk.revisions.keys().copied().collect::<Vec<_>>());
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_pause_works_while_the_disk_hangs_and_nothing_refused_is_done_later() {
    let rig = Rig::default();
    let control = rig.start_with(Duration::from_millis(50));
    rig.disk.with(|disk| disk.hangs = true);
    let refused = control.update(set_step(60)).unwrap_err();
    assert!(matches!(refused, ControlError::NotDurable(_)));
    let paused = control.set_mode(Mode::Paused, somebody(), String::new()).unwrap();
    assert_eq!((paused.after, paused.durable), (Mode::Paused, false));
    assert!(control.gate().pass().is_none());
    let refused = control.set_mode(Mode::Active, somebody(), String::new()).unwrap_err();
    assert!(matches!(refused, ControlError::NotDurable(_)));

    rig.disk.with(|disk| disk.hangs = false);
    while control.expire().is_err() {}
    assert_eq!(control.in_force().mode, Mode::Paused);
    assert_eq!(step(&control), ByteCount::mib(50));
    assert_eq!(rig.disk.with(|disk| disk.mode.as_ref().map(|m| m.mode)), Some(Mode::Paused));
    assert_eq!(rig.disk.with(|disk| disk.revisions.len()), 1);
}

#[test]
fn a_mode_that_was_refused_leaves_the_config_files_in_force() {
    let mut rig = Rig::default();
    let control = rig.start_with(Duration::from_secs(1));
    rig.disk.with(|disk| disk.hangs = true);
    let refused = control.set_mode(Mode::Observe, somebody(), String::new()).unwrap_err();
    assert!(refused.to_string().ends_with("nothing was changed"), "{refused}");
    assert!(rig.disk.with(|disk| disk.is_waited_for), "it came to the disk");
    rig.disk.with(|disk| disk.hangs = false);
    while control.expire().is_err() {}
    assert_eq!(rig.disk.with(|disk| disk.mode.clone()), None);
    assert!(control.close(PATIENT));
    rig.base.mode = Mode::Observe;
    assert_eq!(rig.start().in_force().mode, Mode::Observe);
}

fn set(mode: Mode) -> SavedMode {
    SavedMode { mode, actor: somebody(), reason: "a test".to_owned(), eased_by: None }
}

#[test]
fn a_mode_that_was_asked_for_before_a_pause_is_not_written_over_it() {
    let rig = Rig::default();
    let mut keeper = rig.keeper();
    let shared = Arc::clone(keeper.shared());
    let observe = |keeper: &mut Keeper, seen| {
        keeper.set_mode(set(Mode::Observe), Whose::Anyones, seen, &Claim::default()).unwrap()
    };
    let seen = shared.pauses();
    let (before, paused) = shared.pause(set(Mode::Paused));
    // Nothing says so on disk yet, and a restart would forget it.
    let late = observe(&mut keeper, seen);
    assert_eq!((late.after, late.durable, late.position), (Mode::Paused, false, None));
    assert_eq!(rig.disk.with(|disk| disk.mode.clone()), None);
    assert!(keeper.pause(before, paused.clone()).durable);
    let late = observe(&mut keeper, seen);
    assert_eq!((late.after, late.durable), (Mode::Paused, true));
    assert_eq!(rig.disk.with(|disk| disk.mode.clone()), Some(paused));
    // One that knows of the pause ends it.
    assert_eq!(observe(&mut keeper, shared.pauses()).after, Mode::Observe);
}

/// Whoever asked for another mode was told that it hangs by the time it was written.
#[test]
fn a_mode_that_is_taken_back_leaves_the_pause_that_could_not_be_written() {
    let rig = Rig::default();
    let mut keeper = rig.keeper();
    let shared = Arc::clone(keeper.shared());
    let (before, paused) = shared.pause(set(Mode::Paused));
    rig.disk.with(|disk| disk.is_full = true);
    assert!(!keeper.pause(before, paused.clone()).durable);
    rig.disk.with(|disk| disk.is_full = false);
    let claim = Claim::default();
    assert!(claim.take());
    keeper.set_mode(set(Mode::Active), Whose::Anyones, shared.pauses(), &claim).unwrap_err();
    assert_eq!(shared.mode(), Mode::Paused);
    assert_eq!(rig.disk.with(|disk| disk.mode.clone()), Some(paused));
}

#[test]
fn the_file_rules_until_somebody_sets_a_policy() {
    let mut rig = Rig::default();
    drop(rig.start());
    rig.base.policy.floor = ByteCount::mib(80);
    let control = rig.start();
    let revision = control.in_force().policy.clone();
    assert_eq!((revision.number, revision.actor.id.as_str()), (2, "config"));
    assert_eq!(revision.policy.floor, ByteCount::mib(80));
    control.update(set_step(60)).unwrap();
    assert!(!rig.ear.has(POLICY_FILE_IGNORED));
    assert!(control.close(PATIENT));

    rig.base.policy.floor = ByteCount::mib(90);
    let control = rig.start();
    assert_eq!(control.in_force().policy.policy.floor, ByteCount::mib(80));
    assert!(rig.ear.has(POLICY_FILE_IGNORED));
    let all = Policy { floor: ByteCount::mib(90), ..Policy::default() };
    control.update(edit(move |policy| *policy = all)).unwrap();
    assert!(!rig.ear.has(POLICY_FILE_IGNORED));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each caller reads, adds its own VM, and writes with the etag; who loses reads again.
    #[test]
    fn changes_with_etags_lose_nothing(callers in 2_usize..=8, each in 1_usize..6) {
        let rig = Rig::default();
        let control = rig.start();
        thread::scope(|scope| {
            for caller in 0..callers {
                let control = &control;
                scope.spawn(move || {
                    for turn in 0..each {
                        add_vm(control, &format!("vm-{caller}-{turn}"));
                    }
                });
            }
        });
        let total = callers * each;
        prop_assert_eq!(control.in_force().policy.policy.vms.len(), total);
        let numbers: Vec<u64> = rig.disk.with(|disk| disk.revisions.keys().copied().collect());
        prop_assert_eq!(numbers, (1..=total as u64 + 1).collect::<Vec<_>>());
        let etags: BTreeSet<String> =
            rig.disk.with(|disk| disk.revisions.values().map(|(r, _)| r.etag.clone()).collect());
        prop_assert_eq!(etags.len(), total + 1);
        // Each revision is the one before and one more: the order on disk is the order of effects.
        rig.disk.with(|disk| {
            for (number, (revision, _)) in &disk.revisions {
                assert_eq!(revision.policy.vms.len() as u64, number - 1);
            }
        });
    }
}

fn add_vm(control: &Control, name: &str) {
    loop {
        let etag = Some(control.in_force().policy.etag.clone());
        let vm = name.to_owned();
        let add = edit(move |policy| {
            policy.vms.insert(VmKey::Name(vm), VmPolicy::default());
        });
        match control.update(PolicyEdit { etag, ..add }) {
            Ok(set) => return assert_eq!(set.changes.len(), 1),
            Err(ControlError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
