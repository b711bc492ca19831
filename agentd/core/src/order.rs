//! [`Order`]: a target that is, or possibly is, in force for a VM, and how far the VM is with it.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    conduct::Stage,
    sample::{Freshness, Sample, Shown, VmSample},
};

/// An order that the hypervisor took, or may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What the VM was last told to hold.
    pub target: ByteCount,
    /// The smallest target that may be in force: less than `target` while the hypervisor has not
    /// said that it took an order, which may then have been taken or not, or be taken later.
    pub least: ByteCount,
    /// The largest target that may be in force, likewise.
    pub most: ByteCount,
    /// What showed of the VM when it was told.
    pub base: Shown,
    /// How much it was to give then; zero for one that was not to shrink.
    pub gives: ByteCount,
    /// When it was given.
    pub since: Duration,
    /// The hypervisor has not said whether it took this order, or one before it.
    pub in_doubt: bool,
    /// The hypervisor said that it took this order, whatever became of those before it.
    pub accepted: bool,
    /// What the VM may have gone on to by what was in force before, until it took this order; `None` once it
    /// was seen under it, and where nothing else was.
    pub earlier: Option<Span>,
    /// It was seen whether the host got its memory. What the VM touches later is no fault of this
    /// order.
    pub judged: bool,
}

/// From what to what a VM may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least of it.
    pub least: ByteCount,
    /// The most of it.
    pub most: ByteCount,
}

impl Span {
    /// To anything at all.
    pub const ANY: Self = Self { least: ByteCount::ZERO, most: ByteCount::MAX };
    /// Up to anything at all.
    pub const UP: Self = Self { least: ByteCount::MAX, most: ByteCount::MAX };
}

impl Order {
    /// An order that was taken: nothing else is in force.
    #[must_use]
    pub const fn new(target: ByteCount, gives: ByteCount, base: Shown, since: Duration) -> Self {
        let (least, most) = (target, target);
        let (in_doubt, accepted, earlier, judged) = (false, true, None, false);
        Self { target, least, most, base, gives, since, in_doubt, accepted, earlier, judged }
    }

    /// All that the VM may be on its way to.
    #[must_use]
    pub fn spans(&self) -> Span {
        let Self { least, most, .. } = *self;
        self.earlier.map_or(Span { least, most }, |earlier| Span {
            least: least.min(earlier.least),
            most: most.max(earlier.most),
        })
    }

    /// What is known of it after a VM was seen: once it holds what it was told to, no other target
    /// is in force any more. That it stands where it stood says nothing of an order without answer.
    #[must_use]
    pub fn seen(self, vm: &VmSample, granule: ByteCount) -> Self {
        let tells = matches!(vm.freshness, Freshness::Fresh | Freshness::Unsettled);
        let stood = self.base.actual.abs_diff(self.target) <= granule;
        if !tells || self.missing(vm) > granule || self.in_doubt && stood {
            return self;
        }
        Self { least: self.target, most: self.target, in_doubt: false, ..self }
    }

    /// True where no other target than this one may be in force.
    #[must_use]
    pub fn says(&self, target: ByteCount) -> bool {
        self.least == target && self.most == target
    }

    /// What of it the VM has not let go of when this shows of it: by what it holds and by what the
    /// host shows, whichever is more. Measured from what both were before, so that what is resident
    /// beside the VM's memory does not count.
    #[must_use]
    pub fn undelivered(&self, now: Shown) -> ByteCount {
        if self.is_hidden(now) {
            return self.gives;
        }
        let let_go = self.base.actual.saturating_sub(now.actual);
        self.missing_of(self.base.held().saturating_sub(now.held()).min(let_go))
    }

    /// What of it the host has not got back when this shows of the VM. More than what is
    /// undelivered where the VM let go of memory that it had never touched.
    #[must_use]
    pub fn unreturned(&self, now: Shown) -> ByteCount {
        match (self.base.taken, now.taken) {
            (Some(before), Some(now)) => self.missing_of(before.saturating_sub(now)),
            _ => self.undelivered(now),
        }
    }

    /// The host does not show any more what it showed before: nothing is known to have come.
    const fn is_hidden(&self, now: Shown) -> bool {
        self.base.taken.is_some() && now.taken.is_none()
    }

    /// A sixteenth is left to the noise of what is resident, of a large order no more than that.
    fn missing_of(&self, came: ByteCount) -> ByteCount {
        let missing = self.gives.saturating_sub(came);
        let noise = self.gives.fraction(1, 16).min(MOST_NOISE);
        if missing <= noise { ByteCount::ZERO } else { missing }
    }

    /// How far the VM is with it.
    #[must_use]
    pub fn stage(&self, vm: &VmSample, sample: &Sample) -> Stage {
        let missing = self.missing(vm);
        if missing > sample.granule {
            Stage::Open(missing)
        } else if self.judged || !self.freed_little(vm) {
            Stage::Done
        } else if self.is_young(sample.now) {
            Stage::Freeing
        } else {
            Stage::Useless
        }
    }

    /// The host got less than half of it, and not because the VM let go of what it had never touched:
    /// then no more is resident than it holds and a process may take beside.
    fn freed_little(&self, vm: &VmSample) -> bool {
        let shown = vm.shown();
        let excess = shown.taken.unwrap_or_default().saturating_sub(shown.actual);
        let plausible = plausible_overhead(vm.max);
        self.undelivered(shown) > self.gives.fraction(1, 2) && excess > plausible
    }

    /// True for one given lately: the VM's actual has to be read live.
    #[must_use]
    pub fn is_young(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < PATIENCE
    }

    fn missing(&self, vm: &VmSample) -> ByteCount {
        vm.actual.abs_diff(self.target)
    }
}

/// The most that the process of a VM with this maximum plausibly takes beside its memory.
#[must_use]
pub fn plausible_overhead(max: ByteCount) -> ByteCount {
    PROCESS.saturating_add(max.fraction(1, PROCESS_SHARE))
}

/// What a process takes beside the memory of its VM: vcmmd's model has 64 MiB and 8 bytes a page; one
/// that emulates a processor was measured to take 90 MiB.
const PROCESS: ByteCount = ByteCount::mib(128);
const PROCESS_SHARE: u64 = 512;
/// What is resident goes up and down by a few MiB, however much was ordered: more of a large order would
/// be given away before it is there.
const MOST_NOISE: ByteCount = ByteCount::mib(4);
/// The host has what a VM let go of within milliseconds; one that has nothing after this time gets
/// nothing. Xen's squeezed calls a VM inactive after the same time.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const fn shown(actual: u32, taken: u32) -> Shown {
        Shown { actual: ByteCount::mib(actual), taken: Some(ByteCount::mib(taken)) }
    }

    /// What is undelivered, in MiB, of an order to give 40 MiB.
    fn undelivered(base: Shown, now: Shown) -> u64 {
        let gives = ByteCount::mib(40);
        let target = base.actual.saturating_sub(gives);
        Order::new(target, gives, base, Duration::ZERO).undelivered(now).mib_floor()
    }

    #[test]
    fn a_sixteenth_of_an_order_is_noise() {
        assert_eq!(undelivered(shown(446, 446), shown(408, 408)), 0);
        assert_eq!(undelivered(shown(446, 446), shown(410, 410)), 4);
    }

    #[test]
    fn of_a_large_order_only_some_mib_are_noise() {
        let missing = |taken| {
            let order = Order::new(
                ByteCount::mib(400),
                ByteCount::mib(600),
                shown(1000, 1000),
                Duration::ZERO,
            );
            order.undelivered(shown(taken, taken)).mib_floor()
        };
        assert_eq!([missing(404), missing(405)], [0, 5]);
    }

    #[test]
    fn delivered_is_what_the_vm_let_go_of_and_the_host_no_longer_shows() {
        assert_eq!(undelivered(shown(446, 400), shown(406, 400)), 0, "it had never touched it");
        assert_eq!(undelivered(shown(446, 446), shown(406, 446)), 40, "the host has not got it");
        assert_eq!(undelivered(shown(446, 446), shown(426, 420)), 20);
    }

    /// What its process takes beside passes as its memory here.
    #[test]
    fn a_vm_that_took_back_what_it_gave_has_not_delivered_it() {
        assert_eq!(undelivered(shown(446, 486), shown(406, 446)), 0);
        assert_eq!(undelivered(shown(446, 486), shown(440, 450)), 34);
    }
}
