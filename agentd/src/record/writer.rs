//! [`Writer`]: the recorder's thread: what waits becomes entries, is kept, and then published.

use std::{
    mem,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use super::{
    BATCH, Beside, Encode, HISTORY_CHECKING, HISTORY_NOT_RECORDED, History,
    queue::{Item, Queue, Waiting},
};
use crate::{
    event::{Event, TickRecord},
    publish::{Entry, Kind, Lost, Position, Publisher, Stamp},
};

/// The recorder's thread.
pub(super) struct Writer {
    publisher: Arc<Publisher>,
    encode: Encode,
    beside: Beside,
    history: Box<dyn History>,
    /// It was seen to be open, and has what was held for it.
    is_open: bool,
    newest: u64,
    /// Entries that are missing in the history.
    lost: u64,
    held: Held,
    /// When it began to work, monotonic.
    began: Duration,
}

/// Entries that are published and wait for a history that is still being opened.
#[derive(Default)]
struct Held {
    entries: Vec<Entry>,
    bytes: usize,
}

/// An entry on its way into the ring, with what has to be done when it is there.
struct Placed {
    entry: Entry,
    record: Option<Arc<TickRecord>>,
    answer: Option<SyncSender<Position>>,
}

impl Writer {
    pub(super) fn new(
        publisher: Arc<Publisher>,
        encode: Encode,
        beside: Beside,
        history: Box<dyn History>,
    ) -> Self {
        let held = Held::default();
        let (is_open, newest, lost) = (false, 0, 0);
        let began = publisher.stamp().monotonic;
        Self { publisher, encode, beside, history, is_open, newest, lost, held, began }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        loop {
            let patience = if self.catch_up() { None } else { Some(LOOK) };
            let Some(items) = queue.take(BATCH, patience) else { break };
            let batch: Vec<Result<Placed, u64>> =
                items.into_iter().flat_map(|item| self.place(item)).collect();
            let placed = batch.iter().filter_map(|item| item.as_ref().ok());
            let entries: Vec<Entry> = placed.map(|placed| placed.entry.clone()).collect();
            if !entries.is_empty() {
                self.keep(entries);
            }
            self.tell_checking();
            for item in batch {
                self.publish(item);
            }
        }
        if !self.catch_up() && !self.held.entries.is_empty() {
            let held = self.held.entries.len();
            self.lose(held, "agentd stops while it is still being checked");
        }
    }

    /// The entries of what waited; the last seq of those that were dropped.
    fn place(&mut self, item: Item) -> Vec<Result<Placed, u64>> {
        let Waiting { events, stamp, answer } = match item {
            Item::Dropped(count) => {
                self.newest = self.newest.saturating_add(count);
                return vec![Err(self.newest)];
            }
            Item::Events(waiting) => *waiting,
        };
        let mut placed: Vec<Placed> =
            events.into_iter().map(|event| self.enter(event, stamp)).collect();
        if let Some(last) = placed.last_mut() {
            last.answer = answer;
        }
        placed.into_iter().map(Ok).collect()
    }

    fn enter(&mut self, event: Event, stamp: Stamp) -> Placed {
        self.newest = self.newest.saturating_add(1);
        let position = self.publisher.position(self.newest);
        let shadow = match &event {
            Event::Tick(record) => (self.beside)(&position, stamp, record),
            Event::Vm(_) | Event::Policy(_) | Event::Mode(_) => None,
            Event::Reservation(_) | Event::Pin(_) => None,
        };
        let entry = Entry {
            shadow: shadow.map(Arc::from),
            bytes: (self.encode)(&position, stamp, &event).into(),
            position,
            stamp,
            kind: kind(&event),
            eventful: eventful(&event),
        };
        let record = match event {
            Event::Tick(record) => Some(record),
            Event::Vm(_) | Event::Policy(_) | Event::Mode(_) => None,
            Event::Reservation(_) | Event::Pin(_) => None,
        };
        Placed { entry, record, answer: None }
    }

    fn keep(&mut self, entries: Vec<Entry>) {
        if self.catch_up() {
            self.append(&entries);
        } else {
            self.hold(entries);
        }
    }

    /// Gives the history what was held for it, once it is open. True from then on.
    fn catch_up(&mut self) -> bool {
        if !self.is_open && self.history.is_open() {
            self.is_open = true;
            // First: who reads it as soon as it is there is not told that it is not.
            self.publisher.tell(HISTORY_CHECKING, None);
            let held = mem::take(&mut self.held).entries;
            self.append(&held);
        }
        self.is_open
    }

    fn append(&mut self, entries: &[Entry]) {
        match self.history.append(entries) {
            Ok(()) if self.publisher.clear(HISTORY_NOT_RECORDED) => {
                tracing::info!(lost = self.lost, "the history is recorded again");
            }
            Ok(()) => {}
            Err(error) => self.lose(entries.len(), &error.to_string()),
        }
    }

    /// Keeps entries for a history that is still being opened.
    fn hold(&mut self, entries: Vec<Entry>) {
        let mut lost = 0_usize;
        for entry in entries {
            if self.held.bytes >= HELD {
                lost = lost.saturating_add(1);
                continue;
            }
            let bytes = entry.bytes.len().saturating_add(size_of::<Entry>());
            self.held.bytes = self.held.bytes.saturating_add(bytes);
            // The history has no use for what the shadow decided.
            self.held.entries.push(Entry { shadow: None, ..entry });
        }
        if lost > 0 {
            self.lose(lost, "it is still being checked, and no more of them can wait for it");
        }
    }

    /// Says that the history is still being opened once that takes long.
    fn tell_checking(&self) {
        let passed = self.publisher.stamp().monotonic.saturating_sub(self.began);
        if !self.is_open && passed >= LONG {
            let message = format!(
                "the history is still being checked, which takes as long as its disk does: until then it \
                 cannot be read, and {} entries of the log wait to be written; ticks go on",
                self.held.entries.len()
            );
            self.publisher.tell(HISTORY_CHECKING, Some(message));
        }
    }

    fn lose(&mut self, entries: usize, why: &str) {
        if entries == 0 {
            return;
        }
        let count = u64::try_from(entries).unwrap_or(u64::MAX);
        self.lost = self.lost.saturating_add(count);
        let (publisher, lost) = (&self.publisher, self.lost);
        publisher.meters().lose(Lost::History, count);
        if !publisher.conditions().has(HISTORY_NOT_RECORDED) {
            tracing::warn!(error = why, "the history is not recorded");
        }
        let message = format!(
            "{lost} entries since the start are missing in the history: {why}; \
             look at the disk under the state directory"
        );
        publisher.raise(HISTORY_NOT_RECORDED, message);
    }

    fn publish(&self, item: Result<Placed, u64>) {
        let placed = match item {
            Ok(placed) => placed,
            Err(last) => return self.publisher.ring().drop_next(last),
        };
        let position = placed.entry.position.clone();
        if let Some(record) = placed.record {
            self.publisher.show_logged(position.clone(), record);
        }
        self.publisher.ring().push(placed.entry);
        if let Some(answer) = placed.answer {
            // Whoever asked may have lost patience.
            let _ = answer.try_send(position);
        }
    }
}

const fn kind(event: &Event) -> Kind {
    match event {
        Event::Tick(_) => Kind::Tick,
        Event::Vm(_) => Kind::Vm,
        Event::Policy(_) => Kind::Policy,
        Event::Mode(_) => Kind::Mode,
        Event::Reservation(_) => Kind::Reservation,
        Event::Pin(_) => Kind::Pin,
    }
}

fn eventful(event: &Event) -> bool {
    let Event::Tick(record) = event else {
        return true;
    };
    let decided = |decision: &agentd_core::decision::Decision| !decision.transfers.is_empty();
    record.decision.as_ref().is_some_and(decided) || !record.applied.resized.is_empty()
}

/// Bytes of entries that may wait for a history: as many as a ring holds by default, which has the same ones.
const HELD: usize = crate::publish::DEFAULT_RING_BYTES;
/// Most histories are open sooner, and nothing is said of it.
const LONG: Duration = Duration::from_secs(2);
/// How often a history that is still being opened is looked for.
const LOOK: Duration = Duration::from_millis(100);
