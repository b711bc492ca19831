//! [`StaticSplit`]: no policy at all, what an operator without one does.
//!
//! The pool is split by weight between minimum and maximum, once, and again when a VM comes or
//! goes. Never more than the pool is given out: minima that do not fit are cut in proportion. Who
//! gets waits until the memory is there.
//!
//! Turns, of 1 s, only see who came, and pay out what has arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{funded, pool, real, spare, whole};
use crate::contest::rival::{Rival, Seen, SeenVm};
use crate::contest::shares::{Claim, share};

/// No policy at all, what an operator without one does.
#[derive(Clone, Debug, Default)]
pub struct StaticSplit {
    decided: BTreeMap<VmId, f64>,
}

impl Rival for StaticSplit {
    fn name(&self) -> &'static str {
        "static"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        let same = self.decided.keys().copied().eq(seen.vms.iter().map(|vm| vm.id));
        if !same {
            self.decided = split(&seen.vms, pool(seen).max(0.0));
        }
        let shares = seen.vms.iter().filter_map(|vm| Some((vm, *self.decided.get(&vm.id)?)));
        funded(shares.collect(), spare(seen))
    }
}

fn split(vms: &[SeenVm], pool: f64) -> BTreeMap<VmId, f64> {
    let least = |vm: &SeenVm| vm.min.min(vm.max);
    let minima = real(vms.iter().map(least).sum());
    if minima > pool {
        return vms.iter().map(|vm| (vm.id, real(least(vm)) * pool / minima)).collect();
    }
    let claim = |vm: &SeenVm| Claim { weight: vm.weight.max(1), least: least(vm), most: vm.max };
    let shares = share(whole(pool), &vms.iter().map(claim).collect::<Vec<_>>());
    vms.iter().zip(shares).map(|(vm, share)| (vm.id, real(share))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, scene, vm};

    fn shares(pool: u32) -> Vec<(u8, u64)> {
        let vms = vec![
            vm(1, 500, 4000, 500),
            SeenVm { weight: 300, ..vm(2, 500, 2000, 500) },
            SeenVm { weight: 50, ..vm(3, 300, 4000, 300) },
        ];
        given(&StaticSplit::default().turn(&scene(9000, pool - 1300 + 100, 100, vms)))
    }

    #[test]
    fn splits_by_weight_between_minimum_and_maximum() {
        // The third has its minimum already.
        assert_eq!(shares(2400), [(1, 525), (2, 1575)]);
        assert_eq!(shares(4400), [(1, 1600), (2, 2000), (3, 800)]);
    }

    #[test]
    fn decides_once_until_somebody_comes() {
        let mut split = StaticSplit::default();
        let vms = |first, second| vec![vm(1, 100, 4000, first), vm(2, 100, 4000, second)];
        assert_eq!(given(&split.turn(&scene(4000, 100, 100, vms(1500, 500)))), [(1, 1000)]);
        // Memory arrives, and later the host has more: it stays as decided.
        let next = split.turn(&scene(4000, 400, 100, vms(1200, 500)));
        assert_eq!(given(&next), [(1, 1000), (2, 800)]);
        assert_eq!(given(&split.turn(&scene(4000, 2000, 100, vms(1000, 1000)))), []);
        let more = vec![vm(1, 100, 4000, 1000), vm(2, 100, 4000, 1000), vm(3, 100, 4000, 100)];
        let orders = split.turn(&scene(4000, 700, 100, more));
        assert_eq!(given(&orders), [(1, 900), (2, 900), (3, 700)]);
    }

    #[test]
    fn minima_that_do_not_fit_are_cut() {
        let vms = vec![vm(1, 1000, 4000, 1000), vm(2, 500, 4000, 500)];
        let orders = StaticSplit::default().turn(&scene(4000, 0, 300, vms));
        assert_eq!(given(&orders), [(1, 800), (2, 400)]);
    }
}
