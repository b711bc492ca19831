//! [`Virtui`]: the balloon rules of virtui, from a description of them.
//!
//! Each VM for itself, every 2 s: at 65 % used or more it grows by 30 %, once for every new report;
//! at 55 % or less it shrinks by 10 %, 10 s after its last change and 20 s after it came at the
//! earliest. Swapping out 1 MiB a second forbids to shrink for 60 s, and lets it grow too. Reports
//! older than 12 s count for nothing. It knows nothing of the host.
//!
//! The VM's minimum stands for its 8 GiB. From which rate of swapping on a VM grows is not in the
//! description: the same.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, forget_gone, order, real, reported, within_limits};
use super::meter::Meter;
use super::usage::{Usage, Used};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The balloon rules of virtui.
#[derive(Clone, Debug, Default)]
pub struct Virtui {
    meter: Meter,
    usage: Usage,
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    came: Duration,
    changed: Option<Duration>,
    swapped: Option<Duration>,
    /// The report that it was last grown for.
    grown_for: Option<Duration>,
}

impl Rival for Virtui {
    fn name(&self) -> &'static str {
        "virtui"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.meter.read(seen);
        self.usage.read(seen);
        forget_gone(&mut self.known, seen);
        let mut orders = Vec::new();
        for vm in &seen.vms {
            let new = Known { came: seen.now, changed: None, swapped: None, grown_for: None };
            let known = self.known.entry(vm.id).or_insert(new);
            let swaps = self.meter.of(vm.id).swap_out >= SWAPS;
            if swaps {
                known.swapped = Some(seen.now);
            }
            let Some(part) = self.usage.of(vm).map(Used::part) else { continue };
            let Some(factor) = known.factor(seen, vm, part, swaps) else { continue };
            if let Some(ordered) = order(vm, within_limits(vm, real(vm.actual) * factor)) {
                known.changed = Some(seen.now);
                orders.push(ordered);
            }
        }
        orders
    }
}

impl Known {
    /// By how much it is to grow or shrink.
    fn factor(&mut self, seen: &Seen, vm: &SeenVm, part: f64, swaps: bool) -> Option<f64> {
        let report = reported(seen, vm)?;
        if seen.now.saturating_sub(report) > STALE {
            return None;
        }
        if part >= HIGH || swaps {
            let is_new = self.grown_for.is_none_or(|before| report > before);
            self.grown_for = Some(report);
            return is_new.then_some(1.30);
        }
        let rested = |since: Option<Duration>, time: Duration| {
            since.is_none_or(|since| seen.now.saturating_sub(since) >= time)
        };
        let may = rested(self.changed, BACK_OFF)
            && rested(Some(self.came), AFTER_START)
            && rested(self.swapped, AFTER_SWAPPING);
        (part <= LOW && may).then_some(0.90)
    }
}

const HIGH: f64 = 0.65;
const LOW: f64 = 0.55;
const SWAPS: f64 = MIB;
const STALE: Duration = Duration::from_secs(12);
const BACK_OFF: Duration = Duration::from_secs(10);
const AFTER_START: Duration = Duration::from_secs(20);
const AFTER_SWAPPING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, counts, given, reports, scene, vm};

    fn turn(virtui: &mut Virtui, seconds: u64, vm: SeenVm) -> Vec<(u8, u64)> {
        given(&virtui.turn(&at(scene(8000, 100, 100, vec![vm]), seconds)))
    }

    #[test]
    fn grows_by_thirty_percent_once_for_every_report() {
        let mut virtui = Virtui::default();
        let busy = reports(vm(1, 500, 4000, 1000), 0, 350);
        assert_eq!(turn(&mut virtui, 10, busy), [(1, 1300)]);
        let old = |seconds| SeenVm { age: Some(Duration::from_secs(seconds)), ..busy };
        assert_eq!(turn(&mut virtui, 12, old(2)), []);
        assert_eq!(turn(&mut virtui, 14, old(1)), [(1, 1300)]);
        assert_eq!(turn(&mut virtui, 30, old(13)), []);
        assert_eq!(turn(&mut virtui, 32, reports(vm(1, 500, 4000, 1000), 0, 360)), []);
        assert_eq!(turn(&mut virtui, 34, reports(vm(1, 500, 1100, 1000), 0, 100)), [(1, 1100)]);
    }

    #[test]
    fn shrinks_by_ten_percent_after_a_rest() {
        let mut virtui = Virtui::default();
        let idle = reports(vm(1, 850, 4000, 1000), 0, 450);
        assert_eq!(turn(&mut virtui, 0, idle), []);
        assert_eq!(turn(&mut virtui, 18, idle), []);
        assert_eq!(turn(&mut virtui, 20, idle), [(1, 900)]);
        assert_eq!(turn(&mut virtui, 28, idle), []);
        assert_eq!(turn(&mut virtui, 30, reports(vm(1, 850, 4000, 900), 0, 450)), [(1, 850)]);
        assert_eq!(turn(&mut virtui, 50, reports(vm(1, 850, 4000, 900), 0, 400)), []);
    }

    #[test]
    fn swapping_lets_it_grow_and_forbids_to_shrink() {
        let mut virtui = Virtui::default();
        let idle = |out| counts(reports(vm(1, 500, 4000, 1000), 0, 500), 0, out, 0);
        assert_eq!(turn(&mut virtui, 0, idle(0)), []);
        assert_eq!(turn(&mut virtui, 30, idle(30)), [(1, 1300)]);
        assert_eq!(turn(&mut virtui, 60, idle(31)), []);
        assert_eq!(turn(&mut virtui, 90, idle(31)), [(1, 900)]);
    }
}
