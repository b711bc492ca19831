//! A policy drawn at random, as wild as a valid one can be.

use std::time::Duration;

use agentd::hypervisor::sim::VmScenario;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Algorithm, Policy, TwoPointer, VmKey, VmPolicy, WorkingSet};

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
                min: dice.chance(60).then_some(min),
                max: dice.chance(40).then_some(max),
                pinned: dice.chance(20).then_some(true),
                ..VmPolicy::default()
            };
            let by_name = dice.chance(50);
            let key = if by_name { VmKey::Name(vm.name.to_string()) } else { VmKey::Id(vm.id) };
            policy.vms.insert(key, own);
        }
    }
    let guaranteed: ByteCount = policy.vms.values().filter_map(|own| own.min).sum();
    policy.pool_limit = policy.pool_limit.map(|limit| limit.max(guaranteed));
    policy
}

/// The dice of what came with the algorithm `working-set`, for every other seed; none for the seeds
/// that were kept before there was one. They have a stream of their own, so that whatever is drawn
/// from them leaves everything else in a run as it is.
pub(super) fn dice_of_working_set(seed: u64) -> Option<Dice> {
    let mut dice = Dice::new(seed, STREAM);
    (dice.chance(50) && !KEPT_BEFORE.contains(&seed)).then_some(dice)
}

/// Makes a policy one of `working-set`, so many times of a hundred, with wild constants and weights.
pub(super) fn add_working_set(
    dice: &mut Dice,
    policy: &mut Policy,
    vms: &[VmScenario],
    percent: u64,
) {
    let seconds = Duration::from_secs;
    if dice.chance(percent) {
        policy.algorithm = Algorithm::WorkingSet;
    }
    policy.working_set = WorkingSet {
        headroom: dice.size(1, 512),
        headroom_percent: dice.pick(&[0, 5, 10, 25, 200], 10),
        lead: dice.pick(&[0, 1, 3, 10, 60].map(seconds), seconds(3)),
        keep_for: dice.pick(&[1, 10, 60, 600, 86_400].map(seconds), seconds(60)),
        dead_band: dice.size(1, 128),
        shrink_percent: dice.pick(&[0, 10, 50, 75], 25),
    };
    for vm in vms {
        if dice.chance(40) {
            let by_name = VmKey::Name(vm.name.to_string());
            let is_named = policy.vms.contains_key(&by_name);
            let key = if is_named { by_name } else { VmKey::Id(vm.id) };
            let weight = dice.pick(&[1, 50, 100, 200, 1000, 10_000], 100);
            policy.vms.entry(key).or_default().weight = Some(weight);
        }
    }
}

const STREAM: u64 = 0x5753;
/// Of `tests/soak-seeds.txt`: their runs are to stay what they were.
const KEPT_BEFORE: [u64; 4] = [467, 1447, 1456, 2171];

#[cfg(test)]
mod tests {
    use agentd_core::policy::Algorithm;

    use super::*;
    use crate::soak::Plot;
    use crate::soak::draw::Act;

    #[test]
    fn every_other_seed_decides_by_working_set_and_those_kept_before_do_not() {
        let by = |seed: &u64| Plot::draw(*seed).policy.algorithm;
        let count = (0..200).filter(|seed| by(seed) == Algorithm::WorkingSet).count();
        assert!((60..=110).contains(&count), "{count} of 200");
        let kept = KEPT_BEFORE.iter().filter(|seed| by(seed) == Algorithm::WorkingSet);
        assert_eq!(kept.count(), 0);
    }

    /// Policies change in the run, between the algorithms too, and all differs that can.
    #[test]
    fn constants_and_weights_are_drawn_and_algorithms_change_in_a_run() {
        let plots: Vec<Plot> = (0..200).map(Plot::draw).collect();
        let changes = |plot: &Plot| {
            let own = plot.policy.algorithm;
            let is_other =
                |act: &Act| matches!(act, Act::Policy(policy) if policy.algorithm != own);
            plot.acts.values().flatten().any(is_other)
        };
        assert!(plots.iter().any(changes));
        let weighs = |plot: &&Plot| plot.policy.vms.values().any(|own| own.weight.is_some());
        assert!(plots.iter().filter(weighs).count() > 30);
        let mut leads: Vec<_> = plots.iter().map(|plot| plot.policy.working_set.lead).collect();
        leads.sort();
        leads.dedup();
        assert_eq!(leads.len(), 5);
    }
}
