//! [`Targets`]: what each VM was last told to hold, for those who look on.
//!
//! Nothing is decided by it: while paused, and after time that nobody saw, the state knows of no order
//! for certain, and yet the last one stays in force.

use std::collections::BTreeMap;

use agentd_core::{bytes::ByteCount, life::Life, sample::Sample, state::State, vm::VmId};

/// What each VM that is there was last told to hold. As many as there are VMs, at most.
#[derive(Debug, Default)]
pub(super) struct Targets {
    last: BTreeMap<VmId, Told>,
}

#[derive(Debug)]
struct Told {
    target: ByteCount,
    /// Which kernel of the VM was told.
    generation: u64,
}

impl Targets {
    /// Forgets what is over: another kernel was told nothing, and whoever else moved a balloon has told the
    /// VM otherwise since.
    pub(super) fn look(&mut self, sample: &Sample, lives: &BTreeMap<VmId, Life>) {
        self.last.retain(|vm, told| {
            let same = |own| sample.vms.get(vm).is_some_and(|vm| vm.generation == own);
            same(told.generation) && lives.get(vm) != Some(&Life::Quarantined)
        });
    }

    /// Takes in what is in force after a turn that decided.
    pub(super) fn note(&mut self, state: &State, sample: &Sample) {
        let told = state.orders.iter().filter_map(|(id, order)| {
            let generation = sample.vms.get(id)?.generation;
            Some((*id, Told { target: order.target, generation }))
        });
        self.last.extend(told);
    }

    /// The last target of each VM that was given one.
    pub(super) fn last(&self) -> BTreeMap<VmId, ByteCount> {
        self.last.iter().map(|(vm, told)| (*vm, told.target)).collect()
    }
}
