//! [`Swapped`]: how much of a VM lies on its swap device.
//!
//! A VM does not tell. What went out and did not come back is there, until the program ends whose
//! it was: when programs give back memory, what they have on the swap device is taken to go in the
//! same proportion.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::vm::VmId;

use super::figures::{forget_gone, real, reported};
use crate::contest::rival::{Seen, SeenVm};

/// How much of each VM lies on its swap device.
#[derive(Clone, Debug, Default)]
pub(super) struct Swapped {
    known: BTreeMap<VmId, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    amount: f64,
    swap_in: f64,
    swap_out: f64,
    actual: f64,
    /// When its actual was last seen to change.
    moved: Duration,
    /// What its programs used, by a report made since then.
    used: Option<f64>,
}

impl Swapped {
    /// Takes in what VMs reported since.
    pub(super) fn read(&mut self, seen: &Seen) {
        forget_gone(&mut self.known, seen);
        for vm in &seen.vms {
            let (Some(swap_in), Some(swap_out)) = (vm.swap_in, vm.swap_out) else { continue };
            let counters = (real(swap_in), real(swap_out));
            let new = Known::new(seen, vm, counters);
            self.known.entry(vm.id).or_insert(new).read(seen, vm, new);
        }
    }

    /// What of this VM lies on its swap device.
    pub(super) fn of(&self, id: VmId) -> f64 {
        self.known.get(&id).map_or(0.0, |known| known.amount)
    }
}

impl Known {
    fn new(seen: &Seen, vm: &SeenVm, (swap_in, swap_out): (f64, f64)) -> Self {
        let amount = (swap_out - swap_in).max(0.0);
        Self { amount, swap_in, swap_out, actual: real(vm.actual), moved: seen.now, used: None }
    }

    fn read(&mut self, seen: &Seen, vm: &SeenVm, new: Self) {
        if new.swap_in < self.swap_in || new.swap_out < self.swap_out {
            *self = new;
            return;
        }
        let out = new.swap_out - self.swap_out;
        let moved = out - (new.swap_in - self.swap_in);
        self.amount = (self.amount + moved).max(0.0);
        (self.swap_in, self.swap_out) = (new.swap_in, new.swap_out);
        if new.actual.to_bits() != self.actual.to_bits() {
            (self.actual, self.moved, self.used) = (new.actual, seen.now, None);
        }
        let is_current = reported(seen, vm).is_some_and(|at| at > self.moved);
        let Some(usable) = vm.usable.filter(|_| is_current) else { return };
        let now = (self.actual - real(usable)).max(0.0);
        if let Some(before) = self.used.filter(|before| *before > now && out <= 0.0) {
            self.amount *= now / before;
        }
        self.used = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, counts, id, mib, reports, scene, vm};

    #[test]
    fn what_programs_gave_back_is_no_longer_swapped() {
        let mut swapped = Swapped::default();
        let mut read = |seconds, actual, usable, (swap_in, swap_out)| {
            let vm = counts(reports(vm(1, 100, 2000, actual), 0, usable), swap_in, swap_out, 0);
            swapped.read(&at(scene(4000, 1000, 100, vec![vm]), seconds));
            swapped.of(id(1))
        };
        assert_eq!(read(1, 1000, 0, (50, 250)), mib(200));
        assert_eq!(read(2, 1000, 0, (60, 310)), mib(250));
        assert_eq!(read(3, 1000, 500, (60, 310)), mib(125));
        // More memory is no program that ended.
        assert_eq!(read(4, 1500, 500, (60, 310)), mib(125));
        assert_eq!(read(5, 1500, 1000, (60, 310)), mib(125));
        // Booted anew.
        assert_eq!(read(6, 1500, 1000, (0, 10)), mib(10));
    }
}
