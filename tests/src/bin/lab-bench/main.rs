//! The lab's part of `make bench`: what a whole tick of agentd costs on real VMs when nothing is to
//! be done, beside one bare bulk statistics call, and the processor time of agentd per tick; then
//! how soon faults are told, and what a VM that hangs costs the others.
//!
//! Tick and bare call take turns against the same libvirtd, so that both meet the same machine. The
//! tick is the daemon's own, in this process; the processor time is that of a running agentd.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod detection;
mod hung;

use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use agentd::control::{Gate, InForce, Mode};
use agentd::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use agentd::tick::{TickConfig, Ticker};
use agentd_core::policy::Policy;
use agentd_tests::agent::Agent;
use agentd_tests::lab::{Host, Lab, VmSpec};
use agentd_tests::programs::Programs;
use anyhow::{Context, Result, bail};
use virt::connect::Connect;
use virt::sys;

fn main() -> Result<()> {
    let programs = Programs::beside()?;
    let lab = Lab::open()?;
    println!("{:>4}  {:>23}  {:>23}  {:>6}  {:>12}", "", "bulk call", "whole tick", "", "agentd");
    println!(
        "{:>4}  {:>11} {:>11}  {:>11} {:>11}  {:>6}  {:>12}",
        "VMs", "p50", "p95", "p50", "p95", "ratio", "CPU per tick"
    );
    for count in [4, 10] {
        measure(&lab, &programs, count)?;
    }
    hung::measure(&lab)?;
    detection::measure(&lab, &programs)
}

fn measure(lab: &Lab, programs: &Programs, count: usize) -> Result<()> {
    let host = lab.host("bench")?;
    host.boot((0..count).map(|number| VmSpec::new(&format!("vm{number}"), VM_MIB)))?;
    let (bare, ticks) = take_turns(&host, count)?;
    let cpu = cpu_per_tick(programs, &host)?;
    let ratio = ticks.p50.as_secs_f64() / bare.p50.as_secs_f64();
    println!(
        "{count:>4}  {:>11.2?} {:>11.2?}  {:>11.2?} {:>11.2?}  {ratio:>6.2}  {cpu:>12.2?}",
        bare.p50, bare.p95, ticks.p50, ticks.p95
    );
    Ok(())
}

/// Times of the bare call and of the tick, one after the other.
fn take_turns(host: &Host, count: usize) -> Result<(Times, Times)> {
    let clock = RealClock::start();
    let connect = Connect::open(Some(&host.uri())).context("cannot connect to the lab")?;
    let config = LibvirtConfig { uri: host.uri(), ..LibvirtConfig::default() };
    let libvirt = Libvirt::new(config, clock.clone());
    let mut ticker = Ticker::new(Box::new(libvirt), clock.clone(), TICK);
    let (in_force, gate) =
        (InForce::fixed(Mode::Observe, Policy::default()), Gate::new(Mode::Observe));
    let (mut bare, mut ticks) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + TURNS {
        let began = clock.now();
        let seen = bulk_call(&connect)?;
        let between = clock.now();
        let record = ticker.turn(&in_force, &gate).record;
        let ended = clock.now();
        clock.sleep(TICK.interval.saturating_sub(ended.saturating_sub(began)));
        if turn < WARM_UP {
            continue;
        }
        let sampled = record.sample.as_ref().map_or(0, |sample| sample.vms.len());
        if (seen, sampled) != (count, count) {
            bail!("{count} VMs run; {seen} were in the bare call, {sampled} in the tick");
        }
        bare.push(between.saturating_sub(began));
        ticks.push(ended.saturating_sub(between));
    }
    Ok((Times::of(bare), Times::of(ticks)))
}

/// The call that agentd makes, and nothing else.
fn bulk_call(connect: &Connect) -> Result<usize> {
    let what = sys::VIR_DOMAIN_STATS_STATE | sys::VIR_DOMAIN_STATS_BALLOON;
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    #[allow(clippy::disallowed_methods, reason = "a benchmark may leak a few kilobytes")]
    let records = connect.all_domain_stats(what, flags)?;
    Ok(records.len())
}

/// Processor time, of all its threads, that a running agentd takes for a tick.
fn cpu_per_tick(programs: &Programs, host: &Host) -> Result<Duration> {
    let mut agent = Agent::start(programs, host, &[])?;
    let watch = agent.memctl().watch("watch", &[])?;
    watch.wait_ticks(CPU_WARM_UP, PATIENCE)?;
    let (ticks, before) = (watch.ticks()?.len(), cpu(host, agent.process().pid())?);
    watch.wait_ticks(CPU_TICKS, PATIENCE)?;
    let (now, after) = (watch.ticks()?.len(), cpu(host, agent.process().pid())?);
    let ticks = u32::try_from(now - ticks)?;
    Ok(after.saturating_sub(before) / ticks)
}

/// The first figure of `schedstat` is the time on a processor in nanoseconds.
fn cpu(host: &Host, pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let tasks = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(host.space().path(&tasks))? {
        let file = format!("{tasks}/{}/schedstat", task?.file_name().to_string_lossy());
        let text = host.space().read(&file).unwrap_or_default();
        let first = text.split_whitespace().next().unwrap_or("0");
        sum += Duration::from_nanos(first.parse()?);
    }
    Ok(sum)
}

#[derive(Debug)]
struct Times {
    p50: Duration,
    p95: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Self { p50: at(50).unwrap_or_default(), p95: at(95).unwrap_or_default() }
    }
}

const TICK: TickConfig = TickConfig {
    interval: Duration::from_millis(200),
    settle: Duration::from_millis(100),
    call_timeout: Duration::from_secs(1),
    stale_after: Duration::from_secs(5),
};
/// Enough for every VM to have reported and proven itself.
const WARM_UP: usize = 20;
const TURNS: usize = 150;
const CPU_WARM_UP: usize = 3;
const CPU_TICKS: usize = 20;
/// An idle guest of the lab needs no more.
const VM_MIB: u64 = 160;
const PATIENCE: Duration = Duration::from_secs(120);
