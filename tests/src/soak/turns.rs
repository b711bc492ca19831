//! [`Turns`]: how often VMs were moved to and fro, beside how often what is wanted of the host changed.
//!
//! A VM whose memory goes up and down while nobody's demand does is hunted. Each change of a demand, its
//! begin and its end, may turn the way of every VM: who wants more gets it of others, and some of it may
//! come back. So may each change of what a VM claims that does not tell the truth.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::{GuestFigures, RunState};
use agentd_core::vm::VmId;

/// Which way a VM is told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// How often VMs were turned, and why they may have been.
#[derive(Debug, Default)]
pub(super) struct Turns {
    vms: BTreeMap<VmId, Own>,
    /// What was so of each VM when it was last looked at, and whether its demand was changing then.
    seen: BTreeMap<VmId, (Look, bool)>,
    /// What VMs last claimed that was not so.
    claims: BTreeMap<VmId, GuestFigures>,
    /// How often a program of it had been killed: its use falls, and comes again.
    kills: BTreeMap<VmId, u64>,
    /// When somebody's demand began or ended to change, a program was killed, or a VM came, went or was
    /// not there for a time.
    changes: VecDeque<Duration>,
}

#[derive(Debug, Default)]
struct Own {
    way: Option<Way>,
    turned: VecDeque<Duration>,
}

/// What of a VM changes what is wanted of the host.
type Look = (ByteCount, u64, RunState, bool);

impl Turns {
    /// Forgets everything: something else than demand moves VMs, or has until now. All of them count as
    /// come once that is over, for what it did to them may have to be undone.
    pub(super) fn clear(&mut self) {
        self.vms.clear();
        self.changes.clear();
        self.seen.clear();
        self.claims.clear();
    }

    /// Takes in what is so at the end of a turn.
    pub(super) fn see(&mut self, facts: &Facts) {
        let look = |vm: &VmFacts| (vm.demand, vm.generation, vm.run, vm.works);
        let mut changed = self.seen.len().abs_diff(facts.vms.len());
        let mut seen = BTreeMap::new();
        for (id, vm) in &facts.vms {
            let now = look(vm);
            let (before, moved) = self.seen.get(id).copied().unwrap_or((now, false));
            let moves = now != before;
            changed += usize::from(moves != moved);
            let kills = self.kills.insert(*id, vm.oom_kills).unwrap_or(vm.oom_kills);
            changed += 2 * usize::from(vm.oom_kills != kills);
            seen.insert(*id, (now, moves));
            if let Some(lie) = vm.report.filter(|report| !report.is_true) {
                let before = self.claims.insert(*id, lie.figures);
                changed += usize::from(before.is_some_and(|before| before != lie.figures));
            }
        }
        self.seen = seen;
        self.changes.extend(std::iter::repeat_n(facts.now, changed));
        let is_old = |at: &Duration| facts.now.saturating_sub(*at) > WINDOW.saturating_add(LAG);
        while self.changes.front().is_some_and(is_old) {
            self.changes.pop_front();
        }
    }

    /// A VM was told to go this way. How often it was turned, and how often it may have been, where
    /// that is too often.
    pub(super) fn goes(&mut self, id: VmId, way: Way, now: Duration) -> Option<(usize, usize)> {
        let own = self.vms.entry(id).or_default();
        let turns = own.way.is_some_and(|before| before != way);
        own.way = Some(way);
        if !turns {
            return None;
        }
        own.turned.push_back(now);
        while own.turned.front().is_some_and(|at| now.saturating_sub(*at) > WINDOW) {
            own.turned.pop_front();
        }
        let may = PROMISED + TURNS_OF_A_CHANGE * self.changes.len();
        (own.turned.len() > may).then_some((own.turned.len(), may))
    }
}

/// In so long.
const WINDOW: Duration = Duration::from_secs(600);
/// What changed shortly before shows in it.
const LAG: Duration = Duration::from_secs(60);
const PROMISED: usize = 2;
/// Memory goes to who wants more, and some of it comes back.
const TURNS_OF_A_CHANGE: usize = 2;

#[cfg(test)]
mod tests {
    use agentd::hypervisor::sim::Report;
    use agentd_core::sample::Stamp;

    use super::super::fixture::{GIVER, TAKER, holding, host, mib};
    use super::*;

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// Whether a VM may be turned for the n-th time, at these seconds.
    fn turned(turns: &mut Turns, at: &[u64]) -> Vec<bool> {
        let ways = [Way::Up, Way::Down].into_iter().cycle();
        at.iter().zip(ways).map(|(at, way)| turns.goes(TAKER, way, second(*at)).is_none()).collect()
    }

    #[test]
    fn a_vm_is_turned_twice_in_ten_minutes_and_no_more_while_nothing_changes() {
        let mut turns = Turns::default();
        assert_eq!(turned(&mut turns, &[0, 10, 20, 30, 40]), [true, true, true, false, false]);
        let mut slowly = Turns::default();
        assert!(turned(&mut slowly, &[0, 301, 602, 903, 1204]).into_iter().all(|fine| fine));
    }

    #[test]
    fn whoever_wants_something_else_may_turn_others() {
        let world = |second: u64, demand| {
            let vm = VmFacts { demand: mib(demand), ..holding(100) };
            Facts {
                now: Duration::from_secs(second),
                ..host(&[(GIVER, vm), (TAKER, holding(100))])
            }
        };
        let mut turns = Turns::default();
        for (second, demand) in [(0, 50), (1, 80), (2, 90), (3, 90)] {
            turns.see(&world(second, demand));
        }
        assert_eq!(turns.changes.len(), 4, "two VMs came, a demand began to change, and ended");
        let claims = |second: u64, unused| {
            let figures = GuestFigures { unused: Some(mib(unused)), ..GuestFigures::default() };
            let (stamp, at) = (Stamp { second, mark: 0 }, Duration::from_secs(second));
            let report = Some(Report { figures, stamp, at, is_true: false, used: mib(50) });
            let vm = VmFacts { demand: mib(50), report, ..holding(100) };
            Facts { now: at, ..host(&[(GIVER, vm)]) }
        };
        let mut lied_to = Turns::default();
        for (second, unused) in [(0, 5), (1, 90), (2, 90), (3, 5)] {
            lied_to.see(&claims(second, unused));
        }
        assert_eq!(lied_to.changes.len(), 1 + 2, "a VM came, and claimed twice something else");
        let seconds: Vec<u64> = (4..20).collect();
        let fine = turned(&mut turns, &seconds);
        assert_eq!(fine.iter().filter(|fine| **fine).count(), 1 + 2 + 2 * 4);
    }
}
