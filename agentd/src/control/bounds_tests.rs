//! Policies that meet tighter bounds than they were made under, and modes that others have set.

use std::time::Duration;

use agentd_core::bytes::ByteCount;

use super::{
    rig::{PATIENT, Rig, edit, somebody},
    *,
};

fn floor(mib: u32) -> PolicyEdit {
    edit(move |policy| policy.floor = ByteCount::mib(mib))
}

fn bounded(rig: &Rig, mib: u32) -> Control {
    let bounds = Bounds { floor: Some(ByteCount::mib(mib)), ..Bounds::default() };
    let policy = bounds.within(&rig.base.policy);
    let base = Base { bounds, policy, ..rig.base.clone() };
    let (disk, ear, clock) = (rig.disk.clone(), rig.ear.clone(), rig.clock.clone());
    Rig { disk, ear, clock, base }.start()
}

fn in_force(control: &Control) -> (u64, ByteCount) {
    let in_force = control.in_force();
    (in_force.policy.number, in_force.policy.policy.floor)
}

#[test]
fn a_policy_of_before_the_bounds_is_in_force_within_them_and_it_is_said() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(floor(80)).unwrap();
    assert!(control.close(PATIENT));

    let control = bounded(&rig, 100);
    assert_eq!(in_force(&control), (3, ByteCount::mib(100)));
    let revision = control.in_force().policy.clone();
    assert_eq!(revision.actor.id, "agent");
    assert_eq!(revision.reason, "revision 2 went beyond the config's bounds");
    assert_eq!(rig.disk.with(|disk| disk.revisions[&3].0.clone()), *revision);
    let said = rig.ear.with(|heard| heard.conditions[POLICY_BOUNDED].clone());
    assert!(said.starts_with("revision 2 of the policy went beyond the config's bounds (floor = 80 MiB: must be at least 100 MiB"), "{said}");

    // What is older is not gone back to, and nothing else is set below.
    for refused in [
        control.revert(None, None, somebody(), String::new()).unwrap_err(),
        control.revert(Some(1), None, somebody(), String::new()).unwrap_err(),
        control.update(floor(99)).unwrap_err(),
        control.update(PolicyEdit { validate_only: true, ..floor(99) }).unwrap_err(),
    ] {
        assert!(matches!(refused, ControlError::Invalid(_)), "{refused}");
        assert!(
            refused.to_string().contains("must be at least 100 MiB, floor in [bounds]"),
            "{refused}"
        );
    }
    assert_eq!(in_force(&control), (3, ByteCount::mib(100)));
    control.update(floor(120)).unwrap();
    assert!(!rig.ear.has(POLICY_BOUNDED));
    assert!(control.close(PATIENT));
    // A later start finds nothing beyond.
    assert_eq!(in_force(&bounded(&rig, 100)), (4, ByteCount::mib(120)));
    assert!(!rig.ear.has(POLICY_BOUNDED));
}

#[test]
fn a_trial_of_before_the_bounds_stays_one_and_goes_back_within_them() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(floor(70)).unwrap();
    let revert_after = Some(Duration::from_secs(30));
    control.update(PolicyEdit { revert_after, ..floor(80) }).unwrap();
    assert!(control.close(PATIENT));

    let control = bounded(&rig, 100);
    assert_eq!(in_force(&control), (4, ByteCount::mib(100)));
    assert!(control.in_force().policy.revert_at.is_some());
    assert!(control.close(PATIENT));
    // Also over another start.
    let control = bounded(&rig, 100);
    control.update(floor(140)).unwrap();
    let trial = PolicyEdit { revert_after, ..floor(150) };
    control.update(trial).unwrap();
    assert!(control.close(PATIENT));
    let control = bounded(&rig, 145);
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(control.in_force().policy.policy.floor, ByteCount::mib(145));
    assert_eq!(control.in_force().policy.revert_at, None);
}

#[test]
fn another_file_binds_while_it_runs_what_is_in_force_and_what_a_trial_goes_back_to() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(floor(80)).unwrap();
    let revert_after = Some(Duration::from_secs(30));
    control.update(PolicyEdit { revert_after, ..floor(120) }).unwrap();
    let bounds = Bounds { floor: Some(ByteCount::mib(100)), ..Bounds::default() };
    control.rebase(bounds.within(&rig.base.policy), bounds, "a file".to_owned()).unwrap();
    assert_eq!(control.bounds(), bounds);
    assert_eq!(in_force(&control), (3, ByteCount::mib(120)));
    rig.pass(31);
    control.expire().unwrap();
    assert_eq!(in_force(&control), (4, ByteCount::mib(100)));
    assert!(control.update(floor(99)).is_err());
}

#[test]
fn another_files_policy_is_in_force_where_the_files_was_and_as_a_whole_or_not_at_all() {
    let rig = Rig::default();
    let control = rig.start();
    let with_floor = |mib| Policy { floor: ByteCount::mib(mib), ..rig.base.policy.clone() };
    control.rebase(with_floor(90), Bounds::default(), "a file".to_owned()).unwrap();
    let revision = control.in_force().policy.clone();
    assert_eq!((revision.number, revision.actor.id.as_str()), (2, "config"));
    assert_eq!((revision.policy.floor, revision.reason.as_str()), (ByteCount::mib(90), "a file"));
    assert_eq!(rig.disk.with(|disk| disk.revisions[&2].0.clone()), *revision);

    rig.disk.with(|disk| disk.is_full = true);
    let bounds = Bounds { floor: Some(ByteCount::mib(95)), ..Bounds::default() };
    let refused = control.rebase(with_floor(100), bounds, String::new()).unwrap_err();
    assert!(matches!(refused, ControlError::NotDurable(_)), "{refused}");
    assert_eq!(
        (in_force(&control), control.bounds()),
        ((2, ByteCount::mib(90)), Bounds::default())
    );
    rig.disk.with(|disk| disk.is_full = false);

    // Somebody's own policy stays in its place, and that is said.
    control.update(floor(110)).unwrap();
    control.rebase(with_floor(100), Bounds::default(), String::new()).unwrap();
    assert_eq!(in_force(&control), (3, ByteCount::mib(110)));
    assert!(rig.ear.has(POLICY_FILE_IGNORED));
}

#[test]
fn another_file_that_the_disk_does_not_take_counts_in_nothing_nor_does_it_later() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(floor(80)).unwrap();
    assert!(control.close(PATIENT));
    let control = rig.start_with(Duration::from_millis(50));
    let bounds = Bounds { floor: Some(ByteCount::mib(100)), ..Bounds::default() };
    let rebase = || {
        let policy = bounds.within(&rig.base.policy);
        let refused = control.rebase(policy, bounds, "a file".to_owned()).unwrap_err();
        assert!(matches!(refused, ControlError::NotDurable(_)), "{refused}");
    };
    let is_as_before = || {
        let now = (in_force(&control), control.bounds());
        assert_eq!(now, ((2, ByteCount::mib(80)), Bounds::default()));
        assert!(!rig.ear.has(POLICY_BOUNDED));
    };
    rig.disk.with(|disk| disk.hangs = true);
    rebase();
    is_as_before();
    rig.disk.with(|disk| disk.hangs = false);
    while control.expire().is_err() {}
    is_as_before();
    assert_eq!(rig.disk.with(|disk| disk.revisions.len()), 2);

    rig.disk.with(|disk| disk.is_full = true);
    rebase();
    is_as_before();
}

#[test]
fn with_a_full_disk_the_bounds_hold_all_the_same() {
    let rig = Rig::default();
    let control = rig.start();
    control.update(floor(80)).unwrap();
    assert!(control.close(PATIENT));
    rig.disk.with(|disk| disk.is_full = true);
    assert_eq!(in_force(&bounded(&rig, 100)), (3, ByteCount::mib(100)));
    assert!(rig.ear.has(POLICY_NOT_DURABLE));
}

/// Somebody of this name.
fn who(name: &str) -> Actor {
    Actor { id: name.to_owned(), ..somebody() }
}

fn own(control: &Control, name: &str, mode: Mode) -> Result<Mode, ControlError> {
    Ok(control.set_own_mode(mode, who(name), String::new())?.after)
}

#[test]
fn whoever_made_the_mode_more_cautious_goes_back_as_far_as_they_found_it() {
    use Mode::{Active, Observe, Paused};
    let rig = Rig::default();
    let control = rig.start();
    let refused = |name, mode| {
        let error = own(&control, name, mode).unwrap_err();
        assert!(matches!(error, ControlError::NotYours { .. }), "{error}");
    };
    assert_eq!(own(&control, "kim", Observe), Ok(Observe));
    assert_eq!(own(&control, "kim", Paused), Ok(Paused));
    refused("lee", Observe);
    refused("lee", Active);
    assert_eq!(own(&control, "kim", Active), Ok(Active));
    // By way of a mode in between, too.
    own(&control, "kim", Paused).unwrap();
    own(&control, "kim", Observe).unwrap();
    assert_eq!(own(&control, "kim", Active), Ok(Active));
    // On another's caution nobody builds a way past it.
    own(&control, "kim", Observe).unwrap();
    own(&control, "lee", Paused).unwrap();
    refused("kim", Active);
    refused("lee", Active);
    assert_eq!(own(&control, "lee", Observe), Ok(Observe));
    refused("lee", Active);
    refused("kim", Active);
    control.set_mode(Active, who("root"), String::new()).unwrap();
    // Two that pause keep each other from going on.
    own(&control, "kim", Paused).unwrap();
    own(&control, "lee", Paused).unwrap();
    own(&control, "kim", Paused).unwrap();
    refused("kim", Active);
    assert_eq!(control.in_force().mode, Paused);
}

#[test]
fn whose_pause_it_was_is_known_after_a_restart() {
    use Mode::{Active, Observe, Paused};
    let rig = Rig::default();
    let restarted = |control: Control| {
        assert!(control.close(PATIENT));
        rig.start()
    };
    let refused = |control: &Control, name, mode| {
        let error = own(control, name, mode).unwrap_err();
        assert!(error.to_string().ends_with("set the one in force"), "{error}");
    };
    let control = rig.start();
    own(&control, "kim", Paused).unwrap();
    let control = restarted(control);
    refused(&control, "lee", Active);
    own(&control, "kim", Active).unwrap();
    // As far as it was found, whatever was restarted in between.
    control.set_mode(Observe, who("root"), String::new()).unwrap();
    own(&control, "kim", Paused).unwrap();
    let control = restarted(control);
    refused(&control, "kim", Active);
    own(&control, "kim", Observe).unwrap();
    let control = restarted(control);
    refused(&control, "kim", Active);
    // Two that pause keep each other from going on over a restart, too.
    control.set_mode(Active, who("root"), String::new()).unwrap();
    own(&control, "kim", Paused).unwrap();
    own(&control, "lee", Paused).unwrap();
    let control = restarted(control);
    refused(&control, "kim", Active);
    refused(&control, "lee", Active);
    assert_eq!(control.mode_set().actor.id, "kim");
}

#[test]
fn that_several_paused_is_written_once_the_disk_takes_it() {
    let rig = Rig::default();
    let control = rig.start();
    own(&control, "kim", Mode::Paused).unwrap();
    rig.disk.with(|disk| disk.is_full = true);
    let set = control.set_own_mode(Mode::Paused, who("lee"), String::new()).unwrap();
    assert!(set.durable, "that it is paused is on disk");
    assert!(rig.ear.has(PAUSE_NOT_DURABLE));
    rig.disk.with(|disk| disk.is_full = false);
    rig.pass(60);
    control.expire().unwrap();
    assert!(!rig.ear.has(PAUSE_NOT_DURABLE));
    assert!(control.close(PATIENT));
    own(&rig.start(), "kim", Mode::Active).unwrap_err();
}
