//! `memctl reserve`: what it asks for, how it waits, and how it ends.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::agent::{Agent, Script};
use crate::memctl::{Run, World};
use crate::sample::{MIB, over, reservation};
use crate::watch::signal;
use tonic_types::StatusExt as _;

/// Runs a command against an agent that answers each question for the reservation so.
async fn run(answers: Vec<agentd_proto::v1::Reservation>, args: &[&str]) -> (Run, Agent) {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { reservations: answers.into(), ..Default::default() };
    let agent = Agent::start(&world.path("node1.sock"), script);
    (world.run(args).await, agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_typed_is_asked_for() {
    let all = [
        "reserve",
        "2GiB..4GiB",
        "--for",
        "90s",
        "--vm",
        "db7",
        "--reason",
        "why",
        "--request-id",
        "r1",
        "--dry-run",
    ];
    let (ran, agent) = run(Vec::new(), &all).await;
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let asked = agent.script().reserves.pop().unwrap();
    assert_eq!((asked.min_bytes, asked.max_bytes), (2048 * MIB, 4096 * MIB));
    assert_eq!(asked.duration.map(|time| (time.seconds, time.nanos)), Some((90, 0)));
    assert_eq!((&*asked.vm, &*asked.reason, &*asked.request_id), ("db7", "why", "r1"));
    assert!(asked.validate_only);
    let (_, agent) = run(Vec::new(), &["reserve", "2GiB", "--no-wait"]).await;
    let asked = agent.script().reserves.pop().unwrap();
    assert_eq!((asked.min_bytes, asked.max_bytes), (2048 * MIB, 2048 * MIB));
    assert_eq!(asked.duration.map(|time| time.seconds), Some(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_until_the_memory_is_there_or_its_vm_has_it() {
    let mut filled = reservation(3);
    filled.state = agentd_proto::v1::ReservationState::Filled.into();
    filled.lacks_bytes = Some(0);
    for end in [filled, over(3)] {
        let (ran, _) = run(vec![reservation(3), end], &["reserve", "2GiB"]).await;
        assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("missing"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_without_its_vm_is_not_waited_for() {
    let mut expired = over(3);
    expired.state = agentd_proto::v1::ReservationState::Expired.into();
    let (ran, _) = run(vec![expired], &["reserve", "2GiB", "--wait-for", "10m"]).await;
    assert_eq!(ran.exit, 1, "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_it_is_waited_for_says_what_was_missing_and_who_kept_it() {
    let mut expired = over(3);
    expired.state = agentd_proto::v1::ReservationState::Expired.into();
    let open = reservation(3);
    let (words, keeps) = (open.message.clone(), open.refusals[0].reason.clone());
    let answers = vec![open.clone(), open, expired];
    let (ran, _) = run(answers, &["reserve", "2GiB", "--for", "10s"]).await;
    assert_eq!(ran.exit, 1, "{}{}", ran.stdout, ran.stderr);
    for said in ["reservation 3 was over before it was there", &*words, &*keeps] {
        assert!(ran.stderr.contains(said), "{said} in {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_do_not_answer_make_nobody_wait_for_longer_than_was_said() {
    let world = World::new();
    let hosts = ["node1", "node2", "node3"];
    world.configure(&hosts);
    let agents = hosts.map(|host| {
        let script = Script { hangs_on_reservations: true, ..Default::default() };
        Agent::start(&world.path(&format!("{host}.sock")), script)
    });
    // It would wait for each of them for an hour.
    let args = ["reserve", "2GiB", "-A", "-y", "--wait-for", "1s", "--timeout", "1h"];
    let ran = world.run(&args).await;
    assert_eq!(ran.exit, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(agents.iter().all(|agent| agent.script().reserves.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_without_a_name_is_no_vm() {
    let (ran, _) = run(vec![reservation(3)], &["reserve", "2GiB", "--vm", " "]).await;
    assert_eq!(ran.exit, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("no VM is named"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_belongs_to_one_host() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    let ran = world.run(&["release", "3", "-A"]).await;
    assert_eq!(ran.exit, 2);
    assert!(ran.stderr.contains("release 3 on 2 hosts: each host numbers its own"), "{ran:?}");
    assert!(ran.stderr.contains("memctl release HOST/3"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_list_of_several_hosts_calls_a_reservation_ends_it_there() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    let agents = ["node1", "node2"]
        .map(|host| Agent::start(&world.path(&format!("{host}.sock")), Script::default()));
    let names = world.run(&["reservations", "-A", "-o", "name"]).await.stdout;
    assert!(names.lines().any(|name| name == "node2/3"), "{names}");
    for args in [&["release", "node2/3"][..], &["release", "node2/3", "-A"]] {
        let ran = world.run(args).await;
        assert_eq!((ran.exit, &*ran.stderr), (0, ""), "{ran:?}");
    }
    // Nobody has configured this one: it is what is asked where no host is named.
    world.write_config("schema = 1\n");
    Agent::start(&world.path("local.sock"), Script::default());
    assert_eq!(world.run(&["release", "local/3"]).await.exit, 0);
    world.configure(&["node1", "node2"]);
    let other = world.run(&["release", "node2/3", "-H", "node1"]).await;
    assert!(other.exit == 2 && other.stderr.contains("node2 is none of the hosts"), "{other:?}");
    assert!(world.run(&["release", "node2/x"]).await.stderr.contains("no number of a reservation"));
    let released = |agent: &Agent| agent.script().released.clone();
    assert_eq!(agents.each_ref().map(released), [vec![], vec![3, 3]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_says_that_nothing_is_reserved() {
    let (ran, _) = run(Vec::new(), &["reserve", "2GiB", "--dry-run"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.stdout.contains("NOT RESERVED") && !ran.stdout.contains("FILLING"), "{ran:?}");
    assert!(!ran.stdout.contains("2026-"), "it expires: {ran:?}");
    assert!(ran.stderr.contains("node1: it could be reserved; nothing is"), "{ran:?}");
    let (ran, _) = run(Vec::new(), &["reserve", "2GiB", "--dry-run", "-o", "json"]).await;
    assert!(ran.stdout.contains("\"applied\": false"), "{ran:?}");
    let (ran, _) = run(Vec::new(), &["reserve", "2GiB", "--no-wait", "-o", "json"]).await;
    assert!(ran.stdout.contains("\"applied\": true"), "{ran:?}");
}

/// Says a request again by which this was made.
async fn say_again(made: agentd_proto::v1::Reservation, args: &[&str]) -> Run {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { made_before: Some(made), ..Default::default() };
    Agent::start(&world.path("node1.sock"), script);
    world
        .run(&[&["reserve", "2GiB..4GiB", "--vm", "db7", "--request-id", "r1"], args].concat())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_when_it_is_asked_for_again_is_not_waited_for_and_says_why() {
    let released = agentd_proto::v1::Reservation {
        state: agentd_proto::v1::ReservationState::Released.into(),
        handed_to: None,
        message: "it was released".to_owned(),
        ..over(3)
    };
    for (args, exit) in [(&[][..], 1), (&["--no-wait"], 0), (&["--dry-run"], 0)] {
        let ran = say_again(released.clone(), args).await;
        assert_eq!(ran.exit, exit, "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains("waiting"), "{args:?}: {ran:?}");
        let why =
            "reservation 3 was made with this --request-id before and is over: it was released";
        assert!(ran.stderr.contains(why), "{args:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_of_what_is_made_says_so() {
    let ran = say_again(reservation(3), &["--dry-run"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.stdout.contains("FILLING") && !ran.stdout.contains("NOT RESERVED"), "{ran:?}");
    let told = "node1: reservation 3 is made already with this --request-id\n";
    assert_eq!(ran.stderr, told, "{ran:?}");
    let ran = say_again(reservation(3), &["--dry-run", "-o", "json"]).await;
    assert!(ran.stdout.contains("\"applied\": true"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_by_what_was_typed() {
    let world = World::new();
    world.configure(&["node1"]);
    let mut details = tonic_types::ErrorDetails::new();
    let (size, time) = ("32 GiB: the whole host has 16 GiB", "1 s and 0 ns: must be from 10 s");
    details.add_bad_request_violation("min_bytes", size);
    details.add_bad_request_violation("duration", time);
    let message = format!("min_bytes: {size}; duration: {time}");
    let refusal = tonic::Status::with_error_details(tonic::Code::InvalidArgument, message, details);
    let script = Script { refuses: Some(refusal), ..Default::default() };
    Agent::start(&world.path("node1.sock"), script);
    let ran = world.run(&["reserve", "32GiB", "--for", "1s"]).await;
    assert_eq!(ran.stderr, format!("memctl: node1: the size: {size}; --for: {time}\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_nobody_knows_what_is_held_is_said_of_one_that_is_filled_too() {
    let world = World::new();
    world.configure(&["node1"]);
    let why = "what it holds is not known; agentd is paused and decides nothing";
    let states = [
        agentd_proto::v1::ReservationState::Filling,
        agentd_proto::v1::ReservationState::Filled,
        agentd_proto::v1::ReservationState::HandedOver,
    ];
    let unknown = (5..).zip(states).map(|(id, state)| agentd_proto::v1::Reservation {
        state: state.into(),
        held_bytes: None,
        lacks_bytes: None,
        refusals: Vec::new(),
        message: why.to_owned(),
        ..reservation(id)
    });
    let script = Script { listed: unknown.collect(), ..Default::default() };
    Agent::start(&world.path("node1.sock"), script);
    let ran = world.run(&["reservations"]).await;
    let told = [5, 6].map(|id| format!("node1: reservation {id} {why}\n")).concat();
    assert_eq!((ran.exit, ran.stderr), (0, told), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_interrupted_while_waiting_says_what_it_leaves_behind() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    let args = ["reserve", "2GiB", "--wait-for", "1h"];
    let mut child = world.command(&args).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let first = told.next_line().await.unwrap().expect("it says that it waits");
    assert!(first.contains("reservation 3 is made; waiting"), "{first}");
    signal(&child, "INT").await;
    let ran = world.finish(child).await;
    assert_eq!(ran.exit, 130, "{ran:?}");
    assert!(ran.stdout.contains("FILLING"), "{ran:?}");
    let left = "node1: reservation 3 is not there yet and goes on filling\n  it stays until it expires; \
                memctl release 3 ends it\n";
    assert_eq!(ran.stderr, left, "{ran:?}");
}
