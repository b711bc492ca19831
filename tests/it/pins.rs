//! Pins that end by themselves: each at its own time, whatever becomes of agentd meanwhile.

use serde_json::Value;

use crate::sim_host::{LOCAL, SCENARIO, World, until};

/// One ends while agentd runs, one about when it is killed and started again, and two stay.
#[test]
fn every_pin_ends_at_its_own_time_also_over_a_kill() {
    let world = World::new(&with_more_vms());
    let agentd = world.start(LOCAL);
    world.done(&["pin", "web1", "--for", "1s", "--reason", "import"]);
    world.done(&["pin", "db1", "--for", "10m"]);
    world.done(&["pin", "mail1"]);
    // It is replaced as a whole.
    world.done(&["pin", "db1", "--for", "1h"]);
    world.done(&["pin", "db1"]);
    until("the first end", || Ok(!pinned(&world).contains(&"web1".to_owned())));
    agentd.until_log("over: the pin of web1");
    let ended = revision(&world, "over: the pin of web1");
    assert_eq!(ended["actor"]["id"], "agent");

    world.done(&["pin", "cache1", "--for", "2s"]);
    agentd.kill();
    let agentd = world.start(LOCAL);
    until("the end that may have passed meanwhile", || Ok(pinned(&world) == ["db1", "mail1"]));
    assert_eq!(revision(&world, "over: the pin of cache1")["actor"]["id"], "agent");
    let told = world.done(&["policy", "history", "--utc"]);
    assert!(told.contains("agent") && told.contains("over: the pin of web1"), "{told}");
    drop(agentd);
}

/// What is seen of a pin by everybody who asks, until it is taken away by hand.
#[test]
fn a_pin_and_its_end_are_told_wherever_one_looks() {
    let world = World::new(&with_more_vms());
    let agentd = world.start(LOCAL);
    world.done(&["policy", "set", "floor=65MiB", "--revert-after", "1h"]);
    let set = world.done(&["pin", "web1", "--for", "2h"]);
    assert!(set.contains("vm.web1.unpin-at"), "{set}");
    let vm = world.ask(&["policy", "get"], "policy")["vms"]["web1"].clone();
    let end = vm["unpin_time"].as_str().unwrap().to_owned();
    assert_eq!(vm["pinned"], true);

    let status = world.ask(&["status"], "status");
    assert_eq!(status["passing_pins"], serde_json::json!([{ "vm": "web1", "unpin_time": end }]));
    // The trial goes on, and falls back to where it began.
    let trial = (&status["policy_revision"], &status["policy_revert_revision"]);
    assert_eq!(trial, (&Value::from(3), &Value::from(1)));
    let told = world.memctl(&["status", "--utc"]).stderr;
    let day = &end[..10];
    assert!(told.contains("goes back to revision 1 at "), "{told}");
    assert!(told.contains(&format!("web1 is pinned until {day} ")), "{told}");
    let mut explained = String::new();
    until("a tick that leaves it alone", || {
        explained = world.done(&["explain", "web1", "--utc"]);
        Ok(explained.contains("PINNED"))
    });
    assert!(explained.contains(&format!("its pin ends at {day} ")), "{explained}");
    let shown = world.done(&["policy", "get", "--utc"]);
    let row = shown.lines().find(|line| line.starts_with("vm.web1.unpin-at ")).unwrap_or_default();
    assert!(row.contains(&end), "{shown}");

    // As a file it is the same policy again.
    let file = world.path("policy.toml");
    let written = format!("floor = \"65MiB\"\n[vm.web1]\npinned = true\nunpin-at = {end}\n");
    std::fs::write(&file, written).unwrap();
    let same = world.memctl(&["policy", "diff", "-f", file.to_str().unwrap()]);
    assert_eq!((same.exit, &*same.stdout), (Some(0), ""), "{}", same.stderr);

    world.done(&["unpin", "web1"]);
    let status = world.ask(&["status"], "status");
    assert_eq!(status["passing_pins"], serde_json::json!([]));
    assert_eq!(status["policy_revert_revision"], 1, "the trial goes on");
    world.done(&["policy", "revert"]);
    let policy = world.ask(&["policy", "get"], "policy");
    assert_eq!(
        (&policy["floor_bytes"], &policy["vms"]),
        (&(64 << 20).into(), &serde_json::json!({}))
    );
    drop(agentd);
}

/// VMs that the policy of the host pins, by name.
fn pinned(world: &World) -> Vec<String> {
    let policy = world.ask(&["policy", "get"], "policy");
    policy["vms"].as_object().unwrap().keys().cloned().collect()
}

/// The revision that was made for this reason.
fn revision(world: &World, reason: &str) -> Value {
    let lines = world.done(&["policy", "history", "-o", "jsonl"]);
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = all.filter(|line| line["reason"] == reason);
    let only = found.next().unwrap_or_else(|| panic!("no revision \"{reason}\": {lines}"));
    assert!(found.next().is_none(), "twice \"{reason}\": {lines}");
    only
}

fn with_more_vms() -> String {
    let more = |name: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nmax = \"1GiB\"\nactual = \"512MiB\"\ndemand = \"300MiB\"\n"
        )
    };
    format!("{SCENARIO}{}{}", more("cache1"), more("mail1"))
}
