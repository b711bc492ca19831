//! What the judge holds agentd to while the host runs out of memory.

use std::time::Duration;

use agentd::hypervisor::Target;
use agentd::hypervisor::sim::Facts;
use agentd_core::vm::VmId;

use super::{GAP, Judge, PAGE};
use crate::soak::emergency::{can_give, is_emergency};
use crate::soak::known::Known;
use crate::soak::limits::allowed;
use crate::soak::rule::Rule;

impl Judge {
    /// While the host runs out of memory nobody gets any, and VMs are made to give once in a while.
    pub(super) fn orders_in_emergency(
        &mut self,
        orders: &[Target],
        gets: usize,
        facts: &Facts,
        now: Duration,
    ) {
        self.giving.clear();
        let Some((_, read)) = &self.read else { return };
        if !is_emergency(&read.host, &self.policy) {
            return;
        }
        let usable = read.host.usable;
        self.hold(Rule::Emergency, gets == 0, || format!("{gets} VMs get memory, {usable} usable"));
        let gives = |order: &Target| {
            let (vm, known) = (facts.vms.get(&order.vm)?, self.known.get(&order.vm)?);
            Some(order.target.saturating_add(PAGE) < vm.actual.min(known.actual))
        };
        let giving = orders.iter().filter(|order| gives(order) == Some(true));
        self.giving = giving.map(|order| order.vm).collect();
        if !self.giving.is_empty() {
            let soon = self.emergencies.too_soon(now);
            self.hold(Rule::Emergency, soon.is_none(), || {
                format!("VMs are made to give {soon:?} later")
            });
        }
    }

    /// Whoever could save the host in this turn and did not, though a VM could give, has to do so
    /// before long.
    pub(super) fn ends_in_emergency(&mut self, acts: bool, now: Duration) {
        let this_turn = |at: &Duration| self.last_began.is_some_and(|began| began <= *at);
        let read = self.read.as_ref().filter(|(at, read)| {
            let fits = self.policy.host_reserve.max(self.policy.floor) < read.host.total;
            this_turn(at) && fits && is_emergency(&read.host, &self.policy)
        });
        let can = |(id, known): (&VmId, &Known)| {
            let name = self.names.get(id).map_or("", |name| name);
            let allows = allowed(&self.policy, *id, name, known.max);
            let age = known.changed.map(|at| now.saturating_sub(at));
            let ours = self.troubles.is_sound(*id) && self.told.contains_key(id);
            ours && can_give(known, &allows, age)
        };
        // After a turn that was stopped in its middle nothing is ordered any more.
        let began = self.last_began.unwrap_or(now);
        let in_time = now.saturating_sub(began) <= self.config.interval.saturating_mul(GAP);
        let could = acts && in_time && read.is_some() && self.known.iter().any(can);
        let late = self.emergencies.ends(could, now);
        if could {
            self.hold(Rule::Emergency, late.is_none(), || {
                format!("nobody was made to give for {:?}", late.unwrap_or_default())
            });
        }
    }
}
