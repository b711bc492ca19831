//! [`Tally`]: what is counted of events since the start of agentd. Its size is bounded: every key is a
//! text of the program.

use std::collections::BTreeMap;

use agentd_core::{
    state::{Outcome, Resized},
    verdict::Reason,
};

use super::{
    catalogue as the,
    page::{Page, Value, labels},
};
use crate::{
    control::{Actor, Mode},
    event::{Event, TickRecord},
    publish::Spread,
};

/// What is counted of events.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    ticks: BTreeMap<&'static str, u64>,
    times: Spread,
    decisions: BTreeMap<(Reason, &'static str), u64>,
    orders: BTreeMap<(&'static str, &'static str), u64>,
    transferred: BTreeMap<&'static str, u64>,
    rejected: u64,
    policies: BTreeMap<&'static str, u64>,
    modes: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts what happened.
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Tick(record) => self.count_tick(record),
            Event::Policy(change) => add(&mut self.policies, kind(&change.revision.actor), 1),
            Event::Mode(change) => add(&mut self.modes, kind(&change.actor), 1),
            // None of them is told: see `Feed`.
            Event::Vm(_) | Event::Reservation(_) | Event::Pin(_) => {}
        }
    }

    fn count_tick(&mut self, record: &TickRecord) {
        add(&mut self.ticks, outcome(record), 1);
        self.times.add(record.took);
        let Some(decision) = &record.decision else { return };
        if record.error.is_some() {
            self.rejected = self.rejected.saturating_add(1);
        }
        let became: BTreeMap<_, _> =
            record.applied.resized.iter().map(|resized| (resized.vm, resized)).collect();
        for (vm, verdict) in &decision.verdicts {
            let became = became.get(vm).map_or("none", |resized| name(&resized.outcome));
            add(&mut self.decisions, (verdict.reason, became), 1);
        }
        for planned in decision.plan.resizes() {
            let Some(resized) = became.get(&planned.vm) else { continue };
            let direction = if planned.to > planned.from { GROW } else { SHRINK };
            let direction = if planned.to == planned.from { HOLD } else { direction };
            add(&mut self.orders, (direction, name(&resized.outcome)), 1);
            let rest = resized.rest_refused.iter();
            rest.for_each(|_| add(&mut self.orders, (direction, REFUSED), 1));
            if let Some(target) = accepted(resized).filter(|_| direction != HOLD) {
                // Who gets nothing yet may have been told to stay below what it held.
                let from = planned.from;
                let grows = planned.to > from;
                let bytes =
                    if grows { target.saturating_sub(from) } else { from.saturating_sub(target) };
                add(&mut self.transferred, direction, bytes.as_u64());
            }
        }
    }

    /// Tells what was counted.
    pub(super) fn tell(&self, page: &mut Page) {
        let by = |metric, counts: &BTreeMap<&'static str, u64>| {
            let each =
                counts.iter().map(move |(own, n)| (labels(metric, [*own]), Value::Whole(*n)));
            each.collect::<Vec<_>>()
        };
        page.tell_all(&the::TICKS, by(&the::TICKS, &self.ticks));
        page.tell(&the::TICK_TIME, Value::Times(self.times));
        let decisions = self.decisions.iter().map(|((reason, outcome), n)| {
            (labels(&the::DECISIONS, [reason.name(), outcome]), Value::Whole(*n))
        });
        page.tell_all(&the::DECISIONS, decisions);
        let orders = self.orders.iter().map(|((direction, outcome), n)| {
            (labels(&the::ORDERS, [*direction, *outcome]), Value::Whole(*n))
        });
        page.tell_all(&the::ORDERS, orders);
        let moved = [GROW, SHRINK].map(|direction| {
            let bytes = self.transferred.get(direction).copied().unwrap_or_default();
            (labels(&the::TRANSFERRED, [direction]), Value::Whole(bytes))
        });
        page.tell_all(&the::TRANSFERRED, moved);
        page.tell(&the::PLANS_REJECTED, Value::Whole(self.rejected));
        page.tell_all(&the::POLICY_CHANGES, by(&the::POLICY_CHANGES, &self.policies));
        page.tell_all(&the::MODE_CHANGES, by(&the::MODE_CHANGES, &self.modes));
    }
}

/// What became of a tick, in a word.
const fn outcome(record: &TickRecord) -> &'static str {
    match (&record.sample, &record.decision, &record.error, record.mode) {
        (None, ..) => "unread",
        (Some(_), _, Some(_), _) => "rejected",
        (Some(_), None, None, _) => "paused",
        (Some(_), Some(_), None, Mode::Active) => "active",
        (Some(_), Some(_), None, Mode::Observe | Mode::Paused) => "observed",
    }
}

/// What became of an order, in a word.
const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Refused(_) => REFUSED,
        Outcome::VmGone => "vm_gone",
        Outcome::InDoubt => "in_doubt",
        Outcome::Held => "held",
        Outcome::Skipped => "skipped",
    }
}

/// What the hypervisor was told and has accepted.
fn accepted(resized: &Resized) -> Option<agentd_core::bytes::ByteCount> {
    resized.ordered.filter(|_| resized.outcome == Outcome::Accepted)
}

/// Who somebody is, as far as it makes no series of its own.
fn kind(actor: &Actor) -> &'static str {
    match actor.id.as_str() {
        "agent" => "agent",
        "config" => "config",
        local if local.starts_with("uid:") => "local",
        _ => "certificate",
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, more: u64) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}

const GROW: &str = "grow";
const SHRINK: &str = "shrink";
/// Told to hold what it holds.
const HOLD: &str = "hold";
const REFUSED: &str = "refused";
