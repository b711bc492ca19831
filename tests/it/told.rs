//! What a watch of many hosts has told, beside what each agent's own log says: nothing is missing without a gap
//! that says so, nothing is there twice, and what is told is what was logged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::sim_host::{World, signal, until};

/// A `memctl watch -o jsonl` of all configured hosts in the background. Killed when dropped.
pub(crate) struct Told {
    child: Child,
    path: PathBuf,
}

impl Told {
    pub(crate) fn start(world: &World) -> Self {
        let path = world.path("stream.jsonl");
        let mut watch = world.memctl_command();
        // However busy the machine is, only what happens to the lines is a loss.
        watch.args(["-A", "--timeout", "60s", "watch", "-o", "jsonl"]).stderr(Stdio::null());
        let child = watch.stdout(File::create(&path).unwrap()).spawn().unwrap();
        Self { child, path }
    }

    /// Every record so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        lines(&fs::read_to_string(&self.path).unwrap())
    }

    pub(crate) fn records_of(&self, host: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["host"] == host).collect()
    }

    /// Waits until ten more ticks of each of these were told.
    pub(crate) fn go_on(&self, hosts: &[&str]) {
        let ticks = |host: &str| {
            self.records_of(host).iter().filter(|record| record["type"] == "tick").count()
        };
        let before: Vec<usize> = hosts.iter().map(|host| ticks(host)).collect();
        until("more ticks", || {
            let mut pairs = hosts.iter().zip(&before);
            Ok(pairs.all(|(host, before)| ticks(host) >= before + 10))
        });
    }

    /// Ends it as an operator would, and gives all that it has told.
    pub(crate) fn end(mut self) -> Vec<Value> {
        signal(self.child.id(), "TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(TERMINATED));
        self.records()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compares what was told of a host with its log, which is asked for where it listens itself; the reasons of
/// the gaps that were told.
pub(crate) fn compare(world: &World, host: &str, stream: &[Value]) -> Vec<String> {
    let told: Vec<&Value> = stream.iter().filter(|record| record["host"] == host).collect();
    let log = |from: &[&str]| {
        let uri = world.uri(host);
        let ask = ["-H", &uri, "watch", "--no-follow", "-o", "jsonl"];
        let log = world.memctl(&[&ask[..], from].concat());
        assert_eq!(log.exit, Some(0), "{}", log.stderr);
        let mut records = lines(&log.stdout);
        // It is asked by its address, and watched by its name.
        records.iter_mut().for_each(|record| record["host"] = host.into());
        records
    };
    // The one is of this life, the other of those before it, too.
    let (own, past) = (log(&["--oldest"]), log(&["--since", "1h"]));
    let (own, past) = (entries(own.iter()), entries(past.iter()));
    let past_places: Vec<&Place> = past.iter().map(|(place, _)| place).collect();
    let told_entries = entries(told.iter().copied());
    let found: BTreeMap<&Place, &Value> =
        told_entries.iter().map(|(place, record)| (place, *record)).collect();
    assert_eq!(found.len(), told_entries.len(), "{host}: an entry was told twice");
    let (first, last) = (told_entries.first().unwrap(), told_entries.last().unwrap());
    let at = |place: &Place| past_places.iter().position(|known| *known == place).unwrap();
    let between = past_places.get(at(&first.0)..=at(&last.0)).unwrap();
    assert!(between.len() >= 10, "{host}: {first:?} to {last:?}");
    let gaps: Vec<&Value> = told.iter().copied().filter(|record| record["type"] == "gap").collect();
    for place in between.iter().filter(|place| !found.contains_key(**place)) {
        let said = gaps.iter().any(|gap| is_in(place, gap, &found));
        assert!(said, "{host}: {place:?} is missing, and no gap says so: {gaps:?}");
    }
    let order: Vec<&Place> = told_entries.iter().map(|(place, _)| place).collect();
    let known: BTreeSet<&&Place> = order.iter().collect();
    let logged: Vec<&Place> =
        past_places.iter().copied().filter(|place| known.contains(place)).collect();
    assert_eq!(order, logged, "{host}: told in another order than logged, or never logged");
    for (place, logged) in &own {
        let differs = found.get(place).filter(|told| **told != *logged);
        assert!(differs.is_none(), "{host}: {differs:?} is not what was logged: {logged}");
    }
    gaps.iter().map(|gap| gap["reason"].as_str().unwrap().to_owned()).collect()
}

/// Whether a gap is about this entry: it is between its two ends, or of an agent that ended.
fn is_in((epoch, seq): &Place, gap: &Value, found: &BTreeMap<&Place, &Value>) -> bool {
    let end = |name: &str| {
        let end = &gap[name];
        (end["epoch"].as_str().unwrap_or_default(), end["seq"].as_u64().unwrap_or_default())
    };
    let (first, last) = (end("first"), end("last"));
    if last.0 == epoch {
        return *seq <= last.1 && (first.0 != epoch || first.1 <= *seq);
    }
    let is_behind_all = found.keys().all(|(own, known)| own != epoch || known < seq);
    gap["reason"] == "restarted" && is_behind_all
}

/// An epoch, and a number in it.
type Place = (String, u64);

/// The entries of a log with their positions.
fn entries<'a>(records: impl Iterator<Item = &'a Value>) -> Vec<(Place, &'a Value)> {
    let of_log = ["tick", "vm", "policy", "mode", "reservation", "pin"];
    records
        .filter(|record| of_log.contains(&record["type"].as_str().unwrap()))
        .map(|record| {
            let epoch = record["epoch"].as_str().unwrap().to_owned();
            ((epoch, record["seq"].as_u64().unwrap()), record)
        })
        .collect()
}

/// All whole lines: the last one may be in the making.
fn lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const TERMINATED: i32 = 143;
