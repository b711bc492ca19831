//! The audit: who asked for what, from where, and what came of it, in files that show whether somebody
//! has changed them.
//!
//! ```text
//! server --intend--> Audit --Job--> Scribe --> Files      on disk, then the change is made, then
//! server --conclude-> Audit --Job--> Scribe --> Files     what became of it
//! server --denied---> Audit --Quota--> Scribe             never waits; so many a minute, the rest counted
//! ```
//!
//! What cannot be written down is not done: a change is refused while the disk takes no record of it. A
//! pause alone is made all the same, and written down as soon as it can be.

mod chain;
mod commands;
mod files;
mod list;
mod quota;
mod record;
mod scribe;
mod show;
mod tally;
mod timepiece;
mod verify;

use std::{
    collections::VecDeque,
    fmt::Display,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

pub use commands::{AuditError, Found, audit};
pub use files::Limits;
pub use list::{Entry, Kind, NoToken, Page, Token, Wanted};
pub use record::{Call, Caller, Changes, Decision, Facts};

use crate::{clock::Clock, publish::Publisher};
use files::Files;
use quota::Quota;
use record::{Denial, Intent, Outcome, Record, bounded, bounded_facts};
use scribe::{Job, Scribe, Writing, lost};
use timepiece::Timepiece;

/// The audit of this agentd. Ends its thread when closed or dropped.
#[derive(Debug)]
pub struct Audit {
    jobs: SyncSender<Job>,
    timepiece: Timepiece,
    quota: Arc<Mutex<Quota>>,
    missed: Arc<AtomicU64>,
    publisher: Arc<Publisher>,
    dir: PathBuf,
    patience: Duration,
    /// Changes so far.
    changes: AtomicU64,
    /// Nothing comes through; it closes when the thread ends.
    ended: Mutex<Receiver<()>>,
}

/// What an audit is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where the files are.
    pub dir: PathBuf,
    /// How much is kept.
    pub limits: Limits,
    /// Time since the kernel's boot, and the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Whoever is told that it cannot be written.
    pub publisher: Arc<Publisher>,
    /// How long a caller waits for the disk.
    pub patience: Duration,
}

/// A change that may be made now.
#[derive(Clone, Debug)]
#[must_use = "what became of it is to be written down"]
pub struct Change {
    number: u64,
    is_pause: bool,
    call: Call,
    before: Facts,
    began: Duration,
}

/// What is to be changed, before it is.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What is in force.
    pub before: Facts,
    /// What is asked for, beside the fields.
    pub asked: Facts,
    /// Fields that would change.
    pub changes: Changes,
}

/// What a change has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// What was in force until then; `None` for what was when it was asked for.
    pub before: Option<Facts>,
    /// What is in force by it.
    pub after: Facts,
    /// Fields that have changed.
    pub changes: Changes,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason that the caller is given.
    pub reason: String,
    /// The same in words.
    pub detail: String,
}

/// A change cannot be written down, and is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change was not made, because it cannot be written into the audit: {why}; see to {dir} and its \
     disk. A pause is accepted all the same"
)]
pub struct NotDurable {
    why: String,
    dir: String,
}

impl Audit {
    /// Begins to write behind what is there, or anew. Where it cannot be written [`AUDIT_LOST`] says so.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let Parts { dir, limits, clock, publisher, patience } = parts;
        let (jobs, inbox) = mpsc::sync_channel(QUEUE);
        let (running, ended) = mpsc::sync_channel(0);
        let (timepiece, quota, missed) = (Timepiece::new(clock), Arc::default(), Arc::default());
        let scribe = Scribe {
            files: Files::new(dir.clone(), limits),
            publisher: Arc::clone(&publisher),
            timepiece: timepiece.clone(),
            quota: Arc::clone(&quota),
            missed: Arc::clone(&missed),
            late: VecDeque::new(),
            lost_since: None,
        };
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            let _running = running;
            scribe.run(&inbox);
        })?;
        let (changes, ended) = (AtomicU64::new(0), Mutex::new(ended));
        Ok(Self { jobs, timepiece, quota, missed, publisher, dir, patience, changes, ended })
    }

    /// Says that agentd has started, and with what. Comes before any change.
    pub fn begin(&self, in_force: Facts) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let in_force = bounded_facts(in_force);
        self.note(Record::Start { version, pid: std::process::id(), in_force });
    }

    /// Writes down that a change is about to be made, durably.
    ///
    /// # Errors
    ///
    /// When that cannot be done: the change must not be made then. That it was not is written by itself.
    pub fn intend(&self, call: Call, asked: Asked) -> Result<Change, NotDurable> {
        let change = self.change(call, &asked, false);
        let written = self.write(change.intent(asked), false, self.patience);
        written.map(|()| change.clone()).map_err(|why| {
            let error = NotDurable { why, dir: self.dir.display().to_string() };
            let refused = Refused { reason: NOT_DURABLE.to_owned(), detail: error.to_string() };
            self.note(change.outcome(Err(refused), &self.timepiece));
            error
        })
    }

    /// The same of a pause, which is made also where it cannot be written down, and does not wait for a
    /// disk that hangs.
    pub fn intend_pause(&self, call: Call, asked: Asked) -> Change {
        let change = self.change(call, &asked, true);
        if let Err(why) = self.write(change.intent(asked), true, PAUSE_PATIENCE) {
            let who = &change.call.caller.who;
            tracing::warn!(who, why, "paused by somebody, which is not yet written into the audit");
        }
        change
    }

    /// Writes down what became of a change. When it returns that is on disk, unless the disk fails or
    /// hangs: it is then kept, and written as soon as it can be.
    pub fn conclude(&self, change: &Change, result: Result<Effect, Refused>) {
        let patience = if change.is_pause { PAUSE_PATIENCE } else { self.patience };
        // Told as a condition where it fails, and tried again.
        let _ = self.write(change.outcome(result, &self.timepiece), true, patience);
    }

    /// Writes down that a call was refused before anything could be changed. Never waits.
    pub fn refused(&self, call: Call, refused: Refused) {
        self.deny(call, Decision::Refused, refused);
    }

    /// Writes down that a call was denied for who the caller is. Never waits.
    pub fn denied(&self, caller: impl Into<Caller>, method: &str, reason: &str) {
        let call = Call { caller: caller.into(), method: method.to_owned(), ..Call::default() };
        let refused = Refused { reason: reason.to_owned(), detail: String::new() };
        self.deny(call, Decision::Denied, refused);
    }

    /// Writes down that somebody was not let in, before they could call anything. Never waits.
    pub fn not_let_in(&self, address: SocketAddr, why: &str) {
        // One caller, however many there are: they must not keep those with a name out of the audit.
        let caller =
            Caller { who: STRANGER.to_owned(), from: address.to_string(), ..Caller::default() };
        let call = Call { caller, method: CONNECT.to_owned(), ..Call::default() };
        let refused = Refused { reason: ENTRY_DENIED.to_owned(), detail: why.to_owned() };
        self.deny(call, Decision::Denied, refused);
    }

    /// Entries before a place, or the newest ones, at most `size`. Blocks.
    ///
    /// # Errors
    ///
    /// When the files cannot be read.
    pub fn list(&self, wanted: &Wanted, from: Option<Token>, size: usize) -> io::Result<Page> {
        list::page(&self.dir, wanted, from, size)
    }

    /// Writes what is queued, and ends. False when the disk takes longer than `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        // Where there is no room the thread is stuck, and the wait below says so.
        let _ = self.jobs.try_send(Job::Stop);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    fn deny(&self, call: Call, decision: Decision, refused: Refused) {
        let call = call.bounded();
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        if !quota.admit(&call, decision) {
            return;
        }
        drop(quota);
        let Refused { reason, detail } = refused;
        let (outcome, detail) = (bounded(&reason), bounded(&detail));
        self.note(Record::Denial(Denial { call, decision, outcome, detail }));
    }

    fn change(&self, call: Call, asked: &Asked, is_pause: bool) -> Change {
        let number = self.changes.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let before = bounded_facts(asked.before.clone());
        Change { number, is_pause, call: call.bounded(), before, began: self.timepiece.now() }
    }

    /// Queues something that has happened. Never waits; counted where there is no room.
    fn note(&self, record: Record) {
        let writing =
            Writing { when: self.timepiece.when(), record, has_happened: true, reply: None };
        if self.jobs.try_send(Job::Write(Box::new(writing))).is_err() {
            self.missed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Writes a record and waits until it is on disk, but no longer than `patience`.
    fn write(&self, record: Record, has_happened: bool, patience: Duration) -> Result<(), String> {
        let (reply, answer) = mpsc::sync_channel(1);
        let writing =
            Writing { when: self.timepiece.when(), record, has_happened, reply: Some(reply) };
        let written = match self.jobs.try_send(Job::Write(Box::new(writing))) {
            Err(_) => {
                self.missed.fetch_add(u64::from(has_happened), Ordering::SeqCst);
                Err(format!("{QUEUE} records wait for the disk, which is all that may be"))
            }
            Ok(()) => match answer.recv_timeout(patience) {
                Ok(written) => return written,
                Err(RecvTimeoutError::Disconnected) => return Err("agentd is stopping".to_owned()),
                Err(RecvTimeoutError::Timeout) => {
                    Err(format!("the disk has not answered within {patience:?}"))
                }
            },
        };
        // The thread that would say so is the one that is stuck. It takes this back when it is not.
        written.inspect_err(|why| {
            let message = lost(&self.dir.display().to_string(), &why as &dyn Display);
            self.publisher.tell(AUDIT_LOST, Some(message));
        })
    }
}

impl Change {
    fn intent(&self, asked: Asked) -> Record {
        Record::Intent(Intent {
            change: self.number,
            call: self.call.clone(),
            decision: Decision::Allowed,
            before: self.before.clone(),
            asked: bounded_facts(asked.asked),
            changes: asked.changes,
        })
    }

    fn outcome(&self, result: Result<Effect, Refused>, timepiece: &Timepiece) -> Record {
        let (decision, refused, effect) = match result {
            Ok(effect) => {
                let none = Refused { reason: MADE.to_owned(), detail: String::new() };
                (Decision::Allowed, none, effect)
            }
            Err(refused) => (Decision::Refused, refused, Effect::default()),
        };
        let took = timepiece.now().saturating_sub(self.began);
        Record::Outcome(Outcome {
            change: self.number,
            call: self.call.clone(),
            decision,
            outcome: bounded(&refused.reason),
            detail: bounded(&refused.detail),
            before: effect.before.map_or_else(|| self.before.clone(), bounded_facts),
            after: bounded_facts(effect.after),
            changes: effect.changes,
            latency_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

/// Raised while the audit cannot be written, which keeps every change but a pause from being made.
pub const AUDIT_LOST: &str = "AUDIT_LOST";
/// Raised after lines of the audit were found to be cut off or missing, until agentd is started again.
pub const AUDIT_DAMAGED: &str = "AUDIT_DAMAGED";
/// The reason of a change that was not made because the audit could not be written.
pub const NOT_DURABLE: &str = "AUDIT_NOT_DURABLE";
/// How long a change waits for its record, twice: with the time that the change itself may take it stays
/// below the deadline of a call.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long a pause does. A disk that is well takes milliseconds.
const PAUSE_PATIENCE: Duration = Duration::from_millis(250);
/// Records that wait for the disk. Of changes there are few at a time; the rest is denials, which a
/// [`Quota`] bounds.
const QUEUE: usize = 256;
/// The outcome of a change that was made.
const MADE: &str = "OK";
/// Whoever was not let in. No certificate may have such a name.
const STRANGER: &str = "uid:unknown";
/// In the place of a method, and of a reason, for who was not let in.
const CONNECT: &str = "connect";
const ENTRY_DENIED: &str = "NOT_LET_IN";

#[cfg(test)]
mod tests;
