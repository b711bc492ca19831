//! [`Judge`]: looks at every order and every tick of one run by what is really so, without the code
//! under test.
//!
//! It is told of every call of the port as it happens, and of the end of every turn. Allowances for
//! what nobody could have known stand beside the rule that they belong to, and in `budget`.

mod hunted;
mod kills;
mod rescue;
mod reserved;
mod squeezed;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agentd::event::TickRecord;
use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd::hypervisor::{Answer, LiveActual, Target};
use agentd::tick::TickConfig;
use agentd_core::bytes::ByteCount;
use agentd_core::plan::Party;
use agentd_core::policy::Policy;
use agentd_core::sample::{Reading, RunState};
use agentd_core::vm::VmId;

use self::reserved::Promises;
use super::budget::{Budget, EVENT};
use super::emergency::Emergencies;
use super::known::Known;
use super::ledger::Ledger;
use super::limits::{Allowed, allowed};
use super::rule::{Breach, Rule};
use super::squeeze::Squeezes;
use super::strangers::Strangers;
use super::troubles::Troubles;
use super::turns::Turns;
use super::want::Wants;

/// What VMs are called.
type Names = BTreeMap<VmId, Arc<str>>;

/// The judge of one run.
#[derive(Debug)]
pub(super) struct Judge {
    config: TickConfig,
    names: Names,
    /// Which VMs faults meet.
    troubles: Troubles,
    /// The policy really in force.
    policy: Arc<Policy>,
    promises: Promises,
    /// What is reserved in this turn for VMs that have not come.
    reserved: ByteCount,
    /// Orders may be given.
    active: bool,
    tick: u64,
    last_began: Option<Duration>,
    /// Nothing may be ordered in this tick: it is the first after a start, a gap, a new connection.
    observes: bool,
    known: BTreeMap<VmId, Known>,
    /// What this life of agentd last told VMs to hold, and when.
    told: BTreeMap<VmId, (ByteCount, Duration)>,
    /// When the last reading was, and what was so.
    read: Option<(Duration, Facts)>,
    /// What givers delivered, and what of that was granted.
    ledger: Ledger,
    /// What was so of VMs that were last seen to hold less than at that reading.
    looked: BTreeMap<VmId, VmFacts>,
    /// VMs that were just told to give in an emergency.
    giving: BTreeSet<VmId>,
    /// What VMs were since shown to hold.
    shown: BTreeMap<VmId, ByteCount>,
    /// VMs that were told since to hold no more than they did already, or were shown to.
    stay: BTreeSet<VmId>,
    /// What givers had let go of for VMs that had not got it yet, at that reading.
    delivered: ByteCount,
    /// What VMs were granted in this tick.
    grown: ByteCount,
    /// Why they should not have been, and what it was by then, where the host had less than it should:
    /// unless all of it came of givers who gave it for them.
    short: Option<(String, ByteCount)>,
    squeezes: Squeezes,
    emergencies: Emergencies,
    wants: Wants,
    turns: Turns,
    /// VMs that were told to take memory in this turn.
    fed: BTreeSet<VmId>,
    /// When VMs were last told to give.
    asked: BTreeMap<VmId, Duration>,
    /// VMs that an order of this agentd's got no answer of.
    doubted: BTreeSet<VmId>,
    strangers: Strangers,
    /// Nothing kept the host from giving in this turn.
    host_gives: bool,
    /// VMs that were told to hold less than what they said they use, with what that was and when.
    below_need: BTreeMap<VmId, (ByteCount, Duration)>,
    kills: BTreeMap<VmId, (u64, u64)>,
    /// How often each promise was looked at.
    pub(super) checks: BTreeMap<Rule, u64>,
    /// Promises that were broken.
    pub(super) breaches: Vec<Breach>,
    /// Orders in this tick.
    pub(super) orders: u64,
    /// VMs that were ever left alone for a time because they did not follow, or were somebody
    /// else's.
    pub(super) tried: BTreeSet<VmId>,
    /// Programs killed for want of memory, whoever is to blame.
    pub(super) all_kills: u64,
    /// The last tick in which one was.
    pub(super) last_kill: u64,
}

impl Judge {
    /// The judge of a run of these VMs.
    #[must_use]
    pub(super) fn new(
        config: TickConfig,
        (names, troubles): (Names, Troubles),
        policy: Arc<Policy>,
    ) -> Self {
        Self {
            config,
            names,
            troubles,
            policy,
            promises: Promises::default(),
            reserved: ByteCount::ZERO,
            active: true,
            tick: 0,
            last_began: None,
            observes: true,
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            read: None,
            ledger: Ledger::default(),
            looked: BTreeMap::new(),
            giving: BTreeSet::new(),
            shown: BTreeMap::new(),
            stay: BTreeSet::new(),
            delivered: ByteCount::ZERO,
            grown: ByteCount::ZERO,
            short: None,
            squeezes: Squeezes::default(),
            emergencies: Emergencies::default(),
            wants: Wants::default(),
            turns: Turns::default(),
            fed: BTreeSet::new(),
            asked: BTreeMap::new(),
            doubted: BTreeSet::new(),
            strangers: Strangers::default(),
            host_gives: false,
            below_need: BTreeMap::new(),
            kills: BTreeMap::new(),
            checks: BTreeMap::new(),
            breaches: Vec::new(),
            orders: 0,
            tried: BTreeSet::new(),
            all_kills: 0,
            last_kill: 0,
        }
    }

    /// A new process of agentd knows nothing.
    pub(super) fn restarted(&mut self) {
        self.distrust();
        self.told.clear();
        self.doubted.clear();
        self.forget_promises();
        self.emergencies.clear();
        self.last_began = None;
    }

    /// Nothing that was shown before counts any more, and nothing that was promised.
    fn distrust(&mut self) {
        self.known.clear();
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.squeezes.clear();
        self.wants.begin_anew();
        self.ledger.clear();
        self.delivered = ByteCount::ZERO;
        self.observes = true;
    }

    /// What the reading of this tick showed is the first of a new connection.
    pub(super) fn reconnected(&mut self) {
        self.known.values_mut().for_each(Known::distrust);
        self.begin_anew();
    }

    /// Another policy is in force.
    pub(super) fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
        self.wants.begin_anew();
        self.turns.clear();
    }

    /// From now on orders may be given, or not.
    pub(super) fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, tick: u64, now: Duration) {
        self.tick = tick;
        if !self.active {
            // Whoever acts again after a turn without begins with what is so then.
            self.squeezes.clear();
            self.ledger.clear();
        }
        self.orders = 0;
        self.fed.clear();
        self.grown = ByteCount::ZERO;
        self.short = None;
        self.observes = self.last_began.is_none();
        let gap = self.last_began.map(|began| now.saturating_sub(began));
        if gap.is_some_and(|gap| gap > self.config.interval.saturating_mul(GAP)) {
            self.distrust();
        }
        self.last_began = Some(now);
    }

    /// The port showed this; that was so.
    pub(super) fn reads(&mut self, reading: &Reading, facts: Facts, now: Duration) {
        let mut known = BTreeMap::new();
        for vm in &reading.vms {
            let Some(truth) = facts.vms.get(&vm.id) else {
                continue;
            };
            let own = match self.known.remove(&vm.id) {
                Some(mut own) => {
                    own.next(vm, truth, now);
                    own
                }
                None => Known::first(vm, truth),
            };
            self.wants.see(vm.id, &own, now);
            known.insert(vm.id, own);
        }
        self.known = known;
        self.sees_newcomers(reading);
        self.ledger.see(&facts);
        self.delivered = self.ledger.open();
        self.looked.clear();
        self.shown.clear();
        self.stay.clear();
        self.read = Some((now, facts));
    }

    /// The port showed these VMs live; this is so.
    pub(super) fn looks(&mut self, seen: &[LiveActual], facts: &Facts) {
        self.ledger.see(facts);
        let read = self.read.as_ref().map(|(_, read)| &read.vms);
        for live in seen {
            self.shown.insert(live.vm, live.actual);
            let before = read.and_then(|read| read.get(&live.vm));
            match before.zip(facts.vms.get(&live.vm)) {
                Some((before, now)) if now.exposure() < before.exposure() => {
                    self.looked.insert(live.vm, *now);
                }
                _ => {
                    self.looked.remove(&live.vm);
                }
            }
        }
    }

    /// These orders are about to go to the hypervisor; this is so.
    pub(super) fn orders(&mut self, orders: &[Target], facts: &Facts, now: Duration) {
        self.orders += orders.len() as u64;
        self.ledger.see(facts);
        let all = format!("{} orders", orders.len());
        self.hold(Rule::KillSwitch, self.active, || format!("{all} after it was closed"));
        self.hold(Rule::ObserveFirst, !self.observes, || format!("{all} in a first tick"));
        let mut gets = 0;
        for order in orders {
            let Some(vm) = facts.vms.get(&order.vm) else {
                continue;
            };
            self.order(*order, vm, now);
            gets += usize::from(order.target > vm.exposure().align_up(PAGE));
        }
        self.orders_in_emergency(orders, gets, facts, now);
    }

    /// What VMs were granted by these orders, all of which were taken.
    fn grows(&mut self, orders: &[Target], facts: &Facts) {
        let mut granted = BTreeMap::new();
        for order in orders {
            let Some(vm) = facts.vms.get(&order.vm) else {
                continue;
            };
            if order.target > vm.exposure().align_up(PAGE) {
                granted.insert(order.vm, order.target);
                self.fed.insert(order.vm);
                self.wants.gets(order.vm);
                let others = self.before_others(order.vm, vm).max(self.let_go_from(order.vm, vm));
                let holds = vm.exposure().max(others);
                self.grown = self.grown.saturating_add(order.target.saturating_sub(holds));
            }
        }
        if granted.is_empty() {
            return;
        }
        // Of orders that go together none is before the other.
        let mut together = facts.clone();
        for order in orders {
            if let Some(vm) = together.vms.get_mut(&order.vm) {
                vm.target = order.target;
            }
        }
        self.forget_strangers(&mut together);
        self.grants(&granted, &together, facts.now);
    }

    /// What a VM may hold for all that could be known, where somebody else has ordered it since:
    /// what it was told before, which others may undo unseen while it is on its way there, or what
    /// it was shown to hold just before, also while it goes on letting go by that order.
    fn before_others(&self, id: VmId, vm: &VmFacts) -> ByteCount {
        let Some(foreign_at) = vm.foreign_at else { return ByteCount::ZERO };
        let told = self.told.get(&id).filter(|(_, at)| *at <= foreign_at);
        let told = told.map_or(ByteCount::ZERO, |(target, _)| *target);
        let shown = self.known.get(&id).filter(|_| self.is_moved_by_others(vm));
        shown.map_or(told, |known| known.actual.max(told))
    }

    /// Whether an order of somebody else may show of a VM for the first time, or moves it still.
    fn is_moved_by_others(&self, vm: &VmFacts) -> bool {
        let read_at = self.read.as_ref().map_or(Duration::ZERO, |(at, _)| *at);
        let is_unseen = |at: Duration| at.saturating_add(EVENT) > read_at;
        vm.foreign_at.is_some_and(|at| is_unseen(at) || vm.target < vm.actual)
    }

    /// What a VM was read to hold that goes on letting go by an order which this agentd did not give and
    /// cannot undo: that comes back as well.
    fn let_go_from(&self, id: VmId, vm: &VmFacts) -> ByteCount {
        let read = self.read.as_ref().and_then(|(_, read)| read.vms.get(&id));
        let is_own = self.told.get(&id).is_some_and(|(target, _)| *target == vm.target);
        let read = read.filter(|_| vm.target < vm.actual && !is_own);
        read.map_or(ByteCount::ZERO, |read| read.actual)
    }

    /// The hypervisor said this to orders.
    pub(super) fn answered(&mut self, orders: &[Target], answers: &[Answer], before: &Facts) {
        let doubts = orders.iter().zip(answers).filter(|(_, answer)| **answer == Answer::InDoubt);
        self.doubted.extend(doubts.map(|(order, _)| order.vm));
        let is_taken = |answer: &Answer| matches!(answer, Answer::Accepted | Answer::InDoubt);
        let pairs = orders.iter().zip(answers);
        let taken: Vec<Target> =
            pairs.filter(|(_, answer)| is_taken(answer)).map(|(order, _)| *order).collect();
        self.grows(&taken, before);
        self.turns(&taken, before, before.now);
        for order in &taken {
            let Some(vm) = before.vms.get(&order.vm) else {
                continue;
            };
            if self.giving.contains(&order.vm) {
                self.emergencies.gives(before.now);
            }
            self.told.insert(order.vm, (order.target, before.now));
            let shown = self.shown.get(&order.vm).copied().unwrap_or_default();
            if order.target <= vm.exposure().max(shown) {
                self.stay.insert(order.vm);
            }
            let read = self.read.as_ref().and_then(|(_, read)| read.vms.get(&order.vm));
            if order.target < vm.actual {
                self.asked.insert(order.vm, before.now);
                let gives = vm.actual.saturating_sub(order.target);
                self.ledger.shrinks(order.vm, (read.unwrap_or(vm), vm), gives);
            } else if let Some(read) =
                read.filter(|_| order.target > vm.actual && self.is_moved_by_others(vm))
            {
                // Somebody else has brought it further down since it was read, and it delivers all the same.
                let gives = read.actual.saturating_sub(order.target);
                if !gives.is_zero() {
                    self.ledger.shrinks(order.vm, (read, vm), gives);
                }
            }
        }
    }

    /// A turn is over.
    pub(super) fn ends(&mut self, record: &TickRecord, facts: &Facts) {
        let error = record.error.as_deref().unwrap_or("");
        let refused = error.contains("thrown away");
        self.hold(Rule::PlanAccepted, !refused, || error.to_owned());
        self.hands_over(record);
        if record.decision.is_some() {
            self.settles(record);
        }
        let acts = record.error.is_none() && self.active && !self.observes;
        if acts {
            self.squeezes(facts);
        }
        self.ends_in_emergency(acts, facts.now);
        self.wants(acts, facts.now);
        self.sees_changes(acts, facts);
        self.count_kills(facts);
    }

    /// What was granted out of whom in a turn, and what is still to be.
    fn settles(&mut self, record: &TickRecord) {
        let funding = record.decision.iter().flat_map(|decision| &decision.plan.funding);
        let (mut due, mut left): (BTreeMap<_, ByteCount>, BTreeMap<_, ByteCount>) =
            Default::default();
        let mut grants = Vec::new();
        for (transfer, granted) in funding.zip(&record.applied.granted) {
            let (Party::Vm(giver), Party::Vm(_)) = (transfer.from, transfer.to) else {
                continue;
            };
            let open = transfer.amount.saturating_sub(*granted);
            for (sum, more) in [(&mut due, transfer.amount), (&mut left, open)] {
                let sum = sum.entry(giver).or_default();
                *sum = sum.saturating_add(more);
            }
            if !granted.is_zero() {
                grants.push((giver, *granted));
            }
        }
        if let Some((words, grown)) = self.short.take() {
            let most = self.ledger.returned_for(&due).saturating_add(self.ledger.noise());
            let fine = grown <= most;
            let words = || format!("{words}; {grown} was granted of {most} that came for VMs");
            self.hold(Rule::Budget, fine, words);
        }
        for (giver, granted) in grants {
            let name = self.names.get(&giver).cloned().unwrap_or_default();
            let objection = self.ledger.grant(giver, granted);
            let fine = objection.is_none();
            let words = || format!("out of {name}: {}", objection.unwrap_or_default());
            self.hold(Rule::TakeThenGive, fine, words);
        }
        self.ledger.ends(&left);
    }

    /// Notes that a promise was looked at, and whether it was kept.
    pub(super) fn hold(&mut self, rule: Rule, kept: bool, words: impl FnOnce() -> String) {
        *self.checks.entry(rule).or_default() += 1;
        if !kept && self.breaches.iter().filter(|own| own.rule == rule).count() < MOST_BREACHES {
            self.breaches.push(Breach { tick: self.tick, rule, words: words() });
        }
    }

    /// No figure carries a target: what an earlier process told a VM that this one may not touch
    /// can be known by nobody, and counts as what the VM holds.
    fn forget_strangers(&self, facts: &mut Facts) {
        for (id, vm) in &mut facts.vms {
            let name = self.names.get(id).map_or("", |name| name);
            if !self.told.contains_key(id) && allowed(&self.policy, *id, name, vm.max).pinned {
                vm.target = vm.target.min(vm.actual);
            }
        }
    }

    fn order(&mut self, order: Target, vm: &VmFacts, now: Duration) {
        let name = self.names.get(&order.vm).cloned().unwrap_or_else(|| "".into());
        let Some(known) = self.known.get(&order.vm).cloned() else {
            self.hold(Rule::Untouchable, false, || format!("{name} was never shown"));
            return;
        };
        let allows = allowed(&self.policy, order.vm, &name, known.max);
        let target = order.target;
        self.hold(Rule::Pinned, !allows.pinned, || format!("{name} is pinned"));
        let free = known.run == RunState::Running && !known.obstacle;
        self.hold(Rule::Untouchable, free, || {
            let obstacle = if known.obstacle { "has an obstacle" } else { "has none" };
            format!("{name} is {:?} and {obstacle}: target {target}", known.run)
        });
        self.hold(Rule::InDoubt, vm.late.is_none(), || {
            format!("{name} is told {target} while {:?} is without answer", vm.late)
        });
        if target > vm.actual.align_up(PAGE) {
            self.hold(Rule::Range, target <= allows.cap, || {
                format!("{name}: target {target} above {}", allows.cap)
            });
        }
        // What it holds now, or was shown to: a target between the two takes nothing that counts.
        if target < vm.actual.min(known.actual) {
            self.shrink(order, vm, &known, (&allows, &name, now));
        }
    }

    fn shrink(
        &mut self,
        order: Target,
        vm: &VmFacts,
        known: &Known,
        (allows, name, now): (&Allowed, &str, Duration),
    ) {
        let target = order.target;
        let floor = allows.floor;
        self.hold(Rule::Floor, target >= floor, || format!("{name}: {target} below {floor}"));
        let liar = |other: &Known| other.facts.report.is_some_and(|report| !report.is_true);
        let honest = vm.report.is_some_and(|report| report.is_true);
        if honest && self.known.values().any(liar) {
            self.hold(Rule::Isolation, target >= floor, || format!("{name}: {target}"));
        }
        let read_at = self.read.as_ref().map_or(now, |(at, _)| *at);
        let age = known.changed.map(|at| read_at.saturating_sub(at));
        let fresh = age.is_some_and(|age| age <= self.config.stale_after);
        self.hold(Rule::Freshness, fresh, || {
            format!("{name} is shrunk to {target} on figures that changed {age:?} ago")
        });
        let from = known.facts.actual.min(known.actual).min(known.facts.target);
        let unused = known.report.and_then(|report| report.figures.unused).unwrap_or_default();
        let step = allows.step.max(allows.of_unused(unused.min(known.actual)));
        self.hold(Rule::Step, target >= from.saturating_sub(step), || {
            format!("{name} goes from {from} to {target}, step {step}")
        });
        self.hold(Rule::Swapping, !known.swaps, || format!("{name} swaps out, told {target}"));
        // What it wants beyond what it has, and what it has swapped out, shows in no figure, and nor
        // does what it took since.
        let said = known.report.filter(|report| report.is_true).map(|report| report.used);
        let Some(need) = said.map(|said| said.min(vm.resident)) else { return };
        self.hold(Rule::InUse, target >= need, || format!("{name}: {target}, and it uses {need}"));
        if target < need {
            self.below_need.insert(order.vm, (need, now));
        }
    }

    fn grants(&mut self, granted: &BTreeMap<VmId, ByteCount>, facts: &Facts, now: Duration) {
        let lasts = self.config.interval.saturating_mul(2);
        let last = self.read.as_ref();
        let budget = Budget {
            policy: &self.policy,
            now: facts,
            read: last.map(|(_, facts)| facts),
            recent: last.is_some_and(|(at, _)| now.saturating_sub(*at) <= lasts),
            looked: &self.looked,
            stay: &self.stay,
            known: &self.known,
            undone: facts.vms.iter().map(|(id, vm)| (*id, self.before_others(*id, vm))).collect(),
            delivered: self.delivered,
            grown: self.grown,
            returned: self.ledger.returned(),
            noise: self.ledger.noise(),
        };
        if let Some(words) = budget.excess(granted, true) {
            self.short = Some((words, self.grown));
        }
        let reserved = self.reserved;
        let takes = Some(reserved).filter(|reserved| !reserved.is_zero());
        let takes = takes.map(|reserved| budget.takes_reserved(granted, reserved));
        let objection = budget.objection(granted, true);
        let without = objection.as_ref().and_then(|_| budget.objection(granted, false));
        let doubtful = facts.vms.values().any(|vm| vm.late.is_some());
        let names: Vec<_> = granted.keys().filter_map(|id| self.names.get(id)).collect();
        let grown = format!("{names:?} grow to {:?}", granted.values());
        let kept = objection.is_none() || without.is_none();
        if let Some(takes) = takes {
            let fine = takes.is_none();
            self.hold(Rule::Reserved, fine, || format!("{grown}: {}", takes.unwrap_or_default()));
        }
        self.hold(Rule::Budget, kept, || {
            format!("{grown}: {}", objection.clone().unwrap_or_default())
        });
        if doubtful {
            let booked = objection.is_none() || without.is_some();
            self.hold(Rule::InDoubt, booked, || {
                format!("{grown}: {}", objection.unwrap_or_default())
            });
        }
    }
}

/// Targets are whole pages.
const PAGE: ByteCount = ByteCount::kib(4);
/// A gap of more than so many intervals makes everything old.
const GAP: u32 = 3;
/// More of one promise in one run tell nothing new.
const MOST_BREACHES: usize = 2;
