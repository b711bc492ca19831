//! What the judge holds agentd to where VMs are in want: it must not give too little, either.
//!
//! A VM in want gets something before long where there certainly is something for it, on the host or
//! in a VM that can spare it. What is no fault, each for a reason of the design's:
//! - agentd may not act, begins anew, or acts too late for any order.
//! - The host is at its reserve, its work waits for memory, or somebody has just taken some of it.
//! - The VM is not one that no fault meets, moves, is not seen, is pinned or at its maximum, or was not
//!   told anything yet by this agentd. Such VMs count as what they may hold, as others do.
//! - What others are told to give is on its way, or may turn out not to come.
//! - `two-pointer` looks at use that grows: a VM that is full and cannot grow is not in want.

use std::time::Duration;

use agentd::hypervisor::sim::Facts;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::Algorithm;
use agentd_core::sample::{HostMemory, RunState, Share};
use agentd_core::vm::VmId;

use super::{GAP, Judge, PAGE};
use crate::soak::limits::{Allowed, allowed};
use crate::soak::rule::Rule;
use crate::soak::want::Usage;

/// One VM as it was when it was read in this turn.
#[derive(Debug)]
struct Stand {
    id: VmId,
    usage: Usage,
    allows: Allowed,
    /// It is well, rests, and its figures are true and of now.
    is_well: bool,
    /// It can neither give nor get, whatever it says.
    is_barred: bool,
    /// It never suffered, has always followed, and the host gets all that it gives.
    may_give: bool,
    holds: ByteCount,
    /// The most that it may count as.
    counts: ByteCount,
    /// What of that is not on the host yet.
    promised: ByteCount,
}

impl Judge {
    /// A turn is over. Who was in want, and got nothing although there was something for it?
    pub(super) fn wants(&mut self, acts: bool, now: Duration) {
        let began = self.last_began.unwrap_or(now);
        // After a turn that was stopped in its middle nothing is ordered any more.
        let in_time = now.saturating_sub(began) <= self.config.interval.saturating_mul(GAP);
        let is_seen = |(at, _): &&(Duration, Facts)| *at >= began && acts && in_time;
        let read = self.read.take();
        match read.as_ref().filter(is_seen) {
            Some((_, facts)) => self.looks_for_want(facts, now),
            None => {
                self.strangers.hide(now);
                self.wants.begin_anew();
            }
        }
        self.read = read;
    }

    fn looks_for_want(&mut self, facts: &Facts, now: Duration) {
        let took = self.strangers.see(facts, now);
        let fits = self.policy.host_reserve.max(self.policy.floor) < facts.host.total;
        if !fits || is_saved(&facts.host, self.policy.host_reserve) {
            return self.wants.begin_anew();
        }
        self.host_gives = !took && !is_short(&facts.host, self.policy.host_reserve);
        let may_want = |id: &VmId| self.wants.usage(*id).wants(&self.policy, ByteCount::MAX);
        let nobody = !facts.vms.keys().any(may_want);
        if !self.wants.acts(now) || nobody || self.is_coming(facts, now) {
            return;
        }
        let all: Option<Vec<Stand>> = facts.vms.keys().map(|id| self.stand(*id, now)).collect();
        let all = all.unwrap_or_default();
        for own in &all {
            self.is_fed(own, &all, facts, now);
        }
    }

    fn is_fed(&mut self, own: &Stand, all: &[Stand], facts: &Facts, now: Duration) {
        if !own.is_well || !own.usage.wants(&self.policy, own.allows.cap) {
            return;
        }
        let Some(source) = self.source(own, all, facts, now) else { return };
        let is_fed = self.fed.contains(&own.id);
        let missed = if is_fed { None } else { self.wants.misses(own.id, now) };
        let name = self.names.get(&own.id).cloned().unwrap_or_default();
        self.hold(Rule::Want, missed.is_none(), || {
            let (turns, passed) = missed.unwrap_or_default();
            format!("{name} was in want in {turns} turns of {passed:?} and got nothing: {source}")
        });
    }

    /// What others were told to give is on its way, or may turn out not to come: who waits for it gets
    /// nothing else meanwhile.
    fn is_coming(&self, facts: &Facts, now: Duration) -> bool {
        facts.vms.iter().any(|(id, vm)| {
            let gives = |target: ByteCount| target.saturating_add(PAGE) < vm.actual;
            let asked = self.asked.get(id).is_some_and(|at| now.saturating_sub(*at) < PATIENCE);
            let told = self.known.get(id).is_some_and(|known| known.obstacle);
            gives(vm.target)
                || vm.late.is_some_and(gives)
                || asked && !self.troubles.none_so_far(*id, now)
                || vm.refuses && !told
        })
    }

    fn stand(&self, id: VmId, now: Duration) -> Option<Stand> {
        let known = self.known.get(&id)?;
        let name = self.names.get(&id).map_or("", |name| name);
        let (allows, vm) = (allowed(&self.policy, id, name, known.max), &known.facts);
        let runs = known.run == RunState::Running && vm.run == RunState::Running && vm.works;
        let told = self.told.contains_key(&id) && !self.doubted.contains(&id);
        let ours = told && !allows.pinned && !known.obstacle && self.troubles.is_over(id, now);
        let undisturbed = vm.late.is_none() && vm.foreign_at.is_none() && !vm.refuses;
        let seen = known.changed.is_some_and(|at| now.saturating_sub(at) <= OLDEST);
        let usage = self.wants.usage(id);
        let is_known = runs && ours && undisturbed && seen && usage.has_run_long(now);
        let is_true = known.report.is_some_and(|report| report.is_true);
        let rests = vm.target == vm.actual && usage.is_settled(now);
        let most = vm.exposure().max(known.max).max(vm.max);
        let counts = if is_known { vm.exposure() } else { most };
        let taken = match (is_known, known.obstacle) {
            (true, _) => vm.touched,
            (false, true) => vm.in_place,
            (false, false) => ByteCount::ZERO,
        };
        let promised = counts.saturating_sub(taken);
        // What a process takes beside memory can be told from it only where much was seen.
        let counts = counts.max(vm.rss);
        let comes = vm.touched == vm.actual && vm.oom_kills == 0 && usage.never_swapped();
        let may_give = comes && self.troubles.none_so_far(id, now);
        let is_well = is_known && is_true && rests;
        let is_barred = known.run != RunState::Running || known.obstacle || allows.pinned;
        Some(Stand {
            id,
            usage,
            allows,
            is_well,
            is_barred,
            may_give,
            holds: vm.actual,
            counts,
            promised,
        })
    }

    /// Where there is something for a VM in want; `None` where that is not certain.
    fn source(&self, own: &Stand, all: &[Stand], facts: &Facts, now: Duration) -> Option<String> {
        let free = self.free(all, facts);
        if self.host_gives && free >= self.enough(all) {
            return Some(format!("the host has {free}"));
        }
        if !self.reserved.is_zero() || !self.is_alone(own, all, now) {
            return None;
        }
        let others = || all.iter().filter(|other| other.id != own.id);
        let giver = others().find(|other| self.can_spare(other))?;
        let name = self.names.get(&giver.id).cloned().unwrap_or_default();
        Some(format!("{name} has {} unused", giver.usage.unused))
    }

    /// True where nobody else is to get what others can give: no other VM, nor the host.
    fn is_alone(&self, own: &Stand, all: &[Stand], now: Duration) -> bool {
        let mut others = all.iter().filter(|other| other.id != own.id);
        match self.policy.algorithm {
            Algorithm::TwoPointer => others.all(|other| !other.usage.seems_to_grow),
            Algorithm::WorkingSet => {
                let rests = |other: &Stand| {
                    let wants = other.usage.wants(&self.policy, other.allows.cap);
                    other.is_barred || other.is_well && other.usage.is_calm(now) && !wants
                };
                let asks = all.iter().filter(|other| !other.is_barred);
                let sum =
                    |of: &dyn Fn(&Stand) -> ByteCount| asks.clone().map(of).sum::<ByteCount>();
                let fits = sum(&|own| self.asks_now(own)) <= sum(&|own| own.holds);
                self.host_gives && fits && others.all(rests)
            }
        }
    }

    /// What there is on the host beside all that VMs may come to hold, its reserve, and what is reserved.
    fn free(&self, all: &[Stand], facts: &Facts) -> ByteCount {
        let kept = self.policy.host_reserve.saturating_add(self.reserved);
        let sum = |of: fn(&Stand) -> ByteCount| all.iter().map(of).sum::<ByteCount>();
        let promised = sum(|own| own.promised).saturating_add(self.delivered);
        let counts = sum(|own| own.counts).saturating_add(self.delivered);
        let needs = promised.saturating_add(kept);
        let by_host = facts.host.usable.saturating_sub(needs);
        let by_limit = self.policy.pool_limit;
        let by_limit = by_limit.map(|limit| limit.saturating_sub(counts).saturating_sub(kept));
        by_limit.map_or(by_host, |limit| limit.min(by_host))
    }

    /// So much on the host is enough for a step for everybody, or for what all of them ask for.
    fn enough(&self, all: &[Stand]) -> ByteCount {
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let each = |amount: ByteCount| ByteCount::bytes(amount.as_u64().saturating_mul(count));
        match self.policy.algorithm {
            Algorithm::TwoPointer => each(self.policy.two_pointer.step).saturating_add(MUCH),
            Algorithm::WorkingSet => {
                let asks =
                    |own: &Stand| if own.is_barred { ByteCount::ZERO } else { self.asks_now(own) };
                let lacks = |own: &Stand| asks(own).saturating_sub(own.holds);
                // However little its weight is, each has a share of that.
                all.iter().map(lacks).sum::<ByteCount>().saturating_add(each(SHARE))
            }
        }
    }

    /// The most that a VM may ask `working-set` for now.
    fn asks_now(&self, own: &Stand) -> ByteCount {
        let Allowed { floor, cap, .. } = own.allows;
        let shows = own.is_well && own.usage.never_swapped();
        if shows { own.usage.asks(&self.policy).now.max(floor).min(cap) } else { cap.max(floor) }
    }

    /// True for a VM that certainly can give, and has to where another one is in want.
    fn can_spare(&self, own: &Stand) -> bool {
        let Usage { unused, idle, .. } = own.usage;
        let above = own.holds.saturating_sub(own.allows.floor);
        let spare = match self.policy.algorithm {
            Algorithm::TwoPointer => unused.saturating_sub(self.policy.two_pointer.spare_above),
            Algorithm::WorkingSet => {
                let excess = own.holds.saturating_sub(own.usage.asks(&self.policy).keep);
                let excess = excess.saturating_sub(self.policy.working_set.dead_band);
                excess.min(idle.saturating_sub(LEFT_TO_A_VM))
            }
        };
        own.is_well && own.may_give && spare.min(above) >= MUCH
    }
}

/// True while VMs are made to give for the host, or were just before.
fn is_saved(host: &HostMemory, reserve: ByteCount) -> bool {
    let full = host.pressure.unwrap_or_default().full;
    full >= STALLS || host.usable < reserve.fraction(3, 4)
}

/// True while the host keeps what it has, or has just done so.
fn is_short(host: &HostMemory, reserve: ByteCount) -> bool {
    let pressure = host.pressure.unwrap_or_default();
    pressure.some >= WAITS || host.usable <= reserve.saturating_add(PAGE)
}

/// Who follows for so long that it is not asked again, or is found to free nothing.
const PATIENCE: Duration = Duration::from_secs(8);
/// Figures that come every two seconds at most.
const OLDEST: Duration = Duration::from_secs(3);
/// Work on a host that is short of memory waits for it so much of the time, until it is well again.
const WAITS: Share = Share::percent(10);
const STALLS: Share = Share::percent(5);
/// What is no matter of rounding or of what a kernel keeps for itself.
const MUCH: ByteCount = ByteCount::mib(32);
/// Weights are from one to ten thousand.
const SHARE: ByteCount = ByteCount::mib(64);
/// A VM keeps so much usable whatever it is entitled to.
const LEFT_TO_A_VM: ByteCount = ByteCount::mib(16);
