//! [`Plan`]: what is to be ordered in one tick, and the [`Transfer`]s that it carries out.
//!
//! A plan leaves nothing to choose: `apply` only follows it, and grants a growing VM what has
//! arrived from its givers.

use crate::{by_vm::ByVm, bytes::ByteCount, vm::VmId};

/// Somebody who gives or gets memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The host.
    Host,
    /// A VM.
    Vm(VmId),
}

/// Accounting: memory that was decided to go from one party to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who gives.
    pub from: Party,
    /// Who gets.
    pub to: Party,
    /// How much.
    pub amount: ByteCount,
}

/// One order to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Which VM.
    pub vm: VmId,
    /// What it holds; of one that is to grow what it may hold already, by a larger target still in force.
    pub from: ByteCount,
    /// What it is to hold.
    pub to: ByteCount,
}

impl Resize {
    /// How much the VM is to get; zero when it shrinks.
    #[must_use]
    pub const fn growth(&self) -> ByteCount {
        self.to.saturating_sub(self.from)
    }

    /// How much the VM is to give; zero when it grows.
    #[must_use]
    pub const fn shrinkage(&self) -> ByteCount {
        self.from.saturating_sub(self.to)
    }
}

/// The orders of one tick. Each VM has at most one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ordered first: VMs told to hold what they hold, so that no other order is in force for them.
    /// Nothing is given or got by it.
    pub neutral: Vec<Resize>,
    /// Ordered next, all at once.
    pub shrinks: Vec<Resize>,
    /// Ordered as their memory arrives, never for more than that.
    pub grows: Vec<Resize>,
    /// What the grows are made of: for every grow, transfers that sum up to it. Those of earlier
    /// ticks whose memory is still awaited come first.
    pub funding: Vec<Transfer>,
    /// What the host could still promise when this was planned, beside its reserve, what reservations
    /// are guaranteed and hold, and all that VMs may come to take already.
    pub room: ByteCount,
    /// How much it had promised too much.
    pub debt: ByteCount,
    /// How much more all VMs together might come to hold by the limit when this was planned, beside what the
    /// host and reservations keep of it; `None` without a limit.
    pub limit_room: Option<ByteCount>,
}

impl Plan {
    /// Every order, in the order in which they are given.
    pub fn resizes(&self) -> impl Iterator<Item = &Resize> {
        self.neutral.iter().chain(&self.shrinks).chain(&self.grows)
    }

    /// True when there is nothing to order.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.neutral.is_empty() && self.shrinks.is_empty() && self.grows.is_empty()
    }
}

/// The sum of the transfers of each VM that `party` picks.
#[must_use]
pub fn sums<'a>(
    transfers: impl IntoIterator<Item = &'a Transfer>,
    party: fn(&Transfer) -> Party,
) -> ByVm<ByteCount> {
    let of = |transfer: &'a Transfer| match party(transfer) {
        Party::Host => None,
        Party::Vm(id) => Some((id, transfer.amount)),
    };
    let all = transfers.into_iter().filter_map(of).collect();
    ByVm::joined(all, |sum, more| *sum = sum.saturating_add(*more))
}
