//! A policy drawn at random, as wild as a valid one can be.

use agentd::hypervisor::sim::VmScenario;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Policy, TwoPointer, VmKey, VmPolicy};

use crate::dice::Dice;

/// A valid policy for these VMs.
pub(super) fn policy(dice: &mut Dice, vms: &[VmScenario]) -> Policy {
    let held: ByteCount = vms.iter().map(|vm| vm.actual).sum();
    let need_below = dice.size(16, 1024);
    let floor = dice.size(16, 256);
    let mut policy = Policy {
        host_reserve: dice
            .pick(&[ByteCount::ZERO, ByteCount::mib(200), ByteCount::mib(500)], ByteCount::ZERO),
        pool_limit: dice.chance(50).then(|| dice.share(held, 90, 130).max(ByteCount::mib(16))),
        floor,
        shrink_step: dice.size(1, 256),
        two_pointer: TwoPointer {
            need_below,
            spare_above: dice.share(need_below, 0, 100),
            step: dice.size(8, 256),
        },
        ..Policy::default()
    };
    for vm in vms {
        if dice.chance(25) {
            let min = dice.share(vm.max, 10, 60).max(floor);
            let max = dice.share(vm.max, 60, 100).max(min);
            let own = VmPolicy {
                weight: None,
                min: dice.chance(60).then_some(min),
                max: dice.chance(40).then_some(max),
                pinned: dice.chance(20).then_some(true),
            };
            let by_name = dice.chance(50);
            let key = if by_name { VmKey::Name(vm.name.to_string()) } else { VmKey::Id(vm.id) };
            policy.vms.insert(key, own);
        }
    }
    policy
}
