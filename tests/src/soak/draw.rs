//! [`Plot`]: what happens in one run, all of it drawn from its seed: the host, its VMs, the policy,
//! and the faults. Each run has another few kinds of faults, so that some get the room to do harm
//! that they would not have among all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentd::control::Mode;
use agentd::hypervisor::sim::{
    Behaviour, Claims, Curve, HostScenario, Kind, Numbers, Point, PressureSpell, Scenario,
    SimScenario, VmScenario, Window, derived_id,
};
use agentd::tick::TickConfig;
use agentd_core::bytes::ByteCount;
use agentd_core::policy::Policy;
use agentd_core::sample::{Pressure, Share};

use super::draw_policy::{add_working_set, dice_of_working_set, policy};
use super::draw_reserved::{Planned, reserve};
use super::fault::Fault;
use crate::dice::{Dice, mib};

/// What happens in one run.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The host and its VMs.
    pub scenario: Scenario,
    /// How agentd runs.
    pub config: TickConfig,
    /// The policy at the beginning.
    pub policy: Policy,
    /// What befalls agentd, by the number of the tick before or in which it does.
    pub acts: BTreeMap<u64, Vec<Act>>,
    /// What is reserved.
    pub reserved: Vec<Planned>,
    /// From then on there are no faults, and demand is constant.
    pub calm: Duration,
    /// How often each kind of fault was put in.
    pub faults: BTreeMap<Fault, u64>,
}

/// Something that befalls agentd.
#[derive(Clone, Debug)]
pub enum Act {
    /// It is killed and started anew.
    Kill,
    /// It is killed at its n-th call of a tick, and started anew.
    KillInside(u32),
    /// It does nothing for so long.
    Stop(Duration),
    /// It does nothing for so long, at its n-th call of a tick.
    StopInside(u32, Duration),
    /// Its mode changes.
    Mode(Mode),
    /// It is paused at its n-th call of a tick, and active again a few ticks later.
    PauseInside(u32),
    /// Its policy changes.
    Policy(Box<Policy>),
}

impl Plot {
    /// What follows from a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0);
        // A balloon event may be a second old: some ticks are shorter.
        let interval = dice.pick(&[200, 1000, 1000, 2000], 1000);
        let interval = Duration::from_millis(interval);
        let calm = interval.saturating_mul(CALM_TICK);
        let kinds = kinds(&mut dice);
        let mut plot = Self {
            scenario: Scenario {
                tick_interval: interval,
                seed,
                sim: SimScenario { step: STEP, ..SimScenario::default() },
                host: HostScenario {
                    total: ByteCount::ZERO,
                    other: Curve::constant(ByteCount::ZERO),
                    pressure: Vec::new(),
                },
                vms: vms(&mut dice, calm),
                reservations: Vec::new(),
                policy: None,
            },
            config: TickConfig {
                interval,
                settle: interval / 2,
                call_timeout: interval / 4,
                stale_after: interval.saturating_mul(3).max(Duration::from_secs(5)),
            },
            policy: Policy::default(),
            acts: BTreeMap::new(),
            reserved: Vec::new(),
            calm,
            faults: BTreeMap::new(),
        };
        plot.host(&mut dice);
        plot.policy = policy(&mut dice, &plot.scenario.vms);
        for kind in kinds {
            plot.put(kind, &mut dice);
        }
        plot.add_working_set(seed);
        plot.add_room(seed);
        plot.add_reboot_of_all(seed);
        plot.reserved = reserve(seed, &mut plot.scenario);
        plot.add_prompts(seed);
        plot
    }

    /// On every other host VMs report when they are read.
    fn add_prompts(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, PROMPTS_STREAM);
        self.scenario.sim.prompts = dice.chance(50) && !KEPT.contains(&seed);
    }

    /// On some hosts there is room, and every other VM is met by no fault: whoever is in want there has
    /// to get something.
    fn add_room(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, ROOM_STREAM);
        if !dice.chance(20) || KEPT.contains(&seed) {
            return;
        }
        let most: ByteCount = self.scenario.vms.iter().map(|vm| vm.max).sum();
        let host = &mut self.scenario.host;
        host.total = host.total.saturating_add(dice.share(most, 10, 100));
        for vm in self.scenario.vms.iter_mut().step_by(2) {
            for own in vm.behaviours.drain(..) {
                let fault = if own.kind == Kind::Lying {
                    Fault::Lie(own.claims)
                } else {
                    Fault::Vm(own.kind)
                };
                self.faults.entry(fault).and_modify(|times| *times = times.saturating_sub(1));
            }
        }
        for policy in self.policies().filter(|_| dice.chance(50)) {
            policy.pool_limit = None;
        }
    }

    /// On some hosts all VMs reboot within two seconds, as on the day on which they are patched.
    fn add_reboot_of_all(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, REBOOT_STREAM);
        if !dice.chance(10) || KEPT.contains(&seed) {
            return;
        }
        let from = self.window(&mut dice, 1, 1).from;
        for vm in &mut self.scenario.vms {
            let from = from.saturating_add(dice.time(Duration::ZERO, Duration::from_secs(2)));
            let during = Window { from, until: None };
            vm.behaviours.push(Behaviour { during, ..Behaviour::of(Kind::Reboots) });
            *self.faults.entry(Fault::Vm(Kind::Reboots)).or_default() += 1;
        }
    }

    /// All policies of the run.
    fn policies(&mut self) -> impl Iterator<Item = &mut Policy> {
        let changed = self.acts.values_mut().flatten().filter_map(|act| {
            if let Act::Policy(policy) = act { Some(policy.as_mut()) } else { None }
        });
        std::iter::once(&mut self.policy).chain(changed)
    }

    fn add_working_set(&mut self, seed: u64) {
        let Some(mut dice) = dice_of_working_set(seed) else { return };
        let vms = &self.scenario.vms;
        add_working_set(&mut dice, &mut self.policy, vms, 90);
        for act in self.acts.values_mut().flatten() {
            if let Act::Policy(policy) = act {
                add_working_set(&mut dice, policy, vms, 50);
            }
        }
    }

    /// A host that has room for what the VMs hold, and often for little more.
    fn host(&mut self, dice: &mut Dice) {
        let vms = &self.scenario.vms;
        let sum = |of: fn(&VmScenario) -> ByteCount| vms.iter().map(of).sum::<ByteCount>();
        let (held, most) = (sum(|vm| vm.actual), sum(|vm| vm.max));
        let beside = sum(|vm| vm.numbers.process_overhead);
        let other = dice.size(16, 1024);
        let slack = dice.pick(&[0, 0, 5, 20, 60, 110], 0);
        let room = most.saturating_sub(held).fraction(slack, 100);
        let room = room.saturating_add(dice.mib(0, 600));
        let total = [held, beside, other, room].into_iter().sum();
        self.scenario.host =
            HostScenario { total, other: Curve::constant(other), pressure: Vec::new() };
    }

    /// Puts a kind of fault in, and counts how often.
    fn put(&mut self, fault: Fault, dice: &mut Dice) {
        let times = match fault {
            Fault::Vm(kind) => self.put_behaviour(kind, Claims::default(), dice),
            Fault::Lie(claims) => self.put_behaviour(Kind::Lying, claims, dice),
            Fault::Starts => self.put_start(dice),
            Fault::Recreated => self.put_recreation(dice),
            Fault::Hog => self.put_hog(dice),
            Fault::Pressure => {
                let full = u32::try_from(dice.between(0, 90)).unwrap_or(0);
                let pressure = Pressure { some: Share::percent(95), full: Share::percent(full) };
                let during = self.window(dice, 2, 60);
                self.scenario.host.pressure.push(PressureSpell { during, pressure });
                1
            }
            Fault::ConnectionLost => {
                let window = self.window(dice, 1, 30);
                self.scenario.sim.connection_lost.push(window);
                1
            }
            Fault::Silent => {
                let window = self.window(dice, 1, 20);
                self.scenario.sim.silent.push(window);
                1
            }
            // For the whole run: at most half of what a call may take.
            Fault::Latency => {
                let most = self.config.call_timeout / 2;
                self.scenario.sim.call_latency = dice.time(Duration::from_millis(1), most);
                1
            }
            Fault::Killed
            | Fault::KilledInside
            | Fault::Stopped
            | Fault::StoppedInside
            | Fault::Late
            | Fault::Mode
            | Fault::PausedInside
            | Fault::Policy => self.put_acts(fault, dice),
        };
        *self.faults.entry(fault).or_default() += times;
    }

    /// One or some VMs do so, once or some times.
    fn put_behaviour(&mut self, kind: Kind, claims: Claims, dice: &mut Dice) -> u64 {
        let count = self.scenario.vms.len() as u64;
        let first = dice.between(0, count.saturating_sub(1));
        let many = dice.chance(25);
        let mut times = 0;
        for index in 0..count {
            if index != first && !(many && dice.chance(50)) {
                continue;
            }
            for _ in 0..dice.pick(&[1, 1, 2, 3], 1) {
                let behaviour = self.behaviour(kind, claims, index, dice);
                let index = usize::try_from(index).unwrap_or(0);
                if let Some(vm) = self.scenario.vms.get_mut(index) {
                    vm.behaviours.push(behaviour);
                    times += 1;
                }
            }
        }
        times
    }

    fn behaviour(&self, kind: Kind, claims: Claims, index: u64, dice: &mut Dice) -> Behaviour {
        let vm = usize::try_from(index).ok().and_then(|index| self.scenario.vms.get(index));
        let (max, actual) = vm.map_or((mib(1024), mib(512)), |vm| (vm.max, vm.actual));
        let is = |kinds: &[Kind]| kinds.contains(&kind);
        let during = if is(&MADE_OF) {
            Window::ALWAYS
        } else if is(&[Kind::NoDriver]) && dice.chance(50) {
            Window { from: Duration::ZERO, until: Some(self.calm) }
        } else if is(&[Kind::Hangs, Kind::Vanishes]) {
            self.window(dice, 1, 90)
        } else {
            self.window(dice, 2, 200)
        };
        let every = if is(&[Kind::Intermittent]) {
            Some(dice.time(Duration::from_millis(500), Duration::from_secs(20)))
        } else if is(&[Kind::Reboots]) && dice.chance(30) {
            Some(dice.time(Duration::from_secs(15), Duration::from_secs(60)))
        } else {
            None
        };
        let amount = if is(&[Kind::HiddenFloor]) {
            Some(dice.share(max, 20, 90))
        } else if is(&[Kind::ForeignOrder]) {
            Some(dice.share(max, 20, 100))
        } else if is(&[Kind::MaxChanges]) {
            Some(dice.share(max, 50, 150).max(actual))
        } else {
            None
        };
        let rate = if is(&[Kind::Slow]) {
            Some(dice.size(1, 64).fraction(1, dice.pick(&[1, 16, 256], 1)))
        } else if is(&[Kind::Leaks]) {
            Some(dice.size(1, 1024))
        } else {
            None
        };
        let percent = dice.between(0, 95);
        Behaviour { during, every, amount, rate, percent, claims, ..Behaviour::of(kind) }
    }

    /// A VM begins to exist in the middle: it holds all it may until its driver works.
    fn put_start(&mut self, dice: &mut Dice) -> u64 {
        let from = self.window(dice, 1, 1).from;
        let at = dice.between(0, self.scenario.vms.len().saturating_sub(1) as u64);
        if let Some(vm) = usize::try_from(at).ok().and_then(|at| self.scenario.vms.get_mut(at)) {
            vm.life.from = from;
        }
        1
    }

    fn put_recreation(&mut self, dice: &mut Dice) -> u64 {
        let window = self.window(dice, 1, 30);
        let Some(vm) = self.scenario.vms.last_mut().filter(|vm| vm.life.from < window.from) else {
            return 0;
        };
        let twin = VmScenario {
            id: derived_id(&format!("{} again", vm.name)),
            life: Window { from: window.until.unwrap_or(window.from), until: None },
            behaviours: Vec::new(),
            ..vm.clone()
        };
        vm.life.until = Some(window.from);
        self.scenario.vms.push(twin);
        1
    }

    /// Another process takes up to a third of the host within a second, and gives it back.
    fn put_hog(&mut self, dice: &mut Dice) -> u64 {
        let host = &self.scenario.host;
        let base = host.other.at(Duration::ZERO);
        let taken = base.saturating_add(dice.share(host.total, 3, 33));
        let window = self.window(dice, 2, 90);
        let end = window.until.unwrap_or(self.calm);
        let second = Duration::from_secs(1);
        let point = |at, used| Point { at, used };
        self.scenario.host.other = Curve::new(vec![
            point(window.from, base),
            point(window.from + second, taken),
            point(end + second, taken),
            point(end + second, base),
        ]);
        1
    }

    /// Some time before the calm.
    fn window(&self, dice: &mut Dice, least: u64, most: u64) -> Window {
        let secs = Duration::from_secs;
        let end = self.calm.saturating_sub(secs(2));
        let from = dice.time(secs(1), end.saturating_sub(secs(1)));
        let doublings = u64::from(most.checked_div(least).unwrap_or(1).max(1).ilog2());
        let low = least << dice.between(0, doublings);
        let until = from + dice.time(secs(low), secs((low * 2).min(most.max(low))));
        Window { from, until: Some(until.min(end)) }
    }

    fn put_acts(&mut self, fault: Fault, dice: &mut Dice) -> u64 {
        let times = dice.pick(&[1, 2, 4, 12], 1);
        for _ in 0..times {
            let tick = dice.between(1, u64::from(CALM_TICK) - 20);
            let call = u32::try_from(dice.between(1, 6)).unwrap_or(1);
            let long = dice.time(self.config.interval * 4, Duration::from_secs(90));
            let act = match fault {
                Fault::Killed => Act::Kill,
                Fault::KilledInside => Act::KillInside(call),
                Fault::Stopped => Act::Stop(long),
                Fault::StoppedInside => Act::StopInside(call, long),
                Fault::Mode => {
                    let mode = dice.pick(&[Mode::Observe, Mode::Paused], Mode::Paused);
                    let back = tick + dice.between(1, 20);
                    self.acts.entry(back).or_default().push(Act::Mode(Mode::Active));
                    Act::Mode(mode)
                }
                Fault::PausedInside => {
                    let back = tick + dice.between(1, 10);
                    self.acts.entry(back).or_default().push(Act::Mode(Mode::Active));
                    Act::PauseInside(call)
                }
                Fault::Policy => Act::Policy(Box::new(policy(dice, &self.scenario.vms))),
                Fault::Late => {
                    Act::Stop(dice.time(Duration::from_millis(50), self.config.interval * 2))
                }
                Fault::Vm(_)
                | Fault::Lie(_)
                | Fault::Starts
                | Fault::Recreated
                | Fault::Hog
                | Fault::Pressure
                | Fault::ConnectionLost
                | Fault::Silent
                | Fault::Latency => return 0,
            };
            self.acts.entry(tick).or_default().push(act);
        }
        times
    }
}

/// 5 to 15 kinds of faults, and what operators do.
fn kinds(dice: &mut Dice) -> Vec<Fault> {
    let mut left = Fault::ALL.to_vec();
    let count = dice.between(5, 15);
    let mut kinds = Vec::new();
    for _ in 0..count {
        let index = dice.between(0, left.len().saturating_sub(1) as u64);
        kinds.push(left.swap_remove(usize::try_from(index).unwrap_or(0)));
    }
    kinds.extend(Fault::OPERATOR.into_iter().filter(|_| dice.chance(30)));
    kinds
}

/// Few VMs nearly always.
fn vms(dice: &mut Dice, calm: Duration) -> Vec<VmScenario> {
    let count = match dice.between(0, 99) {
        0..=79 => dice.between(1, 4),
        80..=95 => dice.between(5, 12),
        _ => dice.between(13, 60),
    };
    let common = numbers(dice);
    (0..count).map(|index| vm(index, common, dice, calm)).collect()
}

fn numbers(dice: &mut Dice) -> Numbers {
    let secs = Duration::from_secs;
    Numbers {
        cache: dice.pick(&[mib(0), mib(64), mib(300)], mib(64)),
        swap: dice.pick(&[mib(0), mib(256), mib(1024)], mib(0)),
        process_overhead: dice.pick(&[mib(0), mib(0), mib(64)], mib(0)),
        stats_period: dice.pick(&[secs(1), secs(1), secs(2)], secs(1)),
        boot_time: dice.pick(&[secs(2), secs(5), secs(15)], secs(5)),
        noise_percent: dice.pick(&[0, 10, 30], 10),
        ..Numbers::default()
    }
}

fn vm(index: u64, numbers: Numbers, dice: &mut Dice, calm: Duration) -> VmScenario {
    let name = format!("vm{index}");
    let max = dice.size(256, 4096);
    let actual = dice.share(max, 25, 100).max(mib(64));
    VmScenario {
        id: derived_id(&name),
        name: Arc::from(name),
        max,
        actual,
        demand: demand(max, actual, dice, calm),
        life: Window::ALWAYS,
        behaviours: Vec::new(),
        numbers,
    }
}

/// Constant, a ramp, steps, a square wave or anything; constant in the calm.
fn demand(max: ByteCount, actual: ByteCount, dice: &mut Dice, calm: Duration) -> Curve {
    let start = dice.share(actual, 10, 80);
    let mut points = vec![Point { at: Duration::ZERO, used: start }];
    let shape = dice.between(0, 4);
    let count = match shape {
        0 => 0,
        1 => 1,
        _ => u32::try_from(dice.between(2, 16)).unwrap_or(2),
    };
    let (low, high) = (dice.share(max, 5, 50), dice.share(max, 40, 105));
    for turn in 1..=count {
        let at = calm.saturating_sub(Duration::from_secs(5)) * turn / (count + 1);
        let before = points.last().map_or(start, |point| point.used);
        let used = match shape {
            2 if turn % 2 == 0 => low,
            2 => high,
            _ => dice.share(max, 5, 105),
        };
        if shape == 2 || dice.chance(40) {
            points.push(Point { at, used: before });
        }
        points.push(Point { at, used });
    }
    Curve::new(points)
}

/// What a VM is made of does not change while it runs.
const MADE_OF: [Kind; 7] = [
    Kind::Vfio,
    Kind::HiddenVfio,
    Kind::HugePages,
    Kind::Locked,
    Kind::Confidential,
    Kind::NoBalloon,
    Kind::TakesBack,
];
const ROOM_STREAM: u64 = 0x524f;
const PROMPTS_STREAM: u64 = 0x5052;
const REBOOT_STREAM: u64 = 0x5242;
/// Of `tests/soak-seeds.txt`, kept before what these streams draw: their runs are to stay what they were.
pub(super) const KEPT: [u64; 13] =
    [467, 1447, 1456, 2171, 10058, 510, 154, 1916, 3964, 12190, 19122, 14903, 19485];
/// Faults end before this tick.
pub(super) const CALM_TICK: u32 = 400;
/// Coarse, so that twenty thousand runs take minutes.
const STEP: Duration = Duration::from_millis(100);
