//! [`Overhead`]: what the process of a VM takes of the host beside the VM's memory, as far as that can be told.

use crate::{bytes::ByteCount, order::plausible_overhead, sample::VmReading};

/// What was seen of one VM's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overhead {
    /// The most that the VM was seen to hold.
    largest: ByteCount,
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// What is certain: what the VM gave back counts for others only beside this.
    least: ByteCount,
    /// What it may have been: no more than the rest counts as touched by the VM.
    most: ByteCount,
}

impl Overhead {
    /// Nothing is known of it yet.
    pub(crate) const fn of_one_that_holds(actual: ByteCount) -> Self {
        Self { largest: actual, seen: None }
    }

    /// What is certain; `None` where nothing is known.
    pub(crate) fn least(&self) -> Option<ByteCount> {
        self.seen.map(|own| own.least)
    }

    /// The most that is plausible in a VM with this maximum, `None` where nothing is known: more is what its
    /// balloon did not free.
    pub(crate) fn at_most(&self, max: ByteCount) -> Option<ByteCount> {
        self.seen.map(|own| own.most.min(plausible_overhead(max)).max(own.least))
    }

    /// Takes in a reading, with a new report of a VM at rest or without.
    ///
    /// Only a VM that holds as much as ever shows its overhead for certain: in one that was shrunk the same
    /// excess may be memory that its balloon did not free. One that does not report may be
    /// starting anew behind an actual of before.
    pub(crate) fn see(&mut self, vm: &VmReading, reports: bool) {
        let Some(rss) = vm.host_rss else { return };
        let has_grown = vm.actual > self.largest;
        self.largest = self.largest.max(vm.actual);
        let excess = rss.saturating_sub(vm.actual);
        if has_grown {
            // What looked like overhead may be memory that it had let go of and the host had not got.
            self.seen = self.seen.map(|own| Seen { least: own.least.min(excess), ..own });
        }
        if !reports {
            return;
        }
        let mut own = self.seen.unwrap_or_default();
        own.most = own.most.max(excess);
        if vm.actual == self.largest {
            own.least = own.least.max(excess);
        }
        let used = vm.guest.unused.map(|unused| vm.actual.saturating_sub(unused));
        // What it uses is no overhead. Where not even that is resident, it says nothing.
        if let Some(used) = used.filter(|used| *used <= rss) {
            let rest = rss.saturating_sub(used);
            own = Seen { least: own.least.min(rest), most: own.most.min(rest) };
        }
        self.seen = Some(own);
    }
}
