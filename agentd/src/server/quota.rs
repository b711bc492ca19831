//! [`Quota`]: so many of something for each, and for all together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// So many of something for each, and for all together.
#[derive(Debug)]
pub(super) struct Quota<K: Ord> {
    each: usize,
    all: usize,
    /// Only those who have some.
    taken: Mutex<BTreeMap<K, usize>>,
}

/// One that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Taken<K: Ord> {
    quota: Arc<Quota<K>>,
    key: K,
}

/// Whose quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// That of whoever asked.
    Own,
    /// That of all.
    All,
}

impl<K: Ord + Clone> Quota<K> {
    pub(super) fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { each, all, taken: Mutex::default() })
    }

    /// Takes one.
    pub(super) fn take(self: &Arc<Self>, key: K) -> Result<Taken<K>, Spent> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.get(&key).is_some_and(|own| *own >= self.each) {
            return Err(Spent::Own);
        }
        if taken.values().sum::<usize>() >= self.all {
            return Err(Spent::All);
        }
        *taken.entry(key.clone()).or_default() += 1;
        Ok(Taken { quota: Arc::clone(self), key })
    }

    /// True where somebody could take one.
    pub(super) fn has_room(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().sum::<usize>() < self.all
    }
}

impl<K: Ord> Drop for Taken<K> {
    fn drop(&mut self) {
        let mut taken = self.quota.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = taken.get_mut(&self.key) else { return };
        *own = own.saturating_sub(1);
        if *own == 0 {
            taken.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_all_together_so_many_and_what_is_given_back_is_free() {
        let quota = Quota::new(2, 3);
        let first = quota.take("a").unwrap();
        let _second = quota.take("a").unwrap();
        assert_eq!(quota.take("a").err(), Some(Spent::Own));
        let _third = quota.take("b").unwrap();
        assert!(!quota.has_room());
        assert_eq!(quota.take("b").err(), Some(Spent::All));
        drop(first);
        assert!(quota.has_room());
        assert!(quota.take("c").is_ok());
        assert_eq!(quota.taken.lock().unwrap().len(), 2, "who has none is forgotten");
    }
}
