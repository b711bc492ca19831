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
    let work = vms[0].hold("a", 400, SLOWLY).unwrap();

    wait_for_a_grow(&watch, 0);
    agent.process().signal("TERM").unwrap();
    assert!(agent.process().wait(CLEAN_STOP).unwrap().success(), "{}", agent.log().unwrap());
    assert!(watch.records().unwrap().iter().any(|record| record["type"] == "going_away"));
    agent = start_again(agent, &programs, &host, &gauge);
    assert_eq!((mode(agent.memctl()), &self::etag(agent.memctl())), ("active".to_owned(), &etag));

    wait_for_a_grow(&watch, 1);
    agent.process().signal("KILL").unwrap();
    agent.process().wait(PATIENCE).unwrap();
    agent = start_again(agent, &programs, &host, &gauge);
    assert_eq!((mode(agent.memctl()), &self::etag(agent.memctl())), ("active".to_owned(), &etag));
    wait_for_a_grow(&watch, 2);
    vms[0].finish(work, PATIENCE).unwrap();

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
    vms[0].release("a").unwrap();
    let work = vms[1].hold("b", 300, 2 * SLOWLY).unwrap();
    wait_for_a_grow(&watch, 0);
    set_mode(agent.memctl(), "paused");
    let last = watch
        .wait("the pause to be told", PATIENCE, |record| record["type"] == "mode")
        .unwrap()
        .into_iter()
        .rfind(|record| record["type"] == "tick")
        .unwrap();
    rests_at(&targets(&last), gauge);
    // It ends in one way or the other.
    let _ = vms[1].finish(work, PATIENCE);
    watch.wait_ticks(3, PATIENCE).unwrap();
    let records = watch.records().unwrap();
    let paused = records.iter().skip_while(|record| record["type"] != "mode");
    let ordered: Vec<&Value> = paused
        .filter_map(|record| record["resizes"].as_array())
        .flatten()
        .filter(|resize| !resize["ordered_bytes"].is_null())
        .collect();
    assert!(ordered.is_empty(), "{ordered:?}");
    rests_at(&targets(&last), gauge);
}

/// Starts agentd after its end. While it was away nothing moved but what was on its way.
fn start_again(old: Agent, programs: &Programs, host: &Host, gauge: &Gauge) -> Agent {
    drop(old);
    wait_for_samples(gauge);
    let before = gauge.samples().last().cloned();
    wait_for_samples(gauge);
    assert_eq!(gauge.samples().last().cloned(), before, "without agentd nothing moves");
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

/// Waits until vm1 or vm2 was given something by the agentd with this number.
fn wait_for_a_grow(watch: &Watch, agent: usize) {
    clock::wait_until("a grow", PATIENCE, || {
        let records = watch.records()?;
        let mut hellos = 0;
        Ok(records.iter().any(|record| {
            hellos += usize::from(record["type"] == "hello");
            let resizes = record["resizes"].as_array().into_iter().flatten();
            let mut grows = resizes.filter(|resize| {
                resize["outcome"] == "accepted"
                    && resize["ordered_bytes"].as_u64() > resize["from_bytes"].as_u64()
            });
            hellos == agent + 1 && grows.next().is_some()
        }))
    })
    .unwrap_or_else(|error| panic!("agentd {agent}: {error:#}"));
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

/// MiB/s: slow enough for what a VM has unused to last until agentd is back.
const SLOWLY: u64 = 6;
/// What is promised of a stop on SIGTERM.
const CLEAN_STOP: Duration = Duration::from_secs(5);
/// Samples over which nothing may move: more than a tick.
const REST: usize = 15;
