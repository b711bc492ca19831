//! Who gets what there is to give in one tick of `working-set`, while givers let go of theirs in steps.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    decide::decide,
    distress::{Distress, Sign},
    policy::{Algorithm, Policy, VmKey, VmPolicy},
    state::State,
    verdict::{Reason, Verdict},
    vm::VmId,
};
use proptest::prelude::*;

use crate::{
    settled::{a_world, holds_for},
    world::{Vm, World, carried_out},
};

/// Nobody gets more than its minimum of what arrives while another lacks some of its own, nor headroom while
/// another waits for what its programs work with, whatever their weights.
#[test]
fn nobody_gets_headroom_while_another_waits_for_what_it_works_with() {
    let judged = holds_for(300, a_world(300..1600), |mut world| {
        let mut waited = false;
        for _ in 0..12 {
            let (sample, decision) = world.turn();
            let steps = |id: VmId, verdict: &Verdict| {
                let vm = sample.vms.get(&id).unwrap();
                let min = world.policy.rules(id, &vm.name, vm.max).limits.min;
                [min, verdict.demand.unwrap().max(min)]
            };
            let has = |id: &VmId, verdict: &Verdict| {
                sample.vms.get(id).unwrap().actual.saturating_add(verdict.amount)
            };
            for step in 0..2 {
                let waits = |(id, verdict): (&VmId, &Verdict)| {
                    let lacks = verdict.need.is_some_and(|need| !need.is_zero());
                    let due = steps(*id, verdict)[step].min(verdict.entitled.unwrap());
                    lacks && has(id, verdict).saturating_add(sample.granule) < due
                };
                if !decision.verdicts.iter().any(waits) {
                    continue;
                }
                waited |= decision.plan.grows.len() > 1;
                for grow in &decision.plan.grows {
                    let verdict = decision.verdicts.get(&grow.vm).unwrap();
                    let (has, most) = (has(&grow.vm, verdict), steps(grow.vm, verdict)[step]);
                    prop_assert!(has <= most, "{has} of {most}, while another waits: {world:?}");
                }
            }
        }
        Ok(waited)
    });
    assert!(judged >= 10, "only in {judged} somebody waited beside others who got something");
}

/// 1350 MiB that are needed all at once, and by 20 MiB more every second.
fn at_once() -> Vec<u32> {
    [vec![400; 10], vec![1350; 20], vec![400]].concat()
}

fn slowly() -> Vec<u32> {
    let more = (1..48).map(|step| 400 + 20 * step);
    vec![400; 10].into_iter().chain(more).chain([400]).collect()
}

/// Three VMs that hold all there is: one whose programs burst for five seconds and rest, one that holds more than
/// it needs, and one that needs more after that.
fn bursting(burst: u32, needs: Vec<u32>) -> World {
    let mib = ByteCount::mib;
    let line = |spans: &[(usize, u32)]| {
        spans.iter().flat_map(|(ticks, uses)| vec![mib(*uses); *ticks]).collect::<Vec<_>>()
    };
    let vm = |(number, (actual, demand))| {
        let name = format!("vm{number}");
        let vm = Vm { name, actual: mib(actual), max: mib(4096), demand, life: 0..u64::MAX };
        (VmId::from_bytes([number; 16]), vm)
    };
    let vms = [
        (200, line(&[(3, 100), (5, 100 + burst), (1, 100)])),
        (1500, line(&[(1, 600)])),
        (500, needs.into_iter().map(mib).collect()),
    ];
    World {
        total: mib(8192),
        other: mib(8192 - 200 - 2200),
        policy: Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() },
        vms: (1..).zip(vms).map(vm).collect::<BTreeMap<_, _>>(),
        state: State::default(),
        tick: 0,
        reservations: Vec::new(),
    }
}

/// A VM that has burst gives its room to one that needs it, and is given room for the next burst as soon as
/// others have memory that they have no use for.
#[test]
fn who_has_burst_is_given_room_for_the_next_burst_after_all_that_others_need() {
    let room = |burst, needs: Vec<u32>| {
        let needed = needs.len() - 1;
        let mut world = bursting(burst, needs);
        [needed, 20].map(|ticks| {
            (0..ticks).for_each(|_| drop(world.turn()));
            world.vms[&VmId::from_bytes([1; 16])].actual.mib_floor() - 100
        })
    };
    let [needed, idle] = room(400, at_once());
    assert!(needed < 130, "{needed} MiB, while another needs it");
    assert!((300..420).contains(&idle), "{idle} MiB");
    let [needed, idle] = room(0, at_once());
    assert!(needed < 130, "{needed} MiB, while another needs it");
    assert!((200..300).contains(&idle), "{idle} MiB: half of what another burst by");
    let [needed, idle] = room(30, slowly());
    assert!(needed < 130 && idle < 130, "{needed} and {idle} MiB: slow growth is no burst");
}

/// However little it is: the dead band keeps orders back that nobody needs, and a minimum is promised.
#[test]
fn who_lacks_some_of_its_minimum_is_given_it_within_any_dead_band() {
    let gets = |min| {
        let mut world = bursting(0, vec![300]);
        let vm = VmPolicy { min: Some(ByteCount::mib(min)), ..VmPolicy::default() };
        world.policy.vms.insert(VmKey::Name("vm3".to_owned()), vm);
        world.policy.working_set.dead_band = ByteCount::mib(64);
        world.turn();
        world.vms[&VmId::from_bytes([3; 16])].actual.mib_floor()
    };
    assert_eq!([500, 510, 560].map(gets), [500, 510, 560]);
}

/// What it works with shows less and less the longer it swaps.
#[test]
fn who_swaps_at_its_maximum_is_at_it_for_as_long_as_that_lasts() {
    let mib = ByteCount::mib;
    let id = VmId::from_bytes([1; 16]);
    let (name, actual) = ("full".to_owned(), mib(512));
    let demand = [vec![mib(200); 5], vec![mib(500); 5], vec![mib(400)]].concat();
    let vm = Vm { name, actual, max: actual, demand, life: 0..u64::MAX };
    let policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
    let (total, other) = (ByteCount::gib(8), ByteCount::gib(1));
    let vms = BTreeMap::from([(id, vm)]);
    let (state, reservations) = Default::default();
    let mut world = World { total, other, policy, vms, state, tick: 0, reservations };
    for tick in 0..900 {
        let mut sample = world.sample();
        let sign = Sign::SwapsOut(mib(20));
        sample.vms.get_mut(&id).unwrap().distress =
            (tick >= 10).then_some(Distress { sign, age: Duration::ZERO });
        let (decision, state) = decide(&world.policy, &world.state, &sample);
        let applied = carried_out(&decision.plan);
        world.state = state.after(&decision.plan, &applied, &sample, sample.now);
        world.tick += 1;
        let verdict = decision.verdicts.get(&id).unwrap();
        assert!(tick < 10 || verdict.reason == Reason::AtMaximum, "{tick}: {verdict:?}");
    }
}

/// A VM of so many MiB whose programs burst to so many more for five seconds, once it is its turn.
fn bursts_in_turn(number: u8, (rests, bursts, actual): (u32, u32, u32)) -> (VmId, Vm) {
    let mib = ByteCount::mib;
    let mut demand = vec![mib(rests); 3 + 20 * usize::from(number)];
    demand.extend([mib(rests + bursts); 5]);
    demand.push(mib(rests));
    let name = format!("vm{number}");
    let vm = Vm { name, actual: mib(rests + actual), max: mib(4096), demand, life: 0..u64::MAX };
    (VmId::from_bytes([number; 16]), vm)
}

/// With all constants as they are by default: once bursts are over, room for the next ones goes to no VM and
/// back, and in the end nothing moves.
#[test]
fn room_for_bursts_goes_nowhere_and_back_and_comes_to_rest() {
    let a_vm = || (100..600_u32, 0..900_u32, 0..600_u32);
    let judged = holds_for(60, proptest::collection::vec(a_vm(), 2..5), |drawn| {
        let mut world = bursting(0, at_once());
        world.vms = (1..).zip(drawn).map(|(number, own)| bursts_in_turn(number, own)).collect();
        let held: ByteCount = world.vms.values().map(|vm| vm.actual).sum();
        world.other = world.total.saturating_sub(held).saturating_sub(world.policy.host_reserve);
        (0..120).for_each(|_| drop(world.turn()));
        let (mut ways, mut moved) = (BTreeMap::<VmId, Vec<bool>>::new(), false);
        for tick in 120..1600 {
            let (_, decision) = world.turn();
            for resize in decision.plan.resizes() {
                let way = !resize.growth().is_zero();
                let ways = ways.entry(resize.vm).or_default();
                if ways.last() != Some(&way) {
                    ways.push(way);
                }
                prop_assert!(ways.len() <= 2, "{tick}: {ways:?} of {resize:?} in {world:?}");
            }
            let rests = decision.plan.is_empty();
            moved |= !rests;
            prop_assert!(rests || tick < 1500, "{tick}: {:?}", decision.plan);
        }
        Ok(moved)
    });
    assert!(judged >= 5, "only in {judged} something moved after the bursts");
}
