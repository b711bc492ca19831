//! A mode for a time, on a host that takes it and whose answer is lost.

use std::process::Stdio;

use agentd_tests::line::{Course, Line};

use crate::sim_host::{LOCAL, SCENARIO, World, until};

#[test]
fn a_host_whose_answer_is_lost_is_set_back_all_the_same() {
    let world = World::new(SCENARIO);
    let _agentd = world.start(LOCAL);
    let from = world.path("line.sock");
    let line = Line::between_sockets(&from, &world.socket(LOCAL)).unwrap();
    line.set(Course::Unanswered);
    let mut memctl = world.memctl_command();
    memctl.args(["-H", &format!("unix://{}", from.display()), "--timeout", "3s"]);
    memctl.args(["mode", "paused", "--for", "10ms", "--reason", "backup"]);
    let memctl = memctl.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("the pause", || Ok(world.ask(&["mode"], "mode") == "paused"));
    line.lose();
    line.set(Course::Open);

    let ended = memctl.wait_with_output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(UNREACHABLE), "{told}");
    assert!(told.contains("may have taken the mode all the same"), "{told}");
    assert!(told.contains(": active again"), "{told}");
    assert_eq!(world.ask(&["mode"], "mode"), "active");
}

const UNREACHABLE: i32 = 4;
