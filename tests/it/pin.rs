//! `memctl pin --for` on a simulated host with the real programs: beside the policy, over a restart, and as
//! it is recorded.

use serde_json::Value;

use crate::sim_host::{Agentd, SCENARIO, World, until};

const FILE: &str = "local.rec";

/// agentd, when it has had its first look at the VMs.
fn start(world: &World) -> Agentd {
    let mut command = world.agentd("local");
    command.arg("--record").arg(world.path(FILE));
    let agentd = world.start_as("local", command);
    until("a first tick", || Ok(!world.ask(&["status"], "status")["tick"].is_null()));
    agentd
}

/// A VM of the last tick.
fn vm(world: &World, name: &str) -> Value {
    world.ask(&["vms", name], "vm")
}

fn is_pinned(world: &World, name: &str) -> bool {
    vm(world, name)["verdict"]["reason"] == "PINNED"
}

/// Every record of this kind so far.
fn told(world: &World, kind: &str) -> Vec<Value> {
    let lines = world.done(&["watch", "--oldest", "--no-follow", "--kind", kind, "-o", "jsonl"]);
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == kind).collect()
}

/// What happened to pins in this run.
fn events(world: &World) -> Vec<String> {
    let told = told(world, "pin");
    told.iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_vm_is_pinned_for_a_while_beside_the_policy_and_that_is_recorded() {
    let world = World::new(SCENARIO);
    let agentd = start(&world);
    let name = world.done(&["vms", "-o", "name"]).lines().next().unwrap().to_owned();
    let revision = world.ask(&["policy", "get"], "etag");
    let made = world.ask(&["pin", &name, "--for", "1h", "--reason", "import"], "pin");
    until("it to be pinned", || Ok(is_pinned(&world, &name)));
    assert_eq!(vm(&world, &name)["pinned_until"], made["end_time"]);
    assert_eq!(world.ask(&["policy", "get"], "etag"), revision);
    assert_eq!(events(&world), ["begun"]);
    agentd.kill();

    let mut agentd = start(&world);
    until("it to be pinned again", || Ok(is_pinned(&world, &name)));
    assert_eq!(vm(&world, &name)["pinned_until"], made["end_time"]);
    // The policy is tried and gone back to meanwhile.
    world.done(&["policy", "set", "two-pointer.step=60MiB", "--revert-after", "1m"]);
    world.done(&["policy", "revert", "-y"]);
    assert!(is_pinned(&world, &name));
    world.done(&["pin", &name, "--for", "1s"]);
    until("its end", || Ok(vm(&world, &name)["pinned_until"].is_null()));
    assert!(!is_pinned(&world, &name));
    until("that to be told", || Ok(events(&world) == ["replaced", "expired"]));
    let changes = told(&world, "policy");
    let of_pin = |own: &&Value| own.to_string().contains("pinned");
    assert_eq!(changes.iter().find(of_pin), None, "no revision has it");
    let none = world.memctl(&["unpin", &name]);
    assert!(none.exit == Some(7) && none.stderr.contains("is not pinned on local"), "{none:?}");
    agentd.signal("TERM");
    assert!(agentd.wait().success());

    let file = world.path(FILE).display().to_string();
    let same = world.run_agentd(&["replay", &file]);
    assert!(same.exit == Some(0) && same.stdout.contains("decisions is as recorded"), "{same:?}");
}
