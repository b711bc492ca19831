//! Changes of the policy, of one host and of several: what goes over the wire, and what is said
//! when only some could be changed.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::Notify;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::agent::{Agent, Script};
use crate::memctl::{Run, World};
use crate::sample;
use crate::watch::signal;

fn fleet(scripts: Vec<Script>) -> (World, Vec<Agent>) {
    let world = World::new();
    let names: Vec<String> = (1..=scripts.len()).map(|n| format!("node{n}")).collect();
    world.configure(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let started = names.iter().zip(scripts);
    let agents = started
        .map(|(name, script)| Agent::start(&world.path(&format!("{name}.sock")), script))
        .collect();
    (world, agents)
}

fn on_trial() -> Script {
    Script { trial_until: sample::time(600), ..Default::default() }
}

fn changes_made(agent: &Agent) -> usize {
    agent.script().updates.iter().filter(|u| !u.validate_only).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_says_what_was_typed() {
    let (world, agents) = fleet(vec![Script::default()]);
    let run = world
        .run(&[
            "policy",
            "set",
            "host-reserve=1GiB",
            "pool-limit=unset",
            "vm.a.b.max=2GiB",
            "vm.a.b.weight=300",
            "working-set.lead=1500ms",
            "working-set.headroom-percent=20%",
            "--reason",
            "more",
            "--if-match",
            "e3",
            "--revert-after",
            "90s",
        ])
        .await;
    assert_eq!(run.exit, 0, "{run:?}");
    let script = agents[0].script();
    let [trial, change] = script.updates.as_slice() else { panic!("{:?}", script.updates) };
    assert!(trial.validate_only && !change.validate_only);
    let paths = &change.update_mask.as_ref().unwrap().paths;
    assert_eq!(
        paths,
        &[
            "host_reserve_bytes",
            "pool_limit_bytes",
            "vms.`a.b`.max_bytes",
            "vms.`a.b`.weight",
            "working_set.lead",
            "working_set.headroom_percent",
        ]
    );
    let policy = change.policy.as_ref().unwrap();
    assert_eq!((policy.host_reserve_bytes, policy.pool_limit_bytes), (Some(1 << 30), None));
    assert_eq!(policy.vms["a.b"].max_bytes, Some(2 << 30));
    assert_eq!(policy.vms["a.b"].weight, Some(300));
    let own = policy.working_set.unwrap();
    assert_eq!(own.lead, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(own.headroom_percent, Some(20));
    assert_eq!((change.etag.as_str(), change.reason.as_str()), ("e3", "more"));
    assert_eq!(change.revert_after.map(|d| d.seconds), Some(90));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_that_refuses_keeps_all_from_being_changed() {
    let refusing =
        Script { refuses: Some(Status::invalid_argument("too much")), ..Default::default() };
    let (world, agents) = fleet(vec![Script::default(), refusing, Script::default()]);
    let run = world.run(&["policy", "set", "floor=128MiB"]).await;
    assert_eq!(run.exit, 8, "{run:?}");
    assert_eq!(agents.iter().map(changes_made).collect::<Vec<_>>(), [0, 0, 0]);
    assert!(run.stderr.contains("memctl: node2: too much"), "{run:?}");
    assert!(run.stderr.contains("memctl: node1: not changed: another host refused"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_host_that_fails_stops_the_change_and_it_is_said_where() {
    let failing =
        Script { refuses_change: Some(Status::aborted("changed since")), ..Default::default() };
    let (world, agents) = fleet(vec![Script::default(), failing, Script::default()]);
    let run = world.run(&["policy", "set", "floor=128MiB", "-y"]).await;
    assert_eq!(run.exit, 9, "{run:?}");
    assert_eq!(agents.iter().map(changes_made).collect::<Vec<_>>(), [1, 1, 0]);
    assert!(run.stderr.contains("node1: changed, revision 4, etag e4"), "{run:?}");
    assert!(run.stderr.contains("memctl: node2: changed since"), "{run:?}");
    assert!(run.stderr.contains("memctl: node3: not tried: an earlier host failed"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let (world, agents) = fleet(vec![Script::default()]);
    let run = world.run(&["policy", "set", "floor=128MiB", "--dry-run"]).await;
    assert_eq!((run.exit, changes_made(&agents[0])), (0, 0), "{run:?}");
    let run = world.run(&["policy", "diff", "floor=128MiB"]).await;
    assert_eq!((run.exit, changes_made(&agents[0])), (1, 0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_that_make_no_sense_reach_no_agent() {
    let (world, agents) = fleet(vec![Script::default(), Script::default()]);
    for (args, said) in [
        (&["host-reserv=1GiB"][..], "did you mean host-reserve?"),
        (&["host-reserve=1"][..], "write 1MiB or 1GiB"),
        (&["host-reserve"][..], "is not KEY=VALUE"),
        (&["floor=1GiB", "floor=2GiB"][..], "floor is given twice"),
        (&["floor=1GiB", "--if-match", "e3"][..], "each has its own etag"),
        (&[][..], "<KEY=VALUE>"),
    ] {
        let run = world.run(&[&["policy", "set"], args].concat()).await;
        assert_eq!(run.exit, 2, "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
    assert!(agents.iter().all(|a| a.script().updates.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_of_another_policy_is_a_conflict() {
    let (world, _agents) = fleet(vec![on_trial()]);
    assert_eq!(world.run(&["policy", "confirm", "e9"]).await.exit, 7);
    assert_eq!(world.run(&["policy", "confirm"]).await.exit, 0);
    assert_eq!(world.run(&["policy", "revert", "9"]).await.exit, 6);
    let run = world.run(&["policy", "history", "--limit", "2", "-o", "name"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, "3\n2\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_without_a_trial_keeps_all_trials_from_being_confirmed() {
    let (world, _agents) = fleet(vec![on_trial(), Script::default()]);
    let run = world.run(&["policy", "confirm", "-y"]).await;
    assert_eq!(run.exit, 7, "{run:?}");
    assert!(run.stderr.contains("node1: not changed: another host refused"), "{run:?}");
    assert!(run.stderr.contains("node2: the policy in force is no trial"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_hosts_are_not_changed_unasked_but_always_paused() {
    let (world, agents) = fleet(vec![on_trial(), on_trial()]);
    for args in [
        &["policy", "set", "floor=128MiB"][..],
        &["policy", "revert"][..],
        &["policy", "confirm"][..],
        &["mode", "active"][..],
        &["mode", "observe"][..],
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 2, "{run:?}");
        assert!(run.stderr.contains("hint: say -y"), "{run:?}");
        assert_eq!(world.run(&[args, &["-y"]].concat()).await.exit, 0);
        assert_eq!(world.run(&[args, &["-H", "node1"]].concat()).await.exit, 0);
    }
    assert_eq!(agents.iter().map(changes_made).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(world.run(&["mode", "paused"]).await.exit, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_of_a_revert_asks_nobody_and_changes_nothing() {
    let (world, _agents) = fleet(vec![Script::default(), Script::default()]);
    let run = world.run(&["policy", "revert", "2", "--dry-run"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, ""), "{run:?}");
    assert!(run.stderr.contains("node1: nothing changes"), "{run:?}");
    assert_eq!(world.run(&["policy", "revert", "9", "--dry-run"]).await.exit, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_policy_was_there_before_a_revert_changes_nothing() {
    let (world, _agents) = fleet(vec![Script { keeps_one_revision: true, ..Default::default() }]);
    for args in [&["policy", "revert"][..], &["policy", "revert", "--dry-run"]] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 0, "{run:?}");
        assert!(run.stderr.contains("node1: nothing changes"), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_is_set_with_its_reason() {
    let (world, agents) = fleet(vec![Script::default()]);
    let run = world.run(&["mode", "observe", "--reason", "look first"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, "MODE     BEFORE\nobserve  active\n"));
    assert!(run.stderr.contains("could not be written to disk"), "{run:?}");
    let script = agents[0].script();
    assert_eq!(script.modes[0].mode(), agentd_proto::v1::Mode::Observe);
    assert_eq!(script.modes[0].reason, "look first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_objects_to_is_told_by_the_key_that_was_typed() {
    let why = "1 TiB: must be at most 4 GiB";
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("two_pointer.step_bytes", why);
    details.add_bad_request_violation("vms.`a b`.max_bytes", "too little");
    let message = format!("two_pointer.step_bytes: {why}");
    let refused = Status::with_error_details(tonic::Code::InvalidArgument, message, details);
    let (world, _agents) = fleet(vec![Script { refuses: Some(refused), ..Default::default() }]);
    let run = world.run(&["policy", "set", "two-pointer.step=1TiB"]).await;
    assert_eq!(run.exit, 8, "{run:?}");
    let told = format!("memctl: node1: two-pointer.step: {why}\n  vm.a b.max: too little\n");
    assert_eq!(run.stderr, told);
    // Programs get the path as it is.
    let run = world.run(&["policy", "set", "two-pointer.step=1TiB", "-o", "json"]).await;
    assert!(run.stdout.contains("\"field\": \"two_pointer.step_bytes\""), "{run:?}");
}

/// A change of three hosts of which the first answers only when it is notified; interrupted once.
async fn interrupted() -> (World, Vec<Agent>, Arc<Notify>, Child) {
    let held = Arc::new(Notify::new());
    let first = Script { holds_change: Some(Arc::clone(&held)), ..Script::default() };
    let (world, agents) = fleet(vec![first, Script::default(), Script::default()]);
    let args = ["--all-hosts", "policy", "set", "host-reserve=1GiB", "-y", "--timeout", "300s"];
    let mut child = world.command(&args).spawn().unwrap();
    while changes_made(&agents[0]) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    signal(&child, "INT").await;
    let mut told = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    loop {
        let line = told.next_line().await.unwrap().expect("it says that it was interrupted");
        if line.contains("interrupted: node1 is left to finish") {
            break;
        }
    }
    (world, agents, held, child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_lets_the_host_finish_that_is_at_it_and_changes_no_other() {
    let (world, agents, held, child) = interrupted().await;
    held.notify_one();
    let run = world.finish(child).await;
    assert_eq!(run.exit, 130, "{run:?}");
    assert_eq!(agents.iter().map(changes_made).collect::<Vec<_>>(), [1, 0, 0]);
    assert!(run.stdout.contains("node1"), "what is done is told: {run:?}");
    assert_interrupted_before(&run);
}

fn assert_interrupted_before(run: &Run) {
    for host in ["node2", "node3"] {
        let line = format!("memctl: {host}: not tried: it was interrupted before");
        assert!(run.stderr.contains(&line), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_again_waits_for_nobody_and_says_what_is_in_doubt() {
    let (world, agents, _held, mut child) = interrupted().await;
    // Two that are sent in one moment are one.
    while child.try_wait().unwrap().is_none() {
        signal(&child, "INT").await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let run = world.finish(child).await;
    assert_eq!(run.exit, 130, "{run:?}");
    assert_eq!(agents.iter().map(changes_made).collect::<Vec<_>>(), [1, 0, 0]);
    assert!(run.stderr.contains("memctl: node1: it was not waited for"), "{run:?}");
    assert!(run.stderr.contains("the change may have been made all the same"), "{run:?}");
    assert_interrupted_before(&run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_warned_of_before_is_not_told_again_but_counted() {
    let known = vec!["the step is above the reserve".to_owned()];
    let (world, _agents) = fleet(vec![Script { standing_warnings: known, ..Default::default() }]);
    let change = ["policy", "set", "floor=128MiB"];
    let run = world.run(&change).await;
    assert!(run.stderr.contains("node1: 1 warning stands as before; -v tells it"), "{run:?}");
    assert!(!run.stderr.contains("above the reserve"), "{run:?}");
    let run = world.run(&[&change[..], &["-v"]].concat()).await;
    assert!(run.stderr.contains("warning: node1, as before: the step is above"), "{run:?}");
    let (world, _agents) = fleet(vec![Script::default()]);
    let run = world.run(&change).await;
    assert!(run.stderr.contains("warning: node1: the step is above the reserve"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_none_is_refused_with_what_to_write() {
    let (world, _agents) = fleet(vec![Script::default()]);
    for (args, said) in [
        (&["release", "x"][..], "\"x\" is no number of a reservation, as 3 is"),
        (&["policy", "revert", "abc"], "\"abc\" is no number of a revision, as 7 is"),
        (&["policy", "revert", "0"], "memctl policy history lists them"),
        (&["policy", "history", "--limit", "ten"], "\"ten\" is no whole number from 1 to 65535"),
        (&["watch", "--count", "-1"], "-1"),
        (&["policy", "set", "vm.web1.foo=1"], "vm.web1.min, vm.web1.max, vm.web1.weight"),
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 2, "{args:?}: {run:?}");
        assert!(run.stderr.contains(said), "{args:?}: {run:?}");
        assert!(!run.stderr.contains("invalid digit"), "{args:?}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_of_a_shadow_says_that_none_is_set() {
    let (world, _agents) = fleet(vec![Script::default()]);
    let set = ["shadow", "set", "algorithm=working-set"];
    let told = world.run(&set).await;
    assert!(told.exit == 0 && told.stderr.is_empty(), "{told:?}");
    let trial = [&set[..], &["--dry-run"]].concat();
    let told = world.run(&trial).await;
    assert!(told.stdout.contains("not set: algorithm two-pointer -> working-set"), "{told:?}");
    let why = "node1: it could be set; nothing is, as --dry-run only checks it\n";
    assert_eq!((told.exit, &*told.stderr), (0, why), "{told:?}");
    let told = world.run(&[&trial[..], &["-o", "json"]].concat()).await;
    assert!(told.stdout.contains("\"applied\": false") && told.stderr.is_empty(), "{told:?}");
}
