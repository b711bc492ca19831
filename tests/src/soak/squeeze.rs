//! [`Squeezes`]: for how long VMs that were seen to swap out have had a shrink in force.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::vm::VmId;

/// How a VM that is to hold less than it does fares at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fares {
    /// It is seen to swap out.
    Swaps,
    /// It is seen, and not to swap out now. That it did is no less true for it.
    Quiet,
    /// Its figures are not to be trusted now: nothing can be told it.
    Unseen,
}

/// The VMs that were seen to swap out while a shrink is in force for them.
#[derive(Debug, Default)]
pub(super) struct Squeezes {
    open: BTreeMap<VmId, Squeeze>,
}

/// In how many turns it could have been called off, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Squeeze {
    pub(super) turns: u32,
    since: Duration,
}

impl Squeezes {
    /// Forgets everything: nothing that was seen before counts any more.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Takes in the VMs that have a shrink in force at the end of a turn. One begins with a VM that
    /// swaps, and ends only with the shrink.
    pub(super) fn follow(&mut self, shrinking: &BTreeMap<VmId, Fares>, now: Duration) {
        self.open.retain(|id, _| shrinking.contains_key(id));
        for (id, fares) in shrinking {
            match fares {
                Fares::Swaps => {
                    let own = self.open.entry(*id).or_insert(Squeeze { turns: 0, since: now });
                    own.turns += 1;
                }
                Fares::Quiet => {
                    if let Some(own) = self.open.get_mut(id) {
                        own.turns += 1;
                    }
                }
                Fares::Unseen => {}
            }
        }
    }

    /// One that should have been called off long ago, and for how long it is due; `None` where there
    /// is none.
    pub(super) fn overdue(&self, now: Duration) -> Option<(Squeeze, Duration)> {
        let due = |own: &Squeeze| (*own, now.saturating_sub(own.since));
        let mut all = self.open.values().map(due);
        all.find(|(own, passed)| own.turns > TURNS && *passed > TIME)
    }
}

/// A report is needed to see that a VM swaps, and one turn to tell it.
const TURNS: u32 = 2;
/// One report more is needed where the first is of a kernel that has just begun.
const TIME: Duration = Duration::from_millis(2_500);

#[cfg(test)]
mod tests {
    use super::*;

    const VM: VmId = VmId::from_bytes([1; 16]);

    /// Whether it is overdue after turns of a second each in which a VM fared so; `None` where it had
    /// no shrink in force.
    fn overdue(turns: &[Option<Fares>]) -> bool {
        let mut squeezes = Squeezes::default();
        let mut now = Duration::ZERO;
        for fares in turns {
            now += Duration::from_secs(1);
            let shrinking = fares.map(|fares| (VM, fares)).into_iter().collect();
            squeezes.follow(&shrinking, now);
        }
        squeezes.overdue(now).is_some()
    }

    #[test]
    fn a_shrink_that_goes_on_although_the_vm_swaps_is_overdue_and_one_called_off_is_not() {
        use Fares::{Quiet, Swaps};
        assert!(overdue(&[Some(Swaps); 4]));
        assert!(!overdue(&[Some(Swaps); 3]));
        assert!(!overdue(&[Some(Swaps), Some(Swaps), None, Some(Swaps), Some(Swaps)]));
        assert!(!overdue(&[Some(Quiet); 10]), "who never swapped may give");
    }

    #[test]
    fn a_quiet_report_does_not_end_it_and_what_nobody_could_see_does_not_count() {
        use Fares::{Quiet, Swaps, Unseen};
        assert!(overdue(&[Some(Swaps), Some(Quiet), Some(Quiet), Some(Quiet)]));
        assert!(!overdue(&[Some(Swaps), Some(Unseen), Some(Unseen), Some(Unseen)]));
        assert!(overdue(&[Some(Swaps), Some(Unseen), Some(Quiet), Some(Quiet)]));
    }

    #[test]
    fn nothing_of_before_counts_once_it_is_cleared() {
        let mut squeezes = Squeezes::default();
        let shrinking = BTreeMap::from([(VM, Fares::Swaps)]);
        let second = Duration::from_secs;
        (1..=4).for_each(|at| squeezes.follow(&shrinking, second(at)));
        squeezes.clear();
        squeezes.follow(&shrinking, second(5));
        assert_eq!(squeezes.overdue(second(5)), None);
    }
}
