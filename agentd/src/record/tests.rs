use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use agentd_core::policy::Policy;

use super::*;
use crate::{
    clock::VirtualClock,
    control::{Actor, Mode},
    event::ModeChange,
    hypervisor::sim::Scenario,
    publish::{Next, Why},
    simulate::Simulation,
};

/// What a history was given, and how it behaves.
#[derive(Clone, Default)]
struct Disk {
    kept: Arc<Mutex<Vec<u64>>>,
    full: Arc<Mutex<bool>>,
    /// Taken while the disk hangs.
    hangs: Arc<Mutex<()>>,
}

impl History for Disk {
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError> {
        let _free = self.hangs.lock().unwrap();
        if *self.full.lock().unwrap() {
            return Err(HistoryError("no space left on device".to_owned()));
        }
        let seqs = entries.iter().map(|entry| entry.position.seq);
        self.kept.lock().unwrap().extend(seqs);
        Ok(())
    }
}

fn event(name: &str) -> Event {
    Event::Mode(ModeChange {
        actor: Actor { id: "agent".to_owned(), peer: String::new(), time: SystemTime::UNIX_EPOCH },
        before: Mode::Active,
        after: Mode::Paused,
        reason: name.to_owned(),
    })
}

fn encode(position: &Position, _: Stamp, event: &Event) -> Vec<u8> {
    let Event::Mode(change) = event else { unreachable!("only such events are made here") };
    format!("{} {}", position.seq, change.reason).into_bytes()
}

fn recorder(disk: &Disk) -> (Recorder, Arc<Publisher>) {
    let publisher = Arc::new(Publisher::new(Arc::new(VirtualClock::default()), 1 << 20));
    let history = Box::new(disk.clone());
    (Recorder::start(Arc::clone(&publisher), encode, history).unwrap(), publisher)
}

fn text(publisher: &Publisher, seq: u64) -> String {
    let entry = publisher.ring().get(seq).unwrap();
    String::from_utf8(entry.bytes.to_vec()).unwrap()
}

#[test]
fn records_before_it_publishes() {
    let disk = Disk::default();
    let (recorder, publisher) = recorder(&disk);
    let position = recorder.change(event("first")).unwrap();
    assert_eq!((position.seq, &position.epoch), (1, publisher.epoch()));
    assert_eq!(*disk.kept.lock().unwrap(), [1]);
    assert_eq!(text(&publisher, 1), "1 first");

    let hang = disk.hangs.lock().unwrap();
    recorder.note(event("second"));
    assert_eq!(publisher.ring().span().newest, 1);
    drop(hang);
    assert!(recorder.stop(LONG));
    assert_eq!(*disk.kept.lock().unwrap(), [1, 2]);
    assert_eq!(text(&publisher, 2), "2 second");
}

#[test]
fn a_full_disk_stops_nothing_and_is_told_until_it_is_not() {
    let disk = Disk::default();
    let (recorder, publisher) = recorder(&disk);
    *disk.full.lock().unwrap() = true;
    assert!(recorder.change(event("lost")).is_some());
    let conditions = publisher.conditions().all();
    let (reason, condition) = conditions.first().unwrap();
    assert_eq!(*reason, HISTORY_NOT_RECORDED);
    assert!(condition.message.starts_with("1 entries"), "{}", condition.message);
    assert_eq!(text(&publisher, 1), "1 lost");

    *disk.full.lock().unwrap() = false;
    assert!(recorder.change(event("kept")).is_some());
    assert_eq!(publisher.conditions().all(), []);
    assert_eq!(*disk.kept.lock().unwrap(), [2]);
}

#[test]
fn what_a_hanging_disk_keeps_out_is_missing_in_its_place() {
    let disk = Disk::default();
    let (recorder, publisher) = recorder(&disk);
    let hang = disk.hangs.lock().unwrap();
    let count = u64::try_from(3 * QUEUE).unwrap();
    for number in 0..count {
        recorder.note(event(&number.to_string()));
    }
    let dropped = recorder.dropped();
    assert!(dropped >= count / 3, "{dropped} of {count}");
    assert!(publisher.conditions().has(HISTORY_NOT_RECORDED));
    drop(hang);
    while recorder.change(event("last")).is_none() {}
    assert!(!publisher.conditions().has(HISTORY_NOT_RECORDED));

    let (mut seq, mut missing, mut told) = (0, 0, BTreeMap::new());
    loop {
        match publisher.ring().after(seq) {
            Next::Entry(entry) => {
                seq = entry.position.seq;
                told.insert(seq, text(&publisher, seq));
            }
            Next::Missing(gap) => {
                assert_eq!((gap.first, gap.why), (seq + 1, Why::Dropped));
                missing += gap.last - seq;
                seq = gap.last;
            }
            Next::Nothing => break,
        }
    }
    assert_eq!(missing, dropped);
    // Every seq up to the last stands for the event of that number.
    let (_, last) = told.pop_last().unwrap();
    assert!(last.ends_with("last"));
    for (seq, text) in told {
        assert_eq!(text, format!("{seq} {}", seq - 1));
    }
}

#[test]
fn after_a_stop_nothing_is_taken_in() {
    let (recorder, publisher) = recorder(&Disk::default());
    assert!(recorder.stop(LONG));
    recorder.note(event("late"));
    assert_eq!(recorder.change(event("later")), None);
    assert_eq!((publisher.ring().span().newest, recorder.dropped()), (0, 2));
}

/// A shadow that hangs, for one.
#[test]
fn what_is_said_beside_ticks_delays_none_however_long_it_takes() {
    let publisher = Arc::new(Publisher::new(Arc::new(VirtualClock::default()), 1 << 20));
    let gate = Arc::new(Mutex::new(()));
    let hang = gate.lock().unwrap();
    let theirs = Arc::clone(&gate);
    let beside: Beside = Box::new(move |position, _, _| {
        drop(theirs.lock().unwrap());
        Some(format!("{} beside", position.seq).into_bytes())
    });
    let encode: Encode = |position, _, _| position.seq.to_string().into_bytes();
    let history = Box::new(NoHistory);
    let recorder = Recorder::start_beside(Arc::clone(&publisher), encode, history, beside).unwrap();
    let ticks = ticks(3 * QUEUE);
    for record in &ticks {
        recorder.tick(Arc::clone(record));
    }
    // All were taken while the first hangs; those that found no room are counted.
    assert_eq!(publisher.ring().span().newest, 0);
    let latest = publisher.latest().unwrap();
    assert!(Arc::ptr_eq(&latest.record, ticks.last().unwrap()), "the last tick is shown");
    assert!(recorder.dropped() > 0);
    drop(hang);
    assert!(recorder.stop(LONG));
    let entry = publisher.ring().get(1).unwrap();
    assert_eq!((&*entry.bytes, entry.shadow.as_deref()), (&b"1"[..], Some(&b"1 beside"[..])));
}

/// Ticks of a host without VMs.
fn ticks(count: usize) -> Vec<Arc<TickRecord>> {
    let scenario = Scenario::parse("test.toml", "[host]\ntotal = \"1GiB\"\n").unwrap();
    let (name, ticks) = (Path::new("test.toml"), u64::try_from(count).unwrap());
    let simulation = Simulation { name, scenario: &scenario, policy: Policy::default(), ticks };
    let mut records = Vec::new();
    let run: Result<(), ()> = simulation.run_each(|record| {
        records.push(Arc::new(record.clone()));
        Ok(())
    });
    run.unwrap();
    records
}

/// Longer than any machine that is alive takes.
const LONG: Duration = Duration::from_secs(60);
