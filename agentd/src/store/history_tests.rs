//! The history on disk: order, retention, and a broken file.

use std::fs;

use super::*;
use crate::publish::{Epoch, Position, Stamp};

fn entry(epoch: &Epoch, seq: u64, size: usize) -> Entry {
    Entry {
        shadow: None,
        position: Position { epoch: epoch.clone(), seq },
        stamp: Stamp { wall: at(seq), monotonic: Duration::from_secs(seq) },
        kind: KINDS[usize::try_from(seq).unwrap() % KINDS.len()],
        eventful: seq.is_multiple_of(2),
        bytes: vec![7; size].into(),
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const EVERYTHING: Retention = Retention { age: Duration::from_secs(1 << 30), bytes: 1 << 30 };

#[test]
fn keeps_entries_of_several_runs_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let (one, other) = (Epoch::random(), Epoch::random());
    let mut history = HistoryStore::open(&path, EVERYTHING).unwrap();
    history.append(&[entry(&one, 1, 10), entry(&one, 2, 20)]).unwrap();
    drop(history);
    let mut history = HistoryStore::open(&path, EVERYTHING).unwrap();
    history.append(&[entry(&other, 1, 30)]).unwrap();
    history.append(&[]).unwrap();

    let all = history.since(SystemTime::UNIX_EPOCH, 9).unwrap();
    let seen: Vec<_> = all.iter().map(|e| (e.epoch.as_str(), e.seq, e.bytes.len())).collect();
    assert_eq!(seen, [(one.as_str(), 1, 10), (one.as_str(), 2, 20), (other.as_str(), 1, 30)]);
    assert_eq!((all[1].wall, all[1].kind, all[1].eventful), (at(2), Some(KINDS[2]), true));
    let late: Vec<u64> = history.since(at(2), 9).unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(late, [2]);
}

#[test]
fn entries_are_kept_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let mut history = HistoryStore::open(&dir.path().join("h"), EVERYTHING).unwrap();
    // The same place twice is refused.
    assert!(history.append(&[entry(&epoch, 1, 1), entry(&epoch, 1, 1)]).is_err());
    assert_eq!(history.since(SystemTime::UNIX_EPOCH, 9).unwrap(), []);
    history.append(&[entry(&epoch, 1, 1)]).unwrap();
}

#[test]
fn old_entries_make_way() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let retention = Retention { age: Duration::from_secs(10), ..EVERYTHING };
    let mut history = HistoryStore::open(&dir.path().join("h"), retention).unwrap();
    for seq in 1..=100 {
        history.append(&[entry(&epoch, seq, 10)]).unwrap();
    }
    let kept: Vec<u64> =
        history.since(SystemTime::UNIX_EPOCH, 999).unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(kept, (90..=100).collect::<Vec<_>>());
}

#[test]
fn the_file_stays_within_its_size_also_when_that_is_lowered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let epoch = Epoch::random();
    let open = |mib: u64| HistoryStore::open(&path, Retention { bytes: mib << 20, ..EVERYTHING });
    let fill = |history: &mut HistoryStore, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            history.append(&[entry(&epoch, seq, 40_000)]).unwrap();
        }
        let (size, most) = (history.size().unwrap(), history.retention.bytes);
        assert!((most / 2..most + 100_000).contains(&size), "{size} of {most}");
    };
    let mut history = open(4).unwrap();
    fill(&mut history, 1..400);
    drop(history);
    let mut history = open(1).unwrap();
    // A few with each append: this is not done with the first.
    fill(&mut history, 400..420);
    drop(history);
    assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
    let newest = open(1).unwrap().since(at(419), 9).unwrap();
    assert_eq!(newest.len(), 1);
}

#[test]
fn a_broken_history_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    for _ in 0..3 {
        fs::write(&path, "nonsense".repeat(1000)).unwrap();
        let mut history = HistoryStore::open(&path, EVERYTHING).unwrap();
        history.append(&[entry(&Epoch::random(), 1, 1)]).unwrap();
    }
    let aside = fs::read_dir(dir.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("history.db.corrupt-")
    });
    assert_eq!(aside.count(), 1);
}
