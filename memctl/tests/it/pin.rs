//! VMs that are pinned for a while, beside the policy.

use agentd_proto::v1;

use crate::agent::{Agent, Script};
use crate::fleet::fleet;
use crate::memctl::World;
use crate::sample;

/// What pins a VM until some time after its begin.
pub(crate) fn pin(number: u8, seconds: i64) -> v1::Pin {
    v1::Pin {
        vm: Some(sample::vm_ref(number)),
        end_time: sample::time(seconds),
        actor: Some(v1::Actor {
            id: "uid:0".to_owned(),
            peer: String::new(),
            time: sample::time(0),
        }),
        reason: "import".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_with_an_end_stands_beside_the_policy_and_goes_before_it() {
    // Trials of the policy are nothing to it.
    let tried = Script { trial_until: sample::time(600), ..Default::default() };
    let (world, agents) = fleet(vec![("node1", tried), ("node2", Script::default())]);
    let command = ["pin", "web1", "-H", "node1", "--for", "1h", "--reason", "import", "--utc"];
    let run = world.run(&command).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(
        run.stdout.contains(" PINNED ") && run.stdout.contains("2026-01-02 04:04:05Z"),
        "{run:?}"
    );
    assert_eq!(run.stderr, "");
    let asked = agents[0].script().pinned.pop().unwrap();
    let uuid = sample::vm_ref(1).uuid;
    assert_eq!((&asked.vm, asked.reason.as_str()), (&uuid, "import"));
    assert_eq!((asked.duration.map(|d| d.seconds), asked.validate_only), (Some(3600), false));
    world.run(&["pin", "web1", "-H", "node1", "--for", "1h", "--dry-run"]).await;
    assert!(agents[0].script().pinned.pop().unwrap().validate_only);
    // What the policy pins beside it is said, and what stands beside the policy's.
    agents[0].script().timed_pins = vec![pin(1, 600)];
    agents[0].script().pins = Some("web1");
    let run = world.run(&command).await;
    assert!(run.stderr.contains("node1: the policy pins web1 as well, without an end"), "{run:?}");
    let run = world.run(&["pin", "web1", "-H", "node1", "--utc"]).await;
    let until = "web1 is pinned until 2026-01-02 03:14:05Z by uid:0: import";
    assert!(run.stderr.contains(&format!("node1: beside the policy {until}")), "{run:?}");
    for shown in [["policy", "get", "-H", "node1"], ["explain", "web1", "-H", "node1"]] {
        let run = world.run(&[&shown[..], &["--utc"]].concat()).await;
        assert!(run.stdout.contains(&until["web1 is ".len()..]), "{run:?}");
    }
    // The one beside the policy ends first.
    let updates = agents[0].script().updates.len();
    let run = world.run(&["unpin", "web1", "-H", "node1", "--reason", "done"]).await;
    assert_eq!((run.exit, agents[0].script().updates.len()), (0, updates), "{run:?}");
    assert!(run.stdout.contains("UNPINNED"), "{run:?}");
    let holds = "which holds now: memctl unpin web1 --host node1 ends that";
    assert!(run.stderr.contains(holds), "{run:?}");
    let asked = agents[0].script().unpinned.pop().unwrap();
    assert_eq!((asked.vm, asked.reason.as_str()), (uuid, "done"));
    agents[0].script().timed_pins.clear();
    assert_eq!(world.run(&["unpin", "web1", "-H", "node1"]).await.exit, 0);
    let change = agents[0].script().updates.last().cloned().unwrap();
    assert_eq!(change.update_mask.unwrap().paths, ["vms.web1.pinned"]);
    assert!(agents[0].script().unpinned.is_empty());
    // One whose VM is gone is ended by the name that it had.
    let gone = v1::VmRef {
        uuid: "11111111-0000-0000-0000-000000000000".to_owned(),
        name: "db9".to_owned(),
    };
    agents[1].script().timed_pins = vec![v1::Pin { vm: Some(gone.clone()), ..pin(1, 600) }];
    let run = world.run(&["unpin", "db9", "-A"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert_eq!(agents[1].script().unpinned.pop().unwrap().vm, gone.uuid);
}

/// A pin stays on the host where it was made, also when its VM has gone to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_vm_that_migrated_each_host_is_told_of_and_who_pins_it() {
    let (world, agents) = fleet(vec![("node1", Script::default()), ("node2", Script::default())]);
    agents[0].script().timed_pins = vec![pin(1, 600)];
    let uuid = sample::vm_ref(1).uuid;
    for name in ["web1", &uuid] {
        let run = world.run(&["unpin", name, "-A", "--utc"]).await;
        assert_eq!(run.exit, 8, "{run:?}");
        let told = format!(
            "\"{name}\" is ambiguous: node1 runs one, pinned until 2026-01-02 03:14:05Z by uid:0: import; \
             node2 runs one, not pinned"
        );
        assert!(run.stderr.contains(&told), "{run:?}");
        // Both mean the same VM: its UUID says no more than its name.
        assert!(!run.stderr.contains("give the UUID"), "{run:?}");
        let ends = format!("memctl unpin {name} --host node1 ends it");
        assert!(run.stderr.contains(&ends), "{run:?}");
    }
    // Neither has it any more.
    let gone = v1::VmRef {
        uuid: "11111111-0000-0000-0000-000000000000".to_owned(),
        name: "db9".to_owned(),
    };
    for agent in &agents {
        agent.script().timed_pins = vec![v1::Pin { vm: Some(gone.clone()), ..pin(1, 600) }];
    }
    let run = world.run(&["unpin", "db9", "-A", "--utc"]).await;
    assert!(run.stderr.contains("node2 runs none, pinned until 2026-01-02 03:14:05Z"), "{run:?}");
    let ends = "memctl unpin db9 --host node1 and memctl unpin db9 --host node2 ends it";
    assert!(run.stderr.contains(ends), "{run:?}");
    assert!(agents.iter().all(|agent| agent.script().unpinned.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_knows_no_pins_with_an_end_says_so_and_what_comes_nearest() {
    let older = Script { knows_no_pins: true, ..Script::default() };
    let world = World::new();
    world.configure(&["node1"]);
    let agent = Agent::start(&world.path("node1.sock"), older);
    let run = world.run(&["pin", "web1", "--for", "30m"]).await;
    assert_eq!(run.exit, 3, "{run:?}");
    assert!(run.stderr.contains("does not know PolicyService/PinVm"), "{run:?}");
    let instead = "memctl policy set vm.web1.pinned=true --revert-after 1800s --host node1";
    assert!(run.stderr.contains(instead), "{run:?}");
    assert!(agent.script().updates.is_empty(), "nothing was pinned for good instead");
}
