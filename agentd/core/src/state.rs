//! [`State`]: what is remembered from tick to tick.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    by_vm::ByVm,
    bytes::ByteCount,
    followed::Followed,
    host::HostWatch,
    known::{Known, Progress},
    order::Order,
    plan::{Party, Plan, Resize, Transfer, sums},
    policy::Policy,
    reserve,
    sample::{Sample, Shown, VmSample},
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
        let before = |known: Known<'_>| known.followed.cloned();
        followed.extend(
            self.each(sample)
                .map(|(id, known)| (id, before(known).unwrap_or_else(|| Followed::of(known.vm)))),
        );
        // Where they stand: they are large, and a tenth of a decision goes by when each is moved.
        for ((id, own), (_, known)) in followed.iter_mut().zip(self.each(sample)) {
            let order = own.follow(known.vm, known.order.copied(), passed, sample);
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
        self.orders.retain(|_, order| order.in_doubt);
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
            let max = vm.map(|vm| vm.max).unwrap_or_default();
            Some((resized.vm, self.booked(resized, order, max)?))
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
    /// one is in doubt it may be taken later than the one after it. A VM that may be told to hold no more than
    /// `max` was told by nobody knows whom before the first one.
    fn booked(&self, resized: &Resized, order: Order, max: ByteCount) -> Option<Order> {
        let before = self.orders.get(&resized.vm);
        let adopted = self.followed.get(&resized.vm).is_some_and(|own| own.adopted);
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
                // What it was on its way to take it may have taken by the time it is told otherwise.
                let unknown = (!adopted).then_some(max);
                let open = before.map(|before| before.most).or(unknown);
                let open = open.filter(|open| *open > order.base.actual);
                let most = order.most.max(open.unwrap_or_default());
                Some(doubt.map_or(Order { most, ..order }, span))
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
mod tests {
    use super::*;
    use crate::{
        assess::{assess, measure},
        conduct::Standing,
        decide::decide,
        distress::{Distress, Sign},
        fixture::{OTHER, VM, holding, sample},
        host::HostView,
        policy::{VmKey, VmPolicy},
        sample::GuestFigures,
    };

    const fn mib(count: u32) -> ByteCount {
        ByteCount::mib(count)
    }

    /// A giver let go of 100 MiB, 40 of which it had never touched.
    #[test]
    fn what_the_host_got_back_for_others_is_no_room_to_promise() {
        let base = Shown { actual: mib(500), taken: Some(mib(400)) };
        let gives = mib(100);
        let order = Order::new(mib(400), gives, base, Duration::ZERO);
        let giver = VmSample { host_rss: Some(mib(370)), ..holding(400) };
        let mut sample = sample(2, [(VM, giver), (OTHER, holding(300))]);
        (sample.host.total, sample.host.usable) = (ByteCount::gib(64), ByteCount::gib(32));
        let owed = vec![Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: gives }];
        let paid = State { orders: [(VM, order)].into(), ..State::default() };
        let owing = State { owed, ..paid.clone() };
        assert_eq!((owing.spoken_for(&sample), owing.returned(&sample)), (mib(100), mib(60)));
        let room = |state| {
            let (policy, host) = (Policy::default(), HostView::default());
            measure(&policy, state, &sample, &assess(&policy, state, &sample), &host).room
        };
        assert_eq!(room(&paid).saturating_sub(room(&owing)), mib(60));
    }

    /// The state after a tick in which all that was planned came to this.
    fn after(sample: &Sample, outcome: &Outcome) -> State {
        let (decision, state) = decide(&Policy::default(), &State::default(), sample);
        let became = |own: &Resize| Resized {
            vm: own.vm,
            planned: own.to,
            ordered: Some(own.to),
            outcome: outcome.clone(),
            rest_refused: None,
        };
        let resized = decision.plan.resizes().map(became).collect();
        let applied = Applied { resized, granted: Vec::new() };
        state.after(&decision.plan, &applied, sample, sample.now)
    }

    #[test]
    fn a_vm_counts_in_full_until_it_was_told_to_hold_what_it_holds() {
        let sample = sample(1, [(VM, holding(512))]);
        let vm = &sample.vms[&VM];
        let exposure = |policy: &Policy, state: &State| {
            let pinned = policy.rules(VM, &vm.name, vm.max).pinned;
            state.known(VM, vm).exposure(pinned, &sample)
        };
        let policy = Policy::default();
        assert_eq!(
            exposure(&policy, &State::default()),
            vm.max,
            "an earlier order may be in force"
        );
        let refused = after(&sample, &Outcome::Refused("no".to_owned()));
        assert_eq!(exposure(&policy, &refused), vm.max);
        assert_eq!(exposure(&policy, &after(&sample, &Outcome::InDoubt)), vm.max);
        let told = after(&sample, &Outcome::Accepted);
        assert_eq!(exposure(&policy, &told), vm.max, "it may have got there by then");
        let told = told.continued(&policy, &sample);
        assert_eq!(exposure(&policy, &told), mib(512));
        let pin = VmPolicy { pinned: Some(true), ..VmPolicy::default() };
        let vms = BTreeMap::from([(VmKey::Id(VM), pin)]);
        assert_eq!(exposure(&Policy { vms, ..policy }, &told), vm.max, "others may resize it");
    }

    #[test]
    fn that_a_vm_stands_still_answers_no_order() {
        // Its use grows, but enough is unused: it neither needs memory nor has any to spare.
        let content = |unused| {
            let vm = holding(512);
            VmSample { guest: GuestFigures { unused: Some(mib(unused)), ..vm.guest }, ..vm }
        };
        let first = sample(1, [(VM, content(300))]);
        let (policy, second) = (Policy::default(), sample(2, [(VM, content(280))]));
        let doubtful = after(&first, &Outcome::InDoubt);
        let (decision, state) = decide(&policy, &doubtful, &second);
        let vm = &second.vms[&VM];
        let exposure = |state: &State| state.known(VM, vm).exposure(false, &second);
        assert_eq!(exposure(&state), vm.max, "it may never have gone out");
        let stays = Resize { vm: VM, from: mib(512), to: mib(512) };
        assert_eq!(decision.plan.neutral, [stays], "so it is told again");
        let taken = |outcome| {
            let resized = Resized {
                vm: VM,
                planned: mib(512),
                ordered: Some(mib(512)),
                outcome,
                rest_refused: None,
            };
            Applied { resized: vec![resized], granted: Vec::new() }
        };
        let told =
            state.clone().after(&decision.plan, &taken(Outcome::Accepted), &second, second.now);
        let (_, told) = decide(&policy, &told, &sample(3, [(VM, content(260))]));
        assert_eq!(exposure(&told), mib(512));
        assert!(told.orders.get(&VM).is_some_and(|order| !order.in_doubt));
    }

    #[test]
    fn a_shrink_ends_where_it_is_when_the_vm_suffers() {
        let first = sample(1, [(VM, holding(512)), (OTHER, holding(512))]);
        let mut state = after(&first, &Outcome::Accepted);
        if let Some(order) = state.orders.get_mut(&VM) {
            (order.target, order.least, order.gives) = (mib(448), mib(448), mib(64));
        }
        let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
        state.owed = vec![transfer];
        let sign = Sign::SwapsOut(mib(5));
        let distress = Some(Distress { sign, age: Duration::ZERO });
        let vm = VmSample { distress, ..holding(482) };
        let second = sample(2, [(VM, vm), (OTHER, holding(512))]);
        let (decision, state) = decide(&Policy::default(), &state, &second);
        let stays = Resize { vm: VM, from: mib(482), to: mib(482) };
        assert_eq!(decision.plan.neutral, [stays]);
        let owed: Vec<ByteCount> = state.owed.iter().map(|own| own.amount).collect();
        assert_eq!(owed, [mib(30)], "what it has let go of is there, the rest is not awaited");
    }

    /// Its balloon woke up between the look at what it holds and the order to go on holding that.
    #[test]
    fn who_went_on_to_what_it_was_to_take_before_is_moved_by_nobody_else() {
        let first = sample(1, [(VM, holding(400)), (OTHER, holding(512))]);
        let policy = Policy::default();
        let mut state = after(&first, &Outcome::Accepted).continued(&policy, &first);
        let tell = |state: State, to: u32, sample: &Sample| {
            let resize = Resize { vm: VM, from: mib(400), to: mib(to) };
            let plan = Plan { neutral: vec![resize], ..Plan::default() };
            let (planned, ordered) = (resize.to, Some(resize.to));
            let accepted = Resized {
                vm: VM,
                planned,
                ordered,
                outcome: Outcome::Accepted,
                rest_refused: None,
            };
            let applied = Applied { resized: vec![accepted], granted: Vec::new() };
            state.after(&plan, &applied, sample, sample.now)
        };
        state = tell(state, 650, &first);
        let second = sample(2, [(VM, holding(400)), (OTHER, holding(512))]);
        state = tell(state.continued(&policy, &second), 570, &second);
        let third = sample(3, [(VM, holding(650)), (OTHER, holding(512))]);
        let standing = |state: &State| state.followed.get(&VM).unwrap().standing(third.now);
        let went_on = state.continued(&policy, &third);
        assert_eq!(standing(&went_on), Standing::Cooperative);
        let beyond = sample(3, [(VM, holding(700)), (OTHER, holding(512))]);
        assert_eq!(standing(&state.continued(&policy, &beyond)), Standing::Quarantined);
        let stayed = sample(3, [(VM, holding(570)), (OTHER, holding(512))]);
        let stayed = state.continued(&policy, &stayed);
        assert_eq!(stayed.orders.get(&VM).map(|order| order.most), Some(mib(570)));
    }

    #[test]
    fn a_giver_that_is_told_otherwise_owes_nothing_more() {
        let first = sample(1, [(VM, holding(448)), (OTHER, holding(512))]);
        let state = after(&first, &Outcome::Accepted);
        let grow = Resize { vm: VM, from: mib(448), to: mib(500) };
        let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
        let plan = Plan { grows: vec![grow], funding: vec![transfer], ..Plan::default() };
        let became = |outcome| Applied {
            resized: vec![Resized {
                vm: VM,
                planned: grow.to,
                ordered: Some(grow.to),
                outcome,
                rest_refused: None,
            }],
            granted: vec![ByteCount::ZERO],
        };
        let owed = |outcome| {
            let state = state.clone().after(&plan, &became(outcome), &first, first.now);
            state.owed.len()
        };
        assert_eq!(
            (owed(Outcome::Accepted), owed(Outcome::InDoubt), owed(Outcome::Held)),
            (0, 0, 1)
        );
    }

    #[test]
    fn who_goes_on_refusing_is_not_asked_for_a_while() {
        let first = sample(1, [(VM, holding(448)), (OTHER, holding(512))]);
        let mut state = after(&first, &Outcome::Accepted);
        let shrink = Resize { vm: VM, from: mib(448), to: mib(400) };
        let plan = Plan { shrinks: vec![shrink], ..Plan::default() };
        let mut standings = Vec::new();
        let standing =
            |state: &State, vm| state.followed.get(vm).map(|known| known.standing(first.now));
        let no = || Outcome::Refused("no".to_owned());
        for outcome in [no(), no(), Outcome::Accepted, no(), no(), no()] {
            let resized =
                Resized { vm: VM, planned: shrink.to, ordered: None, outcome, rest_refused: None };
            let applied = Applied { resized: vec![resized], granted: Vec::new() };
            state = state.after(&plan, &applied, &first, first.now);
            standings.push(standing(&state, &VM));
        }
        let patient = [Some(Standing::Cooperative); 5];
        assert_eq!(standings[..5], patient);
        assert_eq!(standings[5..], [Some(Standing::Uncooperative)]);
        assert_eq!(standing(&state, &OTHER), Some(Standing::Cooperative));
    }

    #[test]
    fn nobody_is_owed_more_than_it_may_hold() {
        let first = sample(1, [(VM, holding(448)), (OTHER, holding(1000))]);
        let mut state = after(&first, &Outcome::Accepted);
        if let Some(order) = state.orders.get_mut(&VM) {
            (order.base, order.gives) = (holding(512).shown(), mib(64));
        }
        let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
        state.owed = vec![transfer];
        let state = state.continued(&Policy::default(), &first);
        assert_eq!(state.owed, [Transfer { amount: mib(24), ..transfer }]);
    }
}
