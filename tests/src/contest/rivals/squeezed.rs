//! [`Squeezed`]: the memory daemon of XAPI, from a description of it and of its tests.
//!
//! Every VM gets the same part of the range between its minimum and maximum, as large as the host's
//! memory allows; whether a VM suffers is no input. While anybody has to give, only that is
//! ordered. A VM that for 5 s comes no nearer to its target is inactive: it is left out, and held
//! at what it has so that it cannot take more later. What it is called after 20 s changes nothing.
//!
//! It looks every 10 s, and when a VM comes or goes; while memory moves it goes on every second,
//! which is the interval here. The host reserve stands for its 72 MiB. A virtio balloon has no
//! constant offset between target and actual to be measured. Memory for a VM about to start is
//! `reservation`; the contest does not ask.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{forget_gone, order, pool, real, within, within_limits};
use crate::contest::rival::{Rival, Seen, SeenVm};

#[cfg(test)]
mod reservation;
#[cfg(test)]
mod scenarios;

/// The memory daemon of XAPI.
#[derive(Clone, Debug, Default)]
pub struct Squeezed {
    known: BTreeMap<VmId, Known>,
    looked: Option<Duration>,
    /// Memory still moves.
    moves: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    actual: f64,
    /// When it last came nearer to its target, or was there.
    progressed: Duration,
    now: Duration,
}

impl Rival for Squeezed {
    fn name(&self) -> &'static str {
        "squeezed"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        let before: Vec<VmId> = self.known.keys().copied().collect();
        self.follow(seen);
        let same = before.iter().eq(self.known.keys());
        let is_due = self.looked.is_none_or(|looked| seen.now.saturating_sub(looked) >= LOOK);
        if is_due || !same {
            (self.looked, self.moves) = (Some(seen.now), true);
        }
        if !self.moves {
            return Vec::new();
        }
        let (active, inactive): (Vec<_>, Vec<_>) =
            seen.vms.iter().partition(|vm| self.is_active(vm.id));
        let free = pool(seen) - seen.vms.iter().map(|vm| real(vm.actual)).sum::<f64>();
        let targets = divide(&active, free);
        let away = |(vm, target): &(&SeenVm, f64)| (real(vm.actual) - target).abs() > TOLERANCE;
        self.moves = targets.iter().any(away);
        let mut orders = Vec::new();
        for vm in inactive {
            orders.extend(order(vm, within_limits(vm, real(vm.target.min(vm.actual)))));
        }
        let gives = |(vm, target): &&(&SeenVm, f64)| *target < real(vm.actual) - INACCURACY;
        let must_give: Vec<_> = targets.iter().filter(gives).collect();
        let next = if must_give.is_empty() { targets.iter().collect() } else { must_give };
        orders.extend(next.into_iter().filter_map(|(vm, target)| order(vm, *target)));
        orders
    }
}

impl Squeezed {
    fn follow(&mut self, seen: &Seen) {
        forget_gone(&mut self.known, seen);
        for vm in &seen.vms {
            let (now, actual, target) = (seen.now, real(vm.actual), real(vm.target));
            let new = Known { actual, progressed: now, now };
            let known = self.known.entry(vm.id).or_insert(new);
            let missing = (target - actual).abs();
            if missing <= INACCURACY {
                *known = new;
            } else if missing < (target - known.actual).abs() {
                known.progressed = now;
            }
            (known.actual, known.now) = (actual, now);
        }
    }

    fn is_active(&self, id: VmId) -> bool {
        let stuck = |known: &Known| known.now.saturating_sub(known.progressed) > INACTIVE;
        !self.known.get(&id).is_some_and(stuck)
    }
}

/// The same part of its range for everyone.
fn divide<'a>(vms: &[&'a SeenVm], free: f64) -> Vec<(&'a SeenVm, f64)> {
    let range = |vm: &SeenVm| (real(vm.max) - real(vm.min)).max(0.0);
    let surplus = (free + vms.iter().map(|vm| freeable(vm)).sum::<f64>()).max(0.0);
    let ranges: f64 = vms.iter().map(|vm| range(vm)).sum();
    let part = if ranges > 0.0 { within(surplus / ranges, 0.0, 1.0) } else { 0.0 };
    vms.iter().map(|vm| (*vm, real(vm.min) + part * range(vm))).collect()
}

/// What it can give, as far as that can be counted.
fn freeable(vm: &SeenVm) -> f64 {
    (real(vm.actual) - real(vm.min) - 2.0 * INACCURACY).max(0.0)
}

const LOOK: Duration = Duration::from_secs(10);
const INACTIVE: Duration = Duration::from_secs(5);
/// How exactly memory can be counted: a page.
const INACCURACY: f64 = 4096.0;
/// So near is there.
const TOLERANCE: f64 = 512.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{at, given, id, scene, vm};

    #[test]
    fn everyone_gets_the_same_part_of_its_range() {
        // 500 free and 700 that can be freed, of ranges of 1000 and 2000: two fifths.
        let vms = || vec![vm(1, 1000, 2000, 1300), vm(2, 500, 2500, 900)];
        let orders = Squeezed::default().turn(&scene(8000, 600, 100, vms()));
        assert_eq!(given(&orders), [(1, 1400), (2, 1300)]);
        let orders = Squeezed::default().turn(&scene(8000, 5000, 100, vms()));
        assert_eq!(given(&orders), [(1, 2000), (2, 2500)]);
    }

    #[test]
    fn nobody_gets_while_anybody_has_to_give() {
        let mut xapi = Squeezed::default();
        let vms = |first, second| vec![vm(1, 1000, 2000, first), vm(2, 1000, 2000, second)];
        assert_eq!(given(&xapi.turn(&scene(8000, 100, 100, vms(1800, 1000)))), [(1, 1400)]);
        let seen = at(scene(8000, 501, 100, vms(1399, 1000)), 1);
        assert_eq!(given(&xapi.turn(&seen)), [(1, 1400), (2, 1400)]);
    }

    #[test]
    fn who_does_not_move_is_left_out_and_cannot_take_more_later() {
        let mut xapi = Squeezed::default();
        let stuck = SeenVm { target: ByteCount::mib(1500), ..vm(1, 1000, 2000, 1800) };
        let seen =
            |seconds| at(scene(8000, 100, 100, vec![stuck, vm(2, 1000, 2000, 1000)]), seconds);
        assert_eq!(given(&xapi.turn(&seen(0))), [(1, 1400)]);
        for seconds in 1..=5 {
            assert_eq!(given(&xapi.turn(&seen(seconds))), [(1, 1400)]);
        }
        // Nothing is free without it. Its target is below what it holds: it cannot take.
        assert_eq!(given(&xapi.turn(&seen(6))), []);
        assert!(!xapi.is_active(id(1)) && xapi.is_active(id(2)));
        let grows = SeenVm { target: ByteCount::mib(1900), ..stuck };
        let seen = |seconds| at(scene(8000, 100, 100, vec![grows]), seconds);
        xapi.turn(&seen(30));
        assert_eq!(given(&xapi.turn(&seen(40))), [(1, 1800)]);
    }
}
