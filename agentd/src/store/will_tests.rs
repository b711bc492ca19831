//! The will on disk: what it keeps, and what becomes of it when it is broken, newer or cut short.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
};

use agentd_core::{
    bytes::ByteCount,
    policy::{Policy, VmPolicy},
};
use tempfile::TempDir;

use super::*;
use crate::control::Eased;

type Breaker = fn(&[u8]) -> Vec<u8>;
type Damage = fn(&Path);

fn somebody(seconds: u64) -> Actor {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    Actor { id: "uid:0".to_owned(), peer: "unix".to_owned(), time }
}

fn mode(mode: Mode) -> SavedMode {
    SavedMode { mode, actor: somebody(7), reason: "why".to_owned(), eased_by: None }
}

fn revision(number: u64) -> Revision {
    let floor = ByteCount::mib(64 + u32::try_from(number).unwrap());
    Revision {
        number,
        etag: format!("{number}-etag"),
        policy: Policy { floor, ..Policy::default() },
        actor: somebody(number),
        reason: String::new(),
        revert_at: None,
    }
}

fn open(dir: &TempDir) -> Will {
    Will::open(dir.path(), false)
}

fn db(dir: &TempDir) -> PathBuf {
    dir.path().join("agentd.db")
}

/// A directory in which somebody has set the policy and paused.
fn used() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut will = open(&dir);
    will.save_revision(&revision(1), None).unwrap();
    will.save_mode(&mode(Mode::Paused)).unwrap();
    dir
}

#[test]
fn a_first_start_finds_nothing_and_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let saved = open(&dir).load().unwrap();
    assert!(saved.mode.is_none() && saved.newest.is_none() && saved.lost.is_none());
}

#[test]
fn a_mode_that_is_forgotten_is_none_that_somebody_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut will = open(&dir);
    let eased_by = Some(Eased { who: "kim".to_owned(), to: Mode::Active });
    will.save_mode(&SavedMode { eased_by, ..mode(Mode::Observe) }).unwrap();
    will.forget_mode().unwrap();
    drop(will);
    let saved = open(&dir).load().unwrap();
    assert!(saved.mode.is_none() && saved.lost.is_none());
}

#[test]
fn a_database_that_is_gone_is_lost_wherever_agentd_was_before() {
    let signs: [(&str, Damage); 5] = [
        ("history.db", |dir| fs::write(dir.join("history.db"), "").unwrap()),
        ("agentd.db.corrupt-3", |dir| fs::write(dir.join("agentd.db.corrupt-3"), "").unwrap()),
        ("agentd.db-journal", |dir| fs::write(dir.join("agentd.db-journal"), "old").unwrap()),
        ("agentd.db", |dir| std::os::unix::fs::symlink("nowhere", dir.join("agentd.db")).unwrap()),
        ("paused", |dir| fs::write(dir.join("paused"), "by uid:0: why\n").unwrap()),
    ];
    for (sign, make) in signs {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let saved = open(&dir).load().unwrap();
        assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused), "{sign}");
        let lost = saved.lost.unwrap_or_else(|| panic!("{sign}: nothing is said to be lost"));
        assert!(lost.contains(&format!("there is {sign}. ")), "{sign}: {lost}");
        assert!(!dir.path().join("agentd.db-journal").exists(), "{sign}: an old journal is left");
        // Until somebody ends the pause, and not after.
        assert!(open(&dir).load().unwrap().lost.is_some(), "{sign}: forgotten by a restart");
        open(&dir).save_mode(&mode(Mode::Active)).unwrap();
        let saved = open(&dir).load().unwrap();
        assert!(saved.lost.is_none() && saved.mode == Some(mode(Mode::Active)), "{sign}");
    }
    let dir = tempfile::tempdir().unwrap();
    let lost = Will::open(dir.path(), true).load().unwrap().lost.unwrap();
    assert!(lost.contains("there is the lock of an earlier one. "), "{lost}");
}

#[test]
fn a_probe_finds_whatever_has_become_of_the_file() {
    let breakers: [(&str, Damage); 4] = [
        ("garbage", |db| fs::write(db, "nonsense".repeat(8000)).unwrap()),
        ("emptied", |db| fs::write(db, "").unwrap()),
        ("removed", |db| fs::remove_file(db).unwrap()),
        ("removed with its directory", |db| fs::remove_dir_all(db.parent().unwrap()).unwrap()),
    ];
    for (what, damage) in breakers {
        let dir = used();
        let mut will = open(&dir);
        will.probe().unwrap();
        damage(&db(&dir));
        assert!(will.probe().is_err(), "{what}");
    }
}

#[test]
fn what_a_first_start_leaves_that_was_cut_short_is_no_sign_of_use() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("agentd.db.new"), "half").unwrap();
    fs::write(dir.path().join("agentd.db.new-journal"), "half").unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    fs::write(dir.path().join("paused"), "").unwrap();
    let saved = open(&dir).load().unwrap();
    assert!(saved.lost.is_none() && saved.newest.is_none());
    assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused), "made by hand");
}

#[test]
fn keeps_everything_to_the_nanosecond() {
    let dir = tempfile::tempdir().unwrap();
    let mut will = open(&dir);
    let mut full = revision(2);
    full.revert_at = Some(somebody(99).time);
    full.policy.vms = BTreeMap::from([("db1".into(), VmPolicy::default())]);
    will.save_revision(&revision(1), None).unwrap();
    will.save_revision(&full, Some(1)).unwrap();
    will.save_mode(&mode(Mode::Observe)).unwrap();
    drop(will);

    let mut will = open(&dir);
    let saved = will.load().unwrap();
    assert_eq!(saved.mode, Some(mode(Mode::Observe)));
    assert_eq!((saved.newest, saved.falls_back_to), (Some(full.clone()), Some(1)));
    will.confirm(&full).unwrap();
    let saved = will.load().unwrap();
    assert_eq!(saved.newest.map(|revision| revision.revert_at), Some(None));
    assert_eq!(saved.falls_back_to, None);
    assert_eq!(will.revisions(u64::MAX, 1).unwrap()[0].number, 2);
    will.forget(2).unwrap();
    assert_eq!(will.revisions(u64::MAX, 9).unwrap(), [revision(1)]);
}

#[test]
fn a_files_policy_that_is_forgotten_was_never_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut will = open(&dir);
    let of_file = |number, floor| {
        let mut revision = revision(number);
        revision.actor.id = "config".to_owned();
        revision.policy.floor = ByteCount::mib(floor);
        revision
    };
    will.save_revision(&of_file(1, 70), None).unwrap();
    will.save_revision(&of_file(2, 90), None).unwrap();
    will.forget(2).unwrap();
    let saved = will.load().unwrap();
    assert_eq!(saved.file_policy, Some(of_file(1, 70).policy));
}

#[test]
fn old_revisions_make_way_but_not_what_a_trial_falls_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut will = open(&dir);
    for number in 1..=3 {
        will.save_revision(&revision(number), None).unwrap();
    }
    let last = u64::try_from(KEPT_REVISIONS).unwrap() + 3;
    // A gap of numbers is enough to be old: what counts is how many there are.
    let db = will.db.as_ref().unwrap();
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < {last} - 1)
         INSERT INTO revision SELECT i, 'e', (SELECT policy FROM revision WHERE number = 1),
             'a', '', 0, '', NULL, NULL FROM n"
    ))
    .unwrap();
    will.save_revision(&revision(last), Some(1)).unwrap();
    let all: Vec<i64> = {
        let db = will.db.as_ref().unwrap();
        let mut query = db.prepare("SELECT number FROM revision ORDER BY number").unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(all.len(), 1001);
    assert_eq!(all[..2], [1, 4]);
}

#[test]
fn a_broken_database_is_moved_aside_and_agentd_is_paused() {
    let breakers: [(&str, Breaker); 5] = [
        ("zero length", |_| Vec::new()),
        ("truncated", |bytes| bytes[..bytes.len() - 4096].to_vec()),
        ("cut in its first page", |bytes| bytes[..100].to_vec()),
        ("no database", |_| b"not a database at all, but long enough to be one".repeat(100)),
        ("overwritten", |bytes| {
            let mut bytes = bytes.to_vec();
            bytes[4096..].fill(0xa5);
            bytes
        }),
    ];
    for (name, breaker) in breakers {
        let dir = tempfile::tempdir().unwrap();
        open(&dir).save_revision(&revision(1), None).unwrap();
        let bytes = fs::read(db(&dir)).unwrap();
        fs::write(db(&dir), breaker(&bytes)).unwrap();

        let mut will = open(&dir);
        let saved = will.load().unwrap();
        assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused), "{name}");
        assert!(saved.newest.is_none(), "{name}");
        let lost = saved.lost.unwrap();
        assert!(lost.contains("memctl mode active"), "{name}: {lost}");
        assert!(dir.path().join("agentd.db.corrupt-1").exists(), "{name}");

        // Told until somebody ends the pause.
        drop(will);
        let mut will = open(&dir);
        let saved = will.load().unwrap();
        assert_eq!(saved.lost, Some(lost), "{name}");
        assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused), "{name}");
        will.save_mode(&mode(Mode::Active)).unwrap();
        drop(will);
        let saved = open(&dir).load().unwrap();
        assert_eq!((saved.mode, saved.lost), (Some(mode(Mode::Active)), None), "{name}");
    }
}

#[test]
fn rows_that_make_no_sense_are_a_broken_database() {
    for damage in [
        "UPDATE revision SET policy = '{}' WHERE number = 2",
        "UPDATE revision SET policy = '{}' WHERE number = 1",
        "UPDATE mode SET mode = 'asleep'",
        "DROP TABLE note",
    ] {
        let dir = used();
        let mut will = open(&dir);
        let mut trial = revision(2);
        trial.revert_at = Some(somebody(99).time);
        will.save_revision(&trial, Some(1)).unwrap();
        will.db.as_ref().unwrap().execute_batch(damage).unwrap();
        drop(will);
        assert!(open(&dir).load().unwrap().lost.is_some(), "{damage}");
    }
}

#[test]
fn a_newer_database_is_kept_aside_to_go_back_to() {
    let dir = used();
    let will = open(&dir);
    will.db.as_ref().unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    drop(will);
    let before = fs::read(db(&dir)).unwrap();
    let saved = open(&dir).load().unwrap();
    assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused));
    let lost = saved.lost.unwrap();
    assert!(lost.contains("schema 99, this one knows up to 2"), "{lost}");
    assert!(lost.contains("start the newer agentd"), "{lost}");
    let aside = dir.path().join("agentd.db.newer-1");
    assert_eq!(fs::read(&aside).unwrap(), before);

    // Put back, it is as it was for whoever knows it.
    fs::rename(&aside, db(&dir)).unwrap();
    let newer = Connection::open(db(&dir)).unwrap();
    newer.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(newer);
    let saved = open(&dir).load().unwrap();
    assert_eq!((saved.newest, saved.lost), (Some(revision(1)), None));
}

#[test]
fn what_is_no_file_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(db(&dir)).unwrap();
    fs::write(db(&dir).join("inside"), "kept").unwrap();
    let mut will = open(&dir);
    let saved = will.load().unwrap();
    assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused));
    let lost = saved.lost.unwrap();
    assert!(lost.contains("agentd.db could not be used: it is no file"), "{lost}");
    let inside = dir.path().join("agentd.db.unreadable-1/inside");
    assert_eq!(fs::read_to_string(inside).unwrap(), "kept");
    will.save_mode(&mode(Mode::Active)).unwrap();
    drop(will);
    assert_eq!(open(&dir).load().unwrap().lost, None);
}

/// It may be whole: a person with `sqlite3` holds it, for example.
#[test]
fn a_database_that_somebody_holds_is_left_alone_and_agentd_is_paused_for_this_run() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).save_revision(&revision(1), None).unwrap();
    let holder = Connection::open(db(&dir)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut will = open(&dir);
    let saved = will.load().unwrap();
    assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused));
    let lost = saved.lost.unwrap();
    assert!(lost.contains("locked") && lost.contains("accepts no change"), "{lost}");
    assert!(will.save_mode(&mode(Mode::Active)).is_err());
    assert!(will.save_revision(&revision(2), None).is_err());
    drop((will, holder));
    let saved = open(&dir).load().unwrap();
    assert_eq!((saved.newest, saved.mode, saved.lost), (Some(revision(1)), None, None));
}

#[test]
fn who_may_ease_the_mode_is_kept_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let eased_by = Some(Eased { who: "kim lee".to_owned(), to: Mode::Observe });
    let eased = SavedMode { eased_by, ..mode(Mode::Paused) };
    for saved in [&eased, &mode(Mode::Paused)] {
        Will::open(dir.path(), false).save_mode(saved).unwrap();
        assert_eq!(Will::open(dir.path(), false).load().unwrap().mode.as_ref(), Some(saved));
    }
}

#[test]
fn a_pause_outlives_its_database() {
    let dir = used();
    fs::remove_file(db(&dir)).unwrap();
    let saved = open(&dir).load().unwrap();
    assert_eq!(saved.mode.map(|saved| saved.mode), Some(Mode::Paused));
}

#[test]
fn the_marker_alone_pauses_and_the_database_alone_too() {
    let dir = used();
    fs::remove_file(dir.path().join("paused")).unwrap();
    assert_eq!(open(&dir).load().unwrap().mode, Some(mode(Mode::Paused)));

    let dir = tempfile::tempdir().unwrap();
    open(&dir).save_mode(&mode(Mode::Active)).unwrap();
    fs::write(dir.path().join("paused"), "").unwrap();
    let mut will = open(&dir);
    assert_eq!(will.load().unwrap().mode.map(|saved| saved.mode), Some(Mode::Paused));
    will.save_mode(&mode(Mode::Active)).unwrap();
    assert!(!dir.path().join("paused").exists());
    assert_eq!(open(&dir).load().unwrap().mode, Some(mode(Mode::Active)));
}

/// Cut short after any step of making a new file, or after any byte of one left over.
#[test]
fn a_left_over_half_made_database_is_no_obstacle() {
    let whole = fs::read(db(&used())).unwrap();
    for cut in [0, 1, 100, 4096, whole.len()] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("agentd.db.new"), &whole[..cut]).unwrap();
        fs::write(dir.path().join("agentd.db.new-journal"), b"garbage").unwrap();
        let saved = open(&dir).load().unwrap();
        assert!(saved.newest.is_none() && saved.lost.is_none() && saved.mode.is_none());
    }
}

/// A change is old or new at every point where it may be cut short: with the journal of an
/// unfinished transaction beside a half-written file, the next start finds what was before.
#[test]
fn a_change_cut_short_leaves_the_one_before() {
    let dir = used();
    let whole = fs::read(db(&dir)).unwrap();
    let mut will = open(&dir);
    let live = will.db.as_mut().unwrap();
    // Small cache: the transaction spills into the file before it is committed.
    live.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
    let change = live.transaction().unwrap();
    for number in 2..200 {
        let json = to_json(&revision(number).policy).unwrap();
        change
            .execute(
                PUT_REVISION,
                params![to_i64(number), "e", json, "a", "", 0, "", None::<i64>, None::<i64>],
            )
            .unwrap();
    }
    let (torn, journal) = (fs::read(db(&dir)).unwrap(), dir.path().join("agentd.db-journal"));
    assert_ne!(torn, whole, "nothing was written before the commit: the test shows nothing");
    let journal = fs::read(journal).unwrap();
    change.rollback().unwrap();
    drop(will);

    let other = tempfile::tempdir().unwrap();
    fs::write(db(&other), &torn).unwrap();
    fs::write(other.path().join("agentd.db-journal"), &journal).unwrap();
    let mut will = open(&other);
    let saved = will.load().unwrap();
    assert_eq!((saved.newest, saved.lost), (Some(revision(1)), None));
    assert_eq!(will.revisions(u64::MAX, 9).unwrap().len(), 1);
}

#[test]
fn where_nothing_can_be_written_a_pause_is_refused_as_not_durable_and_the_rest_as_an_error() {
    let dir = used();
    let mut will = open(&dir);
    will.db.as_ref().unwrap().execute_batch("PRAGMA query_only = ON").unwrap();
    assert!(will.save_revision(&revision(2), None).is_err());
    assert!(will.save_mode(&mode(Mode::Active)).is_err());
    // The marker is still there for a pause.
    assert!(will.save_mode(&mode(Mode::Paused)).is_ok());
    drop(will);
    assert_eq!(open(&dir).load().unwrap().mode, Some(mode(Mode::Paused)));
}

#[test]
fn one_directory_has_one_agentd() {
    let dir = tempfile::tempdir().unwrap();
    let first = crate::store::StateDir::open(dir.path()).unwrap();
    let second = crate::store::StateDir::open(dir.path()).unwrap_err();
    assert!(matches!(second, crate::store::StoreError::Busy { .. }), "{second}");
    drop(first);
    assert!(crate::store::StateDir::open(dir.path()).is_ok());
    let file = OpenOptions::new().read(true).open(db(&dir));
    assert!(file.is_err(), "a lock makes no database");
}
