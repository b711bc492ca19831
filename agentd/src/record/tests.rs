use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use agentd_core::policy::Policy;

use super::*;
use crate::{
    clock::{Clock as _, RealClock, VirtualClock},
    control::{Actor, Mode},
    event::ModeChange,
    hypervisor::sim::Scenario,
    publish::{Kind, Next, Why},
    simulate::Simulation,
};

/// What a history was given, and how it behaves.
#[derive(Clone, Default)]
struct Disk {
    kept: Arc<Mutex<Vec<u64>>>,
    full: Arc<Mutex<bool>>,
    /// Taken while the disk hangs.
    hangs: Arc<Mutex<()>>,
    opening: Arc<Mutex<bool>>,
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

    fn is_open(&mut self) -> bool {
        !*self.opening.lock().unwrap()
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

/// A host that starts with all of its VMs, while its disk hangs.
#[test]
fn the_vms_that_a_tick_sees_come_take_the_room_of_one_event() {
    let disk = Disk::default();
    let publisher = Arc::new(Publisher::new(Arc::new(VirtualClock::default()), 1 << 20));
    let encode: Encode = |position, _, _| position.seq.to_string().into_bytes();
    let history = Box::new(disk.clone());
    let recorder = Recorder::start(Arc::clone(&publisher), encode, history).unwrap();
    let vm = agentd_core::vm::VmId::from_bytes([1; 16]);
    let came = VmChange { vm, name: "web1".into(), before: None, after: None };
    let vms = 10 * QUEUE;
    let hang = disk.hangs.lock().unwrap();
    let ticks = ticks(QUEUE);
    for (number, record) in ticks.iter().enumerate() {
        let changes = if number == 0 { vec![came.clone(); vms] } else { Vec::new() };
        recorder.turn(changes, Arc::clone(record));
    }
    assert_eq!((recorder.dropped(), publisher.conditions().all()), (0, vec![]));
    // What finds no room is counted with all of its VMs.
    for record in ticks.iter().chain(&ticks) {
        recorder.turn(vec![came.clone(); 9], Arc::clone(record));
    }
    let dropped = recorder.dropped();
    assert!(dropped > 0 && dropped.is_multiple_of(10), "{dropped}");
    drop(hang);
    assert!(recorder.stop(LONG));
    let whole = u64::try_from(vms + QUEUE + 20 * QUEUE).unwrap();
    assert_eq!(publisher.ring().span().newest, whole);
    let kept = disk.kept.lock().unwrap();
    assert_eq!((u64::try_from(kept.len()).unwrap(), kept.is_sorted()), (whole - dropped, true));
    let kinds = |seq| publisher.ring().get(seq).unwrap().kind;
    let tick = u64::try_from(vms + 1).unwrap();
    assert_eq!((kinds(tick - 1), kinds(tick)), (Kind::Vm, Kind::Tick));
}

#[test]
fn a_history_that_is_still_being_opened_delays_nothing_and_misses_nothing() {
    let (disk, clock) = (Disk::default(), Arc::new(VirtualClock::default()));
    *disk.opening.lock().unwrap() = true;
    let publisher = Arc::new(Publisher::new(clock.clone(), 1 << 20));
    let history = Box::new(disk.clone());
    let recorder = Recorder::start(Arc::clone(&publisher), encode, history).unwrap();
    for name in ["first", "second"] {
        assert!(recorder.change(event(name)).is_some());
        assert_eq!(publisher.conditions().all(), [], "that is usual");
    }
    assert_eq!((publisher.ring().span().newest, disk.kept.lock().unwrap().len()), (2, 0));
    clock.advance_to(Duration::from_secs(5));
    assert!(recorder.change(event("third")).is_some());
    let conditions = publisher.conditions().all();
    assert_eq!(
        conditions.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
        [HISTORY_CHECKING]
    );
    assert!(conditions[0].1.message.contains("3 entries of the log wait"), "{conditions:?}");

    *disk.opening.lock().unwrap() = false;
    // By itself: the next tick may be an hour away.
    let clock = RealClock::start();
    while disk.kept.lock().unwrap().len() < 3 {
        assert!(clock.now() < LONG, "it is not looked for");
        clock.sleep(Duration::from_millis(1));
    }
    assert!(recorder.change(event("fourth")).is_some());
    assert_eq!(publisher.conditions().all(), []);
    assert_eq!(*disk.kept.lock().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn what_waits_for_a_history_until_the_end_is_counted_as_missing() {
    let disk = Disk::default();
    *disk.opening.lock().unwrap() = true;
    let (recorder, publisher) = recorder(&disk);
    assert!(recorder.change(event("first")).is_some());
    assert!(recorder.stop(LONG));
    assert_eq!(publisher.meters().counted().lost, [("history", 1)].into());
    assert!(publisher.conditions().has(HISTORY_NOT_RECORDED));
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
