//! [`run`]: one contestant on one workload, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentd::clock::Clock;
use agentd::control::{Gate, InForce, Mode};
use agentd::hypervisor::sim::{Onlooker, Sim};
use agentd::hypervisor::{Answer, Hypervisor, Target};
use agentd::pace::Pace;
use agentd::tick::{TickConfig, Ticker};
use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Algorithm, Policy, VmKey, VmPolicy};
use agentd_core::sample::VmReading;
use agentd_core::vm::VmId;

use super::clairvoyant;
use super::contestant::Contestant;
use super::film::{FilmedClock, Frame};
pub use super::order_log::Order;
use super::order_log::OrderLog;
use super::rival::{Rival, Seen, SeenVm};
use super::stopwatch::Stopwatch;
use super::workload::Workload;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was really so.
    pub frames: Vec<Frame>,
    /// Every order that was taken.
    pub orders: Vec<Order>,
    /// What deciding cost, turn by turn. The only thing that differs from run to run.
    pub costs: Vec<Duration>,
}

/// Whose VMs report when they are read, as libvirt's do for agentd; all others do once a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prompts {
    /// Those of agentd, which asks them; nobody else does.
    #[default]
    Ours,
    /// Everybody's: only the policies differ.
    All,
}

impl Prompts {
    /// Its name on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::All => "all",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ours, Self::All].into_iter().find(|one| one.name() == name)
    }
}

/// Lets a contestant have a host for the length of a workload.
#[must_use]
pub fn run(load: &Workload, contestant: Contestant, prompts: Prompts) -> Run {
    let stopwatch = Stopwatch::start();
    let clock = FilmedClock::new(stopwatch.clone());
    let mut scenario = load.scenario.clone();
    scenario.sim.prompts = prompts == Prompts::All || matches!(contestant, Contestant::Ours(_));
    if let Contestant::Rival(rival) = &contestant
        && let Some(period) = rival.pushes()
    {
        scenario.vms.iter_mut().for_each(|vm| vm.numbers.stats_period = period);
    }
    let sim = Sim::new(Path::new("contest"), &scenario, clock.clone());
    let truth = sim.onlooker();
    clock.roll(truth.clone(), load.members.iter().map(|member| member.id).collect());
    let log = OrderLog::new(sim, clock.clone(), stopwatch.clone());
    let orders = log.orders();
    let mut costs = Vec::new();
    let stage = Stage { load, clock: clock.clone(), stopwatch, truth };
    match contestant {
        Contestant::Ours(algorithm) => stage.ours(algorithm, log, &mut costs),
        Contestant::Rival(rival) => stage.rival(rival, log, &mut costs),
        Contestant::Clairvoyant => stage.clairvoyant(log, &mut costs),
    }
    clock.pass_to(load.length);
    let mut frames = clock.develop();
    // The last call may have gone on for a little.
    frames.retain(|frame| frame.at <= load.length);
    Run { frames, orders: orders.take(), costs }
}

struct Stage<'a> {
    load: &'a Workload,
    clock: Arc<FilmedClock>,
    stopwatch: Arc<Stopwatch>,
    truth: Onlooker,
}

impl Stage<'_> {
    /// Turns, each of which says when the next one is to begin. Those that are late are not caught up.
    fn turns(&self, mut turn: impl FnMut(Duration) -> Duration) {
        let mut due = Duration::ZERO;
        while due < self.load.length {
            self.clock.pass_to(due);
            due = turn(due).max(self.clock.now());
        }
    }

    /// Turns at an interval.
    fn every(&self, interval: Duration, mut turn: impl FnMut()) {
        self.turns(|due| {
            turn();
            due.saturating_add(interval)
        });
    }

    fn ours(&self, algorithm: Algorithm, log: OrderLog, costs: &mut Vec<Duration>) {
        let config = config(self.load);
        let mut ticker = Ticker::new(Box::new(log), self.clock.clone(), config);
        let in_force = InForce::fixed(Mode::Active, policy(self.load, algorithm));
        let gate = Gate::new(Mode::Active);
        let mut pace = Pace::new(config.interval, self.clock.now());
        self.turns(|_| {
            let (turn, cost) = self.stopwatch.time(|| ticker.turn(&in_force, &gate));
            costs.push(cost);
            pace.look(&turn.record);
            pace.next(self.clock.now())
        });
    }

    fn rival(&self, mut rival: Box<dyn Rival>, mut log: OrderLog, costs: &mut Vec<Duration>) {
        let mut targets = BTreeMap::new();
        let interval = rival.interval();
        self.every(interval, || {
            let Some(seen) = self.look(&mut log, &targets, rival.pushes().is_some()) else {
                return;
            };
            let (wanted, cost) = self.stopwatch.time(|| rival.turn(&seen));
            costs.push(cost);
            // Who was told so already need not be told again.
            let new = |(vm, target): &(VmId, ByteCount)| targets.get(vm) != Some(target);
            let told = |(vm, target)| Target { vm, target };
            let orders: Vec<Target> = wanted.into_iter().filter(new).map(told).collect();
            if orders.is_empty() {
                return;
            }
            let answers = log.set_targets(&orders, TIMEOUT);
            let taken = orders.iter().zip(answers).filter(|(_, one)| *one == Answer::Accepted);
            targets.extend(taken.map(|(order, _)| (order.vm, order.target)));
        });
    }

    fn clairvoyant(&self, mut log: OrderLog, costs: &mut Vec<Duration>) {
        self.every(LOOKS, || {
            let facts = self.truth.facts();
            let work = || clairvoyant::targets(self.load, &facts);
            let (orders, cost) = self.stopwatch.time(work);
            costs.push(cost);
            if !orders.is_empty() {
                let _ = log.set_targets(&orders, TIMEOUT);
            }
        });
    }

    /// What a host shows to somebody who asks libvirt for everything. A balloon's reports are stamped in whole
    /// seconds; a program of one's own is `exact`.
    fn look(
        &self,
        log: &mut OrderLog,
        targets: &BTreeMap<VmId, ByteCount>,
        exact: bool,
    ) -> Option<Seen> {
        let all: BTreeSet<VmId> = self.load.members.iter().map(|member| member.id).collect();
        let reading = log.read(&all, TIMEOUT).ok()?;
        let reports = self.truth.facts().vms;
        let now = self.clock.now();
        let age = |vm| {
            let said = reports.get(&vm)?.report?.at;
            let stamp = if exact { said } else { Duration::from_secs(said.as_secs()) };
            Some(now.saturating_sub(stamp))
        };
        let seen = |vm: &VmReading| {
            let member = self.load.members.iter().find(|member| member.id == vm.id)?;
            Some(SeenVm {
                id: vm.id,
                min: member.min,
                max: member.max.min(vm.max),
                weight: member.weight,
                actual: vm.actual,
                target: targets.get(&vm.id).copied().unwrap_or(vm.actual),
                unused: vm.guest.unused,
                usable: vm.guest.usable,
                swap_in: vm.guest.swap_in,
                swap_out: vm.guest.swap_out,
                major_faults: vm.guest.major_faults,
                age: age(vm.id),
                rss: vm.host_rss,
            })
        };
        Some(Seen {
            now,
            host_total: reading.host.total,
            host_usable: reading.host.usable,
            reserve: self.load.reserve,
            vms: reading.vms.iter().filter_map(seen).collect(),
        })
    }
}

/// How agentd would run on this host.
fn config(load: &Workload) -> TickConfig {
    let interval = load.scenario.tick_interval;
    let periods = load.scenario.vms.iter().map(|vm| vm.numbers.stats_period);
    let slowest = periods.max().unwrap_or_default();
    TickConfig {
        interval,
        settle: interval / 2,
        call_timeout: interval / 8,
        stale_after: slowest.saturating_mul(3).max(Duration::from_secs(5)),
    }
}

/// The policy of an operator who promises what the workload does, and else leaves all as it is.
fn policy(load: &Workload, algorithm: Algorithm) -> Policy {
    let own = load.members.iter().map(|member| {
        let (min, max) = (Some(member.min), Some(member.max));
        let weight = u32::try_from(member.weight).ok();
        (VmKey::Id(member.id), VmPolicy { min, max, weight, ..VmPolicy::default() })
    });
    Policy { algorithm, host_reserve: load.reserve, vms: own.collect(), ..Policy::default() }
}

const TIMEOUT: Duration = Duration::from_secs(1);
/// How often the clairvoyant looks.
const LOOKS: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::measures::Score;
    use crate::contest::workload::Family;

    /// Tells every VM to hold what follows from it alone, every five seconds; `None` for nothing.
    #[derive(Debug)]
    struct Rote(fn(&SeenVm) -> Option<ByteCount>);

    /// Leaves all as it is.
    const STILL: Rote = Rote(|_| None);
    /// Takes from everybody what is guaranteed to nobody.
    const TAKER: Rote = Rote(|vm| Some(vm.min));
    /// Gives everybody all that it may hold.
    const SPENDER: Rote = Rote(|vm| Some(vm.max));

    impl Rival for Rote {
        fn name(&self) -> &'static str {
            "rote"
        }

        fn interval(&self) -> Duration {
            Duration::from_secs(5)
        }

        fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
            seen.vms.iter().filter_map(|vm| Some((vm.id, (self.0)(vm)?))).collect()
        }
    }

    fn score(family: Family, contestant: Contestant) -> Score {
        let load = family.draw(1);
        Score::of(&load, &run(&load, contestant, Prompts::Ours))
    }

    fn rival(rival: impl Rival + 'static) -> Contestant {
        Contestant::Rival(Box::new(rival))
    }

    #[test]
    fn a_run_is_the_same_twice() {
        let load = Family::Turns.draw(3);
        for who in [|| Contestant::Ours(Algorithm::TwoPointer), || Contestant::Clairvoyant] {
            let once = || run(&load, who(), Prompts::Ours);
            let (one, two) = (once(), once());
            assert_eq!(one.frames, two.frames);
            assert_eq!(one.orders, two.orders);
            assert!(!one.orders.is_empty());
            let frames = load.length.as_millis() / 100 + 1;
            assert_eq!(one.frames.len() as u128, frames);
        }
    }

    #[test]
    fn who_knows_all_leaves_nearly_nothing_unmet_where_there_is_enough() {
        for family in [Family::Loose, Family::Burst, Family::Steady] {
            let bound = score(family, Contestant::Clairvoyant);
            let (unmet, kills) = (bound.unmet_share, bound.oom_kills);
            let has = if family == Family::Steady { 0.02 } else { 0.002 };
            assert!(unmet < has && kills == 0.0, "{}: {unmet} unmet", family.name());
            assert!(bound.reserve_worst < 1.0, "{}: {}", family.name(), bound.reserve_worst);
        }
    }

    /// Foresight is worth something: `bound` has the test of what nobody betters.
    #[test]
    fn who_knows_all_leaves_less_unmet_than_who_does_not() {
        for family in [Family::Turns, Family::Tight] {
            let best = score(family, Contestant::Clairvoyant);
            let ours = Algorithm::ALL.into_iter().map(Contestant::Ours);
            let others = ["static", "qmemman", "squeezed"].map(Contestant::named);
            for other in ours.chain(others.into_iter().flatten()).chain([rival(STILL)]) {
                let (name, other) = (other.name(), score(family, other));
                assert!(other.unmet > best.unmet, "{}: {name} {other:?} {best:?}", family.name());
            }
        }
    }

    /// What a rival's VMs report unasked is no older than a period; with prompts it is of now.
    #[test]
    fn with_prompts_for_all_rivals_see_what_is_so_now() {
        let load = Family::Burst.draw(1);
        let unmet = |prompts| {
            let hyper_v = Contestant::named("hyper-v").unwrap();
            Score::of(&load, &run(&load, hyper_v, prompts)).unmet
        };
        assert!(unmet(Prompts::All) < unmet(Prompts::Ours), "{}", unmet(Prompts::All));
        for prompts in [Prompts::Ours, Prompts::All] {
            assert_eq!(Prompts::named(prompts.name()), Some(prompts));
        }
    }

    #[test]
    fn who_takes_memory_away_is_seen() {
        let (still, taker) =
            (score(Family::Loose, rival(STILL)), score(Family::Loose, rival(TAKER)));
        assert!(taker.unmet_share > still.unmet_share + 0.1, "{taker:?} {still:?}");
        assert!(taker.swapped > still.swapped, "{taker:?}");
        assert_eq!(still.moved, 0.0);
        assert!(taker.moved > 1.0 && taker.below_min == 0.0, "{taker:?}");
    }

    #[test]
    fn who_spends_the_reserve_is_seen() {
        let spender = score(Family::IdleCaches, rival(SPENDER));
        assert!(!spender.keeps_reserve() && spender.reserve_worst > 1.0, "{spender:?}");
        assert!(score(Family::IdleCaches, rival(STILL)).keeps_reserve());
    }
}
