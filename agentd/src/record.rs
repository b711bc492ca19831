//! [`Recorder`]: gives every event its place in the log, writes it to the history, then publishes
//! it, in this order and on one thread of its own.
//!
//! ```text
//! tick ----note----> Queue -> encode once -> History::append -> Ring
//! control -change-->            (recorder thread)
//! ```
//!
//! A tick never waits here. When the disk hangs the queue fills, and entries that find no room are
//! dropped: counted, and told to every reader of the log. A history that fails stops nothing; it
//! raises [`HISTORY_NOT_RECORDED`]. What the bytes of an entry mean is not known here.

mod queue;

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use crate::{
    event::{Event, TickRecord},
    publish::{Entry, Kind, Lost, Position, Publisher, Stamp},
};
use queue::{Item, Queue, Waiting};

/// Where entries are kept for longer than the ring holds them.
pub trait History: Send {
    /// Keeps entries, all or none, durably. Called from one thread, in the order of the log.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from doing so; it is told to the operator.
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError>;
}

/// Why entries could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HistoryError(pub String);

/// Keeps nothing: the log is as long as the ring.
#[derive(Clone, Copy, Debug)]
pub struct NoHistory;

impl History for NoHistory {
    fn append(&mut self, _: &[Entry]) -> Result<(), HistoryError> {
        Ok(())
    }
}

/// Turns an event at its place into the bytes of its entry.
pub type Encode = fn(&Position, Stamp, &Event) -> Vec<u8>;

/// The bytes of a tick's entry with what is said beside it; `None` where nothing is.
pub type Beside = Box<dyn FnMut(&Position, Stamp, &TickRecord) -> Option<Vec<u8>> + Send>;

/// Records and publishes events. Cheap to share; ends its thread when stopped or dropped.
pub struct Recorder {
    queue: Arc<Queue>,
    publisher: Arc<Publisher>,
    dropped: AtomicU64,
    /// Nothing comes through; it closes when the thread ends.
    ended: Mutex<Receiver<()>>,
}

impl Recorder {
    /// Starts its thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        publisher: Arc<Publisher>,
        encode: Encode,
        history: Box<dyn History>,
    ) -> io::Result<Self> {
        Self::start_beside(publisher, encode, history, Box::new(|_, _, _| None))
    }

    /// The same with something that is said beside ticks.
    ///
    /// # Errors
    ///
    /// See [`Recorder::start`].
    pub fn start_beside(
        publisher: Arc<Publisher>,
        encode: Encode,
        history: Box<dyn History>,
        beside: Beside,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(QUEUE));
        let shown = Arc::clone(&publisher);
        let writer = Writer { publisher: shown, encode, beside, history, newest: 0, lost: 0 };
        let source = Arc::clone(&queue);
        let (running, ended) = mpsc::sync_channel(0);
        thread::Builder::new().name("record".to_owned()).spawn(move || {
            let _running = running;
            writer.run(&source);
        })?;
        Ok(Self { queue, publisher, dropped: AtomicU64::new(0), ended: Mutex::new(ended) })
    }

    /// Shows a finished tick as the latest and queues it for the log. Never waits.
    pub fn tick(&self, record: Arc<TickRecord>) {
        self.publisher.show(Arc::clone(&record));
        self.note(Event::Tick(record));
    }

    /// Queues an event for the log. Never waits: where there is no room the event is dropped.
    pub fn note(&self, event: Event) {
        self.put(event, None, Duration::ZERO);
    }

    /// Puts an event into the log and returns its position; `None` when that takes too long.
    pub fn change(&self, event: Event) -> Option<Position> {
        let (answer, position) = mpsc::sync_channel(1);
        if !self.put(event, Some(answer), PATIENCE) {
            return None;
        }
        position.recv_timeout(PATIENCE).ok()
    }

    /// How many events found no room since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes in nothing more, records what is queued, and ends. False when that took too long.
    pub fn stop(&self, patience: Duration) -> bool {
        self.queue.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    fn put(&self, event: Event, answer: Option<SyncSender<Position>>, patience: Duration) -> bool {
        self.publisher.feed().tell(&event, self.publisher.meters());
        let waiting = Waiting { event, stamp: self.publisher.stamp(), answer };
        let taken = self.queue.put(waiting, patience);
        if !taken {
            let count = self.dropped.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            let message = format!(
                "the history takes nothing in: {count} entries were dropped since the start; \
                 look at the disk under the state directory"
            );
            self.publisher.raise(HISTORY_NOT_RECORDED, message);
            self.publisher.meters().lose(Lost::NotRecorded, 1);
        }
        taken
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// The recorder's thread.
struct Writer {
    publisher: Arc<Publisher>,
    encode: Encode,
    beside: Beside,
    history: Box<dyn History>,
    newest: u64,
    lost: u64,
}

/// An entry on its way into the ring, with what has to be done when it is there.
struct Placed {
    entry: Entry,
    record: Option<Arc<TickRecord>>,
    answer: Option<SyncSender<Position>>,
}

impl Writer {
    fn run(mut self, queue: &Queue) {
        while let Some(items) = queue.take(BATCH) {
            let batch: Vec<Result<Placed, u64>> =
                items.into_iter().map(|item| self.place(item)).collect();
            let placed = batch.iter().filter_map(|item| item.as_ref().ok());
            let entries: Vec<Entry> = placed.map(|placed| placed.entry.clone()).collect();
            if !entries.is_empty() {
                self.keep(&entries);
            }
            for item in batch {
                self.publish(item);
            }
        }
    }

    /// An event's entry; the last seq of those that were dropped.
    fn place(&mut self, item: Item) -> Result<Placed, u64> {
        let waiting = match item {
            Item::Dropped(count) => {
                self.newest = self.newest.saturating_add(count);
                return Err(self.newest);
            }
            Item::Event(waiting) => *waiting,
        };
        self.newest = self.newest.saturating_add(1);
        let Waiting { event, stamp, answer } = waiting;
        let position = self.publisher.position(self.newest);
        let shadow = match &event {
            Event::Tick(record) => (self.beside)(&position, stamp, record),
            Event::Vm(_) | Event::Policy(_) | Event::Mode(_) | Event::Reservation(_) => None,
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
            Event::Vm(_) | Event::Policy(_) | Event::Mode(_) | Event::Reservation(_) => None,
        };
        Ok(Placed { entry, record, answer })
    }

    fn keep(&mut self, entries: &[Entry]) {
        let publisher = &self.publisher;
        match self.history.append(entries) {
            Ok(()) => {
                if publisher.clear(HISTORY_NOT_RECORDED) {
                    tracing::info!(lost = self.lost, "the history is recorded again");
                }
            }
            Err(error) => {
                let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
                self.lost = self.lost.saturating_add(count);
                publisher.meters().lose(Lost::History, count);
                let lost = self.lost;
                if !publisher.conditions().has(HISTORY_NOT_RECORDED) {
                    tracing::warn!(%error, "the history is not recorded");
                }
                let message = format!(
                    "{lost} entries since the start are missing in the history: {error}; \
                     look at the disk under the state directory"
                );
                publisher.raise(HISTORY_NOT_RECORDED, message);
            }
        }
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
    }
}

fn eventful(event: &Event) -> bool {
    let Event::Tick(record) = event else {
        return true;
    };
    let decided = |decision: &agentd_core::decision::Decision| !decision.transfers.is_empty();
    record.decision.as_ref().is_some_and(decided) || !record.applied.resized.is_empty()
}

/// Raised while entries do not reach the history.
pub const HISTORY_NOT_RECORDED: &str = "HISTORY_NOT_RECORDED";
/// Half a minute of ticks and their changes, at one tick a second: longer hangs of a disk are
/// faults.
const QUEUE: usize = 64;
/// One transaction's worth. A batch is only larger than one entry after the disk was slow.
const BATCH: usize = 64;
/// A caller of an RPC waits for its position so long; the change itself is long durable.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
