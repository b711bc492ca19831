//! [`Meter`]: counters of VMs as rates.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{forget_gone, real, reported};
use crate::contest::rival::{Seen, SeenVm};

/// What a VM's counters did in a second, between its last two reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Bytes swapped in.
    pub(super) swap_in: f64,
    /// Bytes swapped out.
    pub(super) swap_out: f64,
    /// Major faults.
    pub(super) faults: f64,
}

impl Rates {
    /// Pages swapped in.
    pub(super) fn pages_in(self) -> f64 {
        self.swap_in / PAGE
    }

    /// Pages swapped out.
    pub(super) fn pages_out(self) -> f64 {
        self.swap_out / PAGE
    }

    /// Reads and writes of its disks, as far as they can be told: a read for every major fault, a
    /// write for every page swapped out.
    pub(super) fn io(self) -> f64 {
        self.faults.max(self.pages_in()) + self.pages_out()
    }
}

/// Counters of VMs as rates.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    known: BTreeMap<VmId, (Counters, Rates)>,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    at: Duration,
    swap_in: f64,
    swap_out: f64,
    faults: f64,
}

impl Meter {
    /// Takes in what VMs reported since.
    pub(super) fn read(&mut self, seen: &Seen) {
        forget_gone(&mut self.known, seen);
        for vm in &seen.vms {
            let Some(now) = Counters::of(seen, vm) else { continue };
            match self.known.get_mut(&vm.id) {
                Some((last, rates)) if now.at > last.at => {
                    *rates = now.since(last);
                    *last = now;
                }
                Some(_) => {}
                None => {
                    self.known.insert(vm.id, (now, Rates::default()));
                }
            }
        }
    }

    /// The rates of this VM; none where there is nothing to tell them from.
    pub(super) fn of(&self, id: VmId) -> Rates {
        self.known.get(&id).map_or_else(Rates::default, |(_, rates)| *rates)
    }
}

impl Counters {
    fn of(seen: &Seen, vm: &SeenVm) -> Option<Self> {
        let amount = |figure: Option<ByteCount>| figure.map_or(0.0, real);
        let faults = vm.major_faults.unwrap_or(0) as f64;
        let (swap_in, swap_out) = (amount(vm.swap_in), amount(vm.swap_out));
        Some(Self { at: reported(seen, vm)?, swap_in, swap_out, faults })
    }

    /// A counter that went back started anew with its VM.
    fn since(&self, last: &Self) -> Rates {
        let seconds = self.at.saturating_sub(last.at).as_secs_f64();
        let rate = |now: f64, then: f64| (now - then).max(0.0) / seconds;
        Rates {
            swap_in: rate(self.swap_in, last.swap_in),
            swap_out: rate(self.swap_out, last.swap_out),
            faults: rate(self.faults, last.faults),
        }
    }
}

const PAGE: f64 = 4096.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, counts, id, scene, vm};

    #[test]
    fn a_rate_is_between_reports_not_between_turns() {
        let mut meter = Meter::default();
        let age = |vm: SeenVm, seconds| SeenVm { age: Some(Duration::from_secs(seconds)), ..vm };
        let with = |vm| scene(4000, 1000, 100, vec![vm]);
        meter.read(&at(with(age(counts(vm(1, 100, 1000, 500), 0, 0, 0), 1)), 11));
        assert_eq!(meter.of(id(1)).faults, 0.0);
        meter.read(&at(with(age(counts(vm(1, 100, 1000, 500), 4, 8, 100), 0)), 14));
        assert_eq!(meter.of(id(1)).faults, 25.0);
        assert_eq!((meter.of(id(1)).pages_in(), meter.of(id(1)).pages_out()), (256.0, 512.0));
        assert_eq!(meter.of(id(1)).io(), 768.0);
        // The same report again.
        meter.read(&at(with(age(counts(vm(1, 100, 1000, 500), 4, 8, 100), 1)), 15));
        assert_eq!(meter.of(id(1)).faults, 25.0);
        meter.read(&at(scene(4000, 1000, 100, vec![]), 16));
        assert!(meter.known.is_empty());
    }
}
