//! Who gets what there is to give in one tick of `working-set`, while givers let go of theirs in steps.

use std::collections::BTreeMap;

use agentd_core::{
    bytes::ByteCount,
    policy::{Algorithm, Policy},
    state::State,
    verdict::Verdict,
    vm::VmId,
};
use proptest::prelude::*;

use crate::{
    settled::{a_world, holds_for},
    world::{Vm, World},
};

/// Who asks for headroom gets none of what arrives while another waits for what its programs work with,
/// whatever their weights.
#[test]
fn nobody_gets_headroom_while_another_waits_for_what_it_works_with() {
    let judged = holds_for(200, a_world(300..1600), |mut world| {
        let mut waited = false;
        for _ in 0..12 {
            let (sample, decision) = world.turn();
            let works = |id: VmId, verdict: &Verdict| {
                let vm = &sample.vms[&id];
                let min = world.policy.rules(id, &vm.name, vm.max).limits.min;
                let works = verdict.demand.unwrap().max(min);
                (vm.actual.saturating_add(verdict.amount), works, verdict.entitled.unwrap())
            };
            let waits = |(id, verdict): (&VmId, &Verdict)| {
                let (has, works, entitled) = works(*id, verdict);
                let lacks = verdict.need.is_some_and(|need| !need.is_zero());
                lacks && has.saturating_add(sample.granule) < works.min(entitled)
            };
            if !decision.verdicts.iter().any(waits) {
                continue;
            }
            waited |= decision.plan.grows.len() > 1;
            for grow in &decision.plan.grows {
                let (has, works, _) = works(grow.vm, decision.verdicts.get(&grow.vm).unwrap());
                prop_assert!(has <= works, "{has} of {works}, while another waits: {world:?}");
            }
        }
        Ok(waited)
    });
    assert!(judged >= 10, "only in {judged} somebody waited beside others who got something");
}

/// Three VMs that hold all there is: one whose programs burst for five seconds and rest, one that holds more than
/// it needs, and one that needs much for twenty seconds after that.
fn bursting(burst: u32) -> World {
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
        (500, line(&[(10, 400), (20, 1350), (1, 400)])),
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
    let room = |burst| {
        let mut world = bursting(burst);
        [30, 20].map(|ticks| {
            (0..ticks).for_each(|_| drop(world.turn()));
            world.vms[&VmId::from_bytes([1; 16])].actual.mib_floor() - 100
        })
    };
    let [needed, idle] = room(400);
    assert!(needed < 130, "{needed} MiB, while another needs it");
    assert!((300..420).contains(&idle), "{idle} MiB");
    let [needed, idle] = room(30);
    assert!(needed < 130 && idle < 130, "{needed} and {idle} MiB: slow growth is no burst");
}
