//! [`Arming`]: has every VM's balloon driver report. Without a statistics period its figures stay those of
//! its boot, and each start loses the period.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::vm::VmId;

use super::{chore::Chore, question::arm, scatter::Desk};

/// The VMs that are told to report, and those that libvirt would not tell.
#[derive(Debug)]
pub(super) struct Arming {
    /// The outcome is whether a VM reports.
    chore: Chore<bool>,
    /// Those of which libvirt said that it never will: that may be so for a moment only.
    refused: BTreeMap<VmId, Refusal>,
}

/// When a VM that could not be armed is to be tried again, in readings.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// From now on.
    rest: u32,
    /// From the last attempt on.
    pause: u32,
}

impl Arming {
    /// VMs are to report every `period` seconds.
    pub(super) fn new(period: i32) -> Self {
        let chore = Chore::new("have its figures reported by", move |wire, vm| {
            let refused = arm(wire, vm, period)?;
            if let Some(words) = &refused {
                tracing::info!("VM {vm} does not report its memory, and is tried again: {words}");
            }
            Ok(refused.is_none())
        });
        Self { chore, refused: BTreeMap::new() }
    }

    /// Has a VM armed again, which started: nothing that was said of it before counts.
    pub(super) fn restart(&mut self, vm: VmId) {
        self.refused.remove(&vm);
        self.chore.restart(vm);
    }

    /// Starts over with all VMs.
    pub(super) fn restart_all(&mut self) {
        self.refused.clear();
        self.chore.restart_all();
    }

    /// The VMs that a call hangs on.
    pub(super) fn pending(&self) -> BTreeSet<VmId> {
        self.chore.pending()
    }

    /// True for a VM that reports by itself.
    pub(super) fn is_armed(&self, vm: VmId) -> bool {
        self.chore.outcome(vm) == Some(true)
    }

    /// What arms a VM again that is to report no more.
    pub(super) fn chore(&self) -> Chore<bool> {
        self.chore.clone()
    }

    /// Arms the VMs of a reading that have to be.
    pub(super) fn run(&mut self, there: &BTreeSet<VmId>, desk: Desk<'_>) {
        self.chore.sight(there);
        self.try_again(there);
        self.chore.run(desk);
    }

    /// Has those armed again whose pause is over.
    fn try_again(&mut self, there: &BTreeSet<VmId>) {
        self.refused.retain(|vm, _| there.contains(vm));
        for vm in there {
            let Some(is_armed) = self.chore.outcome(*vm) else { continue };
            if is_armed {
                self.refused.remove(vm);
            } else if self.refused.entry(*vm).or_insert(Refusal::FIRST).is_over() {
                self.chore.restart(*vm);
            }
        }
    }
}

impl Refusal {
    /// A minute or so.
    const FIRST: Self = Self { rest: 32, pause: 32 };
    /// An hour or so where ticks come every two seconds.
    const LONGEST: u32 = 2048;

    /// Counts another reading; true when that ends the pause. The next one is twice as long.
    fn is_over(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 {
            return false;
        }
        self.pause = self.pause.saturating_mul(2).min(Self::LONGEST);
        self.rest = self.pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::hypervisor::libvirt::crew::Crew;

    const VM: VmId = VmId::from_bytes([1; 16]);

    /// Of a VM that is armed from this attempt on, and how often that was tried.
    fn armed_from(attempt: u32) -> (Arming, Arc<AtomicU32>) {
        let tried = Arc::new(AtomicU32::new(0));
        let count = tried.clone();
        let work = move |_: &_, _| Ok(count.fetch_add(1, Ordering::SeqCst) >= attempt);
        let chore = Chore::new("arm", work);
        (Arming { chore, refused: BTreeMap::new() }, tried)
    }

    /// A reading, and what it begins.
    fn read(arming: &mut Arming, vm: VmId, crew: &Crew) {
        arming.run(&BTreeSet::from([vm]), (crew, 0));
        while crew.calls() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_cannot_be_armed_is_tried_again_ever_more_seldom() {
        let (crew, (mut arming, tried)) = (Crew::of_test_world(1), armed_from(u32::MAX));
        let tries = (0..9000_u32).filter(|_| {
            let before = tried.load(Ordering::SeqCst);
            read(&mut arming, VM, &crew);
            tried.load(Ordering::SeqCst) > before
        });
        let tries: Vec<u32> = tries.collect();
        let pauses: Vec<u32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [32, 64, 128, 256, 512, 1024, 2048, 2048, 2048]);
        assert!(!arming.is_armed(VM));
    }

    #[test]
    fn who_could_not_be_armed_for_a_moment_is_armed_soon_and_after_a_start_at_once() {
        let (crew, (mut arming, tried)) = (Crew::of_test_world(1), armed_from(1));
        let armed_after = |arming: &mut Arming| {
            (1..100).find(|_| {
                read(arming, VM, &crew);
                arming.is_armed(VM)
            })
        };
        assert_eq!(armed_after(&mut arming), Some(33));
        read(&mut arming, VM, &crew);
        assert!(arming.refused.is_empty(), "it reports");
        assert_eq!(tried.load(Ordering::SeqCst), 2, "and is not asked to any more");

        let (mut arming, _) = armed_from(1);
        read(&mut arming, VM, &crew);
        arming.restart(VM);
        assert_eq!(armed_after(&mut arming), Some(1));
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone_or_of_before_a_new_connection() {
        let (crew, (mut arming, _)) = (Crew::of_test_world(1), armed_from(u32::MAX));
        let other = VmId::from_bytes([2; 16]);
        (0..2).for_each(|_| read(&mut arming, VM, &crew));
        assert_eq!(arming.refused.len(), 1);
        read(&mut arming, other, &crew);
        assert!(!arming.refused.contains_key(&VM));
        read(&mut arming, other, &crew);
        assert!(arming.refused.contains_key(&other));
        arming.restart_all();
        assert!(arming.refused.is_empty() && arming.chore.outcome(other).is_none());
    }
}
