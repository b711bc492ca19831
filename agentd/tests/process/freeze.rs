//! The freeze file: no order while it is there, whatever else is wrong.

use std::fs;

use agentd_proto::v1 as wire;
use tonic::transport::Channel;
use wire::{Mode, vm_service_client::VmServiceClient};

use crate::rig::{Agent, Home, Ticks, agentd, giving, pause};

fn config(home: &Home) -> String {
    format!("[state]\nfreeze_file = \"{}\"\n", home.path("freeze").display())
}

/// Whether anything was ordered in each of some ticks that began after now.
async fn ordered_in_next_ticks(agent: &Agent) -> Vec<bool> {
    let mut ticks = Ticks::of(agent).await;
    // The one after the last that is over may be under way; the last may not have been told yet.
    let begun = agent.status().await.unwrap().tick.unwrap_or(0) + 1;
    let mut ordered = Vec::new();
    while ordered.len() < 8 {
        let told = ticks.next().await;
        if told.tick.tick > begun {
            ordered.push(told.has_ordered());
        }
    }
    ordered
}

/// What the answers say of the freeze file: of the status, of the list of VMs and of the explanation of one.
async fn said(agent: &Agent, vms: &mut VmServiceClient<Channel>) -> [Option<String>; 3] {
    let status = agent.status().await.unwrap();
    let list = vms.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner();
    let told = vms.explain_vm(of_vm1()).await.unwrap().into_inner();
    [status.conditions, list.conditions, told.conditions].map(|conditions| {
        let frozen = conditions.into_iter().find(|one| one.reason == "FROZEN")?;
        Some(frozen.message)
    })
}

fn of_vm1() -> wire::ExplainVmRequest {
    wire::ExplainVmRequest { vm: "vm1".to_owned(), ..Default::default() }
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
    while vms.explain_vm(of_vm1()).await.is_err() {
        pause();
    }
    fs::create_dir(home.path("freeze")).unwrap();
    // An answer waits 100 ms for the file system at most, which can be too short on a busy machine.
    let mut tries = 0;
    let messages = loop {
        let said = said(&agent, &mut vms).await;
        if let [Some(first), Some(second), Some(third)] = said {
            break [first, second, third];
        }
        tries += 1;
        assert!(tries < TRIES, "{said:?}");
        pause();
    };
    for message in messages {
        let rmdir = format!("\"rmdir {}\" ends this", home.path("freeze").display());
        assert!(message.contains(&rmdir), "{message}");
    }
    home.until_log("is there: nothing is decided");
    fs::remove_dir(home.path("freeze")).unwrap();
    let mut tries = 0;
    while said(&agent, &mut vms).await != [None, None, None] {
        tries += 1;
        assert!(tries < TRIES, "it is not said that the file is gone");
        pause();
    }
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

/// Answers to one of which a look at the file system comes in time, and all of them before the next tick.
const TRIES: usize = 500;
