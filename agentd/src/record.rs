//! [`Recorder`]: gives every event its place in the log, writes it to the history, then publishes
//! it, in this order and on one thread of its own.
//!
//! ```text
//! tick ----turn----> Queue -> encode once -> History::append -> Ring
//! control -change-->            (recorder thread)
//! ```
//!
//! A tick never waits here. When the disk hangs the queue fills, and entries that find no room are
//! dropped: counted, and told to every reader of the log. A history that fails stops nothing; it
//! raises [`HISTORY_NOT_RECORDED`]. Nor does one that is still being opened: its entries are published,
//! and kept once it is open. What the bytes of an entry mean is not known here.

mod queue;
mod writer;

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
    event::{Event, TickRecord, VmChange},
    publish::{Entry, Lost, Position, Publisher, Stamp},
};
use queue::{Queue, Waiting};
use writer::Writer;

/// Where entries are kept for longer than the ring holds them.
pub trait History: Send {
    /// Keeps entries, all or none, durably. Called from one thread, in the order of the log.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from doing so; it is told to the operator.
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError>;

    /// False while it is still being opened, which may take minutes: entries wait for it until then.
    fn is_open(&mut self) -> bool {
        true
    }
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
        let writer = Writer::new(shown, encode, beside, history);
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
        self.turn(Vec::new(), record);
    }

    /// The same with the VMs that it saw come, go or change, however many they are: they stand before it.
    pub fn turn(&self, changes: Vec<VmChange>, record: Arc<TickRecord>) {
        self.publisher.show(Arc::clone(&record));
        let events = changes.into_iter().map(Event::Vm).chain([Event::Tick(record)]);
        self.put(events.collect(), None, Duration::ZERO);
    }

    /// Queues an event for the log. Never waits: where there is no room the event is dropped.
    pub fn note(&self, event: Event) {
        self.put(vec![event], None, Duration::ZERO);
    }

    /// Puts an event into the log and returns its position; `None` when that takes too long.
    pub fn change(&self, event: Event) -> Option<Position> {
        let (answer, position) = mpsc::sync_channel(1);
        if !self.put(vec![event], Some(answer), PATIENCE) {
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

    fn put(
        &self,
        events: Vec<Event>,
        answer: Option<SyncSender<Position>>,
        patience: Duration,
    ) -> bool {
        for event in &events {
            self.publisher.feed().tell(event, self.publisher.meters());
        }
        let dropped = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let waiting = Waiting { events, stamp: self.publisher.stamp(), answer };
        let taken = self.queue.put(waiting, patience);
        if !taken {
            let before = self.dropped.fetch_add(dropped, Ordering::Relaxed);
            let message = format!(
                "the history takes nothing in: {} entries were dropped since the start; \
                 look at the disk under the state directory",
                before.saturating_add(dropped)
            );
            self.publisher.raise(HISTORY_NOT_RECORDED, message);
            self.publisher.meters().lose(Lost::NotRecorded, dropped);
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

/// Raised while entries do not reach the history.
pub const HISTORY_NOT_RECORDED: &str = "HISTORY_NOT_RECORDED";
/// Raised while the history is still being checked, once that takes longer than a moment.
pub const HISTORY_CHECKING: &str = "HISTORY_CHECKING";
/// A minute of ticks, each with what it saw of VMs, at one tick a second: longer hangs of a disk are
/// faults.
const QUEUE: usize = 64;
/// What is written at once. It is only more than one tick's after the disk was slow.
const BATCH: usize = 64;
/// A caller of an RPC waits for its position so long; the change itself is long durable.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
