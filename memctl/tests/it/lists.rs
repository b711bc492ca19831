//! Lists as somebody wants them: their columns, their order, and again and again.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::agent::{Agent, Script};
use crate::memctl::World;
use crate::pki::Pki;
use crate::watch::signal;

/// Two hosts that answer, and one that is down.
fn three() -> (World, Vec<Agent>) {
    let world = World::new();
    world.configure(&["node1", "node2", "node3"]);
    let start = |name| Agent::start(&world.path(&format!("{name}.sock")), Script::default());
    let agents = ["node1", "node3"].map(start).into();
    (world, agents)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_the_columns_that_are_named_in_the_order_that_is_named() {
    let (world, _agents) = three();
    let run =
        world.run(&["vms", "--columns", "name,actual,verdict.kind", "--sort-by", "-actual"]).await;
    assert_eq!(run.exit, 9, "{run:?}");
    let rows: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["HOST", "NAME", "ACTUAL", "VERDICT.KIND"], "{run:?}");
    let actual: Vec<u64> = rows.iter().filter_map(|row| row.get(2)?.parse().ok()).collect();
    assert!(actual.len() >= 4 && actual.is_sorted_by(|one, other| one >= other), "{run:?}");
    assert!(rows.iter().any(|row| row[..2] == ["node2", "UNREACHABLE"]), "{run:?}");
    // The same order in every other form, with every field.
    let json = world.run(&["vms", "--sort-by", "-actual_bytes", "-o", "jsonl"]).await;
    let of_json = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let of_json: Vec<serde_json::Value> = of_json.collect();
    let names = of_json.iter().filter_map(|item| item["vm"]["name"].as_str());
    let of_table = rows.iter().skip(1).map(|row| row[1]).filter(|name| *name != "UNREACHABLE");
    // A table shows what steers a terminal otherwise.
    let plain = |name: &str| name.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned);
    assert!(names.map(plain).eq(of_table.map(plain)), "{json:?} {run:?}");
    // A map's own names, and hosts beside each other.
    let columns = ["policy", "get", "--columns", "revision,floor,vms.db1.max,vms.db2.max"];
    let run = world.run(&[&columns[..], &["--no-headers", "-H", "node1,node3"]].concat()).await;
    let row = |host| format!("{host}  3  64 MiB  2 GiB  -\n");
    assert_eq!(run.stdout, row("node1") + &row("node3"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_column_is_refused_before_anybody_is_asked() {
    let (world, agents) = three();
    for (args, said) in [
        (&["vms", "--columns", "actuel"][..], "did you mean actual? There are "),
        (&["pin", "web1", "--sort-by", "kye"], "did you mean key"),
        (&["watch", "--columns", "host"], "memctl watch prints no table"),
        (&["vms", "--columns", "name", "-o", "json"], "--columns is for tables"),
        (&["status", "--sort-by", "-"], "there is no column \"\""),
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 2, "{run:?}");
        let told = format!("{}{}", run.stdout, run.stderr);
        assert!(told.contains(said), "{args:?}: {run:?}");
    }
    assert!(agents.iter().all(|agent| agent.script().lists == 0), "somebody was asked");
    let run = world.run(&["status", "--sort-by", "mod", "-o", "json"]).await;
    assert_eq!((run.exit, run.stderr.as_str()), (2, ""), "{run:?}");
    assert!(run.stdout.contains("did you mean mode?"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_watched_comes_again_until_it_is_interrupted() {
    let (world, agents) = three();
    let args = ["vms", "-w=200ms", "-o", "json", "-H", "node1"];
    let mut child = world.command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    // Each has the same VMs.
    while seen.len() < 7 {
        let line = lines.next_line().await.unwrap().expect("it goes on");
        seen.push(serde_json::from_str::<serde_json::Value>(&line).unwrap()["vm"]["name"].clone());
    }
    let first = seen.iter().rposition(|name| *name == seen[0]).unwrap();
    assert!(first > 0, "{seen:?}");
    assert!(agents[0].script().lists > 3);
    signal(&child, "INT").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_and_no_connection_waited_for_longer_than_is_said() {
    let (world, agents) = three();
    let run = world.run(&["mode", "active", "-H", "node1,node3", "--no-input"]).await;
    assert_eq!(run.exit, 2, "{run:?}");
    let run = world.run(&["policy", "edit", "-H", "node1", "--no-input"]).await;
    assert!(run.exit == 2 && run.stderr.contains("opens an editor"), "{run:?}");
    assert!(agents.iter().all(|agent| agent.script().modes.is_empty()));
    // Nobody on the other side says what TLS begins with.
    let pki = Pki::new(&world, "pki").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("https://{}", silent.local_addr().unwrap());
    let identity = pki.shown("alice");
    let args = ["status", "--connect-timeout", "50ms", "-H", &uri];
    let args: Vec<&str> = args.into_iter().chain(identity.iter().map(String::as_str)).collect();
    let run = world.run(&args).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains(&format!("no connection to {uri} within 0.05s")), "{run:?}");
}
