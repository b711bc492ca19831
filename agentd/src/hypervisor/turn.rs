//! [`Turn`]: so many of all VMs at a time, one after the other, so that each has its turn.

use std::{collections::BTreeSet, ops::Bound};

use agentd_core::vm::VmId;

/// Who was last.
#[derive(Debug, Default)]
pub(super) struct Turn(Option<VmId>);

impl Turn {
    /// The next of `all`, `most` at most, in the order of their ids and round again.
    pub(super) fn take(&mut self, all: &BTreeSet<VmId>, most: usize) -> Vec<VmId> {
        let after = self.0.map_or(Bound::Unbounded, Bound::Excluded);
        let until = self.0.map_or(Bound::Excluded(VmId::from_bytes([0; 16])), Bound::Included);
        let rest = all.range((after, Bound::Unbounded));
        let again = all.range((Bound::Unbounded, until));
        let taken: Vec<VmId> = rest.chain(again).copied().take(most).collect();
        self.0 = taken.last().copied().or(self.0);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vms(numbers: &[u8]) -> Vec<VmId> {
        numbers.iter().map(|number| VmId::from_bytes([*number; 16])).collect()
    }

    #[test]
    fn everyone_has_a_turn_also_when_some_come_and_go() {
        let mut turn = Turn::default();
        let all: BTreeSet<VmId> = vms(&[1, 2, 3, 4, 5]).into_iter().collect();
        assert_eq!(turn.take(&all, 2), vms(&[1, 2]));
        assert_eq!(turn.take(&all, 2), vms(&[3, 4]));
        assert_eq!(turn.take(&all, 2), vms(&[5, 1]));
        let others: BTreeSet<VmId> = vms(&[1, 6]).into_iter().collect();
        assert_eq!(turn.take(&others, 9), vms(&[6, 1]), "nobody twice");
        assert_eq!(turn.take(&others, 0), []);
        assert_eq!(turn.take(&BTreeSet::new(), 9), []);
        assert_eq!(turn.take(&all, 9), vms(&[2, 3, 4, 5, 1]));
    }
}
