//! Five simulated hosts managed by one memctl: by name, glob and group, one dead, one stopped.

use std::fs;

use serde_json::Value;

use crate::sim_host::{SCENARIO, World};

#[test]
fn a_fleet_with_a_dead_and_a_stopped_host_answers_for_all() {
    let world = World::new(SCENARIO);
    configure(&world);
    let mut agents: Vec<_> = HOSTS.iter().map(|host| world.start(host)).collect();
    for (selector, hosts) in [
        (&["--all-hosts"][..], &HOSTS[..]),
        (&["--host", "rack1-*"], &HOSTS[..3]),
        (&["--host", "@spare"], &HOSTS[3..]),
        (&["--host", "rack1-a,rack2-*"], &["rack1-a", "rack2-d", "rack2-e"]),
    ] {
        let answer = world.memctl(&[selector, &["status", "-o", "jsonl"]].concat());
        assert_eq!(answer.exit, Some(0), "{selector:?}: {}", answer.stderr);
        let told = lines(&answer.stdout);
        let names: Vec<_> = told.iter().map(|line| line["host"].as_str().unwrap()).collect();
        assert_eq!(names, hosts, "{selector:?}");
    }

    agents.remove(DEAD).kill();
    agents[STOPPED].signal("STOP");
    let args = ["--all-hosts", "--timeout", TIMEOUT, "status"];
    let answer = world.memctl(&[&args[..], &["-o", "jsonl"]].concat());
    assert_eq!(answer.exit, Some(9), "{}", answer.stderr);
    let told = lines(&answer.stdout);
    let oks: Vec<_> =
        told.iter().map(|line| (line["host"].as_str().unwrap(), &line["ok"])).collect();
    let expected = HOSTS.map(|host| (host, Value::from(host != "rack1-b" && host != "rack2-d")));
    assert_eq!(oks, expected.each_ref().map(|(host, ok)| (*host, ok)));

    let table = world.memctl(&args);
    assert_eq!(table.exit, Some(9));
    for host in HOSTS {
        assert!(table.stdout.lines().any(|line| line.starts_with(host)), "{}", table.stdout);
    }

    let both = "rack1-a,rack1-c";
    // A change is checked on all before it is made on one: with one of them dead, on none.
    let set = ["--yes", "--timeout", TIMEOUT, "policy", "set", "floor=80MiB"];
    assert_eq!(world.memctl(&[&["--host", "rack1-*"], &set[..]].concat()).exit, Some(4));
    assert_eq!(floors(&world, both), [64 << 20, 64 << 20]);
    assert_eq!(world.memctl(&[&["--host", both], &set[..]].concat()).exit, Some(0));
    assert_eq!(floors(&world, both), [80 << 20, 80 << 20]);

    agents[STOPPED].signal("CONT");
    assert_eq!(world.memctl(&["--host", "@spare", "status"]).exit, Some(0));
}

fn configure(world: &World) {
    let mut text = "schema = 1\n".to_owned();
    let hosts = HOSTS.map(|host| format!("[hosts.{host}]\nuri = \"{}\"\n", world.uri(host)));
    text.push_str("[groups]\nspare = [\"rack2-d\", \"rack2-e\"]\n");
    text.push_str(&hosts.concat());
    fs::create_dir(world.path("memctl")).unwrap();
    fs::write(world.path("memctl/config.toml"), text).unwrap();
}

fn floors(world: &World, hosts: &str) -> Vec<u64> {
    let answer = world.memctl(&["--host", hosts, "policy", "get", "-o", "jsonl"]);
    assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
    let floor = |line: &Value| line["policy"]["floor_bytes"].as_u64().unwrap();
    lines(&answer.stdout).iter().map(floor).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const HOSTS: [&str; 5] = ["rack1-a", "rack1-b", "rack1-c", "rack2-d", "rack2-e"];
/// rack1-b.
const DEAD: usize = 1;
/// rack2-d, once the dead one is taken out.
const STOPPED: usize = 2;
/// Long enough for the hosts that answer, on a busy machine.
const TIMEOUT: &str = "15s";
