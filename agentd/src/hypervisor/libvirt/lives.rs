//! [`Lives`]: which life of its kernel a VM is in.
//!
//! A kernel that starts anew has a new balloon driver, other figures and none of its old promises.
//! libvirt tells of starts and reboots by events, and numbers its starts; where an event was lost,
//! the counters of the kernel itself show it: they only ever grow.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{sample::GuestFigures, vm::VmId};

/// The lives of all VMs.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Given out so far: no two lives have the same number, of one VM or of two.
    given: u64,
    vms: BTreeMap<VmId, Life>,
}

#[derive(Debug)]
struct Life {
    generation: u64,
    /// libvirt's number of the start.
    start: Option<u32>,
    counters: [Option<u64>; 3],
}

impl Lives {
    /// The number of a VM's present life. `start` is libvirt's number of its start and `guest` its
    /// latest figures: where they show that a new life has begun, it has a new number.
    pub(super) fn of(&mut self, vm: VmId, start: Option<u32>, guest: &GuestFigures) -> u64 {
        let counters = counters(guest);
        let known = self.vms.get_mut(&vm).filter(|life| !life.is_over(start, counters));
        if let Some(life) = known {
            life.start = start.or(life.start);
            for (last, now) in life.counters.iter_mut().zip(counters) {
                *last = now.or(*last);
            }
            return life.generation;
        }
        self.given = self.given.saturating_add(1);
        let generation = self.given;
        self.vms.insert(vm, Life { generation, start, counters });
        generation
    }

    /// Ends a VM's life: it started, rebooted, came by migration or from a save.
    pub(super) fn end(&mut self, vm: VmId) {
        self.vms.remove(&vm);
    }

    /// Ends all lives: nobody knows what happened meanwhile.
    pub(super) fn end_all(&mut self) {
        self.vms.clear();
    }

    /// Forgets all other VMs.
    pub(super) fn forget_all_but(&mut self, vms: &BTreeSet<VmId>) {
        self.vms.retain(|vm, _| vms.contains(vm));
    }
}

impl Life {
    fn is_over(&self, start: Option<u32>, counters: [Option<u64>; 3]) -> bool {
        let other_start = matches!((self.start, start), (Some(known), Some(now)) if known != now);
        let fell = |(last, now): (&Option<u64>, Option<u64>)| now.is_some() && now < *last;
        other_start || self.counters.iter().zip(counters).any(fell)
    }
}

/// What only ever grows in the life of a kernel.
fn counters(guest: &GuestFigures) -> [Option<u64>; 3] {
    let bytes = |amount: Option<agentd_core::bytes::ByteCount>| amount.map(|bytes| bytes.as_u64());
    [bytes(guest.swap_in), bytes(guest.swap_out), guest.major_faults]
}

#[cfg(test)]
mod tests {
    use agentd_core::bytes::ByteCount;

    use super::*;

    const VM: VmId = VmId::from_bytes([1; 16]);
    const OTHER: VmId = VmId::from_bytes([2; 16]);

    fn guest(swap_out: Option<u32>, major_faults: Option<u64>) -> GuestFigures {
        let swap_out = swap_out.map(ByteCount::mib);
        GuestFigures { swap_out, major_faults, ..GuestFigures::default() }
    }

    #[test]
    fn a_life_goes_on_until_it_is_ended() {
        let mut lives = Lives::default();
        let quiet = GuestFigures::default();
        let (first, other) = (lives.of(VM, Some(1), &quiet), lives.of(OTHER, Some(2), &quiet));
        assert_ne!(first, other);
        assert_eq!(lives.of(VM, Some(1), &quiet), first);
        assert_eq!(lives.of(VM, None, &quiet), first, "an answer without a number ends nothing");
        lives.end(VM);
        let second = lives.of(VM, Some(1), &quiet);
        assert_ne!(second, first);
        assert_eq!(lives.of(OTHER, Some(2), &quiet), other);
        lives.end_all();
        assert!(
            lives.of(OTHER, Some(2), &quiet) > second && lives.of(VM, Some(1), &quiet) > second
        );
    }

    #[test]
    fn a_start_that_no_event_told_of_is_seen_by_its_number() {
        let mut lives = Lives::default();
        let first = lives.of(VM, Some(1), &GuestFigures::default());
        assert_ne!(lives.of(VM, Some(4), &GuestFigures::default()), first);
    }

    #[test]
    fn counters_that_fall_are_those_of_another_kernel() {
        let mut lives = Lives::default();
        let first = lives.of(VM, None, &guest(Some(5), Some(100)));
        assert_eq!(lives.of(VM, None, &guest(Some(5), Some(101))), first);
        assert_eq!(lives.of(VM, None, &guest(None, None)), first, "absent is not zero");
        let second = lives.of(VM, None, &guest(None, Some(7)));
        assert_ne!(second, first, "the faults of before are remembered over the absence");
        assert_eq!(lives.of(VM, None, &guest(Some(5), Some(7))), second);
        assert_ne!(lives.of(VM, None, &guest(Some(4), Some(8))), second);
    }

    #[test]
    fn a_vm_that_was_gone_begins_anew() {
        let mut lives = Lives::default();
        let first = lives.of(VM, Some(1), &GuestFigures::default());
        lives.forget_all_but(&BTreeSet::from([OTHER]));
        assert_ne!(lives.of(VM, Some(1), &GuestFigures::default()), first);
    }
}
