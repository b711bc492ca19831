//! [`Ledger`]: how much of a plan's grows may be granted by now.
//!
//! Memory is granted only out of memory that was seen to arrive: what the host grants is there
//! already, what a VM gives is there as far as the VM is seen to have let go of it.

use std::collections::BTreeMap;

use crate::{
    bytes::ByteCount,
    plan::{Party, Plan, Resize, Transfer},
    state::State,
    vm::VmId,
};

/// What the givers of one plan have delivered.
#[derive(Debug)]
pub struct Ledger<'a> {
    plan: &'a Plan,
    givers: BTreeMap<VmId, Giver>,
}

#[derive(Debug)]
struct Giver {
    /// What it is to hold in the end; `None` when no order of its is in force.
    target: Option<ByteCount>,
    /// What others are to get from it.
    funds: ByteCount,
    /// What of that is there.
    delivered: ByteCount,
}

impl<'a> Ledger<'a> {
    /// A ledger in which no VM has delivered anything yet.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &State) -> Self {
        let mut givers: BTreeMap<VmId, Giver> = BTreeMap::new();
        for transfer in &plan.funding {
            let Party::Vm(id) = transfer.from else {
                continue;
            };
            let giver = givers.entry(id).or_insert_with(|| {
                let shrink = plan.shrinks.iter().find(|resize| resize.vm == id);
                let ordered = || state.orders.get(&id).map(|order| order.target);
                let target = shrink.map(|resize| resize.to).or_else(ordered);
                Giver { target, funds: ByteCount::ZERO, delivered: ByteCount::ZERO }
            });
            giver.funds = giver.funds.saturating_add(transfer.amount);
        }
        Self { plan, givers }
    }

    /// Notes that a VM holds so much now. What was delivered once stays delivered.
    pub fn see(&mut self, vm: VmId, actual: ByteCount) {
        if let Some(giver) = self.givers.get_mut(&vm)
            && let Some(target) = giver.target
        {
            let missing = actual.saturating_sub(target);
            giver.delivered = giver.delivered.max(giver.funds.saturating_sub(missing));
        }
    }

    /// Notes that a VM was not told to shrink after all.
    pub fn lose(&mut self, vm: VmId) {
        if let Some(giver) = self.givers.get_mut(&vm) {
            giver.target = None;
        }
    }

    /// The givers whose memory is still awaited.
    #[must_use]
    pub fn awaited(&self) -> Vec<VmId> {
        let late = |giver: &Giver| giver.target.is_some() && giver.delivered < giver.funds;
        self.givers.iter().filter(|(_, giver)| late(giver)).map(|(id, _)| *id).collect()
    }

    /// For each transfer of the funding, in its order: what of it is there. Who stands first at a
    /// giver is served first.
    #[must_use]
    pub fn granted(&self) -> Vec<ByteCount> {
        let mut left: BTreeMap<VmId, ByteCount> =
            self.givers.iter().map(|(id, giver)| (*id, giver.delivered)).collect();
        let grant = |transfer: &Transfer| match transfer.from {
            Party::Host => transfer.amount,
            Party::Vm(id) => {
                let there = left.entry(id).or_default();
                let amount = transfer.amount.min(*there);
                *there = there.saturating_sub(amount);
                amount
            }
        };
        self.plan.funding.iter().map(grant).collect()
    }

    /// How much a growing VM may be told to hold by now; `None` while nothing has arrived for it.
    #[must_use]
    pub fn target(&self, grow: &Resize) -> Option<ByteCount> {
        let arrived = self.arrived(grow.vm);
        let target = grow.from.saturating_add(arrived).min(grow.to);
        (target > grow.from).then_some(target)
    }

    /// True when all that a VM is to get is there, or nothing more is to be expected.
    #[must_use]
    pub fn is_settled(&self, grow: &Resize) -> bool {
        let awaited = self.awaited();
        let waits = |transfer: &Transfer| match transfer.from {
            Party::Host => false,
            Party::Vm(giver) => transfer.to == Party::Vm(grow.vm) && awaited.contains(&giver),
        };
        self.target(grow) == Some(grow.to) || !self.plan.funding.iter().any(waits)
    }

    fn arrived(&self, vm: VmId) -> ByteCount {
        let pairs = self.plan.funding.iter().zip(self.granted());
        pairs.filter(|(t, _)| t.to == Party::Vm(vm)).map(|(_, granted)| granted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VmId = VmId::from_bytes([1; 16]);
    const B: VmId = VmId::from_bytes([2; 16]);
    const C: VmId = VmId::from_bytes([3; 16]);

    const fn mib(count: u32) -> ByteCount {
        ByteCount::mib(count)
    }

    fn transfer(from: Party, to: VmId, amount: u32) -> Transfer {
        Transfer { from, to: Party::Vm(to), amount: mib(amount) }
    }

    /// A gives 30 MiB to B and 20 MiB to C; the host gives C 50 MiB.
    fn plan() -> Plan {
        Plan {
            shrinks: vec![Resize { vm: A, from: mib(500), to: mib(450) }],
            grows: vec![
                Resize { vm: B, from: mib(100), to: mib(130) },
                Resize { vm: C, from: mib(100), to: mib(170) },
            ],
            funding: vec![
                transfer(Party::Vm(A), B, 30),
                transfer(Party::Vm(A), C, 20),
                transfer(Party::Host, C, 50),
            ],
        }
    }

    #[test]
    fn grants_what_was_seen_to_arrive_and_not_more() {
        let plan = plan();
        let mut ledger = Ledger::new(&plan, &State::default());
        assert_eq!(ledger.awaited(), [A]);
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
        ledger.see(A, mib(490));
        assert_eq!(ledger.target(&plan.grows[0]), Some(mib(110)));
        ledger.see(A, mib(465));
        assert_eq!(ledger.granted(), [mib(30), mib(5), mib(50)]);
        assert!(ledger.is_settled(&plan.grows[0]) && !ledger.is_settled(&plan.grows[1]));
        ledger.see(A, mib(470));
        assert_eq!(ledger.granted(), [mib(30), mib(5), mib(50)], "nothing is taken back");
        ledger.see(A, mib(440));
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)]);
        assert!(ledger.awaited().is_empty() && ledger.is_settled(&plan.grows[1]));
    }

    #[test]
    fn waits_for_nobody_who_was_not_told() {
        let plan = plan();
        let mut ledger = Ledger::new(&plan, &State::default());
        ledger.lose(A);
        ledger.see(A, mib(400));
        assert!(ledger.awaited().is_empty());
        assert!(ledger.is_settled(&plan.grows[0]));
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
    }
}
