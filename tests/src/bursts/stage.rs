//! [`Stage`]: the VMs, and bursts that take turns on them.

use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use anyhow::Result;

use super::score::{Burst, Score};
use crate::lab::{Host, Lab, Ticket, Vm, VmSpec};

/// A host and the VMs whose bursts take turns.
#[derive(Debug)]
pub struct Stage {
    host: Host,
    vms: Vec<Vm>,
    plot: Plot,
    clock: Arc<RealClock>,
}

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// How many VMs.
    pub vms: usize,
    /// The most that each may hold.
    pub max_mib: u64,
    /// What a burst wants.
    pub burst_mib: u64,
    /// How long it lasts.
    pub length: Duration,
    /// What there is for all of them together, where memory is shared.
    pub pool_mib: u64,
}

/// A pool of 60 % of what the VMs would come to hold if each kept what its burst and headroom take
/// of it.
pub const PLOT: Plot =
    Plot { vms: 4, max_mib: 768, burst_mib: 450, length: Duration::from_secs(14), pool_mib: 1410 };

/// What a VM holds when bursts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// All that it may.
    Maximum,
    /// An equal part of the pool.
    EqualPart,
}

impl Plot {
    /// An equal part of the pool.
    pub fn part_mib(&self) -> u64 {
        self.pool_mib / u64::try_from(self.vms.max(1)).unwrap_or(u64::MAX)
    }
}

impl Stage {
    /// Boots the VMs.
    pub fn boot(lab: &Lab, plot: Plot) -> Result<Self> {
        let host = lab.host("bursts")?;
        let spec = |number| {
            let spec = VmSpec::new(&format!("vm{number}"), plot.max_mib).small_pages();
            spec.swap_mib(plot.max_mib).swap_mib_per_s(SWAP_MIB_PER_S)
        };
        let vms = host.boot((1..=plot.vms).map(spec))?;
        Ok(Self { host, vms, plot, clock: RealClock::start() })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The VMs.
    pub fn vms(&self) -> &[Vm] {
        &self.vms
    }

    /// What is played.
    pub fn plot(&self) -> &Plot {
        &self.plot
    }

    /// Gives every VM what it begins with, and waits until it holds it.
    pub fn set(&self, start: Start) -> Result<()> {
        let mib = match start {
            Start::Maximum => self.plot.max_mib,
            Start::EqualPart => self.plot.part_mib(),
        };
        for vm in &self.vms {
            vm.drop_cache()?;
            vm.set_memory(mib)?;
        }
        self.vms.iter().try_for_each(|vm| vm.wait_actual(mib, PATIENCE))
    }

    /// Lets each VM have its burst. Where memory moves, the next begins when the one before has
    /// lasted its time; else nothing would be other then, and it begins at once.
    pub fn play(&self, memory_moves: bool) -> Result<Score> {
        let (swapped, oom_kills) = (self.swapped_kib()?, self.oom_kills()?);
        let names: Vec<&str> = self.vms.iter().map(Vm::name).collect();
        let gauge = self.host.gauge_at_times(&names, GAUGE_REST)?;
        let mut bursts = Vec::new();
        for vm in &self.vms {
            let is_last = bursts.len() + 1 == self.vms.len();
            bursts.push(self.burst(vm, memory_moves && !is_last)?);
        }
        Ok(Score {
            bursts,
            length: self.plot.length,
            over_pool_kib: Some(gauge.largest_sum_kib().saturating_sub(self.plot.pool_mib * 1024)),
            swapped_kib: self.swapped_kib()?.saturating_sub(swapped),
            oom_kills: self.oom_kills()?.saturating_sub(oom_kills),
        })
    }

    fn burst(&self, vm: &Vm, lasts: bool) -> Result<Burst> {
        let began = self.clock.now();
        let passed = || self.clock.now().saturating_sub(began);
        let left = || self.plot.length.saturating_sub(passed());
        // What is not done in time is late, and so is what its kernel killed.
        let finish = |ticket: Ticket| vm.finish(ticket, left()).ok().map(|_| passed());
        let reached = finish(vm.hold(BURST, self.plot.burst_mib, 0)?);
        let done = match reached {
            Some(_) => finish(vm.touch(BURST)?),
            None => None,
        };
        if lasts {
            self.clock.sleep(left());
        }
        vm.release(BURST)?;
        Ok(Burst { reached, done })
    }

    fn swapped_kib(&self) -> Result<u64> {
        let of = |vm: &Vm| vm.swapped_kib().map(|swapped| swapped.out + swapped.back);
        self.vms.iter().map(of).sum()
    }

    fn oom_kills(&self) -> Result<usize> {
        self.vms.iter().map(Vm::oom_kills).sum()
    }
}

/// The name under which a VM holds what its burst wants.
const BURST: &str = "burst";
/// What is beyond the pool for longer is seen.
const GAUGE_REST: Duration = Duration::from_millis(300);
/// A disk of the better kind, and what the simulator takes for one.
const SWAP_MIB_PER_S: u64 = 100;
/// For a VM to hold what it is told while nothing goes on in it.
const PATIENCE: Duration = Duration::from_secs(60);
