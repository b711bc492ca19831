//! What is kept back from others: for VMs that start, for those that suffered with less, and what a VM
//! works with.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    decide::decide,
    decision::Decision,
    distress::{Distress, Sign},
    explain,
    plan::Party,
    policy::{Algorithm, Policy, VmKey, VmPolicy, WorkingSet},
    sample::{Boot, Freshness, Sample},
    state::State,
    verdict::Reason,
    vm::VmId,
};

use crate::world::{Vm, World};

const A: VmId = VmId::from_bytes([1; 16]);
const B: VmId = VmId::from_bytes([2; 16]);
const STARTS: VmId = VmId::from_bytes([3; 16]);

/// VMs that hold, and work with, so many MiB at each tick, on a host that has so many left beside them
/// and its reserve of 200 MiB.
fn world(algorithm: Algorithm, vms: &[(u32, &[u32])], left: u32) -> World {
    let working_set = WorkingSet {
        headroom: ByteCount::mib(16),
        headroom_percent: 0,
        ..Policy::default().working_set
    };
    let vm = |(number, (holds, works)): (u8, &(u32, &[u32]))| {
        let vm = Vm {
            name: format!("vm{number}"),
            actual: ByteCount::mib(*holds),
            max: ByteCount::gib(2),
            demand: works.iter().copied().map(ByteCount::mib).collect(),
            life: 0..u64::MAX,
        };
        (VmId::from_bytes([number; 16]), vm)
    };
    let held: ByteCount = vms.iter().map(|(holds, _)| ByteCount::mib(*holds)).sum();
    let kept = held.saturating_add(ByteCount::mib(left)).saturating_add(ByteCount::mib(200));
    World {
        total: ByteCount::gib(16),
        other: ByteCount::gib(16).saturating_sub(kept),
        policy: Policy { algorithm, working_set, ..Policy::default() },
        vms: (1..).zip(vms).map(vm).collect::<BTreeMap<_, _>>(),
        state: State::default(),
        tick: 0,
        reservations: Vec::new(),
    }
}

/// One tick of which nothing is carried out, with a sample that is not quite what the world shows.
fn look(world: &mut World, change: impl Fn(&mut Sample)) -> Decision {
    let mut sample = world.sample();
    change(&mut sample);
    let (decision, state) = decide(&world.policy, &world.state, &sample);
    (world.state, world.tick) = (state, world.tick + 1);
    decision
}

fn starts(sample: &mut Sample) {
    let vm = sample.vms.get_mut(&STARTS).unwrap();
    (vm.boot, vm.freshness, vm.max) =
        (Some(Boot::Start), Freshness::Unproven, ByteCount::mib(1024));
}

/// It holds 256 MiB and may take 768 more at any moment.
#[test]
fn what_a_vm_that_starts_may_take_is_got_back_first_and_a_reserve_in_a_tick() {
    let vms: [(u32, &[u32]); 3] = [(1000, &[500]), (300, &[300]), (256, &[100])];
    let mut short = world(Algorithm::WorkingSet, &vms, 300);
    let decision = look(&mut short.clone(), |_| ());
    assert_eq!(decision.pool.starting, ByteCount::ZERO);
    assert_eq!(decision.verdicts.get(&A).unwrap().reason, Reason::SpareNotNeeded);
    assert_eq!(decision.verdicts.get(&B).unwrap().reason, Reason::NeedsMemory);

    let decision = look(&mut short, starts);
    assert_eq!(decision.pool.starting, ByteCount::mib(768));
    assert!(decision.pool.left().is_zero());
    let [gives, lacks] = [A, B].map(|vm| *decision.verdicts.get(&vm).unwrap());
    let reserve = decision.pool.reserve;
    let to_host = decision.transfers.iter().filter(|own| own.to == Party::Host);
    let to_host: ByteCount = to_host.map(|own| own.amount).sum();
    assert!(to_host > reserve && to_host <= reserve.saturating_add(ByteCount::mib(1)), "{to_host}");
    let rest = gives.amount.saturating_sub(to_host);
    assert_eq!((lacks.reason, lacks.amount), (Reason::NeedsMemory, rest), "of {}", gives.amount);

    // With 768 MiB, and what the other lacks, beside the reserve nobody has to give.
    let decision = look(&mut world(Algorithm::WorkingSet, &vms, 800), starts);
    assert_eq!(decision.verdicts.get(&A).unwrap().reason, Reason::SpareNotNeeded);
    assert_eq!(decision.verdicts.get(&B).unwrap().reason, Reason::NeedsMemory);
    assert!(decision.transfers.iter().all(|own| own.from == Party::Host));
}

/// It shows that it suffers, at the tick after it gave.
fn suffers(world: &mut World, vm: VmId) {
    let distress = Distress { sign: Sign::Faults(1000), age: Duration::ZERO };
    let decision = look(world, |sample| {
        sample.vms.get_mut(&vm).unwrap().distress = Some(distress);
    });
    assert!(decision.verdicts.get(&vm).unwrap().amount.is_zero());
}

/// What A holds in the end whose use does not grow, beside one that takes all it gets.
fn left(world: &mut World, gives: usize, has_suffered: bool) -> u64 {
    for _ in 0..gives {
        world.turn();
    }
    assert!(!world.state.orders.get(&A).unwrap().gives.is_zero(), "it has given");
    if has_suffered {
        suffers(world, A);
    }
    for _ in 0..40 {
        world.turn();
    }
    world.vms[&A].actual.mib_floor()
}

#[test]
fn two_pointer_leaves_one_that_suffered_a_quarter_more_than_it_works_with() {
    let grows: Vec<u32> = (0..60).map(|tick| 500 + 50 * tick).collect();
    let world = world(Algorithm::TwoPointer, &[(1400, &[1000]), (500, &grows)], 0);
    assert_eq!(left(&mut world.clone(), 3, false), 1100);
    assert_eq!(left(&mut world.clone(), 3, true), 1250);
}

#[test]
fn working_set_leaves_it_that_until_another_works_with_it() {
    let mut world = world(Algorithm::WorkingSet, &[(600, &[300]), (500, &[2000])], 0);
    let own = left(&mut world.clone(), 1, false);
    assert!(own < 350, "it keeps {own}");
    let own = left(&mut world, 1, true);
    assert!((375..391).contains(&own), "it keeps {own}");

    // What the other swaps out it works with, too.
    let swaps = |mib: u32| {
        move |sample: &mut Sample| {
            let vm = sample.vms.get_mut(&B).unwrap();
            (vm.guest.swap_in, vm.guest.swap_out) =
                (Some(ByteCount::ZERO), Some(ByteCount::mib(mib)));
        }
    };
    look(&mut world, swaps(0));
    let decision = look(&mut world, swaps(60));
    let [a, b] = [A, B].map(|vm| *decision.verdicts.get(&vm).unwrap());
    let rest = ByteCount::mib(1100).saturating_sub(b.demand.unwrap());
    assert!(b.demand.unwrap() >= world.vms[&B].actual.saturating_add(ByteCount::mib(60)));
    assert_eq!((a.entitled, a.reason), (Some(rest), Reason::GivesToVm));
}

#[test]
fn what_a_vm_works_with_is_left_to_it_under_others_minimums_and_it_is_told_so() {
    let mut world = world(Algorithm::WorkingSet, &[(800, &[800]), (200, &[100])], 0);
    let min = VmPolicy { min: Some(ByteCount::mib(2000)), ..VmPolicy::default() };
    world.policy.vms.insert(VmKey::Id(B), min);
    let (sample, decision) = world.turn();
    let full = decision.verdicts.get(&A).unwrap();
    assert_eq!((full.amount, full.reason), (ByteCount::ZERO, Reason::FairShare));
    assert_eq!(
        explain::message(full, sample.vms.get(&A).unwrap(), &world.policy),
        "holds: it works with 800 MiB of the 800 MiB that it holds, and is entitled to 64 MiB, its share of \
         too little, but none of the rest can go without making it swap"
    );
    assert_eq!(decision.verdicts.get(&B).unwrap().reason, Reason::PoolEmpty);
}
