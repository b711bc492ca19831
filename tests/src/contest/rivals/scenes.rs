//! Hosts for the tests of rivals, and what holds for all rivals on any host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentd::hypervisor::sim::Rng;
use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::all;
use super::figures::{GRANULE, MIB};
use crate::contest::rival::{Seen, SeenVm};

/// The id of a VM.
pub(super) fn id(number: u8) -> VmId {
    VmId::from_bytes([number; 16])
}

/// So many MiB, to reckon with.
pub(super) fn mib(amount: u32) -> f64 {
    f64::from(amount) * MIB
}

/// A VM that never reported; amounts in MiB.
pub(super) fn vm(number: u8, min: u32, max: u32, actual: u32) -> SeenVm {
    SeenVm {
        id: id(number),
        min: ByteCount::mib(min),
        max: ByteCount::mib(max),
        weight: 100,
        actual: ByteCount::mib(actual),
        target: ByteCount::mib(actual),
        unused: None,
        usable: None,
        swap_in: None,
        swap_out: None,
        major_faults: None,
        age: None,
        rss: None,
    }
}

/// It just reported this, in MiB.
pub(super) fn reports(vm: SeenVm, unused: u32, usable: u32) -> SeenVm {
    let (unused, usable) = (Some(ByteCount::mib(unused)), Some(ByteCount::mib(usable)));
    SeenVm { unused, usable, age: Some(Duration::ZERO), ..vm }
}

/// It just reported these counters, in MiB and faults.
pub(super) fn counts(vm: SeenVm, swap_in: u32, swap_out: u32, faults: u64) -> SeenVm {
    SeenVm {
        swap_in: Some(ByteCount::mib(swap_in)),
        swap_out: Some(ByteCount::mib(swap_out)),
        major_faults: Some(faults),
        age: Some(Duration::ZERO),
        ..vm
    }
}

/// A host, in MiB, at the beginning.
pub(super) fn scene(total: u32, usable: u32, reserve: u32, vms: Vec<SeenVm>) -> Seen {
    Seen {
        now: Duration::ZERO,
        host_total: ByteCount::mib(total),
        host_usable: ByteCount::mib(usable),
        reserve: ByteCount::mib(reserve),
        vms,
    }
}

/// The same after so many seconds.
pub(super) fn at(seen: Seen, seconds: u64) -> Seen {
    Seen { now: Duration::from_secs(seconds), ..seen }
}

/// The orders, to the nearest MiB.
pub(super) fn given(orders: &[(VmId, ByteCount)]) -> Vec<(u8, u64)> {
    let nearest = |target: ByteCount| target.saturating_add(ByteCount::kib(512)).mib_floor();
    orders.iter().map(|(id, target)| (id.as_bytes()[0], nearest(*target))).collect()
}

#[test]
fn no_rival_panics_or_orders_what_cannot_be() {
    let mut orders = BTreeMap::new();
    for seed in 0..60 {
        for mut rival in all() {
            let mut rng = Rng::new(seed, 0);
            let mut seen = scene(0, 0, 0, vec![]);
            for turn in 0..60 {
                seen.now += rival.interval();
                change(&mut seen, &mut rng);
                let ordered = rival.turn(&seen);
                *orders.entry(rival.name()).or_insert(0) += ordered.len();
                let what =
                    || format!("{} in turn {turn} of seed {seed}: {ordered:?}", rival.name());
                let named: BTreeSet<_> = ordered.iter().map(|(id, _)| *id).collect();
                assert_eq!(named.len(), ordered.len(), "{}", what());
                for (id, target) in &ordered {
                    let vm = seen.vms.iter_mut().find(|vm| vm.id == *id);
                    let vm = vm.unwrap_or_else(|| panic!("{}", what()));
                    assert!((GRANULE..=vm.max).contains(target), "{}", what());
                    vm.target = *target;
                }
            }
        }
    }
    assert_eq!(orders.len(), all().len(), "two have the same name");
    // In 3600 turns.
    let idle: Vec<_> = orders.iter().filter(|(_, count)| **count < 900).collect();
    assert!(idle.is_empty(), "so few orders are no test: {idle:?}");
}

/// Time passes: VMs come, go, follow their targets as far as they like, and report what they like.
fn change(seen: &mut Seen, rng: &mut Rng) {
    let chance = |rng: &mut Rng, of: u64| rng.below(of) == 0;
    let amount = |rng: &mut Rng, top: u64| ByteCount::bytes(rng.below(top.max(1) + 1));
    if chance(rng, 20) || seen.host_total.is_zero() {
        seen.host_total = amount(rng, 64 << 30);
        seen.reserve = amount(rng, seen.host_total.as_u64());
    }
    seen.host_usable = amount(rng, seen.host_total.as_u64());
    let stranger = id(u8::try_from(rng.below(8)).unwrap());
    if chance(rng, 4) {
        seen.vms.retain(|vm| vm.id != stranger);
    } else if seen.vms.iter().all(|vm| vm.id != stranger) {
        let size = rng.below(36);
        let max = GRANULE.saturating_add(amount(rng, 1 << size));
        let min = amount(rng, max.as_u64());
        let actual = amount(rng, max.as_u64());
        let new = SeenVm { id: stranger, min, max, actual, target: actual, ..vm(0, 0, 0, 0) };
        seen.vms.push(SeenVm { weight: rng.below(400), ..new });
        seen.vms.sort_by_key(|vm| vm.id);
    }
    let count = seen.vms.len() as u64;
    for vm in &mut seen.vms {
        if !chance(rng, 3) {
            let gap = vm.actual.abs_diff(vm.target).fraction(rng.below(5), 4);
            let up = vm.actual.saturating_add(gap).min(vm.max);
            vm.actual = if vm.actual < vm.target { up } else { vm.actual.saturating_sub(gap) };
        }
        let top = if chance(rng, 30) { u64::MAX - 1 } else { vm.actual.as_u64() };
        let figure = |rng: &mut Rng| (!chance(rng, 12)).then(|| amount(rng, top));
        (vm.unused, vm.usable, vm.rss) = (figure(rng), figure(rng), figure(rng));
        (vm.swap_in, vm.swap_out) = (figure(rng), figure(rng));
        vm.major_faults = Some(rng.below(1 << (count + 8)));
        vm.age = (!chance(rng, 10)).then(|| Duration::from_millis(rng.below(15_000)));
    }
}
