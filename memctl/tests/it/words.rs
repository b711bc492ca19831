//! What is typed with help: names that the shell completes, and policies that are files.

use std::process::Stdio;

use agentd_proto::v1;
use tokio::io::AsyncWriteExt as _;

use crate::agent::{Agent, Script};
use crate::memctl::World;

/// What bash would offer for the last word of a line.
async fn offered(world: &World, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let args: Vec<&str> = ["--"].into_iter().chain(words.iter().copied()).collect();
    let mut command = world.command(&args);
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n");
    let run = world.finish(command.spawn().unwrap()).await;
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{run:?}");
    run.stdout.lines().map(str::to_owned).collect()
}

/// The same of what agents have: who types does not wait for long, and a busy machine answers late.
async fn vms_offered(world: &World, line: &str) -> Vec<String> {
    for _ in 0..MOST_TRIES {
        let offered = offered(world, line).await;
        if !offered.is_empty() {
            return offered;
        }
    }
    Vec::new()
}

const MOST_TRIES: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_groups_vms_and_keys_are_completed_as_they_are() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    let grouped = format!("{}\n[groups]\nrack = [\"node1\"]\n", world.config());
    world.write_config(&grouped);
    Agent::start(&world.path("node1.sock"), Script::default());
    assert_eq!(offered(&world, "memctl status --host n").await, ["node1", "node2"]);
    assert_eq!(offered(&world, "memctl status --host node1,@").await, ["node1,@rack"]);
    // The other host is down, and is not waited for.
    assert_eq!(vms_offered(&world, "memctl explain we").await, ["web1"]);
    assert_eq!(vms_offered(&world, "memctl pin -H node1 d").await, ["db1"]);
    let keys = ["vm.db1.max=", "vm.db1.min=", "vm.db1.pinned=", "vm.db1.weight=", "vm.db1=unset"];
    assert_eq!(vms_offered(&world, "memctl policy set -H node1 vm.d").await, keys);
    let keys = vms_offered(&world, "memctl policy unset -H node1 vm.db1").await;
    assert_eq!(keys, ["vm.db1", "vm.db1.max", "vm.db1.min", "vm.db1.pinned", "vm.db1.weight"]);
    assert_eq!(vms_offered(&world, "memctl release -H node1 4").await, ["4"]);
    assert_eq!(vms_offered(&world, "memctl policy revert -H node1 2").await, ["2"]);
    let waits = vms_offered(&world, "memctl wait -H node1 --for vm=web1:a").await;
    assert_eq!(waits, ["vm=web1:actual<=", "vm=web1:actual>=", "vm=web1:at-target"]);
    let waits = vms_offered(&world, "memctl wait -H node1 --for reservation").await;
    assert_eq!(waits, ["reservation=3", "reservation=4"]);
    assert_eq!(offered(&world, "memctl wait --for mode=o").await, ["mode=observe"]);
    assert_eq!(offered(&world, "memctl policy set host-").await, ["host-reserve="]);
    assert_eq!(offered(&world, "memctl host remove node2").await, ["node2"]);
    let columns = offered(&world, "memctl -H node1 vms --columns name,act").await;
    assert_eq!(columns, ["name,actual_bytes"]);
    assert_eq!(offered(&world, "memctl status --sort-by mode_r").await, ["mode_reason"]);
    assert!(offered(&world, "memctl do").await.contains(&"doctor".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_completes_nothing_and_says_nothing() {
    let world = World::new();
    world.write_config("schema = 7\n");
    assert!(offered(&world, "memctl explain we").await.is_empty());
    assert!(offered(&world, "memctl status --host n").await.is_empty());
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script { hangs: true, ..Default::default() });
    assert!(offered(&world, "memctl explain nothing").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_goes_into_a_file_and_back() {
    let world = World::new();
    world.configure(&["node1", "node2"]);
    let agents: Vec<Agent> = ["node1", "node2"]
        .map(|name| Agent::start(&world.path(&format!("{name}.sock")), Script::default()))
        .into();
    let file = world.run(&["policy", "get", "--as-file", "-H", "node1"]).await;
    assert_eq!(file.exit, 0, "{file:?}");
    assert!(file.stdout.contains("pool-limit = \"4GiB\""), "{file:?}");
    let refused = world.run(&["policy", "get", "--as-file", "-H", "node1", "-o", "yaml"]).await;
    assert!(refused.exit == 2 && refused.stdout.contains("--as-file writes TOML"), "{refused:?}");
    let path = world.path("policy.toml");
    std::fs::write(&path, &file.stdout).unwrap();
    let path = path.display().to_string();
    let run = world.run(&["policy", "apply", "-f", &path, "-y", "--reason", "as reviewed"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    for agent in &agents {
        let script = agent.script();
        let change = script.updates.last().unwrap();
        assert_eq!(change.update_mask.as_ref().unwrap().paths, ["*"]);
        let policy = change.policy.as_ref().unwrap();
        assert_eq!(policy.pool_limit_bytes, Some(4 << 30));
        assert_eq!(policy.vms["db1"].weight, Some(200));
        assert_eq!(change.reason, "as reviewed");
    }
    // What is wrong with it reaches no agent.
    std::fs::write(&path, "floor = 64\n").unwrap();
    for command in ["apply", "diff"] {
        let run = world.run(&["policy", command, "-f", &path]).await;
        assert_eq!(run.exit, 8, "{run:?}");
        assert!(run.stderr.contains("floor: \"64\" has no unit"), "{run:?}");
    }
    assert_eq!(agents[0].script().updates.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_comes_from_a_pipe_as_well() {
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), Script::default());
    let apply = async |file: &str, text: Vec<u8>| {
        let mut command = world.command(&["policy", "apply", "-f", file]);
        let mut child = command.stdin(Stdio::piped()).current_dir(world.path("")).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Whoever does not read it to its end closes it.
        let _ = stdin.write_all(&text).await;
        drop(stdin);
        world.finish(child).await
    };
    let text = b"host-reserve = \"1GiB\"\n";
    let run = apply("-", text.to_vec()).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let reserve = agent.script().updates[1].policy.as_ref().unwrap().host_reserve_bytes;
    assert_eq!(reserve, Some(1 << 30));
    // What is cut off is no policy, and a file is one whatever it is called.
    let long = [&text[..], &b"# more\n".repeat(3 << 20)].concat();
    let run = apply("-", long).await;
    assert_eq!(run.exit, 8, "{run:?}");
    assert!(run.stderr.contains("standard input: it is longer than 16 MiB"), "{run:?}");
    std::fs::write(world.path("standard input"), "host-reserve = \"2GiB\"\n").unwrap();
    let run = apply("standard input", text.to_vec()).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let updates = &agent.script().updates;
    assert_eq!(updates.len(), 4);
    assert_eq!(updates[3].policy.as_ref().unwrap().host_reserve_bytes, Some(2 << 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_edited_and_nothing_that_changed_in_between_is_lost() {
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), Script::default());
    let run = async |editor: &str, more: &[&str]| {
        let mut command =
            world.command(&[&["policy", "edit", "--reason", "by hand"], more].concat());
        command.env("EDITOR", editor).env("PATH", std::env::var_os("PATH").unwrap());
        world.finish(command.spawn().unwrap()).await
    };
    let same = run("true", &[]).await;
    assert_eq!(same.exit, 0, "{same:?}");
    assert!(same.stderr.contains("was not changed"), "{same:?}");
    let failed = run("false", &[]).await;
    assert!(failed.exit == 3 && failed.stderr.contains("EDITOR names the editor"), "{failed:?}");
    assert!(agent.script().updates.is_empty());
    let edited = run("sed -i s/4GiB/8GiB/", &[]).await;
    assert_eq!(edited.exit, 0, "{edited:?}");
    let updates: Vec<v1::UpdatePolicyRequest> = agent.script().updates.clone();
    assert_eq!(updates[1].policy.as_ref().unwrap().pool_limit_bytes, Some(8 << 30));
    // The etag of what was edited.
    assert_eq!((updates[1].etag.as_str(), updates[1].reason.as_str()), ("e3", "by hand"));
    let wrong = run("sed -i s/4GiB/4/", &[]).await;
    assert_eq!(wrong.exit, 8, "{wrong:?}");
    // What is only tried is kept as well: it is in force nowhere.
    let tried = run("sed -i s/4GiB/8GiB/", &["--dry-run"]).await;
    assert_eq!(tried.exit, 0, "{tried:?}");
    for (ran, text) in [(wrong, "pool-limit = \"4\""), (tried, "pool-limit = \"8GiB\"")] {
        let kept = ran.stderr.lines().find_map(|line| line.split(" apply -f ").nth(1)).unwrap();
        assert!(std::fs::read_to_string(kept).unwrap().contains(text));
        std::fs::remove_file(kept).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_usual_editor_is_not_started_where_there_is_no_terminal_for_it() {
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    let mut command = world.command(&["policy", "edit"]);
    command.env("VISUAL", "").env_remove("EDITOR");
    let run = world.finish(command.spawn().unwrap()).await;
    assert_eq!(run.exit, 2, "{run:?}");
    assert!(run.stderr.contains("apply -f FILE"), "{run:?}");
}
