//! What one VM that hangs costs the ticks of the others, in turns on one host: some ticks while all
//! run, some while one is stopped.

use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use agentd::control::{Gate, InForce, Mode};
use agentd::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use agentd::tick::{TickConfig, Ticker};
use agentd_core::policy::Policy;
use agentd_tests::lab::{Lab, VmSpec};
use anyhow::Result;

use crate::TICK as USUAL;

/// Measures and prints.
pub(crate) fn measure(lab: &Lab) -> Result<()> {
    let host = lab.host("hung")?;
    let vms = host.boot((0..VMS).map(|number| VmSpec::new(&format!("vm{number}"), VM_MIB)))?;
    let clock = RealClock::start();
    let config = LibvirtConfig { uri: host.uri(), ..LibvirtConfig::default() };
    let libvirt = Libvirt::new(config, clock.clone());
    let mut ticker = Ticker::new(Box::new(libvirt), clock.clone(), TICK);
    let (in_force, gate) =
        (InForce::fixed(Mode::Observe, Policy::default()), Gate::new(Mode::Observe));
    let mut ticks = |count: usize| -> Vec<Duration> {
        let turn = |_| {
            let began = clock.now();
            let took = ticker.turn(&in_force, &gate).record.took;
            let spent = clock.now().saturating_sub(began);
            clock.sleep(TICK.interval.saturating_sub(spent));
            took
        };
        (0..count).map(turn).collect()
    };

    let (mut all_run, mut one_hangs, mut onset) =
        ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
    ticks(SETTLE);
    for block in 0..BLOCKS {
        all_run[block % 2].extend(ticks(BLOCK));
        vms[0].freeze()?;
        onset.extend(ticks(SETTLE));
        one_hangs.extend(ticks(BLOCK));
        vms[0].thaw()?;
        ticks(SETTLE);
    }
    let noise = all_run.clone().map(percentiles);
    let (all_run, one_hangs) = (percentiles(all_run.concat()), percentiles(one_hangs));
    println!("\n{:<22} {:>10} {:>10}", "tick of 6 VMs", "p50", "p99");
    println!("{:<22} {:>10.2?} {:>10.2?}", "all run", all_run[0], all_run[1]);
    println!("{:<22} {:>10.2?} {:>10.2?}", "one hangs", one_hangs[0], one_hangs[1]);
    let ratio = |some: [Duration; 2], others: [Duration; 2]| {
        [0, 1].map(|at| some[at].as_secs_f64() / others[at].as_secs_f64())
    };
    let [p50, p99] = ratio(one_hangs, all_run);
    println!("{:<22} {p50:>10.2} {p99:>10.2}  promised: 1.1", "ratio");
    let [p50, p99] = ratio(noise[0], noise[1]);
    println!("{:<22} {p50:>10.2} {p99:>10.2}", "noise: all run by same");
    let longest = onset.into_iter().max().unwrap_or_default();
    println!("{:<22} {:>10} {:>10.2?}", "longest as it begins", "", longest);
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [50, 99].map(|percent| times.get(times.len() * percent / 100).copied().unwrap_or_default())
}

const VMS: usize = 6;
/// An idle VM of the lab needs no more.
const VM_MIB: u64 = 160;
/// In even and odd ones all run alike: what these differ by is noise.
const BLOCKS: usize = 12;
const BLOCK: usize = 50;
/// Two in a usual one: the more ticks, the less one of them decides the p99.
const TICK: TickConfig = TickConfig { interval: Duration::from_millis(100), ..USUAL };
/// Ticks until a VM that was stopped or goes on is known to.
const SETTLE: usize = 15;
