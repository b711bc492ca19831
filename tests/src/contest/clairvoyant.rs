//! The clairvoyant: knows what every VM wants now and soon, and where all memory is. It shows what
//! foresight is worth to who moves memory as VMs do. It is no bound: it divides by weight, and looks
//! no further than some seconds, so that who is luckier can leave less unmet. The bound is `bound`.
//!
//! It gives by weighted max–min what is wanted now, then of the rest what is wanted soon, and leaves
//! what is left where it is. Like everybody it keeps minimums and the reserve, and waits for memory
//! to come before it gives it to somebody else.

use std::time::Duration;

use agentd::hypervisor::Target;
use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::bytes::ByteCount;

use super::shares::{Claim, share};
use super::workload::{Member, Workload};

/// What VMs are to hold, in the order in which to tell them.
#[must_use]
pub fn targets(load: &Workload, facts: &Facts) -> Vec<Target> {
    let budget = budget(load, facts);
    let grants = grants(load, facts, budget);
    let vms: Vec<_> = load
        .members
        .iter()
        .zip(grants)
        .filter_map(|(member, grant)| {
            let vm = facts.vms.get(&member.id).filter(|vm| vm.works)?;
            Some((member, vm, grant.align_down(PAGE)))
        })
        .collect();
    let shrinks = vms.iter().filter(|(_, vm, grant)| *grant < vm.target.min(vm.actual));
    let mut orders: Vec<Target> =
        shrinks.map(|(member, _, grant)| Target { vm: member.id, target: *grant }).collect();

    let held = |(index, member): (usize, &Member)| {
        facts.vms.get(&member.id).map_or(ByteCount::ZERO, |vm| held(load, index, vm, facts.now))
    };
    let held: ByteCount = load.members.iter().enumerate().map(held).sum();
    let free = budget.saturating_sub(held);
    let growers: Vec<_> = vms.iter().filter(|(_, vm, grant)| *grant > vm.target).collect();
    let claim = |(member, vm, grant): &&(&Member, &VmFacts, ByteCount)| {
        // Of what it gets it may have a part already: memory that it is giving.
        let most = grant.saturating_sub(vm.target.max(vm.actual.min(*grant)));
        Claim { weight: member.weight, least: ByteCount::ZERO, most }
    };
    let claims: Vec<_> = growers.iter().map(claim).collect();
    for ((member, vm, grant), more) in growers.iter().zip(share(free, &claims)) {
        let target = vm.target.max(vm.actual.min(*grant)).saturating_add(more).align_down(PAGE);
        if target > vm.target {
            orders.push(Target { vm: member.id, target });
        }
    }
    orders
}

/// What VMs may hold together.
fn budget(load: &Workload, facts: &Facts) -> ByteCount {
    let host = &load.scenario.host;
    let soon = |after: Duration| host.other.at(facts.now.saturating_add(after));
    let other = AHEAD.into_iter().map(soon).max().unwrap_or_default();
    let overhead: ByteCount = load.scenario.vms.iter().map(|vm| vm.numbers.process_overhead).sum();
    let taken = [load.reserve, other, overhead].into_iter().sum();
    host.total.saturating_sub(taken)
}

/// What is whose. A VM that starts soon finds room.
fn grants(load: &Workload, facts: &Facts, budget: ByteCount) -> Vec<ByteCount> {
    let lives = |index: usize, member: &Member| {
        let soon = facts.now.saturating_add(AHEAD[AHEAD.len() - 1]);
        facts.vms.contains_key(&member.id) || !load.need(index, soon).is_zero()
    };
    let least = |(index, member): (usize, &Member)| {
        if lives(index, member) { member.min } else { ByteCount::ZERO }
    };
    let mut grants: Vec<ByteCount> = load.members.iter().enumerate().map(least).collect();
    for ahead in AHEAD {
        let wants = |index: usize, member: &Member| {
            let peak = peak(load, index, facts.now, ahead);
            if peak.is_zero() { peak } else { peak.saturating_add(AIR).min(member.max) }
        };
        grants = raise(load, budget, &grants, wants);
    }
    let has = |_: usize, member: &Member| {
        facts.vms.get(&member.id).map_or(ByteCount::ZERO, |vm| vm.actual.min(member.max))
    };
    raise(load, budget, &grants, has)
}

fn raise(
    load: &Workload,
    budget: ByteCount,
    grants: &[ByteCount],
    wants: impl Fn(usize, &Member) -> ByteCount,
) -> Vec<ByteCount> {
    let claim = |((index, member), least): ((usize, &Member), &ByteCount)| Claim {
        weight: member.weight,
        least: *least,
        most: wants(index, member).max(*least),
    };
    let claims: Vec<_> = load.members.iter().enumerate().zip(grants).map(claim).collect();
    share(budget, &claims)
}

/// The most that a VM needs from now on for a time.
fn peak(load: &Workload, index: usize, now: Duration, ahead: Duration) -> ByteCount {
    let turns = u32::try_from(ahead.as_millis() / LOOK.as_millis()).unwrap_or(0);
    let needs = (0..=turns).map(|turn| load.need(index, now.saturating_add(LOOK * turn)));
    needs.max().unwrap_or_default()
}

/// What of the host's memory a VM has, or may come to have before the next look.
fn held(load: &Workload, index: usize, vm: &VmFacts, now: Duration) -> ByteCount {
    let wants = peak(load, index, now, AHEAD[0]);
    vm.touched.max(vm.target).max(vm.actual.min(wants))
}

/// How far it looks: what is wanted sooner goes before what is wanted later.
const AHEAD: [Duration; 4] = [
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];
const LOOK: Duration = Duration::from_millis(200);
/// More than is needed by the byte, for what the rounding of kernels takes.
const AIR: ByteCount = ByteCount::mib(2);
const PAGE: ByteCount = ByteCount::kib(4);
