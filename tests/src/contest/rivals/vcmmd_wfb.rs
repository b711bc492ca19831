//! [`VcmmdWfb`]: the weighted feedback policy of OpenVZ's vcmmd, from a description of it.
//!
//! Every VM has a quota and a weight. One that has little unused and reads its disk asks for a tenth
//! of its maximum more. What the pool has beyond all quotas is granted by weight, what it lacks is
//! taken by the inverse of it. Reads, writes and faults raise a weight, unused memory lowers it.
//!
//! Its turn is not in the description: 5 s. Its rates are taken as by the second. I/O is told from
//! major faults and pages swapped out, all that a balloon reports of it. A VM that does not report
//! its unused memory keeps what it has. Left out: that it also acts at once when the host is low, and that
//! it starts no VM whose guarantee does not fit; here none waits to be let in.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{
    MIB, committed, forget_gone, givers_first, pool, real, within, within_limits,
};
use super::meter::{Meter, Rates};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The weighted feedback policy of OpenVZ's vcmmd.
#[derive(Clone, Debug, Default)]
pub struct VcmmdWfb {
    meter: Meter,
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    quota: f64,
    average_io: f64,
    average_faults: f64,
}

impl Rival for VcmmdWfb {
    fn name(&self) -> &'static str {
        "vcmmd-wfb"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.meter.read(seen);
        forget_gone(&mut self.known, seen);
        let mut pool = pool(seen);
        let mut claims = Vec::new();
        for vm in &seen.vms {
            let Some(unused) = vm.unused else {
                pool -= committed(vm);
                continue;
            };
            let known = self.known.entry(vm.id).or_default();
            claims.push((vm, known.claim(vm, real(unused), self.meter.of(vm.id))));
        }
        let mut shares: Vec<Claim> = claims.iter().map(|(_, claim)| *claim).collect();
        divide(&mut shares, pool);
        let mut wanted = Vec::new();
        for ((vm, _), share) in claims.iter().zip(shares) {
            self.known.entry(vm.id).or_default().quota = share.quota;
            wanted.push((*vm, share.quota));
        }
        givers_first(wanted)
    }
}

impl Known {
    /// What it asks for, and how loudly.
    fn claim(&mut self, vm: &SeenVm, unused: f64, rates: Rates) -> Claim {
        self.average_io = average(self.average_io, rates.io());
        self.average_faults = average(self.average_faults, rates.faults);
        let max = real(vm.max);
        let mut quota = self.quota.max(real(vm.actual));
        let low = within(0.10 * max, 192.0 * MIB, 768.0 * MIB);
        if unused <= low && (rates.io() > BUSY || rates.faults > BUSY) {
            quota += 0.10 * max;
        }
        quota = within_limits(vm, quota);
        let busy = [
            (rates.io(), 4.0),
            (self.average_io, 2.0),
            (rates.faults, 8.0),
            (self.average_faults, 4.0),
        ];
        let louder: f64 = busy.iter().filter(|(rate, _)| *rate > BUSY).map(|(_, by)| by).sum();
        let weight = within(10.0 - 8.0 * unused / (quota + 1.0) + louder, 1.0, 20.0);
        Claim { quota, weight, min: real(vm.min), max }
    }
}

/// What a VM is to hold if it can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) quota: f64,
    pub(super) weight: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Makes the quotas add up to the pool, as far as minima and maxima let them.
pub(super) fn divide(claims: &mut [Claim], pool: f64) {
    let mut smallest = 0.0;
    // Every round but the last brings one to its minimum or maximum.
    for _ in 0..=claims.len() {
        let rest = pool - claims.iter().map(|claim| claim.quota).sum::<f64>();
        let part = |claim: &Claim| match rest > 0.0 {
            true if claim.quota >= claim.max => 0.0,
            true => claim.weight / (claim.quota + 1.0),
            false if claim.quota <= claim.min => 0.0,
            false => claim.quota / claim.weight,
        };
        let parts: f64 = claims.iter().map(part).sum();
        if parts <= 0.0 || rest.abs() <= smallest {
            break;
        }
        for claim in claims.iter_mut() {
            claim.quota += rest * part(claim) / parts;
            claim.quota = within(claim.quota, claim.min, claim.max);
        }
        smallest = LEFT_OVER;
    }
}

/// A rate over some turns.
pub(super) fn average(before: f64, now: f64) -> f64 {
    (now + 10.0 * before) / 11.0
}

/// A rate from which on a VM is busy.
pub(super) const BUSY: f64 = 20.0;
/// What is not worth another round.
const LEFT_OVER: f64 = 16.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, mib, reports, scene, vm};

    fn claims(quotas: [(u32, f64); 2]) -> [Claim; 2] {
        let (min, max) = (mib(200), mib(2000));
        quotas.map(|(quota, weight)| Claim { quota: mib(quota), weight, min, max })
    }

    fn divided(quotas: [(u32, f64); 2], pool: u32) -> [f64; 2] {
        let mut claims = claims(quotas);
        divide(&mut claims, mib(pool));
        claims.map(|claim| (claim.quota / MIB).round())
    }

    #[test]
    fn the_rest_goes_by_weight_and_size() {
        // Parts of 10/500 and 10/1000.
        assert_eq!(divided([(500, 10.0), (1000, 10.0)], 1800), [700.0, 1100.0]);
        assert_eq!(divided([(500, 5.0), (1000, 20.0)], 1800), [600.0, 1200.0]);
        // What is beyond a maximum goes to the other.
        assert_eq!(divided([(500, 1.0), (1900, 20.0)], 3000), [1000.0, 2000.0]);
    }

    #[test]
    fn what_is_lacking_is_taken_by_size_and_inverse_weight() {
        assert_eq!(divided([(500, 10.0), (1000, 10.0)], 1200), [400.0, 800.0]);
        assert_eq!(divided([(600, 20.0), (600, 10.0)], 900), [500.0, 400.0]);
        assert_eq!(divided([(600, 1.0), (1800, 20.0)], 600), [200.0, 400.0]);
    }

    #[test]
    fn a_struggling_vm_asks_for_a_tenth_more_and_is_heard() {
        let busy = Rates { faults: 100.0, ..Rates::default() };
        let claim = |unused, rates| Known::default().claim(&vm(1, 200, 2000, 1000), unused, rates);
        assert_eq!(claim(mib(150), busy).quota, mib(1200));
        assert_eq!(claim(mib(250), busy).quota, mib(1000));
        assert_eq!(claim(mib(150), Rates::default()).quota, mib(1000));
        // 10 - 8/4, and 4 for I/O and 8 for faults; the averages are below 20 yet.
        let near = |weight: f64, want: f64| assert!((weight - want).abs() < 1e-6, "{weight}");
        near(claim(mib(250), busy).weight, 20.0);
        near(claim(mib(500), Rates { faults: 50.0, ..busy }).weight, 18.0);
        near(claim(mib(500), Rates::default()).weight, 6.0);
        near(claim(mib(2000), Rates::default()).weight, 1.0);
    }

    #[test]
    fn every_sign_of_load_has_its_weight() {
        let vm = vm(1, 200, 2000, 1000);
        let weight = |average_io, average_faults, rates| {
            let mut known = Known { quota: 0.0, average_io, average_faults };
            known.claim(&vm, mib(1000), rates).weight.round()
        };
        let (idle, busy) = (Rates::default(), 21.0);
        let writes = |pages| Rates { swap_out: pages * 4096.0, ..idle };
        let faults = |faults| Rates { faults, ..idle };
        // 10 - 8, as all is unused; then 4 and 2 for I/O, 8 and 4 for faults, now and on average.
        assert_eq!(weight(0.0, 0.0, idle), 2.0);
        assert_eq!(weight(0.0, 0.0, writes(busy)), 2.0 + 4.0);
        assert_eq!(weight(24.0, 0.0, idle), 2.0 + 2.0);
        assert_eq!(weight(24.0, 0.0, writes(busy)), 2.0 + 6.0);
        assert_eq!(weight(0.0, 24.0, idle), 2.0 + 4.0);
        // A fault is a read, too.
        assert_eq!(weight(0.0, 0.0, faults(busy)), 2.0 + 8.0 + 4.0);
        assert_eq!(weight(24.0, 24.0, faults(busy)), 2.0 + 18.0);
        assert_eq!((average(0.0, 22.0), average(11.0, 0.0)), (2.0, 10.0));
    }

    #[test]
    fn little_is_a_tenth_of_the_maximum_within_bounds() {
        let busy = Rates { faults: 21.0, ..Rates::default() };
        let asks = |max, unused| {
            Known::default().claim(&vm(1, 200, max, 500), mib(unused), busy).quota > mib(500)
        };
        assert!(asks(1000, 192) && !asks(1000, 193));
        assert!(asks(4000, 400) && !asks(4000, 401));
        assert!(asks(9000, 768) && !asks(9000, 769));
    }

    #[test]
    fn a_silent_vm_keeps_what_it_has() {
        let vms = vec![vm(1, 200, 2000, 1000), reports(vm(2, 200, 2000, 1000), 500, 500)];
        let orders = VcmmdWfb::default().turn(&scene(4000, 600, 100, vms));
        assert_eq!(given(&orders), [(2, 1500)]);
    }
}
