//! The units of systemd: it takes them as they are, and they fence agentd in. No systemd needs to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentd_tests::programs::Programs;

use crate::sim_host::{Answer, run};

/// `None` where this machine has no systemd, which `make test` as root installs.
fn systemd(test: &str) -> Option<Command> {
    if Path::new("/usr/bin/systemd-analyze").exists() {
        let mut command = Command::new("/usr/bin/systemd-analyze");
        command.env("LC_ALL", "C");
        return Some(command);
    }
    crate::skip(test, "there is no systemd-analyze (see tests/install.sh)");
    None
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// What systemd has to say of the units, with one word replaced.
fn verify(mut command: Command, word: &str, by: &str) -> Answer {
    // It looks whether the programs are there.
    let agentd = Programs::built().expect("cargo builds agentd").agentd.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let files = ["agentd.service", "agentd.socket"].map(|name| {
        let unit = fs::read_to_string(units().join(name)).unwrap();
        let unit = unit.replace("/usr/sbin/agentd", &agentd).replace(word, by);
        let file = folder.path().join(name);
        fs::write(&file, unit).unwrap();
        file
    });
    run(command.args(["verify", "--man=no"]).args(files))
}

#[test]
fn systemd_takes_the_units_as_they_are() {
    let Some(command) = systemd("systemd_takes_the_units") else { return };
    let said = verify(command, "", "");
    assert_eq!((said.exit, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
    // It would say where it does not.
    let Some(command) = systemd("systemd_takes_the_units") else { return };
    let said = verify(command, "WatchdogSec", "WatchdogSek");
    assert!(
        said.stderr.contains("Unknown key name 'WatchdogSek'")
            || said.stderr.contains("Unknown key 'WatchdogSek'"),
        "{said:?}"
    );
}

#[test]
fn the_service_is_fenced_in_as_far_as_its_work_allows() {
    let Some(mut command) = systemd("the_service_is_fenced_in") else { return };
    let unit = units().join("agentd.service");
    // Tenths: 2.5 is the most.
    let judged = run(command.args(["security", "--offline=true", "--threshold=25"]).arg(&unit));
    assert_eq!(judged.exit, Some(0), "{}{}", judged.stdout, judged.stderr);
    assert!(judged.stdout.contains("Overall exposure level for agentd.service"), "{judged:?}");
}

/// What other pages promise of the unit, and nothing that systemd would see.
#[test]
fn the_service_keeps_what_an_operator_relies_on() {
    let unit = fs::read_to_string(units().join("agentd.service")).unwrap();
    for line in [
        "Type=notify",
        "ExecStart=/usr/sbin/agentd run",
        "ExecReload=/usr/sbin/agentd reload",
        "WatchdogSec=30s",
        "Restart=always",
        "User=agentd",
        "OOMScoreAdjust=-900",
        "LimitMEMLOCK=infinity",
        "StateDirectory=agentd",
        "RuntimeDirectory=agentd",
        "RuntimeDirectoryPreserve=yes",
    ] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    // Processes of VMs belong to others, and their figures are in /proc.
    assert!(!unit.lines().any(|own| own.starts_with("ProtectProc=")));
}
