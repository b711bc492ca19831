//! The config read again while agentd runs: all of it counts, or nothing does and it is said.

use std::fs;

use crate::rig::{Agent, Home, agentd};

const MIB: u64 = 1 << 20;

async fn reload(home: &Home, agent: &Agent, config: &str, log: &str) {
    fs::write(home.path("agentd.toml"), config).unwrap();
    agent.signal("HUP");
    home.until_log(log);
}

async fn message(agent: &Agent, reason: &str) -> String {
    agent.until_condition(reason, true).await;
    let status = agent.status().await.unwrap();
    let told = status.conditions.into_iter().find(|told| told.reason == reason);
    told.unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_live_is_in_force_and_the_rest_is_named() {
    let home = Home::new();
    let agent = home.start().await;
    let floor = agent.floor().await;
    assert_ne!(floor, 96 * MIB);
    let config = "host = \"other\"\n[tick]\nstale_after = \"6s\"\n[log]\nlevel = \"warn\"\n\
                  [policy]\nfloor = \"96MiB\"\n";
    reload(&home, &agent, config, "the config was read again").await;
    agent.until_floor(96 * MIB).await;
    let rest = message(&agent, "RESTART_NEEDED").await;
    assert!(
        rest.starts_with("of the config file, host, tick was changed since the start"),
        "{rest}"
    );
    assert_ne!(agent.status().await.unwrap().host, "other");
    agent.set_floor(97 * MIB).await.unwrap();
    assert!(!home.log().contains("-> 97 MiB"), "that is no warning: {}", home.log());
    agent.kill();

    let home = Home::new();
    let agent = home.start().await;
    reload(&home, &agent, config, "condition=\"RESTART_NEEDED\"").await;

    // Back to where it began there is nothing left to say.
    reload(&home, &agent, "", "condition=\"RESTART_NEEDED\"").await;
    agent.until_condition("RESTART_NEEDED", false).await;
    agent.until_floor(floor).await;
    agent.until_ticks_go_on().await;

    // A live policy stays, as over a restart.
    agent.set_floor(80 * MIB).await.unwrap();
    reload(&home, &agent, config, "POLICY_FILE_IGNORED").await;
    assert_eq!(agent.floor().await, 80 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fault_leaves_all_as_it_was_and_says_so_until_it_is_mended() {
    let home = Home::new();
    let agent = home.start().await;
    let floor = agent.floor().await;
    let config = "[policy]\nfloor = \"96MiB\"\n[tick]\ninterval = \"1ms\"\n";
    reload(&home, &agent, config, "ERROR the config was read again and is refused").await;
    let told = message(&agent, "CONFIG_REJECTED").await;
    assert!(told.contains("agentd.toml:4: tick.interval = \"1ms\": must be from"), "{told}");
    assert_eq!(agent.floor().await, floor);
    agent.until_ticks_go_on().await;

    // A file that is gone is no config of defaults.
    fs::remove_file(home.path("agentd.toml")).unwrap();
    agent.signal("HUP");
    home.until_log("cannot read the config");

    reload(&home, &agent, "[policy]\nfloor = \"96MiB\"\n", "condition=\"CONFIG_REJECTED\"").await;
    agent.until_condition("CONFIG_REJECTED", false).await;
    agent.until_floor(96 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_as_the_reload_does() {
    let home = Home::new();
    let agent = home.start().await;
    let state = home.path("state").display().to_string();
    let command = || {
        let done = agentd(&["reload", "--state-dir", &state]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    for _ in 0..2 {
        assert_eq!(command(), (Some(0), String::new(), String::new()));
    }
    fs::write(home.path("agentd.toml"), "host = \"other\"\n").unwrap();
    let (code, said, _) = command();
    assert_eq!(code, Some(0));
    assert!(said.starts_with("of the config file, host was changed since the start"), "{said}");
    for config in ["hosst = \"\"\n", "[policy]\nhost_reserve = \"3000GiB\"\n"] {
        agent.until_ticks_go_on().await;
        fs::write(home.path("agentd.toml"), config).unwrap();
        let (code, said, problem) = command();
        assert_eq!((code, said.as_str()), (Some(1), ""), "{config}");
        let words = "agentd: the config was read again and is refused, all is as before: ";
        assert!(problem.starts_with(words), "{problem}");
    }
    agent.kill();
    let (code, _, problem) = command();
    assert_eq!(code, Some(1));
    assert!(
        problem.starts_with("agentd: no agentd is at work on the state directory"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tighter_bounds_bind_at_once_the_policy_in_force_and_what_is_set() {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_floor(80 * MIB).await.unwrap();
    reload(&home, &agent, "[bounds]\nfloor = \"100MiB\"\n", "POLICY_BOUNDED").await;
    agent.until_floor(100 * MIB).await;
    let refused = agent.set_floor(99 * MIB).await.unwrap_err();
    assert!(refused.message().contains("must be at least 100 MiB"), "{refused}");
    reload(&home, &agent, "", "the config was read again").await;
    // Looser again, all may be set that was; nothing is set by itself.
    for _ in 0..crate::rig::PAUSES {
        if agent.set_floor(70 * MIB).await.is_ok() {
            return;
        }
        crate::rig::pause();
    }
    panic!("the bounds are still in force: {}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_beyond_the_host_is_refused_by_a_reload() {
    let home = Home::new();
    let agent = home.start().await;
    agent.until_ticks_go_on().await;
    let config = "[policy]\nhost_reserve = \"3000GiB\"\n";
    reload(&home, &agent, config, "its policy cannot be put in force: host_reserve").await;
    agent.until_condition("CONFIG_REJECTED", true).await;
    assert!(!agent.has_condition("POLICY_BEYOND_HOST").await);
}
