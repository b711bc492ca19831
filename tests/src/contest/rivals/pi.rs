//! [`Pi`]: the PI controller in the containers of qemus/qemu, from a description of it.
//!
//! One for each VM, each for itself, every 5 s: the balloon follows how far the host is from a fifth
//! of its memory being available, and the sum of that. A VM is not shrunk below what it uses, unless
//! less than a tenth of the host is available. Changes of less than 128 MiB are left.
//!
//! The VM's minimum stands for a third of its maximum. The most that it may hold falls there with
//! the host's memory pressure, from 10 % to 50 % of stalls; here with the part of the reserve that
//! the host lacks, the one sign of a pressed host that can be seen. The container's own limit has
//! nothing to stand for it. A VM that does not report is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, forget_gone, order, real, within};
use super::usage::Usage;
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The PI controller in the containers of qemus/qemu.
#[derive(Clone, Debug, Default)]
pub struct Pi {
    usage: Usage,
    /// The sum of errors, for each VM.
    integrals: BTreeMap<VmId, f64>,
}

impl Rival for Pi {
    fn name(&self) -> &'static str {
        "qemus-pi"
    }

    fn interval(&self) -> Duration {
        STEP
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.usage.read(seen);
        forget_gone(&mut self.integrals, seen);
        let host = Host::of(seen);
        let mut orders = Vec::new();
        for vm in &seen.vms {
            let Some(used) = self.usage.of(vm) else { continue };
            let integral = self.integrals.entry(vm.id).or_default();
            let target = host.target(vm, used.used, integral);
            orders.extend(target.and_then(|target| order(vm, target)));
        }
        orders
    }
}

#[derive(Clone, Copy, Debug)]
struct Host {
    /// The part of its memory that is available.
    available: f64,
    /// The part of its reserve that is missing.
    lacks: f64,
}

impl Host {
    fn of(seen: &Seen) -> Self {
        let (usable, reserve) = (real(seen.host_usable), real(seen.reserve));
        let lacks = (reserve - usable).max(0.0) / reserve.max(1.0);
        Self { available: usable / real(seen.host_total).max(1.0), lacks }
    }

    fn target(&self, vm: &SeenVm, used: f64, integral: &mut f64) -> Option<f64> {
        let (min, max, actual) = (real(vm.min), real(vm.max), real(vm.actual));
        let error = SETPOINT - self.available;
        *integral = within(*integral + error * STEP.as_secs_f64(), -1.0, 1.0);
        let adjustment = (PROPORTIONAL * error + INTEGRAL * *integral) * max;
        let low = if self.available < EMERGENCY { min } else { min.max(used) };
        let high = (max - self.lacks * (max - min)).max(low);
        let wanted = actual - adjustment;
        let target = within(wanted, low, high);
        if target.to_bits() != wanted.to_bits() {
            // The sum does not run away while a bound holds it back.
            let reached = (actual - target) / max.max(1.0);
            *integral = within((reached - PROPORTIONAL * error) / INTEGRAL, -1.0, 1.0);
        }
        let at_bound = target <= low || target >= high;
        ((target - actual).abs() >= HYSTERESIS || at_bound).then_some(target)
    }
}

const STEP: Duration = Duration::from_secs(5);
/// The part of the host that is to be available.
const SETPOINT: f64 = 0.20;
/// A host with less takes used memory too.
const EMERGENCY: f64 = 0.10;
const PROPORTIONAL: f64 = 0.5;
const INTEGRAL: f64 = 0.05;
const HYSTERESIS: f64 = 128.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, mib, reports, scene, vm};

    /// What it is to hold, in MiB, and the sum of errors then.
    fn next(used: u32, host: (f64, f64), mut integral: f64) -> (Option<f64>, f64) {
        let vm = vm(1, 500, 4000, 2000);
        let host = Host { available: host.0, lacks: host.1 };
        let target = host.target(&vm, mib(used), &mut integral);
        let near = |number: f64| (number * 1000.0).round() / 1000.0;
        (target.map(|target| near(target / MIB)), near(integral))
    }

    #[test]
    fn follows_the_error_and_its_sum() {
        // (0.5 * 0.1 + 0.05 * 0.5) * 4000, and the sum doubles.
        assert_eq!(next(500, (0.1, 0.0), 0.0), (Some(1700.0), 0.5));
        assert_eq!(next(500, (0.1, 0.0), 0.5), (Some(1600.0), 1.0));
        assert_eq!(next(500, (0.3, 0.0), 0.0), (Some(2300.0), -0.5));
        assert_eq!(next(500, (0.21, 0.0), 0.0).0, None, "30 MiB are too few");
    }

    #[test]
    fn bounds_hold_the_sum_back_too() {
        // (100 / 4000 - 0.05) / 0.05
        assert_eq!(next(1900, (0.1, 0.0), 0.0), (Some(1900.0), -0.5));
        // An emergency takes what is used.
        assert_eq!(next(1900, (0.05, 0.0), 1.0), (Some(1500.0), 1.0));
        // A pressed host takes from the top, down to what is used.
        assert_eq!(next(1900, (0.2, 0.8), 0.0).0, Some(1900.0));
        assert_eq!(next(100, (0.2, 0.8), 0.0).0, Some(1200.0));
    }

    #[test]
    fn every_vm_follows_the_host_alone() {
        let idle = reports(vm(1, 500, 4000, 2000), 0, 2000);
        let vms = vec![idle, reports(vm(2, 500, 4000, 2000), 0, 0), vm(3, 500, 4000, 2000)];
        let orders = Pi::default().turn(&scene(4000, 1600, 100, vms));
        assert_eq!(given(&orders), [(1, 2600), (2, 2600)]);
    }
}
