use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use agentd_tests::lab::{Space, clock};

use crate::open_lab;

#[test]
fn hosts_reach_one_another_by_name_until_a_cable_is_cut() {
    let Some(lab) = open_lab("hosts_reach_one_another_by_name_until_a_cable_is_cut") else {
        return;
    };
    let fleet = lab.fleet(&["node1", "node2"]).unwrap();
    let [node1, node2] = fleet.hosts() else { panic!("two hosts were asked for") };

    until_reached(fleet.workstation(), "node1");
    until_reached(fleet.workstation(), "node2");
    until_reached(node1.space(), "node2");
    fleet.cut("node2").unwrap();
    assert!(!reaches(fleet.workstation(), "node2"));
    until_reached(fleet.workstation(), "node1");
    fleet.mend("node2").unwrap();
    until_reached(fleet.workstation(), "node2");

    assert_eq!(node1.virsh(&["hostname"]).unwrap().trim(), "node1");
    assert_eq!(said(node2.command("virsh").args(["-c", "qemu:///system", "hostname"])), "node2");
    let uuid = |host: &agentd_tests::lab::Host| {
        let printed = host.virsh(&["capabilities"]).unwrap();
        printed.lines().find(|line| line.contains("<uuid>")).map(str::to_owned)
    };
    assert_ne!(uuid(node1), uuid(node2), "each is a machine of its own to libvirt");
    assert!(fleet.address("node3").is_err());
}

#[test]
fn a_program_runs_on_a_host_and_ends_as_told() {
    let Some(lab) = open_lab("a_program_runs_on_a_host_and_ends_as_told") else {
        return;
    };
    let host = lab.host("node1").unwrap();

    let mut program = Command::new("sh");
    program.args([
        "-c",
        "echo on $(uname -n) as $ROLE; trap 'exit 3' TERM; while :; do sleep 0.1; done",
    ]);
    program.env("ROLE", "agent");
    let mut agent = host.start("agent", &program).unwrap();
    clock::wait_until("its first line", PATIENCE, || Ok(agent.log()?.contains('\n'))).unwrap();
    assert_eq!(agent.log().unwrap(), "on node1 as agent\n");
    assert!(agent.ended().unwrap().is_none());
    agent.signal("TERM").unwrap();
    assert_eq!(agent.wait(PATIENCE).unwrap().code(), Some(3), "its own exit code");

    let mut again = host.start("agent", Command::new("sleep").arg("1000")).unwrap();
    again.signal("KILL").unwrap();
    assert_eq!(again.wait(PATIENCE).unwrap().signal(), Some(9), "its own end");
}

/// On a busy machine an answer may come too late.
fn until_reached(from: &Space, name: &str) {
    clock::wait_until("an answer by the cable", PATIENCE, || Ok(reaches(from, name))).unwrap();
}

fn reaches(from: &Space, name: &str) -> bool {
    let mut ping = from.command("busybox");
    ping.args(["ping", "-c", "1", "-W", "1", name]).output().unwrap().status.success()
}

fn said(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

/// For what takes moments on an idle machine and longer on a busy one.
const PATIENCE: Duration = Duration::from_secs(120);
