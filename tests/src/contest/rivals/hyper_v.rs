//! [`HyperV`]: a stand-in for Hyper-V's Dynamic Memory, whose balancer is not public, from a
//! description of what it is documented to do.
//!
//! A VM wants what it demands and a fifth more, up at once and down slowly. When not all can have
//! that, the fifths are shared by weight; when not even the demands fit, what lacks is taken by the
//! inverse of weight, down to the minima.
//!
//! Demand is the VM's commit there; here it is what programs hold and what they have on the swap
//! device (see `swapped`). "Slowly" is an eighth of the way in a turn of 1 s, faster where another
//! VM waits for the memory. A VM that does not report keeps what it has.

use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{
    committed, funded, pool, real, share_out, spare, weight, within, within_limits,
};
use super::swapped::Swapped;
use super::usage::Usage;
use crate::contest::rival::{Rival, Seen, SeenVm};

/// A stand-in for Hyper-V's Dynamic Memory.
#[derive(Clone, Debug, Default)]
pub struct HyperV {
    usage: Usage,
    swapped: Swapped,
}

impl Rival for HyperV {
    fn name(&self) -> &'static str {
        "hyper-v"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.usage.read(seen);
        self.swapped.read(seen);
        let mut pool = pool(seen);
        let mut demands = Vec::new();
        for vm in &seen.vms {
            match self.usage.of(vm) {
                Some(used) => demands.push((vm, used.used + self.swapped.of(vm.id))),
                None => pool -= committed(vm),
            }
        }
        let wanted: f64 = demands.iter().map(|(vm, demand)| want(vm, *demand)).sum();
        let targets = divide(&demands, pool);
        let targets = if wanted <= pool { slowly_down(targets, spare(seen)) } else { targets };
        funded(targets, spare(seen))
    }
}

fn want(vm: &SeenVm, demand: f64) -> f64 {
    within_limits(vm, demand * (1.0 + BUFFER))
}

/// What each is to hold in the end.
fn divide<'a>(demands: &[(&'a SeenVm, f64)], pool: f64) -> Vec<(&'a SeenVm, f64)> {
    let base = |(vm, demand): &(&SeenVm, f64)| within_limits(vm, *demand);
    let rest = pool - demands.iter().map(base).sum::<f64>();
    let buffer = |claim: &(&SeenVm, f64)| (want(claim.0, claim.1) - base(claim), weight(claim.0));
    let above_min = |claim: &(&SeenVm, f64)| {
        (base(claim) - real(claim.0.min).min(base(claim)), 1.0 / weight(claim.0))
    };
    let changes: Vec<f64> = if rest >= 0.0 {
        share_out(rest, &demands.iter().map(buffer).collect::<Vec<_>>())
    } else {
        let cuts = share_out(-rest, &demands.iter().map(above_min).collect::<Vec<_>>());
        cuts.into_iter().map(|cut| -cut).collect()
    };
    demands.iter().zip(changes).map(|(claim, change)| (claim.0, base(claim) + change)).collect()
}

/// Whoever shrinks does so by a part of the way only: as much as is waited for, and an eighth.
fn slowly_down(targets: Vec<(&SeenVm, f64)>, spare: f64) -> Vec<(&SeenVm, f64)> {
    let growth = |(vm, target): &(&SeenVm, f64)| (target - committed(vm)).max(0.0);
    let gap = |(vm, target): &(&SeenVm, f64)| (real(vm.target) - target).max(0.0);
    let missing = targets.iter().map(growth).sum::<f64>() - spare;
    let gaps: f64 = targets.iter().map(gap).sum();
    let part = if gaps > 0.0 { within(missing / gaps, SLOWLY, 1.0) } else { 1.0 };
    let slower = |claim: (_, f64)| {
        let gap = gap(&claim);
        (claim.0, if gap > 0.0 { real(claim.0.target) - part * gap } else { claim.1 })
    };
    targets.into_iter().map(slower).collect()
}

/// What it likes to have beyond its demand.
const BUFFER: f64 = 0.20;
const SLOWLY: f64 = 1.0 / 8.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{counts, given, mib, reports, scene, vm};

    fn divided(pool: u32) -> Vec<f64> {
        let first = SeenVm { weight: 100, ..vm(1, 200, 4000, 1000) };
        let second = SeenVm { weight: 300, ..vm(2, 200, 4000, 1000) };
        let demands = [(&first, mib(1000)), (&second, mib(1000))];
        divide(&demands, mib(pool)).iter().map(|(_, target)| (target / mib(1)).round()).collect()
    }

    #[test]
    fn the_buffer_goes_first_and_then_weight_decides() {
        assert_eq!(divided(5000), [1200.0, 1200.0]);
        assert_eq!(divided(2200), [1050.0, 1150.0]);
        // The second's buffer is full.
        assert_eq!(divided(2300), [1100.0, 1200.0]);
        assert_eq!(divided(1600), [700.0, 900.0]);
        assert_eq!(divided(700), [200.0, 500.0]);
        assert_eq!(divided(100), [200.0, 200.0]);
    }

    #[test]
    fn up_at_once_and_down_slowly() {
        let turn = |vms, host| given(&HyperV::default().turn(&scene(8000, host, 100, vms)));
        // Demands 1000 and 200 on swap.
        let up = counts(reports(vm(1, 200, 4000, 1000), 0, 0), 100, 300, 0);
        assert_eq!(turn(vec![up], 2000), [(1, 1440)]);
        // Wants 600 of its 1000.
        let down = reports(vm(2, 200, 4000, 1000), 0, 500);
        assert_eq!(turn(vec![down], 2000), [(2, 950)]);
        // The other needs 440, and 240 are there: half of the way down.
        assert_eq!(turn(vec![up, down], 340), [(2, 800), (1, 1240)]);
    }
}
