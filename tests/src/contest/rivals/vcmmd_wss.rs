//! [`VcmmdWss`]: the working set policy of OpenVZ's vcmmd, from a description of it.
//!
//! A VM's working set is what it holds less MemAvailable. It gets that and what else it has, more if
//! it swaps or faults, less if nothing happens; a size comes down by an eighth of the way a turn,
//! and up at once.
//!
//! Its turn is not in the description: 5 s. Its rates are taken as by the second. I/O is told from
//! major faults and pages swapped out. Nor is it said what happens when all want more than there
//! is: what lacks is taken as its sister policy does (see `vcmmd_wfb`), with equal weights. A VM
//! that does not report keeps what it has. Left out: what its sister leaves out, and other weights for Windows.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, committed, forget_gone, givers_first, pool, real, within_limits};
use super::meter::{Meter, Rates};
use super::usage::Usage;
use super::vcmmd_wfb::{BUSY, Claim, average, divide};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The working set policy of OpenVZ's vcmmd.
#[derive(Clone, Debug, Default)]
pub struct VcmmdWss {
    meter: Meter,
    usage: Usage,
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    quota: f64,
    average_io: f64,
}

impl Rival for VcmmdWss {
    fn name(&self) -> &'static str {
        "vcmmd-wss"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.meter.read(seen);
        self.usage.read(seen);
        forget_gone(&mut self.known, seen);
        let mut pool = pool(seen);
        let mut vms = Vec::new();
        let mut claims = Vec::new();
        for vm in &seen.vms {
            let Some(working_set) = self.usage.of(vm) else {
                pool -= committed(vm);
                continue;
            };
            let new = Known { quota: real(vm.target), average_io: 0.0 };
            let known = self.known.entry(vm.id).or_insert(new);
            let quota = known.next(vm, working_set.used, self.meter.of(vm.id));
            vms.push(vm);
            claims.push(Claim { quota, weight: 1.0, min: real(vm.min), max: real(vm.max) });
        }
        if claims.iter().map(|claim| claim.quota).sum::<f64>() > pool {
            divide(&mut claims, pool);
        }
        let mut wanted = Vec::new();
        for (vm, claim) in vms.into_iter().zip(claims) {
            if let Some(known) = self.known.get_mut(&vm.id) {
                known.quota = claim.quota;
            }
            wanted.push((vm, claim.quota));
        }
        givers_first(wanted)
    }
}

impl Known {
    /// What it is to hold next, if nobody lacks it.
    fn next(&mut self, vm: &SeenVm, working_set: f64, rates: Rates) -> f64 {
        let before = self.average_io;
        self.average_io = average(before, rates.io());
        let actual = real(vm.actual);
        let swaps = rates.pages_in() > BUSY && rates.pages_out() > BUSY;
        let signs = [
            (swaps, 8.0),
            (rates.faults > BUSY, 8.0),
            (self.average_io - before > BUSY, 4.0),
            (actual - self.quota > STEP, 8.0),
        ];
        let steps: f64 = signs.iter().filter(|(is_there, _)| *is_there).map(|(_, by)| by).sum();
        let delta = if steps > 0.0 { steps * STEP } else { -8.0 * STEP };
        let size = working_set + (actual - working_set + delta).max(2.0 * STEP);
        let size = (size / ALIGNMENT).ceil() * ALIGNMENT;
        let next = if size > self.quota { size } else { self.quota - (self.quota - size) / 8.0 };
        within_limits(vm, next)
    }
}

const STEP: f64 = 32.0 * MIB;
const ALIGNMENT: f64 = 4.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, counts, given, mib, reports, scene, vm};

    fn next(quota: u32, working_set: u32, rates: Rates) -> f64 {
        let mut known = Known { quota: mib(quota), average_io: 0.0 };
        known.next(&vm(1, 100, 4000, 1000), mib(working_set), rates) / MIB
    }

    #[test]
    fn signs_of_need_add_up() {
        let faults = Rates { faults: 21.0, ..Rates::default() };
        assert_eq!(next(1000, 500, faults), 1000.0 + 256.0);
        let more = Rates { faults: 300.0, ..Rates::default() };
        assert_eq!(next(1000, 500, more), 1000.0 + 256.0 + 128.0);
        let swaps = Rates { swap_in: 21.0 * 4096.0, swap_out: 21.0 * 4096.0, faults: 0.0 };
        assert_eq!(next(1000, 500, swaps), 1000.0 + 256.0);
        assert_eq!(next(1000, 500, Rates { swap_in: 0.0, ..swaps }), 1000.0 - 256.0 / 8.0);
        // It holds more than it was told to.
        assert_eq!(next(960, 500, Rates::default()), 1000.0 + 256.0);
    }

    #[test]
    fn comes_down_slowly_and_not_into_the_working_set() {
        assert_eq!(next(1000, 500, Rates::default()), 968.0);
        // 64 MiB above a working set of 800.
        assert_eq!(next(1000, 800, Rates::default()), 1000.0 - 136.0 / 8.0);
        assert_eq!(next(1000, 999, Rates::default()), 1064.0);
    }

    #[test]
    fn all_of_them_want_no_more_than_there_is() {
        let mut vcmmd = VcmmdWss::default();
        let vms = |faults| {
            let vm = |number, max| counts(reports(vm(number, 100, max, 1000), 0, 0), 0, 0, faults);
            vec![vm(1, 4000), vm(2, 4000)]
        };
        assert_eq!(given(&vcmmd.turn(&scene(4000, 60, 100, vms(0)))), [(1, 980), (2, 980)]);
        // They fault, and want 1256 each.
        let orders = vcmmd.turn(&at(scene(4000, 300, 100, vms(1000)), 5));
        assert_eq!(given(&orders), [(1, 1100), (2, 1100)]);
        let orders = vcmmd.turn(&at(scene(4000, 900, 100, vms(2000)), 10));
        assert_eq!(given(&orders), [(1, 1256), (2, 1256)]);
    }
}
