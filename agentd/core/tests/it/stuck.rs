//! What polite VMs pay for one that is stuck, under `working-set`.

use std::collections::BTreeMap;

use agentd_core::{bytes::ByteCount, vm::VmId};
use proptest::prelude::*;

use crate::{
    settled::{a_world, band, holds_for, rounding, works},
    world::World,
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

/// Whatever a VM holds that gives nothing: those that follow come to hold what they would if it and its
/// memory were not there. So none of them gives more, and none gets less, than that memory costs all of
/// them by their weights; and none gives what it works with.
#[test]
fn polite_vms_share_what_a_stuck_one_holds_as_if_it_were_not_there() {
    let judged = holds_for(300, (a_world(1000..2000), 200..1500_u32), |(mut world, more)| {
        let more = ByteCount::mib(more);
        let stuck = world.vms.get_mut(&STUCK).unwrap();
        stuck.actual = stuck.actual.saturating_add(more);
        world.total = world.total.saturating_add(more);
        let mut without = without(&world);
        let mut asked = false;
        for _ in 0..TICKS {
            let (sample, decision) = world.turn_beside(Some(STUCK));
            without.turn();
            for resize in decision.plan.shrinks.iter().filter(|resize| resize.vm != STUCK) {
                let usable = sample.vms[&resize.vm].guest.usable.unwrap();
                prop_assert!(resize.shrinkage() <= usable);
            }
            asked |= decision.plan.shrinks.iter().any(|resize| resize.vm == STUCK);
        }
        let slack = (band(&world) + rounding(&world)) * (world.vms.len() as u64);
        for ((id, held), (_, alone)) in polite(&world).iter().zip(polite(&without)) {
            let vm = &world.vms[id];
            let off = held.abs_diff(alone);
            prop_assert!(off <= slack, "{held} beside {alone} of {}: {world:?}", works(vm));
        }
        Ok(asked)
    });
    assert!(judged >= 50, "only {judged} were stuck with more than they may have");
}
