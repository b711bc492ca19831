//! Pages of an audit over several files, and what is left out of them.

use std::{fs, path::Path};

use super::*;
use crate::audit::{
    chain::When,
    files::{Files, Limits},
    record::Caller,
};

fn when(second: u64) -> When {
    let time = format!("2026-01-02T03:{:02}:{:02}.000000Z", second / 60 % 60, second % 60);
    When { time, boot: "b".to_owned(), mono_ns: second }
}

fn call(who: &str, method: &str) -> Call {
    let caller = Caller { who: who.to_owned(), ..Caller::default() };
    Call { caller, method: method.to_owned(), reason: "x".repeat(200), ..Call::default() }
}

fn intent(change: u64) -> Record {
    let (before, asked, changes) = Default::default();
    let (call, decision) =
        (call("uid:0", "agentd.v1.PolicyService/UpdatePolicy"), Decision::Allowed);
    Record::Intent(Intent { change, call, decision, before, asked, changes })
}

fn outcome(change: u64) -> Record {
    let (before, after, changes) = Default::default();
    Record::Outcome(Outcome {
        change,
        call: call("uid:0", "agentd.v1.PolicyService/UpdatePolicy"),
        decision: Decision::Allowed,
        outcome: "OK".to_owned(),
        detail: String::new(),
        before,
        after,
        changes,
        latency_us: 1500,
    })
}

fn denial(who: &str) -> Record {
    let call = call(who, "agentd.v1.HostService/SetMode");
    let outcome = "ROLE_MISSING".to_owned();
    Record::Denial(Denial { call, decision: Decision::Denied, outcome, detail: String::new() })
}

fn start() -> Record {
    let version = "1.2.3".to_owned();
    Record::Start { version, pid: 7, in_force: Facts::new() }
}

/// Two runs of agentd over several files; in the first one change was never concluded.
fn written(dir: &Path) {
    let mut files = Files::new(dir.to_owned(), Limits { size: 8192, files: 50 });
    let mut records = vec![start()];
    for change in 1..=30 {
        records.extend([intent(change), denial("mallory"), outcome(change)]);
    }
    records.extend([intent(31), start()]);
    for change in 1..=31 {
        records.extend([intent(change), outcome(change)]);
    }
    for (second, record) in (0..).zip(&records) {
        files.append(&when(second), record).unwrap();
    }
    assert!(earlier(dir).unwrap().len() > 2, "several files");
}

/// All pages of this size.
fn all(dir: &Path, wanted: &Wanted, size: usize) -> Vec<Entry> {
    let (mut entries, mut from) = (Vec::new(), None);
    loop {
        let page = page(dir, wanted, from, size).unwrap();
        assert!(page.entries.len() <= size);
        entries.extend(page.entries);
        let Some(next) = page.next else { return entries };
        // As a client gives it back.
        from = Some(next.to_string().parse().unwrap());
    }
}

#[test]
fn pages_of_every_size_tell_the_same_newest_first_and_of_each_change_once() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let whole = all(dir.path(), &Wanted::default(), 1000);
    assert!(whole.is_sorted_by(|newer, older| newer.seq > older.seq && newer.time >= older.time));
    let count = |kind| whole.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count(Kind::Change), count(Kind::Denial)), (61, 30));
    assert_eq!((count(Kind::Unfinished), count(Kind::Agent)), (1, 2));
    let started = whole.iter().find(|entry| entry.kind == Kind::Agent).unwrap();
    assert_eq!(started.detail, "agentd 1.2.3 has started (pid 7): none");
    let unfinished = whole.iter().position(|entry| entry.kind == Kind::Unfinished).unwrap();
    assert_eq!(whole[unfinished - 1].seq, started.seq, "it is the last of the first run");
    for size in [1, 2, 3, 7, 50] {
        assert_eq!(all(dir.path(), &Wanted::default(), size), whole, "{size}");
    }
}

#[test]
fn what_is_wanted_is_told_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let count = |wanted: &Wanted| all(dir.path(), wanted, 10).len();
    let none = Wanted::default;
    let text = str::to_owned;
    assert_eq!(count(&Wanted { identity: text("mallory"), ..none() }), 30);
    assert_eq!(count(&Wanted { identity: text("mallor"), ..none() }), 0);
    assert_eq!(count(&Wanted { decision: Some(Decision::Denied), ..none() }), 30);
    assert_eq!(count(&Wanted { method: text("SetMode"), ..none() }), 30);
    let full = text("agentd.v1.PolicyService/UpdatePolicy");
    assert_eq!(count(&Wanted { method: full, outcome: text("OK"), ..none() }), 61);
    assert_eq!(count(&Wanted { outcome: text("ROLE_MISSING"), ..none() }), 30);
}

#[test]
fn a_page_goes_on_where_it_ended_though_agentd_writes_on_and_begins_new_files() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let whole = all(dir.path(), &Wanted::default(), 1000);
    let first = page(dir.path(), &Wanted::default(), None, 10).unwrap();
    let mut files = Files::new(dir.path().to_owned(), Limits { size: 8192, files: 50 });
    for change in 100..140 {
        files.append(&when(200), &outcome(change)).unwrap();
    }
    let second = page(dir.path(), &Wanted::default(), first.next, 10).unwrap();
    assert_eq!([first.entries, second.entries].concat(), whole[..20]);
}

#[test]
fn lines_that_make_no_sense_are_told_of_and_a_page_costs_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}\nno JSON\n{{\"cut off", "x".repeat(5 << 20));
    fs::write(dir.path().join(NEWEST), long).unwrap();
    let first = page(dir.path(), &Wanted::default(), None, 1000).unwrap();
    assert!(first.next.is_some(), "it is read no further than a page may cost");
    assert!((2..20).contains(&first.entries.len()), "{}", first.entries.len());
    assert!(first.entries.iter().all(|entry| entry.seq == 0 && entry.detail == SENSELESS));
    assert!(all(dir.path(), &Wanted::default(), 1000).len() < 40);
}

#[test]
fn what_is_no_token_is_refused_and_one_beyond_the_files_finds_nothing_or_something() {
    for bad in ["", "1", "1-", "1-x", "-1-1", "1-2-x", "18446744073709551616-1"] {
        assert_eq!(bad.parse::<Token>(), Err(NoToken), "{bad}");
    }
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    for odd in ["0-0", "1-17", "999999-5", "1-18446744073709551615"] {
        page(dir.path(), &Wanted::default(), Some(odd.parse().unwrap()), 5).unwrap();
    }
}
