//! The algorithm is changed while agentd runs, by memctl, and agentd decides by the other one and says
//! so.

use serde_json::Value;

use crate::sim_host::{SCENARIO, World, until};

#[test]
fn working_set_is_set_live_decides_and_is_told_of() {
    let world = World::new(SCENARIO);
    let agentd = world.start("local");
    until("a first tick", || Ok(world.memctl(&["explain", "db1"]).exit == Some(0)));
    let before = explanation(&world);
    assert_eq!(before["algorithm"], "two-pointer");
    assert_eq!(before["verdict"]["demand_bytes"], Value::Null, "{before}");

    let refused = world.memctl(&["policy", "set", "vm.db1.weight=0"]);
    assert_eq!(refused.exit, Some(8), "{}", refused.stderr);
    assert!(refused.stderr.contains("must be from 1 to 10000"), "{}", refused.stderr);
    let set = world.memctl(&["policy", "set", "vm.db1.weight=300"]);
    assert!(set.stderr.contains("two-pointer goes by no weights"), "{}", set.stderr);
    world.done(&["policy", "set", "algorithm=working-set", "working-set.lead=1500ms"]);
    until("a decision of working-set", || Ok(explanation(&world)["algorithm"] == "working-set"));

    let told = explanation(&world);
    let (verdict, memory) = (&told["verdict"], &told["memory"]);
    let bytes = |of: &Value, what: &str| of[what].as_u64().unwrap();
    let usable = bytes(memory, "guest_usable_bytes");
    let demand = bytes(memory, "actual_bytes") - usable;
    assert_eq!(bytes(verdict, "demand_bytes"), demand, "{told}");
    assert!(bytes(verdict, "entitled_bytes") >= demand + (64 << 20), "{told}");
    let words = verdict["message"].as_str().unwrap();
    assert!(words.contains("it works with"), "{words}");
    let table = world.done(&["explain", "db1"]);
    for figure in ["demand", "entitled"] {
        let line = table.lines().find(|line| line.starts_with(figure)).unwrap();
        assert!(line.contains("MiB") || line.contains("GiB"), "{table}");
    }
    assert_eq!(world.ask(&["status"], "status")["algorithm"], "working-set");

    // It is durable, with its constants.
    agentd.kill();
    let _agentd = world.start("local");
    let policy = world.ask(&["policy", "get"], "policy");
    assert_eq!(policy["algorithm"], "working-set");
    assert_eq!(policy["working_set"]["lead_seconds"], 1.5);
    assert_eq!(policy["vms"]["db1"]["weight"], 300);
    until("a first tick", || Ok(world.memctl(&["explain", "db1"]).exit == Some(0)));
    until("a decision of working-set", || Ok(explanation(&world)["algorithm"] == "working-set"));
}

/// What the last tick decided for db1.
fn explanation(world: &World) -> Value {
    world.ask(&["explain", "db1"], "explanation")
}
