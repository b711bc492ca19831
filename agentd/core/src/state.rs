//! [`State`]: what is remembered from tick to tick.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    bytes::ByteCount,
    plan::{Party, Transfer},
    sample::{Sample, VmSample},
    two_pointer,
    vm::VmId,
};

/// What is remembered from tick to tick. Holds only VMs of the last sample, so that it is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Memory of the algorithm `two-pointer`.
    pub two_pointer: two_pointer::Memory,
    /// The target that is, or possibly is, in force for each VM that was ever given one.
    pub orders: BTreeMap<VmId, Order>,
    /// Decided, and not granted because the giver has not delivered yet.
    pub owed: Vec<Transfer>,
}

/// An order that the hypervisor took, or may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What the VM is to hold. While `in_doubt`, the largest target that may be in force.
    pub target: ByteCount,
    /// When it was given.
    pub since: Duration,
    /// The hypervisor did not answer in time: the order may have been taken or not, or be taken
    /// later.
    pub in_doubt: bool,
}

/// What became of one resize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The hypervisor took the order.
    Accepted,
    /// The hypervisor refused it, with these words.
    Refused(String),
    /// The VM is gone.
    VmGone,
    /// No answer in time.
    InDoubt,
    /// Not ordered: the memory for it has not arrived.
    Held,
    /// Not ordered because of the mode.
    Skipped,
}

/// A resize with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Which VM.
    pub vm: VmId,
    /// What the plan wanted it to hold.
    pub planned: ByteCount,
    /// What was ordered: less than planned where not all had arrived; `None` when nothing was.
    pub ordered: Option<ByteCount>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What apply did with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Every resize of the plan, shrinks first.
    pub resized: Vec<Resized>,
    /// For each transfer of the plan's funding, in its order: what was granted of it.
    pub granted: Vec<ByteCount>,
}

impl State {
    /// The state after the orders of a plan: what was accepted or is in doubt is in force from
    /// `now` on, and `owed` is what the givers still have to deliver.
    #[must_use]
    pub fn after(mut self, applied: &Applied, owed: Vec<Transfer>, now: Duration) -> Self {
        for resized in &applied.resized {
            let Some(target) = resized.ordered else {
                continue;
            };
            let before = self.orders.get(&resized.vm).map(|order| order.target);
            match resized.outcome {
                Outcome::Accepted => {
                    let order = Order {
                        target,
                        since: now,
                        in_doubt: false,
                    };
                    self.orders.insert(resized.vm, order);
                }
                Outcome::InDoubt => {
                    let target = before.map_or(target, |before| before.max(target));
                    self.orders.insert(
                        resized.vm,
                        Order {
                            target,
                            since: now,
                            in_doubt: true,
                        },
                    );
                }
                Outcome::VmGone => {
                    self.orders.remove(&resized.vm);
                }
                Outcome::Refused(_) | Outcome::Held | Outcome::Skipped => {}
            }
        }
        self.owed = owed;
        self
    }

    /// The most memory that a VM may come to hold without another order: S1 counts this.
    #[must_use]
    pub fn exposure(&self, id: VmId, vm: &VmSample) -> ByteCount {
        let held = self
            .orders
            .get(&id)
            .map_or(vm.actual, |order| order.target.max(vm.actual));
        if vm.is_accounted_for() {
            held
        } else {
            held.max(vm.max)
        }
    }

    /// Where the order for a VM stands.
    #[must_use]
    pub fn progress(&self, id: VmId, vm: &VmSample, sample: &Sample) -> Progress {
        let Some(order) = self.orders.get(&id) else {
            return Progress::Arrived;
        };
        let missing = vm.actual.abs_diff(order.target);
        if missing <= sample.granule && !order.in_doubt {
            return Progress::Arrived;
        }
        let age = sample.now.saturating_sub(order.since);
        if age < PATIENCE {
            Progress::Moving
        } else if age < RETRY && vm.actual > order.target {
            Progress::Stuck
        } else {
            Progress::Arrived
        }
    }

    /// What a giver has not yet delivered of its order; all of `owed` when it has none.
    #[must_use]
    pub fn undelivered(&self, id: VmId, actual: ByteCount) -> ByteCount {
        self.orders
            .get(&id)
            .map_or(ByteCount::MAX, |order| actual.saturating_sub(order.target))
    }

    /// What is owed to a VM.
    #[must_use]
    pub fn owed_to(&self, id: VmId) -> ByteCount {
        let own = self
            .owed
            .iter()
            .filter(|transfer| transfer.to == Party::Vm(id));
        own.map(|transfer| transfer.amount).sum()
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The VM holds what it was told to, or was given up on: it may be given another order.
    Arrived,
    /// It is on its way.
    Moving,
    /// It should have shrunk long ago: it is asked for nothing for a while.
    Stuck,
}

/// A VM that has not reached its target by then is stuck. Xen's squeezed calls a VM inactive after
/// the same time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A stuck VM is asked again after this.
const RETRY: Duration = Duration::from_secs(60);
