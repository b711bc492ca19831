//! [`Residents`]: what is resident of VMs that have a control group of their own.
//!
//! The kernel adds a group's figures up when they are asked for, so not all are in one reading: VMs
//! whose memory moves are, and others in turn. For a VM without a group libvirt's figure counts.
//! Which of both it is stays for the whole life of a VM: they differ in what they count.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{bytes::ByteCount, vm::VmId};

use super::{group::Group, turn::Turn};

/// What was last read.
#[derive(Debug, Default)]
pub(super) struct Residents {
    vms: BTreeMap<VmId, (Group, Option<ByteCount>)>,
    turn: Turn,
}

impl Residents {
    /// Reads the `groups` of VMs in `live`, of those never read before, and of others in turn.
    pub(super) fn read(&mut self, groups: BTreeMap<VmId, Group>, live: &BTreeSet<VmId>) {
        self.vms.retain(|vm, (group, _)| groups.get(vm) == Some(group));
        let now = |vm: &VmId| live.contains(vm) || !self.vms.contains_key(vm);
        let (now, others): (BTreeSet<VmId>, BTreeSet<VmId>) = groups.keys().copied().partition(now);
        let others = self.turn.take(&others, IN_TURN);
        for (vm, group) in groups {
            if now.contains(&vm) || others.contains(&vm) {
                let resident = group.resident();
                self.vms.insert(vm, (group, resident));
            }
        }
    }

    /// Reads one VM now, when it has a group: `Some(None)` says that the group is gone.
    pub(super) fn read_one(&mut self, vm: VmId) -> Option<Option<ByteCount>> {
        let (group, resident) = self.vms.get_mut(&vm)?;
        *resident = group.resident();
        Some(*resident)
    }

    /// What was last read of a VM, when it has a group.
    pub(super) fn of(&self, vm: VmId) -> Option<Option<ByteCount>> {
        self.vms.get(&vm).map(|(_, resident)| *resident)
    }
}

/// Besides those that are read at once: some 30 µs each.
const IN_TURN: usize = 64;
