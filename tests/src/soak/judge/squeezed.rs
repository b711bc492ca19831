//! What the judge holds agentd to while a VM that is to give swaps out.

use std::time::Duration;

use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::sample::RunState;
use agentd_core::vm::VmId;

use super::{Judge, PAGE};
use crate::soak::known::Known;
use crate::soak::limits::allowed;
use crate::soak::rule::Rule;
use crate::soak::squeeze::Fares;

impl Judge {
    /// A VM that is seen to swap is not left with less than it holds for long.
    pub(super) fn squeezes(&mut self, facts: &Facts) {
        let shrinking = self.known.iter().filter_map(|(id, known)| {
            let vm = facts.vms.get(id)?;
            Some((*id, self.fares(*id, known, vm, facts.now)?))
        });
        let shrinking = shrinking.collect();
        self.squeezes.follow(&shrinking, facts.now);
        let worst = self.squeezes.overdue(facts.now);
        self.hold(Rule::Cancel, worst.is_none(), || {
            let worst = worst.map(|(squeeze, passed)| (squeeze.turns, passed));
            let (turns, passed) = worst.unwrap_or_default();
            format!("a VM swaps and is to shrink on for {turns} ticks, {passed:?}")
        });
    }

    /// How a VM fares that this life of agentd told to shrink and could tell otherwise; `None` for any
    /// other.
    fn fares(&self, id: VmId, known: &Known, vm: &VmFacts, now: Duration) -> Option<Fares> {
        let name = self.names.get(&id).map_or("", |name| name);
        let pinned = allowed(&self.policy, id, name, known.max).pinned;
        let reached = known.run == RunState::Running && vm.run == RunState::Running;
        let ours = vm.foreign_at.is_none() && vm.late.is_none() && self.told.contains_key(&id);
        let steered = reached && ours && !pinned && !known.obstacle && !vm.refuses;
        let shrinks = vm.target.saturating_add(PAGE) < vm.actual.min(known.actual);
        let age = known.changed.map(|at| now.saturating_sub(at));
        let seen = age.is_some_and(|age| age <= self.config.stale_after);
        (steered && shrinks).then_some(match (seen, known.swaps) {
            (true, true) => Fares::Swaps,
            (true, false) => Fares::Quiet,
            (false, _) => Fares::Unseen,
        })
    }
}
