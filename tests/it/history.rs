//! The history of a real agentd: through restarts and deaths, by every way in which it is asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentd::store::{HistoryReader, Place};
use serde_json::Value;

use crate::sim_host::{LOCAL, SCENARIO, World, until};

#[test]
fn a_watch_of_the_past_misses_nothing_and_has_nothing_twice_through_deaths() {
    let world = World::new(SCENARIO);
    // A ring of a mebibyte, so that the history has what the ring has no longer.
    fs::write(world.path("agentd.toml"), "[api]\nring_size = \"1MiB\"\n").unwrap();
    let mut own = Vec::new();
    for _ in 0..LIVES {
        let agentd = world.start(LOCAL);
        until_ticks(&world, 12);
        world.done(&["policy", "set", &format!("two-pointer.step={}MiB", 50 + own.len()), "-y"]);
        own.push(log_of(&world));
        agentd.kill();
    }
    let _agentd = world.start(LOCAL);
    until_ticks(&world, 5);
    let told = records(&world.done(&["watch", "--since", "1h", "--no-follow", "-o", "jsonl"]));

    // Each life as the agent itself told it: whole, in order, between gaps that say why.
    let entries: Vec<&Value> = told.iter().filter(|record| is_entry(record)).collect();
    let mut places = BTreeSet::new();
    assert!(entries.iter().all(|entry| places.insert(place(entry))), "an entry came twice");
    for life in &own {
        let missing: Vec<_> = life.iter().filter(|place| !places.contains(*place)).collect();
        assert!(missing.is_empty(), "of {} entries are missing: {missing:?}", life.len());
    }
    let mut before: Option<(String, u64)> = None;
    let mut restarts = 0;
    for record in &told {
        if record["type"] == "gap" {
            assert_eq!(record["reason"], "restarted", "{record}");
            restarts += 1;
            continue;
        }
        if !is_entry(record) {
            continue;
        }
        let (epoch, seq) = place(record);
        match &before {
            Some((run, last)) if *run == epoch => assert_eq!(seq, last + 1, "{record}"),
            _ => assert_eq!(seq, 1, "{record}"),
        }
        before = Some((epoch, seq));
    }
    assert_eq!(restarts, LIVES);
}

#[test]
fn the_past_is_told_after_a_restart_by_every_way_that_asks_for_it() {
    let world = World::new(SCENARIO);
    let agentd = world.start(LOCAL);
    until_ticks(&world, 15);
    world.done(&["mode", "observe", "--reason", "to look"]);
    let first = &records(&world.done(&["watch", "--oldest", "--no-follow", "-o", "jsonl"]));
    let tick = first.iter().filter(|record| record["type"] == "tick").nth(8).unwrap().clone();
    agentd.kill();
    let _agentd = world.start(LOCAL);
    until_ticks(&world, 3);

    // A tick of the former life, by its position, and by the time at which it ended.
    let (epoch, seq) = place(&tick);
    for at in [format!("{epoch}:{seq}"), tick["time"].as_str().unwrap().to_owned()] {
        let told = world.ask(&["explain", "web1", "--at", &at], "explanation");
        assert_eq!((&told["tick"], &told["position"]["epoch"]), (&tick["tick"], &tick["epoch"]));
        let seen = tick["vms"].as_array().unwrap().iter().find(|vm| vm["name"] == "web1").unwrap();
        assert_eq!(told["memory"]["actual_bytes"], seen["memory"]["actual_bytes"]);
        assert_eq!(told["verdict"]["reason"], seen["verdict"]["reason"]);
        assert!(told["sentences"].as_array().unwrap().len() > 2, "{told}");
    }
    let words = world.done(&["explain", "db1", "--at", &format!("{epoch}:{seq}"), "--utc"]);
    assert!(words.contains("figures") && words.contains("It may hold from"), "{words}");
    // One of this life by its number.
    let told = world.ask(&["explain", "web1", "--tick", "2"], "explanation");
    assert_eq!(told["tick"], 2);
    assert_ne!(told["position"]["epoch"], tick["epoch"]);
    let refused = world.memctl(&["explain", "web1", "--at", "30d"]);
    assert!(refused.exit != Some(0) && refused.stderr.contains("no tick"), "{refused:?}");

    let history = world.ask(&["history", "--all", "--since", "1h", "--step", "1s"], "history");
    let points = history["points"].as_array().unwrap();
    let ticks: u64 = points.iter().map(|point| point["ticks"].as_u64().unwrap()).sum();
    let seen = first.iter().filter(|record| record["type"] == "tick").count();
    assert!(ticks >= u64::try_from(seen).unwrap() + 3, "{ticks} of {seen}");
    let modes: Vec<&Value> =
        history["changes"].as_array().unwrap().iter().filter(|c| c["type"] == "mode").collect();
    assert_eq!((modes.len(), &modes[0]["reason"]), (1, &Value::from("to look")));
    let vm = &points[0]["vms"][1];
    assert_eq!((&vm["name"], &vm["max_bytes"]), (&Value::from("db1"), &Value::from(2_u64 << 30)));

    let table = world.done(&["history", "web1", "--since", "1h"]);
    assert!(table.starts_with("TIME ") && table.contains("web1"), "{table}");
    let file = world.path("plot.svg");
    world.done(&["history", "--all", "--plot", &file.display().to_string()]);
    let svg = fs::read_to_string(file).unwrap();
    assert!(svg.contains(">demand<") && svg.contains("mode active"), "{svg}");
    let unknown = world.memctl(&["history", "nobody"]);
    assert!(unknown.stderr.contains("no VM called nobody"), "{unknown:?}");
}

#[test]
fn a_history_that_is_killed_at_any_point_opens_clean() {
    let world = World::new(SCENARIO);
    let mut before = 0;
    for life in 0..KILLS {
        let agentd = world.start(LOCAL);
        until_ticks(&world, 2 + life % 3);
        let log = agentd.log();
        assert!(!log.contains("the history was broken"), "{log}");
        assert!(!log.contains("the history is not recorded"), "{log}");
        agentd.kill();
        let kept = kept(&world.state(LOCAL));
        assert!(kept > before, "{kept} entries after {before}");
        before = kept;
    }
    let dir = fs::read_dir(world.state(LOCAL)).unwrap();
    let aside =
        dir.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"));
    assert_eq!(aside.count(), 0);
}

#[test]
fn a_broken_history_is_moved_aside_and_said_and_a_new_one_begun() {
    let world = World::new(SCENARIO);
    let agentd = world.start(LOCAL);
    until_ticks(&world, 3);
    agentd.kill();
    fs::write(world.state(LOCAL).join("history.db"), "nonsense".repeat(2000)).unwrap();
    let agentd = world.start(LOCAL);
    agentd.until_log("the history was broken");
    until_ticks(&world, 3);
    assert!(world.state(LOCAL).join("history.db.corrupt-1").exists());
    let history = world.ask(&["history", "web1", "--since", "1h"], "history");
    assert!(!history["points"].as_array().unwrap().is_empty());
}

#[test]
fn what_is_too_old_makes_way() {
    let world = World::new(SCENARIO);
    fs::write(world.path("agentd.toml"), "[state]\nhistory_age = \"1s\"\n").unwrap();
    let _agentd = world.start(LOCAL);
    until_ticks(&world, 30);
    let told = records(&world.done(&["watch", "--oldest", "--no-follow", "-o", "jsonl"]));
    let ring = told.iter().filter(|record| is_entry(record)).count();
    until("most of them to make way", || Ok(kept(&world.state(LOCAL)) * 2 < ring));
}

/// Waits until this life has logged so many ticks: a status tells of one before that.
fn until_ticks(world: &World, count: u64) {
    let is_last = |record: &Value| record["tick"].as_u64() >= Some(count);
    let args = ["watch", "--oldest", "--no-follow", "--kind", "tick", "-o", "jsonl"];
    until("ticks", || Ok(records(&world.done(&args)).iter().any(is_last)));
}

/// The places of all that this life has logged, by the agent's ring.
fn log_of(world: &World) -> Vec<(String, u64)> {
    let told = records(&world.done(&["watch", "--oldest", "--no-follow", "-o", "jsonl"]));
    told.iter().filter(|record| is_entry(record)).map(place).collect()
}

fn records(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_entry(record: &Value) -> bool {
    let kinds = ["tick", "vm", "policy", "mode", "reservation", "pin"];
    record["type"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn place(record: &Value) -> (String, u64) {
    (record["epoch"].as_str().unwrap().to_owned(), record["seq"].as_u64().unwrap())
}

/// Entries in the history, whether an agentd runs on it or not.
fn kept(state: &Path) -> usize {
    let reader = HistoryReader::open(&state.join("history.db")).unwrap();
    let (mut place, mut count) = (Place::default(), 0);
    loop {
        let found = reader.read(|past| past.behind(place, 1 << 20)).unwrap();
        let Some(last) = found.last() else { return count };
        place = last.place;
        count += found.len();
    }
}

/// An agentd is killed so often.
const KILLS: u64 = 8;
const LIVES: usize = 3;
