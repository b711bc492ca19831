//! `[authz]` under a running agentd, and an agentd that has no rights of its own.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    process::Command,
};

use agentd_proto::v1 as wire;

use crate::rig::{AGENTD, Home, SCENARIO};

#[tokio::test]
async fn sighup_has_the_rules_read_again_where_they_make_sense() {
    let home = Home::with(SCENARIO, |_| "[authz]\nlocal_admin_uids = [0]\n".to_owned());
    let agent = home.start().await;
    agent.signal("HUP");
    home.until_log("the config was read again");
    fs::write(home.path("agentd.toml"), "[authz]\nlocal_admin_uids = \"all\"\n").unwrap();
    agent.signal("HUP");
    agent.until_condition("CONFIG_REJECTED", true).await;
    home.until_log("agentd.toml:2");
    agent.until_ticks_go_on().await;
    fs::remove_file(home.path("agentd.toml")).unwrap();
    agent.signal("HUP");
    home.until_log("cannot read the config");
    fs::write(home.path("agentd.toml"), "[authz]\nlocal_admin_uids = [0, 61000]\n").unwrap();
    agent.signal("HUP");
    agent.until_condition("CONFIG_REJECTED", false).await;
    home.until_log("other rules of who may do what are in force");
    agent.until_ticks_go_on().await;
}

/// All that it needs is a directory of its own.
#[tokio::test]
async fn it_runs_as_a_user_without_rights_and_that_user_and_root_are_its_admins() {
    if !rustix::process::geteuid().is_root() {
        // Every other test of this kind shows it then.
        return;
    }
    let home = Home::new();
    for (path, mode) in [(home.dir.path().to_owned(), 0o755), (home.path("scenario.toml"), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let own = home.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    let program = home.path("agentd");
    // By another process: a child that another test starts meanwhile would hold what this one writes to,
    // and what is written to cannot be run.
    assert!(Command::new("cp").arg(AGENTD).arg(&program).status().unwrap().success());

    let mut command = Command::new(program);
    command
        .args(["run", "--hypervisor"])
        .arg(format!("sim:{}", home.path("scenario.toml").display()))
        .arg("--config")
        .arg(home.path("agentd.toml"))
        .arg("--state-dir")
        .arg(own.join("state"))
        .arg("--listen")
        .arg(format!("unix://{}", own.join("agentd.sock").display()))
        .env_clear()
        .uid(USER)
        .gid(USER);
    let agent = home.start_at(command, own.join("agentd.sock")).await;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    assert!(line("Uid:").split_whitespace().all(|uid| uid == USER.to_string()), "{status}");
    assert_eq!(line("CapEff:").trim(), "0000000000000000");

    agent.until_ticks_go_on().await;
    // The change is durable and audited, which takes all of its files.
    agent.set_floor(80 << 20).await.unwrap();
    agent.set_mode(wire::Mode::Paused).await.unwrap();
    for file in ["agentd.db", "history.db", "audit.jsonl", "audit.head", "lock"] {
        let owner = fs::metadata(own.join("state").join(file)).unwrap().uid();
        assert_eq!(owner, USER, "{file}");
    }
    // Who is not its own user is told of by the kernel: root asks for a reload.
    fs::write(home.path("agentd.toml"), "[log]\nlevel = \"debug\"\n").unwrap();
    agent.signal("HUP");
    for line in crate::reload::audited(&own.join("state"), 2) {
        assert_eq!((&line["who"], &line["target"]), (&"uid:0".into(), &"config".into()));
    }
    // Nobody else gets in.
    for (name, expected) in [("state", 0o750), ("agentd.sock", 0o660)] {
        let mode = fs::metadata(own.join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, expected, "{name}");
    }
}

/// No host has it.
const USER: u32 = 61_009;
