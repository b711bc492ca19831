//! A mode for a time: every host that has taken it is set back, and no other one.

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body;
use tonic::Status;

use crate::agent::{Agent, ModeAnswer, Script, send};
use crate::fleet::fleet;
use crate::sample::{hello, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_for_a_time_is_set_back() {
    let script = Script { healthy_in: Some(v1::Mode::Paused), ..Default::default() };
    let (world, agents) = fleet(vec![("node1", script)]);
    let run = world.run(&["mode", "paused", "--for", "10ms", "--reason", "backup"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("node1: active again"), "{run:?}");
    let script = agents[0].script();
    let modes: Vec<v1::Mode> = script.modes.iter().map(v1::SetModeRequest::mode).collect();
    assert_eq!(modes, [v1::Mode::Paused, v1::Mode::Active]);
    assert_eq!(script.modes[1].reason, "back after paused for 10ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_somebody_else_set_in_between_stays() {
    let script = Script { healthy_in: Some(v1::Mode::Observe), ..Default::default() };
    let (world, agents) = fleet(vec![("node1", script)]);
    let run = world.run(&["mode", "paused", "--for", "10ms"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("node1: observe was set by"), "{run:?}");
    assert_eq!(agents[0].script().modes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_answer_was_lost_is_set_back_by_what_its_log_says() {
    let paused = v1::ModeChanged {
        previous_mode: v1::Mode::Observe.into(),
        mode: v1::Mode::Paused.into(),
        actor: Some(v1::Actor { id: "ops/kim".to_owned(), peer: String::new(), time: None }),
        reason: "backup".to_owned(),
    };
    let of_others = v1::ModeChanged { reason: "a visit".to_owned(), ..paused.clone() };
    let lost = |change: &v1::ModeChanged| Script {
        healthy_in: Some(v1::Mode::Paused),
        mode_answers: vec![ModeAnswer::Lost].into(),
        streams: vec![send(vec![hello(0, 10_000), message(1, Body::ModeChanged(change.clone()))])]
            .into(),
        ..Default::default()
    };
    let (world, agents) = fleet(vec![
        ("node1", Script { healthy_in: Some(v1::Mode::Paused), ..Default::default() }),
        ("node2", lost(&paused)),
        ("node3", lost(&of_others)),
    ]);
    let args = ["mode", "paused", "--for", "10ms", "--reason", "backup", "--timeout", "3s"];
    let run = world.run(&args).await;
    assert_eq!(run.exit, 9, "{run:?}");
    for said in [
        "node2: may have taken the mode all the same",
        "node1: active again",
        "node2: observe again",
        "node3: did not take the mode: nothing is to be set back",
    ] {
        assert!(run.stderr.contains(said), "{said}: {run:?}");
    }
    let set = [v1::Mode::Active, v1::Mode::Observe];
    assert_eq!([modes(&agents[0]), modes(&agents[1])], set.map(|m| vec![v1::Mode::Paused, m]));
    assert_eq!(modes(&agents[2]), [v1::Mode::Paused]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_host_has_taken_the_mode_nothing_is_held() {
    let refusing = Script { refuses: Some(Status::permission_denied("no")), ..Default::default() };
    let (world, _agents) = fleet(vec![("node1", refusing)]);
    // It would stay for an hour if it held anything; node2 is not there.
    world.configure(&["node1", "node2"]);
    let run = world.run(&["mode", "paused", "--for", "1h"]).await;
    assert_eq!(run.exit, 3, "{run:?}");
    assert!(run.stderr.contains("node1: did not take the mode, and is not held"), "{run:?}");
    assert!(run.stderr.contains("node2: did not take the mode, and is not held"), "{run:?}");
    assert!(run.stderr.contains("no host took the mode: nothing is to be set back"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_be_set_back_for_a_moment_is_tried_again() {
    let busy = || ModeAnswer::Refused(Status::unavailable("in a moment"));
    let refused = || ModeAnswer::Refused(Status::permission_denied("no longer"));
    for (answers, tries, exit, said) in [
        (vec![ModeAnswer::Given, busy()], 3, 0, "node1: active again"),
        (vec![ModeAnswer::Given, refused()], 2, 5, "it is still paused: memctl mode active --host"),
    ] {
        let script = Script {
            healthy_in: Some(v1::Mode::Paused),
            mode_answers: answers.into(),
            ..Default::default()
        };
        let (world, agents) = fleet(vec![("node1", script)]);
        let run = world.run(&["mode", "paused", "--for", "10ms"]).await;
        assert_eq!((run.exit, modes(&agents[0]).len()), (exit, tries), "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
}

/// What it was asked for.
fn modes(agent: &Agent) -> Vec<v1::Mode> {
    agent.script().modes.iter().map(v1::SetModeRequest::mode).collect()
}
