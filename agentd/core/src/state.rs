//! [`State`]: what is remembered from tick to tick.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    time::Duration,
};

use crate::{
    by_vm::ByVm,
    bytes::ByteCount,
    followed::Followed,
    host::HostWatch,
    known::{Known, Progress},
    order::{Order, Span},
    plan::{Party, Plan, Resize, Transfer, sums},
    policy::Policy,
    reserve,
    sample::{Freshness, Sample, Shown, VmSample},
    two_pointer,
    vm::VmId,
    working_set,
};

/// What is remembered from tick to tick. Holds only VMs of the last sample that was decided on, so that it is bounded;
/// what an algorithm remembers also of those that go during a host emergency, until it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Memory of the algorithm `two-pointer`.
    pub two_pointer: two_pointer::Memory,
    /// Memory of the algorithm `working-set`.
    pub working_set: working_set::Memory,
    /// The target that is, or possibly is, in force for each VM that was ever given one.
    pub orders: ByVm<Order>,
    /// Decided, and not granted because the giver has not delivered yet.
    pub owed: Vec<Transfer>,
    /// What is followed of each VM.
    pub followed: ByVm<Followed>,
    /// How the host itself fares.
    pub host: HostWatch,
    /// How reservations fare.
    pub reserve: reserve::Memory,
    /// When the last sample was taken.
    pub at: Option<Duration>,
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
    /// Not ordered: the memory for it has not arrived, or what the VM holds, which it was to go on holding, is
    /// not known.
    Held,
    /// Not ordered: the mode, a freeze file or the policy does not let it, the figures were too old by then, or
    /// the plan as a whole was thrown away.
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
    /// Why the hypervisor refused the rest, of a grow of which it took a part; `None` where it did not.
    pub rest_refused: Option<String>,
}

impl Resized {
    /// The hypervisor took the order, or may have.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted | Outcome::InDoubt)
    }

    /// Nothing more of what was planned can be expected to be taken.
    const fn is_lost(&self) -> bool {
        self.rest_refused.is_some()
            || matches!(self.outcome, Outcome::Refused(_) | Outcome::VmGone | Outcome::Skipped)
    }
}

/// What apply did with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Every resize of the plan, in its order.
    pub resized: Vec<Resized>,
    /// For each transfer of the plan's funding, in its order: what was granted of it.
    pub granted: Vec<ByteCount>,
}

impl State {
    /// The state that the next decision starts from: VMs that are gone are forgotten, and so is
    /// what will never be delivered. What an algorithm remembers is left to it.
    #[must_use]
    pub fn continued(&self, policy: &Policy, sample: &Sample) -> Self {
        let mut state = Self {
            owed: self.owed.clone(),
            host: self.host.clone(),
            reserve: self.reserve.clone(),
            at: Some(sample.now),
            ..Self::default()
        };
        let passed = self.at.map_or(Duration::ZERO, |at| sample.now.saturating_sub(at));
        let mut orders = Vec::with_capacity(self.orders.len());
        let mut followed = Vec::with_capacity(sample.vms.len());
        let (mut before, mut told) = (self.followed.beside(), self.orders.beside());
        for (id, vm) in &sample.vms {
            match before.entry(*id) {
                // From where it is to where it stays: it is large.
                Some(known) => followed.extend_from_slice(slice::from_ref(known)),
                None => followed.push((*id, Followed::of(vm))),
            }
            let Some((_, own)) = followed.last_mut() else { continue };
            let order = own.follow(vm, told.of(*id).copied(), passed, sample);
            orders.extend(order.map(|order| (*id, order)));
        }
        (state.followed, state.orders) = (ByVm::in_order(followed), ByVm::in_order(orders));

        let owed = sums(&state.owed, |transfer| transfer.from);
        let comes = |(giver, owed): (&VmId, &ByteCount)| {
            (*giver, owed.saturating_sub(state.never_delivered(*giver, sample)))
        };
        let mut delivered: ByVm<ByteCount> = owed.iter().map(comes).collect();
        let mut owed = std::mem::take(&mut state.owed);
        let mut room: BTreeMap<VmId, ByteCount> = BTreeMap::new();
        owed.retain_mut(|transfer| {
            let (Party::Vm(giver), Party::Vm(taker)) = (transfer.from, transfer.to) else {
                return false;
            };
            let Some(left) = delivered.get_mut(&giver) else { return false };
            // It may not be allowed any more what it was to get.
            let room = room.entry(taker).or_insert_with(|| state.room(policy, sample, taker));
            transfer.amount = transfer.amount.min(*left).min(*room).align_down(sample.granule);
            *room = room.saturating_sub(transfer.amount);
            *left = left.saturating_sub(transfer.amount);
            !transfer.amount.is_zero()
        });
        state.owed = owed;
        state
    }

    /// What a VM may still get before it is at its maximum; nothing while it may be told nothing.
    fn room(&self, policy: &Policy, sample: &Sample, id: VmId) -> ByteCount {
        let Some(vm) = sample.vms.get(&id) else { return ByteCount::ZERO };
        let rules = policy.rules(id, &vm.name, vm.max);
        let known = self.known(id, vm);
        if rules.pinned || known.life(sample.now).bar().is_some() {
            return ByteCount::ZERO;
        }
        rules.limits.max.saturating_sub(known.holds())
    }

    /// What a giver can no longer be expected to deliver of what it owes.
    fn never_delivered(&self, giver: VmId, sample: &Sample) -> ByteCount {
        let Some(vm) = sample.vms.get(&giver) else {
            return ByteCount::MAX;
        };
        let known = self.known(giver, vm);
        match known.progress(sample) {
            Progress::Moving if known.is_to_stop(sample.now) => self.unreturned(giver, vm.shown()),
            Progress::Moving => ByteCount::ZERO,
            // Only what the host got back is anybody's to wait for any longer.
            Progress::Stuck | Progress::Arrived => self.unreturned(giver, vm.shown()),
        }
    }

    /// Forgets what was followed from tick to tick: time passes that nobody sees.
    pub fn lose_sight(&mut self) {
        self.followed.values_mut().for_each(Followed::interrupt);
        self.host.interrupt();
        self.at = None;
    }

    /// Begins anew, after time in which anything may have happened: only orders in doubt are still
    /// known to be in force.
    pub fn begin_anew(&mut self) {
        self.lose_sight();
        self.host.begin_anew();
        self.owed.clear();
        self.orders.retain(|_, order| {
            (order.earlier, order.accepted) = (Some(Span::ANY), false);
            order.in_doubt
        });
        self.followed.values_mut().for_each(|followed| followed.adopted = false);
    }

    /// The state after the orders of a plan: what was accepted or is in doubt is in force from
    /// `now` on, and what givers still have to deliver is owed.
    #[must_use]
    pub fn after(mut self, plan: &Plan, applied: &Applied, sample: &Sample, now: Duration) -> Self {
        let gives: ByVm<ByteCount> =
            plan.shrinks.iter().map(|resize| (resize.vm, resize.shrinkage())).collect();
        let ordered = applied.resized.iter().filter_map(|resized| {
            let vm = sample.vms.get(&resized.vm);
            let base = vm.map(VmSample::shown).unwrap_or_default();
            let gives = gives.get(&resized.vm).copied().unwrap_or_default();
            let order = Order::new(resized.ordered?, gives, base, now);
            let rests = vm.is_some_and(|vm| vm.freshness == Freshness::Fresh);
            Some((resized.vm, self.booked(resized, order, rests)?))
        });
        let ordered: Vec<(VmId, Order)> = ordered.collect();
        self.orders.extend(ordered);
        for gone in applied.resized.iter().filter(|own| own.outcome == Outcome::VmGone) {
            self.orders.remove(&gone.vm);
        }
        let became: ByVm<&Resized> = applied.resized.iter().map(|own| (own.vm, own)).collect();
        for resize in &plan.neutral {
            // Where nothing may be ordered it is decided as if it had been: all begins anew before
            // anything may.
            let outcome = became.get(&resize.vm).map(|own| &own.outcome);
            let taken = matches!(outcome, Some(Outcome::Accepted | Outcome::Skipped));
            if let Some(followed) = self.followed.get_mut(&resize.vm).filter(|_| taken) {
                followed.adopted = true;
            }
        }
        self.learn(plan, &became, now);
        let lost = |vm: &VmId| became.get(vm).is_some_and(|own| own.is_lost());
        // Of a giver that was told otherwise since nothing more is known to come.
        let told = |vm: &VmId| became.get(vm).is_some_and(|own| own.is_told());
        let others = plan.neutral.iter().chain(&plan.grows).map(|resize| resize.vm);
        let turned: BTreeSet<VmId> = others.filter(told).collect();
        let open = plan.funding.iter().zip(&applied.granted).filter_map(|(transfer, granted)| {
            let (Party::Vm(giver), Party::Vm(taker)) = (transfer.from, transfer.to) else {
                return None;
            };
            let amount = transfer.amount.saturating_sub(*granted);
            let never = lost(&giver) || turned.contains(&giver);
            let gone = amount.is_zero() || never || lost(&taker);
            (!gone).then_some(Transfer { amount, ..*transfer })
        });
        self.owed = open.collect();
        self
    }

    /// What the answers say of the VMs, and of what was done for the host.
    fn learn(&mut self, plan: &Plan, became: &ByVm<&Resized>, now: Duration) {
        for (vm, own) in became {
            let Some(followed) = self.followed.get_mut(vm) else { continue };
            match own.outcome {
                Outcome::Accepted => followed.conduct.accept(),
                Outcome::Refused(_) => followed.conduct.refuse(now),
                Outcome::VmGone | Outcome::InDoubt | Outcome::Held | Outcome::Skipped => {}
            }
            if own.rest_refused.is_some() {
                followed.conduct.refuse(now);
            }
        }
        let told = |resize: &Resize| became.get(&resize.vm).is_some_and(|own| own.is_told());
        if self.host.is_emergency() && plan.shrinks.iter().any(told) {
            self.host.note_action(now);
        }
    }

    /// What is in force after one order, by what became of it; `None` where it is what it was. While
    /// one is in doubt it may be taken later than the one after it. What a VM was told before the first one
    /// nobody knows; one that `rests` was not seen to move.
    fn booked(&self, resized: &Resized, order: Order, rests: bool) -> Option<Order> {
        let before = self.orders.get(&resized.vm);
        let adopted = self.followed.get(&resized.vm).is_some_and(|own| own.adopted);
        let accepted = resized.outcome == Outcome::Accepted;
        // A balloon may have woken up just before it was told for the first time, and has grown by then. Who
        // rested, and is brought down right after that, is brought down by somebody else.
        let known = accepted && rests;
        let unknown = (!adopted).then_some(if known { Span::UP } else { Span::ANY });
        let earlier = before.map(Order::spans).or(unknown);
        let order = Order { earlier, accepted, ..order };
        let span = |before: &Order| Order {
            least: before.least.min(order.target),
            most: before.most.max(order.target),
            in_doubt: true,
            ..order
        };
        match resized.outcome {
            Outcome::Accepted => {
                // One without answer that says the same changes nothing, whenever it is taken.
                let doubt = before.filter(|before| before.in_doubt && !before.says(order.target));
                Some(doubt.map_or(order, span))
            }
            Outcome::InDoubt => Some(before.map_or(Order { in_doubt: true, ..order }, span)),
            Outcome::VmGone | Outcome::Refused(_) | Outcome::Held | Outcome::Skipped => None,
        }
    }

    /// What is remembered of a VM that is seen like this.
    #[must_use]
    pub fn known<'a>(&'a self, id: VmId, vm: &'a VmSample) -> Known<'a> {
        Known { vm, followed: self.followed.get(&id), order: self.orders.get(&id) }
    }

    /// What is remembered of each VM of a sample, in the order of their ids.
    pub fn each<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = (VmId, Known<'a>)> {
        let (mut followed, mut orders) = (self.followed.beside(), self.orders.beside());
        sample.vms.iter().map(move |(id, vm)| {
            (*id, Known { vm, followed: followed.of(*id), order: orders.of(*id) })
        })
    }

    /// What givers have delivered and those who are to get it have not been told to take yet.
    #[must_use]
    pub fn spoken_for(&self, sample: &Sample) -> ByteCount {
        self.owed_but(sample, Order::undelivered)
    }

    /// What of that the host got back: it is free there, and theirs all the same.
    #[must_use]
    pub fn returned(&self, sample: &Sample) -> ByteCount {
        self.owed_but(sample, Order::unreturned)
    }

    /// What is owed of all givers but for what is missing of their orders.
    fn owed_but(&self, sample: &Sample, missing: fn(&Order, Shown) -> ByteCount) -> ByteCount {
        let owed = sums(&self.owed, |transfer| transfer.from);
        let there = owed.iter().filter_map(|(giver, owed)| {
            let order = self.orders.get(giver)?;
            Some(owed.saturating_sub(missing(order, sample.vms.get(giver)?.shown())))
        });
        there.sum()
    }

    /// What VMs have been told to give to the host and have not let go of yet.
    #[must_use]
    pub fn coming(&self, sample: &Sample) -> ByteCount {
        let owed = sums(&self.owed, |transfer| transfer.from);
        let coming = self.each(sample).filter_map(|(id, known)| {
            let open = known.order?.undelivered(known.vm.shown());
            let moves = known.progress(sample) == Progress::Moving;
            let owed = owed.get(&id).copied().unwrap_or_default();
            moves.then(|| open.saturating_sub(owed))
        });
        coming.sum()
    }

    /// VMs whose actual has to be read live: those that were given an order lately, or are not done
    /// with it.
    pub fn live(&self, now: Duration) -> impl Iterator<Item = VmId> {
        let open = |id: &VmId| self.followed.get(id).is_some_and(|f| f.conduct.is_open());
        let live = move |(id, order): &(&VmId, &Order)| order.is_young(now) || open(id);
        self.orders.iter().filter(live).map(|(id, _)| *id)
    }

    /// What the host has not got back of a giver's order, when this shows of the giver; more than it
    /// can owe when it has no order.
    fn unreturned(&self, id: VmId, now: Shown) -> ByteCount {
        self.orders.get(&id).map_or(ByteCount::MAX, |order| order.unreturned(now))
    }
}

#[cfg(test)]
mod tests;
