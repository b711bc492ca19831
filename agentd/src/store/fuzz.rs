//! Feeds the state's decoders: see `crate::fuzz`.

use std::fs;

use rusqlite::{Connection, params};

use super::{
    encode::{from_json, to_json},
    will::Will,
};
use crate::control::{Actor, Mode, SavedMode, Storage};

/// A policy as JSON; rows after a "!"; or a whole file.
pub(crate) fn state(data: &[u8]) {
    if data.starts_with(b"SQLite") {
        return on_disk(|path| fs::write(path, data).is_ok());
    }
    let Ok(text) = str::from_utf8(data) else { return };
    match text.strip_prefix('!') {
        Some(rows) => on_disk(|path| put_rows(path, rows)),
        None => json(text),
    }
}

/// What is read is written as it was read.
fn json(text: &str) {
    let Ok(policy) = from_json(text) else { return };
    let again = to_json(&policy).and_then(|json| from_json(&json));
    assert_eq!(again.as_ref(), Ok(&policy));
    // Whether it makes sense is asked elsewhere, and is to be answered for any.
    let _ = policy.validate();
}

/// Opens a state directory with such a database, as a start does, and changes what it holds.
fn on_disk(make: impl FnOnce(&std::path::Path) -> bool) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("agentd.db");
    if !make(&path) {
        return;
    }
    let mut will = Will::open(dir.path(), false);
    let Ok(saved) = will.load() else { panic!("a start fails on its state") };
    let is_paused = saved.mode.is_some_and(|saved| saved.mode == Mode::Paused);
    assert!(saved.lost.is_none() || is_paused, "a lost state does not pause");
    // Either may fail where the schema is another; none may panic.
    let _ = will.revisions(u64::MAX, 10);
    let actor = Actor { id: "uid:0".to_owned(), peer: String::new(), time: std::time::UNIX_EPOCH };
    let _ = will.save_mode(&SavedMode {
        mode: Mode::Active,
        actor,
        reason: String::new(),
        eased_by: None,
    });
}

/// A database of ours with one row of each kind; their texts are lines.
fn put_rows(path: &std::path::Path, rows: &str) -> bool {
    let Some(dir) = path.parent() else { return false };
    drop(Will::open(dir, false));
    let Ok(db) = Connection::open(path) else { return false };
    let mut lines = rows.lines();
    let mut text = || lines.next().unwrap_or_default();
    let (mode, policy, note, lost) = (text(), text(), text(), text());
    let mut number = || text().parse::<i64>().unwrap_or(0);
    let (first, falls_back_to, time, revert_at) = (number(), number(), number(), number());
    let put_mode = "INSERT INTO mode VALUES (1, ?1, 'a', '', ?2, '')";
    let put = "INSERT INTO revision VALUES (?1, 'e', ?2, 'a', '', ?3, '', ?4, ?5)";
    // What the schema refuses was not to be kept.
    let _ = db.execute(put_mode, params![mode, time]);
    let _ = db.execute(put, params![first, policy, time, revert_at, falls_back_to]);
    let _ = db.execute(put, params![falls_back_to, note, time, revert_at, first]);
    let _ = db.execute("INSERT INTO note VALUES ('file_policy', ?1)", params![note]);
    let _ = db.execute("INSERT INTO note VALUES ('pins', ?1)", params![policy]);
    if !lost.is_empty() {
        let _ = db.execute("INSERT INTO note VALUES ('state_lost', ?1)", params![lost]);
    }
    true
}
