//! The table of exit codes that `memctl --help` prints, a case for each.

use std::collections::HashMap;

use agentd_proto::v1;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::agent::{Agent, Script};
use crate::memctl::World;

/// The exit code, the hosts (None is down), and what is typed.
type Case<'a> = (i32, Vec<Option<Script>>, &'a [&'a str]);

fn refusing(status: Status) -> Script {
    Script { refuses: Some(status), ..Default::default() }
}

fn not_durable() -> Status {
    let details = ErrorDetails::with_error_info("NOT_DURABLE", "agentd", HashMap::new());
    Status::with_error_details(tonic::Code::Unavailable, "no room", details)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exit_code_means_what_the_help_says() {
    let up = || Script { healthy_in: Some(v1::Mode::Active), ..Default::default() };
    let one = |script| vec![Some(script)];
    let cases: Vec<Case<'_>> = vec![
        (0, one(up()), &["status"]),
        (1, one(Script::default()), &["status", "--check"]),
        (1, one(up()), &["policy", "diff", "two-pointer.step=60MiB"]),
        (1, one(up()), &["wait", "--for", "mode=paused", "--within", "1ms"]),
        (1, vec![None], &["doctor"]),
        (2, one(up()), &["status", "--nonsense"]),
        (2, one(up()), &["policy", "set", "floor=64"]),
        (3, one(refusing(Status::internal("on fire"))), &["status"]),
        (3, vec![None, Some(refusing(Status::permission_denied("no")))], &["status"]),
        (4, vec![None], &["status"]),
        (4, vec![None, Some(up())], &["policy", "set", "floor=64MiB", "-y"]),
        (5, one(refusing(Status::unauthenticated("who?"))), &["status"]),
        (6, one(up()), &["explain", "web9"]),
        (6, one(up()), &["host", "show", "nod9"]),
        (7, one(up()), &["policy", "confirm", "e9"]),
        (8, one(refusing(Status::invalid_argument("no"))), &["status"]),
        (8, vec![Some(up()), Some(up())], &["pin", "web1"]),
        (9, vec![Some(up()), None], &["status"]),
        (10, one(refusing(not_durable())), &["mode", "paused"]),
    ];
    for (exit, scripts, args) in cases {
        let world = World::new();
        let names: Vec<String> = (1..=scripts.len()).map(|n| format!("node{n}")).collect();
        world.configure(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, script) in names.iter().zip(scripts) {
            script.map(|script| Agent::start(&world.path(&format!("{name}.sock")), script));
        }
        let run = world.run(args).await;
        assert_eq!(run.exit, exit, "{args:?} {run:?}");
    }
}

/// Whatever is printed, nobody who does not read it is told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_went_away_ends_every_command_quietly() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    for args in [
        &["status"][..],
        &["vms", "-o", "json"],
        &["policy", "get", "-o", "yaml"],
        &["policy", "get", "--as-file"],
        &["host", "list"],
        &["config", "view"],
        &["doctor"],
        &["schema"],
        &["completion", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = world.command(args).stdout(writer).spawn().unwrap();
        let run = world.finish(child).await;
        assert_eq!(run.exit, 141, "{args:?} {run:?}");
        assert!(!run.stderr.contains("pipe"), "{args:?} {run:?}");
    }
}

/// Columns are the same however narrow the terminal is: nothing is cut, nothing is wrapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_terminal_loses_nothing() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    for args in [&["status"][..], &["vms", "-o", "wide"], &["policy", "get"], &["host", "show"]] {
        let wide = world.run(args).await;
        let child = world.command(args).env("COLUMNS", "40").spawn().unwrap();
        assert_eq!(world.finish(child).await.stdout, wide.stdout, "{args:?}");
    }
}
