//! [`Quota`]: so many of something for each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// So many of something for each.
#[derive(Debug)]
pub(super) struct Quota<K: Ord> {
    each: usize,
    /// Only those who have some.
    taken: Mutex<BTreeMap<K, usize>>,
}

/// One that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Taken<K: Ord> {
    quota: Arc<Quota<K>>,
    key: K,
}

impl<K: Ord + Clone> Quota<K> {
    pub(super) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// Takes one; `None` where all are taken.
    pub(super) fn take(self: &Arc<Self>, key: K) -> Option<Taken<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(key.clone()).or_default();
        if *own >= self.each {
            return None;
        }
        *own += 1;
        Some(Taken { quota: Arc::clone(self), key })
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
    fn each_has_so_many_and_what_is_given_back_is_free() {
        let quota = Quota::new(2);
        let first = quota.take("a").unwrap();
        let _second = quota.take("a").unwrap();
        assert!(quota.take("a").is_none());
        let third = quota.take("b").unwrap();
        drop(first);
        assert!(quota.take("a").is_some());
        drop(third);
        assert_eq!(quota.taken.lock().unwrap().len(), 1, "who has none is forgotten");
    }
}
