//! [`Emergencies`]: whether VMs are made to give while the host runs out of memory, where some can,
//! and then not again before the effect can be seen.

use std::time::Duration;

use agentd::hypervisor::sim::VmFacts;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::Policy;
use agentd_core::sample::{HostMemory, RunState, Share};

use super::known::Known;
use super::limits::Allowed;

/// What is watched of the times in which the host runs out of memory.
#[derive(Debug, Default)]
pub(super) struct Emergencies {
    /// When VMs were last told to give in one.
    gave: Option<Duration>,
    /// In how many turns in a row there was one, somebody could have given and nobody was told to,
    /// and since when.
    idle: Option<(u32, Duration)>,
}

impl Emergencies {
    /// Forgets everything: a new process knows of no order of before.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// VMs are about to be told to give in an emergency. After how little time since some took such an
    /// order, where that is too soon; `None` where it is not.
    pub(super) fn too_soon(&self, now: Duration) -> Option<Duration> {
        let passed = self.gave.map(|at| now.saturating_sub(at));
        passed.filter(|passed| !passed.is_zero() && *passed < GIVE_EVERY)
    }

    /// The hypervisor took such an order, or did not answer.
    pub(super) fn gives(&mut self, now: Duration) {
        (self.gave, self.idle) = (Some(now), None);
    }

    /// A turn is over that had to save the host and was free to, or not, and in which somebody could
    /// have given. For how long nobody has been told to, where that is too long.
    pub(super) fn ends(&mut self, could: bool, now: Duration) -> Option<Duration> {
        if !could {
            self.idle = None;
            return None;
        }
        let (turns, since) = self.idle.unwrap_or((0, now));
        self.idle = Some((turns + 1, since));
        let last = self.gave.map_or(since, |at| at.max(since));
        let passed = now.saturating_sub(last);
        (turns >= TURNS && passed > GIVE_WITHIN).then_some(passed)
    }
}

/// True while the host runs out of memory: it is to be saved, and nobody gets anything.
pub(super) fn is_emergency(host: &HostMemory, policy: &Policy) -> bool {
    let stalls = host.pressure.is_some_and(|pressure| pressure.full >= STALLS);
    stalls || host.usable < policy.host_reserve.fraction(1, 2)
}

/// True for a VM that certainly can give: it is well and always was, rests at its target, and has
/// much that it does not use, resident on the host. `age` is that of its figures.
pub(super) fn can_give(known: &Known, allows: &Allowed, age: Option<Duration>) -> bool {
    let vm = &known.facts;
    let Some(report) = known.report.filter(|report| report.is_true) else {
        return false;
    };
    let figures = report.figures;
    let never_suffered = figures.swap_out.unwrap_or_default().is_zero()
        && figures.major_faults.unwrap_or_default() == 0
        && vm.oom_kills == 0;
    let is_seen = age.is_some_and(|age| age <= OLDEST);
    let idle = figures.usable.or(figures.unused).unwrap_or_default();
    let most = idle.saturating_sub(LEFT_TO_A_VM).min(vm.actual.saturating_sub(allows.floor));
    let comes = vm.touched.saturating_sub(vm.actual.saturating_sub(idle));
    never_suffered
        && is_seen
        && !allows.pinned
        && !known.obstacle
        && known.run == RunState::Running
        && rests(vm)
        && most >= MUCH
        && comes >= MUCH
}

/// It runs, works and holds what it was told to, by nobody else and by no order without answer.
fn rests(vm: &VmFacts) -> bool {
    let free = vm.late.is_none() && vm.foreign_at.is_none() && !vm.refuses;
    free && vm.run == RunState::Running && vm.works && vm.generation == 0 && vm.target == vm.actual
}

/// All work on the host waits for memory for so much of the time.
const STALLS: Share = Share::percent(20);
/// The effect of giving shows in an average over ten seconds: fifteen from reading to reading,
/// which orders follow sooner or later.
const GIVE_EVERY: Duration = Duration::from_secs(14);
/// Those fifteen, and some turns: what was decided may come to nothing once.
const GIVE_WITHIN: Duration = Duration::from_secs(20);
/// Seen, told, and one turn more.
const TURNS: u32 = 3;
/// Figures that come every two seconds at most.
const OLDEST: Duration = Duration::from_secs(3);
/// What a VM is left with beyond what it uses.
const LEFT_TO_A_VM: ByteCount = ByteCount::mib(100);
/// More than the overhead of a process, which may pass as memory or the other way about.
const MUCH: ByteCount = ByteCount::mib(96);

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn an_emergency_in_which_nobody_is_told_to_give_although_one_could_is_seen() {
        let mut ignored = Emergencies::default();
        let ends: Vec<_> = (1..=22).map(|at| ignored.ends(true, second(at))).collect();
        assert!(ends.iter().take(21).all(Option::is_none));
        assert_eq!(ends.last(), Some(&Some(second(21))));

        let mut nobody_could = Emergencies::default();
        assert!((1..=60).all(|at| nobody_could.ends(at % 20 != 0, second(at)).is_none()));
    }

    #[test]
    fn who_gives_in_time_and_no_more_often_keeps_the_promise() {
        let mut kept = Emergencies::default();
        for at in 1..=60 {
            if at % 15 == 1 {
                assert_eq!(kept.too_soon(second(at)), None);
                kept.gives(second(at));
            } else {
                assert_eq!(kept.ends(true, second(at)), None);
            }
        }
        assert_eq!(kept.too_soon(second(50)), Some(second(4)), "its effect cannot be seen yet");
        assert_eq!(kept.too_soon(second(62)), None);
        kept.clear();
        assert_eq!(kept.too_soon(second(50)), None);
    }

    #[test]
    fn stalls_and_half_a_reserve_are_emergencies_and_less_is_not() {
        use agentd_core::sample::Pressure;
        let policy = Policy { host_reserve: ByteCount::mib(200), ..Policy::default() };
        let host = |usable, full| HostMemory {
            total: ByteCount::gib(4),
            usable: ByteCount::mib(usable),
            pressure: Some(Pressure { some: Share::percent(95), full: Share::percent(full) }),
        };
        let is = |usable, full| is_emergency(&host(usable, full), &policy);
        assert_eq!([is(100, 19), is(99, 0), is(1000, 20)], [false, true, true]);
    }
}
