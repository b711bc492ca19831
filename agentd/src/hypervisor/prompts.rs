//! [`Prompts`]: which VMs are asked to report when they are read, so that a tick decides by what is so now
//! and not by what was so up to a period ago. Nobody else reads figures so fresh: see decision 12.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::vm::VmId;

use super::turn::Turn;

/// Who is asked to report, reading by reading.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    /// Among those that are read live.
    live: Turn,
    /// Among the others.
    others: Turn,
    /// For how many readings a VM that was late is spared.
    spared: BTreeMap<VmId, u32>,
}

impl Prompts {
    /// Whom to ask of those that are `armed`: the ones that are `live`, and of the others some in turn,
    /// because nobody knows who is about to grow.
    pub(super) fn choose(
        &mut self,
        armed: impl Iterator<Item = VmId>,
        live: &BTreeSet<VmId>,
    ) -> Vec<VmId> {
        self.spared.retain(|_, readings| {
            *readings = readings.saturating_sub(1);
            *readings > 0
        });
        let (live, others): (BTreeSet<VmId>, BTreeSet<VmId>) =
            armed.filter(|vm| !self.spared.contains_key(vm)).partition(|vm| live.contains(vm));
        let mut chosen = self.live.take(&live, MOST_LIVE);
        chosen.extend(self.others.take(&others, MOST_IDLE.saturating_sub(chosen.len())));
        chosen
    }

    /// Spares these for a while.
    pub(super) fn spare(&mut self, late: impl Iterator<Item = VmId>) {
        self.spared.extend(late.map(|vm| (vm, SPARED)));
    }
}

/// VMs asked in one reading, on two connections side by side: some milliseconds each.
const MOST_LIVE: usize = 64;
/// Where fewer are live, so many in all: on most hosts all of them.
const MOST_IDLE: usize = 16;
/// Readings for which one that was late is not asked: what a call that is under way when the bulk call comes costs, a VM that
/// looks as if it did not answer, is then rare.
const SPARED: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn vms(numbers: std::ops::Range<u8>) -> BTreeSet<VmId> {
        numbers.map(|number| VmId::from_bytes([number; 16])).collect()
    }

    #[test]
    fn the_live_ones_are_asked_each_time_and_the_others_in_turn() {
        let (mut prompts, all, live) = (Prompts::default(), vms(0..40), vms(30..34));
        let mut asked = BTreeSet::new();
        for _ in 0..3 {
            let chosen: BTreeSet<VmId> =
                prompts.choose(all.iter().copied(), &live).into_iter().collect();
            assert_eq!(chosen.len(), MOST_IDLE);
            assert!(chosen.is_superset(&live), "{chosen:?}");
            asked.extend(chosen);
        }
        assert_eq!(asked, all, "three times twelve others");
    }

    #[test]
    fn who_was_late_is_spared_for_a_while() {
        let (mut prompts, all) = (Prompts::default(), vms(0..3));
        let late = VmId::from_bytes([1; 16]);
        prompts.spare([late].into_iter());
        let is_asked =
            |prompts: &mut Prompts| prompts.choose(all.iter().copied(), &all).contains(&late);
        let spared = (0..2 * SPARED).take_while(|_| !is_asked(&mut prompts)).count();
        assert_eq!(spared, 31);
        assert!(prompts.spared.is_empty());
    }

    #[test]
    fn no_more_are_asked_than_a_reading_has_time_for() {
        let (mut prompts, all) = (Prompts::default(), vms(0..200));
        let mut asked = BTreeSet::new();
        for _ in 0..4 {
            let chosen = prompts.choose(all.iter().copied(), &all);
            assert_eq!(chosen.len(), MOST_LIVE);
            asked.extend(chosen);
        }
        assert_eq!(asked, all);
    }
}
