//! Configured hosts, and hosts that cannot be asked: each kind of trouble with its hint and code.

use std::os::unix::fs::PermissionsExt as _;

use agentd_proto::v1;
use tonic::Status;

use crate::agent::{Agent, Script};
use crate::memctl::{FOLDER, World};
use crate::sample;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_added_listed_and_removed() {
    let world = World::new();
    let socket = world.path("a.sock");
    let uri = format!("unix://{}", socket.display());
    assert_eq!(world.run(&["host", "add", "a", &uri, "--current", "--group", "g"]).await.exit, 0);
    assert_eq!(world.run(&["host", "add", "b", "https://[::1]"]).await.exit, 0);
    assert_eq!(world.run(&["host", "add", "a", "ssh://node1"]).await.exit, 7);
    let run = world.run(&["host", "list"]).await;
    let want = format!(
        "HOST  URI                               CURRENT  IDENTITY  GROUPS\n\
         a     unix://{FOLDER}/a.sock  yes      -         g\n\
         b     https://[::1]:7433                -        -         -\n"
    );
    assert_eq!(run.stdout, want);
    assert_eq!(world.run(&["host", "remove", "c"]).await.exit, 6);
    let run = world.run(&["host", "remove", "b"]).await;
    assert_eq!((run.exit, run.stderr.as_str()), (0, "removed b\n"));
    assert!(!world.config().contains("[::1]"));
    Agent::start(&socket, Script::default());
    assert_eq!(world.run(&["status", "-o", "name"]).await.stdout, "a\n");
    assert_eq!(world.run(&["status", "-H", "@g", "-o", "name"]).await.stdout, "a\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_configuration_is_made_by_adding_a_host_and_must_be_there_otherwise() {
    let world = World::new();
    let path = world.path("other.toml").display().to_string();
    assert_eq!(world.run(&["--config", &path, "status"]).await.exit, 8);
    let run = world.run(&["--config", &path, "host", "list"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, ""));
    assert!(run.stderr.contains("other.toml is not there); memctl host add"), "{run:?}");
    let add = ["--config", &path, "host", "add", "a", "ssh://node1"];
    assert_eq!(world.run(&add).await.exit, 0);
    let run = world.run(&["--config", &path, "host", "list", "-o", "name"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (0, "a\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_do_not_work_are_refused_with_what_does() {
    let world = World::new();
    for (uri, said) in [
        ("tcp://node1:7433", "write https://node1:7433 (memctl ca makes the certificates)"),
        ("http://node1:7433", "or ssh://node1"),
        ("https://::1:7000", "write https://[::1]:7000"),
        ("https://node1:", "write https://node1"),
        ("ssh://-oProxyCommand=x", "is not a host name"),
        ("gopher://node1", "what works: unix:///run/agentd/agentd.sock, ssh://[USER@]HOST"),
    ] {
        for args in [&["host", "add", "far", uri][..], &["status", "-H", uri][..]] {
            let run = world.run(args).await;
            assert_eq!(run.exit, 2, "{run:?}");
            assert!(run.stderr.contains(said), "{run:?}");
        }
    }
    let run = world.run(&["status", "-H", "node1:7433"]).await;
    assert_eq!(run.exit, 2, "{run:?}");
    assert!(run.stderr.contains("hint: write https://node1:7433"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_keeps_the_identity_that_it_was_added_with() {
    let world = World::new();
    let add = ["host", "add", "far", "https://far.lan", "--server-name", "far"];
    let identity = ["--ca", "/pki/ca.pem", "--cert", "/pki/me.pem", "--key", "/pki/me.key"];
    let run = world.run(&[&add[..], &identity].concat()).await;
    assert!(run.exit == 0 && run.stdout.contains("/pki/me.pem"), "{run:?}");
    let entry = "[hosts.far]\nuri = \"https://far.lan:7433\"\nca = \"/pki/ca.pem\"\n\
                 cert = \"/pki/me.pem\"\nkey = \"/pki/me.key\"\nserver_name = \"far\"\n";
    assert!(world.config().ends_with(entry), "{}", world.config());
    let run = world.run(&["status", "-H", "far"]).await;
    assert_eq!(run.exit, 5, "{run:?}");
    assert!(run.stderr.contains("cannot read /pki/me.pem (cert)"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_not_answering_says_what_to_do() {
    let world = World::new();
    let stale = world.path("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let hanging = world.path("hanging.sock");
    Agent::start(&hanging, Script { hangs: true, ..Default::default() });
    let unix = |path: &std::path::Path| format!("unix://{}", path.display());
    for (uri, timeout, said) in [
        (unix(&world.path("none.sock")), "60s", "start the agent there: agentd run"),
        (unix(&stale), "60s", "the agent stopped and left its socket"),
        (unix(&hanging), "200ms", "did not answer within 0.2s"),
    ] {
        let run = world.run(&["status", "-H", &uri, "--timeout", timeout]).await;
        assert_eq!((run.exit, run.stdout.as_str()), (4, ""), "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_may_not_be_opened_is_a_denial() {
    let world = World::new();
    let folder = world.path("closed");
    std::fs::create_dir(&folder).unwrap();
    let socket = folder.join("agentd.sock");
    Agent::start(&socket, Script::default());
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o000)).unwrap();
    let reachable = std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let run = world.run(&["status", "-H", &format!("unix://{}", socket.display())]).await;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Root may open everything: then the agent must answer.
    let want = if reachable { (0, true) } else { (5, false) };
    assert_eq!((run.exit, run.stdout.contains("DEGRADED")), want, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_fail_differently_are_told_apart() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    let denied = Script { refuses: Some(Status::permission_denied("no")), ..Default::default() };
    Agent::start(&world.path("node1.sock"), denied);
    assert_eq!(world.run(&["status"]).await.exit, 3);
    assert_eq!(world.run(&["status", "-H", "node1"]).await.exit, 5);
    assert_eq!(world.run(&["status", "-H", "node2"]).await.exit, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_ends_with_one() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    assert_eq!(world.run(&["status"]).await.exit, 0);
    assert_eq!(world.run(&["status", "--check"]).await.exit, 1);
    assert_eq!(world.run(&["vms", "web1", "-o", "name"]).await.stdout, "web1\n");
    assert_eq!(world.run(&["vms", "web9"]).await.exit, 6);
    assert_eq!(world.run(&["explain", "web9"]).await.exit, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_that_nobody_has_read_are_not_claimed_to_be_none() {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { unread: true, ..Default::default() };
    Agent::start(&world.path("node1.sock"), script);
    let run = world.run(&["vms"]).await;
    assert!(run.exit == 0 && run.stdout.starts_with("VM  STATE  ACTUAL"), "{run:?}");
    assert!(run.stderr.contains("node1: the VMs are not known: VM_UNREPORTED: "), "{run:?}");
    let run = world.run(&["vms", "web1"]).await;
    assert_eq!(run.exit, 7, "{run:?}");
    assert!(run.stderr.contains("nobody knows whether \"web1\" runs"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_pause_is_found_by_a_check_that_asks_for_it() {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { healthy_in: Some(v1::Mode::Paused), ..Default::default() };
    Agent::start(&world.path("node1.sock"), script);
    assert_eq!(world.run(&["status", "--check"]).await.exit, 0);
    assert_eq!(world.run(&["status", "--check", "--expect-mode", "paused"]).await.exit, 0);
    assert_eq!(world.run(&["status", "--check", "--expect-mode", "active"]).await.exit, 1);
    assert_eq!(world.run(&["status", "--expect-mode", "active"]).await.exit, 2);
    let run = world.run(&["mode", "--utc"]).await;
    let told = "paused  2026-01-02 01:04:05Z  tcp 192.0.2.7:51234  maintenance";
    assert!(run.stdout.contains(told), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_and_a_trial_are_seen_in_the_status_with_who_made_them_and_when_they_end() {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script {
        healthy_in: Some(v1::Mode::Paused),
        trial_until: sample::time(600),
        ..Default::default()
    };
    let agent = Agent::start(&world.path("node1.sock"), script);
    let run = world.run(&["status", "--utc"]).await;
    let paused = "node1: paused since 2026-01-02 01:04:05Z by tcp 192.0.2.7:51234 (maintenance)\n";
    assert!(run.stderr.contains(paused), "{run:?}");
    let trial = "node1: revision 3 of the policy is a trial by ";
    assert!(run.stderr.contains(trial), "{run:?}");
    assert!(run.stderr.contains(": it goes back at 2026-01-02 03:14:05Z unless memctl"), "{run:?}");
    let run = world.run(&["status", "-o", "json"]).await;
    assert!(run.stdout.contains("\"policy_revert_time\": \"2026-01-02T03:14:05.678Z\""), "{run:?}");
    assert_eq!(run.stderr, "");
    agent.script().healthy_in = Some(v1::Mode::Active);
    agent.script().trial_until = None;
    assert_eq!(world.run(&["status"]).await.stderr, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_the_hypervisor_was_lost_is_told_as_old() {
    let world = World::new();
    world.configure(&["node1"]);
    let caveats = vec![v1::Condition {
        reason: "HYPERVISOR_LOST".to_owned(),
        message: "no answer: start libvirtd".to_owned(),
        since: sample::time(0),
    }];
    Agent::start(&world.path("node1.sock"), Script { caveats, ..Default::default() });
    let since = "node1: HYPERVISOR_LOST since 2026-01-02 03:04:05Z: no answer: start libvirtd";
    let run = world.run(&["vms", "--utc"]).await;
    assert!(run.stdout.contains("grow 35s ago") && run.stderr.contains(since), "{run:?}");
    let run = world.run(&["explain", "web1", "--utc"]).await;
    assert!(run.stdout.contains("Z, 0.4s ago, mode") && run.stderr.contains(since), "{run:?}");
    let run = world.run(&["vms", "-o", "json"]).await;
    assert!(run.stdout.contains("\"tick_age_seconds\": 35.1"), "{run:?}");
    assert!(run.stdout.contains("\"HYPERVISOR_LOST\"") && run.stderr.is_empty(), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_told_with_line_and_key_in_the_format_asked_for() {
    let world = World::new();
    world.write_config("schema = 1\n[hosts.a]\nurl = \"unix:///x\"\n");
    let run = world.run(&["status", "-o", "json"]).await;
    assert_eq!((run.exit, run.stderr.as_str()), (8, ""));
    assert!(run.stdout.contains("\"kind\": \"Error\""), "{run:?}");
    assert!(run.stdout.contains("/memctl/config.toml:3: unknown field `url`"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_that_makes_no_sense_is_a_record_where_records_are_asked_for() {
    let world = World::new();
    let run = world.run(&["status", "--nonsense", "-o", "jsonl"]).await;
    assert_eq!((run.exit, run.stderr.as_str()), (2, ""));
    assert!(run.stdout.starts_with("{\"schema\":\"memctl/v1\",\"kind\":\"Error\""), "{run:?}");
    let run = world.run(&["status", "--nonsense"]).await;
    assert_eq!((run.exit, run.stdout.as_str()), (2, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colours_come_only_when_wanted() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    for (args, variables, colored) in [
        (&["status"][..], &[][..], false),
        (&["status", "--color", "always"][..], &[("NO_COLOR", "1")][..], true),
        (&["status"][..], &[("CLICOLOR_FORCE", "1")][..], true),
        (&["status"][..], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], false),
        (&["status", "--color", "never"][..], &[("CLICOLOR_FORCE", "1")][..], false),
    ] {
        let child = world.command(args).envs(variables.iter().copied()).spawn().unwrap();
        let run = world.finish(child).await;
        assert_eq!(run.stdout.contains("\u{1b}[33mDEGRADED\u{1b}[0m"), colored, "{args:?} {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_names_hosts_only_where_the_command_line_does_not() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    Agent::start(&world.path("node2.sock"), Script::default());
    for (args, names) in [
        (&["status", "-o", "name"][..], "node2\n"),
        (&["status", "-o", "name", "-H", "node1"][..], "node1\n"),
        (&["status", "-o", "name", "-A"][..], "node1\nnode2\n"),
    ] {
        let child = world.command(args).env("MEMCTL_HOST", "node2").spawn().unwrap();
        assert_eq!(world.finish(child).await.stdout, names);
    }
    assert_eq!(world.run(&["status", "-A", "-H", "node1"]).await.exit, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_are_printed_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = world.run(&["completion", shell]).await;
        assert_eq!(run.exit, 0);
        assert!(run.stdout.contains("COMPLETE"), "{shell}");
    }
}
