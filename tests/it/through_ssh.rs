//! memctl through ssh: the real `agentd proxy` at the other end of a program that stands in for ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use agentd_tests::agent::patient;

use crate::sim_host::{LOCAL, SCENARIO, World, run, until};

/// A program `ssh` that does on this machine what it is to do on the other one.
const SSH: &str = "#!/bin/sh\nwhile [ \"$1\" != node1 ]; do shift; done\nshift\nexec \"$@\"\n";

/// Puts `ssh` and `agentd` into a folder of programs, and gives the PATH that finds them.
fn install(world: &World) -> String {
    let bin = world.path("bin");
    fs::create_dir(&bin).unwrap();
    let ssh = bin.join("ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(world.agentd_program(), bin.join("agentd")).unwrap();
    format!("{}:/usr/bin:/bin", bin.display())
}

#[test]
fn a_host_is_asked_changed_and_watched_through_ssh() {
    let world = World::new(SCENARIO);
    let _agentd = world.start(LOCAL);
    let path = install(&world);
    let uri = format!("ssh://node1{}", world.socket(LOCAL).display());
    let memctl = |args: &[&str]| {
        let mut command = world.memctl_command();
        command.env("PATH", &path).args(patient(args)).args(args).args(["--host", &uri]);
        command
    };
    let status = run(&mut memctl(&["status", "-o", "name"]));
    assert_eq!((status.exit, status.stdout.as_str()), (Some(0), format!("{uri}\n").as_str()));
    let set = ["policy", "set", "two-pointer.step=32MiB", "--reason", "through ssh"];
    let set = run(&mut memctl(&set));
    assert_eq!(set.exit, Some(0), "{set:?}");
    assert!(world.done(&["policy", "history"]).contains("through ssh"));

    // What it says comes as it is said, and not when a buffer is full.
    let told = world.path("told");
    let file = fs::File::create(&told).unwrap();
    let mut watch = memctl(&["watch", "-o", "jsonl"]);
    let mut watch = watch.stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let ticks = || fs::read_to_string(&told).unwrap().matches("\"type\":\"tick\"").count();
    until("three ticks", || Ok(ticks() >= 3));
    let proxies = || Ok(proxies(&world) > 0);
    until("the proxy to be seen", proxies);
    watch.kill().unwrap();
    watch.wait().unwrap();
    until("the proxy to end with memctl", || Ok(!proxies()?));
}

#[test]
fn an_agent_that_is_not_there_is_told_in_the_words_of_the_proxy() {
    let world = World::new(SCENARIO);
    let path = install(&world);
    let uri = format!("ssh://node1{}", world.socket(LOCAL).display());
    let mut command = world.memctl_command();
    let refused =
        run(command.env("PATH", &path).args(["status", "--timeout", "60s", "--host", &uri]));
    assert_eq!(refused.exit, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("agentd: there is no socket "), "{refused:?}");
    assert!(refused.stderr.contains("is agentd running there?"), "{refused:?}");
    // It needs no hypervisor and no config.
    let alone = world.run_agentd(&["proxy", "--socket", "none.sock"]);
    assert_eq!((alone.exit, alone.stdout.as_str()), (Some(1), ""));
}

/// How many `agentd proxy` talk to a socket of this world.
fn proxies(world: &World) -> usize {
    let socket = world.socket(LOCAL).display().to_string();
    let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().filter(|line| line.starts_with("agentd proxy") && line.contains(&socket)).count()
}
