//! What polite VMs pay for one that is stuck, under `working-set`.

use std::collections::BTreeMap;

use agentd_core::{bytes::ByteCount, vm::VmId};
use proptest::prelude::*;

use crate::{
    settled::{LEFT_USABLE, a_world, asks, band, due, holds_for, pool, rounding, works},
    world::{Vm, World},
};

const STUCK: VmId = VmId::from_bytes([1; 16]);
/// Long enough for it to be given up on, and for all others to come to rest.
const TICKS: usize = 150;

fn polite(world: &World) -> BTreeMap<VmId, u64> {
    let polite = world.vms.iter().filter(|(id, _)| **id != STUCK);
    polite.map(|(id, vm)| (*id, vm.actual.as_u64())).collect()
}

/// The same host without the stuck VM, and without what that holds.
fn without(world: &World) -> World {
    let mut without = world.clone();
    let gone = without.vms.remove(&STUCK).unwrap();
    without.other = without.other.saturating_add(gone.actual);
    without
}

/// Whatever a VM holds that gives nothing: of what they ask for, those that follow come to hold as much as
/// if it and its memory were not there. So what it holds costs all of them alike, by their weights and
/// behind their minimums, and none gives what it works with.
#[test]
fn polite_vms_share_what_a_stuck_one_holds_as_if_it_were_not_there() {
    let judged = holds_for(100, (a_world(1000..2000), 200..1500_u32), |(mut world, more)| {
        let more = ByteCount::mib(more);
        let stuck = world.vms.get_mut(&STUCK).unwrap();
        stuck.actual = stuck.actual.saturating_add(more);
        stuck.max = stuck.actual;
        world.total = world.total.saturating_add(more);
        let mut without = without(&world);
        let least: u64 = without.vms.values().map(|vm| asks(&world, vm)[0]).sum();
        if least > pool(&without) {
            return Ok(false);
        }
        let mut asked = false;
        for _ in 0..TICKS {
            let (sample, decision) = world.turn_beside(Some(STUCK));
            without.turn();
            for resize in decision.plan.shrinks.iter().filter(|resize| resize.vm != STUCK) {
                let usable = sample.vms.get(&resize.vm).unwrap().guest.usable.unwrap();
                prop_assert!(resize.shrinkage() <= usable);
            }
            asked |= decision.plan.shrinks.iter().any(|resize| resize.vm == STUCK);
        }
        let slack = (band(&world) + rounding(&world)) * (world.vms.len() as u64);
        // What a VM is left with beside what it works with, though it is due less.
        let kept = |(vm, due): (&Vm, u64)| (works(vm) + LEFT_USABLE).saturating_sub(due);
        let kept: u64 = without.vms.values().zip(due(&without)).map(kept).sum();
        for ((id, held), (_, alone)) in polite(&world).iter().zip(polite(&without)) {
            let vm = &world.vms[id];
            let asks = asks(&world, vm)[2];
            let off = asks.min(*held).abs_diff(asks.min(alone));
            prop_assert!(off <= slack + kept, "{held} beside {alone} of {asks}: {world:?}");
        }
        Ok(asked)
    });
    assert!(judged >= 20, "only {judged} were stuck with more than they may have");
}
