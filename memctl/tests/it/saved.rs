//! Streams that were saved, shown once more.

use serde_json::Value;

use crate::agent::{Agent, Script, send};
use crate::memctl::World;
use crate::sample;

async fn saved() -> (World, String) {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    for name in ["node1", "node2"] {
        let script = Script { streams: vec![send(sample::story())].into(), ..Default::default() };
        Agent::start(&world.path(&format!("{name}.sock")), script);
    }
    let run = world.run(&["watch", "--oldest", "--no-follow", "-o", "jsonl"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    std::fs::write(world.path("stream.jsonl"), &run.stdout).unwrap();
    (world, run.stdout)
}

fn entries(text: &str) -> Vec<Value> {
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let control = ["hello", "snapshot", "gap", "heartbeat", "going_away", "host"];
    records.filter(|record| !control.contains(&record["type"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_stream_comes_back_to_the_letter_and_by_the_same_choices() {
    let (world, text) = saved().await;
    let path = world.path("stream.jsonl").display().to_string();
    let input = |more: &[&'static str]| {
        let args: Vec<String> = ["watch", "--input", &path, "-o", "jsonl"]
            .into_iter()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect();
        args
    };
    let run = async |more: &[&'static str]| {
        let args = input(more);
        let run = world.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(run.exit, 0, "{run:?}");
        run.stdout
    };
    assert_eq!(run(&[]).await, text);
    let all = entries(&text);
    let ticks = entries(&run(&["--kind", "tick"]).await);
    let want: Vec<&Value> = all.iter().filter(|entry| entry["type"] == "tick").collect();
    assert_eq!(ticks.iter().collect::<Vec<_>>(), want);
    assert_eq!(entries(&run(&["--tail", "2"]).await), all[all.len() - 2..]);
    assert_eq!(entries(&run(&["--count", "1"]).await), all[..1]);
    let of_web1 = entries(&run(&["--kind", "tick", "--vm", "web1"]).await);
    assert!(!of_web1.is_empty());
    for vm in of_web1.iter().flat_map(|tick| tick["vms"].as_array().unwrap()) {
        assert_eq!(vm["name"], "web1");
    }
    let busy = entries(&run(&["--kind", "tick", "--only-changes"]).await);
    assert!(!busy.is_empty() && busy.len() < ticks.len());
    // A person sees both hosts, and what there was in all.
    let shown = world.run(&["watch", "--input", &path, "--utc"]).await;
    assert!(shown.stdout.contains("node1") && shown.stdout.contains("node2"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_stream_is_told_with_its_line() {
    let world = World::new();
    let path = world.path("stream.jsonl").display().to_string();
    for (text, exit, said) in [
        (
            "{\"type\":\"heartbeat\",\"host\":\"a\",\"time\":null}\nnonsense\n",
            8,
            "stream.jsonl:2: ",
        ),
        (
            "{\"type\":\"dream\",\"host\":\"a\",\"time\":null}\n",
            8,
            "\"dream\" is no type of a record",
        ),
        ("{\"kind\":\"StatusList\"}\n", 8, "memctl watch -o jsonl has written"),
    ] {
        std::fs::write(&path, text).unwrap();
        let run = world.run(&["watch", "--input", &path]).await;
        assert_eq!(run.exit, exit, "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
    assert_eq!(world.run(&["watch", "--input", "/nonexistent/x"]).await.exit, 6);
    assert_eq!(world.run(&["watch", "--input", &path, "--oldest"]).await.exit, 2);
}
