//! What the rivals read of a host in the same way, and how they order.

use std::collections::BTreeMap;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use crate::contest::rival::{Seen, SeenVm};

/// What a VM can be ordered to hold comes in pages.
pub(super) const GRANULE: ByteCount = ByteCount::kib(4);

/// What a VM's process holds beside the VM's memory, as vcmmd reckons.
const PROCESS: ByteCount = ByteCount::mib(64);

/// The bytes of a MiB.
pub(super) const MIB: f64 = 1_048_576.0;

/// The amount as a number of bytes to reckon with; exact up to 8 PiB.
pub(super) fn real(amount: ByteCount) -> f64 {
    amount.as_u64() as f64
}

/// So many whole bytes; none for less than none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
pub(super) fn whole(amount: f64) -> ByteCount {
    ByteCount::bytes(amount as u64)
}

/// The number within these bounds; the upper one is the stronger.
pub(super) fn within(number: f64, low: f64, high: f64) -> f64 {
    number.max(low).min(high)
}

/// The amount within what the VM is guaranteed and the most that it may hold.
pub(super) fn within_limits(vm: &SeenVm, amount: f64) -> f64 {
    within(amount, real(vm.min), real(vm.max))
}

/// Its share beside that of others; one without any has the least there is.
pub(super) fn weight(vm: &SeenVm) -> f64 {
    vm.weight.max(1) as f64
}

/// What it holds or is about to.
pub(super) fn committed(vm: &SeenVm) -> f64 {
    real(vm.actual.max(vm.target))
}

/// What all VMs together may hold: what the host itself does not use and need not keep. Below zero
/// on a host that lacks even that.
///
/// What a VM never touched is still counted in the host's MemAvailable.
pub(super) fn pool(seen: &Seen) -> f64 {
    let of_vm = |rss: ByteCount| rss.saturating_sub(PROCESS);
    let backed = |vm: &SeenVm| vm.rss.map_or(vm.actual, |rss| of_vm(rss).min(vm.actual));
    let held: ByteCount = seen.vms.iter().map(backed).sum();
    let shared = real(seen.host_usable) + real(held);
    shared.min(real(seen.host_total)) - real(seen.reserve)
}

/// What of the pool is neither held nor promised. Below zero when there is less than that.
pub(super) fn spare(seen: &Seen) -> f64 {
    pool(seen) - seen.vms.iter().map(committed).sum::<f64>()
}

/// When its last report was made.
pub(super) fn reported(seen: &Seen, vm: &SeenVm) -> Option<std::time::Duration> {
    vm.age.map(|age| seen.now.saturating_sub(age))
}

/// The order that makes it hold this, where that is news.
pub(super) fn order(vm: &SeenVm, amount: f64) -> Option<(VmId, ByteCount)> {
    let target = whole(amount).min(vm.max).align_down(GRANULE).max(GRANULE);
    (target != vm.target && target <= vm.max).then_some((vm.id, target))
}

/// Orders for these amounts, those that give first.
pub(super) fn givers_first(mut wanted: Vec<(&SeenVm, f64)>) -> Vec<(VmId, ByteCount)> {
    wanted.sort_by_key(|(vm, amount)| *amount > committed(vm));
    wanted.iter().filter_map(|(vm, amount)| order(vm, *amount)).collect()
}

/// Orders for these amounts, those that give first; those that get do so as far as `spare` goes,
/// each by the same part of what it wants. The rest comes with later turns, as memory arrives.
pub(super) fn funded(wanted: Vec<(&SeenVm, f64)>, spare: f64) -> Vec<(VmId, ByteCount)> {
    let growth = |vm: &SeenVm, amount: f64| (amount - committed(vm)).max(0.0);
    let need: f64 = wanted.iter().map(|(vm, amount)| growth(vm, *amount)).sum();
    let part = if need > spare { spare.max(0.0) / need } else { 1.0 };
    let paid = |(vm, amount): (_, f64)| {
        let growth = growth(vm, amount);
        (vm, if growth > 0.0 { committed(vm) + part * growth } else { amount })
    };
    givers_first(wanted.into_iter().map(paid).collect())
}

/// What each gets of the amount, in proportion to its weight and not more than it takes: claims are
/// (most, weight).
pub(super) fn share_out(amount: f64, claims: &[(f64, f64)]) -> Vec<f64> {
    let total = amount.min(claims.iter().map(|(most, _)| most.max(0.0)).sum());
    let got =
        |per: f64| claims.iter().map(move |(most, weight)| (per * weight).min(*most).max(0.0));
    let top = claims.iter().filter(|claim| claim.1 > 0.0).map(|(most, weight)| most / weight);
    let per = level(total, top.fold(0.0, f64::max), |per| got(per).sum());
    got(per).collect()
}

/// The highest number up to `top` at which what grows with it is still within the budget.
pub(super) fn level(budget: f64, top: f64, costs: impl Fn(f64) -> f64) -> f64 {
    if costs(top) <= budget {
        return top;
    }
    let (mut low, mut high) = (0.0, top);
    // As often as a number has bits that can matter.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if costs(middle) <= budget {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Forgets the VMs that are gone.
pub(super) fn forget_gone<T>(known: &mut BTreeMap<VmId, T>, seen: &Seen) {
    known.retain(|id, _| seen.vms.iter().any(|vm| vm.id == *id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, mib, scene, vm};

    #[test]
    fn memory_that_was_never_touched_is_in_the_pool_once() {
        let touched = SeenVm { rss: Some(ByteCount::mib(364)), ..vm(1, 100, 2000, 1000) };
        let whole = SeenVm { rss: Some(ByteCount::mib(1064)), ..vm(2, 100, 2000, 1000) };
        let seen = scene(4000, 2400, 400, vec![touched, whole]);
        assert_eq!(pool(&seen), mib(2400 + 300 + 1000 - 400));
        assert_eq!(spare(&seen), mib(3300 - 2000));
    }

    #[test]
    fn a_share_that_is_more_than_is_taken_goes_to_the_others() {
        let claims = [(10.0, 1.0), (1000.0, 1.0), (1000.0, 3.0)];
        let near = |amount: f64, want: [f64; 3]| {
            let got = share_out(amount, &claims);
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        };
        near(410.0, [10.0, 100.0, 300.0]);
        near(5000.0, [10.0, 1000.0, 1000.0]);
        near(0.0, [0.0, 0.0, 0.0]);
        near(-5.0, [0.0, 0.0, 0.0]);
    }

    #[test]
    fn who_gets_waits_for_the_memory() {
        let (giver, getter) = (vm(1, 100, 2000, 1000), vm(2, 100, 2000, 1000));
        let wanted = vec![(&getter, mib(1200)), (&giver, mib(800))];
        assert_eq!(given(&funded(wanted.clone(), mib(50))), [(1, 800), (2, 1050)]);
        assert_eq!(given(&funded(wanted, -mib(50))), [(1, 800)]);
    }
}
