//! How long after a fault agentd says so, in five rounds of each, beside what is promised.
//!
//! The time is from the fault until `memctl watch` has told it, with ticks of a second: a tick and
//! the way to the client are part of it. Faults come just after a tick has been told, which is the worst moment.

use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use agentd_tests::agent::Agent;
use agentd_tests::feed::Feed;
use agentd_tests::lab::{Host, Lab, Vm, VmSpec};
use agentd_tests::programs::Programs;
use anyhow::{Context, Result};
use serde_json::Value;

/// Measures all of them and prints a line for each.
pub(crate) fn measure(lab: &Lab, programs: &Programs) -> Result<()> {
    let mut host = lab.host("detection")?;
    let vms = host.boot(["vm1", "vm2"].map(|name| VmSpec::new(name, VM_MIB).small_pages()))?;
    let clock = RealClock::start();
    println!("\n{:<22} {:>8} {:>8} {:>8}  {:>8}", "told after", "min", "median", "max", "promised");
    let dead = rounds(|| libvirtd_dies(&clock, programs, &mut host))?;
    print("libvirtd is dead", &dead, Duration::from_secs(1));
    let hung = rounds(|| libvirtd_hangs(&clock, programs, &host))?;
    print("libvirtd hangs", &hung, Duration::from_secs(20));
    let hung = rounds(|| a_vm_hangs(&clock, programs, &host, &vms[1]))?;
    print("a VM hangs", &hung, Duration::from_secs(2));
    let stuck = rounds(|| a_balloon_sticks(&clock, programs, &host, &vms[1]))?;
    print("a balloon sticks", &stuck, Duration::from_secs(20));
    Ok(())
}

fn libvirtd_dies(clock: &Arc<RealClock>, programs: &Programs, host: &mut Host) -> Result<Duration> {
    let (_agent, mut feed) = watched(programs, host)?;
    let began = clock.now();
    host.kill_libvirtd();
    feed.until("the loss", MOST_TICKS, |tick| tick["error"] != "")?;
    let told = clock.now().saturating_sub(began);
    host.start_libvirtd()?;
    Ok(told)
}

fn libvirtd_hangs(clock: &Arc<RealClock>, programs: &Programs, host: &Host) -> Result<Duration> {
    let (_agent, mut feed) = watched(programs, host)?;
    let began = clock.now();
    host.freeze_libvirtd()?;
    feed.until("the loss", MOST_TICKS, |tick| tick["error"] != "")?;
    let told = clock.now().saturating_sub(began);
    host.thaw_libvirtd()?;
    Ok(told)
}

fn a_vm_hangs(
    clock: &Arc<RealClock>,
    programs: &Programs,
    host: &Host,
    vm: &Vm,
) -> Result<Duration> {
    let (_agent, mut feed) = watched(programs, host)?;
    let began = clock.now();
    vm.freeze()?;
    feed.until("it", MOST_TICKS, |tick| state(tick, vm) == "unresponsive")?;
    let told = clock.now().saturating_sub(began);
    vm.thaw()?;
    Ok(told)
}

/// The fault begins to show with the first order that it spoils.
fn a_balloon_sticks(
    clock: &Arc<RealClock>,
    programs: &Programs,
    host: &Host,
    vm: &Vm,
) -> Result<Duration> {
    let (agent, mut feed) = watched(programs, host)?;
    let free_kib = *vm.meminfo_kib()?.get("MemFree").context("the VM has no MemFree")?;
    vm.keep_free(free_kib / 1024)?;
    // Nobody needs memory: who has some to spare is to give it to the host.
    agent.memctl().done(&["mode", "active", "--reason", "bench"])?;
    feed.until("an order", MOST_TICKS, |tick| is_ordered(tick, vm))?;
    let began = clock.now();
    feed.until("it", MOST_TICKS, |tick| state(tick, vm) == "uncooperative")?;
    let told = clock.now().saturating_sub(began);
    agent.memctl().done(&["mode", "observe", "--reason", "bench"])?;
    vm.keep_free(LITTLE_MIB)?;
    Ok(told)
}

/// A fresh agentd that sees every VM.
fn watched(programs: &Programs, host: &Host) -> Result<(Agent, Feed)> {
    let agent = Agent::start_with(programs, host, CONFIG, &[])?;
    agent.memctl().done(&["policy", "set", "two-pointer.step=2MiB"])?;
    let mut feed = Feed::start(agent.memctl(), "feed")?;
    feed.until("all VMs", MOST_TICKS, |tick| {
        let vms = tick["vms"].as_array().into_iter().flatten();
        vms.filter(|vm| vm["state"] == "running").count() == 2
    })?;
    Ok((agent, feed))
}

fn state<'a>(tick: &'a Value, vm: &Vm) -> &'a Value {
    let mut vms = tick["vms"].as_array().into_iter().flatten();
    vms.find(|known| known["name"] == vm.name()).map_or(&Value::Null, |known| &known["state"])
}

fn is_ordered(tick: &Value, vm: &Vm) -> bool {
    let mut resizes = tick["resizes"].as_array().into_iter().flatten();
    resizes.any(|resize| resize["vm"]["name"] == vm.name() && resize["outcome"] == "accepted")
}

fn rounds(mut round: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    let mut told = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>>>()?;
    told.sort();
    Ok(told)
}

fn print(what: &str, told: &[Duration], promised: Duration) {
    let at = |index: usize| told.get(index).copied().unwrap_or_default();
    let (min, median, max) = (at(0), at(told.len() / 2), at(told.len().saturating_sub(1)));
    println!("{what:<22} {min:>8.2?} {median:>8.2?} {max:>8.2?}  {promised:>8.0?}");
}

/// Ticks of a second, and everything else as it is by itself.
const CONFIG: &str =
    "mode = \"observe\"\n[tick]\ninterval = \"1s\"\n[state]\ndir = \"/run/lab/agentd\"\n";
const ROUNDS: usize = 5;
/// Of a second each.
const MOST_TICKS: usize = 60;
const VM_MIB: u64 = 384;
/// What a kernel of this size keeps by itself.
const LITTLE_MIB: u64 = 4;
