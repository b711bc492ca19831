//! The algorithm `working-set`: every VM is to have what its programs work with and some headroom,
//! and when that is too much for all, its weighted fair share.
//!
//! ```text
//!   figures --demand--> what each VM asks for --fair--> its entitlement --balance--> who gives, who gets
//! ```
//!
//! Up at once, down only for somebody else: nobody is shrunk as long as the host can give what is
//! asked for, so that caches stay where they are; and what was lately in use is asked for last of
//! all, so that those give first who have had no use for theirs the longest.

mod balance;
mod demand;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    assess::View,
    bytes::ByteCount,
    decision::Pool,
    fair::{Claim, share},
    plan::Transfer,
    policy::WorkingSet,
    verdict::{Reason, Verdict},
    vm::VmId,
};

pub use demand::Demand;

/// What the algorithm remembers: the demand of every VM whose figures have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// By VM.
    pub demands: BTreeMap<VmId, Demand>,
}

/// What the algorithm decided.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// A verdict for each VM, in the order of the views.
    pub verdicts: Vec<Verdict>,
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
    let memory = memory.follow(constants, vms, now);
    let asks: Vec<Option<Ask>> = vms.iter().map(|view| memory.ask(constants, view)).collect();
    let entitled = entitlements(vms, &asks, pool, granule);
    let parts = vms.iter().zip(asks).zip(entitled);
    // A reservation is filled to the last byte.
    let is_asked = !pool.booked.lacks.is_zero();
    let band = if is_asked { granule } else { constants.dead_band };
    let stands = parts.map(|((view, ask), entitled)| {
        let bands = (constants.dead_band, band);
        ask.zip(entitled).map(|(ask, entitled)| Stand::new(view, ask, entitled, bands, granule))
    });
    let stands: Vec<Option<Stand>> = stands.collect();
    let (verdicts, transfers) = balance::balance(vms, &stands, pool, granule);
    Ruling { verdicts, transfers, memory }
}

/// What one VM asks for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// What its programs work with.
    demand: ByteCount,
    /// That, and headroom: what it is to have now.
    now: ByteCount,
    /// That, and what it grows by: at least `now`.
    soon: ByteCount,
    /// What it would like to keep, because it had a use for it lately; at least `soon`.
    keep: ByteCount,
}

impl Memory {
    /// Takes in what the VMs say, and forgets who is gone.
    fn follow(&self, constants: &WorkingSet, vms: &[View<'_>], now: Duration) -> Self {
        let mut known = self.demands.iter().peekable();
        let follow = |view: &View<'_>| {
            while known.next_if(|(id, _)| **id < view.id).is_some() {}
            let before = known.next_if(|(id, _)| **id == view.id).map(|(_, demand)| demand);
            Some((view.id, Demand::follow(before, constants, view, now)?))
        };
        Self { demands: vms.iter().filter_map(follow).collect() }
    }

    /// What a VM asks for; `None` where it is left alone, or nothing is known of it.
    fn ask(&self, constants: &WorkingSet, view: &View<'_>) -> Option<Ask> {
        let steered = matches!(view.bar, None | Some(Reason::Settling));
        let demand = self.demands.get(&view.id).filter(|_| steered)?;
        let mut now = demand.asks_now(constants);
        if view.starves {
            // Its demand cannot show while there is no room for it.
            let more = view.holds.fraction(STARVING_PERCENT, 100).max(constants.headroom);
            now = now.max(view.holds.saturating_add(more));
        }
        now = now.clamp(view.limits.min, view.limits.max);
        let soon = demand.asks_soon(constants).clamp(now, view.limits.max);
        let keep = demand.would_keep(constants).clamp(soon, view.limits.max);
        Some(Ask { demand: demand.working_set().min(now), now, soon, keep })
    }
}

/// What each VM that asks is entitled to: of all that those VMs hold and the host can give, first
/// its minimum, then what it works with, then what it is to have now, then what it would like to keep.
fn entitlements(
    vms: &[View<'_>],
    asks: &[Option<Ask>],
    pool: &Pool,
    granule: ByteCount,
) -> Vec<Option<ByteCount>> {
    let asking = || vms.iter().zip(asks).filter_map(|(view, ask)| Some((view, ask.as_ref()?)));
    let held = asking().map(|(view, _)| view.holds.saturating_add(view.owed)).sum::<ByteCount>();
    let booked = &pool.booked;
    let mut budget = held
        .saturating_add(pool.kept.saturating_sub(pool.reserve))
        .saturating_sub(pool.reserve.saturating_sub(pool.usable))
        .saturating_sub(booked.reserved)
        .saturating_sub(rounding(vms, pool, granule));
    let mut claims: Vec<Claim> = asking()
        .map(|(view, _)| {
            let least = view.limits.min;
            Claim { least, most: least, weight: view.weight }
        })
        .collect();
    let tiers: [fn(&Ask) -> ByteCount; 4] =
        [|ask| ask.demand, |ask| ask.now, |ask| ask.soon, |ask| ask.keep];
    for (tier, wanted) in tiers.into_iter().enumerate() {
        let asked: ByteCount = claims.iter().map(|claim| claim.most).sum();
        if asked > budget {
            break;
        }
        if tier == KEEP {
            budget = budget.saturating_sub(booked.beyond.min(budget.saturating_sub(asked)));
        }
        for (claim, (_, ask)) in claims.iter_mut().zip(asking()) {
            (claim.least, claim.most) = (claim.most, wanted(ask).max(claim.most));
        }
    }
    let mut shares = share(budget, &claims).into_iter();
    asks.iter().map(|ask| ask.as_ref().and_then(|_| shares.next())).collect()
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
struct Stand {
    ask: Ask,
    entitled: ByteCount,
    /// What it is short of; zero where that is not worth an order.
    lacks: ByteCount,
    /// What it holds beyond its entitlement and can give in this tick.
    spare: ByteCount,
    /// It holds more than it is entitled to, whether it can give or not.
    exceeds: bool,
}

impl Stand {
    /// Differences below the bands are not worth an order: what it is short of, what it has too much.
    fn new(
        view: &View<'_>,
        ask: Ask,
        entitled: ByteCount,
        (band, excess_band): (ByteCount, ByteCount),
        granule: ByteCount,
    ) -> Self {
        let holds = view.holds.saturating_add(view.owed);
        let missing = entitled.min(ask.soon).saturating_sub(holds);
        let lacks = if missing >= band || view.starves { missing } else { ByteCount::ZERO };
        let excess = view.vm.actual.saturating_sub(entitled);
        let exceeds = excess >= excess_band;
        let may = view.bar.is_none() && view.give_bar.is_none() && exceeds;
        let idle = view.vm.guest.idle().unwrap_or_default();
        let most = excess.min(view.give_limit).min(idle.saturating_sub(LEFT_USABLE));
        let spare = if may { most.align_down(granule) } else { ByteCount::ZERO };
        Self { ask, entitled, lacks: lacks.align_down(granule), spare, exceeds }
    }
}

/// The last of the tiers: what VMs would like to keep. What reservations take beyond their minimum
/// comes before it.
const KEEP: usize = 3;
/// A quarter more for a VM that swaps hard: what it needs is not known, and the next report tells.
const STARVING_PERCENT: u64 = 25;
/// A VM is not made to swap, whatever it is entitled to: its kernel keeps about this much.
const LEFT_USABLE: ByteCount = ByteCount::mib(16);
