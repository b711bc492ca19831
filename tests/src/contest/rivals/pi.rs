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
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The PI controller in the containers of qemus/qemu.
#[derive(Clone, Debug, Default)]
pub struct Pi {
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    integral: f64,
    /// What it held a turn ago.
    actual: f64,
}

impl Rival for Pi {
    fn name(&self) -> &'static str {
        "qemus-pi"
    }

    fn interval(&self) -> Duration {
        STEP
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        forget_gone(&mut self.known, seen);
        let host = Host::of(seen);
        let mut orders = Vec::new();
        for vm in &seen.vms {
            let new = Known { integral: 0.0, actual: real(vm.actual) };
            let known = self.known.entry(vm.id).or_insert(new);
            orders.extend(known.target(vm, &host).and_then(|target| order(vm, target)));
            known.actual = real(vm.actual);
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
}

impl Known {
    fn target(&mut self, vm: &SeenVm, host: &Host) -> Option<f64> {
        let (min, max, actual) = (real(vm.min), real(vm.max), real(vm.actual));
        // What it used is told from what it held when it said so.
        let is_old = vm.age? > STEP / 2;
        let held = if is_old { self.actual } else { actual };
        let used = (held - real(vm.usable?)).max(0.0);
        let error = SETPOINT - host.available;
        self.integral = within(self.integral + error * STEP.as_secs_f64(), -1.0, 1.0);
        let adjustment = (PROPORTIONAL * error + INTEGRAL * self.integral) * max;
        let low = if host.available < EMERGENCY { min } else { min.max(used) };
        let high = (max - host.lacks * (max - min)).max(low);
        let wanted = actual - adjustment;
        let target = within(wanted, low, high);
        if target.to_bits() != wanted.to_bits() {
            // The sum does not run away while a bound holds it back.
            let reached = (actual - target) / max.max(1.0);
            self.integral = within((reached - PROPORTIONAL * error) / INTEGRAL, -1.0, 1.0);
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

    fn known() -> Known {
        Known { integral: 0.0, actual: mib(2000) }
    }

    fn near(target: Option<f64>, amount: f64) {
        assert!(target.is_some_and(|target| (target / MIB - amount).abs() < 0.01), "{target:?}");
    }

    #[test]
    fn follows_the_error_and_its_sum() {
        let host = |available| Host { available, lacks: 0.0 };
        let vm = reports(vm(1, 500, 4000, 2000), 0, 1500);
        let mut first = known();
        // (0.5 * 0.1 + 0.05 * 0.5) * 4000
        near(first.target(&vm, &host(0.1)), 2000.0 - 300.0);
        near(first.target(&vm, &host(0.1)), 2000.0 - 400.0);
        near(known().target(&vm, &host(0.3)), 2300.0);
        assert_eq!(known().target(&vm, &host(0.21)), None, "30 MiB are too few");
    }

    #[test]
    fn bounds_hold_the_sum_back_too() {
        let busy = reports(vm(1, 500, 4000, 2000), 0, 100);
        let mut first = known();
        near(first.target(&busy, &Host { available: 0.1, lacks: 0.0 }), 1900.0);
        // (100 / 4000 - 0.05) / 0.05
        assert!((first.integral + 0.5).abs() < 1e-9, "{}", first.integral);
        // An emergency takes what is used.
        let mut second = Known { integral: 1.0, ..known() };
        near(second.target(&busy, &Host { available: 0.05, lacks: 0.0 }), 2000.0 - 500.0);
        // A pressed host takes from the top: half of what is above the minimum.
        near(known().target(&busy, &Host { available: 0.2, lacks: 0.8 }), 1900.0);
        let idle = reports(vm(1, 500, 4000, 2000), 0, 1900);
        near(known().target(&idle, &Host { available: 0.2, lacks: 0.8 }), 1200.0);
    }

    #[test]
    fn an_old_report_tells_of_what_was_held_then() {
        let old =
            SeenVm { age: Some(Duration::from_secs(4)), ..reports(vm(1, 500, 4000, 1500), 0, 500) };
        // It used 2000 - 500, all that it has now.
        near(known().target(&old, &Host { available: 0.1, lacks: 0.0 }), 1500.0);
        let seen = scene(4000, 1600, 100, vec![reports(vm(1, 500, 4000, 2000), 0, 0)]);
        assert_eq!(given(&Pi::default().turn(&seen)), [(1, 2600)]);
    }
}
