//! A hundred real agentd processes on simulated hosts, managed by one memctl: three of them dead, two
//! stopped. Every host is a row, none of the rest waits for these, and what is done in part is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::sim_host::{World, signal, until};

#[test]
fn a_hundred_hosts_of_which_some_are_dead_and_some_hang_answer_for_themselves() {
    let world = World::new(SCENARIO);
    let names: Vec<String> = (0..HOSTS).map(|number| format!("node{number:02}")).collect();
    configure(&world, &names);
    let mut fleet = Fleet::start(&world, &names);
    until("all of them to answer", || {
        fleet.check();
        Ok(world.memctl(&["-A", "status", "-o", "name"]).exit == Some(0))
    });
    let told = |args: &[&str]| {
        let answer =
            world.memctl(&[&["-A", "--timeout", TIMEOUT], args, &["-o", "jsonl"]].concat());
        (answer.exit, lines(&answer.stdout))
    };
    let (exit, rows) = told(&["status"]);
    assert_eq!((exit, rows.len()), (Some(0), HOSTS));

    // The first ones, so that whoever asked one after another would wait for them first.
    for dead in DEAD {
        fleet.kill(dead);
    }
    for stopped in STOPPED {
        fleet.signal(stopped, "STOP");
    }
    let (exit, rows) = told(&["status"]);
    assert_eq!(exit, Some(PARTIAL));
    let hosts: Vec<&str> = rows.iter().map(|row| row["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, names, "every host is a row, in the order of the configuration");
    for (number, row) in rows.iter().enumerate() {
        let code = if row["ok"] == true { "" } else { row["error"]["code"].as_str().unwrap() };
        let want = match number {
            number if DEAD.contains(&number) => "UNAVAILABLE",
            number if STOPPED.contains(&number) => "DEADLINE_EXCEEDED",
            _ => "",
        };
        assert_eq!(code, want, "{row}");
    }

    // Those that hang would be waited for for an hour: the others do not wait with them.
    let wanted = HOSTS - DEAD.len() - STOPPED.len();
    assert_eq!(greeted(&world, wanted).len(), wanted);

    // A change that not all agree to is made nowhere; one of those that do is made everywhere.
    let (exit, rows) = told(&["policy", "set", "floor=80MiB", "-y"]);
    assert_eq!(exit, Some(FAILED));
    assert!(rows.iter().all(|row| row["ok"] == false), "{rows:?}");
    let answer =
        world.memctl(&["--host", "@up", "policy", "set", "floor=80MiB", "-y", "-o", "jsonl"]);
    assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
    assert_eq!(lines(&answer.stdout).len(), wanted);
    let (exit, rows) = told(&["policy", "get"]);
    assert_eq!(exit, Some(PARTIAL));
    let mut floors: BTreeMap<u64, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["ok"] == true) {
        *floors.entry(row["policy"]["floor_bytes"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(floors, BTreeMap::from([(80 << 20, wanted)]));

    for stopped in STOPPED {
        fleet.signal(stopped, "CONT");
    }
    until("those that hung to answer", || {
        Ok(world.memctl(&["--host", "@hung", "status"]).exit == Some(0))
    });
}

/// The hosts that a watch hears of, until there are enough; it would go on for longer than this test.
fn greeted(world: &World, enough: usize) -> BTreeSet<String> {
    let mut watch = world.memctl_command();
    watch.args([
        "-A",
        "--timeout",
        "1h",
        "watch",
        "--kind",
        "mode",
        "--for",
        "300s",
        "-o",
        "jsonl",
    ]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut hosts = BTreeSet::new();
    for line in BufReader::new(watch.stdout.take().unwrap()).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if record["type"] == "hello" {
            hosts.insert(record["host"].as_str().unwrap().to_owned());
        }
        if hosts.len() >= enough {
            break;
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    hosts
}

struct Fleet {
    agents: Vec<Child>,
}

impl Fleet {
    fn start(world: &World, names: &[String]) -> Self {
        let start = |name: &String| {
            let log = File::create(world.path(&format!("{name}.log"))).unwrap();
            world.agentd(name).stdout(Stdio::null()).stderr(log).spawn().unwrap()
        };
        Self { agents: names.iter().map(start).collect() }
    }

    /// None has ended by itself.
    fn check(&mut self) {
        for agent in &mut self.agents {
            assert!(agent.try_wait().unwrap().is_none(), "an agentd ended");
        }
    }

    fn kill(&mut self, number: usize) {
        self.agents[number].kill().unwrap();
        self.agents[number].wait().unwrap();
    }

    fn signal(&self, number: usize, name: &str) {
        signal(self.agents[number].id(), name);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            // Both fail where it has ended already.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn configure(world: &World, names: &[String]) {
    let mut text = "schema = 1\n[groups]\n".to_owned();
    let is_up = |number: &usize| !DEAD.contains(number) && !STOPPED.contains(number);
    let up: Vec<&String> = (0..HOSTS).filter(is_up).map(|number| &names[number]).collect();
    let hung: Vec<&String> = STOPPED.iter().map(|number| &names[*number]).collect();
    text.push_str(&format!("up = {up:?}\nhung = {hung:?}\n"));
    for name in names {
        text.push_str(&format!("[hosts.{name}]\nuri = \"{}\"\n", world.uri(name)));
    }
    fs::create_dir(world.path("memctl")).unwrap();
    fs::write(world.path("memctl/config.toml"), text).unwrap();
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const HOSTS: usize = 100;
const DEAD: [usize; 3] = [0, 1, 2];
const STOPPED: [usize; 2] = [3, 4];
/// Long enough for a hundred hosts on a busy machine.
const TIMEOUT: &str = "20s";
const PARTIAL: i32 = 9;
const FAILED: i32 = 4;
/// One VM, and few ticks: there are a hundred.
const SCENARIO: &str = r#"
tick_interval = "5s"
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[[vm]]
name = "web1"
uuid = "00000000-0000-0000-0000-000000000001"
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
"#;
