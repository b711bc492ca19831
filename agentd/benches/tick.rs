//! What a whole tick costs on the simulator, by the number of VMs: sample, decide, check and apply.
//!
//! `cargo bench -p agentd --bench tick` prints the median and the 99th percentile.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark measures time and prints it"
)]

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agentd::{
    clock::VirtualClock,
    control::{Gate, InForce, Mode},
    hypervisor::sim::{Scenario, Sim},
    tick::{TickConfig, Ticker},
};
use agentd_core::policy::Policy;

fn main() {
    println!("{:>6}  {:>12}  {:>12}  {:>10}", "VMs", "tick p50", "p99", "per VM");
    for count in [10, 100, 1_000, 10_000] {
        let mut times = ticks(count, if count > 1_000 { 100 } else { 400 });
        times.sort();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let per_vm = p50 / u32::try_from(count).unwrap();
        println!("{count:>6}  {p50:>12.2?}  {p99:>12.2?}  {per_vm:>10.1?}");
    }
}

fn ticks(count: usize, ticks: u32) -> Vec<Duration> {
    let interval = Duration::from_secs(1);
    let clock = Arc::new(VirtualClock::default());
    let scenario = Scenario::parse("bench.toml", &scenario(count)).unwrap();
    let sim = Sim::new(Path::new("bench.toml"), &scenario, clock.clone());
    let config = TickConfig {
        interval,
        settle: interval / 2,
        call_timeout: interval,
        stale_after: 5 * interval,
    };
    let mut ticker = Ticker::new(Box::new(sim), clock.clone(), config);
    let gate = Gate::new(Mode::Active);
    let in_force = InForce::fixed(Mode::Active, Policy::default());
    (0..ticks)
        .map(|tick| {
            clock.advance_to(interval * tick);
            let start = Instant::now();
            let turn = ticker.turn(&in_force, &gate);
            let took = start.elapsed();
            assert!(turn.record.error.is_none(), "{:?}", turn.record.error);
            assert_eq!(turn.record.sample.as_ref().unwrap().vms.len(), count);
            took
        })
        .collect()
}

/// VMs whose use rises and falls out of step, so that every tick moves memory.
fn scenario(count: usize) -> String {
    let mut text = format!(
        "tick_interval = \"1s\"\nseed = 1\n[sim]\nideal = true\n[host]\ntotal = \"{}GiB\"\nother = \"1GiB\"\n",
        count * 2 + 8
    );
    for vm in 0..count {
        let (rise, fall) = (vm % 40, vm % 40 + 60);
        writeln!(
            text,
            "[[vm]]\nname = \"vm{vm}\"\nmax = \"2GiB\"\nactual = \"512MiB\"\ndemand = [\
             {{ at = \"0s\", used = \"150MiB\" }}, {{ at = \"{rise}s\", used = \"200MiB\" }}, \
             {{ at = \"{fall}s\", used = \"1000MiB\" }}, {{ at = \"400s\", used = \"100MiB\" }}]"
        )
        .unwrap();
    }
    text
}
