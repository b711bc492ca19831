//! [`Lives`]: which life of its kernel a VM is in.
//!
//! A kernel that starts anew has a new balloon driver, other figures and none of its old promises.
//! libvirt tells of starts and reboots by events, and numbers its starts; where an event was lost,
//! the counters of the kernel itself show it: they only ever grow.
//!
//! Over time in which events were missed a life goes on only where the VM demonstrably is the same
//! process, started under the same number, and no counter shows another kernel. A reboot that none
//! of them shows is taken for the old life: then orders in doubt stay booked for too long. To forget
//! one that is still in force would be worse.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{sample::GuestFigures, vm::VmId};

use super::process::Process;

/// The lives of all VMs.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Given out so far: no two lives have the same number, of one VM or of two.
    given: u64,
    vms: BTreeMap<VmId, Life>,
}

/// What is known of the life that a VM is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// Its number.
    pub(super) generation: u64,
    /// The VM is another process than it was, or may be: what it is made of has to be learned anew.
    pub(super) is_another_process: bool,
}

#[derive(Debug)]
struct Life {
    generation: u64,
    /// libvirt's number of the start.
    start: Option<u32>,
    process: Option<Process>,
    since: Since,
    counters: [Option<u64>; 3],
}

/// What happened since a VM was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// Nothing: an event would have told.
    Nothing,
    /// Nobody knows: events were missed.
    Unknown,
    /// Its kernel began anew.
    Anew,
}

impl Lives {
    /// The number of a VM's present life. `start` is libvirt's number of its start, `process` looks
    /// for its process, and `guest` are its latest figures: where they show that a new life has
    /// begun, it has a new number.
    pub(super) fn of(
        &mut self,
        vm: VmId,
        start: Option<u32>,
        process: impl FnOnce() -> Option<Process>,
        guest: &GuestFigures,
    ) -> Present {
        let now = counters(guest);
        let known = self.vms.remove(&vm);
        let same_start = known.as_ref().filter(|life| !life.is_other_start(start));
        let certain = same_start.filter(|life| life.since == Since::Nothing);
        let process = certain.and_then(|life| life.process).or_else(process);
        let same = same_start.filter(|life| life.is_of(process));
        let is_another_process = same.is_none();
        let start = start.or_else(|| same.and_then(|life| life.start));
        let goes_on = same.filter(|life| life.since != Since::Anew && !life.fell(now));
        let (generation, counters) = match goes_on {
            Some(life) => (life.generation, life.counters_with(now)),
            None => (self.give(), now),
        };
        let since = Since::Nothing;
        self.vms.insert(vm, Life { generation, start, process, since, counters });
        Present { generation, is_another_process }
    }

    /// Ends the life of a VM's kernel: it started, rebooted, came by migration or from a save.
    pub(super) fn end(&mut self, vm: VmId) {
        if let Some(life) = self.vms.get_mut(&vm) {
            life.since = Since::Anew;
        }
    }

    /// Nobody knows what happened meanwhile.
    pub(super) fn question_all(&mut self) {
        let unsure = self.vms.values_mut().filter(|life| life.since == Since::Nothing);
        unsure.for_each(|life| life.since = Since::Unknown);
    }

    /// Forgets a VM that is off: when it is seen again it is another process.
    pub(super) fn forget(&mut self, vm: VmId) {
        self.vms.remove(&vm);
    }

    /// Forgets all other VMs.
    pub(super) fn forget_all_but(&mut self, vms: &BTreeSet<VmId>) {
        self.vms.retain(|vm, _| vms.contains(vm));
    }

    fn give(&mut self) -> u64 {
        self.given = self.given.saturating_add(1);
        self.given
    }
}

impl Life {
    fn is_other_start(&self, start: Option<u32>) -> bool {
        matches!((self.start, start), (Some(known), Some(now)) if known != now)
    }

    /// True for the process that lives it: where no event told otherwise, or it is seen to be.
    fn is_of(&self, process: Option<Process>) -> bool {
        self.since == Since::Nothing || (process.is_some() && self.process == process)
    }

    fn fell(&self, counters: [Option<u64>; 3]) -> bool {
        let fell = |(last, now): (&Option<u64>, Option<u64>)| now.is_some() && now < *last;
        self.counters.iter().zip(counters).any(fell)
    }

    fn counters_with(&self, mut counters: [Option<u64>; 3]) -> [Option<u64>; 3] {
        for (now, last) in counters.iter_mut().zip(self.counters) {
            *now = now.or(last);
        }
        counters
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
    const QUIET: GuestFigures = GuestFigures {
        unused: None,
        usable: None,
        swap_in: None,
        swap_out: None,
        major_faults: None,
    };

    fn guest(swap_out: Option<u32>, major_faults: Option<u64>) -> GuestFigures {
        let swap_out = swap_out.map(ByteCount::mib);
        GuestFigures { swap_out, major_faults, ..GuestFigures::default() }
    }

    fn begun(began: u64) -> impl Fn() -> Option<Process> {
        move || Some(Process::begun(began))
    }

    /// The generation of one whose process nobody tells.
    fn life(lives: &mut Lives, vm: VmId, start: Option<u32>, guest: &GuestFigures) -> u64 {
        lives.of(vm, start, || None, guest).generation
    }

    #[test]
    fn a_life_goes_on_until_it_is_ended() {
        let mut lives = Lives::default();
        let of = |lives: &mut Lives, vm, start| life(lives, vm, start, &QUIET);
        let (first, other) = (of(&mut lives, VM, Some(1)), of(&mut lives, OTHER, Some(2)));
        assert_ne!(first, other);
        assert_eq!(of(&mut lives, VM, Some(1)), first);
        assert_eq!(of(&mut lives, VM, None), first, "an answer without a number ends nothing");
        lives.end(VM);
        let second = of(&mut lives, VM, Some(1));
        assert_ne!(second, first);
        assert_eq!(of(&mut lives, OTHER, Some(2)), other);
        lives.question_all();
        let unproven = "nobody shows that they are the same";
        assert!(of(&mut lives, OTHER, Some(2)) > second, "{unproven}");
        assert!(of(&mut lives, VM, Some(1)) > second, "{unproven}");
    }

    #[test]
    fn a_life_goes_on_over_what_was_missed_in_the_same_process_alone() {
        let mut lives = Lives::default();
        let of = |lives: &mut Lives, start, began| lives.of(VM, start, begun(began), &QUIET);
        let first = of(&mut lives, Some(1), 500);
        assert!(first.is_another_process, "it was never seen");
        let known = Present { is_another_process: false, ..first };
        lives.question_all();
        assert_eq!(of(&mut lives, Some(1), 500), known);
        lives.question_all();
        lives.question_all();
        assert_eq!(of(&mut lives, None, 500), known);
        lives.question_all();
        // libvirt counts its starts anew when it starts itself.
        let second = of(&mut lives, Some(1), 700);
        assert!(second.generation > first.generation && second.is_another_process);
        lives.question_all();
        let third = of(&mut lives, Some(2), 700);
        assert!(third.generation > second.generation && third.is_another_process);
        lives.question_all();
        let unknown = lives.of(VM, Some(2), || None, &QUIET);
        assert!(unknown.generation > third.generation && unknown.is_another_process);
        // What was not known at first is learned later, and counts from then on.
        let known = of(&mut lives, Some(2), 700);
        assert_eq!((known.generation, known.is_another_process), (unknown.generation, false));
        lives.question_all();
        assert_eq!(of(&mut lives, Some(2), 700), known);
    }

    #[test]
    fn a_reboot_ends_the_life_and_not_the_process() {
        let mut lives = Lives::default();
        let of = |lives: &mut Lives| lives.of(VM, Some(1), begun(500), &QUIET);
        let first = of(&mut lives);
        lives.end(VM);
        // What is known is not forgotten over what is not.
        lives.question_all();
        let second = of(&mut lives);
        assert!(second.generation > first.generation && !second.is_another_process);
        lives.forget(VM);
        let third = of(&mut lives);
        assert!(third.generation > second.generation && third.is_another_process, "it was off");
    }

    #[test]
    fn a_reboot_that_was_missed_is_seen_by_its_counters() {
        let mut lives = Lives::default();
        let of = |lives: &mut Lives, faults| {
            lives.of(VM, Some(1), begun(500), &guest(None, Some(faults)))
        };
        let first = of(&mut lives, 100);
        lives.question_all();
        let second = of(&mut lives, 99);
        assert!(second.generation > first.generation && !second.is_another_process);
    }

    #[test]
    fn a_start_that_no_event_told_of_is_seen_by_its_number() {
        let mut lives = Lives::default();
        let first = lives.of(VM, Some(1), begun(500), &QUIET);
        let second = lives.of(VM, Some(4), begun(700), &QUIET);
        assert!(second.generation > first.generation && second.is_another_process);
        lives.question_all();
        let third = lives.of(VM, Some(4), begun(700), &QUIET);
        assert_eq!(third.generation, second.generation, "its process was looked for anew");
    }

    #[test]
    fn counters_that_fall_are_those_of_another_kernel() {
        let mut lives = Lives::default();
        let mut of = |swap_out, faults| life(&mut lives, VM, None, &guest(swap_out, faults));
        let first = of(Some(5), Some(100));
        assert_eq!(of(Some(5), Some(101)), first);
        assert_eq!(of(None, None), first, "absent is not zero");
        let second = of(None, Some(7));
        assert_ne!(second, first, "the faults of before are remembered over the absence");
        assert_eq!(of(Some(5), Some(7)), second);
        assert_ne!(of(Some(4), Some(8)), second);
    }

    #[test]
    fn a_vm_that_was_gone_begins_anew() {
        let mut lives = Lives::default();
        let first = lives.of(VM, Some(1), begun(500), &QUIET);
        lives.forget_all_but(&BTreeSet::from([OTHER]));
        let second = lives.of(VM, Some(1), begun(500), &QUIET);
        assert!(second.generation > first.generation && second.is_another_process);
    }
}
