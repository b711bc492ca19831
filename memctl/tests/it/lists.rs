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
        (&["vms", "--columns", "actuel"][..], "near to it: actual"),
        (&["pin", "web1", "--sort-by", "kye"], "near to it: key"),
        (
            &["pin", "web1", "-H", "node1", "--for", "1h", "--sort-by", "key"],
            "a pin with an end prints no table",
        ),
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
    assert!(run.stdout.contains("near to it: mode, "), "{run:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_columns_of_a_history_are_told_those_of_its_table_first_and_have_a_row_for_each_step() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    let run = world.run(&["history", "web1", "--columns", "help"]).await;
    let rows: Vec<Vec<String>> = run.stdout.lines().map(cells).collect();
    assert_eq!(rows[1][..2], ["time", "TIME"], "{run:?}");
    let without = rows
        .iter()
        .skip(1)
        .position(|row| row.get(1).is_none_or(|own| own.chars().any(char::is_lowercase)));
    let headed: Vec<&str> = rows[1..=without.unwrap()].iter().map(|row| &*row[1]).collect();
    for heading in ["VM", "DEMAND", "ACTUAL", "TARGET", "MIN", "MAX", "VERDICT", "REASON", "MOVED"]
    {
        assert!(headed.contains(&heading), "{heading}: {run:?}");
    }
    assert!(!run.stdout.contains("history.changes."), "{run:?}");
    assert!(run.stderr.contains("beside these there are error.*, history.changes.*: "), "{run:?}");
    let table = world.run(&["history", "web1", "--columns", "time,vm,actual,max"]).await;
    let whole = world.run(&["history", "web1"]).await;
    let at = |run: &crate::memctl::Run, heads: [&str; 3]| -> Vec<Vec<String>> {
        let lines = run.stdout.lines().take_while(|line| !line.is_empty()).map(cells);
        let lines: Vec<Vec<String>> = lines.collect();
        let places = heads.map(|head| lines[0].iter().position(|own| own == head).unwrap());
        lines.iter().map(|line| places.map(|at| line[at].clone()).into()).collect()
    };
    let heads = ["TIME", "VM", "ACTUAL"];
    assert_eq!(at(&table, heads), at(&whole, heads), "{table:?}\n{whole:?}");
    assert!(at(&table, heads).len() > 2, "{table:?}");
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<String> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_table_calls_its_columns_they_can_be_asked_for_by() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    for command in [
        &["status"][..],
        &["vms"],
        &["reservations"],
        &["policy", "history"],
        &["whoami"],
        &["audit"],
        &["mode"],
        &["mode", "paused"],
        &["host", "test"],
        &["host", "list"],
        &["doctor"],
        &["version"],
        &["config", "path"],
        &["policy", "set", "floor=128MiB"],
        &["policy", "get"],
    ] {
        let one = [command, &["--utc"]].concat();
        let wide = world.run(&[&one[..], &["-o", "wide"]].concat()).await.stdout;
        let headings = cells(wide.lines().next().unwrap_or_else(|| panic!("{command:?}")));
        assert!(headings.len() > 1, "{command:?}: {wide}");
        for heading in headings {
            let run = world.run(&[&one[..], &["--columns", &heading]].concat()).await;
            assert!(run.exit < 2, "{command:?} {heading}: {run:?}");
            let lower = heading.to_lowercase().replace(' ', "-");
            let same = world.run(&[&one[..], &["--columns", &lower]].concat()).await;
            assert!(same.exit < 2, "{command:?} {lower}: {same:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_asked_for_by_its_heading_has_what_stands_under_it() {
    let (world, _agents) = three();
    let one = ["vms", "-H", "node1", "web1"];
    let wide = world.run(&[&one[..], &["-o", "wide"]].concat()).await.stdout;
    let mut lines = wide.lines().map(cells);
    let (headings, values) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(headings.len(), values.len(), "{wide}");
    for (heading, value) in headings.iter().zip(values) {
        let run = world.run(&[&one[..], &["--columns", heading, "--no-headers"]].concat()).await;
        assert_eq!(run.stdout.trim().to_lowercase(), value.to_lowercase(), "{heading}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_policy_have_a_row_each_whichever_columns_are_wanted() {
    let (world, _agents) = three();
    let rows = async |args: &[&str]| {
        let run = world.run(&[args, &["-H", "node1", "--no-headers"]].concat()).await;
        run.stdout.lines().map(cells).collect::<Vec<_>>()
    };
    let all = rows(&["policy", "get"]).await;
    let some = rows(&["policy", "get", "--columns", "value,key"]).await;
    let some: Vec<_> = some.into_iter().map(|row| [row[1].clone(), row[0].clone()]).collect();
    assert!(some.len() > 10 && some.iter().zip(&all).all(|(some, all)| some[..] == all[..2]));
    assert!(some.contains(&["vm.db1.weight".to_owned(), "200".to_owned()]), "{some:?}");
    // What is one for the whole policy is one row.
    assert_eq!(rows(&["policy", "get", "--columns", "revision,floor"]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_columns_that_there_are_are_told_a_line_each_and_nobody_is_asked() {
    let (world, agents) = three();
    let run = world.run(&["vms", "--columns", "help"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.starts_with("beside these there are error.*: "), "{run:?}");
    let named = |name: &str| run.stdout.lines().map(cells).find(|cells| cells[0] == name);
    assert_eq!(named("name").unwrap()[1], "VM", "{run:?}");
    assert_eq!(named("guest_unused_bytes").unwrap()[1], "UNUSED", "{run:?}");
    let about = "\"running\", \"booting\", \"no-driver\"";
    assert!(named("state").unwrap().iter().any(|cell| cell.starts_with(about)), "{run:?}");
    assert_eq!(world.run(&["watch", "--columns", "help"]).await.exit, 2);
    assert!(agents.iter().all(|agent| agent.script().lists == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_are_typed_win_over_the_output_that_is_usual() {
    let (world, _agents) = three();
    let run = async |usual: &str, args: &[&str]| {
        let mut command = world.command(&[&["vms", "-H", "node1"], args].concat());
        command.env("MEMCTL_OUTPUT", usual);
        world.finish(command.spawn().unwrap()).await
    };
    let table = run("json", &["--columns", "name"]).await;
    assert_eq!((table.exit, table.stdout.lines().next()), (0, Some("NAME")), "{table:?}");
    assert!(run("json", &[]).await.stdout.starts_with('{'));
    assert!(run("json", &["-o", "table"]).await.stdout.starts_with("VM"));
    let refused = run("json", &["--columns", "name", "-o", "json"]).await;
    assert!(refused.exit == 2 && refused.stdout.contains("--columns is for tables"), "{refused:?}");
    let refused = run("xml", &[]).await;
    assert!(refused.exit == 2 && refused.stderr.contains("MEMCTL_OUTPUT=xml"), "{refused:?}");
    world.write_config(&format!("{}[defaults]\noutput = \"json\"\n", world.config()));
    let run = world.run(&["vms", "-H", "node1", "--columns", "name"]).await;
    assert_eq!(run.stdout.lines().next(), Some("NAME"), "{run:?}");
}
