use std::fs;

use crate::coordinator::set_mode;
use crate::coordinator_restart::mode;
use crate::faults_rig::{Rig, STATE, Setup, brief};

/// The kill switch works when nothing else does, and holds over a restart of agentd.
#[test]
fn a_pause_holds_with_libvirtd_hung_and_the_disk_full() {
    let state = "/run/lab/small/agentd";
    let setup = Setup { state, disk_kib: Some(4096), ..Setup::default() };
    let Some(mut rig) = Rig::open_as("a_pause_holds_with_libvirtd_hung", setup) else { return };
    rig.need();
    rig.until_fed();
    rig.host.freeze_libvirtd().unwrap();
    fill(&rig);
    set_mode(rig.memctl(), "paused");
    assert_eq!(mode(rig.memctl()), "paused");
    rig.kill_agentd();
    rig.start_agentd();
    assert_eq!(mode(rig.memctl()), "paused", "{}", rig.agent.log().unwrap());
    rig.host.thaw_libvirtd().unwrap();
    rests(&mut rig);

    shell(&rig, "rm /run/lab/small/fill");
    set_mode(rig.memctl(), "active");
    rig.need();
    rig.until_fed();
    rig.held();
}

/// Whatever the database has become while agentd was away: it might have said to pause. The file is
/// kept aside and nothing is ordered until somebody says so.
#[test]
fn a_state_that_cannot_be_read_moves_no_memory() {
    let Some(mut rig) = Rig::open("a_state_that_cannot_be_read_moves_no_memory") else { return };
    for (how, ruin) in RUINS {
        rig.need();
        rig.until_fed();
        rig.kill_agentd();
        let folder = rig.host.space().path(STATE);
        let file = folder.join("agentd.db");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, ruin(bytes)).unwrap();
        for journal in ["agentd.db-wal", "agentd.db-shm", "agentd.db-journal"] {
            let _ = fs::remove_file(folder.join(journal));
        }
        let aside = aside(&rig);
        rig.start_agentd();
        assert_eq!(mode(rig.memctl()), "paused", "{how}: {}", rig.agent.log().unwrap());
        assert!(rig.conditions().contains(&"STATE_LOST".to_owned()), "{how}: {}", rig.status());
        assert_eq!(self::aside(&rig), aside + 1, "{how}: the file is kept");
        rests(&mut rig);
        rig.set_policy();
        set_mode(rig.memctl(), "active");
    }
    rig.until_fed();
    rig.held();
}

/// Figures are read, and nothing is ordered.
fn rests(rig: &mut Rig) {
    let read = rig.feed.until("a reading", 30, |tick| tick["error"] == "").unwrap();
    let ticks = [read, rig.feed.ticks(4).unwrap()].concat();
    let quiet = |tick: &serde_json::Value| tick["resizes"] == serde_json::json!([]);
    assert!(ticks.iter().all(quiet), "{}", brief(&ticks));
}

/// How many files agentd has moved aside.
fn aside(rig: &Rig) -> usize {
    let entries = fs::read_dir(rig.host.space().path(STATE)).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(".corrupt-") || name.contains(".newer-")).count()
}

fn fill(rig: &Rig) {
    // Fails when the disk is full, which is what it is for.
    shell(
        rig,
        "dd if=/dev/zero of=/run/lab/small/fill bs=64k; \
                dd if=/dev/zero bs=1 >>/run/lab/small/fill; true",
    );
}

fn shell(rig: &Rig, script: &str) {
    let said = rig.host.command("sh").args(["-c", script]).output().unwrap();
    assert!(said.status.success(), "{script}: {}", String::from_utf8_lossy(&said.stderr));
}

/// What becomes of a file.
type Ruin = fn(Vec<u8>) -> Vec<u8>;

const RUINS: [(&str, Ruin); 4] = [
    ("emptied", |_| Vec::new()),
    ("cut in half", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("garbage", |bytes| bytes.iter().map(|byte| byte ^ 0x5a).collect()),
    // SQLite's user version: the number of the schema.
    ("of a newer agentd", |mut bytes| {
        bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
        bytes
    }),
];
