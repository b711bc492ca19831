//! [`Strangers`]: whether somebody else than VMs has taken memory of the host lately.

use std::collections::VecDeque;
use std::time::Duration;

use agentd::hypervisor::sim::Facts;
use agentd_core::bytes::ByteCount;

/// What others than VMs were seen to use of the host lately.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: VecDeque<(Duration, ByteCount)>,
    /// When they were last seen to use more than a while before.
    took_at: Option<Duration>,
}

impl Strangers {
    /// Takes in what was shown. True where they took some so lately that nobody is to reckon with it
    /// yet.
    pub(super) fn see(&mut self, facts: &Facts, now: Duration) -> bool {
        let resident = facts.vms.values().map(|vm| vm.rss).sum();
        let host = &facts.host;
        let used = host.total.saturating_sub(host.usable).saturating_sub(resident);
        let is_old = |(at, _): &(Duration, ByteCount)| now.saturating_sub(*at) > LATELY;
        while self.seen.front().is_some_and(is_old) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, used));
        let least = self.seen.iter().map(|(_, used)| *used).min().unwrap_or_default();
        if used > least.saturating_add(NOISE) {
            self.took_at = Some(now);
        }
        self.took_lately(now)
    }

    /// Time passes that agentd does not see: who took some just before is looked at anew.
    pub(super) fn hide(&mut self, now: Duration) {
        if self.took_lately(now) {
            self.took_at = Some(now);
        }
    }

    /// True where they took some lately.
    pub(super) fn took_lately(&self, now: Duration) -> bool {
        self.took_at.is_some_and(|at| now.saturating_sub(at) <= LATELY)
    }
}

/// What has stood still for fifteen seconds is the host's own; this and some turns.
const LATELY: Duration = Duration::from_secs(25);
const NOISE: ByteCount = ByteCount::mib(16);

#[cfg(test)]
mod tests {
    use super::super::fixture::host;
    use super::*;

    #[test]
    fn what_was_taken_counts_until_it_has_stood_still() {
        let mut strangers = Strangers::default();
        let mut see = |second, usable| {
            let mut facts = host(&[]);
            facts.host.usable = ByteCount::mib(usable);
            strangers.see(&facts, Duration::from_secs(second))
        };
        assert_eq!([see(0, 900), see(1, 890), see(2, 800)], [false, false, true]);
        assert_eq!([see(27, 800), see(53, 800), see(54, 900)], [true, false, false]);
    }

    #[test]
    fn what_nobody_saw_stand_still_has_not() {
        let mut strangers = Strangers::default();
        let facts = |usable| {
            let mut facts = host(&[]);
            facts.host.usable = ByteCount::mib(usable);
            facts
        };
        let second = Duration::from_secs;
        assert!(!strangers.see(&facts(900), second(0)));
        assert!(strangers.see(&facts(700), second(1)));
        strangers.hide(second(20));
        assert!(strangers.see(&facts(700), second(40)));
    }
}
