//! The package under a systemd that runs: in a clean Debian, in namespaces of its own.

use std::fs;

use agentd_tests::lab::clock;

use crate::clean_debian::{Booted, Debian};
use crate::packages::package;
use crate::sim_host::{LONG, SCENARIO};

/// On a simulated host, and with the shortest watchdog that the ticks of one allow.
const DROP_IN: &str = "[Service]\nExecStart=\n\
                       ExecStart=/usr/sbin/agentd run --hypervisor sim:/scenario.toml\nWatchdogSec=1s\n";

fn until(what: &str, is_so: impl Fn() -> bool) {
    clock::wait_until(what, LONG, || Ok(is_so())).unwrap();
}

fn shown(systemd: &Booted<'_>, property: &str) -> String {
    systemd.done(&format!("systemctl show agentd -P {property}"))
}

fn set_level(systemd: &Booted<'_>, level: &str) {
    systemd.done(&format!("sed -i 's/^level = .*/level = \"{level}\"/' /etc/agentd/agentd.toml"));
}

#[test]
fn a_service_starts_reloads_is_watched_and_stays_stopped() {
    let test = "a_service_starts_reloads_is_watched_and_stays_stopped";
    let Some(debian) = Debian::open(test) else { return };
    let (first, second) = (package(&debian, "1.0"), package(&debian, "2.0"));
    fs::write(debian.path("/scenario.toml"), SCENARIO).unwrap();
    let drop_in = debian.path("/etc/systemd/system/agentd.service.d");
    fs::create_dir_all(&drop_in).unwrap();
    fs::write(drop_in.join("sim.conf"), DROP_IN).unwrap();
    let Some(systemd) = debian.boot(test) else { return };

    systemd.done(&format!("dpkg -i {first}"));
    assert_eq!(shown(&systemd, "ActiveState"), "active", "installed is started");
    until("the status", || shown(&systemd, "StatusText") == "mode observe, 2 VMs");
    assert!(systemd.done("memctl status").contains("HEALTHY"));
    assert_eq!(systemd.done("stat -c %U:%G:%a /run/agentd/agentd.sock"), "agentd:agentd:660");
    reloads(&systemd);
    is_watched(&systemd);
    stays_stopped(&systemd, &second);

    let before = shown(&systemd, "MainPID");
    systemd.done(&format!("dpkg -i {first}"));
    assert_ne!(
        shown(&systemd, "MainPID"),
        before,
        "what runs is started again with the other version"
    );
    systemd.done("dpkg -r agentd memctl");
    assert_ne!(systemd.run("systemctl is-active agentd.service agentd.socket").exit, Some(0));
    systemd.done("test -e /var/lib/agentd/agentd.db && ! test -e /usr/sbin/agentd");
}

/// A reload fails where agentd refuses the config, and agentd goes on.
fn reloads(systemd: &Booted<'_>) {
    let agentd = shown(systemd, "MainPID");
    systemd.done("systemctl reload agentd");
    set_level(systemd, "loud");
    assert_ne!(systemd.run("systemctl reload agentd").exit, Some(0));
    until("the reason", || {
        shown(systemd, "StatusText").contains("log.level = \"loud\": must be one of")
    });
    until("the condition", || systemd.run("memctl status").stderr.contains("CONFIG_REJECTED"));
    set_level(systemd, "debug");
    systemd.done("systemctl reload agentd");
    until("the status", || shown(systemd, "StatusText") == "mode observe, 2 VMs");
    assert_eq!((shown(systemd, "MainPID"), shown(systemd, "NRestarts")), (agentd, "0".to_owned()));
}

/// One that no longer ticks is ended and started again, and so is one that is killed.
fn is_watched(systemd: &Booted<'_>) {
    // Three of the longest ticks: 100 ms, half of that to settle, and four calls of 500 ms.
    assert_eq!(shown(systemd, "WatchdogUSec"), "6.450000s");
    for (signal, restarts) in [("STOP", "1"), ("KILL", "2")] {
        systemd.done(&format!("kill -s {signal} {}", shown(systemd, "MainPID")));
        until("another start", || shown(systemd, "NRestarts") == restarts);
        until("its answer", || systemd.run("memctl status").exit == Some(0));
    }
    let told = systemd.done("journalctl --no-pager -u agentd");
    assert!(told.contains("Failed with result 'watchdog'"), "{told}");
}

/// What somebody has stopped is started by no client and by no upgrade.
fn stays_stopped(systemd: &Booted<'_>, other: &str) {
    systemd.done("systemctl stop agentd");
    assert_eq!(systemd.run("memctl status").exit, Some(4));
    systemd.done(&format!("dpkg -i {other}"));
    let is_active = systemd.run("systemctl is-active agentd.service agentd.socket");
    assert_eq!(is_active.stdout, "inactive\ninactive\n");
    assert_eq!(systemd.run("test -e /run/agentd/agentd.sock").exit, Some(1));
    systemd.done("systemctl start agentd && memctl status");
}
