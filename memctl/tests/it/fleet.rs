//! Many hosts as one: names of the same host, changes that are rolled out, VMs that are looked for,
//! waiting, and looking for what is wrong.

use std::time::Duration;

use agentd_proto::v1;
use serde_json::Value;
use tonic::Status;

use crate::agent::{Agent, Script, Step, send};
use crate::memctl::World;
use crate::sample::{self, busy_tick, hello};

/// Agents on these sockets, all of them current.
pub(crate) fn fleet(scripts: Vec<(&str, Script)>) -> (World, Vec<Agent>) {
    let world = World::new();
    let names: Vec<&str> = scripts.iter().map(|(name, _)| *name).collect();
    world.configure(&names);
    let start =
        |(name, script): (&str, Script)| Agent::start(&world.path(&format!("{name}.sock")), script);
    let agents = scripts.into_iter().map(start).collect();
    (world, agents)
}

/// Two names of one agent and one of another.
fn doubled() -> (World, Vec<Agent>) {
    let (world, agents) = fleet(vec![("node1", Script::default()), ("node2", Script::default())]);
    let uri = |name: &str| format!("unix://{}", world.path(&format!("{name}.sock")).display());
    world.write_config(&format!(
        "schema = 1\ncurrent = [\"again\", \"node1\", \"node2\"]\n[hosts.node1]\nuri = \"{}\"\n\
         [hosts.again]\nuri = \"{}\"\n[hosts.node2]\nuri = \"{}\"\n",
        uri("node1"),
        uri("node1"),
        uri("node2")
    ));
    (world, agents)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_several_names_is_asked_and_changed_once() {
    let (world, agents) = doubled();
    let run = world.run(&["vms", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let items = document["items"].as_array().unwrap();
    let hosts: Vec<&str> = items.iter().map(|item| item["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["again", "again", "again", "node2", "node2", "node2"], "{run:?}");
    assert_eq!(items[0]["also_named"], serde_json::json!(["node1"]));
    // A page for each VM.
    assert_eq!((agents[0].script().lists, agents[1].script().lists), (3, 3));
    let run = world.run(&["status"]).await;
    assert!(run.stderr.contains("node1: the same host as again, asked once"), "{run:?}");
    let run = world.run(&["policy", "set", "floor=128MiB", "-y"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    // A trial and the change.
    let updates: Vec<usize> = agents.iter().map(|agent| agent.script().updates.len()).collect();
    assert_eq!(updates, [2, 2], "{run:?}");
    let run = world.run(&["reserve", "1GiB", "--no-wait", "-y"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(agents.iter().all(|agent| agent.script().reserves.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_goes_to_every_name_at_once_and_is_listed_and_taken_back_once_for_each_host() {
    let (world, agents) = doubled();
    let run = world.run(&["mode", "observe", "-y", "-o", "name"]).await;
    assert_eq!(run.stdout, "again/observe\nnode2/observe\n", "{run:?}");
    let set = || agents.iter().map(|agent| agent.script().modes.len()).collect::<Vec<_>>();
    assert_eq!(set(), [1, 1]);
    let run = world.run(&["mode", "paused"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let hosts: Vec<&str> =
        run.stdout.lines().skip(1).filter_map(|row| row.split_whitespace().next()).collect();
    assert_eq!(hosts, ["again", "node2"], "{run:?}");
    assert!(run.stderr.contains("node1: the same host as again, listed once"), "{run:?}");
    assert_eq!(set(), [3, 2]);
    let run = world.run(&["mode", "paused", "--for", "1s"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    // This agent's mode is what it always is.
    let back: Vec<&str> = run.stderr.lines().filter(|line| line.ends_with("already")).collect();
    assert_eq!(back, ["again: active already", "node2: active already"], "{run:?}");
    assert_eq!(set(), [5, 3], "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_of_hosts_asks_all_where_nothing_says_whom() {
    let (world, _agents) = fleet(vec![("node1", Script::default()), ("node2", Script::default())]);
    let names = async |args: &[&str]| {
        let run = world.run(&[&["host", "test", "-o", "jsonl"], args].concat()).await;
        let items = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let hosts = items.map(|item| item["host"].as_str().map(str::to_owned));
        hosts.collect::<Option<Vec<_>>>()
    };
    let both = Some(vec!["node1".to_owned(), "node2".to_owned()]);
    world.write_config(&world.config().replace("current", "# current"));
    assert_eq!(names(&[]).await, both);
    assert_eq!(names(&["node2"]).await, Some(vec!["node2".to_owned()]));
    assert_eq!(world.run(&["status"]).await.exit, 4);
    world.write_config(&world.config().replace("# current = [\"node1\", ", "current = ["));
    assert_eq!(names(&[]).await, Some(vec!["node2".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_several_names_is_followed_once() {
    let (world, agents) = doubled();
    for agent in &agents {
        let mut steps = send(vec![hello(0, 10_000), busy_tick(1)]);
        steps.push(Step::FallSilent);
        agent.script().streams = vec![steps.clone(), steps].into();
    }
    let run = world.run(&["watch", "--count", "2", "-o", "jsonl"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let records: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ticks: Vec<&Value> = records.iter().filter(|record| record["type"] == "tick").collect();
    let epochs: Vec<&Value> = ticks.iter().map(|tick| &tick["epoch"]).collect();
    assert!(epochs.len() == 2 && epochs[0] != epochs[1], "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_systems_configuration_counts_where_ones_own_says_nothing() {
    let world = World::new();
    let socket = |name: &str| format!("unix://{}", world.path(name).display());
    let system = format!(
        "schema = 1\ncurrent = [\"shared\"]\n[hosts.shared]\nuri = \"{}\"\n",
        socket("node1.sock")
    );
    std::fs::write(world.path("system.toml"), system).unwrap();
    Agent::start(&world.path("node1.sock"), Script::default());
    assert_eq!(world.run(&["status", "-o", "name"]).await.stdout, "shared\n");
    assert_eq!(world.run(&["host", "add", "mine", &socket("node1.sock")]).await.exit, 0);
    assert_eq!(
        world.run(&["host", "list", "-o", "name"]).await.stdout,
        "mine\n\nshared\n".replace("\n\n", "\n")
    );
    let run = world.run(&["host", "remove", "shared"]).await;
    assert_eq!(run.exit, 7, "{run:?}");
    assert!(run.stderr.contains("which is for all who use this machine"), "{run:?}");
    assert_eq!(world.run(&["host", "use", "mine"]).await.exit, 0);
    assert_eq!(world.run(&["status", "-o", "name"]).await.stdout, "mine\n");
    assert_eq!(world.run(&["host", "group", "both", "mine", "shared"]).await.exit, 0);
    let run = world.run(&["status", "-H", "@both", "-o", "name"]).await;
    assert_eq!(run.stdout, "mine\n", "{run:?}");
    assert_eq!(world.run(&["host", "rename", "mine", "own"]).await.exit, 0);
    assert!(world.config().contains("current = [\"own\"]"), "{}", world.config());
    assert_eq!(world.run(&["host", "use", "--none"]).await.exit, 0);
    assert_eq!(world.run(&["status", "-o", "name"]).await.stdout, "shared\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_the_systems_file_is_not_said_to_be_removed_and_is_not_lost_to_ones_own() {
    let world = World::new();
    let system = "schema = 1\n[groups]\nrack1 = [\"a\", \"b\"]\n[hosts.a]\nuri = \"ssh://a\"\n\
                  [hosts.b]\nuri = \"ssh://b\"\n";
    std::fs::write(world.path("system.toml"), system).unwrap();
    let run = world.run(&["host", "group", "rack1"]).await;
    assert_eq!(run.exit, 7, "{run:?}");
    assert!(run.stderr.contains("system.toml, which is for all who use this machine"), "{run:?}");
    assert!(run.stderr.contains("system.toml host group rack1;"), "{run:?}");
    // Who joins it does so beside those that are in it.
    let run = world.run(&["host", "add", "mine", "ssh://mine", "--group", "rack1"]).await;
    assert!(run.exit == 0 && run.stderr.contains("@rack1 is your own now"), "{run:?}");
    assert!(world.config().contains("rack1 = [\"a\", \"b\", \"mine\"]"), "{}", world.config());
    let run = world.run(&["host", "group", "rack1", "mine"]).await;
    assert!(run.stderr.contains("@rack1 is mine, for you; it takes the place of"), "{run:?}");
    let run = world.run(&["host", "group", "rack1"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("removed @rack1; the one in"), "{run:?}");
    assert!(run.stderr.contains("counts again: a, b"), "{run:?}");
    assert_eq!(world.run(&["host", "group", "rack1"]).await.exit, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_one_host_would_refuse_is_set_on_none() {
    let refusing = Script { refuses: Some(Status::permission_denied("no")), ..Default::default() };
    let (world, agents) = fleet(vec![
        ("node1", Script::default()),
        ("node2", refusing),
        ("node3", Script::default()),
    ]);
    let run = world.run(&["mode", "observe", "-y"]).await;
    assert_eq!(run.exit, 5, "{run:?}");
    assert!(agents.iter().all(|agent| agent.script().modes.is_empty()));
    assert!(run.stderr.contains("memctl: node1: not changed: another host refused"), "{run:?}");
    // A pause reaches whom it can.
    assert_eq!(world.run(&["mode", "paused"]).await.exit, 9);
    let modes: Vec<usize> = agents.iter().map(|agent| agent.script().modes.len()).collect();
    assert_eq!(modes, [1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_is_pinned_where_it_runs_by_the_name_that_counts() {
    let (world, agents) = fleet(vec![("node1", Script::default()), ("node2", Script::default())]);
    let run = world.run(&["pin", "web1"]).await;
    assert_eq!(run.exit, 8, "{run:?}");
    assert!(run.stderr.contains("\"web1\" is ambiguous: node1 and node2 have one each"), "{run:?}");
    assert!(run.stderr.contains("--host node1"), "{run:?}");
    assert!(agents.iter().all(|agent| agent.script().updates.is_empty()));
    let run = world.run(&["pin", "web1", "-H", "node2", "--reason", "import"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let change = agents[1].script().updates.last().cloned().unwrap();
    assert_eq!(change.update_mask.unwrap().paths, ["vms.web1.pinned"]);
    assert_eq!(change.policy.unwrap().vms["web1"].pinned, Some(true));
    assert_eq!((change.reason.as_str(), change.etag.as_str()), ("import", ""));
    assert!(change.revert_after.is_none() && !run.stderr.contains("beside the policy"), "{run:?}");
    assert_eq!(world.run(&["pin", "web9", "-A"]).await.exit, 6);
    assert_eq!(world.run(&["unpin", "web1", "-H", "node1"]).await.exit, 7);
    assert!(agents.iter().all(|agent| agent.script().pinned.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_it_is_so_and_with_one_when_it_is_not_in_time() {
    let paused = Script { healthy_in: Some(v1::Mode::Paused), ..Default::default() };
    let (world, agents) = fleet(vec![("node1", paused)]);
    for (conditions, exit) in [
        (&["ready"][..], 0),
        (&["healthy", "mode=paused"], 0),
        (&["mode=active"], 1),
        (&["vm=web1:gone"], 1),
        (&["vm=web9:gone"], 0),
        (&["vm=web1:actual>=1MiB", "vm=web1:actual<=1TiB"], 0),
        (&["vm=web1:actual<=1MiB"], 1),
        (&["reservation=3"], 1),
    ] {
        let all = conditions.iter().flat_map(|condition| ["--for", condition]);
        let args: Vec<&str> = ["wait", "--within", "1ms"].into_iter().chain(all).collect();
        let run = world.run(&args).await;
        assert_eq!(run.exit, exit, "{conditions:?} {run:?}");
    }
    // It goes on asking until it is so.
    let waiting = world.command(&["wait", "--for", "mode=active", "--within", "1h"]);
    let mut waiting = waiting;
    let child = waiting.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    agents[0].script().healthy_in = Some(v1::Mode::Active);
    let run = world.finish(child).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stdout.contains("mode=active  yes"), "{run:?}");
    // What is over never comes.
    agents[0].script().reservations = vec![sample::over(4)].into();
    let run = world.run(&["wait", "--for", "reservation=4", "--within", "1h"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let expired = v1::Reservation {
        state: v1::ReservationState::Expired.into(),
        handed_to: None,
        ..sample::over(5)
    };
    agents[0].script().reservations = vec![expired].into();
    let run = world.run(&["wait", "--for", "reservation=5", "--within", "1h"]).await;
    assert_eq!(run.exit, 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_finds_what_is_wrong_and_says_what_mends_it() {
    let healthy = Script { healthy_in: Some(v1::Mode::Active), ..Default::default() };
    let (world, _agents) = fleet(vec![("node1", healthy)]);
    let run = world.run(&["doctor", "-H", "node1"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let run = world.run(&["doctor", "-H", "node1,unix:///nonexistent/agentd.sock"]).await;
    assert_eq!(run.exit, 1, "{run:?}");
    assert!(run.stdout.contains("BAD") && run.stdout.contains("agentd run --listen"), "{run:?}");
    // A configuration that cannot be read is a finding, too.
    world.write_config("schema = 1\n[hosts.a]\nurl = \"unix:///x\"\n");
    let run = world
        .run(&["doctor", "-H", &format!("unix://{}", world.path("node1.sock").display())])
        .await;
    assert_eq!(run.exit, 1, "{run:?}");
    assert!(run.stdout.contains("config.toml:3: unknown field `url`"), "{run:?}");
    assert_eq!(world.run(&["config", "check"]).await.exit, 1);
    assert_eq!(world.run(&["config", "view"]).await.exit, 8);
    assert_eq!(world.run(&["config", "path"]).await.exit, 0);
}

/// gRPC's own limit is 4 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_very_large_host_is_read() {
    let message = "x".repeat(5 << 20);
    let long = v1::Condition { reason: "LONG".to_owned(), message, since: None };
    let script = Script { caveats: vec![long], ..Default::default() };
    let (world, _agents) = fleet(vec![("node1", script)]);
    let run = world.run(&["explain", "web1", "-o", "name"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, "web1\n"));
}
