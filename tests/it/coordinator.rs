use std::time::Duration;

use agentd_tests::agent::{Agent, Memctl, Watch};
use agentd_tests::lab::{Actuals, Host, Vm, VmSpec, clock};
use agentd_tests::programs::Programs;
use serde_json::Value;

use crate::coordinator_restart::{PIECE_MIB, hold_pieces, piece_name};
use crate::open_lab_with_programs;

/// Two idle VMs with much to spare and one that wants more than its share, on a host that has
/// nothing to give; then another one wants some.
#[test]
fn the_sum_never_exceeds_the_pool() {
    let Some((lab, programs)) = open_lab_with_programs("the_sum_never_exceeds_the_pool") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = boot_three(&host);
    let [vm1, vm2, _] = &vms[..] else { panic!("three VMs were asked for") };
    cannot_finish_alone(vm1);
    let killed_alone = kills(&vms);

    let agent = start(&programs, &host);
    let gauge = host.gauge(&NAMES).unwrap();
    let watch = agent.memctl().watch("watch", &[]).unwrap();
    set_mode(agent.memctl(), "active");
    hold_pieces(vm1, WORK_MIB / PIECE_MIB);
    let held: u64 = pieces(WORK_MIB).map(|piece| vm1.held_kib(&piece).unwrap()).sum();
    assert!(held >= WORK_MIB * 1024, "all of it is in memory");
    let left = vm2.actual_kib().unwrap();
    assert!(left < 512 * 1024, "vm2 had much to spare and gave nothing");

    // And back: vm1 is done, and vm2 wants more than it was left with.
    pieces(WORK_MIB).for_each(|piece| vm1.release(&piece).unwrap());
    hold_pieces(vm2, MORE_MIB / PIECE_MIB);
    assert!(vm2.actual_kib().unwrap() > left, "vm2 got nothing back");

    set_mode(agent.memctl(), "observe");
    clock::wait_until("all to rest", PATIENCE, || {
        watch.wait_ticks(QUIET_TICKS, PATIENCE)?;
        Ok(is_quiet(&watch.ticks()?, &host.actuals_kib()?))
    })
    .unwrap();
    watch.wait_ticks(QUIET_TICKS, PATIENCE).unwrap();
    let samples = gauge.samples();
    let largest = samples.iter().map(|sample| sample.values().sum::<u64>()).max().unwrap();
    assert!(largest <= POOL_KIB, "{largest} KiB of {POOL_KIB} KiB");
    assert_eq!(kills(&vms), killed_alone, "nobody ran out of memory any more");
    moved(&watch, "vm2", "vm1");
    moved(&watch, "vm3", "vm1");
    assert!(got_of(&watch, "vm2") > 0);
    what_is_told_is_true(&watch, &samples, &host);
}

fn pieces(mib: u64) -> impl Iterator<Item = String> {
    (0..mib / PIECE_MIB).map(piece_name)
}

/// The same work, without agentd.
fn cannot_finish_alone(vm: &Vm) {
    let alone = vm.finish(vm.hold("alone", WORK_MIB, RATE).unwrap(), PATIENCE);
    let error = alone.expect_err("400 MiB do not fit into a VM that holds 256");
    assert!(format!("{error:#}").contains("was killed"), "{error:#}");
    vm.release("alone").unwrap();
    assert!(vm.oom_kills().unwrap() > 0, "its kernel says so: {}", vm.console().unwrap());
}

/// Every order that agentd says the hypervisor took was, VM by VM and in this order, reached or passed
/// by what libvirt says that the VM held; and where all is quiet both say the same.
fn what_is_told_is_true(watch: &Watch, samples: &[Actuals], host: &Host) {
    let records = watch.records().unwrap();
    let broken: Vec<_> = records.iter().filter(|record| record["type"] == "gap").collect();
    assert!(broken.is_empty(), "{broken:?}");
    let last = records.iter().rfind(|record| record["type"] == "tick").unwrap();
    let actuals = host.actuals_kib().unwrap();
    for name in NAMES {
        let orders = orders(&records, name);
        assert!(!orders.is_empty(), "{name} was never told anything");
        let mut steps = samples.windows(2).map(|pair| (pair[0][name], pair[1][name])).peekable();
        for order in &orders {
            let passes = |(from, to): &(u64, u64)| (from.min(to)..=from.max(to)).contains(&order);
            // A busy machine looks seldom: one step may pass by several orders.
            while steps.next_if(|step| !passes(step)).is_some() {}
            let reached = steps.peek().is_some();
            assert!(reached, "{name} never held {order} KiB in its turn; orders: {orders:?}");
        }
        let vm = last["vms"].as_array().unwrap().iter().find(|vm| vm["name"] == name).unwrap();
        assert_eq!(vm["memory"]["actual_bytes"], actuals[name] * 1024, "{name}: {vm}");
        assert_eq!(vm["memory"]["target_bytes"], actuals[name] * 1024, "{name}: {vm}");
        assert_eq!(orders.last(), Some(&actuals[name]), "{name}");
    }
}

/// Whether the last tick tells of no VM that it is on its way, and libvirt says the same now.
fn is_quiet(ticks: &[Value], actuals: &Actuals) -> bool {
    let vms = ticks.last().and_then(|tick| tick["vms"].as_array()).cloned().unwrap_or_default();
    NAMES.into_iter().all(|name| {
        let memory = vms.iter().find(|vm| vm["name"] == name).map(|vm| &vm["memory"]);
        memory.is_some_and(|memory| {
            memory["actual_bytes"] == memory["target_bytes"]
                && memory["actual_bytes"] == actuals[name] * 1024
        })
    })
}

/// What a VM was told to hold, in KiB, in the order of time.
pub(crate) fn orders(records: &[Value], name: &str) -> Vec<u64> {
    let resizes = records.iter().filter_map(|record| record["resizes"].as_array()).flatten();
    let accepted = resizes
        .filter(|resize| resize["vm"]["name"] == name && resize["outcome"] == "accepted")
        .map(|resize| resize["ordered_bytes"].as_u64().unwrap());
    accepted.map(|bytes| bytes / 1024).collect()
}

fn moved(watch: &Watch, from: &str, to: &str) {
    let is_it = |transfer: &&Value| {
        transfer["from"]["name"] == from
            && transfer["to"]["name"] == to
            && transfer["granted_bytes"].as_u64() > Some(0)
    };
    let transfers = transfers(watch);
    assert!(transfers.iter().any(|transfer| is_it(&transfer)), "{from} gave {to} nothing");
}

/// What was granted to a VM altogether, in bytes.
fn got_of(watch: &Watch, name: &str) -> u64 {
    let transfers = transfers(watch);
    let to_it = transfers.iter().filter(|transfer| transfer["to"]["name"] == name);
    to_it.filter_map(|transfer| transfer["granted_bytes"].as_u64()).sum()
}

fn transfers(watch: &Watch) -> Vec<Value> {
    let ticks = watch.ticks().unwrap();
    ticks.iter().filter_map(|tick| tick["transfers"].as_array()).flatten().cloned().collect()
}

/// One VM with little and room to grow, two with much; what they hold is the pool.
pub(crate) fn boot_three(host: &Host) -> Vec<Vm> {
    let little = VmSpec::new("vm1", 768).actual_mib(256);
    let vms = host.boot([little, VmSpec::new("vm2", 512), VmSpec::new("vm3", 512)]).unwrap();
    vms[0].wait_actual(256, PATIENCE).unwrap();
    vms
}

/// agentd, observing, with what [`boot_three`] makes as the pool.
pub(crate) fn start(programs: &Programs, host: &Host) -> Agent {
    let agent = Agent::start(programs, host, &[]).unwrap();
    let limit = format!("pool-limit={POOL_KIB}KiB");
    agent.memctl().done(&["policy", "set", &limit, "host-reserve=16MiB"]).unwrap();
    agent
}

pub(crate) fn set_mode(memctl: &Memctl, mode: &str) {
    memctl.done(&["mode", mode, "--reason", "test"]).unwrap();
}

/// How often each VM's kernel ran out of memory.
pub(crate) fn kills(vms: &[Vm]) -> Vec<usize> {
    vms.iter().map(|vm| vm.oom_kills().unwrap() + vm.panics().unwrap()).collect()
}

pub(crate) const NAMES: [&str; 3] = ["vm1", "vm2", "vm3"];
/// What the three hold when they have booted.
pub(crate) const POOL_KIB: u64 = (256 + 512 + 512) * 1024;
/// Half as much again as vm1 holds.
const WORK_MIB: u64 = 400;
/// With what vm2 itself holds, nearly all that it may hold.
const MORE_MIB: u64 = 320;
/// How fast work wants memory alone, in MiB/s.
const RATE: u64 = 12;
/// After these nothing is on its way any more, on an idle machine.
const QUIET_TICKS: usize = 4;
/// For what takes seconds on an idle machine and longer on a busy one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
