//! The config read again while agentd runs: all of it counts, or nothing does and it is said.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::Value;

use crate::{
    audit::lines,
    rig::{Agent, Home, PAUSES, agentd, pause},
};

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
    for _ in 0..PAUSES {
        if agent.set_floor(70 * MIB).await.is_ok() {
            return;
        }
        pause();
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

/// `agentd reload` with this config: its exit code, and what it said.
fn command(home: &Home, config: &str) -> (Option<i32>, String) {
    fs::write(home.path("agentd.toml"), config).unwrap();
    let done = agentd(&["reload", "--state-dir", &home.path("state").display().to_string()]);
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

/// What the audit tells of reloads, once it tells so much.
pub(crate) fn audited(state: &Path, count: usize) -> Vec<Value> {
    for _ in 0..PAUSES {
        let mut told = lines(state);
        told.retain(|line| line["method"] == "reload");
        if told.len() >= count {
            assert_eq!(told.len(), count, "{told:?}");
            return told;
        }
        pause();
    }
    panic!("{count} lines of reloads are not there: {:?}", lines(state));
}

fn fields(line: &Value) -> Vec<String> {
    let word = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    let told = |change| {
        format!("{} {} -> {}", word(change, "field"), word(change, "old"), word(change, "new"))
    };
    line["changes"].as_array().into_iter().flatten().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_in_the_audit_with_who_what_before_and_after_or_why_not() {
    let home = Home::new();
    let agent = home.start().await;
    let own = format!("uid:{}", rustix::process::geteuid().as_raw());
    assert_eq!(command(&home, ""), (Some(0), String::new()));
    let config = "[authz]\nlocal_admin_uids = [0, 61000]\n[policy]\nfloor = \"96MiB\"\n";
    assert_eq!(command(&home, config), (Some(0), String::new()));
    assert_eq!(command(&home, config), (Some(0), String::new()));
    // What changes nothing is no change, and the answer came once all of this was on disk.
    let told = audited(&home.path("state"), 2);
    let expected = ["authz.local_admin_uids 0 -> 0, 61000", "policy.floor_bytes 64 MiB -> 96 MiB"];
    for (line, kind) in told.iter().zip(["intent", "outcome"]) {
        assert_eq!((&line["kind"], &line["who"]), (&kind.into(), &own.as_str().into()));
        assert_eq!((&line["target"], &line["before"]["revision"]), (&"config".into(), &"1".into()));
        assert_eq!(fields(line), expected);
    }
    assert_eq!(told[0]["change"], told[1]["change"]);
    assert_eq!((&told[1]["outcome"], &told[1]["after"]["revision"]), (&"OK".into(), &"2".into()));

    // A live policy stays in force, so that only the file's has changed.
    agent.set_floor(80 * MIB).await.unwrap();
    assert_eq!(command(&home, "[policy]\nfloor = \"97MiB\"\n").0, Some(0));
    let told = audited(&home.path("state"), 4);
    let admins = "authz.local_admin_uids 0, 61000 -> 0";
    assert_eq!(fields(&told[2]), [admins, "policy.floor_bytes 96 MiB -> 97 MiB"]);
    assert_eq!(fields(&told[3]), [admins]);
    assert_eq!(told[3]["before"], told[3]["after"]);

    // One that makes no sense changes nothing, and one is refused by what the host has.
    assert_eq!(command(&home, "hosst = \"\"\n").0, Some(1));
    let refused = audited(&home.path("state"), 5).remove(4);
    assert_eq!((&refused["kind"], &refused["decision"]), (&"denial".into(), &"refused".into()));
    assert_eq!((&refused["outcome"], &refused["who"]), (&"CONFIG_REJECTED".into(), &own.into()));
    assert!(refused["detail"].as_str().unwrap().contains("agentd.toml:1: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_refused_once_it_was_begun_says_that_nothing_has_changed() {
    let home = Home::new();
    let agent = home.start().await;
    agent.until_ticks_go_on().await;
    assert_eq!(command(&home, "[policy]\nhost_reserve = \"3000GiB\"\n").0, Some(1));
    let told = audited(&home.path("state"), 2);
    assert_eq!(fields(&told[0]), ["policy.host_reserve_bytes 200 MiB -> 3000 GiB"]);
    assert_eq!(
        (&told[1]["outcome"], &told[1]["kind"]),
        (&"CONFIG_REJECTED".into(), &"outcome".into())
    );
    assert!(told[1].get("after").is_none() && fields(&told[1]).is_empty(), "{}", told[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_cannot_be_written_down_is_not_made() {
    let home = Home::new();
    let agent = home.start().await;
    let floor = agent.floor().await;
    let (file, aside) = (home.path("state").join("audit.jsonl"), home.path("aside"));
    fs::hard_link(&file, &aside).unwrap();
    symlink("/nowhere/audit", home.path("gone")).unwrap();
    fs::rename(home.path("gone"), &file).unwrap();
    let config = "[policy]\nfloor = \"96MiB\"\n";
    let (code, said) = command(&home, config);
    assert_eq!(code, Some(1));
    assert!(said.contains("because it cannot be written into the audit"), "{said}");
    assert_eq!(agent.floor().await, floor);
    agent.until_condition("CONFIG_REJECTED", true).await;

    fs::rename(&aside, &file).unwrap();
    assert_eq!(command(&home, config), (Some(0), String::new()));
    assert_eq!(agent.floor().await, 96 * MIB);
    // The one that was not made is told of as well, late.
    let told = audited(&home.path("state"), 3);
    let outcomes: Vec<_> = told.iter().map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, [Some("AUDIT_NOT_DURABLE"), None, Some("OK")]);
}
