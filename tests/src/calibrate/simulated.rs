//! A trace on the simulator, in virtual time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock, VirtualClock};
use agentd::hypervisor::sim::{Onlooker, Scenario, Sim, VmFacts, derived_id};
use agentd::hypervisor::{Hypervisor, Target};
use agentd_core::bytes::ByteCount;
use anyhow::{Context, Result, anyhow};

use super::trace::{Event, Film, MAX_MIB, SWAP_MIB, SWAP_RATE, Sample, Trace};

/// Plays a trace on a simulated VM that has all its numbers by default.
pub fn play(trace: &Trace) -> Result<Film> {
    let clock = Arc::new(VirtualClock::default());
    let text = scenario(trace, Duration::ZERO);
    let up = boot(&mut World::new(&text, &clock)?)?;
    let clock = Arc::new(VirtualClock::default());
    let mut world = World::new(&scenario(trace, up), &clock)?;
    boot(&mut world)?;
    let mut film = Film { boot: up.saturating_sub(START), samples: Vec::new() };
    let mut events = trace.events.iter().peekable();
    let end = up + Duration::from_secs(trace.end);
    while clock.now() < end {
        let at = clock.now().saturating_sub(up);
        while let Some((_, event)) = events.next_if(|(due, _)| Duration::from_secs(*due) <= at) {
            if let Event::Target(mib) = event {
                world.order(*mib);
            }
        }
        film.samples.push(sample(at, &world.vm()?));
        clock.sleep(STEP);
    }
    Ok(film)
}

/// Lets the VM boot; gives when it was up.
fn boot(world: &mut World) -> Result<Duration> {
    while world.clock.now() < BOOT_LIMIT {
        if world.vm().is_ok_and(|vm| vm.works) {
            return Ok(world.clock.now());
        }
        world.clock.sleep(STEP);
    }
    Err(anyhow!("the simulated VM is not up after {BOOT_LIMIT:?}"))
}

struct World {
    sim: Sim,
    truth: Onlooker,
    clock: Arc<VirtualClock>,
}

impl World {
    fn new(text: &str, clock: &Arc<VirtualClock>) -> Result<Self> {
        let scenario = Scenario::parse("calibrate.toml", text)?;
        let sim = Sim::new(Path::new("calibrate.toml"), &scenario, clock.clone());
        Ok(Self { truth: sim.onlooker(), sim, clock: Arc::clone(clock) })
    }

    fn vm(&self) -> Result<VmFacts> {
        let facts = self.truth.facts();
        facts.vms.get(&derived_id("vm1")).copied().context("the simulated VM is not there")
    }

    fn order(&mut self, mib: u64) {
        let target = ByteCount::bytes(mib << 20);
        let _ = self.sim.set_targets(&[Target { vm: derived_id("vm1"), target }], STEP);
    }
}

/// The trace as a scenario. Its demand follows from the scenario alone: `up` is when its zero is.
fn scenario(trace: &Trace, up: Duration) -> String {
    let mut points = vec!["{ at = \"0s\", used = \"0MiB\" }".to_owned()];
    let mut files = 0;
    for (at, event) in trace.events {
        match event {
            Event::Demand(mib) => {
                let at = (up + Duration::from_secs(*at)).as_millis();
                let last = points.last().map(|point| point.split_once("used"));
                let used = last.flatten().map_or("", |(_, used)| used).to_owned();
                points.push(format!("{{ at = \"{at}ms\", used{used}"));
                points.push(format!("{{ at = \"{at}ms\", used = \"{mib}MiB\" }}"));
            }
            Event::Files(mib) => files = *mib,
            Event::Target(_) | Event::Touch => {}
        }
    }
    format!(
        "[sim]\nnoise_percent = 0\nstep = \"10ms\"\n[host]\ntotal = \"8GiB\"\n[[vm]]\nname = \"vm1\"\n\
         max = \"{MAX_MIB}MiB\"\nactual = \"{MAX_MIB}MiB\"\nstart = \"{}ms\"\n\
         swap = \"{SWAP_MIB}MiB\"\nswap_rate = \"{SWAP_RATE}MiB\"\ncache = \"{files}MiB\"\n\
         demand = [{}]\n",
        START.as_millis(),
        points.join(", "),
    )
}

fn sample(at: Duration, vm: &VmFacts) -> Sample {
    let mib = |amount: ByteCount| amount.as_u64() as f64 / f64::from(1 << 20);
    let free = vm.actual.saturating_sub(vm.resident).saturating_sub(vm.cache);
    Sample {
        at,
        actual: mib(vm.actual),
        free: mib(free),
        files: mib(vm.cache),
        swap_out: mib(vm.swap_out),
        swap_back: mib(vm.swap_in),
    }
}

/// A VM that is there from the beginning has run for long; this one is to boot.
const START: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(20);
const BOOT_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::super::measures::MEASURES;
    use super::*;

    /// The table shows of the simulator what its numbers say.
    #[test]
    fn what_is_measured_is_what_was_set() {
        let figure = |name: &str| {
            let measure = MEASURES.iter().find(|one| one.name.starts_with(name)).unwrap();
            (measure.of)(&play(&measure.trace).unwrap()).unwrap()
        };
        for (name, set) in [
            ("boot", 10.0),
            ("programs take", 1024.0),
            ("balloon takes unused", 700.0),
            ("balloon gives", 2048.0),
            ("reads files", 100.0),
        ] {
            let shown = figure(name);
            assert!((0.85..=1.15).contains(&(shown / set)), "{name}: {shown}, set to {set}");
        }
    }
}
