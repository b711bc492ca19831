//! [`SimVm`]: one simulated VM through time: its life, its orders, its reports, and what it does
//! that a cooperative VM would not.
//!
//! ```text
//!   absent --start--> booting --boot_time--> working <--> paused, hung
//!                        ^----- reboots --------'
//! ```
//!
//! Where its memory is and how it moves is `memory`'s.

use std::time::Duration;

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, Reported, RunState, Traits, VmReading},
};

use super::{
    behaviour::{Behaviour, Claims, Kind},
    ideal::refusal,
    memory::{Memory, PAGE, Step},
    numbers::Numbers,
    rng::Rng,
    scenario::VmScenario,
};
use crate::hypervisor::{Answer, LiveActual};

/// One simulated VM.
#[derive(Debug)]
pub(super) struct SimVm {
    scenario: VmScenario,
    rng: Rng,
    memory: Memory,
    present: bool,
    /// When its balloon driver works.
    driver_from: Duration,
    /// What it was told to hold, and what it held then.
    target: ByteCount,
    ordered_at: ByteCount,
    /// An order without answer: taken when the VM answers again.
    late: Option<ByteCount>,
    /// What its kernel last said; `None` before it said anything.
    report: Option<Report>,
    next_report: Duration,
    /// The actual of the last balloon event, and when the next may come.
    told: ByteCount,
    next_event: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    figures: GuestFigures,
    stamp: u64,
}

impl SimVm {
    /// The VM at the beginning of the world: if it exists then, it has run for long.
    pub(super) fn new(scenario: &VmScenario, mut rng: Rng) -> Self {
        let (max, actual) = (scenario.max.align_down(PAGE), scenario.actual.align_down(PAGE));
        let scenario = VmScenario { max, actual, ..scenario.clone() };
        let numbers = &scenario.numbers;
        let demand = scenario.demand.at(Duration::ZERO);
        let memory = Memory::settled(scenario.actual, demand, numbers);
        let mut vm = Self {
            present: scenario.life.holds_at(Duration::ZERO),
            driver_from: Duration::ZERO,
            target: scenario.actual,
            ordered_at: scenario.actual,
            late: None,
            report: None,
            next_report: phase(numbers.stats_period, &mut rng),
            told: scenario.actual,
            next_event: Duration::ZERO,
            rng,
            memory,
            scenario,
        };
        if vm.present && vm.doing(Kind::NoDriver, Duration::ZERO).is_none() {
            let figures = vm.claimed(Duration::ZERO);
            vm.report = Some(Report { figures, stamp: WALL - 1 });
        }
        vm
    }

    pub(super) const fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) const fn is_present(&self) -> bool {
        self.present
    }

    pub(super) fn hangs_at(&self, now: Duration) -> bool {
        self.present && self.doing(Kind::Hangs, now).is_some()
    }

    /// Lets time pass. Orders that came while the hypervisor was silent are taken once it is not.
    pub(super) fn advance(&mut self, from: Duration, to: Duration, silent: bool) {
        let gone = self.doing(Kind::Vanishes, to).is_some();
        if gone || !self.scenario.life.holds_at(to) {
            self.present = false;
            self.late = None;
            return;
        }
        if !self.present {
            self.start(to);
        }
        if self.hangs_at(to) {
            return;
        }
        if let Some(target) = self.late.take_if(|_| !silent) {
            self.obey(target);
        }
        if self.doing(Kind::Pauses, to).is_some() {
            return;
        }
        self.occurrences(from, to);
        self.live(from, to);
        self.announce(to);
        self.speak(to);
    }

    /// Tells it to hold so much.
    pub(super) fn order(&mut self, target: ByteCount, now: Duration, silent: bool) -> Answer {
        if !self.present {
            return Answer::VmGone;
        }
        if silent || self.hangs_at(now) {
            self.late.get_or_insert(target);
            return Answer::InDoubt;
        }
        if self.doing(Kind::Refuses, now).is_some() {
            return Answer::Refused("the scenario says that this VM refuses orders".to_owned());
        }
        if let Some(refusal) = refusal(target, self.scenario.max) {
            return refusal;
        }
        self.obey(target);
        Answer::Accepted
    }

    /// What the hypervisor says of it: its actual as of now, or as of its last balloon event.
    pub(super) fn read(&self, now: Duration, live: bool) -> VmReading {
        let hung = self.hangs_at(now);
        let run = match self.doing(Kind::Pauses, now) {
            _ if hung => RunState::Unresponsive,
            Some(_) => RunState::Paused,
            None => RunState::Running,
        };
        let actual = if live && !hung { self.memory.actual } else { self.told };
        VmReading {
            id: self.scenario.id,
            name: self.scenario.name.clone(),
            run,
            generation: 0,
            traits: Some(Traits::default()),
            actual: actual.align_up(PAGE),
            max: self.scenario.max,
            guest: self.report.map_or_else(GuestFigures::default, |report| report.figures),
            reported: self.reported(),
            host_rss: Some(self.rss(now).align_down(PAGE)),
        }
    }

    /// Its actual as of now; `None` when it does not answer.
    pub(super) fn actual(&self, now: Duration) -> Option<LiveActual> {
        let answers = self.present && !self.hangs_at(now);
        answers.then(|| LiveActual {
            vm: self.scenario.id,
            actual: self.memory.actual.align_up(PAGE),
            reported: self.reported(),
            host_rss: Some(self.rss(now).align_down(PAGE)),
        })
    }

    /// What its process takes of the host's memory.
    pub(super) fn rss(&self, now: Duration) -> ByteCount {
        let pinned = self.doing(Kind::Vfio, now).is_some();
        let guest = if pinned { self.scenario.max } else { self.memory.touched };
        guest.saturating_add(self.scenario.numbers.process_overhead)
    }

    /// What its programs want.
    pub(super) fn demand(&self, now: Duration) -> ByteCount {
        let leaks = self.all(Kind::Leaks).filter(|leak| leak.during.from <= now);
        let leaked = leaks.map(|leak| {
            let end = leak.during.until.map_or(now, |until| until.min(now));
            let lasted = end.saturating_sub(leak.during.from).as_millis();
            let rate = leak.rate.unwrap_or(LEAK_RATE);
            rate.fraction(u64::try_from(lasted).unwrap_or(u64::MAX), 1_000)
        });
        leaked.fold(self.scenario.demand.at(now), ByteCount::saturating_add)
    }

    fn obey(&mut self, target: ByteCount) {
        self.target = target.align_up(PAGE);
        self.ordered_at = self.memory.actual;
    }

    /// Power on: a new process, whose driver will bring it to what it is to hold.
    fn start(&mut self, now: Duration) {
        self.present = true;
        self.report = None;
        self.told = self.scenario.max;
        self.target = self.scenario.actual;
        self.memory = Memory::booted(self.scenario.max);
        self.boot(now);
    }

    /// The kernel starts anew in the same process: the balloon is empty until its driver works.
    fn boot(&mut self, now: Duration) {
        let touched = self.memory.touched;
        self.memory = Memory { touched, ..Memory::booted(self.scenario.max) };
        self.ordered_at = self.scenario.max;
        self.driver_from = now.saturating_add(self.scenario.numbers.boot_time);
        let period = self.scenario.numbers.stats_period;
        self.next_report = self.driver_from.saturating_add(phase(period, &mut self.rng));
    }

    fn occurrences(&mut self, from: Duration, to: Duration) {
        if self.all(Kind::Reboots).any(|reboot| reboot.occurs_in(from, to)) {
            self.boot(to);
        }
        let foreign = self.all(Kind::ForeignOrder).find(|order| order.occurs_in(from, to));
        if let Some(target) = foreign.and_then(|order| order.amount) {
            self.obey(target);
        }
    }

    /// Its programs work, and its balloon moves.
    fn live(&mut self, from: Duration, to: Duration) {
        if to < self.driver_from {
            return;
        }
        let numbers = self.numbers(to);
        let aim = self.aim(to);
        let passed = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        let noise = numbers.noise_percent;
        let percent = 100 - noise + self.rng.below(noise.saturating_mul(2).saturating_add(1));
        let nanos = ByteCount::bytes(passed).fraction(percent, 100).as_u64();
        let mut step = Step::new(&numbers, self.demand(to), nanos);
        self.memory.resize(aim, &mut step);
        self.memory.work(&mut step);
    }

    /// The numbers that count now.
    fn numbers(&self, now: Duration) -> Numbers {
        let mut numbers = self.scenario.numbers;
        if let Some(slow) = self.doing(Kind::Slow, now) {
            let rate = slow.rate.unwrap_or(SLOW_RATE);
            (numbers.shrink_rate, numbers.grow_rate) = (rate, rate);
        }
        if self.doing(Kind::CacheHolder, now).is_some() {
            numbers.cache = self.scenario.max;
        }
        numbers
    }

    /// What its balloon driver tries to hold.
    fn aim(&self, now: Duration) -> ByteCount {
        let actual = self.memory.actual;
        let rests = self.doing(Kind::Intermittent, now).is_some_and(|own| own.rests_at(now));
        let dead = [Kind::Stuck, Kind::NoDriver];
        if rests || dead.iter().any(|kind| self.doing(*kind, now).is_some()) {
            return actual;
        }
        if self.target >= actual {
            return self.target;
        }
        let mut aim = self.target;
        if let Some(partial) = self.doing(Kind::Partial, now) {
            let asked = self.ordered_at.saturating_sub(self.target);
            let does = asked.fraction(partial.percent, 100);
            aim = aim.max(self.ordered_at.saturating_sub(does));
        }
        if let Some(hidden) = self.doing(Kind::HiddenFloor, now) {
            aim = aim.max(hidden.amount.unwrap_or_else(|| self.scenario.max.fraction(1, 2)));
        }
        aim.min(actual)
    }

    /// Sends a balloon event if one is due: at most one in each event period.
    fn announce(&mut self, now: Duration) {
        if self.told != self.memory.actual && now >= self.next_event {
            self.told = self.memory.actual;
            self.next_event = now.saturating_add(self.scenario.numbers.event_period);
        }
    }

    /// Reports figures if that is due.
    fn speak(&mut self, now: Duration) {
        let silent = [Kind::NoDriver, Kind::FrozenStats];
        if now < self.next_report || silent.iter().any(|kind| self.doing(*kind, now).is_some()) {
            return;
        }
        self.report = Some(Report { figures: self.claimed(now), stamp: WALL + now.as_secs() });
        let period = self.scenario.numbers.stats_period;
        self.next_report = if period.is_zero() {
            Duration::MAX
        } else {
            let missed = now.saturating_sub(self.next_report).as_nanos() / period.as_nanos();
            let turns = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
            self.next_report.saturating_add(period.saturating_mul(turns))
        };
    }

    /// What its kernel says, true or not.
    fn claimed(&self, now: Duration) -> GuestFigures {
        let truth = self.memory.figures(&self.scenario.numbers);
        let Some(lie) = self.doing(Kind::Lying, now) else {
            return truth;
        };
        let both = |amount| GuestFigures { unused: Some(amount), usable: Some(amount), ..truth };
        match lie.claims {
            Claims::NothingUnused => both(ByteCount::ZERO),
            Claims::AllUnused => both(self.memory.actual),
            Claims::Sawtooth if (now.as_secs() / 2).is_multiple_of(2) => both(ByteCount::ZERO),
            Claims::Sawtooth => both(self.memory.actual),
            Claims::Absurd => GuestFigures {
                unused: Some(ByteCount::MAX),
                usable: Some(ByteCount::ZERO),
                swap_in: Some(ByteCount::ZERO),
                swap_out: Some(ByteCount::MAX),
                major_faults: Some(u64::MAX),
            },
        }
    }

    fn reported(&self) -> Reported {
        self.report.map_or(Reported::Never, |report| Reported::At(report.stamp))
    }

    fn all(&self, kind: Kind) -> impl Iterator<Item = &Behaviour> {
        self.scenario.behaviours.iter().filter(move |behaviour| behaviour.kind == kind)
    }

    fn doing(&self, kind: Kind, now: Duration) -> Option<&Behaviour> {
        self.all(kind).find(|behaviour| behaviour.during.holds_at(now))
    }
}

/// When within a period a VM reports: each at its own time.
fn phase(period: Duration, rng: &mut Rng) -> Duration {
    let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.below(nanos))
}

/// Wall-clock time, in seconds, at which every simulated world begins.
const WALL: u64 = 1_000_000_000;
const SLOW_RATE: ByteCount = ByteCount::mib(1);
const LEAK_RATE: ByteCount = ByteCount::mib(10);
