//! What was acknowledged is there after the hardest of stops.

use agentd_proto::v1 as wire;
use wire::Mode;

use crate::rig::{Home, agentd};

/// Policy and mode are changed in turn, agentd is killed right after an acknowledgement, one change
/// later each round, and holds after each start what was acknowledged last.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_changes_survive_sigkill() {
    let home = Home::new();
    let (mut floor, mut mode) = (64 << 20, Mode::Active);
    for round in 0..12 {
        let agent = home.start().await;
        assert_eq!(agent.floor().await, floor, "round {round}");
        assert_eq!(agent.status().await.unwrap().mode(), mode, "round {round}");
        for change in 0..round {
            if change % 2 == 0 {
                floor += 1;
                agent.set_floor(floor).await.unwrap();
            } else {
                mode = if mode == Mode::Paused { Mode::Active } else { Mode::Paused };
                assert!(agent.set_mode(mode).await.unwrap().durable);
            }
        }
        agent.kill();
    }
}

/// The same with the kill at any moment: another thread does it while changes go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_the_last_change_or_the_one_under_way() {
    let home = Home::new();
    let mut floor: u64 = 64 << 20;
    for round in 0..10_u64 {
        let agent = home.start().await;
        let found = agent.floor().await;
        assert!((floor..=floor + 1).contains(&found), "round {round}: {found}, not {floor}");
        // However busy the machine is, there is one to lose.
        floor = found + 1;
        agent.set_floor(floor).await.unwrap();
        let pid = agent.pid().to_string();
        let killer = std::thread::spawn(move || {
            for _ in 0..round {
                crate::rig::pause();
            }
            std::process::Command::new("kill").args(["-s", "KILL", &pid]).status().unwrap();
        });
        while agent.set_floor(floor + 1).await.is_ok() {
            floor += 1;
        }
        killer.join().unwrap();
        agent.kill();
    }
    assert!(home.start().await.floor().await >= floor, "what was acknowledged is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_although_agentd_was_killed_in_it() {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_floor(65 << 20).await.unwrap();
    agent.try_floor(66 << 20, Some(1)).await.unwrap();
    agent.kill();
    let agent = home.start().await;
    agent.until_floor(65 << 20).await;
    agent.kill();
    assert_eq!(home.start().await.floor().await, 65 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_agentd_of_a_state_directory_says_who_is_first() {
    let home = Home::new();
    let agent = home.start().await;
    let arguments = home.arguments(&home.path("state"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let second = agentd(&arguments);
    let problem = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(75), "{problem}");
    let who = format!("agentd: another agentd (pid {}) runs on ", agent.pid());
    assert!(problem.starts_with(&who), "{problem}");
    agent.status().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_database_means_paused_until_somebody_says_otherwise() {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_floor(65 << 20).await.unwrap();
    agent.kill();
    std::fs::write(home.path("state/agentd.db"), "").unwrap();

    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("STATE_LOST").await);
    agent.until_ticks_go_on().await;
    agent.kill();

    let agent = home.start().await;
    assert!(agent.has_condition("STATE_LOST").await);
    agent.set_mode(Mode::Active).await.unwrap();
    assert!(!agent.has_condition("STATE_LOST").await);
    agent.kill();
    assert_eq!(home.start().await.status().await.unwrap().mode(), Mode::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_history_costs_no_more_than_itself() {
    let home = Home::new();
    let agent = home.start().await;
    agent.set_mode(Mode::Observe).await.unwrap();
    agent.kill();
    std::fs::write(home.path("state/history.db"), "nonsense".repeat(1000)).unwrap();
    for old in ["history.db-wal", "history.db-shm"] {
        let _ = std::fs::remove_file(home.path("state").join(old));
    }
    let agent = home.start().await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Observe);
    agent.until_ticks_go_on().await;
    assert!(!agent.has_condition("HISTORY_NOT_RECORDED").await);
    agent.kill();

    // One that cannot be opened at all: a condition, and ticks go on.
    std::fs::remove_file(home.path("state/history.db")).unwrap();
    std::fs::create_dir(home.path("state/history.db")).unwrap();
    let agent = home.start().await;
    agent.until_condition("HISTORY_NOT_RECORDED", true).await;
    agent.until_ticks_go_on().await;
}
