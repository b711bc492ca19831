//! End-to-end tests: whole programs on simulated hosts, and on real VMs in the lab. What this machine
//! cannot run says on stderr that it was skipped, and why.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::io::Write;

use agentd_tests::lab::{self, Lab};
use agentd_tests::programs::Programs;

/// agentd under attack, over the network.
mod attacks;
/// Bursts that take turns on real VMs.
mod bursts;
/// A Debian with nothing in it, for packages.
mod clean_debian;
/// What agentd says to nonsense, and how it ends.
mod command_line;
/// agentd and memctl on real VMs: memory moves, and what is told of it is true.
mod coordinator;
/// Several hosts, and one without libvirtd.
mod coordinator_hosts;
/// agentd that is stopped, killed and paused in the middle.
mod coordinator_restart;
/// What was acknowledged outlives agentd.
mod durability;
/// agentd is killed, stopped, and started twice.
mod faults_agentd;
/// VMs that no driver serves, and that begin anew.
mod faults_guest;
/// Somebody else takes the host's memory.
mod faults_hog;
/// libvirtd is killed, hangs and is restarted while memory moves.
mod faults_libvirtd;
/// VMs that are paused, saved, and made anew.
mod faults_life;
/// Somebody else resizes VMs.
mod faults_outside;
/// What the tests of faults stand on.
mod faults_rig;
/// State that is gone, or cannot be written.
mod faults_state;
/// VMs whose balloon does not follow.
mod faults_uncooperative;
/// A VM hangs.
mod faults_vm_hangs;
/// Many hosts, one memctl.
mod fleet_hundred;
mod fleet_partition;
mod fleet_sim;
mod fleet_watch;
/// Clients in another language.
mod foreign;
/// What agentd remembers of the past, and tells of it.
mod history;
/// Modes for a time.
mod hold;
/// The libvirt adapter on real VMs: the contract, hangs, losses.
mod hypervisor;
/// The libvirt adapter on real VMs in all that befalls them: saves, migrations, reboots, and more.
mod hypervisor_life;
/// The lab itself: what every other test here stands on.
mod lab_boots;
/// What the lab does to VMs and to libvirtd.
mod lab_faults;
/// Several hosts on a network.
mod lab_fleet;
/// What is left when a lab has ended.
mod lab_leaves_nothing;
/// Where agentd's log goes.
mod log;
/// What Prometheus reads, and what its alerts and its dashboard make of it.
mod metrics;
/// The algorithm and the scenario format, written a second time.
mod oracle;
/// Mutual TLS from nothing, in the commands of the README.
mod over_tls;
/// The packages in a clean Debian.
mod packages;
/// VMs that are pinned for a while.
mod pin;
/// What libvirt lets the user of agentd do, and nothing else.
mod polkit;
/// Ticks recorded, replayed, and decided along by a shadow.
mod recordings;
/// Memory that is kept for VMs to come.
mod reserve;
/// The units of systemd.
mod service;
/// What the tests of whole programs without VMs stand on.
mod sim_host;
/// The seeded simulation: it replays, and it sees what is broken on purpose.
mod soak;
/// The package under a systemd that runs.
mod systemd;
/// What memctl shows on a terminal while something takes long.
mod terminal;
/// memctl through ssh, with agentd proxy at its end.
mod through_ssh;
/// The rules of the house.
mod tidy;
/// What a watch has told, beside what was logged.
mod told;
/// The screen of all hosts, in a real terminal.
mod top;
/// How the programs beside the tests are called.
mod usage;
/// A watch outlives agentd.
mod watch_restarts;
/// The other algorithm, set while agentd runs.
mod working_set_sim;

/// A lab, or nothing where this machine cannot run one.
///
/// With `LAB_REQUIRED=1`, as in `make test` by root, that is a failure.
fn open_lab(test: &str) -> Option<Lab> {
    if let Some(missing) = lab::missing() {
        skip(test, &missing);
        return None;
    }
    Some(Lab::open().expect("the lab opens"))
}

/// Says that a test was skipped, and why; a failure where that may not be.
fn skip(test: &str, missing: &str) {
    let required = std::env::var_os("LAB_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "{test} cannot run here: {missing}");
    // Straight to stderr: what a passing test prints by macro is not shown.
    std::io::stderr().write_all(format!("skipped {test}: {missing}\n").as_bytes()).unwrap();
}

/// A lab and the programs under test, built before a place on the machine is taken.
fn open_lab_with_programs(test: &str) -> Option<(Lab, Programs)> {
    if lab::missing().is_some() {
        return open_lab(test).zip(Programs::built().ok());
    }
    let programs = Programs::built().expect("cargo builds agentd and memctl");
    Some((open_lab(test)?, programs))
}
