//! `memctl watch` through agentd's death: it connects again, goes on, and says what it cannot know.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::sim_host::{LOCAL, SCENARIO, World, signal, until};

#[test]
fn a_watch_goes_on_through_restarts_and_misses_nothing_silently() {
    let world = World::new(SCENARIO);
    let mut agentd = world.start(LOCAL);
    let mut watch = Watch::start(&world);
    for _ in 0..DEATHS {
        watch.until_ticks_of_another(3);
        agentd.kill();
        agentd = world.start(LOCAL);
    }
    watch.until_ticks_of_another(3);
    // And through one that is orderly.
    agentd.signal("TERM");
    agentd.wait();
    let _agentd = world.start(LOCAL);
    watch.until_ticks_of_another(3);

    let records = watch.records();
    let mut epochs: Vec<&str> = Vec::new();
    let (mut seq, mut restarts) = (None, 0);
    for record in &records {
        let kind = record["type"].as_str().unwrap();
        if kind == "gap" {
            assert_eq!(record["reason"], "restarted", "{record}");
            restarts += 1;
            // Whatever the new epoch has had so far and does not follow is in the gap.
            seq = Some(record["last"]["seq"].as_u64().unwrap());
        }
        if !["tick", "vm", "policy", "mode"].contains(&kind) {
            continue;
        }
        let epoch = record["epoch"].as_str().unwrap();
        let number = record["seq"].as_u64().unwrap();
        if epochs.last() != Some(&epoch) {
            assert!(!epochs.contains(&epoch), "an epoch came back: {record}");
            assert_eq!(restarts, epochs.len(), "a new epoch, and no gap before it: {record}");
            epochs.push(epoch);
        }
        let next = seq.map_or(number, |seq| seq + 1);
        assert_eq!(number, next, "{record}");
        seq = Some(number);
    }
    assert_eq!((epochs.len(), restarts), (DEATHS + 2, DEATHS + 1));
    let states = records.iter().filter(|record| record["type"] == "host");
    assert!(states.clone().any(|record| record["state"] == "reconnecting"), "{records:?}");
}

/// A `memctl watch -o jsonl` in the background. Killed when dropped.
struct Watch<'a> {
    world: &'a World,
    child: Child,
    /// The epochs of which ticks were waited for.
    seen: Vec<String>,
}

impl<'a> Watch<'a> {
    fn start(world: &'a World) -> Self {
        let out = File::create(world.path("watch")).unwrap();
        let mut command = world.memctl_command();
        command.args(["watch", "-o", "jsonl"]).stdout(out).stderr(Stdio::null());
        Self { world, child: command.spawn().unwrap(), seen: Vec::new() }
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.world.path("watch")).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for so many ticks of an agentd of which none was waited for: what the one before told may
    /// still be on its way.
    fn until_ticks_of_another(&mut self, count: usize) {
        let mut epoch = String::new();
        until("ticks of another agentd in the watch", || {
            let records = self.records();
            let ticks = records.iter().filter(|record| record["type"] == "tick");
            let epochs: Vec<&str> = ticks.flat_map(|tick| tick["epoch"].as_str()).collect();
            epoch = (*epochs.last().unwrap_or(&"")).to_owned();
            let is_new = !self.seen.contains(&epoch);
            Ok(is_new && epochs.iter().filter(|other| **other == epoch).count() >= count)
        });
        self.seen.push(epoch);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        signal(self.child.id(), "INT");
        let _ = self.child.wait();
    }
}

const DEATHS: usize = 3;
