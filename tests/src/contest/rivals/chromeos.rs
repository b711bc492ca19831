//! [`ChromeOs`]: the balance-available policy of ChromeOS' concierge, from a description of it.
//!
//! What a VM has available above a critical amount is to be as much as the host has above its own:
//! half of the difference moves. The critical amount of a VM is 400 MiB at first, and what it was
//! seen to live with after that. Differences of less than 1 % are left.
//!
//! MemAvailable stands for free memory and caches, the host reserve for the host's critical amount.
//! It was made for one VM or two: here the VMs take their turns in order, each with what those
//! before it left of the host. It asks a VM for live figures; here a
//! VM has available what it did when it reported, and what it got since. Its turn is not in the
//! description: 1 s. Nor is the bias for the VM: none. Left out: what else concierge does to balloons,
//! reclaim by the age of caches, the order of priorities, and relief where a balloon stalls.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, forget_gone, order, real, reported, within_limits};
use super::usage::Usage;
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The balance-available policy of ChromeOS' concierge.
#[derive(Clone, Debug, Default)]
pub struct ChromeOs {
    usage: Usage,
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    critical: f64,
    /// The largest balloon that it was seen to have.
    largest: f64,
    /// What it had available, and how full its balloon was.
    before: Option<(f64, f64)>,
    /// The last report that was learned from.
    report: Option<Duration>,
}

impl Rival for ChromeOs {
    fn name(&self) -> &'static str {
        "chromeos"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.usage.read(seen);
        forget_gone(&mut self.known, seen);
        let host = real(seen.host_usable) - real(seen.reserve);
        // What was promised and not taken yet is for nobody else.
        let promise = |vm: &SeenVm, target: f64| (target - real(vm.actual)).max(0.0);
        let mut promised: f64 = seen.vms.iter().map(|vm| promise(vm, real(vm.target))).sum();
        let mut orders = Vec::new();
        for vm in &seen.vms {
            let (Some(used), Some(report)) = (self.usage.of(vm), reported(seen, vm)) else {
                continue;
            };
            let available = (real(vm.actual) - used.used).max(0.0);
            let known = self.known.entry(vm.id).or_default();
            if known.report.is_none_or(|before| report > before) {
                known.report = Some(report);
                known.learn(vm, available);
            }
            let own = promise(vm, real(vm.target));
            let delta = delta(available - known.critical, host - (promised - own));
            let target = within_limits(vm, real(vm.actual) - delta);
            if delta != 0.0 {
                promised += promise(vm, target) - own;
                orders.extend(order(vm, target));
            }
        }
        orders
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { critical: CRITICAL, largest: 0.0, before: None, report: None }
    }
}

impl Known {
    /// A VM that is twice seen with less than critical, and lives, can live with that.
    fn learn(&mut self, vm: &SeenVm, available: f64) {
        let balloon = (real(vm.max) - real(vm.actual)).max(0.0);
        self.largest = self.largest.max(balloon);
        let full = if self.largest > 0.0 { balloon / self.largest } else { 0.0 };
        let lives = |(available, full): (f64, f64)| available < self.critical && full < NEARLY_FULL;
        let now = (available, full);
        if let Some(before) = self.before.filter(|before| lives(*before) && lives(now)) {
            self.critical = before.0;
        }
        self.before = Some(now);
    }
}

/// By how much a balloon is to grow, by what VM and host have above critical.
fn delta(of_vm: f64, of_host: f64) -> f64 {
    let delta = ((of_vm - of_host) / 2.0).min(of_vm + MARGIN).max(-(of_host + MARGIN));
    let matters = delta.abs() > 0.01 * of_vm.abs() || delta.abs() > 0.01 * of_host.abs();
    if of_vm < MIB || of_host < MIB || matters { delta } else { 0.0 }
}

const CRITICAL: f64 = 400.0 * MIB;
/// So far it takes either side below its critical amount.
const MARGIN: f64 = 10.0 * MIB;
/// A VM with so full a balloon is no example of what it can live with.
const NEARLY_FULL: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, given, mib, reports, scene, vm};

    fn turn(chrome: &mut ChromeOs, seconds: u64, usable: u32, host: u32) -> Vec<(u8, u64)> {
        let vms = vec![reports(vm(1, 200, 4000, 2000), 0, usable)];
        given(&chrome.turn(&at(scene(8000, host, 500, vms), seconds)))
    }

    #[test]
    fn half_of_the_difference_moves() {
        // 600 and 1000 above critical; then 1400 and 1000.
        assert_eq!(turn(&mut ChromeOs::default(), 1, 1000, 1500), [(1, 2200)]);
        assert_eq!(turn(&mut ChromeOs::default(), 1, 1800, 1500), [(1, 1800)]);
        // Less than 1 % of what both have.
        assert_eq!(turn(&mut ChromeOs::default(), 1, 1410, 1500), []);
        // Where both lack, the host goes first, and is helped to 10 MiB below critical.
        assert_eq!(turn(&mut ChromeOs::default(), 1, 100, 480), [(1, 1990)]);
    }

    #[test]
    fn the_host_comes_within_ten_mib_of_what_is_critical_before_a_vm_does() {
        let moves = |of_vm: f64, of_host: f64| delta(of_vm * MIB, of_host * MIB) / MIB;
        assert_eq!((moves(300.0, 100.0), moves(100.0, 300.0)), (100.0, -100.0));
        // The VM is left 190 MiB less than is critical of it: it cannot keep both, and the host goes first.
        assert_eq!((moves(100.0, -300.0), moves(-300.0, 100.0)), (290.0, -110.0));
        // A difference that matters to one of them is 1 % of what that has.
        assert_eq!((moves(1000.0, 1019.0), moves(1000.0, 1021.0)), (0.0, -10.5));
        // With nothing left above critical, all matters.
        assert_eq!((moves(0.5, 0.5), moves(0.5, 0.507_812_5)), (0.0, -0.003_906_25));
    }

    #[test]
    fn the_critical_amount_is_what_a_vm_was_seen_to_live_with() {
        let mut known = Known { largest: mib(4000), ..Known::default() };
        let vm = vm(1, 200, 4000, 2000);
        known.learn(&vm, mib(300));
        assert_eq!(known.critical, CRITICAL);
        known.learn(&vm, mib(350));
        assert_eq!(known.critical, mib(300));
        known.largest = mib(2000);
        known.learn(&vm, mib(200));
        known.learn(&vm, mib(200));
        assert_eq!(known.critical, mib(300), "its balloon was full");
    }

    #[test]
    fn the_next_vm_gets_of_what_the_first_left() {
        let vms =
            vec![reports(vm(1, 200, 4000, 1000), 0, 400), reports(vm(2, 200, 4000, 1000), 0, 400)];
        let orders = ChromeOs::default().turn(&scene(8000, 900, 500, vms));
        assert_eq!(given(&orders), [(1, 1200), (2, 1100)]);
    }

    #[test]
    fn goes_on_to_the_same_target_while_memory_moves() {
        let mut chrome = ChromeOs::default();
        assert_eq!(turn(&mut chrome, 1, 1000, 1500), [(1, 2200)]);
        let vm = SeenVm { target: ByteCount::mib(2200), ..vm(1, 200, 4000, 2100) };
        let old = SeenVm { age: Some(Duration::from_secs(1)), ..reports(vm, 0, 1000) };
        assert_eq!(given(&chrome.turn(&at(scene(8000, 1400, 500, vec![old]), 2))), []);
    }
}
