//! [`ByVm`]: something of each VM, in the order of their ids.
//!
//! A tick makes these whole and reads them side by side, and looks up few: in one piece of memory
//! that costs a fraction of what it does in a tree.

use std::{cmp::Ordering, fmt, iter::Map, slice};

use crate::vm::VmId;

/// Something of each VM, in the order of their ids; of each at most one.
#[derive(Clone, PartialEq, Eq)]
pub struct ByVm<V>(Vec<(VmId, V)>);

impl<V> ByVm<V> {
    /// Nothing of any VM.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// All of these, which are in the order of their ids, and none twice: as they come of something that is.
    #[must_use]
    pub fn in_order(all: Vec<(VmId, V)>) -> Self {
        debug_assert!(all.is_sorted_by(|(one, _), (next, _)| one < next), "not in order");
        Self(all)
    }

    /// All of these; of several of one VM, what `join` makes of the one before and the one after.
    #[must_use]
    pub fn joined(mut all: Vec<(VmId, V)>, join: impl Fn(&mut V, &mut V)) -> Self {
        if !all.is_sorted_by(|(one, _), (next, _)| one < next) {
            all.sort_by_key(|(id, _)| *id);
            all.dedup_by(|(next, after), (one, before)| {
                let same = next == one;
                if same {
                    join(before, after);
                }
                same
            });
        }
        Self(all)
    }

    /// Of how many VMs there is something.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is nothing of any VM.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What there is of a VM.
    #[must_use]
    pub fn get(&self, id: &VmId) -> Option<&V> {
        self.0.get(self.place(id).ok()?).map(|(_, value)| value)
    }

    /// The same, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, id: &VmId) -> Option<&mut V> {
        let place = self.place(id).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// True when there is something of a VM.
    #[must_use]
    pub fn contains_key(&self, id: &VmId) -> bool {
        self.place(id).is_ok()
    }

    /// Puts something of a VM in the place of what there was of it. All that comes after has to move:
    /// of many VMs, collect it.
    pub fn insert(&mut self, id: VmId, value: V) -> Option<V> {
        match self.place(&id) {
            Ok(place) => self.0.get_mut(place).map(|(_, old)| std::mem::replace(old, value)),
            Err(place) => {
                self.0.insert(place, (id, value));
                None
            }
        }
    }

    /// Puts all of these in the place of what there was of their VMs.
    pub fn extend(&mut self, more: Vec<(VmId, V)>) {
        if !more.is_empty() {
            let mut all = std::mem::take(&mut self.0);
            all.extend(more);
            *self = Self::from(all);
        }
    }

    /// Takes away what there is of a VM.
    pub fn remove(&mut self, id: &VmId) -> Option<V> {
        self.place(id).ok().map(|place| self.0.remove(place).1)
    }

    /// Takes away all that is not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&VmId, &mut V) -> bool) {
        self.0.retain_mut(|(id, value)| keep(id, value));
    }

    /// All, in the order of the ids.
    pub fn iter(&self) -> Iter<'_, V> {
        self.into_iter()
    }

    /// The VMs.
    pub fn keys(&self) -> impl Iterator<Item = &VmId> + Clone {
        self.0.iter().map(|(id, _)| id)
    }

    /// What there is of each.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// To be read beside others in the same order.
    #[must_use]
    pub fn beside(&self) -> Beside<'_, V> {
        Beside(&self.0)
    }

    fn place(&self, id: &VmId) -> Result<usize, usize> {
        self.0.binary_search_by_key(id, |(known, _)| *known)
    }
}

/// What is read in the order of the ids beside something else in that order: a look-up for each of a
/// thousand VMs costs more than all that is decided about them.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a, V>(&'a [(VmId, V)]);

impl<'a, V> Beside<'a, V> {
    /// What there is of a VM. Whoever asks does so in the order of the ids.
    pub fn of(&mut self, id: VmId) -> Option<&'a V> {
        self.entry(id).map(|(_, value)| value)
    }

    /// The same with its id: to be copied from one piece of memory to another as it is.
    pub fn entry(&mut self, id: VmId) -> Option<&'a (VmId, V)> {
        while let Some((entry, rest)) = self.0.split_first() {
            match entry.0.cmp(&id) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => {
                    self.0 = rest;
                    return Some(entry);
                }
                Ordering::Greater => return None,
            }
        }
        None
    }
}

/// All, in the order of the ids.
pub type Iter<'a, V> = Map<slice::Iter<'a, (VmId, V)>, fn(&'a (VmId, V)) -> (&'a VmId, &'a V)>;

impl<'a, V> IntoIterator for &'a ByVm<V> {
    type Item = (&'a VmId, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(id, value)| (id, value))
    }
}

impl<V> FromIterator<(VmId, V)> for ByVm<V> {
    /// Of several of one VM the last counts.
    fn from_iter<All: IntoIterator<Item = (VmId, V)>>(all: All) -> Self {
        Self::from(all.into_iter().collect::<Vec<_>>())
    }
}

impl<V> From<Vec<(VmId, V)>> for ByVm<V> {
    /// Of several of one VM the last counts.
    fn from(all: Vec<(VmId, V)>) -> Self {
        Self::joined(all, std::mem::swap)
    }
}

impl<V, const N: usize> From<[(VmId, V); N]> for ByVm<V> {
    fn from(all: [(VmId, V); N]) -> Self {
        Self::from(Vec::from(all))
    }
}

impl<V> Default for ByVm<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for ByVm<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u8) -> VmId {
        VmId::from_bytes([number; 16])
    }

    fn map(numbers: &[u8]) -> ByVm<u8> {
        numbers.iter().map(|number| (id(*number), *number)).collect()
    }

    #[test]
    fn is_in_the_order_of_the_ids_however_it_comes() {
        let mut map = map(&[9, 3, 1]);
        assert_eq!(map.insert(id(4), 4), None);
        assert_eq!(map.insert(id(3), 33), Some(3));
        assert_eq!(map.remove(&id(9)), Some(9));
        let all: Vec<_> = map.iter().map(|(id, value)| (*id, *value)).collect();
        assert_eq!(all, [(id(1), 1), (id(3), 33), (id(4), 4)]);
        assert_eq!((map.get(&id(3)), map.get(&id(9))), (Some(&33), None));
    }

    #[test]
    fn of_several_of_one_vm_the_last_counts_or_what_is_made_of_them() {
        let twice = [(id(2), 1), (id(1), 2), (id(2), 4), (id(2), 8)];
        assert_eq!(ByVm::from(twice), [(id(1), 2), (id(2), 8)].into());
        let sum = ByVm::joined(twice.to_vec(), |sum, more| *sum += *more);
        assert_eq!(sum, [(id(1), 2), (id(2), 13)].into());
    }

    #[test]
    fn two_are_read_side_by_side() {
        let map = map(&[1, 3, 4, 9]);
        let mut beside = map.beside();
        let found = [0, 2, 3, 4, 5, 9, 10].map(|number| beside.of(id(number)).copied());
        assert_eq!(found, [None, None, Some(3), Some(4), None, Some(9), None]);
    }
}
