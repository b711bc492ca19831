//! Reservations in the control: made once, kept over a restart, ended by time, by hand, by their VM.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use agentd_core::{
    admit::Room,
    bytes::ByteCount,
    policy::VmKey,
    reserve::{Booking, ReservationId},
    vm::VmId,
};

use super::{
    rig::{PATIENT, Rig, somebody},
    *,
};
use crate::{
    clock::Clock as _,
    event::{ReservationChange, ReservationEvent},
};

/// 8 GiB, of which a VM is guaranteed one.
fn room() -> Room {
    Room {
        total: ByteCount::gib(8),
        reserve: ByteCount::ZERO,
        other: ByteCount::ZERO,
        limit: None,
        guaranteed: vec![(ByteCount::gib(1), Arc::from("web1"))],
    }
}

fn ask(gib: u32, vm: &str, seconds: u64) -> ReserveAsk {
    ReserveAsk {
        min: ByteCount::gib(gib),
        max: ByteCount::gib(gib),
        lasting: Duration::from_secs(seconds),
        vm: Some(vm).filter(|vm| !vm.is_empty()).map(VmKey::from),
        actor: somebody(),
        reason: "start it".to_owned(),
        request_id: String::new(),
        validate_only: false,
        runs: None,
        room: room(),
    }
}

fn open(control: &Control) -> Vec<u64> {
    control.in_force().reservations.open.iter().map(|own| own.reservation.id.0).collect()
}

fn ending(control: &Control, id: u64) -> Option<Ending> {
    let reservations = control.in_force().reservations.clone();
    reservations.find(id)?.end.as_ref().map(|(how, _)| how.clone())
}

fn events(rig: &Rig) -> Vec<(u64, ReservationEvent)> {
    let told = |event: &Event| match event {
        Event::Reservation(ReservationChange { reserved, event, .. }) => {
            Some((reserved.reservation.id.0, *event))
        }
        Event::Tick(_) | Event::Vm(_) | Event::Policy(_) => None,
        Event::Mode(_) | Event::Pin(_) => None,
    };
    rig.ear.with(|heard| heard.events.iter().filter_map(told).collect())
}

#[test]
fn those_that_cannot_be_read_are_a_condition_until_somebody_reserves_or_releases() {
    let rig = Rig::default();
    let lose = || {
        let why = "1 of 2, the first: reservation 2: torn".to_owned();
        rig.disk.with(|disk| {
            (disk.unread_reservations, disk.last_reservation) = (Some(why), 2);
        });
    };
    lose();
    let control = rig.start();
    let message = rig.ear.with(|heard| heard.conditions[RESERVATIONS_LOST].clone());
    assert!(message.contains("(1 of 2, the first: reservation 2: torn): reserve"), "{message}");
    control.reserve(ReserveAsk { validate_only: true, ..ask(2, "db7", 60) }).unwrap();
    assert!(rig.ear.has(RESERVATIONS_LOST), "only checked");
    let id = control.reserve(ask(2, "db7", 60)).unwrap().reserved.reservation.id;
    control.expire().unwrap();
    assert!(!rig.ear.has(RESERVATIONS_LOST));
    assert_eq!(id, ReservationId(3), "whoever made the second one may still release it");
    drop(control);
    assert_eq!(rig.disk.with(|disk| disk.unread_reservations.clone()), None);
    lose();
    let control = rig.start();
    control.release(id.0, somebody(), String::new()).unwrap();
    control.expire().unwrap();
    assert!(!rig.ear.has(RESERVATIONS_LOST));
}

#[test]
fn who_reserves_does_not_wait_until_what_could_not_be_read_is_forgotten() {
    let rig = Rig::default();
    rig.disk.with(|disk| {
        disk.unread_reservations = Some("torn".to_owned());
        disk.hangs_forgetting = true;
    });
    let control = Arc::new(rig.start_with(Duration::from_secs(5)));
    let (answer, answered) = mpsc::channel();
    let asked = Arc::clone(&control);
    thread::spawn(move || answer.send(asked.reserve(ask(2, "db7", 60))));
    let set = answered.recv_timeout(PATIENT).expect("it waits for a disk that hangs");
    assert_eq!(set.unwrap().reserved.reservation.id, ReservationId(1));
    assert!(rig.ear.has(RESERVATIONS_LOST), "that is not on disk");
    rig.disk.with(|disk| (disk.hangs, disk.hangs_forgetting) = (false, false));
    while control.expire().is_err() {}
    assert!(!rig.ear.has(RESERVATIONS_LOST));
}

#[test]
fn one_that_is_made_is_in_force_on_disk_and_announced() {
    let rig = Rig::default();
    let control = rig.start();
    let set = control.reserve(ask(2, "db7", 60)).unwrap();
    assert_eq!((set.reserved.reservation.id, set.position.is_some()), (ReservationId(1), true));
    assert_eq!(open(&control), [1]);
    assert_eq!(rig.disk.with(|disk| disk.reservations.len()), 1);
    assert_eq!(events(&rig), [(1, ReservationEvent::Made)]);
    let dry = ReserveAsk { validate_only: true, ..ask(1, "", 60) };
    assert_eq!(control.reserve(dry).unwrap().reserved.reservation.id, ReservationId(0));
    assert_eq!(open(&control), [1], "nothing was made");
}

#[test]
fn the_same_request_has_one_effect_and_survives_a_restart() {
    let rig = Rig::default();
    let control = rig.start();
    let named = |gib| ReserveAsk { request_id: "r1".to_owned(), ..ask(gib, "", 60) };
    let first = control.reserve(named(2)).unwrap();
    let again = control.reserve(named(2)).unwrap();
    assert_eq!((again.reserved, again.position), (first.reserved, None));
    let other = control.reserve(named(3)).unwrap_err();
    let told = "reservation 1 was made with this request_id and asks for something else: min_bytes 2 GiB, not \
                3 GiB; max_bytes 2 GiB, not 3 GiB; give this request another request_id, or none";
    assert_eq!(other.to_string(), told);
    // One that lasts for another time is another one, also later.
    rig.pass(20);
    let longer = ReserveAsk { lasting: Duration::from_secs(90), ..named(2) };
    let longer = control.reserve(longer).unwrap_err().to_string();
    assert!(longer.contains("something else: duration 60s, not 90s; give"), "{longer}");
    drop(control);
    let control = rig.start();
    assert_eq!(control.reserve(named(2)).unwrap().position, None);
    assert_eq!(open(&control), [1]);
    let dry = ReserveAsk { validate_only: true, ..named(2) };
    assert_eq!(control.reserve(dry).unwrap().reserved.reservation.id, ReservationId(1));
}

#[test]
fn a_request_of_another_caller_is_another_one_whatever_it_is_named() {
    let rig = Rig::default();
    let control = rig.start();
    let named = |who: &str, gib| ReserveAsk {
        request_id: "r1".to_owned(),
        actor: Actor { id: who.to_owned(), ..somebody() },
        ..ask(gib, "", 60)
    };
    let id = |who, gib| control.reserve(named(who, gib)).map(|set| set.reserved.reservation.id.0);
    assert_eq!(id("kim", 2), Ok(1));
    assert_eq!((id("lee", 1), id("lee", 1), id("kim", 2)), (Ok(2), Ok(2), Ok(1)));
    assert_eq!(open(&control), [1, 2]);
}

/// Who lost the answer asks again, perhaps when its VM has started meanwhile.
#[test]
fn the_same_request_is_answered_after_its_vm_has_come_and_another_is_refused() {
    let rig = Rig::default();
    let control = rig.start();
    let named = |id: &str| ReserveAsk { request_id: id.to_owned(), ..ask(2, "db7", 60) };
    control.reserve(named("r1")).unwrap();
    let runs = |id| ReserveAsk { runs: Some(ByteCount::gib(1)), ..named(id) };
    assert_eq!(control.reserve(runs("r1")).unwrap().reserved.reservation.id, ReservationId(1));
    let refused = control.reserve(runs("r2")).unwrap_err().to_string();
    assert!(refused.starts_with("db7 is on this host already and holds 1 GiB"), "{refused}");
}

#[test]
fn what_can_never_be_is_refused_with_the_figures() {
    let rig = Rig::default();
    let control = rig.start();
    control.reserve(ask(4, "db7", 60)).unwrap();
    let refused = control.reserve(ask(4, "", 60)).unwrap_err().to_string();
    for figure in ["1 GiB too much", "8 GiB", "web1 1 GiB", "guaranteed 4 GiB", "3 GiB is left"] {
        assert!(refused.contains(figure), "{figure} in {refused}");
    }
    control.reserve(ask(3, "", 60)).unwrap();
    let twice = control.reserve(ask(1, "db7", 60)).unwrap_err().to_string();
    assert!(twice.starts_with("reservation 1 is for db7 already"), "{twice}");
    assert_eq!(open(&control), [1, 2]);
}

#[test]
fn there_are_no_more_than_may_be() {
    let rig = Rig::default();
    let control = rig.start();
    let tiny = |_| ReserveAsk { min: ByteCount::mib(1), max: ByteCount::mib(1), ..ask(1, "", 60) };
    for number in 0..Reservations::MOST {
        control.reserve(tiny(number)).unwrap();
    }
    let refused = control.reserve(tiny(0)).unwrap_err();
    assert_eq!(refused, ControlError::Reserve(ReserveError::TooMany(Reservations::MOST)));
    // However many come and go, what is kept of them has a bound.
    for id in 1..200 {
        control.release(id, somebody(), String::new()).unwrap();
        control.reserve(tiny(0)).unwrap();
    }
    let kept = control.in_force().reservations.clone();
    assert_eq!((kept.open.len(), kept.ended.len()), (Reservations::MOST, Reservations::ENDED));
    let unknown = control.release(1, somebody(), String::new()).unwrap_err();
    assert_eq!(unknown, ControlError::Reserve(ReserveError::Unknown(1)), "kept no longer");
}

#[test]
fn one_ends_when_its_time_is_up_also_while_agentd_is_away() {
    let rig = Rig::default();
    let control = rig.start();
    control.reserve(ask(1, "", 60)).unwrap();
    control.reserve(ask(1, "", 600)).unwrap();
    rig.pass(59);
    control.expire().unwrap();
    assert_eq!(open(&control), [1, 2]);
    rig.pass(1);
    // The tick goes by the time, and not by whether that was noted.
    let in_force = control.in_force().reservations.clone();
    assert_eq!(in_force.in_force(rig.clock.now()).count(), 1);
    control.expire().unwrap();
    assert_eq!((open(&control), ending(&control, 1)), (vec![2], Some(Ending::Expired)));
    drop(control);
    rig.pass(400);
    let control = rig.start();
    assert_eq!(open(&control), [2], "as long as it was said to last");
    drop(control);
    rig.pass(200);
    let control = rig.start();
    assert_eq!((open(&control), ending(&control, 2)), (vec![], Some(Ending::Expired)));
    let expired: Vec<u64> = events(&rig)
        .into_iter()
        .filter(|(_, event)| *event == ReservationEvent::Expired)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(expired, [1, 2], "each told once");
}

#[test]
fn none_lasts_longer_than_it_was_made_for_though_the_wall_clock_goes_back() {
    let rig = Rig::default();
    let control = rig.start();
    control.reserve(ask(1, "", 60)).unwrap();
    drop(control);
    let ahead = Duration::from_secs(3600);
    rig.disk.with(|disk| {
        let own = disk.reservations.values_mut().next().unwrap();
        own.actor.time = own.expires_at + ahead - Duration::from_secs(60);
        own.expires_at += ahead;
    });
    let control = rig.start();
    rig.pass(59);
    control.expire().unwrap();
    assert_eq!(open(&control), [1]);
    rig.pass(1);
    control.expire().unwrap();
    assert_eq!(ending(&control, 1), Some(Ending::Expired));
}

#[test]
fn one_that_is_released_stays_so() {
    let rig = Rig::default();
    let control = rig.start();
    control.reserve(ask(1, "", 60)).unwrap();
    let set = control.release(1, somebody(), "not needed".to_owned()).unwrap();
    assert!(set.position.is_some());
    assert_eq!(control.release(1, somebody(), String::new()).unwrap().position, None);
    drop(control);
    let control = rig.start();
    assert_eq!((open(&control), ending(&control, 1)), (vec![], Some(Ending::Released)));
    assert_eq!(control.reserve(ask(1, "", 60)).unwrap().reserved.reservation.id.0, 2);
}

/// A tick in which the reservations stood so.
fn tick(control: &Control, booking: Booking) {
    let noted = vec![(booking, booking.handed_to.map(|_| Arc::from("db7")))];
    control.note(noted);
    control.expire().unwrap();
}

#[test]
fn what_ticks_say_of_one_is_told_once_and_ends_it() {
    let rig = Rig::default();
    let control = rig.start();
    let made = control.reserve(ask(1, "db7", 60)).unwrap().reserved.reservation.clone();
    let (id, min, max) = (made.id, made.min, made.max);
    let stands = Booking { id, min, max, held: min, filled: true, handed_to: None };
    for filled in [true, true, false, true] {
        tick(&control, Booking { filled, ..stands });
    }
    let vm = VmId::from_bytes([7; 16]);
    tick(&control, Booking { handed_to: Some(vm), ..stands });
    tick(&control, Booking { handed_to: Some(vm), ..stands });
    let name: Arc<str> = Arc::from("db7");
    assert_eq!(ending(&control, 1), Some(Ending::HandedOver { vm, name }));
    let told: Vec<ReservationEvent> = events(&rig).into_iter().map(|(_, event)| event).collect();
    let filled = ReservationEvent::Filled;
    assert_eq!(told, [ReservationEvent::Made, filled, filled, ReservationEvent::HandedOver]);
}

#[test]
fn one_that_a_tick_handed_over_before_its_time_was_up_has_not_expired() {
    let rig = Rig::default();
    let control = rig.start();
    let made = control.reserve(ask(2, "db7", 60)).unwrap().reserved.reservation.clone();
    control.reserve(ask(1, "db8", 60)).unwrap();
    control.release(2, somebody(), String::new()).unwrap();
    rig.pass(60);
    control.expire().unwrap();
    assert_eq!(ending(&control, 1), Some(Ending::Expired));
    // What the tick says comes after its orders.
    let (vm, min) = (VmId::from_bytes([7; 16]), made.min);
    let said = |id| Booking { id, min, max: min, held: min, filled: true, handed_to: Some(vm) };
    for id in [made.id, made.id, ReservationId(2)] {
        tick(&control, said(id));
    }
    let handed_over = Some(Ending::HandedOver { vm, name: Arc::from("db7") });
    assert_eq!(ending(&control, 2), Some(Ending::Released));
    for control in [control, rig.start()] {
        assert_eq!((open(&control), ending(&control, 1)), (vec![], handed_over.clone()));
        assert_eq!(control.in_force().reservations.ended.len(), 2, "each once");
    }
    let told = events(&rig).into_iter().filter(|own| *own == (1, ReservationEvent::HandedOver));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_full_disk_makes_and_releases_nothing_but_time_goes_on() {
    let rig = Rig::default();
    let control = rig.start();
    control.reserve(ask(1, "", 60)).unwrap();
    rig.disk.with(|disk| disk.is_full = true);
    assert!(matches!(control.reserve(ask(1, "", 60)), Err(ControlError::NotDurable(_))));
    let release = control.release(1, somebody(), String::new());
    assert!(matches!(release, Err(ControlError::NotDurable(_))));
    assert_eq!(open(&control), [1]);
    rig.pass(60);
    control.expire().unwrap();
    assert_eq!(ending(&control, 1), Some(Ending::Expired));
}

#[test]
fn a_hand_over_that_a_full_disk_did_not_take_is_written_later() {
    let rig = Rig::default();
    let control = rig.start();
    let made = control.reserve(ask(1, "", 600)).unwrap().reserved.reservation.clone();
    rig.disk.with(|disk| disk.is_full = true);
    let (id, min, max) = (made.id, made.min, made.max);
    let handed_to = Some(VmId::from_bytes([7; 16]));
    tick(&control, Booking { id, min, max, held: ByteCount::ZERO, filled: true, handed_to });
    assert!(matches!(ending(&control, 1), Some(Ending::HandedOver { .. })), "in force at once");
    assert!(rig.disk.with(|disk| disk.reservations[&id].end.is_none()));
    rig.disk.with(|disk| disk.is_full = false);
    rig.pass(5);
    control.expire().unwrap();
    drop(control);
    let control = rig.start();
    assert_eq!(open(&control), Vec::<u64>::new(), "it goes to no second VM");
    assert!(matches!(ending(&control, 1), Some(Ending::HandedOver { .. })));
}
