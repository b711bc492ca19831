//! What the judge makes of programs that VMs' kernels kill for want of memory.

use std::time::Duration;

use agentd::hypervisor::sim::Facts;

use super::Judge;
use crate::soak::rule::Rule;

impl Judge {
    /// Programs that were killed since the last turn, and whether a shrink of agentd's is to blame.
    pub(super) fn count_kills(&mut self, facts: &Facts) {
        let now = facts.now;
        let names = self.names.clone();
        self.below_need.retain(|id, (need, since)| {
            let vm = facts.vms.get(id);
            let short = vm.is_some_and(|vm| vm.target < *need);
            short && now.saturating_sub(*since) < BLAME
        });
        for (id, vm) in &facts.vms {
            let (generation, before) = self.kills.get(id).copied().unwrap_or((vm.generation, 0));
            let before = if generation == vm.generation { before } else { 0 };
            self.kills.insert(*id, (vm.generation, vm.oom_kills));
            let killed = vm.oom_kills > before;
            if killed {
                self.last_kill = self.tick;
            }
            self.all_kills += vm.oom_kills.saturating_sub(before);
            let blamed = self.below_need.get(id).copied();
            self.hold(Rule::OutOfMemory, !killed || blamed.is_none(), || {
                let need = blamed.map(|(need, _)| need).unwrap_or_default();
                let name = names.get(id).cloned().unwrap_or_default();
                format!("a kill in {name}, told {} when it used {need}", vm.target)
            });
        }
    }
}

/// A kill so long after a shrink is not its fault.
const BLAME: Duration = Duration::from_secs(10);
