//! [`Conditions`]: what is wrong or unusual now, by name.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// One thing that is wrong or unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is wrong, with the value, and what to do.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
}

/// Everything that is wrong or unusual now. Names are fixed texts, so their number is bounded by
/// the program.
#[derive(Debug, Default)]
pub struct Conditions {
    now: Mutex<BTreeMap<&'static str, Condition>>,
}

impl Conditions {
    /// Says that something is wrong; where it was said before, only the message changes.
    pub fn raise(&self, reason: &'static str, message: String, now: SystemTime) {
        let mut all = self.lock();
        let since = all.get(reason).map_or(now, |before| before.since);
        all.insert(reason, Condition { message, since });
    }

    /// Says that something is right again. True where it was wrong.
    pub fn clear(&self, reason: &'static str) -> bool {
        self.lock().remove(reason).is_some()
    }

    /// True while this is wrong.
    #[must_use]
    pub fn has(&self, reason: &str) -> bool {
        self.lock().contains_key(reason)
    }

    /// All of them, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, Condition)> {
        let all = self.lock();
        all.iter().map(|(reason, what)| (*reason, what.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Condition>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keeps_since_when_it_is_wrong_and_forgets_it_when_right() {
        let conditions = Conditions::default();
        let start = SystemTime::UNIX_EPOCH;
        conditions.raise("DISK_FULL", "1 left".to_owned(), start);
        conditions.raise("DISK_FULL", "0 left".to_owned(), start + Duration::from_secs(5));
        let (message, since) = ("0 left".to_owned(), start);
        assert_eq!(conditions.all(), [("DISK_FULL", Condition { message, since })]);
        assert!(conditions.has("DISK_FULL"));
        assert!(conditions.clear("DISK_FULL"));
        assert!(!conditions.clear("DISK_FULL"));
        assert_eq!(conditions.all(), []);
    }
}
