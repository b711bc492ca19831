//! `apply`: carries out a plan. Shrinks first, all at once; then each grow as its memory is seen to
//! arrive, part by part where it takes long, for the settle time at most. What has not arrived by then
//! is held, and goes on with the next tick.
//!
//! Decides nothing: the plan says what, [`Ledger`] says how much of it is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use agentd_core::{
    bytes::ByteCount,
    grant::Ledger,
    plan::{Party, Plan, Resize},
    sample::Sample,
    state::{Applied, Outcome, Resized, State},
    vm::{Limits, VmId},
};

use crate::{
    clock::Clock,
    control::Gate,
    hypervisor::{Answer, Hypervisor, LiveActual, Target},
};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For memory to arrive, over the whole plan.
    pub settle: Duration,
    /// For the answer to a call.
    pub call: Duration,
}

/// What was done, and what the VMs concerned were last seen to hold.
#[derive(Debug, Default)]
pub struct Done {
    /// What became of the plan.
    pub applied: Applied,
    /// The last live actual of each VM that was looked at.
    pub seen: BTreeMap<VmId, LiveActual>,
}

/// Whom to order through, and when to stop.
#[derive(Debug)]
pub struct Hands<'a> {
    /// Who carries out orders.
    pub hypervisor: &'a mut dyn Hypervisor,
    /// Passes the time.
    pub clock: &'a dyn Clock,
    /// What every order has to pass.
    pub gate: &'a Gate,
    /// What bounds every VM of the plan.
    pub limits: BTreeMap<VmId, Limits>,
    /// How long to wait.
    pub patience: Patience,
    /// When the figures that the plan was made of are too old for any order, monotonic.
    pub expires: Duration,
}

impl Hands<'_> {
    /// A last look at the number that is about to go out, whatever was planned: never below the
    /// minimum of a VM unless it holds less already, never above its maximum.
    fn admits(&self, resize: &Resize, target: Target) -> bool {
        self.limits.get(&resize.vm).is_some_and(|limits| {
            let keeps = target.target >= resize.from;
            let grows = target.target > resize.from;
            (keeps || target.target >= limits.min) && (!grows || target.target <= limits.max)
        })
    }
}

/// Carries out a plan that was made of `sample` in `state`.
pub fn apply(hands: &mut Hands<'_>, plan: &Plan, state: &State, sample: &Sample) -> Done {
    let mut work = Work::new(plan, state, sample);
    let end = hands.clock.now().saturating_add(hands.patience.settle);
    let stay: Vec<VmId> = plan.neutral.iter().map(|resize| resize.vm).collect();
    work.neutral(hands, &stay);
    work.shrink(hands);
    loop {
        work.look(hands);
        let ordered = work.grow(hands, Work::is_due);
        if work.is_over() || hands.clock.now() >= end {
            break;
        }
        // Who was just told may be there already: then the turn takes no time at all.
        if !ordered {
            hands.clock.sleep(POLL);
        }
    }
    work.grow(hands, |_, _, _| true);
    let grows = plan.grows.iter().map(|resize| resize.vm);
    let wait: Vec<VmId> = grows.filter(|vm| work.gives_on(*vm, state, sample)).collect();
    work.neutral(hands, &wait);
    work.done()
}

/// What becomes of a plan when nothing may be ordered.
#[must_use]
pub fn skip(plan: &Plan) -> Applied {
    Applied {
        resized: plan.resizes().map(|resize| resized(resize, None, Outcome::Skipped)).collect(),
        granted: plan.funding.iter().map(|_| Default::default()).collect(),
    }
}

struct Work<'a> {
    plan: &'a Plan,
    ledger: Ledger<'a>,
    /// What became of each resize so far.
    resized: BTreeMap<VmId, Resized>,
    /// VMs that are on their way to a target.
    moving: BTreeMap<VmId, Target>,
    /// VMs that hold more than when the plan was made though nobody told them to, with what they held then. They
    /// may take more, and nobody waits for them.
    straying: BTreeMap<VmId, ByteCount>,
    /// VMs that did not answer when looked at.
    silent: BTreeSet<VmId>,
    /// VMs that did not take what they were told, or not for certain: they are told nothing more.
    ended: BTreeSet<VmId>,
    seen: BTreeMap<VmId, LiveActual>,
}

impl<'a> Work<'a> {
    fn new(plan: &'a Plan, state: &State, sample: &'a Sample) -> Self {
        let ledger = Ledger::new(plan, state, sample);
        let (resized, moving, straying, silent, ended, seen) = Default::default();
        Self { plan, ledger, resized, moving, straying, silent, ended, seen }
    }

    /// These VMs are to stay where they are, which may be elsewhere by now than when they were read.
    /// They move nothing, so that nobody waits for them.
    fn neutral(&mut self, hands: &mut Hands<'_>, vms: &[VmId]) {
        if vms.is_empty() {
            return;
        }
        let live = hands.hypervisor.read_actuals(vms, hands.patience.call.min(LOOK));
        let held: BTreeMap<VmId, ByteCount> =
            self.plan.neutral.iter().map(|resize| (resize.vm, resize.from)).collect();
        let strays =
            |live: &&LiveActual| held.get(&live.vm).is_some_and(|held| live.actual > *held);
        let straying = live.iter().filter(strays).map(|live| live.vm);
        self.straying.extend(straying.filter_map(|vm| Some((vm, *held.get(&vm)?))));
        self.note_strays(&live);
        let grows: BTreeMap<VmId, ByteCount> =
            self.plan.grows.iter().map(|resize| (resize.vm, resize.to)).collect();
        let order = |live: LiveActual| {
            let (vm, target) = (live.vm, live.actual);
            // Who was to get memory still is.
            let to = grows.get(&vm).copied().unwrap_or(target);
            (Resize { vm, from: target, to }, Target { vm, target })
        };
        let orders: Vec<_> = live.into_iter().map(order).collect();
        self.order(hands, &orders);
        for vm in vms {
            self.moving.remove(vm);
        }
    }

    /// Has the ledger count what straying VMs took by themselves.
    fn note_strays(&mut self, live: &[LiveActual]) {
        let more = |live: &LiveActual| {
            let held = self.straying.get(&live.vm)?;
            Some((live.vm, live.actual.saturating_sub(*held)))
        };
        self.ledger.stray(live.iter().filter_map(more));
    }

    /// True for a VM that was to get memory, gets none yet, and may be on its way down meanwhile, by an
    /// order of before.
    fn gives_on(&self, id: VmId, state: &State, sample: &Sample) -> bool {
        let Some(vm) = sample.vms.get(&id).filter(|_| !self.resized.contains_key(&id)) else {
            return false;
        };
        let known = state.known(id, vm);
        !sample.ideal && known.followed.is_some() && (known.shrinks() || !known.knows_target())
    }

    fn shrink(&mut self, hands: &mut Hands<'_>) {
        let orders: Vec<(Resize, Target)> = self
            .plan
            .shrinks
            .iter()
            .map(|resize| (*resize, Target { vm: resize.vm, target: resize.to }))
            .collect();
        let told = self.order(hands, &orders);
        let all = orders.iter().map(|(resize, _)| resize.vm);
        self.ledger.lose(all.filter(|vm| !told.contains(vm)));
    }

    /// Orders every grow that is `due` and not done, as far as its memory is there and it was not told
    /// to take it already. True when there was one.
    fn grow(
        &mut self,
        hands: &mut Hands<'_>,
        due: impl Fn(&Self, &Resize, ByteCount) -> bool,
    ) -> bool {
        let open = self.plan.grows.iter().filter(|resize| !self.ended.contains(&resize.vm));
        let ready = open.filter_map(|resize| {
            let more = self.more(resize);
            let target = self.may_hold(resize).saturating_add(more);
            let is_ready = !more.is_zero() && due(self, resize, more);
            is_ready.then_some((*resize, Target { vm: resize.vm, target }))
        });
        let orders: Vec<_> = ready.collect();
        let told = self.order(hands, &orders);
        self.ledger.take(&told);
        self.ledger.close(&self.ended);
        !orders.is_empty()
    }

    /// Whoever is to get memory may wait for it: what is there goes to it once that is all, all that is to be
    /// expected, or worth an order of its own.
    fn is_due(&self, grow: &Resize, more: ByteCount) -> bool {
        let is_first = !self.resized.contains_key(&grow.vm);
        let is_all = self.may_hold(grow).saturating_add(more) >= grow.to;
        let part = grow.growth().fraction(1, PARTS).max(LEAST_PART);
        more >= part || self.ledger.is_settled(grow) && (is_first || is_all)
    }

    /// What is there for a VM that is to grow and it was not told to take yet.
    fn more(&self, grow: &Resize) -> ByteCount {
        self.ledger
            .target(grow)
            .map_or(ByteCount::ZERO, |to| to.saturating_sub(self.may_hold(grow)))
    }

    /// What a VM that is to grow may come to hold by what it was told.
    fn may_hold(&self, grow: &Resize) -> ByteCount {
        self.resized.get(&grow.vm).and_then(|own| own.ordered).unwrap_or(grow.from)
    }

    /// Gives these orders. Who was told, or may have been.
    fn order(&mut self, hands: &mut Hands<'_>, orders: &[(Resize, Target)]) -> BTreeSet<VmId> {
        let (orders, beyond): (Vec<_>, Vec<_>) =
            orders.iter().copied().partition(|(resize, target)| hands.admits(resize, *target));
        for (resize, target) in beyond {
            let why = format!("{} is beyond what the VM may be told to hold", target.target);
            self.note(resized(&resize, None, Outcome::Refused(why)));
        }
        if orders.is_empty() {
            return BTreeSet::new();
        }
        // A process that was stopped in the middle of a tick goes on with a world of before.
        let is_late = hands.clock.now() >= hands.expires;
        let Some(pass) = hands.gate.pass().filter(|_| !is_late) else {
            for (resize, _) in &orders {
                self.note(resized(resize, None, Outcome::Skipped));
            }
            return BTreeSet::new();
        };
        let targets: Vec<Target> = orders.iter().map(|(_, target)| *target).collect();
        let answers = hands.hypervisor.set_targets(&targets, hands.patience.call);
        drop(pass);
        let mut told = BTreeSet::new();
        for ((resize, target), answer) in orders.iter().zip(answers) {
            let outcome = match answer {
                Answer::Accepted => Outcome::Accepted,
                Answer::Refused(why) => Outcome::Refused(why),
                Answer::VmGone => Outcome::VmGone,
                Answer::InDoubt => Outcome::InDoubt,
            };
            let resized = resized(resize, Some(target), outcome);
            if resized.is_told() {
                self.moving.insert(resize.vm, *target);
                told.insert(resize.vm);
            }
            self.note(resized);
        }
        told
    }

    /// Notes what became of an order. Of a VM that took a part of its grow and not the next one, that part
    /// stays in force.
    fn note(&mut self, resized: Resized) {
        let vm = resized.vm;
        if resized.outcome != Outcome::Accepted {
            self.ended.insert(vm);
        }
        match (self.resized.get_mut(&vm), resized.outcome) {
            (Some(part), Outcome::Refused(why)) => part.rest_refused = Some(why),
            (Some(_), Outcome::Skipped) => {}
            (_, outcome) => {
                self.resized.insert(vm, Resized { outcome, ..resized });
            }
        }
    }

    /// Reads what the VMs that move, or are to deliver, hold now. Who does not answer is not asked
    /// again in this tick: it must not delay the others.
    fn look(&mut self, hands: &mut Hands<'_>) {
        let mut vms: BTreeSet<VmId> = self.moving.keys().copied().collect();
        vms.extend(self.ledger.awaited());
        vms.extend(self.straying.keys());
        let vms: Vec<VmId> = vms.difference(&self.silent).copied().collect();
        if vms.is_empty() {
            return;
        }
        self.silent.extend(&vms);
        let seen = hands.hypervisor.read_actuals(&vms, hands.patience.call.min(LOOK));
        self.ledger.see(seen.iter().map(|live| (live.vm, live.actual, live.host_rss)));
        self.note_strays(&seen);
        for live in seen {
            self.silent.remove(&live.vm);
            if self.moving.get(&live.vm).is_some_and(|target| target.target == live.actual) {
                self.moving.remove(&live.vm);
            }
            self.seen.insert(live.vm, live);
        }
    }

    /// True when there is nobody left to wait for and every grow that can be was ordered.
    fn is_over(&self) -> bool {
        let mut waited_for = self.moving.keys().chain(self.ledger.awaited());
        let mut open = self.plan.grows.iter().filter(|grow| !self.ended.contains(&grow.vm));
        let is_due = |grow: &Resize, more: ByteCount| !more.is_zero() && self.is_due(grow, more);
        waited_for.all(|vm| self.silent.contains(vm))
            && !open.any(|grow| is_due(grow, self.more(grow)))
    }

    fn done(mut self) -> Done {
        let all = self.plan.resizes();
        let became = |resize: &Resize| {
            let known = self.resized.remove(&resize.vm);
            known.unwrap_or_else(|| resized(resize, None, Outcome::Held))
        };
        let resized: Vec<Resized> = all.map(became).collect();
        let applied = Applied { granted: granted(self.plan, &self.ledger, &resized), resized };
        Done { applied, seen: self.seen }
    }
}

/// What of each transfer was really granted: nothing where the taker was not told to take it.
fn granted(plan: &Plan, ledger: &Ledger<'_>, resized: &[Resized]) -> Vec<ByteCount> {
    let outcomes: BTreeMap<VmId, &Resized> = resized.iter().map(|own| (own.vm, own)).collect();
    let mut taken: BTreeMap<VmId, ByteCount> = BTreeMap::new();
    for grow in &plan.grows {
        let own = outcomes.get(&grow.vm);
        let ordered = own.filter(|own| own.is_told());
        let amount = ordered.and_then(|own| own.ordered).unwrap_or(grow.from);
        taken.insert(grow.vm, amount.saturating_sub(grow.from));
    }
    let pairs = plan.funding.iter().zip(ledger.granted());
    let grant = pairs.map(|(transfer, there)| match transfer.to {
        Party::Host => ByteCount::ZERO,
        Party::Vm(vm) => {
            let left = taken.entry(vm).or_default();
            let amount = (*left).min(*there);
            *left = left.saturating_sub(amount);
            amount
        }
    });
    grant.collect()
}

fn resized(resize: &Resize, ordered: Option<&Target>, outcome: Outcome) -> Resized {
    let ordered = ordered.map(|target| target.target);
    Resized { vm: resize.vm, planned: resize.to, ordered, outcome, rest_refused: None }
}

/// A live reading costs about 1.5 ms per VM; memory arrives at about 100 MiB/s and more.
const POLL: Duration = Duration::from_millis(20);
/// What a VM gets in a tick it is told to take in three orders more than these at most: the first that is
/// there, what makes up all of it, and what is there in the end.
const PARTS: u64 = 8;
/// A program that takes what it wants needs a tenth of a second for this.
const LEAST_PART: ByteCount = ByteCount::mib(16);
/// Longest wait for the live readings of one look.
const LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
