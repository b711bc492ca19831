//! What the judge holds agentd to of the ways that VMs go: nobody is moved to and fro more often than
//! what is wanted of the host changes. Emergencies, faults of any VM and changes of the policy move VMs
//! as well: until they are over, and for a while, nothing is counted.
//!
//! `two-pointer` is not judged by this: in its words who uses more than before needs memory and who does
//! not has some to spare, so that a VM between the two is moved by whatever its kernel does.

use std::time::Duration;

use agentd::hypervisor::Target;
use agentd::hypervisor::sim::Facts;
use agentd_core::policy::Algorithm;

use super::{Judge, PAGE};
use crate::soak::emergency::is_emergency;
use crate::soak::rule::Rule;
use crate::soak::turns::Way;

impl Judge {
    /// A turn is over: what changed?
    pub(super) fn sees_changes(&mut self, acts: bool, facts: &Facts) {
        let quiet = facts.vms.keys().all(|id| self.troubles.is_quiet(*id, facts.now));
        let took = self.strangers.took_lately(facts.now);
        if !acts || !quiet || took || is_emergency(&facts.host, &self.policy) {
            self.turns.clear();
        } else {
            self.turns.see(facts);
        }
    }

    /// These orders were taken.
    pub(super) fn turns(&mut self, orders: &[Target], facts: &Facts, now: Duration) {
        if self.policy.algorithm == Algorithm::TwoPointer {
            return;
        }
        for order in orders {
            let Some(vm) = facts.vms.get(&order.vm) else { continue };
            let way = if order.target.saturating_add(PAGE) < vm.actual {
                Way::Down
            } else if order.target > vm.exposure().align_up(PAGE) {
                Way::Up
            } else {
                continue;
            };
            let many = self.turns.goes(order.vm, way, now);
            let name = self.names.get(&order.vm).cloned().unwrap_or_default();
            self.hold(Rule::Hunting, many.is_none(), || {
                let (turned, may) = many.unwrap_or_default();
                format!("{name} was turned {turned} times in ten minutes, and may be {may}")
            });
        }
    }
}
