//! [`Queue`]: what waits for the recorder. Bounded; what does not fit leaves a mark in its place.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use crate::{
    event::Event,
    publish::{Position, Stamp},
};

/// What waits for the recorder.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Items that are no marks.
    taken: usize,
    closed: bool,
}

/// One thing that waits.
#[derive(Debug)]
pub(super) enum Item {
    /// Events that belong together, and who wants to know the position of the last one.
    Events(Box<Waiting>),
    /// So many events found no room here.
    Dropped(u64),
}

/// Events that belong together: those of one tick, which are as many as it saw VMs come, or a single one.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) events: Vec<Event>,
    pub(super) stamp: Stamp,
    pub(super) answer: Option<SyncSender<Position>>,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Puts events in, all or none; where there is no room for so long, leaves a mark and says false.
    pub(super) fn put(&self, waiting: Waiting, patience: Duration) -> bool {
        let full = |state: &mut State| !state.closed && state.taken >= self.capacity;
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        let fits = state.taken < self.capacity;
        let dropped = u64::try_from(waiting.events.len()).unwrap_or(u64::MAX);
        if fits {
            state.taken = state.taken.saturating_add(1);
            state.items.push_back(Item::Events(Box::new(waiting)));
        } else if let Some(Item::Dropped(count)) = state.items.back_mut() {
            *count = count.saturating_add(dropped);
        } else {
            state.items.push_back(Item::Dropped(dropped));
        }
        drop(state);
        self.changed.notify_all();
        fits
    }

    /// Waits for something, where there is a `patience` no longer than that, and takes all there is, at most
    /// `most`; `None` when closed and empty.
    pub(super) fn take(&self, most: usize, patience: Option<Duration>) -> Option<Vec<Item>> {
        let idle = |state: &mut State| !state.closed && state.items.is_empty();
        let state = self.lock();
        let mut state = match patience {
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(state, patience, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
        };
        if state.closed && state.items.is_empty() {
            return None;
        }
        let count = state.items.len().min(most);
        let items: Vec<Item> = state.items.drain(..count).collect();
        let is_mark = |item: &&Item| matches!(item, Item::Dropped(_));
        let marks = items.iter().filter(is_mark).count();
        state.taken = state.taken.saturating_sub(items.len().saturating_sub(marks));
        drop(state);
        self.changed.notify_all();
        Some(items)
    }

    /// Takes nothing more in.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
