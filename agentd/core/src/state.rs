//! [`State`]: what is remembered from tick to tick.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    bytes::ByteCount,
    plan::{Party, Plan, Transfer, sums},
    policy::Policy,
    sample::{RunState, Sample, VmSample},
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
    /// What the VM was last told to hold.
    pub target: ByteCount,
    /// The largest target that may be in force: more than `target` while the hypervisor has not
    /// said that it took the order, which may then have been taken or not, or be taken later.
    pub most: ByteCount,
    /// What the host showed the VM to hold when it was told.
    pub base: ByteCount,
    /// How much it was to give then; zero for one that was to grow.
    pub gives: ByteCount,
    /// When it was given.
    pub since: Duration,
    /// The hypervisor has not said whether it took the order.
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
    /// The state that the next decision starts from: VMs that are gone are forgotten, and so is
    /// what will never be delivered. What an algorithm remembers is left to it.
    #[must_use]
    pub fn continued(&self, policy: &Policy, sample: &Sample) -> Self {
        let mut state = Self { owed: self.owed.clone(), ..Self::default() };
        state.orders = self
            .orders
            .iter()
            .filter_map(|(id, order)| {
                let vm = sample.vms.get(id)?;
                let arrived = vm.actual.abs_diff(order.target) <= sample.granule;
                let settled = Order { most: order.target, in_doubt: false, ..*order };
                Some((*id, if arrived { settled } else { *order }))
            })
            .collect();

        let mut delivered = sums(&state.owed, |transfer| transfer.from);
        for (giver, owed) in &mut delivered {
            *owed = owed.saturating_sub(state.never_delivered(*giver, sample));
        }
        state.owed.retain_mut(|transfer| {
            let (Party::Vm(giver), Party::Vm(taker)) = (transfer.from, transfer.to) else {
                return false;
            };
            let Some(left) = delivered.get_mut(&giver) else { return false };
            transfer.amount = transfer.amount.min(*left);
            *left = left.saturating_sub(transfer.amount);
            !transfer.amount.is_zero() && can_take(policy, sample, taker)
        });
        state
    }

    /// What a giver can no longer be expected to deliver of what it owes.
    fn never_delivered(&self, giver: VmId, sample: &Sample) -> ByteCount {
        let Some(vm) = sample.vms.get(&giver) else {
            return ByteCount::MAX;
        };
        match self.progress(giver, vm, sample) {
            Progress::Moving => ByteCount::ZERO,
            Progress::Stuck | Progress::Useless | Progress::Arrived => {
                self.undelivered(giver, vm.held())
            }
        }
    }

    /// The state after the orders of a plan: what was accepted or is in doubt is in force from
    /// `now` on, and what givers still have to deliver is owed.
    #[must_use]
    pub fn after(mut self, plan: &Plan, applied: &Applied, sample: &Sample, now: Duration) -> Self {
        let gives: BTreeMap<VmId, ByteCount> =
            plan.shrinks.iter().map(|resize| (resize.vm, resize.shrinkage())).collect();
        for resized in &applied.resized {
            let Some(target) = resized.ordered else { continue };
            let base = sample.vms.get(&resized.vm).map_or(target, VmSample::held);
            let gives = gives.get(&resized.vm).copied().unwrap_or_default();
            let order = Order { target, most: target, base, gives, since: now, in_doubt: false };
            self.note(resized, order);
        }
        let lost: BTreeSet<VmId> = applied
            .resized
            .iter()
            .filter(|resized| {
                matches!(resized.outcome, Outcome::Refused(_) | Outcome::VmGone | Outcome::Skipped)
            })
            .map(|resized| resized.vm)
            .collect();
        let open = plan.funding.iter().zip(&applied.granted).filter_map(|(transfer, granted)| {
            let (Party::Vm(giver), Party::Vm(taker)) = (transfer.from, transfer.to) else {
                return None;
            };
            let amount = transfer.amount.saturating_sub(*granted);
            let gone = amount.is_zero() || lost.contains(&giver) || lost.contains(&taker);
            (!gone).then_some(Transfer { amount, ..*transfer })
        });
        self.owed = open.collect();
        self
    }

    /// Books what became of one order.
    fn note(&mut self, resized: &Resized, order: Order) {
        match resized.outcome {
            Outcome::Accepted => {
                self.orders.insert(resized.vm, order);
            }
            Outcome::InDoubt => {
                let before = self.orders.get(&resized.vm).map(|before| before.most);
                let most = before.map_or(order.target, |before| before.max(order.target));
                self.orders.insert(resized.vm, Order { most, in_doubt: true, ..order });
            }
            Outcome::VmGone => {
                self.orders.remove(&resized.vm);
            }
            Outcome::Refused(_) | Outcome::Held | Outcome::Skipped => {}
        }
    }

    /// What a VM may hold already: its actual, or a larger target in force.
    #[must_use]
    pub fn holds(&self, id: VmId, vm: &VmSample) -> ByteCount {
        self.orders.get(&id).map_or(vm.actual, |order| order.most.max(vm.actual))
    }

    /// The most memory that a VM may come to hold without another order: S1 counts this.
    #[must_use]
    pub fn exposure(&self, id: VmId, vm: &VmSample) -> ByteCount {
        let held = self.holds(id, vm).max(vm.held());
        if vm.is_accounted_for() { held } else { held.max(vm.max) }
    }

    /// What givers have delivered and those who are to get it have not been told to take yet.
    #[must_use]
    pub fn spoken_for(&self, sample: &Sample) -> ByteCount {
        let owed = sums(&self.owed, |transfer| transfer.from).into_iter();
        let delivered = owed.filter_map(|(giver, owed)| {
            let held = sample.vms.get(&giver)?.held();
            Some(owed.saturating_sub(self.undelivered(giver, held)))
        });
        delivered.sum()
    }

    /// Where the order for a VM stands.
    #[must_use]
    pub fn progress(&self, id: VmId, vm: &VmSample, sample: &Sample) -> Progress {
        let Some(order) = self.orders.get(&id) else {
            return Progress::Arrived;
        };
        let age = sample.now.saturating_sub(order.since);
        let missing = vm.actual.abs_diff(order.target);
        if missing > sample.granule {
            return match age {
                age if age < PATIENCE => Progress::Moving,
                age if age < RETRY && vm.actual > order.target => Progress::Stuck,
                _ => Progress::Arrived,
            };
        }
        let useless = order.undelivered(vm.held()) > order.gives.fraction(1, 2);
        match age {
            age if useless && age < PATIENCE => Progress::Moving,
            age if useless && age < RETRY => Progress::Useless,
            _ => Progress::Arrived,
        }
    }

    /// VMs that were given an order lately: their actual has to be read live.
    pub fn fresh_orders(&self, now: Duration) -> impl Iterator<Item = VmId> {
        let fresh = move |order: &Order| now.saturating_sub(order.since) < PATIENCE;
        self.orders.iter().filter(move |(_, order)| fresh(order)).map(|(id, _)| *id)
    }

    /// What a giver has not yet delivered of its order, when the host shows it to hold so much;
    /// more than it can owe when it has no order.
    #[must_use]
    pub fn undelivered(&self, id: VmId, held: ByteCount) -> ByteCount {
        self.orders.get(&id).map_or(ByteCount::MAX, |order| order.undelivered(held))
    }
}

impl Order {
    /// What of it has not been delivered when the host shows the VM to hold so much. Measured from
    /// what the host showed before, so that what is resident beside the VM's memory does not count;
    /// a sixteenth is left to the noise of that figure.
    #[must_use]
    pub fn undelivered(&self, held: ByteCount) -> ByteCount {
        let missing = self.gives.saturating_sub(self.base.saturating_sub(held));
        if missing <= self.gives.fraction(1, 16) { ByteCount::ZERO } else { missing }
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
    /// It has shrunk, and the host has nothing of it: it is asked for nothing for a while.
    Useless,
}

/// True while a VM may be told to take what is owed to it.
fn can_take(policy: &Policy, sample: &Sample, id: VmId) -> bool {
    sample
        .vms
        .get(&id)
        .is_some_and(|vm| vm.run == RunState::Running && !policy.rules(id, &vm.name, vm.max).pinned)
}

/// A VM that has not reached its target by then is stuck. Xen's squeezed calls a VM inactive after
/// the same time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A stuck VM is asked again after this.
const RETRY: Duration = Duration::from_secs(60);
