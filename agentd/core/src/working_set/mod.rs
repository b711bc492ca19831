//! The algorithm `working-set`: every VM is to have what its programs work with and some headroom,
//! and when that is too much for all, its weighted fair share.
//!
//! ```text
//!   figures --demand--> what each VM asks for --fair--> its entitlement --balance--> who gives, who gets
//! ```
//!
//! Up at once, down only for somebody else: nobody is shrunk as long as the host can give what is
//! asked for, so that caches stay where they are. Room for bursts is asked for after all that anybody
//! needs, and what was lately in use last of all, so that those give first who have had no use for
//! theirs the longest.

mod balance;
mod demand;

use std::time::Duration;

use crate::{
    assess::View,
    by_vm::ByVm,
    bytes::ByteCount,
    decision::Pool,
    fair::{Claim, plus, share, steps_that_fit},
    plan::Transfer,
    policy::WorkingSet,
    verdict::{Reason, Verdict},
    vm::Limits,
};

pub use demand::Demand;

/// What the algorithm remembers: the demand of every VM whose figures have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// By VM.
    pub demands: ByVm<Demand>,
}

/// What the algorithm decided.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// A verdict for each VM.
    pub verdicts: ByVm<Verdict>,
    /// Who gives how much to whom.
    pub transfers: Vec<Transfer>,
    /// What to remember.
    pub memory: Memory,
}

/// Decides for VMs in the order of their ids.
#[must_use]
pub fn rule(
    constants: &WorkingSet,
    memory: &Memory,
    vms: &[View<'_>],
    pool: &Pool,
    (granule, now): (ByteCount, Duration),
) -> Ruling {
    let (memory, mut asks) = memory.follow(constants, vms, now);
    if !pool.booked.lacks.is_zero() {
        let pairs = vms.iter().zip(&mut asks);
        pairs.for_each(|(view, ask)| ask.iter_mut().for_each(|ask| ask.keep_usable(view)));
    }
    // What is asked of each VM beyond what reservations lack, so that nothing of that is lost where the
    // amounts of all of them are rounded.
    let mut entitled = entitlements(&asks, pool, rounding(vms, pool, granule)).into_iter();
    // A reservation is filled to the last byte.
    let is_asked = !pool.booked.lacks.is_zero();
    let bands = (constants.dead_band, if is_asked { granule } else { constants.dead_band });
    let pairs = vms.iter().zip(&asks);
    let stands: Vec<Option<Stand<'_>>> = pairs
        .map(|(view, ask)| Some(Stand::new(view, ask.as_ref()?, entitled.next()?, bands, granule)))
        .collect();
    let (verdicts, transfers) = balance::balance(vms, &stands, pool, granule);
    Ruling { verdicts, transfers, memory }
}

/// What one VM asks for: from `now` on each is at least the one before.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// What its programs work with: less than `least` where they need less, more than `now` where it may not hold
    /// as much.
    demand: ByteCount,
    /// Its minimum.
    least: ByteCount,
    /// What it is to have now: its demand and headroom.
    now: ByteCount,
    /// That, and what it grows by: at least `now`.
    soon: ByteCount,
    /// That, and room for a burst like those of late: at least `soon`.
    ready: ByteCount,
    /// What it would like to keep, because it had a use for it lately; at least `ready`.
    keep: ByteCount,
    /// Its demand and headroom, whatever bounds it.
    own: ByteCount,
    /// Its maximum.
    max: ByteCount,
    /// What it holds and is owed.
    has: ByteCount,
    /// What of that is not there for others, whatever it is entitled to.
    stays: ByteCount,
    /// Its share beside that of others.
    weight: u32,
}

impl Memory {
    /// Takes in what the VMs say, and forgets who is gone; with what each asks for, `None` where it is
    /// left alone, or nothing is known of it.
    fn follow(
        &self,
        constants: &WorkingSet,
        vms: &[View<'_>],
        now: Duration,
    ) -> (Self, Vec<Option<Ask>>) {
        let mut known = self.demands.beside();
        let mut room = ByteCount::ZERO;
        // As many as there are VMs, nearly always: growing step by step would copy all again and again.
        let mut demands = Vec::with_capacity(vms.len());
        let mut asks = Vec::with_capacity(vms.len());
        for view in vms {
            let demand = Demand::follow(known.of(view.id), constants, view, now);
            let asking = demand.as_ref().filter(|_| Ask::is_of(view));
            if let Some(demand) = asking {
                room = room.max(demand.room_for_others());
            }
            asks.push(asking.map(|demand| Ask::of(demand, constants, view)));
            demands.extend(demand.map(|demand| (view.id, demand)));
        }
        for ask in asks.iter_mut().flatten() {
            ask.make_room(room);
        }
        (Self { demands: ByVm::in_order(demands) }, asks)
    }
}

impl Ask {
    /// Whether a VM takes part; else it is left alone.
    const fn is_of(view: &View<'_>) -> bool {
        matches!(view.bar, None | Some(Reason::Settling))
    }

    /// With no room for the bursts of others.
    fn of(demand: &Demand, constants: &WorkingSet, view: &View<'_>) -> Self {
        let wish = demand.wish(constants);
        let mut now = wish.now;
        if view.starves {
            // Its demand cannot show while there is no room for it.
            let more = view.holds.fraction(STARVING_PERCENT, 100).max(constants.headroom);
            now = now.max(view.holds.saturating_add(more));
        }
        let Limits { min: least, max } = view.limits;
        let now = now.max(view.spared).clamp(least, max);
        let soon = wish.soon.clamp(now, max);
        let ready = wish.ready.clamp(soon, max);
        let keep = wish.keep.clamp(ready, max);
        let (demand, own, weight) = (demand.working_set(), wish.now, view.weight);
        let has = view.holds.saturating_add(view.owed);
        let stays = if view.is_stuck() { view.holds } else { ByteCount::ZERO };
        Self { demand, least, now, soon, ready, keep, own, max, has, stays, weight }
    }

    /// Has what it cannot give without swapping stay with it: a reservation is filled by others then.
    fn keep_usable(&mut self, view: &View<'_>) {
        let gives = view.idle.saturating_sub(LEFT_USABLE);
        self.stays = self.stays.max(view.holds.saturating_sub(gives));
    }

    /// Has it ask for room for a burst such as others had: no more of that than it asks for now.
    fn make_room(&mut self, room: ByteCount) {
        let ready = self.own.saturating_add(room.min(self.own)).min(self.max);
        self.ready = self.ready.max(ready);
        self.keep = self.keep.max(self.ready);
    }

    /// What it is to have at each step in which the pool is shared, of which so much stays with it.
    fn steps(&self, stays: ByteCount) -> [ByteCount; STEPS] {
        let works = self.demand.clamp(self.least, self.now);
        let steps = [self.least, works, self.now, self.soon, self.ready, self.keep];
        steps.map(|step| step.max(stays))
    }
}

/// What each VM that asks is entitled to: of all that those VMs hold and the host can give, first
/// its minimum, then what it works with, then what it is to have now and soon, then room for bursts, then
/// what it would like to keep.
/// In the order of those who ask. What one holds beyond that and does not give is not there for others.
fn entitlements(asks: &[Option<Ask>], pool: &Pool, rounding: ByteCount) -> Vec<ByteCount> {
    let entitled = shares(asks, pool, rounding, |_| ByteCount::ZERO);
    if asks.iter().flatten().all(|ask| ask.stays.is_zero()) {
        return entitled;
    }
    let beside = shares(asks, pool, rounding, |ask| ask.stays);
    entitled.into_iter().zip(beside).map(|(own, beside)| own.min(beside)).collect()
}

/// The same where each VM asks for no less than what stays with it in any case.
fn shares(
    asks: &[Option<Ask>],
    pool: &Pool,
    rounding: ByteCount,
    stays: impl Fn(&Ask) -> ByteCount,
) -> Vec<ByteCount> {
    let (mut held, mut asked) = (ByteCount::ZERO, [ByteCount::ZERO; STEPS]);
    let asking = || asks.iter().flatten().map(|ask| (ask, ask.steps(stays(ask))));
    for (ask, steps) in asking() {
        held = held.saturating_add(ask.has);
        asked = plus(asked, &steps);
    }
    let booked = &pool.booked;
    let mut budget = held
        .saturating_add(pool.kept.saturating_sub(pool.reserve))
        .saturating_sub(pool.reserve.saturating_sub(pool.left()))
        .saturating_sub(booked.reserved)
        .saturating_sub(rounding);
    // Reservations take more than their minimum out of what no VM will need.
    let soon = asked.get(SOON).copied().unwrap_or_default();
    budget = budget.saturating_sub(booked.beyond.min(budget.saturating_sub(soon)));
    let fit = steps_that_fit(budget, &asked);
    let claims: Vec<Claim> =
        asking().map(|(ask, steps)| Claim::in_steps(&steps, fit, ask.weight)).collect();
    share(budget, &claims)
}

/// What is asked of each VM beyond what reservations lack, so that nothing of that is lost where the
/// amounts of all of them are rounded.
fn rounding(vms: &[View<'_>], pool: &Pool, granule: ByteCount) -> ByteCount {
    if pool.booked.lacks.is_zero() {
        return ByteCount::ZERO;
    }
    vms.iter().map(|_| granule).sum()
}

/// How one VM stands beside what it is entitled to.
#[derive(Clone, Copy, Debug)]
struct Stand<'a> {
    asks: &'a Ask,
    entitled: ByteCount,
    /// What it is short of; zero where that is not worth an order.
    lacks: ByteCount,
    /// What it holds beyond its entitlement and can give in this tick.
    spare: ByteCount,
    /// It holds more than it is entitled to, whether it can give or not.
    exceeds: bool,
}

impl<'a> Stand<'a> {
    /// Differences below the bands are not worth an order: what it is short of, beyond its minimum, and what
    /// it has too much.
    fn new(
        view: &View<'_>,
        ask: &'a Ask,
        entitled: ByteCount,
        (band, excess_band): (ByteCount, ByteCount),
        granule: ByteCount,
    ) -> Self {
        let missing = entitled.min(ask.ready).saturating_sub(ask.has);
        let is_worth = missing >= band || view.starves || ask.has < ask.least;
        let lacks = if is_worth { missing } else { ByteCount::ZERO };
        let excess = view.actual.saturating_sub(entitled);
        let exceeds = excess >= excess_band;
        let may = view.bar.is_none() && view.give_bar.is_none() && exceeds;
        let most = excess.min(view.give_limit).min(view.idle.saturating_sub(LEFT_USABLE));
        let is_gift = most >= excess_band.min(LEAST_GIFT);
        let spare = if may && is_gift { most.align_down(granule) } else { ByteCount::ZERO };
        Self { asks: ask, entitled, lacks: lacks.align_down(granule), spare, exceeds }
    }

    /// What it lacks in each step in which memory is given: nothing in the first, all in the last.
    fn lacks_by_step(&self) -> [ByteCount; STEPS] {
        let lacks =
            |step: ByteCount| step.min(self.entitled).saturating_sub(self.asks.has).min(self.lacks);
        let [least, works, now, soon, ..] = self.asks.steps(ByteCount::ZERO).map(lacks);
        [ByteCount::ZERO, least, works, now, soon, self.lacks]
    }
}

/// The steps in which the pool is shared: minimums, demand, what is asked for now, soon, room for bursts, and
/// what VMs would like to keep.
const STEPS: usize = 6;
/// The one of them with what is needed soon.
const SOON: usize = 3;
/// A quarter more for a VM that swaps hard: what it needs is not known, and the next report tells.
const STARVING_PERCENT: u64 = 25;
/// A VM is not made to swap, whatever it is entitled to: its kernel keeps about this much.
const LEFT_USABLE: ByteCount = ByteCount::mib(16);
/// What is beyond an entitlement goes bit by bit where little of it is idle, and in no smaller bits than this.
const LEAST_GIFT: ByteCount = ByteCount::mib(1);
