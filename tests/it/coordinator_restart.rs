use std::time::Duration;

use agentd_tests::agent::{Agent, Memctl, Watch};
use agentd_tests::lab::{Gauge, Host, Vm, clock};
use agentd_tests::programs::Programs;
use serde_json::Value;

use crate::coordinator::{NAMES, PATIENCE, POOL_KIB, boot_three, kills, set_mode, start};
use crate::open_lab_with_programs;

/// agentd is stopped and killed while it moves memory, and a paused one is killed too.
#[test]
fn a_restart_in_the_middle_goes_on() {
    let Some((lab, programs)) = open_lab_with_programs("a_restart_in_the_middle_goes_on") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vms = boot_three(&host);
    let mut agent = start(&programs, &host);
    let etag = etag(agent.memctl());
    let gauge = host.gauge(&NAMES).unwrap();
    let (watch, _other) = (watch(&agent, "watch"), watch(&agent, "other"));
    set_mode(agent.memctl(), "active");
    let mut held = 0;

    hold_until_a_grow(&vms[0], &mut held, &watch, 0);
    agent.process().signal("TERM").unwrap();
    let stopped = agent.process().wait(PATIENCE).unwrap();
    let log = agent.log().unwrap();
    assert!(stopped.success() && !log.contains("is stuck"), "{log}");
    watch.wait("the farewell", PATIENCE, |record| record["type"] == "going_away").unwrap();
    agent = start_again(agent, &programs, &host, &gauge);
    assert_eq!((mode(agent.memctl()), &self::etag(agent.memctl())), ("active".to_owned(), &etag));

    hold_until_a_grow(&vms[0], &mut held, &watch, 1);
    agent.process().signal("KILL").unwrap();
    agent.process().wait(PATIENCE).unwrap();
    agent = start_again(agent, &programs, &host, &gauge);
    assert_eq!((mode(agent.memctl()), &self::etag(agent.memctl())), ("active".to_owned(), &etag));
    hold_until_a_grow(&vms[0], &mut held, &watch, 2);
    while held < PIECES {
        hold_a_piece(&vms[0], &mut held);
    }

    assert_eq!(kills(&vms), [0, 0, 0], "nobody ran out of memory");

    stays_paused(&agent, &vms, &gauge);
    agent.process().signal("KILL").unwrap();
    agent.process().wait(PATIENCE).unwrap();
    agent = start_again(agent, &programs, &host, &gauge);
    assert_eq!(mode(agent.memctl()), "paused");
    let before = gauge.samples().last().cloned();
    wait_for_samples(&gauge);
    assert_eq!(gauge.samples().last().cloned(), before, "a pause survives SIGKILL");

    assert!(gauge.largest_sum_kib() <= POOL_KIB, "{} KiB", gauge.largest_sum_kib());
}

/// While one VM asks for ever more, nothing is ordered once the pause was acknowledged: that VM has
/// to make do with what it has, be it too little.
fn stays_paused(agent: &Agent, vms: &[Vm], gauge: &Gauge) {
    let watch = watch(agent, "pause");
    for piece in 0..PIECES {
        vms[0].release(&piece_name(piece)).unwrap();
    }
    let work = vms[1].hold("b", 300, 2 * SLOWLY).unwrap();
    wait_for_a_grow(&watch, 0);
    set_mode(agent.memctl(), "paused");
    // A turn that was under way is told after the pause, and is one of mode active.
    let is_over = |record: &Value| record["type"] == "tick" && record["mode"] == "paused";
    let told = watch.wait("a turn that is paused", PATIENCE, is_over).unwrap();
    let last = told
        .into_iter()
        .rfind(|record| record["type"] == "tick" && record["mode"] == "active")
        .unwrap();
    rests_at(&targets(&last), gauge);
    // It ends in one way or the other.
    let _ = vms[1].finish(work, PATIENCE);
    watch.wait_ticks(3, PATIENCE).unwrap();
    let records = watch.records().unwrap();
    let paused = records.iter().filter(|record| is_over(record));
    let ordered: Vec<&Value> = paused
        .filter_map(|record| record["resizes"].as_array())
        .flatten()
        .filter(|resize| !resize["ordered_bytes"].is_null())
        .collect();
    assert!(ordered.is_empty(), "{ordered:?}");
    rests_at(&targets(&last), gauge);
}

/// A VM takes a piece after the other until the agentd with this number has given it something. It
/// takes none while there is no agentd: how long that is depends on how busy the machine is.
fn hold_until_a_grow(vm: &Vm, held: &mut u64, watch: &Watch, agent: usize) {
    clock::wait_until("agentd to look around", PATIENCE, || {
        Ok(ticks_of(&watch.records()?, agent) >= LOOKS)
    })
    .unwrap_or_else(|error| panic!("agentd {agent}: {error:#}"));
    while !has_grown(&watch.records().unwrap(), agent) {
        assert!(*held < PIECES, "agentd {agent} gave nothing");
        hold_a_piece(vm, held);
    }
}

/// A VM that has none takes so many pieces, no faster than it is given room: how fast that is depends on
/// how busy the machine is.
pub(crate) fn hold_pieces(vm: &Vm, count: u64) {
    let mut held = 0;
    while held < count {
        hold_a_piece(vm, &mut held);
    }
}

/// A VM takes another piece as soon as it has room for it. `two-pointer` feeds one that grows: where
/// its last growth went unseen, because of a restart or a busy machine, it grows by a crumb.
fn hold_a_piece(vm: &Vm, held: &mut u64) {
    for has_crumb in (0..MOST_CRUMBS).map(|number| number % 2 == 1) {
        let room = || Ok(vm.meminfo_kib()?["MemAvailable"] >= (PIECE_MIB + LEFT_MIB) * 1024);
        let has_room = clock::wait_until("room for more", SEEN, room).is_ok();
        if has_crumb {
            vm.release(CRUMB).unwrap();
        }
        if has_room {
            take(vm, &piece_name(*held), PIECE_MIB);
            *held += 1;
            return;
        }
        if !has_crumb {
            take(vm, CRUMB, 1);
        }
    }
    panic!("{} has no room for more: {:?}", vm.name(), vm.meminfo_kib());
}

fn take(vm: &Vm, name: &str, mib: u64) {
    vm.finish(vm.hold(name, mib, mib).unwrap(), PATIENCE).unwrap();
}

pub(crate) fn piece_name(number: u64) -> String {
    format!("a{number}")
}

/// Starts agentd after its end. While it was away nothing moved but what was on its way.
fn start_again(old: Agent, programs: &Programs, host: &Host, gauge: &Gauge) -> Agent {
    drop(old);
    clock::wait_until("all to rest: without agentd nothing moves", PATIENCE, || {
        wait_for_samples(gauge);
        let before = gauge.samples().last().cloned();
        wait_for_samples(gauge);
        Ok(gauge.samples().last().cloned() == before)
    })
    .unwrap();
    Agent::start(programs, host, &[]).unwrap()
}

/// The targets that a tick tells, in KiB, in the order of the names.
fn targets(tick: &Value) -> Vec<Option<u64>> {
    let vms = tick["vms"].as_array().unwrap();
    let target = |name| {
        let vm = vms.iter().find(|vm| vm["name"] == name)?;
        Some(vm["memory"]["target_bytes"].as_u64()? / 1024)
    };
    NAMES.into_iter().map(target).collect()
}

/// Every VM comes to hold its target, and does not leave it.
fn rests_at(targets: &[Option<u64>], gauge: &Gauge) {
    let is_there = || {
        let last = gauge.samples().last().cloned().unwrap_or_default();
        let mut pairs = NAMES.iter().zip(targets);
        pairs.all(|(name, target)| target.is_none_or(|target| last.get(*name) == Some(&target)))
    };
    clock::wait_until("every VM to hold its target", PATIENCE, || Ok(is_there())).unwrap();
    wait_for_samples(gauge);
    assert!(is_there(), "{targets:?}, but {:?}", gauge.samples().last());
}

fn wait_for_samples(gauge: &Gauge) {
    let wanted = gauge.samples().len() + REST;
    clock::wait_until("samples", PATIENCE, || Ok(gauge.samples().len() >= wanted)).unwrap();
}

/// Waits until a VM was given something by the agentd with this number.
fn wait_for_a_grow(watch: &Watch, agent: usize) {
    clock::wait_until("a grow", PATIENCE, || Ok(has_grown(&watch.records()?, agent)))
        .unwrap_or_else(|error| panic!("agentd {agent}: {error:#}"));
}

/// Whether the agentd with this number, the first being 0, gave a VM something.
fn has_grown(records: &[Value], agent: usize) -> bool {
    let mut resizes = told_by(records, agent)
        .filter_map(|record| record["resizes"].as_array())
        .flatten()
        .filter(|resize| resize["outcome"] == "accepted");
    resizes.any(|resize| resize["ordered_bytes"].as_u64() > resize["from_bytes"].as_u64())
}

fn ticks_of(records: &[Value], agent: usize) -> usize {
    told_by(records, agent).filter(|record| record["type"] == "tick").count()
}

/// What the agentd with this number told, from its hello on.
fn told_by(records: &[Value], agent: usize) -> impl Iterator<Item = &Value> {
    let mut hellos = 0;
    records.iter().filter(move |record| {
        hellos += usize::from(record["type"] == "hello");
        hellos == agent + 1
    })
}

fn watch(agent: &Agent, name: &str) -> Watch {
    let watch = agent.memctl().watch(name, &[]).unwrap();
    watch.wait("the stream to stand", PATIENCE, |record| record["type"] == "hello").unwrap();
    watch
}

pub(crate) fn mode(memctl: &Memctl) -> String {
    memctl.items(&["mode"]).unwrap()[0]["mode"].as_str().unwrap().to_owned()
}

fn etag(memctl: &Memctl) -> String {
    memctl.items(&["policy", "get"]).unwrap()[0]["etag"].as_str().unwrap().to_owned()
}

/// What vm1 comes to hold is more than it has at first, a piece at a time.
const PIECES: u64 = 20;
pub(crate) const PIECE_MIB: u64 = 20;
/// What a VM has left besides.
const LEFT_MIB: u64 = 16;
/// What it takes and leaves again until it is seen to grow.
const CRUMB: &str = "crumb";
const MOST_CRUMBS: u32 = 40;
/// Time in which a report of it comes, and memory is moved for it.
const SEEN: Duration = Duration::from_secs(3);
/// In MiB/s.
const SLOWLY: u64 = 6;
/// Ticks in which agentd has come to know the VMs.
const LOOKS: usize = 8;
/// Samples over which nothing may move: more than a tick.
const REST: usize = 15;
