//! [`EqualPercent`]: the balloon daemon of EvgeniyUS, from a description of it.
//!
//! Every 5 s each VM moves by a tenth of what it holds for every full ten points that its used
//! percentage is above or below the host's. It does not go below what it uses, nor below its
//! minimum.
//!
//! It leaves out a VM that has run for less than 20 s of CPU time; here for 20 s of being known. How
//! old a report may be is not in the description: two turns.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{forget_gone, order, real, within, within_limits};
use super::usage::{Usage, Used};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The balloon daemon of EvgeniyUS.
#[derive(Clone, Debug, Default)]
pub struct EqualPercent {
    /// When each VM came.
    came: BTreeMap<VmId, Duration>,
    usage: Usage,
}

impl Rival for EqualPercent {
    fn name(&self) -> &'static str {
        "equal-percent"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.usage.read(seen);
        forget_gone(&mut self.came, seen);
        let total = real(seen.host_total).max(1.0);
        let host_percent = within(100.0 * (1.0 - real(seen.host_usable) / total), 0.0, 100.0);
        let mut orders = Vec::new();
        for vm in &seen.vms {
            let came = *self.came.entry(vm.id).or_insert(seen.now);
            let boots = seen.now.saturating_sub(came) < BOOT;
            if boots || vm.age.is_none_or(|age| age > STALE) {
                continue;
            }
            orders.extend(self.usage.of(vm).and_then(|used| {
                let target = target(vm, used, host_percent)?;
                order(vm, target)
            }));
        }
        orders
    }
}

fn target(vm: &SeenVm, used: Used, host_percent: f64) -> Option<f64> {
    let actual = real(vm.actual);
    let steps = ((100.0 * used.part() - host_percent) / 10.0).trunc();
    let target = (actual + 0.10 * actual * steps).max(used.used);
    (steps != 0.0).then(|| within_limits(vm, target))
}

const BOOT: Duration = Duration::from_secs(20);
const STALE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, given, mib, reports, scene, vm};

    fn target_of(usable: u32, host_percent: f64) -> Option<f64> {
        let used = Used { held: mib(1000), used: mib(1000 - usable) };
        target(&vm(1, 300, 1400, 1000), used, host_percent)
    }

    fn near(usable: u32, host_percent: f64, amount: u32) {
        let target = target_of(usable, host_percent).unwrap();
        assert!((target - mib(amount)).abs() < 1.0, "{target}");
    }

    #[test]
    fn a_tenth_for_every_full_ten_points() {
        near(90, 75.0, 1100);
        near(50, 74.0, 1200);
        near(500, 75.0, 800);
        assert_eq!(target_of(160, 75.0), None);
        assert_eq!(target_of(340, 75.0), None);
    }

    #[test]
    fn not_beyond_limits() {
        near(550, 99.0, 500);
        near(400, 99.0, 700);
        near(900, 95.0, 300);
        near(0, 10.0, 1400);
    }

    #[test]
    fn leaves_alone_who_boots_or_is_silent() {
        let mut equal = EqualPercent::default();
        let vm = reports(vm(1, 300, 1400, 1000), 0, 90);
        let mut turn =
            |seconds, vm| given(&equal.turn(&at(scene(4000, 1000, 0, vec![vm]), seconds)));
        assert_eq!(turn(0, vm), []);
        assert_eq!(turn(15, vm), []);
        assert_eq!(turn(20, vm), [(1, 1100)]);
        let old = SeenVm { age: Some(Duration::from_secs(11)), ..vm };
        assert_eq!(turn(25, old), []);
    }
}
