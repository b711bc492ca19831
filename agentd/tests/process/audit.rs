//! The audit of agentd as a process: over kills, on a disk that takes nothing, and after somebody's hand.

use std::{fs, path::Path, process::Output};

use serde_json::Value;
use tonic_types::StatusExt as _;

use agentd_proto::v1 as wire;
use wire::Mode;

use crate::{
    disk::SmallDisk,
    rig::{Agent, Home, agentd, pause},
};

fn verify(dir: &Path) -> Output {
    agentd(&["audit", "verify", dir.to_str().unwrap()])
}

fn assert_whole(dir: &Path) {
    let verified = verify(dir);
    let told = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success(), "{told}");
}

/// What it says, an object a line.
pub(crate) fn lines(dir: &Path) -> Vec<Value> {
    let shown = agentd(&["audit", "show", "-o", "jsonl", dir.to_str().unwrap()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Changes go on until agentd is killed, at any moment; the files are small, so that it is killed while one
/// begins, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_a_whole_chain_with_all_that_was_acknowledged() {
    let small = |_: &Home| "[audit]\nsize = \"128KiB\"\nfiles = 50\n".to_owned();
    let home = Home::with(crate::rig::SCENARIO, small);
    let state = home.path("state");
    let (mut floor, mut acknowledged, mut begun) = (64 << 20, 0, 0);
    for round in 0..12_u32 {
        let before = acknowledged;
        let agent = home.start().await;
        // However busy the machine is, there is one to lose.
        agent.set_floor(floor + 1).await.unwrap();
        floor += 1;
        acknowledged += 1;
        let pid = agent.pid().to_string();
        let killer = std::thread::spawn(move || {
            (0..round).for_each(|_| pause());
            std::process::Command::new("kill").args(["-s", "KILL", &pid]).status().unwrap();
        });
        while agent.set_floor(floor + 1).await.is_ok() {
            floor += 1;
            acknowledged += 1;
        }
        floor += 1;
        begun += usize::from(acknowledged > before);
        killer.join().unwrap();
        agent.kill();
        assert_whole(&state);
    }
    home.start().await.kill();
    assert_whole(&state);
    let lines = lines(&state);
    let of = |what: fn(&Value) -> bool| lines.iter().filter(|line| what(line)).count();
    let made = of(|line| line["kind"] == "outcome" && line["outcome"] == "OK");
    let intended = of(|line| line["kind"] == "intent");
    assert!(made >= acknowledged, "{made} of {acknowledged}");
    assert!(intended >= made && intended <= acknowledged + 12, "{intended} of {acknowledged}");
    // A start is told before any change, and by one that is killed before it makes any perhaps not at all.
    let starts = of(|line| line["kind"] == "start");
    assert!((begun..=13).contains(&starts), "{starts} of {begun}");
}

/// Asks for changes until one is refused because of the audit: the last block of a file has some room
/// left when the disk is full.
async fn until_refused(agent: &Agent) {
    for floor in 70..110 {
        let refused = agent.set_floor(floor << 20).await.unwrap_err();
        let details = refused.get_error_details();
        if details.error_info().is_some_and(|info| info.reason == "AUDIT_NOT_DURABLE") {
            assert!(refused.message().contains("see to "), "{refused}");
            return;
        }
    }
    panic!("the audit has room without end");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_changes_are_refused_and_a_pause_is_written_once_there_is_room() {
    let home = Home::new();
    let Some(disk) = SmallDisk::new(&home, "the_audit_on_a_full_disk") else { return };
    let agent = disk.start(&home).await;
    agent.set_floor(65 << 20).await.unwrap();
    disk.fill();
    until_refused(&agent).await;
    assert_eq!(agent.floor().await, 65 << 20);
    assert_eq!(agent.set_mode(Mode::Paused).await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("AUDIT_LOST").await);
    agent.until_ticks_go_on().await;
    home.until_log("the audit cannot be written");

    disk.empty();
    agent.until_condition("AUDIT_LOST", false).await;
    agent.set_floor(66 << 20).await.unwrap();
    agent.kill();
    let copied = home.path("copied");
    disk.copy_state(&copied);
    assert_whole(&copied);
    let lines = lines(&copied);
    assert!(lines.iter().any(|line| line["kind"] == "missed"), "{lines:?}");
    let is_pause = |line: &&Value| line["outcome"] == "OK" && line["after"]["mode"] == "paused";
    assert_eq!(lines.iter().filter(is_pause).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_a_pause_holds_and_is_written_once_it_can_be() {
    let home = Home::new();
    let Some(disk) = SmallDisk::new(&home, "the_audit_on_a_read_only_disk") else { return };
    disk.start(&home).await.kill();
    disk.remount("ro");
    let agent = disk.start(&home).await;
    until_refused(&agent).await;
    assert_eq!(agent.set_mode(Mode::Paused).await.unwrap().mode(), Mode::Paused);
    assert!(agent.has_condition("AUDIT_LOST").await);
    disk.remount("rw");
    agent.until_condition("AUDIT_LOST", false).await;
    agent.kill();
    let copied = home.path("copied");
    disk.copy_state(&copied);
    assert_whole(&copied);
    let is_pause = |line: &Value| line["outcome"] == "OK" && line["after"]["mode"] == "paused";
    assert!(lines(&copied).iter().any(is_pause));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_show_need_no_agentd_and_say_where_somebody_was() {
    let home = Home::new();
    let state = home.path("state");
    let agent = home.start().await;
    agent.set_floor(65 << 20).await.unwrap();
    agent.set_mode(Mode::Paused).await.unwrap();
    assert_whole(&state);
    agent.kill();
    let told = String::from_utf8(verify(&state).stdout).unwrap();
    assert!(told.contains(": whole: 5 lines in 1 files, seq 1 to 5, "), "{told}");
    assert!(told.contains("\n2 changes made; 0 calls refused, 0 denied"), "{told}");
    let shown = agentd(&["audit", "show", "--since", "1h", state.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("SetMode") && shown.contains("mode active -> "), "{shown}");
    assert!(shown.contains("floor_bytes 64 MiB -> 65 MiB"), "{shown}");

    let file = state.join("audit.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("65 MiB", "64 MiB", 1)).unwrap();
    let found = verify(&state);
    let told = String::from_utf8(found.stderr).unwrap();
    assert_eq!(found.status.code(), Some(1));
    let expected = format!("agentd: {}:2: seq 2: this line was changed", file.display());
    assert!(told.starts_with(&expected), "{told}");

    let nothing = verify(home.dir.path());
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("there is no audit in "));
    let bad = agentd(&["audit", "show", "--since", "yesterday", state.to_str().unwrap()]);
    assert!(
        String::from_utf8(bad.stderr).unwrap().contains("--since yesterday: write how long ago")
    );
}
