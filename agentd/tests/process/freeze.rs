//! The freeze file: no order while it is there, whatever else is wrong.

use std::fs;

use agentd_proto::v1 as wire;
use wire::Mode;

use crate::rig::{Agent, Home, Ticks, giving};

fn config(home: &Home) -> String {
    format!("[state]\nfreeze_file = \"{}\"\n", home.path("freeze").display())
}

/// Ticks that began after now, the first of which may have begun before.
async fn ordered_in_next_ticks(agent: &Agent) -> Vec<bool> {
    let mut ticks = Ticks::of(agent).await;
    ticks.next().await;
    let mut ordered = Vec::new();
    for _ in 0..8 {
        ordered.push(ticks.next().await.has_ordered());
    }
    ordered
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_starts_while_the_file_is_there_also_over_restarts() {
    let home = Home::with(&giving("ideal = true"), config);
    let agent = home.start().await;
    assert!(ordered_in_next_ticks(&agent).await.contains(&true), "nothing is ever ordered here");

    fs::write(home.path("freeze"), "").unwrap();
    assert!(!ordered_in_next_ticks(&agent).await.contains(&true));
    agent.until_condition("FROZEN", true).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active, "the mode is as it was");
    let file = home.path("freeze").display().to_string();
    home.until_log(&format!("{file} is there"));
    // No mode ends it.
    agent.set_mode(Mode::Observe).await.unwrap();
    agent.set_mode(Mode::Active).await.unwrap();
    assert!(!ordered_in_next_ticks(&agent).await.contains(&true));
    agent.kill();

    let agent = home.start().await;
    let mut ticks = Ticks::since_start(&agent).await;
    for _ in 0..8 {
        let tick = ticks.next().await;
        assert!(!tick.has_ordered());
        assert_eq!(tick.tick.mode(), Mode::Paused, "a tick as in mode paused");
        assert!(!tick.tick.vms.is_empty(), "which shows figures all the same");
    }
    agent.until_condition("FROZEN", true).await;
    fs::remove_file(home.path("freeze")).unwrap();
    agent.until_condition("FROZEN", false).await;
    assert!(ordered_in_next_ticks(&agent).await.contains(&true));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_while_the_hypervisor_hangs() {
    let silent = "silent = [{ from = \"2s\" }]";
    let home = Home::with(&giving(silent), config);
    let agent = home.start().await;
    agent.until_condition("HYPERVISOR_LOST", true).await;
    fs::write(home.path("freeze"), "").unwrap();
    agent.until_condition("FROZEN", true).await;
    fs::remove_file(home.path("freeze")).unwrap();
    agent.until_condition("FROZEN", false).await;
}
