//! Reservations on ideal hosts and on any sample: they fill out of what VMs can spare, nobody is given
//! what they hold, and their VM takes their place in one tick.

use std::collections::BTreeMap;

use agentd_core::{
    bytes::ByteCount,
    check::check,
    decide::decide,
    decision::Decision,
    policy::{Algorithm, Policy, VmKey},
    reserve::{Booking, Reservation, ReservationId},
    sample::Sample,
    state::State,
    verdict::Reason,
    vm::VmId,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    mess::a_mess,
    world::{Vm, World, carried_out},
};

const fn mib(count: u32) -> ByteCount {
    ByteCount::mib(count)
}

const fn id(number: u8) -> VmId {
    VmId::from_bytes([number; 16])
}

fn vm(name: &str, actual: u32, demand: &[u32], from: u64) -> Vm {
    Vm {
        name: name.to_owned(),
        actual: mib(actual),
        max: mib(4096),
        demand: demand.iter().copied().map(mib).collect(),
        life: from..u64::MAX,
    }
}

fn reservation(number: u64, (min, max): (u32, u32), vm: Option<&str>) -> Reservation {
    let vm = vm.map(VmKey::from);
    Reservation { id: ReservationId(number), min: mib(min), max: mib(max), vm }
}

/// A host of 8 GiB, of which 1 is used beside VMs and 200 MiB are its reserve.
fn world(algorithm: Algorithm, vms: impl IntoIterator<Item = Vm>) -> World {
    let vms: BTreeMap<VmId, Vm> = (1..).map(id).zip(vms).collect();
    World {
        total: ByteCount::gib(8),
        other: ByteCount::gib(1),
        policy: Policy { algorithm, ..Policy::default() },
        vms,
        state: State::default(),
        tick: 0,
        reservations: Vec::new(),
    }
}

/// All that may be held, and what is reserved, never comes to more than there is.
fn sound(world: &World, sample: &Sample, decision: &Decision) {
    let held: ByteCount = sample.vms.values().map(|vm| vm.actual).sum();
    let reserved: ByteCount = decision.bookings.iter().map(|own| own.held).sum();
    let all = held.saturating_add(reserved).saturating_add(world.other);
    let all = if reserved.is_zero() { all } else { all.saturating_add(world.policy.host_reserve) };
    assert!(all <= world.total, "tick {}: {all}", decision.tick);
}

fn turns(world: &mut World, count: usize) -> Vec<(Sample, Decision)> {
    let turns: Vec<_> = (0..count).map(|_| world.turn()).collect();
    turns.iter().for_each(|(sample, decision)| sound(world, sample, decision));
    turns
}

fn booking(turn: &(Sample, Decision)) -> Booking {
    turn.1.bookings[0]
}

#[test]
fn fills_out_of_what_vms_can_spare_and_leaves_them_what_they_use() {
    for algorithm in Algorithm::ALL {
        let vms = [vm("a", 3000, &[400], 0), vm("b", 3000, &[900], 0)];
        let mut world = world(algorithm, vms);
        world.reservations = vec![reservation(1, (3000, 3000), None)];
        let turns = turns(&mut world, 60);
        let last = booking(turns.last().unwrap());
        assert_eq!((last.held, last.filled), (mib(3000), true), "{algorithm:?}");
        for (sample, decision) in &turns {
            for resize in &decision.plan.shrinks {
                let usable = sample.vms.get(&resize.vm).unwrap().guest.usable.unwrap();
                assert!(resize.shrinkage() <= usable, "{algorithm:?}: what it uses is taken");
            }
        }
        let reasons = turns.iter().flat_map(|(_, decision)| decision.verdicts.values());
        let gives = |reason| reason == Reason::GivesToReservation;
        assert!(reasons.clone().any(|own| gives(own.reason)), "{algorithm:?}");
    }
}

#[test]
fn nobody_is_given_what_it_holds_and_who_needs_it_is_told_so() {
    for algorithm in Algorithm::ALL {
        // It wants more and more, and of the 3968 MiB that the host has 3960 are reserved.
        let demand: Vec<u32> = (0..80).map(|tick| 2850 + 10 * tick).collect();
        let mut world = world(algorithm, [vm("a", 3000, &demand, 0)]);
        world.reservations = vec![reservation(1, (3960, 3960), None)];
        let turns = turns(&mut world, 12);
        let last = turns.last().unwrap();
        assert_eq!(booking(last).held, mib(3960), "{algorithm:?}");
        assert!(last.1.plan.room <= mib(8), "{algorithm:?}: what it holds is no room for VMs");
        assert!(last.0.vms.get(&id(1)).unwrap().actual <= mib(3008), "{algorithm:?}");
        let reasons: Vec<Reason> = turns
            .iter()
            .map(|(_, decision)| decision.verdicts.get(&id(1)).unwrap().reason)
            .collect();
        assert!(reasons.contains(&Reason::Reserved), "{algorithm:?}: {reasons:?}");
        // Once it is gone, what it held is everybody's.
        world.reservations.clear();
        let turns = self::turns(&mut world, 60);
        assert!(
            turns.last().unwrap().0.vms.get(&id(1)).unwrap().actual > mib(3500),
            "{algorithm:?}"
        );
    }
}

#[test]
fn what_it_holds_is_no_room_for_vms_by_the_limit_either() {
    for algorithm in Algorithm::ALL {
        let mut world = world(algorithm, [vm("a", 3000, &[2850], 0)]);
        world.policy.pool_limit = Some(mib(6000));
        world.reservations = vec![reservation(1, (1000, 1000), None)];
        let (_, last) = turns(&mut world, 12).pop().unwrap();
        let holds: ByteCount = last.pool.exposed.saturating_add(mib(1000 + 200));
        let room = mib(6000).saturating_sub(holds);
        assert_eq!(last.plan.limit_room, Some(room), "{algorithm:?}: beside the host's reserve");
    }
}

#[test]
fn a_range_is_there_with_its_minimum_and_takes_more_of_what_nobody_needs() {
    for algorithm in Algorithm::ALL {
        let mut world = world(algorithm, [vm("a", 3000, &[400], 0)]);
        world.reservations = vec![reservation(1, (1000, 6000), None)];
        let turns = turns(&mut world, 80);
        assert!(booking(&turns[1]).filled, "{algorithm:?}: the host has that much");
        let held = booking(turns.last().unwrap()).held;
        assert!(held > mib(5900), "{algorithm:?}: {held}");
    }
}

#[test]
fn a_vm_in_need_comes_before_what_one_takes_beyond() {
    for algorithm in Algorithm::ALL {
        // It comes to want 2000 MiB more; of the 5968 MiB that the host has 1000 are guaranteed.
        let demand: Vec<u32> = (0..80).map(|tick| 850 + 50 * tick.clamp(20, 60)).collect();
        let mut world = world(algorithm, [vm("a", 4000, &demand, 0)]);
        world.reservations = vec![reservation(1, (1000, 6000), None)];
        let turns = turns(&mut world, 100);
        let (sample, decision) = turns.last().unwrap();
        let (holds, booking) = (sample.vms.get(&id(1)).unwrap().actual, decision.bookings[0]);
        assert!(holds >= mib(3850), "{algorithm:?}: it has {holds}");
        assert!(booking.filled && booking.held > mib(2000), "{algorithm:?}: {booking:?}");
    }
}

#[test]
fn minimums_of_all_come_before_what_one_takes_beyond() {
    let mut world = world(Algorithm::WorkingSet, [vm("a", 3000, &[2720], 0)]);
    world.reservations =
        vec![reservation(1, (1000, 4000), None), reservation(2, (2000, 2000), None)];
    let turns = turns(&mut world, 3);
    let held: Vec<ByteCount> = turns[2].1.bookings.iter().map(|own| own.held).collect();
    let free = mib(8 * 1024 - 1024 - 200 - 3000);
    assert_eq!(held, [free.saturating_sub(mib(2000)), mib(2000)]);
}

#[test]
fn its_vm_takes_its_place_in_the_tick_in_which_it_is_seen() {
    for algorithm in Algorithm::ALL {
        let vms = [vm("a", 3000, &[400], 0), vm("db7", 3500, &[400], 40)];
        let mut world = world(algorithm, vms);
        world.reservations = vec![reservation(7, (3500, 3500), Some("db7"))];
        let turns = turns(&mut world, 60);
        let at = turns.iter().position(|turn| booking(turn).handed_to.is_some()).unwrap();
        assert_eq!(at, 40, "{algorithm:?}");
        assert_eq!(booking(&turns[39]).held, mib(3500), "{algorithm:?}");
        for turn in &turns[40..] {
            let own = booking(turn);
            assert_eq!((own.handed_to, own.held), (Some(id(2)), ByteCount::ZERO));
            assert_eq!(turn.1.pool.booked.reserved, ByteCount::ZERO);
        }
    }
}

#[test]
fn one_that_names_no_vm_goes_to_the_first_that_comes_once_it_is_filled() {
    let vms = [vm("a", 2000, &[400], 0), vm("b", 100, &[90], 1), vm("c", 3000, &[400], 60)];
    let mut world = world(Algorithm::TwoPointer, vms);
    // The host has not that much when b comes.
    world.reservations = vec![reservation(1, (5300, 5300), None)];
    let turns = turns(&mut world, 62);
    assert_eq!(booking(&turns[59]).handed_to, None, "b came before it was filled");
    assert!(booking(&turns[59]).filled, "{:?}", booking(&turns[59]));
    assert_eq!(booking(&turns[60]).handed_to, Some(id(3)));
}

#[test]
fn one_that_was_filled_goes_to_the_first_that_comes_though_it_lacks_something_then() {
    let vms = [vm("a", 3000, &[2950], 0), vm("c", 1000, &[900], 5)];
    let mut world = world(Algorithm::TwoPointer, vms);
    world.reservations = vec![reservation(1, (3900, 3900), None)];
    assert!(booking(turns(&mut world, 4).last().unwrap()).filled);
    // A backup begins on the host just before c is seen.
    world.other = world.other.saturating_add(mib(300));
    let dip = booking(&turns(&mut world, 1)[0]);
    assert!(!dip.filled && dip.handed_to.is_none(), "{dip:?}");
    assert_eq!(booking(&turns(&mut world, 1)[0]).handed_to, Some(id(2)));
}

/// One tick of a real host right after a restart: figures have to be trusted and orders known.
fn real_turn(world: &mut World) -> Decision {
    let sample = Sample { ideal: false, granule: ByteCount::kib(4), ..world.sample() };
    let (decision, state) = decide(&world.policy, &world.state, &sample);
    assert_eq!(check(&world.policy, &state, &sample, &decision), []);
    for resize in decision.plan.resizes() {
        world.vms.get_mut(&resize.vm).unwrap().actual = resize.to;
    }
    let applied = carried_out(&decision.plan);
    world.state = state.after(&decision.plan, &applied, &sample, sample.now);
    world.tick += 1;
    decision
}

#[test]
fn after_a_restart_vms_are_asked_only_for_what_is_really_missing() {
    for (algorithm, missing) in Algorithm::ALL.into_iter().flat_map(|own| [(own, 0), (own, 200)]) {
        let vms = [vm("a", 2000, &[400], 0), vm("b", 2000, &[400], 0)];
        let mut world = world(algorithm, vms);
        // The host keeps 2968 MiB beyond its reserve; VMs may come to hold 4192 more, for all that is
        // known at first.
        let size = 2968 + missing;
        world.reservations = vec![reservation(1, (size, size), None)];
        let first = real_turn(&mut world);
        assert_eq!(first.bookings[0].held, ByteCount::ZERO, "{algorithm:?}");
        assert_eq!(first.plan.shrinks, [], "{algorithm:?}");
        assert_eq!(first.plan.neutral.len(), 2, "{algorithm:?}: both are adopted");
        let mut given = ByteCount::ZERO;
        let mut last = first;
        for _ in 0..8 {
            last = real_turn(&mut world);
            let asked = last.verdicts.values();
            let asked = asked.filter(|own| own.reason == Reason::GivesToReservation);
            given = given.saturating_add(asked.map(|own| own.amount).sum());
        }
        assert!(last.bookings[0].filled, "{algorithm:?}: {:?}", last.bookings);
        let most = if missing == 0 { ByteCount::ZERO } else { mib(missing + 17) };
        assert!(given <= most, "{algorithm:?}: {given} given for {missing} MiB");
    }
}

#[test]
fn what_was_handed_over_stays_so_when_its_vm_goes() {
    let mut gone = vm("db7", 500, &[400], 3);
    gone.life = 3..5;
    let mut world = world(Algorithm::TwoPointer, [vm("a", 1000, &[400], 0), gone]);
    world.reservations = vec![reservation(1, (500, 500), Some("db7"))];
    let turns = turns(&mut world, 8);
    assert_eq!(booking(&turns[7]).handed_to, Some(id(2)));
    assert_eq!(booking(&turns[7]).held, ByteCount::ZERO);
}

/// A little less than was there goes and comes with the host's own use; of a small one it is a quarter.
#[test]
fn a_small_one_of_which_nothing_is_left_is_not_filled_any_more() {
    let stays = |size: u32, left: u32| {
        let mut world = world(Algorithm::TwoPointer, [vm("a", 1000, &[900], 0)]);
        world.reservations = vec![reservation(1, (size, size), None)];
        assert!(booking(turns(&mut world, 3).last().unwrap()).filled);
        let used = world.vms.values().map(|vm| vm.actual).sum::<ByteCount>();
        let free = world.policy.host_reserve.saturating_add(mib(left));
        world.other = world.total.saturating_sub(used).saturating_sub(free);
        let last = booking(turns(&mut world, 1).last().unwrap());
        assert_eq!(last.held, mib(left), "{last:?}");
        last.filled
    };
    assert_eq!(
        [stays(8, 0), stays(8, 6), stays(500, 490), stays(500, 480)],
        [false, true, true, false]
    );
}

fn a_reservation() -> impl Strategy<Value = (u64, u64, Option<u8>)> {
    (0..4096_u64, 0..4096_u64, proptest::option::of(0..12_u8))
}

/// Reservations of any size, for VMs that are there and others.
fn book(asked: &[(u64, u64, Option<u8>)]) -> Vec<Reservation> {
    let own = |(number, (min, more, vm)): (u64, &(u64, u64, Option<u8>))| {
        let amount = |mib: u64| ByteCount::bytes((mib << 20) + number);
        let (min, max) = (amount(*min), amount(min + more));
        Reservation { id: ReservationId(number), min, max, vm: vm.map(|vm| VmKey::Id(id(vm))) }
    };
    (1..).zip(asked).map(own).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is reserved: no rule is broken, none is given away, and none is held that is not there.
    #[test]
    fn keeps_every_rule_with_any_reservations(
        (policy, state, mut sample) in a_mess(),
        asked in vec(a_reservation(), 1..5),
        algorithm in prop_oneof![Just(Algorithm::TwoPointer), Just(Algorithm::WorkingSet)],
    ) {
        let policy = Policy { algorithm, ..policy };
        sample.reservations = book(&asked);
        let (decision, state) = decide(&policy, &state, &sample);
        prop_assert_eq!(check(&policy, &state, &sample, &decision), []);
        prop_assert_eq!(decision.bookings.len(), sample.reservations.len());
        let held: ByteCount = decision.bookings.iter().map(|own| own.held).sum();
        prop_assert!(held <= decision.pool.kept.saturating_sub(policy.host_reserve));
        for own in &decision.bookings {
            prop_assert!(own.held <= own.max && (own.handed_to.is_none() || own.held.is_zero()));
        }
    }

    /// With none that is open, nothing is decided otherwise.
    #[test]
    fn none_that_is_open_changes_nothing(
        (policy, state, sample) in a_mess(),
        asked in vec(a_reservation(), 1..5),
        algorithm in prop_oneof![Just(Algorithm::TwoPointer), Just(Algorithm::WorkingSet)],
    ) {
        let policy = Policy { algorithm, ..policy };
        let Some(there) = sample.vms.keys().next().copied() else { return Ok(()) };
        let mut reserved = sample.clone();
        reserved.reservations = book(&asked);
        reserved.reservations.iter_mut().for_each(|own| own.vm = Some(VmKey::Id(there)));
        let (plain, _) = decide(&policy, &state, &sample);
        let (mut decision, _) = decide(&policy, &state, &reserved);
        prop_assert!(decision.bookings.iter().all(|own| own.handed_to == Some(there)));
        decision.bookings.clear();
        decision.pool.booked = plain.pool.booked;
        prop_assert_eq!(decision, plain);
    }

    /// What the judge is for: a decision that was made without looking at what is reserved.
    #[test]
    fn a_grant_of_what_is_reserved_is_found(
        (policy, state, mut sample) in a_mess(),
        min in 1..4096_u32,
    ) {
        let (decision, state) = decide(&policy, &state, &sample);
        let kept = decision.pool.kept;
        let by_host = decision.plan.funding.iter();
        let by_host = by_host.filter(|own| own.from == agentd_core::plan::Party::Host);
        let granted: ByteCount = by_host.map(|own| own.amount).sum();
        sample.reservations = vec![reservation(1, (min, min), Some("nobody"))];
        let least = policy.host_reserve.saturating_add(mib(min));
        let found = check(&policy, &state, &sample, &decision);
        let takes = !granted.is_zero() && kept.saturating_sub(granted) <= least;
        prop_assert_eq!(found.is_empty(), !takes, "{:?}", found);
    }
}
