//! Pins with an end in the control: beside the policy, kept over a restart, ended by time or by hand.

use std::{sync::Arc, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    policy::{VmKey, VmPolicy},
    vm::VmId,
};

use super::{
    rig::{PATIENT, Rig, edit, somebody},
    *,
};
use crate::event::{PinChange, PinEvent};

const VM: VmId = VmId::from_bytes([7; 16]);

fn wish() -> PinWish {
    let (actor, reason) = (somebody(), "import".to_owned());
    PinWish { actor, reason, may_any: false, validate_only: false }
}

fn ask(vm: VmId, seconds: u64) -> PinAsk {
    PinAsk { vm, name: Arc::from("db7"), lasting: Duration::from_secs(seconds), wish: wish() }
}

fn unpin(control: &Control) -> Result<PinSet, ControlError> {
    control.unpin(VM, Arc::from("db7"), wish())
}

/// Whether ticks leave the VM alone, and whether the policy by itself does.
fn pins(control: &Control) -> (bool, bool) {
    let in_force = control.in_force();
    let by = |revision: &Revision| revision.policy.pins(VM, "db7");
    assert_eq!(in_force.acting.number, in_force.policy.number);
    assert_eq!(in_force.acting.etag, in_force.policy.etag);
    (by(&in_force.acting), by(&in_force.policy))
}

fn events(rig: &Rig) -> Vec<(PinEvent, String)> {
    let told = |event: &Event| match event {
        Event::Pin(PinChange { event, actor, .. }) => Some((*event, actor.id.clone())),
        Event::Tick(_) | Event::Vm(_) | Event::Policy(_) => None,
        Event::Mode(_) | Event::Reservation(_) => None,
    };
    rig.ear.with(|heard| heard.events.iter().filter_map(told).collect())
}

fn policies(rig: &Rig) -> usize {
    let is_policy = |event: &&Event| matches!(event, Event::Policy(_));
    rig.ear.with(|heard| heard.events.iter().filter(is_policy).count())
}

fn except(key: VmKey, own: VmPolicy) -> PolicyEdit {
    edit(move |policy| {
        policy.vms.insert(key, own);
    })
}

fn pass(rig: &Rig, control: &Control, seconds: u64) {
    rig.pass(seconds);
    control.expire().unwrap();
}

#[test]
fn one_begins_beside_the_policy_and_ends_at_its_time() {
    let rig = Rig::default();
    let control = rig.start();
    let before = control.in_force().policy.clone();
    let dry = PinWish { validate_only: true, ..wish() };
    let would = control.pin(PinAsk { wish: dry, ..ask(VM, 60) }).unwrap();
    assert_eq!((would.position, pins(&control)), (None, (false, false)), "only checked");
    let set = control.pin(ask(VM, 60)).unwrap();
    assert!(set.position.is_some() && set.replaced.is_none() && !set.is_over);
    assert_eq!(pins(&control), (true, false));
    assert_eq!(rig.disk.with(|disk| disk.pins.len()), 1);
    pass(&rig, &control, 59);
    assert_eq!(pins(&control), (true, false));
    pass(&rig, &control, 1);
    assert_eq!(pins(&control), (false, false));
    assert_eq!(rig.disk.with(|disk| disk.pins.len()), 0);
    let (by, agent) = ("uid:0".to_owned(), "agent".to_owned());
    assert_eq!(events(&rig), [(PinEvent::Begun, by), (PinEvent::Expired, agent)]);
    assert_eq!((&control.in_force().policy, policies(&rig)), (&before, 0));
    assert!(Arc::ptr_eq(&control.in_force().acting, &control.in_force().policy));
}

#[test]
fn another_takes_its_place_and_somebody_ends_it() {
    let rig = Rig::default();
    let control = rig.start();
    control.pin(ask(VM, 60)).unwrap();
    rig.pass(30);
    let set = control.pin(ask(VM, 10)).unwrap();
    assert!(set.replaced.is_some_and(|before| before.ends > set.pin.ends), "shorter is shorter");
    pass(&rig, &control, 9);
    assert_eq!(pins(&control), (true, false));
    let dry = PinWish { validate_only: true, ..wish() };
    control.unpin(VM, Arc::from("db7"), dry).unwrap();
    assert_eq!(pins(&control), (true, false), "only checked");
    assert!(unpin(&control).unwrap().is_over);
    assert_eq!(pins(&control), (false, false));
    let none = PinError::NotPinned(Arc::from("db7"));
    assert_eq!(unpin(&control).unwrap_err(), ControlError::Pin(none));
    let told: Vec<PinEvent> = events(&rig).into_iter().map(|(event, _)| event).collect();
    assert_eq!(told, [PinEvent::Begun, PinEvent::Replaced, PinEvent::Ended]);
}

/// What was wrong as long as a pin for a while was a trial of the whole policy.
#[test]
fn whatever_becomes_of_the_policy_meanwhile_the_pin_stays_and_leaves_nothing_in_it() {
    let rig = Rig::default();
    let control = rig.start();
    let step = |mib| edit(move |policy| policy.two_pointer.step = ByteCount::mib(mib));
    let first = control.update(step(60)).unwrap().revision;
    control.pin(ask(VM, 3600)).unwrap();
    // The etag of before the pin is that of the policy still.
    let based = PolicyEdit { etag: Some(first.etag.clone()), ..step(70) };
    control.update(based).unwrap();
    // A trial runs out, another one is confirmed, and somebody goes back.
    let trial = |mib| PolicyEdit { revert_after: Some(Duration::from_secs(30)), ..step(mib) };
    control.update(trial(80)).unwrap();
    assert_eq!(pins(&control), (true, false));
    pass(&rig, &control, 30);
    assert_eq!(control.in_force().policy.policy.two_pointer.step, ByteCount::mib(70));
    let tried = control.update(trial(90)).unwrap().revision;
    control.confirm(tried.etag.clone(), somebody()).unwrap();
    control.revert(Some(first.number), None, somebody(), String::new()).unwrap();
    assert_eq!(pins(&control), (true, false));
    let rebased = Policy { floor: ByteCount::mib(80), ..Policy::default() };
    control.rebase(rebased, Bounds::default(), "a file".to_owned()).unwrap();
    assert_eq!(pins(&control), (true, false));
    for revision in control.revisions(None, 100).unwrap() {
        assert!(revision.policy.vms.is_empty(), "{revision:?}");
    }
    // A pin of the policy's own comes and goes, and the other one holds.
    let policy_pins =
        |pinned| except("db7".into(), VmPolicy { pinned: Some(pinned), ..VmPolicy::default() });
    control.update(policy_pins(true)).unwrap();
    assert_eq!(pins(&control), (true, true));
    control.update(policy_pins(false)).unwrap();
    assert_eq!(pins(&control), (true, false), "whatever the policy says");
    control.update(policy_pins(true)).unwrap();
    unpin(&control).unwrap();
    assert_eq!(pins(&control), (true, true), "what the policy pins stays so");
}

#[test]
fn the_rest_of_what_is_excepted_for_its_vm_holds() {
    let rig = Rig::default();
    let control = rig.start();
    control.pin(ask(VM, 60)).unwrap();
    let max = |gib| VmPolicy { max: Some(ByteCount::gib(gib)), ..VmPolicy::default() };
    let limit = |control: &Control| {
        let rules = control.in_force().acting.policy.rules(VM, "db7", ByteCount::gib(9));
        assert!(rules.pinned);
        rules.limits.max
    };
    control.update(except("db7".into(), max(2))).unwrap();
    assert_eq!(limit(&control), ByteCount::gib(2));
    control.update(except(VmKey::Id(VM), max(3))).unwrap();
    assert_eq!(limit(&control), ByteCount::gib(3));
    // Each of the two makes sense.
    control.update(except("db7".into(), max(2))).unwrap();
    let min = VmPolicy { min: Some(ByteCount::gib(4)), ..VmPolicy::default() };
    control.update(except(VmKey::Id(VM), min)).unwrap();
    assert!(control.in_force().acting.policy.validate().is_empty());
}

#[test]
fn one_lasts_over_a_restart_for_as_long_as_it_was_made_for_and_no_longer() {
    let rig = Rig::default();
    let control = rig.start();
    let made = control.pin(ask(VM, 60)).unwrap().pin;
    drop(control);
    rig.pass(20);
    let control = rig.start();
    let kept = Arc::clone(control.in_force().pins.get(VM).unwrap());
    let known = |pin: &Pin| (pin.ends_at, pin.actor.clone(), pin.reason.clone(), pin.name.clone());
    assert_eq!((known(&kept), pins(&control)), (known(&made), (true, false)));
    pass(&rig, &control, 39);
    assert_eq!(pins(&control), (true, false));
    pass(&rig, &control, 1);
    assert_eq!(pins(&control), (false, false));
    // One whose time is up while agentd is away is over at its start, and that is told.
    control.pin(ask(VM, 60)).unwrap();
    drop(control);
    rig.pass(60);
    let control = rig.start();
    assert_eq!((pins(&control), rig.disk.with(|disk| disk.pins.len())), ((false, false), 0));
    assert_eq!(events(&rig).last().map(|(event, _)| *event), Some(PinEvent::Expired));
    // The wall clock goes back by an hour.
    control.pin(ask(VM, 60)).unwrap();
    drop(control);
    let hour = Duration::from_secs(3600);
    rig.disk.with(|disk| {
        disk.pins[0].ends_at += hour;
        disk.pins[0].actor.time = disk.pins[0].ends_at - Duration::from_secs(60);
    });
    let control = rig.start();
    pass(&rig, &control, 60);
    assert_eq!(pins(&control), (false, false));
}

#[test]
fn what_somebody_else_pinned_is_changed_and_ended_by_who_may_anything() {
    let rig = Rig::default();
    let control = rig.start();
    control.pin(ask(VM, 60)).unwrap();
    let other = || PinWish { actor: Actor { id: "uid:7".to_owned(), ..somebody() }, ..wish() };
    let refused = control.pin(PinAsk { wish: other(), ..ask(VM, 90) }).unwrap_err();
    let told =
        "db7 is pinned by uid:0: to change or end what somebody else pinned needs the role admin";
    assert_eq!(refused.to_string(), told);
    let ended = control.unpin(VM, Arc::from("db7"), other());
    assert_eq!((ended.unwrap_err(), pins(&control)), (refused, (true, false)));
    let mighty = PinWish { may_any: true, ..other() };
    control.pin(PinAsk { wish: mighty, ..ask(VM, 90) }).unwrap();
    assert_eq!(unpin(&control).unwrap_err().to_string(), told.replace("uid:0", "uid:7"));
    control.unpin(VM, Arc::from("db7"), other()).unwrap();
}

#[test]
fn those_that_cannot_be_read_are_a_condition_until_somebody_pins_or_unpins() {
    let rig = Rig::default();
    let control = rig.start();
    control.pin(ask(VmId::from_bytes([9; 16]), 60)).unwrap();
    drop(control);
    rig.disk.with(|disk| disk.unread_pins = Some("1 of 2, the first: db7: torn".to_owned()));
    let control = rig.start();
    let message = rig.ear.with(|heard| heard.conditions[PINS_LOST].clone());
    assert!(
        message.contains("cannot be read (1 of 2, the first: db7: torn): pin again"),
        "{message}"
    );
    let dry = PinWish { validate_only: true, ..wish() };
    control.pin(PinAsk { wish: dry, ..ask(VM, 60) }).unwrap();
    // Time ends the one that could be read, which says nothing of the others.
    pass(&rig, &control, 60);
    drop(control);
    let control = rig.start();
    assert!(rig.ear.has(PINS_LOST), "nobody has seen to it");
    control.pin(ask(VM, 60)).unwrap();
    assert!(!rig.ear.has(PINS_LOST));
    drop(control);
    rig.start();
    assert!(!rig.ear.has(PINS_LOST), "the disk has what could be read");
}

#[test]
fn there_are_no_more_than_may_be() {
    let rig = Rig::default();
    let control = rig.start();
    let number = |number: usize| {
        let mut bytes = [1; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        VmId::from_bytes(bytes)
    };
    for own in 0..Pins::MOST {
        control.pin(ask(number(own), 60)).unwrap();
    }
    let refused = control.pin(ask(VM, 60)).unwrap_err();
    assert_eq!(refused, ControlError::Pin(PinError::TooMany(256)));
    assert!(refused.to_string().starts_with("256 VMs are pinned for a while"), "{refused}");
    // One of those that there are takes no more room.
    control.pin(ask(number(0), 90)).unwrap();
    assert_eq!(control.in_force().pins.all().len(), Pins::MOST);
}

#[test]
fn a_full_disk_begins_and_ends_none_but_time_goes_on_and_is_written_later() {
    let rig = Rig::default();
    let control = rig.start();
    control.pin(ask(VM, 60)).unwrap();
    rig.disk.with(|disk| disk.is_full = true);
    let refused = control.pin(ask(VM, 600)).unwrap_err();
    assert!(matches!(refused, ControlError::NotDurable(_)), "{refused}");
    assert!(matches!(unpin(&control), Err(ControlError::NotDurable(_))));
    assert_eq!(pins(&control), (true, false));
    pass(&rig, &control, 60);
    assert_eq!(pins(&control), (false, false), "in force at once");
    assert_eq!(rig.disk.with(|disk| disk.pins.len()), 1);
    assert!(rig.ear.has(STATE_NOT_WRITABLE));
    rig.disk.with(|disk| disk.is_full = false);
    pass(&rig, &control, 5);
    assert_eq!(rig.disk.with(|disk| disk.pins.len()), 0);
}

#[test]
fn who_lost_patience_has_changed_nothing() {
    let rig = Rig::default();
    let control = rig.start_with(Duration::from_millis(20));
    rig.disk.with(|disk| disk.hangs = true);
    assert!(matches!(control.pin(ask(VM, 60)), Err(ControlError::NotDurable(_))));
    rig.disk.with(|disk| disk.hangs = false);
    assert!(control.close(PATIENT), "it ends once the disk answers");
    assert_eq!((pins(&control), rig.disk.with(|disk| disk.pins.len())), ((false, false), 0));
}
