//! The files of `[tls]` under a running agentd.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use agentd::clock::{Clock as _, RealClock};

use crate::{
    certificates::{self, Authority},
    rig::{AGENTD, Home, SCENARIO},
};

#[tokio::test]
async fn sighup_has_the_files_read_again_and_stops_nothing() {
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let tls = |home: &Home| certificates::serve(home.dir.path(), &authority, &["node1"]).unwrap();
    let home = Home::with(SCENARIO, tls);
    let mut command = Command::new(AGENTD);
    command.args(home.arguments(&home.path("state"))).args(["--listen", "tcp://127.0.0.1:0"]);
    let agent = home.start_as(command).await;
    assert!(home.log().contains("tcp://127.0.0.1:"), "{}", home.log());

    agent.signal("HUP");
    home.until_log("the files of [tls] were read again and are in force");
    fs::set_permissions(home.path("node1.key"), fs::Permissions::from_mode(0o640)).unwrap();
    agent.signal("HUP");
    agent.until_condition("TLS_RELOAD_FAILED", true).await;
    home.until_log("node1.key is open to others than its owner (mode 640): chmod 600");
    fs::set_permissions(home.path("node1.key"), fs::Permissions::from_mode(0o600)).unwrap();
    agent.until_condition("TLS_RELOAD_FAILED", false).await;
    agent.until_ticks_go_on().await;
}
