use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::*;
use crate::publish::{Epoch, Kind, Position, Stamp};

fn entry(epoch: &Epoch, seq: u64, size: usize) -> Entry {
    Entry {
        shadow: None,
        position: Position { epoch: epoch.clone(), seq },
        stamp: Stamp { wall: SystemTime::UNIX_EPOCH, monotonic: Duration::ZERO },
        kind: Kind::Tick,
        eventful: true,
        bytes: vec![0; size].into(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Drop(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..600).prop_map(Step::Push),
        1 => (1_u64..4).prop_map(Step::Drop),
        1 => Just(Step::Push(CAPACITY)),
    ]
}

/// Everything a reader meets from `seq` on.
fn read(ring: &Ring, mut seq: u64) -> (BTreeMap<u64, usize>, Vec<Missing>) {
    let (mut entries, mut missing) = (BTreeMap::new(), Vec::new());
    loop {
        match ring.after(seq) {
            Next::Entry(entry) => {
                seq = entry.position.seq;
                entries.insert(seq, entry.bytes.len());
            }
            Next::Missing(gap) => {
                seq = gap.last;
                missing.push(gap);
            }
            Next::Nothing => return (entries, missing),
        }
    }
}

proptest! {
    /// Against the plainest model: a map of everything ever pushed, `None` where it was dropped.
    #[test]
    fn every_reader_meets_every_seq_once_as_entry_or_as_missing(
        steps in prop::collection::vec(step(), 0..200),
        start in 0_u64..250,
    ) {
        let (ring, epoch) = (Ring::new(CAPACITY), Epoch::random());
        let mut model: BTreeMap<u64, Option<usize>> = BTreeMap::new();
        let mut newest = 0;
        for step in steps {
            match step {
                Step::Push(size) => {
                    newest += 1;
                    ring.push(entry(&epoch, newest, size));
                    model.insert(newest, (size < CAPACITY).then_some(size));
                }
                Step::Drop(count) => {
                    model.extend((newest + 1..=newest + count).map(|seq| (seq, None)));
                    newest += count;
                    ring.drop_next(newest);
                }
            }
        }
        let start = start.min(newest);
        let (entries, missing) = read(&ring, start);

        let mut met: Vec<u64> = entries.keys().copied().collect();
        met.extend(missing.iter().flat_map(|gap| gap.first..=gap.last));
        met.sort_unstable();
        prop_assert_eq!(met, (start + 1..=newest).collect::<Vec<_>>());

        for (seq, size) in &entries {
            prop_assert_eq!(model[seq], Some(*size));
        }
        for gap in missing.iter().filter(|gap| gap.why == Why::Dropped) {
            prop_assert!((gap.first..=gap.last).all(|seq| model[&seq].is_none()));
        }
        let held: usize = read(&ring, 0).0.values().sum();
        prop_assert!(held <= CAPACITY);

        // Only what had to make way did: the entry before the oldest would not fit any more.
        let span = ring.span();
        prop_assert_eq!(span.newest, newest);
        if let Some((seq, _)) = read(&ring, 0).0.first_key_value() {
            prop_assert_eq!(span.oldest, *seq);
            let before = model.range(..seq).next_back().and_then(|(_, size)| *size);
            let slots = read(&ring, 0).0.len() + read(&ring, 0).1.len() + 1;
            if let Some(size) = before {
                prop_assert!(held + size + slots * SLOT_COST > CAPACITY);
            }
        } else {
            prop_assert_eq!(span.oldest, 0);
        }
    }
}

#[test]
fn a_reader_ahead_of_the_ring_waits() {
    let (ring, epoch) = (Ring::new(CAPACITY), Epoch::random());
    ring.push(entry(&epoch, 1, 10));
    assert!(matches!(ring.after(1), Next::Nothing));
    assert!(matches!(ring.after(u64::MAX), Next::Nothing));
    assert!(ring.get(0).is_none());
    assert_eq!(ring.get(1).map(|entry| entry.position.seq), Some(1));
}

const CAPACITY: usize = 4096;
