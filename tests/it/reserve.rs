//! `memctl reserve`: on simulated hosts with the real programs, and on real VMs.

use agentd_tests::lab::VmSpec;
use serde_json::Value;

use crate::coordinator::{PATIENCE, POOL_KIB, boot_three, set_mode, start};
use crate::open_lab_with_programs;
use crate::sim_host::{Agentd, World, until};

/// Two idle VMs that hold nearly all there is, one that uses all it has, and one that starts later.
const SCENARIO: &str = r#"
tick_interval = "100ms"
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[policy]
algorithm = "working-set"
[[vm]]
name = "web1"
max = "4GiB"
actual = "3GiB"
demand = "500MiB"
[[vm]]
name = "web2"
max = "4GiB"
actual = "2GiB"
demand = "500MiB"
[[vm]]
name = "busy"
max = "4GiB"
actual = "1GiB"
demand = "1000MiB"
[[vm]]
name = "db7"
max = "3GiB"
actual = "3GiB"
demand = "500MiB"
start = "40s"
"#;

fn listed(world: &World) -> Vec<Value> {
    let lines = world.done(&["reservations", "-o", "jsonl"]);
    let items = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    items.map(|item| item["reservation"].clone()).collect()
}

/// agentd, when it has had its first look at the VMs.
fn start_and_look(world: &World) -> Agentd {
    let agentd = world.start("local");
    until("a first tick", || Ok(!world.ask(&["status"], "status")["tick"].is_null()));
    agentd
}

/// Every event of a reservation so far.
fn told(world: &World) -> Vec<String> {
    let kinds = ["watch", "--oldest", "--no-follow", "--kind", "reservation", "-o", "jsonl"];
    let lines = world.done(&kinds);
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries = records.filter(|record| record["type"] == "reservation");
    entries.map(|record| record["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn memory_is_freed_kept_over_a_restart_and_handed_to_its_vm() {
    let world = World::new(SCENARIO);
    let agentd = start_and_look(&world);
    let args = ["reserve", "3GiB", "--vm", "db7", "--reason", "start db7", "-o", "jsonl"];
    let made = world.memctl(&args);
    assert_eq!(made.exit, Some(0), "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let made = &made["reservation"];
    assert_eq!((&made["state"], &made["lacks_bytes"]), (&"filled".into(), &0.into()), "{made}");
    assert_eq!(told(&world), ["made", "filled"]);
    let pool = world.ask(&["status"], "status")["pool"].clone();
    assert_eq!(pool["held_bytes"], 3_u64 << 30, "{pool}");

    // The clock of the simulated host begins anew with agentd.
    agentd.kill();
    let _agentd = world.start("local");
    until("the reservation to be filled again", || {
        let listed = listed(&world);
        Ok(listed.len() == 1 && listed[0]["state"] == "filled")
    });
    until("db7 to take its place", || Ok(listed(&world).is_empty()));
    assert!(told(&world).contains(&"handed_over".to_owned()), "{:?}", told(&world));
    let vms = world.done(&["vms", "-o", "name"]);
    assert!(vms.lines().any(|vm| vm == "db7"), "{vms}");
    nobody_had_what_was_held(&world);
}

/// In every tick all that VMs hold, what is held for reservations, and what the host keeps for itself
/// are no more than there is; and the tick that hands over counts its VM.
fn nobody_had_what_was_held(world: &World) {
    let lines = world.done(&["watch", "--oldest", "--no-follow", "--kind", "tick", "-o", "jsonl"]);
    let mut handed = 0;
    for line in lines.lines() {
        let tick: Value = serde_json::from_str(line).unwrap();
        if tick["type"] != "tick" || tick["pool"].is_null() {
            continue;
        }
        let bytes = |value: &Value| value.as_u64().unwrap();
        let (pool, memory) = (&tick["pool"], &tick["memory"]);
        let held = bytes(&pool["held_bytes"]);
        let all = bytes(&pool["exposed_bytes"]) + (1 << 30) + held;
        let reserve = if held > 0 { bytes(&pool["reserve_bytes"]) } else { 0 };
        assert!(all + reserve <= bytes(&memory["total_bytes"]), "{line}");
        for booking in tick["bookings"].as_array().unwrap() {
            if booking["handed_to"]["name"] == "db7" {
                handed += 1;
                assert_eq!(booking["held_bytes"], 0, "{line}");
                let vms = tick["vms"].as_array().unwrap();
                assert!(vms.iter().any(|vm| vm["name"] == "db7"), "{line}");
            }
        }
    }
    assert!(handed > 0, "no tick handed it over");
}

#[test]
fn what_cannot_be_is_refused_and_what_is_missing_is_told_with_who_keeps_it() {
    let world = World::new(SCENARIO);
    let _agentd = start_and_look(&world);
    let ends = |args: &[&str], exit: i32, words: &str| {
        let answer = world.memctl(&[&["reserve"], args].concat());
        assert_eq!(answer.exit, Some(exit), "{args:?}: {answer:?}");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(said.contains(words), "{args:?}: no {words} in {said}");
    };
    ends(&["8"], 2, "has no unit");
    ends(&["4GiB..2GiB"], 2, "MIN..MAX");
    ends(&["1GiB", "--for", "5s"], 8, "from 10 s to 24 h");
    ends(&["9GiB"], 8, "the whole host has 8 GiB");
    ends(&["1GiB", "--vm", "web1"], 7, "web1 is on this host already");
    ends(&["7GiB"], 7, "can never be kept together");
    assert_eq!(listed(&world).len(), 0);
    ends(&["6GiB", "--dry-run"], 0, "6 GiB");
    // Their programs work with 2 GiB: so much is never given.
    ends(&["6GiB", "--wait-for", "6s"], 1, "gives none of the");
    let lacks = |open: &[Value]| open[0]["lacks_bytes"].as_u64().unwrap();
    let mut open = Vec::new();
    until("what they can give to be given", || {
        open = listed(&world);
        Ok(lacks(&open) < 3 << 30)
    });
    assert_eq!((open.len(), &open[0]["state"]), (1, &"filling".into()));
    assert!(lacks(&open) > 500 << 20, "{open:?}");
    let refusals: Vec<&Value> = open[0]["refusals"].as_array().unwrap().iter().collect();
    assert!(refusals.iter().any(|own| own["vm"]["name"] == "busy"), "{refusals:?}");

    let number = open[0]["id"].to_string();
    assert_eq!(world.memctl(&["release", "77"]).exit, Some(6));
    let released = world.done(&["release", &number, "--reason", "too much"]);
    assert!(released.contains("RELEASED"), "{released}");
    assert_eq!(listed(&world).len(), 0);
    ends(&["500MiB..1GiB", "--no-wait", "--request-id", "r1"], 0, "1 GiB");
    ends(&["500MiB..1GiB", "--request-id", "r1"], 0, "FILLED");
    assert_eq!(listed(&world).len(), 1);
}

/// Three VMs that hold all of the pool: two of them give what is reserved, and the fourth that starts
/// under the name takes its place. What all hold together never goes beyond the pool.
#[test]
fn real_vms_give_what_is_reserved_and_the_one_that_starts_gets_it() {
    let name = "real_vms_give_what_is_reserved_and_the_one_that_starts_gets_it";
    let Some((lab, programs)) = open_lab_with_programs(name) else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let _vms = boot_three(&host);
    let agent = start(&programs, &host);
    let memctl = agent.memctl();
    let watch = memctl.watch("watch", &[]).unwrap();
    set_mode(memctl, "active");
    watch.wait_ticks(2, PATIENCE).unwrap();
    let gauge = host.gauge(&["vm1", "vm2", "vm3", "vm4"]).unwrap();
    let size = format!("{RESERVED_MIB}MiB");
    let args = ["reserve", &size, "--vm", "vm4", "--wait-for", "110s", "--reason", "start vm4"];
    memctl.done(&args).unwrap();
    let held: u64 = host.actuals_kib().unwrap().values().sum();
    assert!(held <= POOL_KIB - RESERVED_MIB * 1024, "{held} KiB are held: nobody gave");

    let late = host.boot([VmSpec::new("vm4", RESERVED_MIB)]).unwrap();
    late[0].wait_ready(PATIENCE).unwrap();
    let handed = |record: &Value| {
        record["event"] == "handed_over" && record["reservation"]["handed_to"]["name"] == "vm4"
    };
    let found = |records: &[Value]| records.iter().any(handed);
    agentd_tests::lab::clock::wait_until("vm4 to take its place", PATIENCE, || {
        Ok(found(&watch.records()?))
    })
    .unwrap();
    watch.wait_ticks(4, PATIENCE).unwrap();
    assert_eq!(memctl.items(&["reservations"]).unwrap().len(), 0, "it is over");
    let samples = gauge.samples();
    let largest = samples.iter().map(|sample| sample.values().sum::<u64>()).max().unwrap();
    assert!(largest <= POOL_KIB, "{largest} KiB of {POOL_KIB} KiB");
}

/// A quarter of the pool: what two idle VMs have to spare.
const RESERVED_MIB: u64 = 320;
