//! [`SimVm`]: one simulated VM through time: its life, its orders, its reports, and what it does
//! that a cooperative VM would not.
//!
//! ```text
//!   absent --start--> booting --boot_time--> working <--> paused, saving, hung, ...
//!                        ^------ reboots, crashes -------'
//! ```
//!
//! Where its memory is and how it moves is `memory`'s, what it says of itself is `report`'s.

use std::time::Duration;

use agentd_core::{
    bytes::ByteCount,
    sample::{Reported, Traits, VmReading},
};

use super::{
    behaviour::{Behaviour, Claims, Kind, Kinds},
    facts::VmFacts,
    ideal::refusal,
    memory::{Memory, PAGE, Step},
    numbers::Numbers,
    report::{Matter, Reporter},
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
    /// How far it has come, and what it does there.
    now: Duration,
    doing: Kinds,
    present: bool,
    /// How often its kernel has begun.
    generation: u64,
    /// When its balloon driver works.
    driver_from: Duration,
    /// What it was told to hold, and what it held then.
    target: ByteCount,
    ordered_at: ByteCount,
    /// When somebody else last told it.
    foreign_at: Option<Duration>,
    /// An order without answer: taken when the VM answers again.
    late: Option<Late>,
    reporter: Reporter,
    /// Its balloon moved in the last step.
    moves: bool,
    /// When it last reported because it was asked to, and rested.
    paired_at: Option<Duration>,
    /// The actual of the last balloon event, and when the next may come.
    told: ByteCount,
    next_event: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Late {
    target: ByteCount,
    since: Duration,
}

impl SimVm {
    /// The VM at the beginning of the world: if it exists then, it has run for long.
    pub(super) fn new(scenario: &VmScenario, mut rng: Rng) -> Self {
        let (max, actual) = (scenario.max.align_down(PAGE), scenario.actual.align_down(PAGE));
        let scenario = VmScenario { max, actual, ..scenario.clone() };
        let numbers = &scenario.numbers;
        let demand = scenario.demand.at(Duration::ZERO);
        let memory = Memory::settled(scenario.actual, demand, numbers);
        let reporter = Reporter::new(numbers.stats_period, &mut rng);
        let mut vm = Self {
            now: Duration::ZERO,
            doing: Kinds::default(),
            present: scenario.life.holds_at(Duration::ZERO),
            generation: 0,
            driver_from: Duration::ZERO,
            target: scenario.actual,
            ordered_at: scenario.actual,
            foreign_at: None,
            late: None,
            reporter,
            moves: false,
            paired_at: None,
            told: scenario.actual,
            next_event: Duration::ZERO,
            rng,
            memory,
            scenario,
        };
        vm.pass_to(Duration::ZERO);
        if vm.present && !vm.doing.any(SPEECHLESS) {
            let lie = vm.lie();
            let (memory, numbers) = (&vm.memory, &vm.scenario.numbers);
            vm.reporter.begin(Matter { memory, numbers, lie, back: false }, &mut vm.rng);
        }
        vm
    }

    pub(super) const fn is_present(&self) -> bool {
        self.present
    }

    pub(super) const fn hangs(&self) -> bool {
        self.present && self.doing.has(Kind::Hangs)
    }

    /// True when a call to it gets no answer.
    pub(super) const fn is_silent(&self) -> bool {
        self.present && self.doing.any(SILENT)
    }

    /// True when a call to it has not returned for long.
    pub(super) fn is_parked(&self) -> bool {
        self.late.is_some_and(|late| self.now.saturating_sub(late.since) > JOB_WAIT)
    }

    /// Lets time pass. Orders that came while the hypervisor was silent are taken once it is not.
    pub(super) fn advance(&mut self, to: Duration, silent: bool) {
        let (from, before) = (self.now, self.doing);
        self.pass_to(to);
        if self.is_gone() {
            self.present = false;
            self.late = None;
            return;
        }
        if !self.present {
            self.start();
        }
        if self.doing.has(Kind::Hangs) {
            return;
        }
        if before.has(Kind::Crashes) && !self.doing.has(Kind::Crashes) {
            self.boot();
        }
        self.take_late(silent);
        if self.doing.any(STANDS_STILL) {
            return;
        }
        self.occurrences(from, to);
        self.live(from);
        self.announce();
        self.speak();
    }

    /// Has it report at once, if its driver was ever told to report.
    pub(super) fn prompt(&mut self) {
        let runs = self.present && !self.doing.any(SILENT) && !self.doing.any(STANDS_STILL);
        if runs && self.can_speak() && !self.scenario.numbers.stats_period.is_zero() {
            let lie = self.lie();
            let (back, now) = (self.doing.has(Kind::ClockBack), self.now);
            let (memory, numbers) = (&self.memory, &self.scenario.numbers);
            let matter = Matter { memory, numbers, lie, back };
            self.reporter.answer(now, matter, &mut self.rng);
            self.paired_at = Some(now).filter(|_| !self.moves);
        }
    }

    /// Tells it to hold so much.
    pub(super) fn order(&mut self, target: ByteCount, silent: bool) -> Answer {
        if !self.present {
            return Answer::VmGone;
        }
        if silent || self.late.is_some() || self.doing.any(SILENT) {
            self.late.get_or_insert(Late { target, since: self.now });
            return Answer::InDoubt;
        }
        if self.doing.has(Kind::Refuses) {
            return Answer::Refused("the scenario says that this VM refuses orders".to_owned());
        }
        if self.doing.has(Kind::NoBalloon) {
            return Answer::Refused("it has no balloon device".to_owned());
        }
        if let Some(refusal) = refusal(target, self.max()) {
            return refusal;
        }
        self.obey(target);
        Answer::Accepted
    }

    /// What the hypervisor says of it: its actual as of now, or as of its last balloon event.
    pub(super) fn read(&self, live: bool) -> VmReading {
        let actual = if live && !self.doing.any(SILENT) { self.memory.actual } else { self.told };
        let takes_back_on_oom = self.doing.has(Kind::TakesBack);
        let is_huge = self.doing.has(Kind::HugePages);
        let set_aside = if is_huge { self.max() } else { ByteCount::ZERO };
        VmReading {
            id: self.scenario.id,
            name: self.scenario.name.clone(),
            run: self.doing.run(),
            generation: self.generation,
            traits: Some(Traits { obstacle: self.doing.obstacle(), takes_back_on_oom, set_aside }),
            actual: actual.align_up(PAGE),
            max: self.max(),
            guest: self.reporter.figures(),
            reported: self.reported(),
            host_rss: Some(self.shown_rss().align_up(PAGE)),
            paired: live && self.paired_at == Some(self.now),
        }
    }

    /// Its actual as of now; `None` when it does not answer.
    pub(super) fn actual(&self) -> Option<LiveActual> {
        let answers = self.present && !self.doing.any(SILENT);
        answers.then(|| LiveActual {
            vm: self.scenario.id,
            actual: self.memory.actual.align_up(PAGE),
            reported: self.reported(),
            host_rss: Some(self.shown_rss().align_up(PAGE)),
        })
    }

    /// What is really so.
    pub(super) fn facts(&self) -> VmFacts {
        let memory = &self.memory;
        VmFacts {
            run: self.doing.run(),
            generation: self.generation,
            max: self.max(),
            actual: memory.actual,
            target: self.target,
            late: self.late.map(|late| late.target),
            foreign_at: self.foreign_at,
            in_place: self.in_place(),
            touched: memory.touched,
            rss: self.rss(),
            demand: self.demand(),
            resident: memory.resident,
            swapped: memory.swapped,
            cache: memory.cache,
            swap_in: memory.swap_in,
            swap_out: memory.swap_out,
            oom_kills: memory.oom_kills,
            refuses: self.doing.any(REFUSES),
            works: self.now >= self.driver_from && !self.doing.has(Kind::NoDriver),
            report: self.reporter.facts(),
        }
    }

    /// What its process takes of the host's memory.
    pub(super) fn rss(&self) -> ByteCount {
        let guest = self.in_place().max(self.memory.touched);
        guest.saturating_add(self.scenario.numbers.process_overhead)
    }

    /// What of that shows as resident: no huge pages.
    fn shown_rss(&self) -> ByteCount {
        let is_huge = self.doing.has(Kind::HugePages);
        if is_huge { self.scenario.numbers.process_overhead } else { self.rss() }
    }

    /// What of its memory stays where it is: all that its process began with. Huge pages are plugged and
    /// unplugged with what it may hold.
    fn in_place(&self) -> ByteCount {
        if self.doing.has(Kind::HugePages) {
            self.max()
        } else if self.doing.any(IN_PLACE) {
            self.scenario.max.max(self.memory.actual)
        } else {
            ByteCount::ZERO
        }
    }

    /// Most that it may hold: never less than it holds, for what is in use is not taken away.
    fn max(&self) -> ByteCount {
        let changed = self.behaviour(Kind::MaxChanges).and_then(|change| change.amount);
        let max = changed.map_or(self.scenario.max, |max| max.align_up(PAGE));
        max.max(self.memory.actual.align_up(PAGE))
    }

    /// What its programs want.
    fn demand(&self) -> ByteCount {
        let wanted = self.scenario.demand.at(self.now);
        let leaks = self.scenario.behaviours.iter().filter(|own| own.kind == Kind::Leaks);
        let leaked = leaks.filter(|leak| leak.during.from <= self.now).map(|leak| {
            let end = leak.during.until.map_or(self.now, |until| until.min(self.now));
            let lasted = end.saturating_sub(leak.during.from).as_millis();
            let rate = leak.rate.unwrap_or(LEAK_RATE);
            rate.fraction(u64::try_from(lasted).unwrap_or(u64::MAX), 1_000)
        });
        leaked.fold(wanted, ByteCount::saturating_add)
    }

    fn pass_to(&mut self, now: Duration) {
        self.now = now;
        let own = self.scenario.behaviours.iter().filter(|own| own.during.holds_at(now));
        self.doing = own.fold(Kinds::default(), |kinds, own| kinds.with(own.kind));
    }

    fn is_gone(&self) -> bool {
        let down = |own: &Behaviour| {
            own.kind == Kind::ShutsDown && own.during.until.is_some_and(|until| until <= self.now)
        };
        self.doing.has(Kind::Vanishes)
            || !self.scenario.life.holds_at(self.now)
            || self.scenario.behaviours.iter().any(down)
    }

    /// Takes an order that got no answer, when it can be taken; who waits for a job to end gives up
    /// in time.
    fn take_late(&mut self, silent: bool) {
        let Some(late) = self.late.filter(|_| !silent) else {
            return;
        };
        if !self.doing.any(AT_A_JOB) {
            self.late = None;
            self.obey(late.target);
        } else if self.is_parked() {
            self.late = None;
        }
    }

    fn obey(&mut self, target: ByteCount) {
        self.target = target.align_up(PAGE);
        self.ordered_at = self.memory.actual;
    }

    /// Power on: a new process, whose driver will bring it to what it is to hold.
    fn start(&mut self) {
        self.present = true;
        self.target = self.scenario.actual;
        self.memory = Memory::booted(self.scenario.max);
        self.told = self.max();
        self.reporter.forget();
        self.boot();
    }

    /// The kernel starts anew in the same process: the balloon is empty until its driver works.
    fn boot(&mut self) {
        let (touched, max) = (self.memory.touched, self.max());
        self.memory = Memory { touched, ..Memory::booted(max) };
        self.ordered_at = max;
        self.generation = self.generation.saturating_add(1);
        let numbers = &self.scenario.numbers;
        self.driver_from = self.now.saturating_add(numbers.boot_time);
        self.reporter.wait(self.driver_from, numbers.stats_period, &mut self.rng);
    }

    fn occurrences(&mut self, from: Duration, to: Duration) {
        let (mut reboots, mut foreign) = (false, None);
        for own in self.scenario.behaviours.iter().filter(|own| own.occurs_in(from, to)) {
            reboots |= own.kind == Kind::Reboots;
            if own.kind == Kind::ForeignOrder {
                foreign = foreign.or(own.amount);
            }
        }
        if reboots {
            self.boot();
        }
        if let Some(target) = foreign {
            self.foreign_at = Some(to);
            self.obey(target.min(self.max()));
        }
    }

    /// Its programs work, and its balloon moves.
    fn live(&mut self, from: Duration) {
        if self.now < self.driver_from {
            return;
        }
        let altered;
        let numbers = if self.doing.any(ALTERED) {
            altered = self.altered_numbers();
            &altered
        } else {
            &self.scenario.numbers
        };
        let aim = self.aim();
        let passed = u64::try_from(self.now.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        let noise = numbers.noise_percent;
        let percent = 100 - noise + self.rng.below(noise.saturating_mul(2).saturating_add(1));
        let nanos = ByteCount::bytes(passed).fraction(percent, 100).as_u64();
        let mut step = Step::new(numbers, self.demand(), nanos);
        if self.doing.has(Kind::TakesBack) {
            step.returns = self.max().saturating_sub(self.memory.actual);
        }
        let before = self.memory.actual;
        self.memory.resize(aim, &mut step);
        self.moves = self.memory.actual != before;
        self.memory.work(&mut step);
    }

    /// Its numbers, where what it does changes them.
    fn altered_numbers(&self) -> Numbers {
        let mut numbers = self.scenario.numbers;
        if let Some(slow) = self.behaviour(Kind::Slow) {
            let rate = slow.rate.unwrap_or(SLOW_RATE);
            (numbers.shrink_rate, numbers.grow_rate) = (rate, rate);
        }
        if self.doing.has(Kind::CacheHolder) {
            numbers.cache = self.max();
        }
        numbers
    }

    /// What its balloon driver tries to hold.
    fn aim(&self) -> ByteCount {
        let actual = self.memory.actual;
        let rests = self.behaviour(Kind::Intermittent).is_some_and(|own| own.rests_at(self.now));
        if rests || self.doing.any(BALLOON_RESTS) {
            return actual;
        }
        if self.target >= actual {
            return self.target.min(self.max());
        }
        let mut aim = self.target;
        if let Some(partial) = self.behaviour(Kind::Partial) {
            let asked = self.ordered_at.saturating_sub(self.target);
            let does = asked.fraction(partial.percent, 100);
            aim = aim.max(self.ordered_at.saturating_sub(does));
        }
        if let Some(hidden) = self.behaviour(Kind::HiddenFloor) {
            aim = aim.max(hidden.amount.unwrap_or_else(|| self.scenario.max.fraction(1, 2)));
        }
        aim.min(actual)
    }

    /// Sends a balloon event if one is due: at most one in each event period.
    fn announce(&mut self) {
        if self.told != self.memory.actual && self.now >= self.next_event {
            self.told = self.memory.actual;
            self.next_event = self.now.saturating_add(self.scenario.numbers.event_period);
        }
    }

    /// Reports figures if that is due.
    fn speak(&mut self) {
        if self.can_speak() && self.reporter.is_due(self.now) {
            let lie = self.lie();
            let back = self.doing.has(Kind::ClockBack);
            let (memory, numbers) = (&self.memory, &self.scenario.numbers);
            let matter = Matter { memory, numbers, lie, back };
            self.reporter.speak(self.now, matter, &mut self.rng);
        }
    }

    fn can_speak(&self) -> bool {
        self.now >= self.driver_from && !self.doing.any(SPEECHLESS)
    }

    /// What it says of itself instead of the truth.
    fn lie(&self) -> Option<Claims> {
        self.behaviour(Kind::Lying).map(|lie| lie.claims)
    }

    fn reported(&self) -> Reported {
        self.reporter.stamp().map_or(Reported::Never, Reported::At)
    }

    /// What it does of this kind now.
    fn behaviour(&self, kind: Kind) -> Option<&Behaviour> {
        if !self.doing.has(kind) {
            return None;
        }
        let mut own = self.scenario.behaviours.iter().filter(|own| own.kind == kind);
        own.find(|own| own.during.holds_at(self.now))
    }
}

/// The hypervisor is at a long job on it: calls wait for the end of that.
const AT_A_JOB: Kinds =
    Kinds::of(&[Kind::Busy, Kind::Saves, Kind::Restores, Kind::MigratesOut, Kind::MigratesIn]);
/// Calls to it get no answer.
const SILENT: Kinds = Kinds::of(&[
    Kind::Hangs,
    Kind::Busy,
    Kind::Saves,
    Kind::Restores,
    Kind::MigratesOut,
    Kind::MigratesIn,
]);
/// It does not execute.
const STANDS_STILL: Kinds = Kinds::of(&[
    Kind::Pauses,
    Kind::Saves,
    Kind::Restores,
    Kind::MigratesIn,
    Kind::Crashes,
    Kind::ShutsDown,
]);
/// Orders to it are refused.
const REFUSES: Kinds = Kinds::of(&[Kind::Refuses, Kind::NoBalloon]);
/// Nothing moves its balloon.
const BALLOON_RESTS: Kinds = Kinds::of(&[Kind::Stuck, Kind::NoDriver, Kind::NoBalloon]);
/// It reports nothing.
const SPEECHLESS: Kinds = Kinds::of(&[Kind::NoDriver, Kind::NoBalloon, Kind::FrozenStats]);
/// All of its memory stays where it is.
const IN_PLACE: Kinds =
    Kinds::of(&[Kind::Vfio, Kind::HiddenVfio, Kind::HugePages, Kind::Locked, Kind::Confidential]);
/// Its numbers are not those of the scenario.
const ALTERED: Kinds = Kinds::of(&[Kind::Slow, Kind::CacheHolder]);
/// So long libvirt lets a call wait for the end of a job.
const JOB_WAIT: Duration = Duration::from_secs(30);
const SLOW_RATE: ByteCount = ByteCount::mib(1);
const LEAK_RATE: ByteCount = ByteCount::mib(10);
