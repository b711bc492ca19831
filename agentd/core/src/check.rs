//! [`check`]: the independent judge of a plan.
//!
//! Judges every decision by the sample, by what the policy says of a VM and by what is remembered,
//! without the code that made it: in tests, in the simulator, and in the daemon before a plan is
//! carried out. A plan with a [`Finding`] is thrown away whole.

use std::{collections::BTreeSet, fmt};

use crate::{
    by_vm::ByVm,
    bytes::ByteCount,
    conduct::Standing,
    decision::Decision,
    order::plausible_overhead,
    plan::{Party, Resize, sums},
    policy::Policy,
    sample::{Freshness, RunState, Sample, Share, VmSample},
    state::State,
    verdict::VerdictKind,
    vm::VmId,
};

/// Something about a decision that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Which VM; `None` when it is about the whole plan.
    pub vm: Option<VmId>,
    /// What is wrong, with the values.
    pub problem: String,
}

/// The rules that every decision keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every VM of the sample has a verdict, and nobody else; the plan agrees with it.
    Verdicts,
    /// A VM has at most one order, from what it holds, in whole granules.
    Orders,
    /// No VM is shrunk below its minimum or grown above its maximum.
    Limits,
    /// No VM gives more in a tick than its step.
    Step,
    /// No VM is shrunk on figures that are not fresh.
    Freshness,
    /// No VM is made to give what it uses, and none that suffers is made to give at all.
    InUse,
    /// A VM that is pinned, does not run, frees nothing or is somebody else's is left alone.
    HandsOff,
    /// Nobody gets anything while the host runs out of memory.
    Emergency,
    /// What VMs get is what givers give, are about to deliver, or the host grants.
    Conservation,
    /// The host keeps more than its reserve after what it grants.
    Reserve,
    /// Nobody is given what is reserved for a VM to come.
    Reserved,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vm {
            Some(vm) => write!(f, "{:?}: VM {vm}: {}", self.rule, self.problem),
            None => write!(f, "{:?}: {}", self.rule, self.problem),
        }
    }
}

/// Every way in which a decision breaks a rule; empty when it keeps them all.
///
/// `state` is the one that [`decide`](crate::decide::decide) returned with the decision.
#[must_use]
pub fn check(policy: &Policy, state: &State, sample: &Sample, decision: &Decision) -> Vec<Finding> {
    let mut court = Court {
        policy,
        state,
        sample,
        decision,
        gives: sums(&decision.transfers, |transfer| transfer.from),
        funds: sums(&decision.plan.funding, |transfer| transfer.from),
        funded: sums(&decision.plan.funding, |transfer| transfer.to),
        owes: sums(&state.owed, |transfer| transfer.from),
        findings: Vec::new(),
    };
    court.verdicts();
    court.orders();
    for resize in &decision.plan.neutral {
        court.neutral(resize);
    }
    for resize in &decision.plan.shrinks {
        court.shrink(resize);
    }
    for resize in &decision.plan.grows {
        court.grow(resize);
    }
    court.givers();
    court.reserve();
    court.reserved();
    court.emergency();
    court.findings
}

struct Court<'a> {
    policy: &'a Policy,
    state: &'a State,
    sample: &'a Sample,
    decision: &'a Decision,
    /// What each VM gives by the transfers of this tick.
    gives: ByVm<ByteCount>,
    /// What others are to get from each VM.
    funds: ByVm<ByteCount>,
    /// What is there, or to come, for each VM.
    funded: ByVm<ByteCount>,
    /// What each VM owes from earlier ticks.
    owes: ByVm<ByteCount>,
    findings: Vec<Finding>,
}

impl Court<'_> {
    fn object(&mut self, rule: Rule, vm: impl Into<Option<VmId>>, problem: String) {
        self.findings.push(Finding { rule, vm: vm.into(), problem });
    }

    fn verdicts(&mut self) {
        if !self.sample.vms.keys().eq(self.decision.verdicts.keys()) {
            self.strangers();
        }
        self.kinds();
    }

    fn strangers(&mut self) {
        let seen: BTreeSet<VmId> = self.sample.vms.keys().copied().collect();
        let judged: BTreeSet<VmId> = self.decision.verdicts.keys().copied().collect();
        for vm in seen.symmetric_difference(&judged) {
            self.object(Rule::Verdicts, *vm, "has no verdict, or has one and is gone".to_owned());
        }
    }

    /// Everybody shrinks or grows by its verdict.
    fn kinds(&mut self) {
        let (shrinks, grows) = (&self.decision.plan.shrinks, &self.decision.plan.grows);
        let shrinks = shrinks.iter().map(|resize| (resize, VerdictKind::Shrink));
        let grows = grows.iter().map(|resize| (resize, VerdictKind::Grow));
        for (resize, kind) in shrinks.chain(grows) {
            let verdict = self.decision.verdicts.get(&resize.vm);
            if verdict.is_none_or(|verdict| verdict.kind != kind) {
                let problem = format!("is to {} against its verdict", kind.name());
                self.object(Rule::Verdicts, resize.vm, problem);
            }
        }
    }

    fn orders(&mut self) {
        let mut seen = BTreeSet::new();
        let plan = &self.decision.plan;
        for resize in plan.resizes() {
            if !seen.insert(resize.vm) {
                self.object(Rule::Orders, resize.vm, "has two orders".to_owned());
            }
        }
        for resize in plan.shrinks.iter().chain(&plan.grows) {
            let change = resize.from.abs_diff(resize.to);
            if change.is_zero() || change.align_down(self.sample.granule) != change {
                let granule = self.sample.granule;
                let problem = format!("changes by {change}, no multiple of {granule}");
                self.object(Rule::Orders, resize.vm, problem);
            }
        }
    }

    fn neutral(&mut self, resize: &Resize) {
        let Some(vm) = self.touched(resize) else {
            return;
        };
        if resize.to != vm.actual || resize.from != vm.actual {
            let problem = format!("is to keep {}, but holds {}", resize.to, vm.actual);
            self.object(Rule::Orders, resize.vm, problem);
        }
    }

    fn shrink(&mut self, resize: &Resize) {
        let Some(vm) = self.touched(resize) else {
            return;
        };
        let min = self.policy.rules(resize.vm, &vm.name, vm.max).limits.min;
        let step = self.policy.give_limit(&vm);
        let (to, amount) = (resize.to, resize.shrinkage());
        if resize.from != vm.actual || amount.is_zero() {
            let problem = format!("shrinks from {} to {to}, but holds {}", resize.from, vm.actual);
            self.object(Rule::Orders, resize.vm, problem);
        }
        if to < min {
            self.object(Rule::Limits, resize.vm, format!("shrinks to {to}, below {min}"));
        }
        if amount > step {
            self.object(Rule::Step, resize.vm, format!("gives {amount}, more than {step}"));
        }
        if vm.freshness != Freshness::Fresh {
            let problem = format!("shrinks on figures that are {:?}", vm.freshness);
            self.object(Rule::Freshness, resize.vm, problem);
        }
        let idle = vm.guest.usable.max(vm.guest.unused).unwrap_or_default();
        if amount > idle {
            let problem = format!("gives {amount}, but only {idle} is usable");
            self.object(Rule::InUse, resize.vm, problem);
        }
        if let Some(distress) = self.state.known(resize.vm, &vm).distress(self.sample.now) {
            self.object(Rule::InUse, resize.vm, format!("gives although {:?}", distress.sign));
        }
    }

    fn grow(&mut self, resize: &Resize) {
        let Some(vm) = self.touched(resize) else {
            return;
        };
        let max = self.policy.rules(resize.vm, &vm.name, vm.max).limits.max;
        let order = self.state.orders.get(&resize.vm);
        let most = order.map_or(vm.actual, |order| order.most.max(vm.actual));
        let least = order.map_or(vm.actual, |order| order.target.max(vm.actual));
        let (from, to, amount) = (resize.from, resize.to, resize.growth());
        if from < least || from > most || amount.is_zero() {
            self.object(Rule::Orders, resize.vm, format!("grows from {from} to {to}"));
        }
        if to > max {
            self.object(Rule::Limits, resize.vm, format!("grows to {to}, above {max}"));
        }
        let funded = self.funded.get(&resize.vm).copied().unwrap_or_default();
        if amount > funded {
            let problem = format!("gets {amount}, but only {funded} is there for it");
            self.object(Rule::Conservation, resize.vm, problem);
        }
    }

    /// The VM of a resize, if it may be touched at all.
    fn touched(&mut self, resize: &Resize) -> Option<VmSample> {
        let Some(vm) = self.sample.vms.get(&resize.vm).cloned() else {
            self.object(Rule::HandsOff, resize.vm, "is not there".to_owned());
            return None;
        };
        if self.policy.rules(resize.vm, &vm.name, vm.max).pinned {
            self.object(Rule::HandsOff, resize.vm, "is pinned".to_owned());
        }
        if vm.run != RunState::Running {
            self.object(Rule::HandsOff, resize.vm, format!("is {:?}", vm.run));
        }
        if let Some(obstacle) = vm.traits.and_then(|traits| traits.obstacle) {
            self.object(Rule::HandsOff, resize.vm, obstacle.words().to_owned());
        }
        if self.is_others(resize.vm) {
            self.object(Rule::HandsOff, resize.vm, "is somebody else's".to_owned());
        }
        Some(vm)
    }

    /// Whoever gives: his shrink is what his transfers say, and what others get of him is no more
    /// than that and what he owed before.
    fn givers(&mut self) {
        let shrinks: ByVm<ByteCount> =
            self.decision.plan.shrinks.iter().map(|r| (r.vm, r.shrinkage())).collect();
        for vm in self.sample.vms.keys().copied() {
            let of = |sums: &ByVm<ByteCount>| sums.get(&vm).copied().unwrap_or_default();
            let (shrinks, gives) = (of(&shrinks), of(&self.gives));
            let (funds, owed) = (of(&self.funds), of(&self.owes));
            if gives != shrinks {
                let problem = format!("gives {gives}, but shrinks by {shrinks}");
                self.object(Rule::Conservation, vm, problem);
            }
            if funds > shrinks.saturating_add(owed) {
                let problem = format!("others get {funds} of its {shrinks} and {owed} owed");
                self.object(Rule::Conservation, vm, problem);
            }
        }
    }

    fn reserve(&mut self) {
        let granted = self.granted();
        let (kept, reserve) = (self.kept(), self.policy.host_reserve);
        if !granted.is_zero() && kept.saturating_sub(granted) <= reserve {
            let problem =
                format!("the host grants {granted} of {kept}: not more than {reserve} is left");
            self.object(Rule::Reserve, None, problem);
        }
    }

    fn reserved(&mut self) {
        let open = |id| self.state.reserve.handed_to(id).is_none();
        let all = self.sample.reservations.iter().filter(|own| open(own.id));
        let reserved: ByteCount = all.map(|own| own.min).sum();
        let (granted, kept) = (self.granted(), self.kept());
        let least = self.policy.host_reserve.saturating_add(reserved);
        if !granted.is_zero() && !reserved.is_zero() && kept.saturating_sub(granted) <= least {
            let problem =
                format!("the host grants {granted} of {kept}, of which {reserved} is reserved");
            self.object(Rule::Reserved, None, problem);
        }
    }

    /// What the host grants by this plan.
    fn granted(&self) -> ByteCount {
        let funding = self.decision.plan.funding.iter();
        let by_host = funding.filter(|transfer| transfer.from == Party::Host);
        by_host.map(|transfer| transfer.amount).sum()
    }

    fn emergency(&mut self) {
        let host = &self.sample.host;
        let stalls = host.pressure.is_some_and(|pressure| pressure.full >= Share::percent(20));
        let empty = host.usable < self.policy.host_reserve.fraction(1, 2);
        let grows = self.decision.plan.grows.len();
        if (stalls || empty) && !self.sample.ideal && grows > 0 {
            let problem = format!("{grows} VMs grow, but {} is usable", host.usable);
            self.object(Rule::Emergency, None, problem);
        }
    }

    fn is_others(&self, vm: VmId) -> bool {
        let followed = self.state.followed.get(&vm);
        followed.is_some_and(|known| known.standing(self.sample.now) == Standing::Quarantined)
    }

    /// What the host keeps before it grants anything, reckoned anew.
    fn kept(&self) -> ByteCount {
        let (mut exposed, mut not_taken) = (ByteCount::ZERO, ByteCount::ZERO);
        for (id, vm) in &self.sample.vms {
            let order = self.state.orders.get(id).map_or(ByteCount::ZERO, |order| order.most);
            let visible = matches!(vm.freshness, Freshness::Fresh | Freshness::Unsettled);
            let executes = matches!(vm.run, RunState::Running | RunState::Busy);
            let stays = vm.traits.is_some_and(|traits| traits.obstacle.is_some());
            let unseen = !executes || !visible || stays || self.is_others(*id);
            let beside =
                |own: Option<ByteCount>| if stays { None } else { own }.unwrap_or_default();
            let rss = vm.host_rss.unwrap_or_default();
            let resident = rss.saturating_sub(beside(vm.overhead_at_most.or(vm.overhead)));
            let huge = vm.set_aside();
            let with_huge = huge.saturating_add(rss.saturating_sub(plausible_overhead(vm.max)));
            let resident = if huge.is_zero() { resident } else { with_huge.min(vm.max) };
            let pinned = self.policy.rules(*id, &vm.name, vm.max).pinned;
            let unknown = !self.sample.ideal && (pinned || self.may_have_been_told(*id));
            let at_most = if unseen || unknown { vm.max } else { ByteCount::ZERO };
            let may_hold = vm.actual.max(order).max(resident).max(at_most);
            let held = vm.actual.max(rss.saturating_sub(beside(vm.overhead)));
            exposed = exposed.saturating_add(may_hold.max(held));
            not_taken = not_taken.saturating_add(may_hold.saturating_sub(resident));
            let spoken_for = self.spoken_for(*id, vm, held);
            exposed = exposed.saturating_add(spoken_for);
            not_taken = not_taken.saturating_add(spoken_for);
        }
        let free = self.sample.host.usable.saturating_sub(not_taken);
        match self.policy.pool_limit {
            Some(limit) => free.min(limit.saturating_sub(exposed)),
            None => free,
        }
    }

    /// A target that this agent does not know of may be in force.
    fn may_have_been_told(&self, vm: VmId) -> bool {
        let told = self.state.orders.get(&vm).is_some_and(|order| !order.in_doubt);
        let adopted = self.state.followed.get(&vm).is_some_and(|followed| followed.adopted);
        !told && !adopted
    }

    /// What of a giver's debt it has let go of, when it is shown to hold so much.
    fn spoken_for(&self, giver: VmId, vm: &VmSample, held: ByteCount) -> ByteCount {
        let owed = self.owes.get(&giver).copied().unwrap_or_default();
        self.state.orders.get(&giver).map_or(ByteCount::ZERO, |order| {
            let before = order.base.taken.unwrap_or_default().max(order.base.actual);
            let hidden = order.base.taken.is_some() && vm.host_rss.is_none();
            let let_go = order.base.actual.saturating_sub(vm.actual);
            let came = before.saturating_sub(held).min(let_go);
            let came = if hidden { ByteCount::ZERO } else { came };
            owed.saturating_sub(order.gives.saturating_sub(came))
        })
    }
}
