//! `make lab`: agentd on real VMs, for a person to look at. A private libvirtd, three QEMU guests of
//! which two idle, and one that wants more than its share: without agentd, and with it.
//!
//! Ends by itself after about a minute, or with LAB_STAY set once it is interrupted. Everything that it starts lives in namespaces that go with
//! this process, however that ends.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::{IsTerminal, Write, stdout};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentd_tests::agent::{Agent, Memctl, Tail, Watch};
use agentd_tests::lab::{Gauge, Host, Lab, Vm, VmSpec};
use agentd_tests::programs::Programs;
use agentd_tests::tally::Tally;
use anyhow::{Context, Result};

fn main() -> Result<()> {
    let programs = Programs::beside()?;
    let interrupted = end_on_signals()?;
    println!("Three QEMU guests under a private libvirtd, in namespaces of their own.");
    let lab = Lab::open()?;
    let host = lab.host("node1")?;
    let vms = boot(&host)?;
    println!("  All of it lives below process {} and ends with it.\n", host.space().keeper());

    let shown = show(&programs, &host, &vms);
    if interrupted.load(Ordering::Relaxed) {
        // The signal ends this process in a moment, and everything else with it.
        return Ok(());
    }
    shown
}

fn boot(host: &Host) -> Result<Vec<Vm>> {
    say("Booting web1, db1 and ci1")?;
    let little = VmSpec::new("web1", 768).actual_mib(256);
    let vms = host.boot([little, VmSpec::new("db1", 512), VmSpec::new("ci1", 512)])?;
    vms[0].wait_actual(256, PATIENCE)?;
    println!(" ... done.");
    println!("  web1  256 MiB, may grow to 768 MiB     busy soon");
    println!("  db1   512 MiB                          idle");
    println!("  ci1   512 MiB                          idle");
    println!("  together {POOL_MIB} MiB, which is the whole pool.");
    Ok(vms)
}

fn show(programs: &Programs, host: &Host, vms: &[Vm]) -> Result<()> {
    alone(&vms[0])?;
    title("With agentd", "web1 wants the same again.");
    println!("\n$ agentd run --connect qemu:///system\n$ memctl watch");
    let agent = Agent::start(programs, host, &[])?;
    let limit = format!("pool-limit={POOL_MIB}MiB");
    agent.memctl().done(&["policy", "set", &limit, "host-reserve=16MiB"])?;
    let before: Vec<usize> = vms.iter().map(Vm::oom_kills).collect::<Result<_>>()?;
    let gauge = host.gauge(&NAMES)?;
    let records = agent.memctl().watch("records", &[])?;
    let tail = live(agent.memctl(), programs, host)?;
    agent.memctl().done(&["mode", "active", "--reason", "make lab"])?;

    vms[0].finish(vms[0].hold("work", WORK_MIB, RATE)?, PATIENCE)?;
    tail.caption(&format!("web1 has its {WORK_MIB} MiB of work in memory, and is done with it"));
    vms[0].release("work")?;
    tail.caption(&format!("now db1 wants {BACK_MIB} MiB: memory goes back"));
    vms[1].finish(vms[1].hold("work", BACK_MIB, RATE)?, PATIENCE)?;
    tail.caption("db1 has what it wanted");
    vms[1].release("work")?;
    records.wait_ticks(3, PATIENCE)?;
    agent.memctl().done(&["mode", "paused", "--reason", "make lab ends"])?;
    drop(tail);

    println!("\n$ memctl vms");
    print!("{}", agent.memctl().done(&["vms"])?);
    println!("\n$ memctl explain web1");
    print!("{}", agent.memctl().done(&["explain", "web1"])?);
    summary(&records, &gauge, vms, &before)?;
    if std::env::var_os(STAY).is_some_and(|stay| !stay.is_empty()) {
        stay(programs, host)?;
    }
    Ok(())
}

/// Leaves all of it as it is until somebody interrupts it, and tells how it is reached.
fn stay(programs: &Programs, host: &Host) -> Result<()> {
    let memctl = host.space().command(&programs.memctl);
    let words = std::iter::once(memctl.get_program()).chain(memctl.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    title("It stays until Ctrl-C", "agentd is paused. From another terminal, as root:");
    println!("\n  alias memctl='{}'", words.join(" "));
    println!("  memctl mode active; memctl watch");
    stdout().flush()?;
    loop {
        std::thread::park();
    }
}

/// The work without agentd: the VM's kernel ends it.
fn alone(web1: &Vm) -> Result<()> {
    title("Without agentd", &format!("web1 works on {WORK_MIB} MiB, more than it holds."));
    say("  its kernel says:")?;
    let ticket = web1.hold("alone", WORK_MIB, 0)?;
    let ended = web1.finish(ticket, PATIENCE);
    web1.release("alone")?;
    let console = web1.console()?;
    let said = console.lines().rfind(|line| line.contains("Out of memory"));
    match (ended, said) {
        (Err(_), Some(line)) => println!(" {}", line.trim()),
        (Err(error), None) => return Err(error),
        (Ok(_), _) => println!(" nothing; the work was done"),
    }
    Ok(())
}

/// What memctl shows a person, as it shows it.
fn live(memctl: &Memctl, programs: &Programs, host: &Host) -> Result<Tail> {
    let mut command = Command::new(&programs.memctl);
    command.arg("watch").env("XDG_CONFIG_HOME", "/run/lab");
    if stdout().is_terminal() {
        command.arg("--color=always");
    }
    let tail = Tail::start(host.space().start("watch", &command)?)?;
    // So that the first change of the mode is seen.
    memctl.done(&["status"])?;
    Ok(tail)
}

fn summary(watch: &Watch, gauge: &Gauge, vms: &[Vm], before: &[usize]) -> Result<()> {
    let tally = Tally::of(&watch.ticks()?);
    title("Summary", "");
    println!("  who gave, who got");
    for ((from, to), bytes) in &tally.moved {
        println!("    {from:>5} -> {to:<5} {:>6} MiB", bytes >> 20);
    }
    let after: Vec<usize> = vms.iter().map(Vm::oom_kills).collect::<Result<_>>()?;
    let kills: usize = after.iter().zip(before).map(|(after, before)| after - before).sum();
    let alone: usize = before.iter().sum();
    let samples = gauge.samples().len();
    let largest = gauge.largest_sum_kib() as f64 / 1024.0;
    println!(
        "  largest sum     {largest:.1} MiB of {POOL_MIB} MiB, in {samples} samples of libvirt"
    );
    println!("  out of memory   {kills} times with agentd, {alone} without");
    println!(
        "  ticks           {}, of which {} moved memory; without an order a tick took {} ms",
        tally.ticks,
        tally.busy_ticks,
        tally.quiet_took_ms().map_or_else(|| "-".to_owned(), |ms| ms.to_string())
    );
    Ok(())
}

fn title(what: &str, more: &str) {
    println!("\n== {what} == {more}");
}

fn say(text: &str) -> Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush().context("cannot write to standard output")
}

/// SIGINT and SIGTERM end this process at once: what it started goes with it.
fn end_on_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
    ])?;
    let told = Arc::clone(&interrupted);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            told.store(true, Ordering::Relaxed);
            println!("\nInterrupted: libvirtd, guests, agentd and memctl end with this.");
            std::process::exit(128 + signal);
        }
    })?;
    Ok(interrupted)
}

/// Set to anything, it keeps the lab open.
const STAY: &str = "LAB_STAY";
const NAMES: [&str; 3] = ["web1", "db1", "ci1"];
const POOL_MIB: u64 = 256 + 512 + 512;
/// More than web1 holds by half, and less than two can give.
const WORK_MIB: u64 = 400;
const BACK_MIB: u64 = 300;
/// MiB/s
const RATE: u64 = 20;
/// On a machine that emulates and has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
