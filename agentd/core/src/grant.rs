//! [`Ledger`]: how much of a plan's grows may be granted by now.
//!
//! Memory is granted only out of memory that was seen to arrive: what the host grants is there
//! already, what a VM gives is there as far as the host is seen to have got it back. What a VM lets
//! go of without ever having touched it brings the host nothing but the promise of it: that much is
//! there only as far as the host could keep all its other promises, and its reserve.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bytes::ByteCount,
    order::Order,
    plan::{Party, Plan, Resize, Transfer},
    sample::{Sample, VmSample},
    state::State,
    vm::VmId,
};

/// What the givers of one plan have delivered, and for whom.
#[derive(Debug)]
pub struct Ledger<'a> {
    plan: &'a Plan,
    granule: ByteCount,
    givers: BTreeMap<VmId, Giver<'a>>,
    /// What of each transfer its taker was told to take, and keeps whatever becomes of the giver.
    taken: Vec<ByteCount>,
    /// What was taken of the host's own.
    gone_of_host: ByteCount,
    /// VMs that are told nothing more: what is there beyond what they took is for others.
    closed: BTreeSet<VmId>,
    /// What VMs have taken by themselves since the plan was made, of those that were looked at.
    strayed: BTreeMap<VmId, ByteCount>,
    /// Counted anew whenever something changes.
    there: There,
}

/// What is there by now.
#[derive(Debug, Default)]
struct There {
    /// Of each transfer of the funding, in its order.
    granted: Vec<ByteCount>,
    /// For each VM.
    arrived: BTreeMap<VmId, ByteCount>,
    /// The givers whose memory is still awaited.
    awaited: BTreeSet<VmId>,
    /// The VMs that wait for one of them.
    waiting: BTreeSet<VmId>,
}

#[derive(Debug)]
struct Giver<'a> {
    /// The order that it is to deliver by; `None` when none of its is in force.
    order: Option<Order>,
    /// Its figures before; `None` when it is gone.
    vm: Option<&'a VmSample>,
    /// What others are to get from it.
    funds: ByteCount,
    /// What of that it was last seen to have let go of.
    delivered: ByteCount,
    /// What of that the host was last seen to have got back.
    returned: ByteCount,
    /// What takers were told to take of it.
    gone: ByteCount,
    /// It is told to shrink in this plan: until now its promise stands in the plan's figures.
    is_new: bool,
}

impl<'a> Ledger<'a> {
    /// A ledger in which no VM has delivered anything yet.
    #[must_use]
    pub fn new(plan: &'a Plan, state: &State, sample: &'a Sample) -> Self {
        let shrinks: BTreeMap<VmId, &Resize> =
            plan.shrinks.iter().map(|resize| (resize.vm, resize)).collect();
        let mut givers: BTreeMap<VmId, Giver<'_>> = BTreeMap::new();
        for transfer in &plan.funding {
            let Party::Vm(id) = transfer.from else {
                continue;
            };
            let giver = givers.entry(id).or_insert_with(|| {
                let vm = sample.vms.get(&id);
                let own = shrinks.get(&id).zip(vm);
                let new = own.map(|(resize, vm)| {
                    Order::new(resize.to, resize.shrinkage(), vm.shown(), sample.now)
                });
                let is_new = new.is_some();
                let order = new.or_else(|| state.orders.get(&id).copied());
                let (funds, delivered, returned, gone) = Default::default();
                Giver { order, vm, funds, delivered, returned, gone, is_new }
            });
            giver.funds = giver.funds.saturating_add(transfer.amount);
        }
        let taken = vec![ByteCount::ZERO; plan.funding.len()];
        let (gone_of_host, closed, strayed, there) = Default::default();
        let granule = sample.granule;
        let mut ledger =
            Self { plan, granule, givers, taken, gone_of_host, closed, strayed, there };
        ledger.count();
        ledger
    }

    /// Notes what VMs hold now, and how much of their processes is resident. Who takes back what was
    /// delivered and not taken by anybody yet has not delivered it.
    pub fn see(&mut self, vms: impl IntoIterator<Item = (VmId, ByteCount, Option<ByteCount>)>) {
        for (vm, actual, host_rss) in vms {
            if let Some(giver) = self.givers.get_mut(&vm)
                && let (Some(order), Some(before)) = (giver.order, giver.vm)
            {
                let now = before.shown_at(actual, host_rss);
                let came = |missing| giver.funds.saturating_sub(missing);
                giver.delivered = came(order.undelivered(now));
                giver.returned = came(order.unreturned(now));
            }
        }
        self.count();
    }

    /// Notes how much more VMs hold than when the plan was made, though nobody told them to: the host has so
    /// much less to promise.
    pub fn stray(&mut self, vms: impl IntoIterator<Item = (VmId, ByteCount)>) {
        self.strayed.extend(vms);
        self.count();
    }

    /// Notes that VMs were not told to shrink after all.
    pub fn lose(&mut self, vms: impl IntoIterator<Item = VmId>) {
        for vm in vms {
            if let Some(giver) = self.givers.get_mut(&vm) {
                giver.order = None;
            }
        }
        self.count();
    }

    /// Notes that VMs were told to take what is there for them by now. More may come for them later.
    pub fn take(&mut self, vms: &BTreeSet<VmId>) {
        let all = self.plan.funding.iter().zip(&self.there.granted).zip(&mut self.taken);
        for ((transfer, granted), taken) in all {
            if !matches!(transfer.to, Party::Vm(vm) if vms.contains(&vm)) {
                continue;
            }
            let more = granted.saturating_sub(*taken);
            let gone = match transfer.from {
                Party::Host => Some(&mut self.gone_of_host),
                Party::Vm(giver) => self.givers.get_mut(&giver).map(|giver| &mut giver.gone),
            };
            if let Some(gone) = gone {
                *gone = gone.saturating_add(more);
            }
            *taken = *granted;
        }
    }

    /// Notes that VMs will be told nothing more: they have what they took.
    pub fn close(&mut self, vms: &BTreeSet<VmId>) {
        self.closed.extend(vms);
        self.count();
    }

    /// The givers whose memory is still awaited.
    #[must_use]
    pub const fn awaited(&self) -> &BTreeSet<VmId> {
        &self.there.awaited
    }

    /// For each transfer of the funding, in its order: what of it is there. Who stands first at a
    /// giver is served first.
    #[must_use]
    pub fn granted(&self) -> &[ByteCount] {
        &self.there.granted
    }

    fn count(&mut self) {
        let late = |giver: &Giver<'_>| giver.order.is_some() && giver.delivered < giver.funds;
        let awaited = self.givers.iter().filter(|(_, giver)| late(giver)).map(|(id, _)| *id);
        self.there = There { awaited: awaited.collect(), ..There::default() };
        let more_by_host = self.more_by_host();
        let mut left = self.left(more_by_host.iter().copied().sum());
        let transfers = self.plan.funding.iter().zip(&self.taken).zip(more_by_host);
        for ((transfer, taken), more_by_host) in transfers {
            let more = match transfer.from {
                Party::Host => more_by_host,
                Party::Vm(giver) => {
                    let there = left.entry(giver).or_default();
                    let more = self.open(transfer, *taken).min(*there);
                    *there = there.saturating_sub(more);
                    more
                }
            };
            let amount = taken.saturating_add(more);
            self.there.granted.push(amount);
            let Party::Vm(taker) = transfer.to else { continue };
            let arrived = self.there.arrived.entry(taker).or_default();
            *arrived = arrived.saturating_add(amount);
            if let Party::Vm(giver) = transfer.from
                && self.there.awaited.contains(&giver)
            {
                self.there.waiting.insert(taker);
            }
        }
    }

    /// What of a transfer its taker may still be told to take.
    fn open(&self, transfer: &Transfer, taken: ByteCount) -> ByteCount {
        let ends = matches!(transfer.to, Party::Vm(taker) if self.closed.contains(&taker));
        if ends { ByteCount::ZERO } else { transfer.amount.saturating_sub(taken) }
    }

    /// Of each transfer, in its order: what the host may grant of its own beyond what was taken of it. Of one
    /// that a VM gives nothing.
    fn more_by_host(&self) -> Vec<ByteCount> {
        let mut left = self.left_of_host();
        let more = self.plan.funding.iter().zip(&self.taken).map(|(transfer, taken)| {
            if transfer.from != Party::Host {
                return ByteCount::ZERO;
            }
            let more = self.open(transfer, *taken).min(left);
            left = left.saturating_sub(more);
            more
        });
        more.collect()
    }

    /// What the host may still grant of its own: what it could promise, less what was taken of that and what
    /// VMs have taken by themselves since.
    fn left_of_host(&self) -> ByteCount {
        let of_host = |transfer: &&Transfer| transfer.from == Party::Host;
        let asked = self.plan.funding.iter().filter(of_host).map(|transfer| transfer.amount);
        let room = self.plan.room.saturating_sub(self.plan.debt).max(asked.sum());
        let room = room.saturating_sub(self.spent().saturating_sub(self.freed()));
        let limit_room = self.plan.limit_room.unwrap_or(ByteCount::MAX);
        let room = room.min(limit_room.saturating_sub(self.taken_back()));
        let gone = self.gone_of_host.saturating_add(self.strayed());
        room.saturating_sub(gone).align_down(self.granule)
    }

    /// What of each giver's memory may be granted beyond what was taken of it, where the host grants so much
    /// more of its own.
    fn left(&self, more_by_host: ByteCount) -> BTreeMap<VmId, ByteCount> {
        let by_host = self.gone_of_host.saturating_add(more_by_host);
        let mut promises = self.promises(by_host);
        let left = self.givers.iter().map(|(id, giver)| {
            let returned = giver.returned.min(giver.delivered).saturating_sub(giver.gone);
            let untouched = giver.delivered.saturating_sub(giver.returned.max(giver.gone));
            let promised = untouched.min(promises);
            promises = promises.saturating_sub(promised);
            // What a hypervisor is told is whole granules, whatever the policy keeps for the host.
            (*id, returned.saturating_add(promised).align_down(self.granule))
        });
        left.collect()
    }

    /// How much more may be granted that no VM had ever touched, where the host grants so much of its own.
    fn promises(&self, by_host: ByteCount) -> ByteCount {
        let room = self.plan.room.saturating_add(self.freed());
        let gone = [self.plan.debt, by_host, self.strayed(), self.spent()];
        room.saturating_sub(gone.into_iter().sum())
    }

    /// What givers of this plan let go of that they had never touched: so much less is promised to them.
    fn freed(&self) -> ByteCount {
        let new = self.givers.values().filter(|giver| giver.is_new);
        new.map(|giver| giver.delivered.saturating_sub(giver.returned)).sum()
    }

    /// What was taken out of promises: who was served first keeps its part of them.
    fn spent(&self) -> ByteCount {
        self.givers.values().map(|giver| giver.gone.saturating_sub(giver.returned)).sum()
    }

    /// What givers hold again though others were told to take it.
    fn taken_back(&self) -> ByteCount {
        self.givers.values().map(|giver| giver.gone.saturating_sub(giver.delivered)).sum()
    }

    fn strayed(&self) -> ByteCount {
        self.strayed.values().copied().sum()
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
        self.target(grow) == Some(grow.to) || !self.there.waiting.contains(&grow.vm)
    }

    fn arrived(&self, vm: VmId) -> ByteCount {
        self.there.arrived.get(&vm).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const A: VmId = VmId::from_bytes([1; 16]);
    const B: VmId = VmId::from_bytes([2; 16]);
    const C: VmId = VmId::from_bytes([3; 16]);
    const D: VmId = VmId::from_bytes([4; 16]);

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
            ..Plan::default()
        }
    }

    /// A holds 500 MiB.
    fn sample() -> Sample {
        fixture::sample(0, [(A, fixture::holding(500))])
    }

    /// A shows so much inside, and the host shows the same.
    fn see(ledger: &mut Ledger<'_>, actual: u32) {
        ledger.see([(A, mib(actual), Some(mib(actual).saturating_add(mib(30))))]);
    }

    /// A policy may keep any number of bytes for the host.
    #[test]
    fn what_is_granted_out_of_promises_is_whole_granules() {
        let vm = VmSample { host_rss: Some(mib(230)), ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, vm)]);
        let plan = Plan { debt: ByteCount::bytes(10_000_001), ..plan() };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), Some(mib(230)))]);
        let granted = ledger.granted().to_vec();
        assert!(granted[1] > mib(10) && granted[1] < mib(20), "{granted:?}");
        let is_whole = |amount: &ByteCount| amount.align_down(sample.granule) == *amount;
        assert!(granted.iter().all(is_whole), "{granted:?}");
    }

    #[test]
    fn counts_only_what_became_free_on_the_host() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), Some(mib(530)))]);
        assert_eq!(ledger.granted(), [mib(0), mib(0), mib(50)], "the host has nothing of it");
        ledger.see([(A, mib(450), Some(mib(505)))]);
        assert_eq!(ledger.granted(), [mib(25), mib(0), mib(50)]);
        ledger.see([(A, mib(450), Some(mib(482)))]);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)], "2 MiB are noise");
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), None)]);
        assert_eq!(ledger.granted(), [mib(0), mib(0), mib(50)], "it does not show any more");
        let blind = VmSample { host_rss: None, ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, blind)]);
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), None)]);
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
            ledger.see([(A, mib(450), Some(mib(230)))]);
            ledger.granted().to_vec()
        };
        assert_eq!(granted(50, 0), [mib(30), mib(20), mib(50)], "the host can, with its own 50");
        assert_eq!(granted(40, 0), [mib(30), mib(10), mib(50)]);
        assert_eq!(granted(0, 35), [mib(0), mib(0), mib(50)], "it pays what was promised already");
        let plan = Plan { debt: mib(500), ..plan() };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), Some(mib(180)))]);
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
        assert_eq!(ledger.awaited(), &BTreeSet::from([A]));
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
        see(&mut ledger, 490);
        assert_eq!(ledger.target(&plan.grows[0]), Some(mib(110)));
        see(&mut ledger, 465);
        assert_eq!(ledger.granted(), [mib(30), mib(5), mib(50)]);
        assert!(ledger.is_settled(&plan.grows[0]) && !ledger.is_settled(&plan.grows[1]));
        see(&mut ledger, 485);
        assert_eq!(ledger.granted(), [mib(15), mib(0), mib(50)], "it took 20 MiB back");
        see(&mut ledger, 465);
        ledger.take(&BTreeSet::from([B]));
        see(&mut ledger, 485);
        assert_eq!(ledger.granted(), [mib(30), mib(0), mib(35)], "B was told to take it");
        see(&mut ledger, 440);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)]);
        assert!(ledger.awaited().is_empty() && ledger.is_settled(&plan.grows[1]));
    }

    #[test]
    fn who_was_told_to_take_a_part_gets_the_rest_of_it_as_it_comes() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        see(&mut ledger, 490);
        ledger.take(&BTreeSet::from([B, C]));
        see(&mut ledger, 495);
        assert_eq!(ledger.granted(), [mib(10), mib(0), mib(50)], "it took 5 MiB back");
        see(&mut ledger, 475);
        assert_eq!(ledger.granted(), [mib(25), mib(0), mib(50)], "B stands first at A");
        ledger.take(&BTreeSet::from([B]));
        see(&mut ledger, 450);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)]);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(170)));
    }

    #[test]
    fn what_is_there_for_one_that_is_told_nothing_more_goes_to_others() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        see(&mut ledger, 490);
        ledger.take(&BTreeSet::from([B]));
        ledger.close(&BTreeSet::from([B]));
        see(&mut ledger, 450);
        assert_eq!(ledger.granted(), [mib(10), mib(20), mib(50)]);
        ledger.close(&BTreeSet::from([C]));
        assert_eq!(ledger.granted(), [mib(10), mib(0), mib(0)], "it was told nothing");
    }

    /// A lets go of what it never touched, which the host can promise with what it has.
    #[test]
    fn what_a_vm_has_taken_by_itself_is_promised_to_nobody() {
        let vm = VmSample { host_rss: Some(mib(230)), ..fixture::holding(500) };
        let (plan, sample) = (plan(), fixture::sample(0, [(A, vm)]));
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(50)]);
        ledger.stray([(D, mib(15))]);
        assert_eq!(ledger.granted(), [mib(30), mib(20), mib(35)], "the host has so much less");
        ledger.stray([(D, mib(60))]);
        assert_eq!(ledger.granted(), [mib(30), mib(10), mib(0)]);
        // What was taken by then stays so, and others get that much less of what is left.
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.take(&BTreeSet::from([C]));
        ledger.stray([(D, mib(40))]);
        ledger.see([(A, mib(450), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(10), mib(0), mib(50)], "of 50 it let go of, less 40");
    }

    /// C takes its part of the host's own first, or all that there is and is told nothing more.
    #[test]
    fn what_was_taken_of_the_host_is_granted_to_nobody_else_when_a_vm_strays() {
        let plan = Plan {
            funding: vec![transfer(Party::Host, B, 50), transfer(Party::Host, C, 50)],
            room: mib(100),
            ..Plan::default()
        };
        let sample = sample();
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.take(&BTreeSet::from([C]));
        ledger.stray([(D, mib(40))]);
        assert_eq!(ledger.granted(), [mib(10), mib(50)]);
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.take(&BTreeSet::from([B]));
        ledger.close(&BTreeSet::from([B]));
        ledger.stray([(D, mib(40))]);
        assert_eq!(ledger.granted(), [mib(50), mib(10)]);
        let limited = Plan { room: ByteCount::gib(10), limit_room: Some(mib(100)), ..plan };
        let mut ledger = Ledger::new(&limited, &State::default(), &sample);
        ledger.stray([(D, mib(40))]);
        assert_eq!(ledger.granted(), [mib(50), mib(10)], "the limit counts what VMs hold, too");
    }

    /// A lets go of 50 MiB that it never touched and B takes them; then A takes back some of it.
    #[test]
    fn what_a_giver_takes_back_of_what_was_promised_is_promised_to_nobody() {
        let vm = VmSample { host_rss: Some(mib(230)), ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, vm)]);
        let plan = Plan {
            funding: vec![transfer(Party::Vm(A), B, 50), transfer(Party::Host, C, 50)],
            ..plan()
        };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(A, mib(450), Some(mib(230)))]);
        ledger.take(&BTreeSet::from([B]));
        ledger.see([(A, mib(480), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(50), mib(20)]);
    }

    /// B gives C what it never touched, and C takes it; then A, who stands first, has some as well.
    #[test]
    fn what_was_promised_once_is_promised_to_nobody_else() {
        let untouched = VmSample { host_rss: Some(mib(230)), ..fixture::holding(500) };
        let sample = fixture::sample(0, [(A, untouched.clone()), (B, untouched)]);
        let shrink = |vm| Resize { vm, from: mib(500), to: mib(450) };
        let plan = Plan {
            shrinks: vec![shrink(A), shrink(B)],
            funding: vec![transfer(Party::Vm(A), D, 50), transfer(Party::Vm(B), C, 50)],
            debt: mib(50),
            ..Plan::default()
        };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(B, mib(400), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(0), mib(0)], "it pays what was promised before");
        ledger.see([(A, mib(450), Some(mib(230))), (B, mib(450), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(50), mib(0)]);
        let plan = Plan { room: mib(20), ..plan };
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.see([(B, mib(450), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(0), mib(20)]);
        ledger.take(&BTreeSet::from([C]));
        ledger.see([(A, mib(450), Some(mib(230)))]);
        assert_eq!(ledger.granted(), [mib(50), mib(20)]);
    }

    #[test]
    fn waits_for_nobody_who_was_not_told() {
        let (plan, sample) = (plan(), sample());
        let mut ledger = Ledger::new(&plan, &State::default(), &sample);
        ledger.lose([A]);
        see(&mut ledger, 400);
        assert!(ledger.awaited().is_empty());
        assert!(ledger.is_settled(&plan.grows[0]));
        assert_eq!(ledger.target(&plan.grows[0]), None);
        assert_eq!(ledger.target(&plan.grows[1]), Some(mib(150)));
    }
}
