//! The audit as a whole: what it takes, what it notices, and what it does without a disk.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::{
    chain::{Head, Line, When},
    files::NEWEST,
    verify::{Finding, Lines, Trail, Verdict},
    *,
};
use crate::{clock::VirtualClock, control::Actor};

fn when() -> When {
    When { time: "2026-01-02T03:04:05.000000Z".to_owned(), boot: "b".to_owned(), mono_ns: 7 }
}

/// A line of some length that says a number.
fn record(number: u64) -> Record {
    Record::Broken { detail: format!("{number} {}", "x".repeat(300)) }
}

/// Lines until there are `files` files of up to `size` bytes, but no more are kept.
fn written(dir: &Path, files: usize) -> u64 {
    let limits = Limits { size: 4096, files };
    let mut audit = Files::new(dir.to_owned(), limits);
    let mut lines = 0;
    while files::earlier(dir).unwrap().len() + 1 < files || lines % 5 != 0 {
        lines += 1;
        audit.append(&when(), &record(lines)).unwrap();
    }
    lines
}

fn verify(dir: &Path) -> Verdict {
    Trail::of_dir(dir).unwrap().verify().unwrap()
}

fn first(dir: &Path) -> (String, u64, u64, String) {
    let verdict = verify(dir);
    let Finding { place: (file, line), seq, what } = verdict.first.unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    (name, line, seq, what)
}

/// Every line of a file, with its end.
fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

fn lines_of_bytes(path: &Path) -> Vec<Vec<u8>> {
    Lines::of(path).unwrap().map(|raw| raw.unwrap().bytes).collect()
}

fn records(dir: &Path) -> Vec<Record> {
    let files = Trail::of_dir(dir).unwrap().files;
    let raw = files.iter().flat_map(|file| Lines::of(file).unwrap());
    raw.map(|raw| serde_json::from_slice::<Line>(&raw.unwrap().bytes).unwrap().record).collect()
}

#[test]
fn a_chain_over_several_files_and_a_restart_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let lines = written(dir.path(), 3);
    Files::new(dir.path().to_owned(), Limits { size: 4096, files: 3 })
        .append(&when(), &record(0))
        .unwrap();
    let verdict = verify(dir.path());
    assert_eq!(verdict.first, None);
    // Two files begin with a line that says so.
    assert_eq!((verdict.lines, verdict.span), (lines + 3, Some((1, lines + 3))));
    let mut files = Trail::of_dir(dir.path()).unwrap().files;
    files.reverse();
    let copied = Trail::of_files(&files).unwrap().verify().unwrap();
    assert_eq!((copied.first, copied.lines), (None, verdict.lines));
}

#[test]
fn no_more_files_are_kept_than_asked_for_and_those_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Files::new(dir.path().to_owned(), Limits { size: 4096, files: 3 });
    for number in 0..200 {
        audit.append(&when(), &record(number)).unwrap();
    }
    let verdict = verify(dir.path());
    assert_eq!((verdict.first, files::earlier(dir.path()).unwrap().len()), (None, 2));
    let (first_seq, last_seq) = verdict.span.unwrap();
    assert!(first_seq > 100 && last_seq > 200, "{first_seq} to {last_seq}");
    let sizes = Trail::of_dir(dir.path()).unwrap().files;
    assert!(sizes.iter().all(|file| fs::metadata(file).unwrap().len() <= 4096));
}

/// What is done to the files, and where it is found: file, line, seq and a part of what is said.
type Case = (&'static str, fn(&Path), (&'static str, u64, u64, &'static str));

fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines = lines_of(path);
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

fn earlier(dir: &Path, at: usize) -> PathBuf {
    files::earlier(dir).unwrap()[at].1.clone()
}

const CASES: [Case; 12] = [
    (
        "a byte of a line",
        |dir| edit(&earlier(dir, 0), |lines| lines[1] = lines[1].replacen("xx", "xy", 1)),
        ("audit-000000000001.jsonl", 2, 2, "was changed"),
    ),
    (
        "a byte that makes a line senseless",
        |dir| edit(&earlier(dir, 0), |lines| lines[1] = lines[1].replacen("{", "<", 1)),
        ("audit-000000000001.jsonl", 2, 2, "makes no sense"),
    ),
    (
        "a byte of the last line",
        |dir| {
            edit(&dir.join(NEWEST), |lines| {
                let last = lines.len() - 1;
                lines[last] = lines[last].replacen("xx", "xy", 1);
            });
        },
        ("audit.jsonl", 0, 0, "was changed"),
    ),
    (
        "a byte of the hash",
        |dir| {
            edit(&earlier(dir, 0), |lines| {
                let at = lines[2].find("\"prev\":\"").unwrap() + 8;
                let other = if &lines[2][at..=at] == "0" { "1" } else { "0" };
                lines[2].replace_range(at..=at, other);
            });
        },
        ("audit-000000000001.jsonl", 2, 2, "was changed"),
    ),
    (
        "a line that is left out",
        |dir| edit(&earlier(dir, 0), |lines| drop(lines.remove(3))),
        ("audit-000000000001.jsonl", 4, 5, "seq 4 is missing before"),
    ),
    (
        "two lines in each other's place",
        |dir| edit(&earlier(dir, 0), |lines| lines.swap(3, 4)),
        ("audit-000000000001.jsonl", 4, 5, "seq 4 is missing before"),
    ),
    (
        "a line twice",
        |dir| edit(&earlier(dir, 0), |lines| lines.insert(3, lines[2].clone())),
        ("audit-000000000001.jsonl", 4, 3, "not in its place"),
    ),
    (
        "the last line left out",
        |dir| edit(&dir.join(NEWEST), |lines| drop(lines.pop())),
        ("audit.jsonl", 0, 0, "is missing behind"),
    ),
    (
        "half of the last line left out",
        |dir| edit(&dir.join(NEWEST), |lines| lines.last_mut().unwrap().truncate(100)),
        ("audit.jsonl", 0, 0, "is missing behind"),
    ),
    (
        "the newest file",
        |dir| fs::remove_file(dir.join(NEWEST)).unwrap(),
        ("", 0, 0, "are missing behind"),
    ),
    (
        "a file in the middle",
        |dir| fs::remove_file(earlier(dir, 1)).unwrap(),
        ("audit.jsonl", 1, 0, "are missing before"),
    ),
    (
        "the oldest file",
        |dir| fs::remove_file(earlier(dir, 0)).unwrap(),
        ("", 1, 0, "with their file"),
    ),
];

#[test]
fn whatever_is_changed_left_out_or_moved_is_found_where_it_is() {
    for (name, change, (file, line, seq, words)) in CASES {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 3);
        assert_eq!(verify(dir.path()).first, None);
        change(dir.path());
        let found = first(dir.path());
        assert!(found.0.contains(file) && found.3.contains(words), "{name}: {found:?}");
        // 0 stands for what depends on how many lines a file has.
        assert!(
            (line == 0 || found.1 == line) && (seq == 0 || found.2 == seq),
            "{name}: {found:?}"
        );
    }
}

/// Whatever byte of whichever file becomes another one.
#[test]
fn any_other_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3);
    for (from, path) in Trail::of_dir(dir.path()).unwrap().files.into_iter().enumerate() {
        let mut bytes = fs::read(&path).unwrap();
        for at in (from..bytes.len()).step_by(11) {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            fs::write(&path, &bytes).unwrap();
            assert!(verify(dir.path()).first.is_some(), "bit {bit} of byte {at} of {path:?}");
            bytes[at] ^= bit;
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(verify(dir.path()).first, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the files hold, agentd starts, says so, and writes on behind it.
    #[test]
    fn any_bytes_are_written_behind(
        newest in prop::collection::vec(any::<u8>(), 0..300),
        head in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        line_ends in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut newest = newest;
        for end in line_ends.into_iter().filter(|_| !newest.is_empty()).collect::<Vec<_>>() {
            let at = end.index(newest.len());
            newest[at] = b'\n';
        }
        fs::write(dir.path().join(NEWEST), &newest).unwrap();
        if let Some(head) = head {
            fs::write(dir.path().join(files::HEAD), head).unwrap();
        }
        let start = || Files::new(dir.path().to_owned(), Limits { size: 4096, files: 3 });
        start().append(&when(), &record(1)).unwrap();
        start().append(&when(), &record(2)).unwrap();
        let last = lines_of_bytes(&dir.path().join(NEWEST)).pop().unwrap();
        prop_assert_eq!(serde_json::from_slice::<Line>(&last).unwrap().record, record(2));
        verify(dir.path());
    }
}

#[test]
fn an_end_that_is_unknown_is_a_finding_too() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2);
    fs::remove_file(dir.path().join(files::HEAD)).unwrap();
    assert!(first(dir.path()).3.contains("audit.head is missing"));
    let mut audit = Files::new(dir.path().to_owned(), Limits { size: 4096, files: 2 });
    audit.append(&when(), &record(0)).unwrap();
    assert_eq!(verify(dir.path()).first, None, "agentd has seen it and said so");
    let is_said = |record: &Record| matches!(record, Record::Broken { detail } if detail.contains("audit.head"));
    assert_eq!(records(dir.path()).iter().filter(|record| is_said(record)).count(), 1);
}

#[test]
fn a_line_that_was_cut_off_by_a_crash_is_kept_aside_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let lines = written(dir.path(), 2);
    let path = dir.path().join(NEWEST);
    let whole = fs::read(&path).unwrap();
    let torn = [&whole[..], br#"{"seq":9999,"prev":"#].concat();
    fs::write(&path, &torn).unwrap();
    let verdict = verify(dir.path());
    assert_eq!((verdict.first, verdict.cut_off), (None, 19), "nobody was told that it is written");

    let mut audit = Files::new(dir.path().to_owned(), Limits { size: 4096, files: 2 });
    let told = audit.take_up(&when()).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let Some(Record::Torn { bytes, kept }) = records(dir.path()).pop() else { panic!("not said") };
    assert_eq!((bytes, kept.as_str()), (19, format!("audit.torn-{}", lines + 2).as_str()));
    assert_eq!(fs::read(dir.path().join(kept)).unwrap(), br#"{"seq":9999,"prev":"#);
    let verdict = verify(dir.path());
    assert_eq!((verdict.first, verdict.cut_off, verdict.tally.damaged), (None, 0, lines + 1));
    assert_eq!(audit.take_up(&when()).unwrap(), Vec::<String>::new(), "said once");
}

/// A file that somebody has shortened or taken away is not mended: the gap stays for all to see.
#[test]
fn an_end_that_is_gone_at_the_start_stays_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let lines = written(dir.path(), 2);
    let path = dir.path().join(NEWEST);
    let mut left = lines_of(&path);
    left.truncate(1);
    fs::write(&path, left.concat()).unwrap();
    let mut audit = Files::new(dir.path().to_owned(), Limits { size: 1 << 20, files: 2 });
    audit.append(&when(), &record(0)).unwrap();
    let found = first(dir.path());
    assert!(found.3.contains("are missing before this line"), "{found:?}");
    assert_eq!(found.2, lines + 2, "the chain goes on behind what is gone");

    // The same while agentd runs.
    fs::remove_file(&path).unwrap();
    let told = audit.take_up(&when()).unwrap();
    assert!(told[0].contains("missing at the end"), "{told:?}");
    assert!(verify(dir.path()).first.is_some());
}

/// Between the two steps with which a file begins, and before the first line.
#[test]
fn a_kill_while_a_file_begins_leaves_a_whole_chain() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2);
    let path = dir.path().join(NEWEST);
    let begin = Head::of(lines_of(&path)[0].trim_end().as_bytes()).unwrap();
    fs::rename(&path, dir.path().join(format!("audit-{:012}.jsonl", begin.seq))).unwrap();
    assert_eq!(verify(dir.path()).first, None);
    fs::write(&path, "").unwrap();
    assert_eq!(verify(dir.path()).first, None);
    let mut audit = Files::new(dir.path().to_owned(), Limits { size: 4096, files: 9 });
    audit.append(&when(), &record(0)).unwrap();
    assert_eq!(verify(dir.path()).first, None);
}

struct Rig {
    dir: tempfile::TempDir,
    publisher: Arc<Publisher>,
    clock: Arc<VirtualClock>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        let publisher = Arc::new(Publisher::new(clock.clone(), 1 << 20));
        Self { dir: tempfile::tempdir().unwrap(), publisher, clock }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self, patience: Duration) -> Audit {
        fs::create_dir_all(self.state()).unwrap();
        let (publisher, clock) = (self.publisher.clone(), self.clock.clone());
        let limits = Limits { size: 1 << 20, files: 4 };
        Audit::start(Parts { dir: self.state(), limits, clock, publisher, patience }).unwrap()
    }

    fn is_lost(&self) -> bool {
        self.publisher.conditions().has(AUDIT_LOST)
    }
}

fn call(reason: &str) -> Call {
    let caller = Caller { who: "uid:0".to_owned(), ..Caller::default() };
    let (method, target) = ("agentd.v1.HostService/SetMode".to_owned(), "mode".to_owned());
    Call { caller, method, target, reason: reason.to_owned(), ..Call::default() }
}

fn kinds(records: &[Record]) -> Vec<&'static str> {
    let kind = |record: &Record| match record {
        Record::Start { .. } => "start",
        Record::Stop {} => "stop",
        Record::Intent(_) => "intent",
        Record::Outcome(outcome) if outcome.decision == Decision::Allowed => "made",
        Record::Outcome(_) => "refused",
        Record::Denial(_) => "denial",
        Record::Counted(_) => "counted",
        Record::Missed { .. } => "missed",
        Record::Rotated { .. } => "rotated",
        Record::Torn { .. } => "torn",
        Record::Broken { .. } => "broken",
    };
    records.iter().map(kind).collect()
}

#[test]
fn a_change_is_on_disk_before_it_is_made_and_so_is_what_became_of_it() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    audit.begin(Facts::new());
    let change = audit.intend(call("night"), Asked::default()).unwrap();
    assert_eq!(kinds(&records(&rig.state())), ["start", "intent"]);
    audit.conclude(&change, Ok(Effect::default()));
    let refused = Refused { reason: "ETAG_MISMATCH".to_owned(), detail: "changed".to_owned() };
    let change = audit.intend(call("day"), Asked::default()).unwrap();
    audit.conclude(&change, Err(refused));
    assert!(audit.close(LONG));
    let records = records(&rig.state());
    assert_eq!(kinds(&records), ["start", "intent", "made", "intent", "refused", "stop"]);
    let Some(Record::Outcome(outcome)) = records.get(4) else { panic!("{records:?}") };
    assert_eq!((outcome.outcome.as_str(), outcome.change), ("ETAG_MISMATCH", 2));
    assert_eq!(verify(&rig.state()).first, None);
    assert_eq!(fs::metadata(rig.state().join(NEWEST)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn without_its_directory_every_change_is_refused_but_a_pause_which_is_written_later() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    let made = audit.intend(call("before"), Asked::default()).unwrap();
    audit.conclude(&made, Ok(Effect::default()));
    let aside = rig.dir.path().join("aside");
    fs::rename(rig.state(), &aside).unwrap();

    let refused = audit.intend(call("lost"), Asked::default()).unwrap_err().to_string();
    assert!(refused.starts_with("the change was not made, because it cannot be"), "{refused}");
    let pause = audit.intend_pause(call("fire"), Asked::default());
    audit.conclude(&pause, Ok(Effect::default()));
    assert!(rig.is_lost());

    fs::rename(&aside, rig.state()).unwrap();
    let made = audit.intend(call("after"), Asked::default()).unwrap();
    audit.conclude(&made, Ok(Effect::default()));
    assert!(!rig.is_lost());
    let records = records(&rig.state());
    // The refused one, the pause and what became of it, behind a line that says that they are late.
    let expected = ["intent", "made", "missed", "refused", "intent", "made", "intent", "made"];
    assert_eq!(kinds(&records), expected);
    assert!(matches!(records[2], Record::Missed { count: 0, late: 3, .. }), "{records:?}");
    assert_eq!(verify(&rig.state()).first, None);
}

#[test]
fn what_there_is_no_room_to_keep_is_counted() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    let aside = rig.dir.path().join("aside");
    fs::rename(rig.state(), &aside).unwrap();
    for _ in 0..100 {
        audit.intend(call("lost"), Asked::default()).unwrap_err();
    }
    fs::rename(&aside, rig.state()).unwrap();
    let made = audit.intend(call("after"), Asked::default()).unwrap();
    audit.conclude(&made, Ok(Effect::default()));
    let records = records(&rig.state());
    let Record::Missed { count, late, .. } = &records[0] else { panic!("{:?}", records[0]) };
    let told = kinds(&records).iter().filter(|kind| **kind == "refused").count();
    // The last one may have come when there was room again.
    assert_eq!((*late, *count + u64::try_from(told).unwrap()), (64, 100));
}

/// The thread waits for a lock that is held here, as it would for a disk that hangs.
#[test]
fn a_disk_that_hangs_costs_a_change_its_patience_and_a_pause_a_quarter_of_a_second() {
    let rig = Rig::new();
    let audit = rig.start(Duration::from_millis(20));
    let held = audit.quota.lock().unwrap();
    audit.begin(Facts::new());
    let refused = audit.intend(call("hangs"), Asked::default()).unwrap_err().to_string();
    assert!(refused.contains("the disk has not answered within 20ms"), "{refused}");
    assert!(rig.is_lost());
    let pause = audit.intend_pause(call("fire"), Asked::default());
    drop(held);
    audit.conclude(&pause, Ok(Effect::default()));
    assert!(audit.close(LONG));
    assert!(!rig.is_lost());
    let expected = ["start", "intent", "refused", "intent", "made", "stop"];
    assert_eq!(kinds(&records(&rig.state())), expected);
}

#[test]
fn a_flood_of_denials_is_bounded_in_bytes_and_all_of_it_is_counted() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    let nobody =
        Caller { who: "n".repeat(10_000), from: "192.0.2.1:7".into(), ..Caller::default() };
    for _ in 0..20_000 {
        audit.denied(nobody.clone(), &"m".repeat(10_000), "PERMISSION_DENIED");
    }
    assert!(audit.close(LONG));
    let bytes = fs::metadata(rig.state().join(NEWEST)).unwrap().len();
    assert!(bytes < 40_000, "{bytes} bytes");
    let verdict = verify(&rig.state());
    assert_eq!((verdict.first, verdict.tally.denied), (None, 10));
    assert_eq!(verdict.tally.counted, 20_000 - 10);
}

#[test]
fn a_denial_tells_who_from_where_and_why() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    let time = SystemTime::UNIX_EPOCH;
    let actor = Actor { id: "uid:7".to_owned(), peer: "192.0.2.1:7".to_owned(), time };
    audit.denied(&actor, "agentd.v1.HostService/SetMode", "PERMISSION_DENIED");
    assert!(audit.close(LONG));
    let records = records(&rig.state());
    let Some(Record::Denial(denial)) = records.first() else { panic!("{records:?}") };
    let Denial { call, decision, outcome, .. } = denial;
    assert_eq!((*decision, outcome.as_str()), (Decision::Denied, "PERMISSION_DENIED"));
    assert_eq!((call.caller.who.as_str(), call.caller.from.as_str()), ("uid:7", "192.0.2.1:7"));
    let row = "uid:7     192.0.2.1:7  SetMode            PERMISSION_DENIED  denied";
    assert!(shown(&rig.state(), "").contains(row), "{}", shown(&rig.state(), ""));
}

fn shown(dir: &Path, since: &str) -> String {
    let (mut out, mut log) = (Vec::new(), Vec::new());
    show::table(&Trail::of_dir(dir).unwrap(), since, (&mut out, &mut log)).unwrap();
    assert_eq!(log, b"");
    String::from_utf8(out).unwrap()
}

#[test]
fn a_change_that_agentd_was_killed_in_is_shown_as_such() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    audit.begin(Facts::new());
    // As after a kill: nobody says what became of it.
    let _ = audit.intend(call("night"), Asked::default()).unwrap();
    assert!(audit.close(LONG));
    let audit = rig.start(LONG);
    audit.begin(Facts::new());
    assert!(audit.close(LONG));
    let verdict = verify(&rig.state());
    assert_eq!((verdict.first, verdict.tally.unfinished), (None, vec![2]));
    let shown = shown(&rig.state(), "");
    assert!(shown.contains("NO OUTCOME  agentd ended before it could say; mode"), "{shown}");
}

#[test]
fn what_others_chose_is_shown_without_steering_a_terminal() {
    let rig = Rig::new();
    let audit = rig.start(LONG);
    let change = audit.intend(call("a\u{1b}[2Jb\u{202e}c"), Asked::default()).unwrap();
    let vm = Facts::from([("vm".to_owned(), "web\u{9b}\u{200b}ü".to_owned())]);
    audit.conclude(&change, Ok(Effect { after: vm, ..Effect::default() }));
    assert!(audit.close(LONG));
    let shown = shown(&rig.state(), "");
    assert!(shown.contains(r#"vm web\u{9b}\u{200b}ü; "a\u{1b}[2Jb\u{202e}c""#), "{shown}");
    assert!(!self::shown(&rig.state(), "2030").contains("web"), "it is older");
}

/// Only a hang takes longer.
const LONG: Duration = Duration::from_secs(60);
