//! Pins that end by themselves, beside trials, restarts, clocks that are set, and those who may do less.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    pin::WallTime,
    policy::{VmKey, VmPolicy},
};

use super::{
    rig::{PATIENT, Rig, edit, somebody},
    *,
};
use crate::{
    clock::{Clock, VirtualClock},
    event::PolicyChange,
    wall_time::at_or_after,
};

const YEAR: u64 = 365 * 24 * 3600;

/// When a pin ends that is made now.
fn in_seconds(rig: &Rig, seconds: u64) -> WallTime {
    at_or_after(rig.clock.wall() + Duration::from_secs(seconds))
}

/// A pin of this VM, which ends in so many seconds or stays.
fn pin(rig: &Rig, vm: &'static str, seconds: Option<u64>) -> PolicyEdit {
    let unpin_at = seconds.map(|seconds| in_seconds(rig, seconds));
    let own = move |policy: &mut Policy| {
        let vm = policy.vms.entry(vm.into()).or_default();
        (vm.pinned, vm.unpin_at) = (Some(true), unpin_at);
    };
    let actor = Actor { time: rig.clock.wall(), ..somebody() };
    PolicyEdit { actor, ..edit(own) }
}

fn unpin(vm: &'static str) -> PolicyEdit {
    edit(move |policy| {
        policy.vms.remove(&VmKey::from(vm));
    })
}

/// Of who may set no policy for good.
fn passing(edit: PolicyEdit) -> PolicyEdit {
    PolicyEdit { may_last: false, ..edit }
}

fn step(mib: u32) -> PolicyEdit {
    edit(move |policy| policy.two_pointer.step = ByteCount::mib(mib))
}

fn trial(seconds: u64, edit: PolicyEdit) -> PolicyEdit {
    PolicyEdit { revert_after: Some(Duration::from_secs(seconds)), ..edit }
}

/// Who is pinned once what is over is over.
fn pinned(control: &Control) -> Vec<String> {
    control.expire().unwrap();
    control.in_force().policy.policy.vms.keys().map(ToString::to_string).collect()
}

#[test]
fn every_pin_ends_at_its_own_time_as_a_revision_of_the_agent() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "a", Some(30))).unwrap();
    control.update(pin(&rig, "b", Some(10))).unwrap();
    control.update(pin(&rig, "c", None)).unwrap();
    control.update(pin(&rig, "d", Some(30))).unwrap();
    assert_eq!(pinned(&control), ["a", "b", "c", "d"]);
    rig.pass(9);
    assert_eq!(pinned(&control), ["a", "b", "c", "d"]);
    rig.pass(1);
    assert_eq!(pinned(&control), ["a", "c", "d"]);
    let revision = control.in_force().policy.clone();
    assert_eq!((revision.number, revision.actor.id.as_str()), (6, "agent"));
    assert_eq!(revision.reason, "over: the pin of b");
    assert_eq!(rig.disk.with(|disk| disk.revisions[&6].clone()), *revision);
    let told = rig.ear.with(|heard| heard.events.last().cloned());
    let Some(Event::Policy(PolicyChange { changes, .. })) = told else { panic!("{told:?}") };
    let paths: Vec<&str> = changes.iter().map(|change| &*change.path).collect();
    assert_eq!(paths, ["vms.b.pinned", "vms.b.unpin_time"]);
    rig.pass(20);
    assert_eq!(pinned(&control), ["c"], "two at once are one revision");
    assert_eq!(control.in_force().policy.number, 7);
    assert_eq!(control.in_force().policy.reason, "over: the pin of a, d");
}

#[test]
fn a_pin_is_replaced_by_the_next_one_and_taken_away_by_hand() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "a", Some(10))).unwrap();
    rig.pass(5);
    control.update(pin(&rig, "a", Some(10))).unwrap();
    rig.pass(9);
    assert_eq!(pinned(&control), ["a"]);
    control.update(pin(&rig, "a", None)).unwrap();
    rig.pass(100);
    assert_eq!(pinned(&control), ["a"], "one that stays");
    control.update(pin(&rig, "a", Some(10))).unwrap();
    control.update(unpin("a")).unwrap();
    let number = control.in_force().policy.number;
    rig.pass(10);
    assert_eq!(pinned(&control), Vec::<String>::new());
    assert_eq!(control.in_force().policy.number, number, "nothing was left to end");
}

#[test]
fn pins_outlive_a_restart_and_one_that_was_over_meanwhile_is_over_at_the_start() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "a", Some(10))).unwrap();
    control.update(pin(&rig, "b", Some(30))).unwrap();
    assert!(control.close(PATIENT));
    rig.pass(20);
    let control = rig.start();
    assert_eq!(control.in_force().policy.policy.vms.len(), 1, "before anybody asks");
    assert_eq!(pinned(&control), ["b"]);
    rig.pass(9);
    assert_eq!(pinned(&control), ["b"]);
    rig.pass(1);
    assert_eq!(pinned(&control), Vec::<String>::new());
    assert!(control.close(PATIENT));
    assert_eq!(rig.start().in_force().policy.policy, Policy::default());
}

/// A clock that somebody sets, so many seconds ahead.
#[derive(Clone, Debug)]
struct SetClock {
    clock: Arc<VirtualClock>,
    ahead: Arc<AtomicU64>,
}

impl Clock for SetClock {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall() + Duration::from_secs(self.ahead.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        self.clock.sleep(time);
    }
}

fn start(rig: &Rig, clock: &SetClock) -> Control {
    Control::start(Parts {
        storage: Box::new(rig.disk.clone()),
        base: rig.base.clone(),
        clock: Arc::new(clock.clone()),
        audience: Box::new(rig.ear.clone()),
        patience: PATIENT,
        freeze_file: None,
    })
    .unwrap()
}

#[test]
fn a_clock_that_is_set_moves_no_pin_while_agentd_runs_and_makes_none_longer_at_a_start() {
    let rig = Rig::default();
    let clock = SetClock { clock: rig.clock.clone(), ahead: AtomicU64::new(YEAR).into() };
    let control = start(&rig, &clock);
    let long = |seconds| Some(clock.ahead.load(Ordering::SeqCst) + seconds);
    let now = |edit| PolicyEdit { actor: Actor { time: clock.wall(), ..somebody() }, ..edit };
    control.update(now(pin(&rig, "a", long(100)))).unwrap();
    clock.ahead.fetch_add(3600, Ordering::SeqCst);
    // Another change does not make it forget.
    control.update(step(60)).unwrap();
    rig.pass(99);
    assert_eq!(pinned(&control), ["a"]);
    rig.pass(1);
    assert_eq!(pinned(&control), Vec::<String>::new());

    control.update(now(pin(&rig, "a", long(100)))).unwrap();
    assert!(control.close(PATIENT));
    clock.ahead.store(0, Ordering::SeqCst);
    let control = start(&rig, &clock);
    rig.pass(99);
    assert_eq!(pinned(&control), ["a"]);
    rig.pass(1);
    assert_eq!(pinned(&control), Vec::<String>::new());
}

#[test]
fn a_pin_leaves_a_trial_as_it_is_and_stays_when_it_goes_back() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "gone", Some(20))).unwrap();
    let tried = control.update(trial(30, step(60))).unwrap().revision;
    let set = control.update(pin(&rig, "a", Some(40))).unwrap();
    assert_eq!(set.warnings, Vec::<String>::new());
    assert_eq!(set.revision.revert_at, tried.revert_at);
    rig.pass(20);
    assert_eq!(pinned(&control), ["a"], "the end of one leaves it as it is, too");
    assert_eq!(control.in_force().policy.revert_at, tried.revert_at);
    assert!(control.close(PATIENT));
    let control = rig.start();
    rig.pass(10);
    assert_eq!(pinned(&control), ["a"]);
    let back = control.in_force().policy.clone();
    assert_eq!((back.revert_at, back.policy.two_pointer.step), (None, ByteCount::mib(50)));
    rig.pass(10);
    assert_eq!(pinned(&control), Vec::<String>::new());
    assert_eq!(control.in_force().policy.policy, Policy::default());
}

#[test]
fn to_go_back_ends_a_trial_and_no_pin_and_brings_none_back_that_is_over() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(trial(600, step(60))).unwrap();
    control.update(pin(&rig, "a", Some(40))).unwrap();
    let back = control.revert(None, None, somebody(), String::new()).unwrap().revision;
    assert_eq!((back.revert_at, back.policy.two_pointer.step), (None, ByteCount::mib(50)));
    assert_eq!(pinned(&control), ["a"]);
    rig.pass(40);
    assert_eq!(pinned(&control), Vec::<String>::new());
    control.revert(Some(3), None, somebody(), String::new()).unwrap();
    assert_eq!(pinned(&control), Vec::<String>::new());
    assert_eq!(control.in_force().policy.policy.two_pointer.step, ByteCount::mib(60));
}

#[test]
fn who_may_set_no_policy_for_good_pins_for_a_day_at_most_and_touches_no_pin_that_stays() {
    const DAY: u64 = 24 * 3600;
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "stays", None)).unwrap();
    let tried = control.update(trial(DAY, step(60))).unwrap().revision;
    control.update(passing(pin(&rig, "a", Some(DAY)))).unwrap();
    let ask = |edit| control.update(passing(edit)).map(drop);
    for refused in [pin(&rig, "b", None), pin(&rig, "stays", Some(9)), unpin("stays"), step(70)] {
        assert_eq!(ask(refused), Err(ControlError::MustPass));
    }
    let long = ask(pin(&rig, "b", Some(DAY + 60))).unwrap_err().to_string();
    assert!(long.starts_with("vms.b.unpin_at = ") && long.contains("within 1 days"), "{long}");
    // Neither to say the same again nor to take it back ends what somebody tries.
    let same = passing(edit(|_| {}));
    assert_eq!(control.update(same).unwrap().revision.revert_at, tried.revert_at);
    ask(unpin("a")).unwrap();
    assert_eq!(control.in_force().policy.revert_at, tried.revert_at);
    assert_eq!(pinned(&control), ["stays"]);
}

#[test]
fn a_pin_between_two_trials_does_not_part_them() {
    const HOUR: u64 = 3600;
    let rig = Rig::default();
    let control = rig.start();
    control.update(passing(trial(20 * HOUR, step(60)))).unwrap();
    rig.pass(20 * HOUR + HOUR / 2);
    control.update(passing(pin(&rig, "a", Some(60)))).unwrap();
    let left = Duration::from_secs(3 * HOUR + HOUR / 2);
    let again = control.update(passing(trial(4 * HOUR, step(61)))).map(drop);
    assert_eq!(again, Err(ControlError::TrialsTooLong { left }));
}

#[test]
fn a_pin_whose_end_makes_no_sense_or_leaves_no_sane_policy_is_refused() {
    let rig = Rig::default();
    rig.pass(100);
    let control = rig.start();
    let refused = |edit| control.update(edit).unwrap_err().to_string();
    let past = refused(pin(&rig, "a", Some(0)));
    assert!(past.starts_with("vms.a.unpin_at = ") && past.contains(": is over: it is "), "{past}");
    let far = refused(pin(&rig, "a", Some(400 * 24 * 3600)));
    assert!(far.contains("a pin ends within 366 days, or stays"), "{far}");
    let at = in_seconds(&rig, 60);
    let loose = refused(edit(move |policy| {
        policy.vms.insert("a".into(), VmPolicy { unpin_at: Some(at), ..VmPolicy::default() });
    }));
    assert!(loose.contains("set pinned as well"), "{loose}");
    // While it is pinned its minimum is not guaranteed, but afterwards it is.
    let min = Some(ByteCount::gib(2));
    let own = VmPolicy { min, pinned: Some(true), unpin_at: Some(at), ..VmPolicy::default() };
    let later = refused(edit(move |policy| {
        policy.pool_limit = Some(ByteCount::gib(1));
        policy.vms.insert("a".into(), own);
    }));
    assert!(later.starts_with("pool_limit = 1 GiB: must be at least 2 GiB"), "{later}");
}

#[test]
fn a_pin_ends_on_a_full_disk_too_and_that_is_written_later() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "a", Some(10))).unwrap();
    rig.disk.with(|disk| disk.is_full = true);
    rig.pass(10);
    assert_eq!(pinned(&control), Vec::<String>::new());
    assert!(rig.ear.has(POLICY_NOT_DURABLE));
    rig.disk.with(|disk| disk.is_full = false);
    rig.pass(10);
    control.expire().unwrap();
    assert!(!rig.ear.has(POLICY_NOT_DURABLE));
    assert!(control.close(PATIENT));
    assert_eq!(rig.start().in_force().policy.number, 3);
}

#[test]
fn once_its_pins_are_over_a_files_policy_is_the_files_again() {
    let mut rig = Rig::default();
    let control = rig.start();
    control.update(pin(&rig, "a", Some(10))).unwrap();
    rig.pass(10);
    assert_eq!(pinned(&control), Vec::<String>::new());
    let other = Policy { floor: ByteCount::mib(128), ..Policy::default() };
    let taken = control.rebase(other.clone(), Bounds::default(), "a file".to_owned()).unwrap();
    assert_eq!(taken.after.policy, other);
    control.update(pin(&rig, "a", Some(10))).unwrap();
    assert!(control.close(PATIENT));
    rig.pass(10);
    rig.base.policy = other;
    drop(rig.start());
    rig.base.policy = Policy { floor: ByteCount::mib(96), ..Policy::default() };
    assert_eq!(rig.start().in_force().policy.policy, rig.base.policy, "at a start as well");
}
