//! Where `working-set` comes to rest on an ideal host under constant demand: what each VM then holds is
//! its max–min share with weights and minimums, as another allocator comes to it, and nothing moves.

use std::{cell::Cell, collections::BTreeMap};

use agentd_core::{
    bytes::ByteCount,
    decision::Decision,
    fair::Claim,
    policy::{Algorithm, Policy, VmKey, VmPolicy},
    state::State,
    vm::VmId,
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use crate::{
    fair::by_freezing,
    mess::{a_working_set, amount},
    world::{Vm, World},
};

/// Within so many ticks all is at rest.
const MOVES_FOR: usize = 120;
/// No tick of these moves anything then.
const RESTS_FOR: usize = 20;
/// What every VM is left with beside what its programs work with.
pub(crate) const LEFT_USABLE: u64 = 16 << 20;
/// And gives no less than this.
const LEAST_GIFT: u64 = 1 << 20;

/// One VM to draw: what it works with, what it holds in permille of that, its minimum and its weight.
type Drawn = (ByteCount, u64, Option<ByteCount>, u32);

fn a_vm(held: std::ops::Range<u64>) -> impl Strategy<Value = Drawn> {
    let min = proptest::option::weighted(0.3, amount(1200));
    let weight = prop_oneof![Just(100), 1..=1000_u32, Just(10_000)];
    (amount(1200), held, min, weight)
}

prop_compose! {
    /// Constants with which needs show within a few ticks.
    fn constants()(
        working_set in a_working_set((48..200, 0..=49), (0..=5, 1..5_u64), 1..40),
        shrink_step in 32..200_u32,
    ) -> Policy {
        Policy {
            algorithm: Algorithm::WorkingSet,
            shrink_step: ByteCount::mib(shrink_step),
            working_set,
            ..Policy::default()
        }
    }
}

prop_compose! {
    /// VMs that hold between so much of what they work with, on a host that has some MiB beyond its
    /// reserve, or lacks some.
    pub(crate) fn a_world(held: std::ops::Range<u64>)(
        policy in constants(),
        drawn in vec(a_vm(held), 1..7),
        (free, is_short) in (amount(100), proptest::bool::weighted(0.2)),
        noise in vec(0..4_u64, 6),
    ) -> World {
        let mut world = World {
            total: ByteCount::gib(32),
            other: ByteCount::ZERO,
            policy,
            vms: BTreeMap::new(),
            state: State::default(),
            tick: 0,
            reservations: Vec::new(),
        };
        for (number, (works, held, min, weight)) in (1..).zip(drawn) {
            let name = format!("vm{number}");
            let own = VmPolicy {
                min: min.map(|min| min.max(world.policy.floor)),
                weight: Some(weight),
                ..VmPolicy::default()
            };
            world.policy.vms.insert(VmKey::from(name.as_str()), own);
            let actual = works.fraction(held, 1000).max(world.policy.floor);
            // A burst at first now and then, and what it goes on with.
            let burst = noise[usize::from(number) - 1];
            let mut demand = vec![works.fraction(4 + burst, 4); usize::try_from(burst).unwrap()];
            demand.push(works);
            let vm = Vm { name, actual, max: ByteCount::gib(8), demand, life: 0..u64::MAX };
            world.vms.insert(VmId::from_bytes([number; 16]), vm);
        }
        assert_eq!(world.policy.validate(), []);
        let reserve = world.policy.host_reserve;
        let free = if is_short { reserve.saturating_sub(free) } else { reserve.saturating_add(free) };
        let held: ByteCount = world.vms.values().map(|vm| vm.actual).sum();
        world.other = world.total.saturating_sub(held).saturating_sub(free);
        world
    }
}

/// What the programs of a VM work with in the end.
pub(crate) fn works(vm: &Vm) -> u64 {
    vm.demand.last().unwrap().as_u64()
}

/// What VMs may hold together.
pub(crate) fn pool(world: &World) -> u64 {
    let beside = world.other.saturating_add(world.policy.host_reserve);
    world.total.saturating_sub(beside).as_u64()
}

/// What a VM is to have by the words of docs/WORKING_SET.md: its minimum, what it shows to work with,
/// and what it asks for with headroom.
pub(crate) fn asks(world: &World, vm: &Vm) -> [u64; 3] {
    let own = &world.policy.working_set;
    let rules = world.policy.rules(VmId::from_bytes([0; 16]), &vm.name, vm.max);
    let (min, shown) = (rules.limits.min.as_u64(), works(vm).min(vm.actual.as_u64()));
    let percent = shown * u64::from(own.headroom_percent) / 100;
    let asks = (shown + percent.max(own.headroom.as_u64())).clamp(min, vm.max.as_u64());
    [min, shown.max(min), asks]
}

/// What each VM may have: of minimums, demands and all that is asked for, the first that is too much
/// for all is shared out so that nobody gets less than of the one before.
pub(crate) fn due(world: &World) -> Vec<u64> {
    let all: Vec<[u64; 3]> = world.vms.values().map(|vm| asks(world, vm)).collect();
    let pool = pool(world);
    let fits = |step: &usize| all.iter().map(|asks| asks[*step]).sum::<u64>() <= pool;
    let short = (0..3).find(|step| !fits(step));
    let weight = |vm: &Vm| world.policy.rules(VmId::from_bytes([0; 16]), &vm.name, vm.max).weight;
    let claim = |(vm, asks): (&Vm, &[u64; 3])| Claim {
        least: ByteCount::bytes(asks[short.unwrap_or(2).saturating_sub(1)]),
        most: ByteCount::bytes(asks[short.unwrap_or(2)]),
        weight: weight(vm),
    };
    let claims: Vec<Claim> = world.vms.values().zip(&all).map(claim).collect();
    if short == Some(0) {
        return claims.iter().map(|claim| claim.least.as_u64()).collect();
    }
    by_freezing(pool, &claims)
}

fn held(world: &World) -> Vec<u64> {
    world.vms.values().map(|vm| vm.actual.as_u64()).collect()
}

/// Plays until all rests; every tick leaves to each VM what it works with.
fn settle(world: &mut World, stuck: Option<VmId>) -> Result<Decision, TestCaseError> {
    let mut last = None;
    for tick in 0..MOVES_FOR + RESTS_FOR {
        let (sample, decision) = world.turn_beside(stuck);
        for resize in &decision.plan.shrinks {
            let vm = sample.vms.get(&resize.vm).unwrap();
            let works = vm.actual.saturating_sub(vm.guest.usable.unwrap()).as_u64();
            prop_assert!(resize.to.as_u64() >= works + LEFT_USABLE, "{vm:?}: {resize:?}");
        }
        let rests = decision.plan.is_empty();
        prop_assert!(tick < MOVES_FOR || rests, "{tick}: {:?} of {:?}", decision.plan, world.vms);
        last = Some(decision);
    }
    Ok(last.unwrap())
}

/// Rounding of the shares of all VMs, and the byte that the host keeps beyond its reserve.
pub(crate) fn rounding(world: &World) -> u64 {
    world.vms.len() as u64 + 2
}

pub(crate) fn band(world: &World) -> u64 {
    world.policy.working_set.dead_band.as_u64()
}

/// Nobody knows where to keep what failed of a property that is run by hand.
pub(crate) fn without_a_file(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Runs a property, and counts the cases of which it says that they are what it is about.
pub(crate) fn holds_for<T: std::fmt::Debug>(
    cases: u32,
    drawn: impl Strategy<Value = T>,
    property: impl Fn(T) -> Result<bool, TestCaseError>,
) -> u32 {
    let counted = Cell::new(0);
    let mut runner = TestRunner::new(without_a_file(cases));
    let ran = runner.run(&drawn, |drawn| {
        counted.set(counted.get() + u32::from(property(drawn)?));
        Ok(())
    });
    ran.unwrap_or_else(|problem| panic!("{problem}"));
    counted.into_inner()
}

/// Memory is short, all VMs have at first what they work with, and what is idle in them carries the
/// moves: each comes to hold its max–min share, whatever it began with, within the dead bands: who
/// lacks one lacks no more than others have too much together, of whom none has one too much.
#[test]
fn each_comes_to_hold_its_share_of_too_little() {
    let judged = holds_for(150, a_world(1000..1400), |mut world| {
        settle(&mut world, None)?;
        let (held, due) = (held(&world), due(&world));
        let all = |step: usize| world.vms.values().map(|vm| asks(&world, vm)[step]).sum::<u64>();
        let suffices = |(vm, due): (&Vm, &u64)| *due >= works(vm) + LEFT_USABLE;
        let is_short = all(0) <= pool(&world) && pool(&world) < all(2);
        if !is_short || !world.vms.values().zip(&due).all(suffices) {
            return Ok(false);
        }
        let (band, rounding) = (band(&world), rounding(&world));
        let far = band * (world.vms.len() as u64 - 1).max(1) + rounding;
        for (held, due) in held.iter().zip(&due) {
            prop_assert!(held.abs_diff(*due) < far, "{held} of {due}: {:?}", world);
        }
        let lacks = |(held, due): (&u64, &u64)| due.saturating_sub(*held) >= band + rounding;
        let exceeds = |(held, due): (&u64, &u64)| held.saturating_sub(*due) >= band + rounding;
        let pairs = || held.iter().zip(&due);
        prop_assert!(!pairs().any(lacks) || !pairs().any(exceeds), "{due:?}: {:?}", world);
        Ok(true)
    });
    assert!(judged >= 15, "only {judged} were short and had enough idle");
}

/// Whatever VMs hold at first: who then has less than it is due has got all that is idle in others
/// beyond their due, and all that the host can give.
#[test]
fn who_lacks_gets_all_that_is_idle() {
    let judged = holds_for(150, a_world(300..2000), |mut world| {
        let decision = settle(&mut world, None)?;
        let (held, due) = (held(&world), due(&world));
        let (band, rounding) = (band(&world), rounding(&world));
        for (verdict, due) in decision.verdicts.values().zip(&due) {
            let entitled = verdict.entitled.unwrap().as_u64();
            prop_assert!(entitled.abs_diff(*due) <= 1, "{entitled} of {due}: {:?}", world);
        }
        let lacks = held.iter().zip(&due).any(|(held, due)| held + band <= *due);
        if !lacks {
            return Ok(false);
        }
        let free = pool(&world).saturating_sub(held.iter().sum());
        prop_assert!(free <= rounding, "{free} is left: {:?}", world);
        for ((vm, held), due) in world.vms.values().zip(&held).zip(&due) {
            let idle = held.saturating_sub(works(vm) + LEFT_USABLE);
            let gives = held.saturating_sub(*due);
            prop_assert!(
                gives < band || idle < LEAST_GIFT,
                "{held} of {due}: {vm:?} of {:?}",
                world
            );
        }
        Ok(true)
    });
    assert!(judged >= 10, "only in {judged} somebody lacks something in the end");
}

/// Where there is enough, each has what it asks for but for a dead band, and keeps what it had beyond.
#[test]
fn who_has_enough_keeps_it_where_nobody_lacks_any() {
    let judged = holds_for(80, (a_world(1000..3000), amount(8192)), |(mut world, more)| {
        world.other = world.other.saturating_sub(more);
        world.vms.values_mut().for_each(|vm| vm.demand = vec![*vm.demand.last().unwrap()]);
        let before = held(&world);
        settle(&mut world, None)?;
        let asks = world.vms.values().map(|vm| asks(&world, vm)[2]).collect::<Vec<_>>();
        let (band, rounding) = (band(&world), rounding(&world));
        let began: u64 = before.iter().zip(&asks).map(|(held, asks)| held.max(asks)).sum();
        if began > pool(&world) {
            return Ok(false);
        }
        for ((held, asks), before) in held(&world).iter().zip(&asks).zip(&before) {
            prop_assert!(*held + band + rounding > *asks, "{held} of {asks}: {:?}", world);
            prop_assert!(held + rounding > *before, "{held} of {before}: {:?}", world);
        }
        Ok(true)
    });
    assert!(judged >= 10, "only {judged} had enough");
}
