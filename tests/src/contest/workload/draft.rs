//! [`Draft`]: a workload while it is drawn; what all families have in common.

use std::time::Duration;

use agentd::hypervisor::sim::{
    Behaviour, Curve, HostScenario, Kind, Numbers, Scenario, SimScenario, VmScenario, Window,
};
use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::line::Line;
use super::{Family, Member, Workload, need};
use crate::contest::shares::{Claim, share};
use crate::dice::{Dice, mib};

/// A workload while it is drawn.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) dice: Dice,
    family: Family,
    seed: u64,
    /// How often kernels report.
    period: Duration,
    vms: Vec<Drafted>,
    /// Whether VMs differ in weight.
    pub(super) weighted: bool,
    /// What the VMs hold at the beginning.
    pub(super) start: Start,
}

/// What the VMs hold at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// What they need then, and of the rest each the same.
    Fitting,
    /// Each the same, whatever it needs.
    Even,
}

/// How large the pool is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pool {
    /// So many percent of the most that is needed at one time.
    OfPeak(u64),
    /// So many percent of what would be needed if all had their peaks at one time.
    OfSum(u64),
}

/// A VM while it is drawn.
#[derive(Debug)]
pub(super) struct Drafted {
    demand: Line,
    max: u64,
    pub(super) numbers: Numbers,
    behaviours: Vec<Behaviour>,
    life: Window,
}

impl Draft {
    pub(super) fn new(family: Family, seed: u64) -> Self {
        let mut dice = Dice::new(seed, family.stream());
        // As rarely as peers ask for them, or as often as a coordinator can.
        let period = Duration::from_secs(dice.pick(&[1, 1, 1, 2, 2, 5], 1));
        let (vms, weighted, start) = (Vec::new(), false, Start::Fitting);
        Self { dice, family, seed, period, vms, weighted, start }
    }

    /// A VM more, with room for what it wants and some more.
    pub(super) fn vm(&mut self, demand: Line) -> &mut Drafted {
        let dice = &mut self.dice;
        let max = (demand.peak() + 64) * dice.between(110, 150) / 100;
        let numbers = Numbers {
            shrink_rate: dice.mib(500, 1024),
            grow_rate: dice.mib(1024, 2048),
            swap_rate: dice.mib(50, 150),
            read_rate: dice.mib(60, 200),
            watermark: dice.mib(40, 60),
            working_set_percent: dice.between(40, 70),
            swap: dice.pick(&[mib(1024), mib(2048)], mib(1024)),
            cache: dice.mib(32, 256),
            boot_time: dice.time(Duration::from_secs(6), Duration::from_secs(14)),
            stats_period: self.period,
            event_period: Duration::from_secs(1),
            ..Numbers::default()
        };
        let vm = Drafted { demand, max, numbers, behaviours: Vec::new(), life: Window::ALWAYS };
        self.vms.push(vm);
        // It was pushed just now.
        let last = self.vms.len() - 1;
        &mut self.vms[last]
    }

    /// The workload, so many milliseconds long.
    pub(super) fn finish(mut self, pool: Pool, length: u64) -> Workload {
        let drafted = std::mem::take(&mut self.vms);
        let mut members = Vec::new();
        let mut vms = Vec::new();
        for (vm, number) in drafted.into_iter().zip(1..) {
            members.push(self.member(&vm, number));
            vms.push(vm.scenario(number));
        }
        let length = Duration::from_millis(length);
        let pool = self.pool(pool, &vms, &members, length);
        self.begin(pool, &mut vms, &members);
        let reserve = self.dice.pick(&[mib(200), mib(512)], mib(200));
        let other = self.dice.mib(512, 2048);
        let overhead: ByteCount = vms.iter().map(|vm| vm.numbers.process_overhead).sum();
        let total = [pool, reserve, other, overhead].into_iter().sum();
        let host = HostScenario { total, other: Curve::constant(other), pressure: Vec::new() };
        let sim = SimScenario {
            call_latency: Duration::from_millis(13),
            step: Duration::from_millis(50),
            ..SimScenario::default()
        };
        let tick_interval = Duration::from_secs(1);
        let (family, seed) = (self.family, self.seed);
        let (reservations, policy) = (Vec::new(), None);
        let scenario = Scenario { tick_interval, seed, sim, host, vms, reservations, policy };
        Workload { family, seed, scenario, members, reserve, pool, length }
    }

    fn member(&mut self, vm: &Drafted, number: u8) -> Member {
        let dice = &mut self.dice;
        let weight = if self.weighted { dice.pick(&[50, 100, 100, 200, 400], 100) } else { 100 };
        let min = (vm.demand.peak() * dice.between(10, 35) / 100).clamp(96, vm.max);
        Member {
            id: id(number),
            name: name(number),
            min: mib(min),
            max: mib(vm.max),
            weight,
            watermark: vm.numbers.watermark,
        }
    }

    fn pool(
        &self,
        pool: Pool,
        vms: &[VmScenario],
        members: &[Member],
        length: Duration,
    ) -> ByteCount {
        let needs = |at| {
            let living = vms.iter().zip(members).filter(move |(vm, _)| vm.life.holds_at(at));
            living.map(move |(vm, member)| need(vm, at).max(member.min))
        };
        let count = u32::try_from(length.as_millis() / LOOK.as_millis()).unwrap_or(u32::MAX);
        let moments = || (0..count).map(|turn| LOOK * turn);
        let (whole, percent): (ByteCount, u64) = match pool {
            Pool::OfPeak(percent) => {
                (moments().map(|at| needs(at).sum()).max().unwrap_or_default(), percent)
            }
            Pool::OfSum(percent) => {
                let most = |vm| moments().map(|at| need(vm, at)).max().unwrap_or_default();
                (vms.iter().map(most).sum(), percent)
            }
        };
        whole.fraction(percent, 100).align_down(mib(1))
    }

    /// Says what each VM holds at the beginning. Those that come later find room, if nobody takes it.
    fn begin(&self, pool: ByteCount, vms: &mut [VmScenario], members: &[Member]) {
        let claim = |(vm, member): (&VmScenario, &Member)| {
            let fits = need(vm, vm.life.from);
            let later = !vm.life.from.is_zero();
            let least = match self.start {
                // Who starts has less than it soon wants, as who starts it does not know that.
                _ if later => fits.fraction(1, 2).max(member.min),
                Start::Fitting => fits.max(member.min),
                Start::Even => member.min,
            };
            Claim { weight: 100, least, most: if later { least } else { vm.max } }
        };
        let claims: Vec<_> = vms.iter().zip(members).map(claim).collect();
        let shares = share(pool, &claims);
        for ((vm, member), share) in vms.iter_mut().zip(members).zip(shares) {
            vm.actual = share.align_down(PAGE).max(member.min);
        }
        // Who is guaranteed more than its share takes it from who has more than is guaranteed.
        let held: ByteCount = vms.iter().map(|vm| vm.actual).sum();
        let mut excess = held.saturating_sub(pool);
        for (vm, member) in vms.iter_mut().zip(members) {
            let gives = excess.min(vm.actual.saturating_sub(member.min));
            vm.actual = vm.actual.saturating_sub(gives);
            excess = excess.saturating_sub(gives);
        }
    }
}

impl Drafted {
    /// It keeps so many MiB of files in memory, and reads so many a second.
    pub(super) fn files(&mut self, cache: u64, rate: u64) -> &mut Self {
        (self.numbers.cache, self.numbers.read_rate) = (mib(cache), mib(rate));
        self
    }

    /// It can hold so much.
    pub(super) fn max(&mut self, max: u64) -> &mut Self {
        self.max = self.max.max(max);
        self
    }

    /// It starts then, in milliseconds.
    pub(super) fn starts(&mut self, at: u64) -> &mut Self {
        self.life.from = Duration::from_millis(at);
        self
    }

    /// It does this, which a cooperative one would not.
    pub(super) fn behaves(&mut self, behaviour: Behaviour) -> &mut Self {
        self.behaviours.push(behaviour);
        self
    }

    /// It fills all its memory with files between these times.
    pub(super) fn reads_all(&mut self, from: u64, until: Option<u64>) -> &mut Self {
        let during =
            Window { from: Duration::from_millis(from), until: until.map(Duration::from_millis) };
        self.behaviours.push(Behaviour { during, ..Behaviour::of(Kind::CacheHolder) });
        self
    }

    fn scenario(self, number: u8) -> VmScenario {
        VmScenario {
            name: name(number).into(),
            id: id(number),
            max: mib(self.max),
            actual: mib(self.max),
            demand: self.demand.curve(),
            life: self.life,
            behaviours: self.behaviours,
            numbers: self.numbers,
        }
    }
}

fn name(number: u8) -> String {
    format!("vm{number}")
}

/// Ids in the order of the numbers.
fn id(number: u8) -> VmId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    VmId::from_bytes(bytes)
}

const PAGE: ByteCount = ByteCount::kib(4);
/// How often it is looked for the most that is needed.
const LOOK: Duration = Duration::from_millis(500);
