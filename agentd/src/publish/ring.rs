//! [`Ring`]: the newest entries of the log, in memory, for streams to replay and follow.
//!
//! It is bounded in bytes: older entries make way. Readers keep their own place, so a slow one
//! costs nothing and delays nobody; what it missed it is told as [`Next::Missing`]. The ring does
//! not know what an entry says.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::Entry;

/// The newest entries of the log.
#[derive(Debug)]
pub struct Ring {
    capacity: usize,
    slots: Mutex<Slots>,
    newest: watch::Sender<u64>,
}

/// What a reader finds behind its place.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next entry.
    Entry(Entry),
    /// Entries that are not there.
    Missing(Missing),
    /// Nothing yet.
    Nothing,
}

/// Entries that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Why.
    pub why: Why,
}

/// Why entries are not in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They made way for newer ones.
    MadeWay,
    /// They never were in it: agentd itself dropped them.
    Dropped,
}

/// What the ring spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The oldest entry kept; 0 while there is none.
    pub oldest: u64,
    /// The newest seq given out; 0 before the first.
    pub newest: u64,
}

impl Ring {
    /// An empty ring that holds so many bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, slots: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// How many bytes it may hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds the next entry. One that is larger than the whole ring counts as dropped.
    pub fn push(&self, entry: Entry) {
        let seq = entry.position.seq;
        let slot = Slot::Entry(entry);
        if slot.cost() > self.capacity {
            return self.drop_next(seq);
        }
        self.add(slot, seq);
    }

    /// Notes that the entries up to this one were dropped.
    pub fn drop_next(&self, last: u64) {
        let mut slots = self.slots();
        let first = slots.newest.saturating_add(1);
        if let Some(Slot::Dropped { last: end, .. }) = slots.queue.back_mut() {
            *end = last;
            slots.newest = last;
            drop(slots);
            self.newest.send_replace(last);
        } else {
            drop(slots);
            self.add(Slot::Dropped { first, last }, last);
        }
    }

    /// What it spans now.
    #[must_use]
    pub fn span(&self) -> Span {
        let slots = self.slots();
        let oldest = slots.queue.iter().find_map(|slot| match slot {
            Slot::Entry(entry) => Some(entry.position.seq),
            Slot::Dropped { .. } => None,
        });
        Span { oldest: oldest.unwrap_or(0), newest: slots.newest }
    }

    /// What comes behind this seq.
    #[must_use]
    pub fn after(&self, seq: u64) -> Next {
        let slots = self.slots();
        let wanted = seq.saturating_add(1);
        let Some(index) = slots.find(wanted) else {
            let kept = slots.queue.front().map(Slot::first);
            return match kept {
                Some(first) if wanted < first => Next::Missing(Missing {
                    first: wanted,
                    last: first.saturating_sub(1),
                    why: Why::MadeWay,
                }),
                _ => Next::Nothing,
            };
        };
        match slots.queue.get(index) {
            Some(Slot::Entry(entry)) => Next::Entry(entry.clone()),
            Some(Slot::Dropped { last, .. }) => {
                Next::Missing(Missing { first: wanted, last: *last, why: Why::Dropped })
            }
            None => Next::Nothing,
        }
    }

    /// The entry with this seq, where it is kept.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<Entry> {
        match self.after(seq.checked_sub(1)?) {
            Next::Entry(entry) => Some(entry),
            Next::Missing(_) | Next::Nothing => None,
        }
    }

    /// Wakes its holder whenever the newest seq changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn add(&self, slot: Slot, newest: u64) {
        let mut slots = self.slots();
        slots.newest = newest;
        slots.bytes = slots.bytes.saturating_add(slot.cost());
        slots.queue.push_back(slot);
        while slots.bytes > self.capacity
            && let Some(oldest) = slots.queue.pop_front()
        {
            slots.bytes = slots.bytes.saturating_sub(oldest.cost());
        }
        drop(slots);
        self.newest.send_replace(newest);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Slots {
    queue: VecDeque<Slot>,
    bytes: usize,
    newest: u64,
}

impl Slots {
    fn find(&self, seq: u64) -> Option<usize> {
        let index = self.queue.partition_point(|slot| slot.last() < seq);
        let slot = self.queue.get(index)?;
        (slot.first() <= seq).then_some(index)
    }
}

/// A part of the log without holes. Neighbouring drops share one, so that they take no room.
#[derive(Debug)]
enum Slot {
    Entry(Entry),
    Dropped { first: u64, last: u64 },
}

impl Slot {
    const fn first(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.position.seq,
            Self::Dropped { first, .. } => *first,
        }
    }

    const fn last(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.position.seq,
            Self::Dropped { last, .. } => *last,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Entry(entry) => {
                let shadow = entry.shadow.as_ref().map_or(0, |bytes| bytes.len());
                entry.bytes.len().saturating_add(shadow).saturating_add(SLOT_COST)
            }
            Self::Dropped { .. } => SLOT_COST,
        }
    }
}

/// What a slot takes beside the bytes of its entry: itself, and the counters of what it shares.
const SLOT_COST: usize = size_of::<Slot>() + 32;

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
