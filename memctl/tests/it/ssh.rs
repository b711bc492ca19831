//! ssh://: what ssh is asked for, and its troubles told in its own words. A program of that name
//! stands in for the real one; `agentd proxy` at the end of the line is shown by the tests of the
//! whole.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::memctl::{Run, World};

/// A program `ssh` that notes what it was called with and then does this.
fn install(world: &World, does: &str) -> PathBuf {
    let bin = world.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let (ssh, calls) = (bin.join("ssh"), world.path("calls"));
    std::fs::write(&ssh, format!("#!/bin/sh\necho \"$@\" >> {}\n{does}\n", calls.display()))
        .unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

async fn run(world: &World, does: &str, args: &[&str]) -> Run {
    let bin = install(world, does);
    let child = world.command(args).env("PATH", bin).spawn().unwrap();
    world.finish(child).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_is_called_as_a_person_would_call_it() {
    let world = World::new();
    for uri in ["ssh://root@node1:2222/run/a.sock", "ssh://[fd00::1]", "ssh://node1/"] {
        assert_eq!(run(&world, "exit 255", &["status", "-H", uri]).await.exit, 4);
    }
    let called = std::fs::read_to_string(world.path("calls")).unwrap();
    assert_eq!(
        called,
        "-T -o BatchMode=yes -p 2222 root@node1 agentd proxy --socket /run/a.sock\n\
         -T -o BatchMode=yes fd00::1 agentd proxy\n\
         -T -o BatchMode=yes node1 agentd proxy\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_not_configured_is_dialled_through_ssh_and_said_once() {
    let world = World::new();
    let does = "echo 'ssh: Could not resolve hostname node1' >&2; exit 255";
    let said = run(&world, does, &["status", "-H", "node1,node1"]).await;
    assert_eq!((said.exit, said.stdout.as_str()), (4, ""), "{said:?}");
    assert_eq!(
        said.stderr,
        "no host \"node1\" is configured: dialling ssh://node1\n\
         memctl: node1: ssh://node1: ssh: Could not resolve hostname node1\n  \
         hint: does ssh -o BatchMode=yes node1 true work?\n"
    );
    let said = run(&world, does, &["status", "-q", "-H", "node1"]).await;
    assert!(!said.stderr.contains("is configured"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_of_ssh_says_what_to_do() {
    let world = World::new();
    for (does, exit, said) in [
        ("echo 'root@node1: Permission denied (publickey).' >&2; exit 255", 5, "ssh-add"),
        ("echo 'Host key verification failed.' >&2; exit 255", 5, "compare it"),
        ("echo 'sh: 1: agentd: not found' >&2; exit 127", 4, "install agentd there"),
        ("echo 'agentd: there is no socket /s' >&2; exit 1", 4, "is agentd running there?"),
        ("echo 'agentd: you may not open /s' >&2; exit 1", 5, "socket's group"),
        ("exit 1", 4, "it said nothing"),
        // What is no gRPC is the agent's trouble; its words are harmless.
        ("printf 'Wel\\033come\\n' >&2; exit 255", 4, "Wel\\u{1b}come"),
    ] {
        for args in [&["status"][..], &["watch", "--no-reconnect"]] {
            let args = [args, &["-H", "ssh://node1"]].concat();
            let run = run(&world, does, &args).await;
            assert_eq!((run.exit, run.stdout.as_str()), (exit, ""), "{args:?} {run:?}");
            assert!(run.stderr.contains(said) && run.stderr.contains("hint: "), "{run:?}");
        }
    }
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let child = world.command(&["status", "-H", "ssh://node1"]).env("PATH", empty).spawn();
    let run = world.finish(child.unwrap()).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains("there is no program ssh on this machine"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_does_not_outlive_the_connection() {
    let world = World::new();
    let pid = world.path("pid");
    let does = format!("echo $$ > {}; exec /bin/sleep 600", pid.display());
    let said = run(&world, &does, &["status", "-H", "ssh://node1", "--timeout", "10s"]).await;
    assert_eq!(said.exit, 4, "{said:?}");
    assert!(said.stderr.contains("ssh://node1 did not answer within 10s"), "{said:?}");
    let pid = std::fs::read_to_string(pid).unwrap();
    let gone = async {
        // A process that ended and was not waited for is gone as well.
        let stat = format!("/proc/{}/stat", pid.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("ssh is still there");
}
