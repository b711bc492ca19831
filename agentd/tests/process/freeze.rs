//! The freeze file: no order while it is there, whatever else is wrong.

use std::fs;

use agentd_proto::v1 as wire;
use wire::{Mode, vm_service_client::VmServiceClient};

use crate::rig::{Agent, Home, Ticks, agentd, giving, pause};

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
        assert_eq!(tick.tick.frozen, home.path("freeze").display().to_string());
    }
    agent.until_condition("FROZEN", true).await;
    fs::remove_file(home.path("freeze")).unwrap();
    agent.until_condition("FROZEN", false).await;
    assert!(ordered_in_next_ticks(&agent).await.contains(&true));
}

/// With ticks a minute apart: every answer looks for itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_said_at_once_in_every_answer() {
    let slow =
        giving("ideal = true").replace("tick_interval = \"100ms\"", "tick_interval = \"60s\"");
    let home = Home::with(&slow, config);
    let agent = home.start().await;
    let mut vms = VmServiceClient::new(agent.channel().await.unwrap());
    let ask = wire::ExplainVmRequest { vm: "vm1".to_owned(), ..Default::default() };
    while vms.explain_vm(ask.clone()).await.is_err() {
        pause();
    }
    fs::create_dir(home.path("freeze")).unwrap();
    let status = agent.status().await.unwrap();
    let list = vms.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner();
    let told = vms.explain_vm(ask.clone()).await.unwrap().into_inner();
    for conditions in [&status.conditions, &list.conditions, &told.conditions] {
        let frozen = conditions.iter().find(|one| one.reason == "FROZEN").unwrap();
        let rmdir = format!("\"rmdir {}\" ends this", home.path("freeze").display());
        assert!(frozen.message.contains(&rmdir), "{}", frozen.message);
    }
    home.until_log("is there: nothing is decided");
    fs::remove_dir(home.path("freeze")).unwrap();
    assert!(!agent.has_condition("FROZEN").await);
    assert_eq!(vms.explain_vm(ask).await.unwrap().into_inner().conditions, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_path_is_told_and_one_that_cannot_be_made_is_refused() {
    let home = Home::with(&giving("ideal = true"), config);
    let agent = home.start().await;
    let file = home.path("freeze").display().to_string();
    assert_eq!(agent.status().await.unwrap().freeze_file, file);
    home.until_log(&format!("freeze_file=\"{file}\""));
    agent.kill();
    let mistyped = home.path("mistyped/freeze").display().to_string();
    fs::write(home.path("agentd.toml"), format!("[state]\nfreeze_file = \"{mistyped}\"\n"))
        .unwrap();
    let config = home.path("agentd.toml").display().to_string();
    let mut run = home.arguments(&home.path("state"));
    let check = ["check-config".to_owned(), config];
    for arguments in [&check[..], run.as_mut_slice()] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = agentd(&arguments);
        let problem = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{problem}");
        let why = format!("there is no directory {}", home.path("mistyped").display());
        assert!(problem.contains(&why), "{problem}");
    }
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
