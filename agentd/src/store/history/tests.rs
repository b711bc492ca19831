//! The history on disk: order, retention, what is kept of what makes way, and a broken file.

use std::{fs, io::Write as _};

use super::{layout::KINDS, *};
use crate::publish::{Epoch, Kind, Position, Stamp};

fn entry(epoch: &Epoch, seq: u64, size: usize) -> Entry {
    let kind = KINDS[usize::try_from(seq).unwrap() % KINDS.len()];
    Entry {
        shadow: None,
        position: Position { epoch: epoch.clone(), seq },
        stamp: Stamp { wall: at(seq), monotonic: Duration::from_secs(seq) },
        kind,
        eventful: seq.is_multiple_of(2),
        bytes: noise(seq, size).into(),
    }
}

/// Bytes that nothing makes smaller.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Their seqs.
fn condense(entries: &[Entry]) -> Vec<u8> {
    let seqs: Vec<String> = entries.iter().map(|e| e.position.seq.to_string()).collect();
    seqs.join(" ").into_bytes()
}

fn open(path: &Path, retention: Retention) -> HistoryStore {
    HistoryStore::open(path, retention, condense).unwrap()
}

/// Every entry that is kept whole, through all pages.
fn all(history: &HistoryStore) -> Vec<Entry> {
    let reader = history.reader().unwrap();
    let (mut place, mut entries) = (Place::default(), Vec::new());
    loop {
        let found = reader.read(|past| past.behind(place, 100_000)).unwrap();
        let Some(last) = found.last() else { return entries };
        assert!(last.place > place);
        place = last.place;
        entries.extend(found.into_iter().map(|found| found.entry));
    }
}

fn seqs(history: &HistoryStore) -> Vec<u64> {
    all(history).iter().map(|entry| entry.position.seq).collect()
}

fn digests(history: &HistoryStore) -> Vec<String> {
    let reader = history.reader().unwrap();
    let found =
        reader.read(|past| past.digests(Place::default(), (at(0), at(1 << 40)), 10_000)).unwrap();
    found.into_iter().map(|digest| String::from_utf8(digest.bytes).unwrap()).collect()
}

const EVERYTHING: Retention = Retention { age: Duration::from_secs(1 << 30), bytes: 1 << 30 };

#[test]
fn keeps_entries_of_several_runs_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let (one, other) = (Epoch::random(), Epoch::random());
    let mut history = open(&path, EVERYTHING);
    history.append(&[entry(&one, 1, 10), entry(&one, 2, 20)]).unwrap();
    drop(history);
    let mut history = open(&path, EVERYTHING);
    history.append(&[entry(&other, 1, 30)]).unwrap();
    history.append(&[]).unwrap();

    let kept = all(&history);
    let seen: Vec<_> =
        kept.iter().map(|e| (&e.position.epoch, e.position.seq, e.bytes.len())).collect();
    assert_eq!(seen, [(&one, 1, 10), (&one, 2, 20), (&other, 1, 30)]);
    assert_eq!((kept[1].stamp.wall, kept[1].kind, kept[1].eventful), (at(2), KINDS[2], true));
}

#[test]
fn entries_are_kept_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let mut history = open(&dir.path().join("h"), EVERYTHING);
    // The same place twice is refused.
    assert!(history.append(&[entry(&epoch, 1, 1), entry(&epoch, 1, 1)]).is_err());
    assert_eq!(seqs(&history), Vec::<u64>::new());
    history.append(&[entry(&epoch, 1, 1)]).unwrap();
    assert_eq!(seqs(&history), [1]);
}

#[test]
fn minutes_that_are_over_are_packed_and_read_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    let (one, other) = (Epoch::random(), Epoch::random());
    let entries: Vec<Entry> = (1..=200).map(|seq| entry(&one, seq, 500)).collect();
    let mut history = open(&path, EVERYTHING);
    for batch in entries.chunks(3) {
        history.append(batch).unwrap();
    }
    drop(history);
    // A run that ends within a minute ends its block too.
    let mut history = open(&path, EVERYTHING);
    for seq in 200..=203 {
        history.append(&[entry(&other, seq, 500)]).unwrap();
    }
    let packed = digests(&history);
    let sizes: Vec<usize> = packed.iter().map(|digest| digest.split(' ').count()).collect();
    assert_eq!(sizes, [59, 60, 60, 21]);
    let kept = all(&history);
    assert_eq!(kept.len(), 204);
    for (kept, made) in kept.iter().zip(&entries) {
        assert_eq!((&kept.position, &kept.bytes), (&made.position, &made.bytes));
        assert_eq!((kept.stamp.wall, kept.kind), (made.stamp.wall, made.kind));
    }

    let reader = history.reader().unwrap();
    for seq in [1, 60, 200] {
        let found = reader
            .read(|past| past.find(&entries[usize::try_from(seq).unwrap() - 1].position))
            .unwrap();
        assert_eq!(found.unwrap().position.seq, seq);
    }
    let nowhere = Position { epoch: other, seq: 7 };
    assert!(reader.read(|past| past.find(&nowhere)).unwrap().is_none());
    for time in [1, 61, 130, 202, 5000] {
        let found = reader.read(|past| past.tick_before(at(time))).unwrap();
        let mut ticks = kept.iter().filter(|e| e.kind == Kind::Tick && e.stamp.wall <= at(time));
        let want = ticks.next_back().map(|entry| entry.position.clone());
        assert_eq!(found.map(|entry| entry.position), want, "{time}");
    }
    let place = reader.read(|past| past.place_at(at(100))).unwrap();
    let first = reader.read(|past| past.behind(place, 1)).unwrap();
    assert!(first[0].entry.stamp.wall <= at(100) && first[0].entry.stamp.wall > at(59));
    assert_eq!(reader.read(|past| past.behind(past.place_at(at(999))?, 1)).unwrap().len(), 0);
}

/// As a page is read: minutes first, and then what is not packed yet.
#[test]
fn a_minute_that_is_packed_between_two_looks_is_neither_missed_nor_met_twice() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let mut history = open(&dir.path().join("h"), EVERYTHING);
    for seq in 1..=130 {
        history.append(&[entry(&epoch, seq, 50)]).unwrap();
    }
    let minutes = digests(&history).len();
    let reader = history.reader().unwrap();
    let seen = reader.read(|past| {
        let packed = past.digests(Place::default(), (at(0), at(1 << 40)), 10)?;
        let last = packed.last().map(|digest| digest.behind).unwrap_or_default();
        for seq in 131..=400 {
            history.append(&[entry(&epoch, seq, 50)])?;
        }
        let seqs = |digest: &Digest| String::from_utf8(digest.bytes.clone()).unwrap();
        let packed = packed.iter().map(seqs).collect::<Vec<_>>().join(" ");
        let loose = past.loose(last, 1000)?.into_iter().map(|found| found.entry.position.seq);
        let packed = packed.split(' ').map(|seq| seq.parse().unwrap());
        Ok(packed.chain(loose).collect::<Vec<u64>>())
    });
    assert_eq!(seen.unwrap(), (1..=130).collect::<Vec<_>>());
    assert!(digests(&history).len() > minutes, "none was packed meanwhile");
    assert_eq!(seqs(&history), (1..=400).collect::<Vec<_>>());
}

#[test]
fn old_entries_make_way() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let retention = Retention { age: Duration::from_secs(10), ..EVERYTHING };
    let mut history = open(&dir.path().join("h"), retention);
    for seq in 1..=100 {
        history.append(&[entry(&epoch, seq, 10)]).unwrap();
    }
    assert_eq!(seqs(&history), (90..=100).collect::<Vec<_>>());

    let retention = Retention { age: Duration::from_secs(300), ..EVERYTHING };
    let mut history = open(&dir.path().join("h2"), retention);
    for seq in 1..=1000 {
        history.append(&[entry(&epoch, seq, 10)]).unwrap();
    }
    // A block goes with its last entry.
    assert_eq!(seqs(&history), (660..=1000).collect::<Vec<_>>());
    assert!(digests(&history)[0].starts_with("660 "));
}

#[test]
fn by_size_the_entries_go_first_and_their_digests_last() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let mut history = open(&dir.path().join("h"), Retention { bytes: 2 << 20, ..EVERYTHING });
    for seq in 1..=3000 {
        history.append(&[entry(&epoch, seq, 4000)]).unwrap();
    }
    let kept = seqs(&history);
    assert!((200..600).contains(&kept.len()), "{}", kept.len());
    assert_eq!(*kept.last().unwrap(), 3000);
    assert!(kept.windows(2).all(|two| two[0] + 1 == two[1]));
    // Everything is still known to the minute.
    assert!(digests(&history)[0].starts_with("1 2 3 "));
    let reach = history.reader().unwrap().read(|past| past.reach()).unwrap();
    assert_eq!((reach.oldest, reach.oldest_whole), (Some(at(1)), Some(at(kept[0]))));
}

#[test]
fn digests_alone_stay_within_their_part_of_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = Epoch::random();
    let large = |entries: &[Entry]| noise(entries[0].position.seq, 20_000);
    let retention = Retention { bytes: 1 << 20, ..EVERYTHING };
    let mut history = HistoryStore::open(&dir.path().join("h"), retention, large).unwrap();
    for seq in 1..=6000 {
        history.append(&[entry(&epoch, seq, 100)]).unwrap();
    }
    let reader = history.reader().unwrap();
    let digests =
        reader.read(|past| past.digests(Place::default(), (at(0), at(1 << 40)), 10_000)).unwrap();
    let bytes: usize = digests.iter().map(|digest| digest.bytes.len()).sum();
    assert!((100_000..=(1 << 18)).contains(&bytes), "{bytes}");
    // What is counted along is what is there.
    let counted = history.known.unwrap().digested;
    assert_eq!(counted, Known::of(&history.db).unwrap().digested);
}

#[test]
fn the_file_stays_within_its_size_also_when_that_is_lowered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let epoch = Epoch::random();
    let sized = |mib: u64| open(&path, Retention { bytes: mib << 20, ..EVERYTHING });
    let fill = |history: &mut HistoryStore, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            history.append(&[entry(&epoch, seq, 10_000)]).unwrap();
        }
        let (size, most) = (history.size().unwrap(), history.retention.bytes);
        // A block at a time.
        assert!((most / 3..most + 700_000).contains(&size), "{size} of {most}");
    };
    let mut history = sized(4);
    fill(&mut history, 1..1000);
    drop(history);
    let mut history = sized(2);
    // A few with each append: this is not done with the first.
    fill(&mut history, 1000..1100);
    drop(history);
    assert!(fs::metadata(&path).unwrap().len() < 3 << 20);
    assert_eq!(*seqs(&sized(2)).last().unwrap(), 1099);
}

#[test]
fn a_file_of_the_first_version_is_read_and_packed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    let epoch = Epoch::random();
    let first = super::super::database::Layout { migrations: &LAYOUT.migrations[..1], ..LAYOUT };
    let db = first.open(&path).unwrap();
    db.execute("INSERT INTO epoch (number, name) VALUES (1, ?1)", [epoch.as_str()]).unwrap();
    for seq in 1..=90_u64 {
        let Entry { bytes, .. } = entry(&epoch, seq, 50);
        let row = params![i64::try_from(seq).unwrap(), to_nanos(at(seq)), &*bytes];
        let put = "INSERT INTO entry (epoch, seq, wall, kind, eventful, body)
                   VALUES (1, ?1, ?2, 1, 0, ?3)";
        db.execute(put, row).unwrap();
    }
    drop(db);
    let mut history = open(&path, EVERYTHING);
    for seq in 91..=93 {
        history.append(&[entry(&epoch, seq, 50)]).unwrap();
    }
    assert_eq!(digests(&history).len(), 1);
    let kept = all(&history);
    assert_eq!(kept.len(), 93);
    for kept in kept {
        assert_eq!(*kept.bytes, *noise(kept.position.seq, 50));
    }
}

#[test]
fn a_broken_history_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    for _ in 0..3 {
        fs::write(&path, "nonsense".repeat(1000)).unwrap();
        let mut history = open(&path, EVERYTHING);
        history.append(&[entry(&Epoch::random(), 1, 1)]).unwrap();
    }
    let aside = fs::read_dir(dir.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("history.db.corrupt-")
    });
    assert_eq!(aside.count(), 1);
}

#[test]
fn a_history_that_breaks_while_it_is_read_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let epoch = Epoch::random();
    let mut history = open(&path, EVERYTHING);
    for seq in 1..=300 {
        history.append(&[entry(&epoch, seq, 2000)]).unwrap();
    }
    history.db.execute("UPDATE body SET entries = zeroblob(100)", []).unwrap();
    let reader = history.reader().unwrap();
    assert!(reader.read(|past| past.behind(Place::default(), 1 << 20)).is_err());
    drop((reader, history));
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(&[0xff; 50_000]).unwrap();
    let mut history = open(&path, EVERYTHING);
    history.append(&[entry(&epoch, 1, 10)]).unwrap();
    assert_eq!(seqs(&history), [1]);
}
