//! The merged stream of several hosts against each agent's own log, while one is restarted and one
//! is stopped for a while: nothing is missing without a gap that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Stdio;

use serde_json::Value;

use crate::sim_host::{SCENARIO, World, signal, until};

#[test]
fn what_a_watch_of_many_hosts_tells_is_what_each_agent_has_logged() {
    let world = World::new(SCENARIO);
    configure(&world);
    let [a, mut b, c] = HOSTS.map(|host| world.start(host));
    let path = world.path("stream.jsonl");
    let mut watch = world.memctl_command();
    watch.args(["-A", "watch", "-o", "jsonl"]).stderr(Stdio::null());
    let mut watch = watch.stdout(File::create(&path).unwrap()).spawn().unwrap();
    let stream = || lines(&fs::read_to_string(&path).unwrap());
    let ticks = |host: &str| {
        let records = stream();
        records.iter().filter(|own| own["type"] == "tick" && own["host"] == host).count()
    };
    let go_on = |hosts: &[&str]| {
        let before: Vec<usize> = hosts.iter().map(|host| ticks(host)).collect();
        until("more ticks", || {
            let mut pairs = hosts.iter().zip(&before);
            Ok(pairs.all(|(host, before)| ticks(host) >= before + 10))
        });
    };
    go_on(&HOSTS);
    b.signal("TERM");
    b.wait();
    c.signal("STOP");
    go_on(&["a"]);
    let _b = world.start("b");
    c.signal("CONT");
    go_on(&HOSTS);
    signal(watch.id(), "TERM");
    assert_eq!(watch.wait().unwrap().code(), Some(TERMINATED));

    let stream = stream();
    for host in HOSTS {
        let own: Vec<&Value> = stream.iter().filter(|record| record["host"] == host).collect();
        let log = world.memctl(&["-H", host, "watch", "--oldest", "--no-follow", "-o", "jsonl"]);
        assert_eq!(log.exit, Some(0), "{}", log.stderr);
        compare(host, &own, &lines(&log.stdout));
    }
    let gaps = |host: &str| {
        let is_gap = |record: &&Value| record["type"] == "gap" && record["host"] == host;
        stream.iter().filter(is_gap).map(|gap| gap["reason"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((gaps("a"), gaps("c")), (vec![], vec![]));
    assert_eq!(gaps("b"), [Value::from("restarted")]);
    drop((a, c));
}

/// Every entry of the agent's log between the first and the last that the watch has told is told, as
/// it is there.
fn compare(host: &str, told: &[&Value], log: &[Value]) {
    let newest = log.iter().rev().find_map(|record| record["epoch"].as_str());
    let epoch = &newest.expect("the log is empty").to_owned();
    let log = entries(log.iter());
    let told = entries(told.iter().copied());
    let seqs: BTreeSet<u64> =
        told.keys().filter(|(own, _)| own == epoch).map(|(_, seq)| *seq).collect();
    let (first, last) = (*seqs.first().unwrap(), *seqs.last().unwrap());
    assert!(last - first >= 10, "{host} told {first} to {last}");
    for seq in first..=last {
        let key = (epoch.clone(), seq);
        assert_eq!(told.get(&key), log.get(&key), "{host} {seq}");
    }
    // Of an agent that is gone, too, nothing is missing in between.
    let mut before: Option<&(String, u64)> = None;
    for key in told.keys() {
        let follows = before.is_none_or(|before| before.0 != key.0 || before.1 + 1 == key.1);
        assert!(follows, "{host}: {key:?} follows {before:?} without a gap");
        before = Some(key);
    }
}

/// The entries of a log by their positions.
fn entries<'a>(records: impl Iterator<Item = &'a Value>) -> BTreeMap<(String, u64), &'a Value> {
    let of_log = ["tick", "vm", "policy", "mode", "reservation"];
    records
        .filter(|record| of_log.contains(&record["type"].as_str().unwrap()))
        .map(|record| {
            let epoch = record["epoch"].as_str().unwrap().to_owned();
            ((epoch, record["seq"].as_u64().unwrap()), record)
        })
        .collect()
}

fn configure(world: &World) {
    let hosts = HOSTS.map(|host| format!("[hosts.{host}]\nuri = \"{}\"\n", world.uri(host)));
    fs::create_dir(world.path("memctl")).unwrap();
    fs::write(world.path("memctl/config.toml"), format!("schema = 1\n{}", hosts.concat())).unwrap();
}

/// All whole lines: the last one may be in the making.
fn lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const HOSTS: [&str; 3] = ["a", "b", "c"];
const TERMINATED: i32 = 143;
