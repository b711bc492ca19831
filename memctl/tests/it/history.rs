//! `memctl history`, and the times that history, explain and watch are told.

use agentd_proto::v1;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::agent::{Agent, Script};
use crate::golden::compare;
use crate::memctl::World;
use crate::sample;

fn world(script: Script) -> (World, Agent) {
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), script);
    (world, agent)
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_is_asked_for_and_every_page_of_it() {
    let (world, agent) = world(Script::default());
    let since = ["--since", "2026-01-02T03:00:00Z", "--until", "2026-01-02T04:00:00Z"];
    let run = world.run(&[&["history", "web1", "--step", "5m"], &since[..]].concat()).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let asked = agent.script().histories.clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].start_time, at(1_767_322_800));
    assert_eq!(asked[0].end_time, at(1_767_326_400));
    assert_eq!(asked[0].step, Some(prost_types::Duration { seconds: 300, nanos: 0 }));
    assert_eq!((asked[0].vms.clone(), asked[0].host_only), (vec!["web1".to_owned()], false));
    // The second page is of what the first one said.
    assert_eq!((asked[1].page_token.as_str(), asked[1].end_time), ("2", sample::time(4255)));
    assert_eq!(run.stdout.matches("LOW_UNUSED").count(), 4, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_make_no_sense_are_refused_before_anybody_is_asked() {
    let (world, agent) = world(Script::default());
    for args in [
        &["history"][..],
        &["history", "web1", "--all"][..],
        &["history", "web1", "--since", "yesterday"][..],
        &["history", "web1", "--since", "1h", "--until", "2h"][..],
        &["history", "web1", "--step", "0s"][..],
        &["explain", "web1", "--at", "noon"][..],
        &["explain", "web1", "--at", "1h", "--tick", "7"][..],
        &["watch", "--since", "2999-01-01"][..],
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 2, "{args:?} {run:?}");
    }
    let script = agent.script();
    assert!(script.histories.is_empty() && script.explains.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_was_recorded_that_is_said() {
    let (world, _agent) = world(Script { is_new: true, ..Script::default() });
    let run = world.run(&["history", "web1"]).await;
    assert_ne!(run.exit, 0);
    assert!(run.stderr.contains("no VM called web1 was recorded in that time"), "{run:?}");
    assert!(run.stderr.contains("the history is empty"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plot_is_drawn_into_its_file() {
    let (world, _agent) = world(Script::default());
    let file = world.path("web1.svg");
    let run = world.run(&["history", "web1", "--utc", "--plot", &file.display().to_string()]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, ""), "{run:?}");
    assert!(run.stderr.contains("drawn into"), "{run:?}");
    compare("history.svg", &std::fs::read_to_string(&file).unwrap());
    let nowhere = world.path("no/such/folder.svg").display().to_string();
    let run = world.run(&["history", "web1", "--plot", &nowhere]).await;
    assert!(run.exit != 0 && run.stderr.contains("folder.svg"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plots_fit_narrow_terminals_and_have_colours_only_where_wanted() {
    let (world, _agent) = world(Script::default());
    for (color, no_color, columns) in
        [("always", false, "40"), ("auto", true, "40"), ("never", false, "60")]
    {
        let mut command = world.command(&["history", "web1", "--plot", "-", "--color", color]);
        command.env("COLUMNS", columns).env("LANG", "C.UTF-8");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let run = world.finish(command.spawn().unwrap()).await;
        assert_eq!(run.exit, 0, "{run:?}");
        assert_eq!(run.stdout.contains('\u{1b}'), color == "always", "{run:?}");
        let rows =
            run.stdout.lines().filter(|line| line.contains(['|', '+']) && !line.contains('!'));
        let width = |line: &str| {
            let parts = line.split('\u{1b}').enumerate();
            let plain = parts.map(|(n, part)| match n {
                0 => part,
                _ => part.split_once('m').map_or("", |(_, rest)| rest),
            });
            plain.collect::<String>().chars().count()
        };
        let most: usize = columns.parse().unwrap();
        assert!(rows.map(width).max().unwrap() <= most, "{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_names_the_vm_that_was_meant_where_there_is_none_of_that_name() {
    let (world, _agent) = world(Script::default());
    let run = world.run(&["explain", "wbe1"]).await;
    assert_eq!(run.exit, 6, "{run:?}");
    assert!(run.stderr.contains("did you mean web1? memctl vms lists those"), "{run:?}");
    let run = world.run(&["explain", "nothing-like-it"]).await;
    assert!(!run.stderr.contains("did you mean"), "{run:?}");
    assert!(run.stderr.contains("memctl vms lists those that there are"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_asks_for_the_tick_that_is_meant() {
    let (world, agent) = world(Script::default());
    let epoch = sample::EPOCH;
    let position = v1::Position { epoch: epoch.to_owned(), seq: 7 };
    let place = format!("{epoch}:7");
    for (args, at_, time, tick) in [
        (["--at", place.as_str()], Some(position), None, None),
        (["--at", "2026-01-02T03:00:00Z"], None, at(1_767_322_800), None),
        (["--at", "2026-01-02 03:00:00"], None, at(1_767_322_800), None),
        (["--tick", "41"], None, None, Some(41)),
    ] {
        let run = world.run(&[&["explain", "web1", "--utc"], &args[..]].concat()).await;
        assert_eq!(run.exit, 0, "{run:?}");
        let asked = agent.script().explains.pop().unwrap();
        assert_eq!((asked.at, asked.time, asked.tick), (at_, time, tick), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_before_any_tick_is_told_as_clocks_there_show_it_and_what_is_kept() {
    let info = std::collections::HashMap::new();
    let details = ErrorDetails::with_error_info("NOT_KEPT", "agentd", info);
    let message = "no tick that had ended by 2026-01-02T03:04:05.123456789Z is kept";
    let refusal = tonic::Status::with_error_details(tonic::Code::NotFound, message, details);
    let (world, _agent) = world(Script { refuses: Some(refusal), ..Default::default() });
    let mut command = world.command(&["explain", "web1", "--at", "2026-01-02T03:04:05.5Z"]);
    command.env("TZ", "XYZ-1");
    let run = world.finish(command.spawn().unwrap()).await;
    let told = "memctl: node1: no tick that had ended by 2026-01-02 04:04:05 is kept\n  hint: memctl \
                watch --kind tick --oldest --no-follow --count 1 shows the oldest one that is\n";
    assert_eq!((run.exit, &*run.stderr), (6, told), "{run:?}");
}
