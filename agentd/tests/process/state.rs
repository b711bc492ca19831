//! A state that cannot be read: agentd starts paused, says why, and keeps it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use agentd_proto::v1 as wire;
use wire::Mode;

use crate::rig::{AGENTD, Home};

type Damage = fn(&Path);

/// A home with a policy that somebody has set.
async fn used() -> Home {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_floor(65 << 20).await.unwrap();
    agent.kill();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_aside_and_agentd_is_paused_with_the_reason() {
    let damages: [(&str, Damage, &str); 5] = [
        ("corrupt", |db| fs::write(db, "nonsense".repeat(1000)).unwrap(), "corrupt-1"),
        ("truncated", |db| truncate(db, 5000), "corrupt-1"),
        ("zero-length", |db| truncate(db, 0), "corrupt-1"),
        ("newer", make_newer, "newer-1"),
        ("a directory", put_directory, "unreadable-1"),
    ];
    for (what, damage, aside) in damages {
        let home = used().await;
        let db = home.path("state/agentd.db");
        damage(&db);
        let left = fs::read(&db).ok();

        let agent = home.start().await;
        let status = agent.status().await.unwrap();
        assert_eq!(status.mode(), Mode::Paused, "{what}");
        let lost = status.conditions.iter().find(|condition| condition.reason == "STATE_LOST");
        let message = lost.unwrap_or_else(|| panic!("{what}: no condition")).message.clone();
        let kept = home.path(&format!("state/agentd.db.{aside}"));
        assert!(message.contains(&kept.display().to_string()), "{what}: {message}");
        assert!(home.log().contains("STATE_LOST"), "{what}: {}", home.log());
        assert_eq!(fs::read(&kept).ok(), left, "{what}: it was kept as it was");
        agent.until_ticks_go_on().await;
        assert!(agent.set_mode(Mode::Active).await.unwrap().durable, "{what}");
        assert!(!agent.has_condition("STATE_LOST").await, "{what}");
        assert_eq!(fs::read(&kept).ok(), left, "{what}");
        agent.kill();
    }
}

/// Readable by root alone, for an agentd of another user.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_kept_aside_too() {
    let home = used().await;
    let db = home.path("state/agentd.db");
    fs::set_permissions(&db, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(AGENTD);
    if fs::File::open(&db).is_ok() {
        // Root reads everything: somebody else has to try.
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(home.dir.path(), everybody.clone()).unwrap();
        fs::set_permissions(home.path("state"), everybody).unwrap();
        for name in ["lock", "history.db"] {
            let all = fs::Permissions::from_mode(0o666);
            fs::set_permissions(home.path("state").join(name), all).unwrap();
        }
        // The last one's socket is for its owner to remove.
        fs::remove_file(home.path("agentd.sock")).unwrap();
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", AGENTD]);
    }
    command.args(home.arguments(&home.path("state")));
    let agent = home.start_as(command).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("STATE_LOST").await);
    assert!(home.path("state/agentd.db.unreadable-1").exists(), "{}", home.log());
    agent.until_ticks_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_is_a_lost_state_and_a_new_directory_is_none() {
    let home = used().await;
    fs::remove_file(home.path("state/agentd.db")).unwrap();
    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("STATE_LOST").await);
    assert!(home.log().contains("it is not there, and agentd was here before"), "{}", home.log());
    agent.set_mode(Mode::Active).await.unwrap();
    agent.until_condition("STATE_LOST", false).await;
    agent.kill();

    // The lock alone is enough: both databases are gone.
    for name in ["agentd.db", "history.db"] {
        fs::remove_file(home.path("state").join(name)).unwrap();
    }
    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    agent.kill();

    fs::remove_dir_all(home.path("state")).unwrap();
    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active);
    assert!(!agent.has_condition("STATE_LOST").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_is_more_cautious_than_the_mode_that_was_set_wins_for_its_run() {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_mode(Mode::Active).await.unwrap();
    agent.kill();
    let with = |mode: &str| {
        let mut command = Command::new(AGENTD);
        command.args(home.arguments(&home.path("state"))).args(["--mode", mode]);
        command
    };
    let agent = home.start_as(with("observe")).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Observe);
    assert!(home.log().contains("mode observe is in force for this run"), "{}", home.log());
    agent.set_mode(Mode::Paused).await.unwrap();
    agent.kill();
    let agent = home.start_as(with("active")).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("MODE_FLAG_IGNORED").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_breaks_under_a_running_agentd_is_told_and_only_a_pause_is_accepted() {
    let home = used().await;
    let agent = home.start().await;
    fs::remove_dir_all(home.path("state")).unwrap();
    agent.set_mode(Mode::Observe).await.unwrap_err();
    agent.until_condition("STATE_NOT_WRITABLE", true).await;
    let paused = agent.set_mode(Mode::Paused).await.unwrap();
    assert_eq!((paused.mode(), paused.durable), (Mode::Paused, false));
    agent.kill();

    let home = used().await;
    let agent = home.start().await;
    fs::write(home.path("state/agentd.db"), "nonsense".repeat(8000)).unwrap();
    agent.set_floor(66 << 20).await.unwrap_err();
    agent.until_condition("STATE_NOT_WRITABLE", true).await;
    home.until_log("policy and mode cannot be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_history_is_left_alone_and_ticks_go_on() {
    let home = used().await;
    let history = home.path("state/history.db");
    make_newer(&history);
    let before = fs::read(&history).unwrap();
    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active);
    agent.until_condition("HISTORY_NOT_RECORDED", true).await;
    agent.until_ticks_go_on().await;
    assert_eq!(fs::read(&history).unwrap(), before);
}

fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// As a newer agentd would mark it, and then close it.
fn make_newer(path: &Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    db.close().unwrap();
}

fn put_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}
