//! Pins that end by themselves, each at its own time.
//!
//! They are no part of what a trial tries: one that is made, changed or over leaves the trial as it is, and
//! stays when the trial goes back. Their times are those of the wall clock, which is what outlives a restart;
//! while agentd runs they pass by the monotonic one, so that nobody ends a pin by setting a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use agentd_core::{
    pin::WallTime,
    policy::{Fault, Policy, VmKey},
};

use super::{AGENT, Keeper, actor};
use crate::wall_time::{at_or_after, left, words};

/// The passing pins of the policy in force.
pub(super) type Pins = BTreeMap<VmKey, Pin>;

/// When a pin ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    /// By the wall clock.
    at: WallTime,
    /// Monotonic.
    ends: Duration,
}

impl Keeper {
    /// Takes up the pins of the policy in force. The end of one that is known already stays where it is,
    /// however the wall clock was set since.
    pub(super) fn follow_pins(&mut self) {
        let (current, now, wall) = (self.current(), self.clock.now(), self.clock.wall());
        let pin = |(key, at): (&VmKey, WallTime)| {
            let known = self.pins.get(key).filter(|pin| pin.at == at).copied();
            // A clock that went back makes none longer than it was when the revision was made.
            let lasts = left(at, wall).min(left(at, current.actor.time));
            let ends = now.saturating_add(lasts);
            (key.clone(), known.unwrap_or(Pin { at, ends }))
        };
        self.pins = current.policy.passing_pins().map(pin).collect();
    }

    /// Takes away the pins whose time is over. A trial goes on.
    pub(super) fn end_pins(&mut self) {
        let now = self.clock.now();
        let over = self.pins.iter().filter(|(_, pin)| pin.ends <= now);
        let over: BTreeSet<VmKey> = over.map(|(key, _)| key.clone()).collect();
        if over.is_empty() {
            return;
        }
        let before = self.current();
        let policy = before.policy.without_pins(|key, _| over.contains(key));
        let reason = format!("over: {}", pins_in_words(&over));
        let revision = self.next(policy, actor(AGENT, self.clock.wall()), reason);
        self.put_unsaved(revision.on_trial_as(&before));
    }

    /// When the next one ends.
    pub(super) fn next_pin_end(&self, now: Duration) -> Option<Duration> {
        self.pins.values().map(|pin| pin.ends.saturating_sub(now)).min()
    }
}

/// Whether two policies are the same once all passing pins are over.
pub(super) fn passes(before: &Policy, after: &Policy) -> bool {
    before.lasting() == after.lasting()
}

/// What is wrong with the times of the pins that a change makes, if anything. Who may set no policy for good
/// pins for a day at most, as often as they like: they may pause everything for longer.
pub(super) fn bad_ends(
    (before, after): (&Policy, &Policy),
    may_last: bool,
    now: SystemTime,
) -> Vec<Fault> {
    let most = if may_last { LONGEST } else { LONGEST_PASSING };
    let fault = |key: &VmKey, at, problem: String| Fault {
        path: format!("vms.{key}.unpin_at"),
        value: words(at),
        problem,
    };
    let is_new = |(key, at): &(&VmKey, WallTime)| {
        before.vms.get(*key).and_then(|vm| vm.unpin_at) != Some(*at)
    };
    let found = after.passing_pins().filter(is_new).filter_map(|(key, at)| {
        let lasts = left(at, now);
        if lasts.is_zero() {
            let now = words(at_or_after(now));
            return Some(fault(key, at, format!("is over: it is {now} on this host")));
        }
        let days = most.as_secs() / DAY.as_secs();
        (lasts > most.saturating_add(SECOND)).then(|| {
            fault(key, at, format!("is too far away: a pin ends within {days} days, or stays"))
        })
    });
    found.collect()
}

/// The policy without the pins that were over before `now`.
pub(super) fn as_of(policy: &Policy, now: SystemTime) -> Policy {
    policy.without_pins(|_, at| left(at, now).is_zero())
}

fn pins_in_words(keys: &BTreeSet<VmKey>) -> String {
    let shown: Vec<String> = keys.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match keys.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("the pin of {}{more}", shown.join(", "))
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Most that a pin of those lasts who may set no policy for good.
const LONGEST_PASSING: Duration = DAY;
/// Most that any lasts: what is to last longer stays until somebody takes it away.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// So many VMs are named in a reason.
const SHOWN: usize = 4;
