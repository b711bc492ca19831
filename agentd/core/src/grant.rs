//! [`Ledger`]: how much of a plan's grows may be granted by now.
//!
//! Memory is granted only out of memory that was seen to arrive: what the host grants is there
//! already, what a VM gives is there as far as the host is seen to have got it back. What a VM lets
//! go of without ever having touched it brings the host nothing but the promise of it: that much is
//! there only as far as the host could keep all its other promises, and its reserve.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    bytes::ByteCount,
    order::Order,
    plan::{Party, Plan, Resize, Transfer},
    sample::{Sample, VmSample},
    state::State,
    vm::VmId,
};

/// What the givers of one plan have delivered.
#[derive(Debug)]
pub struct Ledger<'a> {
    plan: &'a Plan,
    givers: BTreeMap<VmId, Giver<'a>>,
}

#[derive(Debug)]
struct Giver<'a> {
    /// The order that it is to deliver by; `None` when none of its is in force.
    order: Option<Order>,
    /// Its figures before; `None` when it is gone.
    vm: Option<&'a VmSample>,
    /// What others are to get from it.
    funds: ByteCount,
    /// What of that it was seen to let go of.
    delivered: ByteCount,
    /// What of that the host was seen to get back.
    returned: ByteCount,
    /// It is told to shrink in this plan: until now its promise stands in the plan's figures.
    is_new: bool,
}

impl<'a> Ledger<'a> {
    /// A ledger in which no VM has delivered anything yet.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &State, sample: &'a Sample) -> Self {
        let mut givers: BTreeMap<VmId, Giver<'_>> = BTreeMap::new();
        for transfer in &plan.funding {
            let Party::Vm(id) = transfer.from else {
                continue;
            };
            let giver = givers.entry(id).or_insert_with(|| {
                let vm = sample.vms.get(&id);
                let own = plan.shrinks.iter().find(|resize| resize.vm == id);
                let new = own.zip(vm).map(|(resize, vm)| ordered(resize, vm));
                let is_new = new.is_some();
                let order = new.or_else(|| state.orders.get(&id).copied());
                let (funds, delivered, returned) = Default::default();
                Giver { order, vm, funds, delivered, returned, is_new }
            });
            giver.funds = giver.funds.saturating_add(transfer.amount);
        }
        Self { plan, givers }
    }

    /// Notes that a VM holds so much now, and that so much of its process is resident. What was
    /// delivered once stays delivered.
    pub fn see(&mut self, vm: VmId, actual: ByteCount, host_rss: Option<ByteCount>) {
        if let Some(giver) = self.givers.get_mut(&vm)
            && let (Some(order), Some(before)) = (giver.order, giver.vm)
        {
            let now = before.shown_at(actual, host_rss);
            let came = |missing| giver.funds.saturating_sub(missing);
            giver.delivered = giver.delivered.max(came(order.undelivered(now)));
            giver.returned = giver.returned.max(came(order.unreturned(now)));
        }
    }

    /// Notes that a VM was not told to shrink after all.
    pub fn lose(&mut self, vm: VmId) {
        if let Some(giver) = self.givers.get_mut(&vm) {
            giver.order = None;
        }
    }

    /// The givers whose memory is still awaited.
    #[must_use]
    pub fn awaited(&self) -> Vec<VmId> {
        let late = |giver: &Giver<'_>| giver.order.is_some() && giver.delivered < giver.funds;
        self.givers.iter().filter(|(_, giver)| late(giver)).map(|(id, _)| *id).collect()
    }

    /// For each transfer of the funding, in its order: what of it is there. Who stands first at a
    /// giver is served first.
    #[must_use]
    pub fn granted(&self) -> Vec<ByteCount> {
        let mut promises = self.promises();
        let mut left: BTreeMap<VmId, ByteCount> = BTreeMap::new();
        for (id, giver) in &self.givers {
            let promised = giver.delivered.saturating_sub(giver.returned).min(promises);
            promises = promises.saturating_sub(promised);
            left.insert(*id, giver.returned.min(giver.delivered).saturating_add(promised));
        }
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

    /// How much may be granted that no VM had ever touched.
    fn promises(&self) -> ByteCount {
        let new = self.givers.values().filter(|giver| giver.is_new);
        let freed = new.map(|giver| giver.delivered.saturating_sub(giver.returned));
        let by_host = self.plan.funding.iter().filter(|transfer| transfer.from == Party::Host);
        let granted: ByteCount = by_host.map(|transfer| transfer.amount).sum();
        let room = self.plan.room.saturating_add(freed.sum());
        room.saturating_sub(self.plan.debt).saturating_sub(granted)
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

/// The order that a shrink will be.
fn ordered(shrink: &Resize, vm: &VmSample) -> Order {
    Order {
        target: shrink.to,
        least: shrink.to,
        most: shrink.to,
        base: vm.shown(),
        gives: shrink.shrinkage(),
        since: Duration::ZERO,
        in_doubt: false,
        judged: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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
            neutral: Vec::new(),
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
            room: mib(50),
            debt: ByteCount::ZERO,
        }
    }

    /// A holds 500 MiB.
    fn sample() -> Sample {
        fixture::sample(0, [(A, fixture::holding(500))])
    }

    /// A shows so much inside, and the host shows the same.
    fn see(ledger: &mut Ledger<'_>, actual: u32) {
        ledger.see(A, mib(actual), Some(mib(actual).saturating_add(mib(30))));
    }

    #[test]
    fn counts_only_what_became_free_on_the_host() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see(A, mib(450), Some(mib(530)));
        assert_eq!(ledger.granted(), [mib(0), mib(0), mib(50)], "the host has nothing of it");
        ledger.see(A, mib(450), Some(mib(505)));
        assert_eq!(ledger.granted(), [mib(25), mib(0), mib(50)]);
        ledger.see(A, mib(450), Some(mib(482)));
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)], "2 MiB are noise");
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see(A, mib(450), None);
        assert_eq!(ledger.granted(), [mib(0), mib(0), mib(50)], "it does not show any more");
        let blind = VmSample { host_rss: None, ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, blind)]);
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see(A, mib(450), None);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)], "the actual is all there is");
    }

    /// Of its 500 MiB A has touched 200, and lets go of what it never had.
    #[test]
    fn what_was_never_touched_is_granted_only_as_far_as_the_host_can_promise_it() {
        let vm = VmSample { host_rss: Some(mib(230)), ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, vm)]);
        let granted = |room, debt| {
            let plan = Plan { room: mib(room), debt: mib(debt), ..plan() };
            let mut ledger = Ledger::new(&plan, &State::default(), &sample);
            ledger.see(A, mib(450), Some(mib(230)));
            ledger.granted()
        };
        assert_eq!(granted(50, 0), [mib(30), mib(20), mib(50)], "the host can, with its own 50");
        assert_eq!(granted(40, 0), [mib(30), mib(10), mib(50)]);
        assert_eq!(granted(0, 35), [mib(0), mib(0), mib(50)], "it pays what was promised already");
        let plan = Plan { debt: mib(500), ..plan() };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see(A, mib(450), Some(mib(180)));
        assert_eq!(
            ledger.granted(),
            [mib(30), mib(20), mib(50)],
            "what the host got back is there"
        );
    }

    #[test]
    fn grants_what_was_seen_to_arrive_and_not_more() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        assert_eq!(ledger.awaited(), [A]);
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
        see(&mut ledger, 490);
        assert_eq!(ledger.target(&plan.grows[0]), Some(mib(110)));
        see(&mut ledger, 465);
        assert_eq!(ledger.granted(), [mib(30), mib(5), mib(50)]);
        assert!(ledger.is_settled(&plan.grows[0]) && !ledger.is_settled(&plan.grows[1]));
        see(&mut ledger, 470);
        assert_eq!(ledger.granted(), [mib(30), mib(5), mib(50)], "nothing is taken back");
        see(&mut ledger, 440);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)]);
        assert!(ledger.awaited().is_empty() && ledger.is_settled(&plan.grows[1]));
    }

    #[test]
    fn waits_for_nobody_who_was_not_told() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.lose(A);
        see(&mut ledger, 400);
        assert!(ledger.awaited().is_empty());
        assert!(ledger.is_settled(&plan.grows[0]));
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
    }
}
