use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentd_tests::lab::{VmSpec, clock};
use agentd_tests::programs::FOLDER_VARIABLE;

use crate::{open_lab, open_lab_with_programs};

#[test]
fn after_a_drop() {
    let Some(lab) = open_lab("after_a_drop") else {
        return;
    };
    let host = lab.host("node1").unwrap();
    let vm = host.vm(VmSpec::new("vm1", 256)).unwrap();
    let inside = pid_space_of(host.space().keeper());
    assert!(count_in(&inside) >= 3, "its first process, libvirtd and QEMU");

    drop(host);

    assert_gone(&inside);
    assert!(vm.actual_kib().is_err(), "a VM of a host that is gone is gone, whoever holds it");
    assert!(vm.kill().is_err());
}

#[test]
fn after_a_panic() {
    let Some(lab) = open_lab("after_a_panic") else {
        return;
    };
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let test = std::thread::spawn(move || {
        let host = lab.host("node1").unwrap();
        tell.send(pid_space_of(host.space().keeper())).unwrap();
        panic!("on purpose");
    });
    let inside = told.recv().unwrap();
    assert!(test.join().is_err());
    assert_gone(&inside);
}

#[test]
fn after_sigkill() {
    leaves_nothing_after("after_sigkill", "KILL");
}

#[test]
fn after_sigint() {
    leaves_nothing_after("after_sigint", "INT");
}

/// Ends another process that holds a lab with three VMs, by a signal.
fn leaves_nothing_after(test: &str, signal: &str) {
    let Some((lab, programs)) = open_lab_with_programs(test) else {
        return;
    };
    // The program takes a place of its own.
    drop(lab);
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lab"))
        .env(FOLDER_VARIABLE, programs.agentd.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let inside = pid_space_of(keeper_of(&mut holder));
    assert!(count_in(&inside) >= 5, "its first process, libvirtd and three QEMUs");

    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", holder.id())]).status();
    assert!(kill.unwrap().success());
    holder.wait().unwrap();

    assert_gone(&inside);
}

fn assert_gone(inside: &PathBuf) {
    clock::wait_until(
        "every process of the lab to be gone",
        PATIENCE,
        || Ok(count_in(inside) == 0),
    )
    .unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("agentd-lab"), "the lab mounts nothing outside: {mounts}");
    let links = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name());
    let ours: Vec<_> = links.filter(|name| name.to_string_lossy().starts_with("port")).collect();
    assert_eq!(ours, Vec::<std::ffi::OsString>::new(), "the lab makes no link outside");
}

/// The keeper that the lab program names once its VMs are up.
fn keeper_of(holder: &mut Child) -> u32 {
    let lines = BufReader::new(holder.stdout.as_mut().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let (_, rest) = line.split_once("below process ")?;
        rest.split(' ').next()?.parse().ok()
    });
    numbers.next().expect("the lab says where it lives")
}

/// What identifies the pid namespace that a keeper made.
fn pid_space_of(keeper: u32) -> PathBuf {
    fs::read_link(format!("/proc/{keeper}/ns/pid_for_children")).unwrap()
}

/// The processes in a pid namespace.
fn count_in(space: &PathBuf) -> usize {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes
        .filter(|path| fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == *space))
        .count()
}

/// The kernel frees the memory of three VMs before their processes are gone.
const PATIENCE: Duration = Duration::from_secs(120);
