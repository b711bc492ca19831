//! [`Mom`]: the balloon rules of oVirt's Memory Overcommitment Manager, from a description of them.
//!
//! Every 10 s, by averages of the last ten samples, taken every 5 s. A host of which too little is
//! free shrinks every VM by at most 5 %, down to what it uses and a cushion that is thinner
//! the less the host has; a host with still less takes used memory too. Any other host grows
//! every VM by 5 % or more. Changes of less than a quarter of a percent are left undone.
//!
//! What is too little its rules say, which an operator writes: 20 % and 5 % in those that come with it.
//! Here used memory is taken where the reserve is not there, and all shrinks where less than one step
//! of growth is free beyond it: a fifth of these hosts free would be memory that nobody has.
//!
//! Used is all but MemFree, so a VM's caches count as used. Of the host, MemAvailable stands for
//! its MemFree, buffers and caches. A VM that never reported is left alone. Its rules for KSM have nothing to act on here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{forget_gone, order, real};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The balloon rules of oVirt's Memory Overcommitment Manager.
#[derive(Clone, Debug, Default)]
pub struct Mom {
    host_free: VecDeque<f64>,
    /// Actual and unused.
    vms: BTreeMap<VmId, VecDeque<(f64, f64)>>,
    /// This turn is one that only takes a sample.
    only_samples: bool,
}

impl Rival for Mom {
    fn name(&self) -> &'static str {
        "mom"
    }

    /// Its samples; it acts at every second one.
    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.sample(seen);
        self.only_samples = !self.only_samples;
        if self.only_samples {
            return Vec::new();
        }
        let host_free = average(self.host_free.iter().copied());
        let limits = Limits::of(seen);
        let decide = |vm: &SeenVm| {
            let samples = self.vms.get(&vm.id).filter(|samples| !samples.is_empty())?;
            let used = average(samples.iter().map(|(actual, unused)| actual - unused));
            order(vm, limits.target(vm, used, host_free)?)
        };
        seen.vms.iter().filter_map(decide).collect()
    }
}

impl Mom {
    fn sample(&mut self, seen: &Seen) {
        let total = real(seen.host_total).max(1.0);
        keep(&mut self.host_free, real(seen.host_usable) / total);
        forget_gone(&mut self.vms, seen);
        for vm in &seen.vms {
            let Some(unused) = vm.unused else { continue };
            keep(self.vms.entry(vm.id).or_default(), (real(vm.actual), real(unused)));
        }
    }
}

/// How much of the host is too little to be free, as parts of it.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// With less it takes memory back.
    pressure: f64,
    /// With less it takes memory that is used.
    critical: f64,
}

impl Limits {
    /// Those of an operator who wants the host's reserve kept.
    fn of(seen: &Seen) -> Self {
        let critical = real(seen.reserve) / real(seen.host_total).max(1.0);
        Self { pressure: critical + MAX_CHANGE, critical }
    }

    /// What a VM is to hold, where that is another amount.
    fn target(&self, vm: &SeenVm, used: f64, host_free: f64) -> Option<f64> {
        let (actual, min, max) = (real(vm.actual), real(vm.min), real(vm.max));
        let new = if host_free < self.pressure {
            let cushion = if host_free > self.critical {
                GUEST_FREE * host_free / self.pressure
            } else {
                host_free - self.critical
            };
            let floor = min.max(used + cushion * actual);
            Some(floor.max((1.0 - MAX_CHANGE) * actual)).filter(|new| *new <= actual)
        } else {
            let want = min.max(used + GUEST_FREE * actual);
            Some(want.max((1.0 + MAX_CHANGE) * actual).min(max)).filter(|_| actual < max)
        };
        new.filter(|new| (new - actual).abs() > MIN_CHANGE * actual)
    }
}

fn keep<T>(samples: &mut VecDeque<T>, new: T) {
    samples.push_back(new);
    if samples.len() > SAMPLES {
        samples.pop_front();
    }
}

fn average(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

const SAMPLES: usize = 10;
/// What a VM is to have free while the host can afford it.
const GUEST_FREE: f64 = 0.20;
const MAX_CHANGE: f64 = 0.05;
const MIN_CHANGE: f64 = 0.0025;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, given, mib, reports, scene, vm};

    /// Those of the rules that come with it.
    const OWN: Limits = Limits { pressure: 0.20, critical: 0.05 };

    fn near(target: Option<f64>, amount: u32) {
        assert!(target.is_some_and(|target| (target - mib(amount)).abs() < 1.0), "{target:?}");
    }

    #[test]
    fn a_host_under_pressure_shrinks_to_used_memory_and_a_cushion() {
        let vm = vm(1, 200, 2000, 1000);
        near(OWN.target(&vm, mib(500), 0.10), 950);
        near(OWN.target(&vm, mib(870), 0.10), 970);
        // The cushion is gone at 5 %, and below it takes what is used.
        near(OWN.target(&vm, mib(990), 0.02), 960);
        near(OWN.target(&vm, mib(900), 0.02), 950);
        assert_eq!(OWN.target(&vm, mib(900), 0.10), None);
        // With exactly 5 % the cushion is nothing, one with just more is as thick as the host's part.
        near(OWN.target(&vm, mib(990), 0.05), 990);
        near(OWN.target(&vm, mib(910), 0.06), 970);
        near(OWN.target(&SeenVm { min: ByteCount::mib(980), ..vm }, mib(500), 0.10), 980);
        assert_eq!(OWN.target(&vm, mib(898), 0.10), None, "0.2 % is not worth it");
    }

    #[test]
    fn any_other_host_grows_all() {
        near(OWN.target(&vm(1, 200, 2000, 1000), mib(100), 0.20), 1050);
        near(OWN.target(&vm(1, 200, 2000, 1000), mib(900), 0.50), 1100);
        near(OWN.target(&vm(1, 200, 1020, 1000), mib(900), 0.50), 1020);
        assert_eq!(OWN.target(&vm(1, 200, 1000, 1000), mib(900), 0.50), None);
    }

    #[test]
    fn what_is_critical_is_the_reserve() {
        let limits = Limits::of(&scene(1000, 500, 100, vec![]));
        let vm = vm(1, 200, 2000, 1000);
        near(limits.target(&vm, mib(500), 0.16), 1050);
        near(limits.target(&vm, mib(500), 0.14), 950);
        near(limits.target(&vm, mib(980), 0.09), 970);
    }

    #[test]
    fn acts_at_every_second_sample_by_averages() {
        let mut mom = Mom::default();
        let mut turn = |turn: u32, unused, host| {
            let seen = scene(1000, host, 150, vec![reports(vm(1, 200, 2000, 1000), unused, 900)]);
            given(&mom.turn(&at(seen, u64::from(turn) * 5)))
        };
        assert_eq!(turn(1, 0, 500), []);
        // 980 used, and 200 to be free.
        assert_eq!(turn(2, 40, 300), [(1, 1180)]);
        assert_eq!(turn(3, 1000, 100), []);
        assert_eq!(turn(4, 1000, 100), [(1, 1050)]);
        // A sixth of the host is free on average, though nothing is now.
        assert_eq!(turn(5, 1000, 0), []);
        assert_eq!(turn(6, 1000, 0), [(1, 950)]);
    }
}
