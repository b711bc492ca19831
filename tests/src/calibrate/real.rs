//! A trace on a real VM of the lab.

use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use anyhow::{Context, Result};

use super::trace::{Event, Film, MAX_MIB, SWAP_MIB, SWAP_RATE, Sample, Trace};
use crate::lab::{BOOT_LIMIT, Lab, Ticket, Vm, VmSpec, clock};

/// Plays a trace on a VM that has just booted.
pub fn play(lab: &Lab, trace: &Trace) -> Result<Film> {
    let host = lab.host("calibrate")?;
    let clock = RealClock::start();
    let spec = VmSpec::new("vm1", MAX_MIB).small_pages();
    let vm = host.vm(spec.swap_mib(SWAP_MIB).swap_mib_per_s(SWAP_RATE))?;
    vm.wait_ready(BOOT_LIMIT)?;
    let up = clock.now();
    let mut player = Player { vm, clock, up, tickets: Vec::new() };
    let samples = player.play(trace)?;
    Ok(Film { boot: up, samples })
}

struct Player {
    vm: Vm,
    clock: Arc<RealClock>,
    up: Duration,
    /// What was begun and need not have ended.
    tickets: Vec<Ticket>,
}

impl Player {
    fn play(&mut self, trace: &Trace) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut events = trace.events.iter().peekable();
        loop {
            let at = self.clock.now().saturating_sub(self.up);
            if at >= Duration::from_secs(trace.end) {
                return Ok(samples);
            }
            while let Some((due, event)) =
                events.next_if(|(due, _)| Duration::from_secs(*due) <= at)
            {
                self.begin(*event).with_context(|| format!("{} at {due} s", trace.name))?;
            }
            samples.push(self.sample()?);
            clock::breathe();
        }
    }

    fn begin(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Demand(0) => self.vm.release(PROGRAMS)?,
            Event::Demand(mib) => self.tickets.push(self.vm.hold(PROGRAMS, mib, 0)?),
            Event::Files(mib) => self.tickets.push(self.vm.cache(mib)?),
            Event::Target(mib) => self.vm.set_memory(mib)?,
            Event::Touch => self.tickets.push(self.vm.touch(PROGRAMS)?),
        }
        Ok(())
    }

    /// The VM's figures are of the moment at which it gave them, which may be a while after it was
    /// asked.
    fn sample(&self) -> Result<Sample> {
        let (info, swapped) = (self.vm.meminfo_kib()?, self.vm.swapped_kib()?);
        let actual = self.vm.actual_kib()?;
        let at = self.clock.now().saturating_sub(self.up);
        let of = |name: &str| info.get(name).copied().unwrap_or(0);
        Ok(Sample {
            at,
            actual: mib(actual),
            free: mib(of("MemFree")),
            files: mib(of("Cached") + of("Buffers")),
            swap_out: mib(swapped.out),
            swap_back: mib(swapped.back),
        })
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The name under which the VM holds what its programs want.
const PROGRAMS: &str = "programs";
