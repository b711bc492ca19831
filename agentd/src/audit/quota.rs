//! [`Quota`]: how many denials are written one by one. Whoever is denied again and again fills no disk
//! and pushes nothing else out of the audit: the rest is counted.

use std::{collections::BTreeMap, time::Duration};

use super::record::{Call, Counted, Decision};

/// Denials of the last minute, by caller.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// When the minute began, monotonic.
    began: Duration,
    /// All that were written in it.
    written: u32,
    callers: BTreeMap<(String, Decision), Own>,
}

/// Those of one caller.
#[derive(Debug, Default)]
struct Own {
    written: u32,
    /// How many were not, and the last of them.
    counted: Option<(u64, Call)>,
}

impl Quota {
    /// Whether one more is to be written. Where it is not, it is counted.
    pub(super) fn admit(&mut self, call: &Call, decision: Decision) -> bool {
        let own = (call.caller.who.clone(), decision);
        let is_known = self.callers.contains_key(&own) || self.callers.len() < CALLERS;
        let own = if is_known { own } else { (OTHERS.to_owned(), decision) };
        let own = self.callers.entry(own).or_default();
        if own.written < EACH && self.written < ALL {
            own.written = own.written.saturating_add(1);
            self.written = self.written.saturating_add(1);
            return true;
        }
        let count = own.counted.as_ref().map_or(0, |(count, _)| *count);
        own.counted = Some((count.saturating_add(1), call.clone()));
        false
    }

    /// What was counted in the minute that is over, if it is; the next one begins then.
    pub(super) fn take_over(&mut self, now: Duration) -> Vec<Counted> {
        if now < self.began.saturating_add(MINUTE) {
            return Vec::new();
        }
        self.take_all(now)
    }

    /// What was counted so far.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<Counted> {
        let over = std::mem::take(self);
        self.began = now;
        let counted = over.callers.into_iter().filter_map(|((who, decision), own)| {
            let (count, last) = own.counted?;
            Some(Counted { who, decision, count, last })
        });
        counted.collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Of one caller in a minute: enough to see what it tries.
const EACH: u32 = 10;
/// Of all callers in a minute.
const ALL: u32 = 100;
/// Callers that are told apart in a minute.
const CALLERS: usize = 64;
/// Those beyond them.
const OTHERS: &str = "others";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::Caller;

    fn call(who: &str) -> Call {
        let caller = Caller { who: who.to_owned(), ..Caller::default() };
        Call { caller, method: "m".to_owned(), ..Call::default() }
    }

    #[test]
    fn ten_of_a_caller_are_written_in_a_minute_and_the_rest_is_counted() {
        let mut quota = Quota::default();
        let admitted = |quota: &mut Quota, who, times: u32| {
            (0..times).filter(|_| quota.admit(&call(who), Decision::Denied)).count()
        };
        assert_eq!(admitted(&mut quota, "a", 1000), 10);
        assert_eq!(admitted(&mut quota, "b", 3), 3);
        assert!(quota.admit(&call("a"), Decision::Refused));
        assert_eq!(quota.take_over(Duration::from_secs(59)), []);
        let counted = quota.take_over(Duration::from_secs(60));
        let (who, decision, last) = ("a".to_owned(), Decision::Denied, call("a"));
        assert_eq!(counted, [Counted { who, decision, count: 990, last }]);
        assert_eq!(admitted(&mut quota, "a", 11), 10);
    }

    #[test]
    fn many_callers_together_have_a_bound_too() {
        let mut quota = Quota::default();
        let all = (0..5000).map(|n| call(&format!("caller {n}")));
        let written = all.filter(|call| quota.admit(call, Decision::Denied)).count();
        let counted = quota.take_all(Duration::ZERO);
        assert_eq!(written, 64 + 10, "one each of those told apart, and the others as one");
        assert_eq!(counted.iter().map(|own| own.count).sum::<u64>(), 5000 - 74);
        assert_eq!(counted.len(), 1);
    }
}
