//! [`Scribe`]: writes the audit, on a thread of its own. A disk that hangs stops nobody else.
//!
//! What happened and could not be written is kept, as far as there is room, and written as soon as the
//! disk takes it; what there was no room for is counted.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use super::{
    AUDIT_DAMAGED, AUDIT_LOST, chain::When, files::Files, quota::Quota, record::Record,
    timepiece::Timepiece,
};
use crate::publish::Publisher;

/// What the scribe is given to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Something to write.
    Write(Box<Writing>),
    /// Write what there is, and end.
    Stop,
}

/// Something to write.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) when: When,
    pub(super) record: Record,
    /// Whether it is so whatever becomes of the record: it is then kept until it can be written.
    pub(super) has_happened: bool,
    /// Told when it is on disk, or why it is not.
    pub(super) reply: Option<SyncSender<Result<(), String>>>,
}

#[derive(Debug)]
pub(super) struct Scribe {
    pub(super) files: Files,
    pub(super) publisher: Arc<Publisher>,
    pub(super) timepiece: Timepiece,
    pub(super) quota: Arc<Mutex<Quota>>,
    /// What found no room in the queue.
    pub(super) missed: Arc<AtomicU64>,
    /// What has happened and is not yet written, the oldest first.
    pub(super) late: VecDeque<(When, Record)>,
    /// Since when it could not be written; `None` while it can.
    pub(super) lost_since: Option<String>,
}

impl Scribe {
    /// Writes until it is stopped or nobody is left to give it anything.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.patience()) {
                Ok(Job::Write(writing)) => self.serve(*writing),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            let counted = self.quota().take_over(self.timepiece.now());
            self.note_all(counted.into_iter().map(Record::Counted));
        }
    }

    fn serve(&mut self, writing: Writing) {
        let Writing { when, record, has_happened, reply } = writing;
        let written = self.write(&when, &record).map_err(|error| error.to_string());
        if written.is_err() && has_happened {
            self.keep(when, record);
        }
        // Whoever asked may have lost patience.
        let _ = reply.map(|reply| reply.try_send(written));
    }

    fn note_all(&mut self, records: impl Iterator<Item = Record>) {
        for record in records {
            let when = self.timepiece.when();
            if self.write(&when, &record).is_err() {
                self.keep(when, record);
            }
        }
    }

    /// Writes a record behind all that is late.
    fn write(&mut self, when: &When, record: &Record) -> io::Result<()> {
        let written = self.catch_up().and_then(|()| self.files.append(when, record));
        self.tell(&written);
        written
    }

    /// Writes what is late, behind a record that says so.
    fn catch_up(&mut self) -> io::Result<()> {
        let when = self.timepiece.when();
        let damage = self.files.take_up(&when)?;
        if !damage.is_empty() {
            let message = format!(
                "{}: what is there is kept, and \"agentd audit verify\" says more; find out whether it \
                 was a crash, the disk or somebody's hand",
                damage.join("; ")
            );
            self.publisher.tell(AUDIT_DAMAGED, Some(message));
        }
        let count = self.missed.load(Ordering::SeqCst);
        if count > 0 {
            self.lost_since.get_or_insert_with(|| when.time.clone());
        }
        if let Some(since) = self.lost_since.clone() {
            // Also where nothing was missed: that it takes a line shows that the disk is well.
            let late = u64::try_from(self.late.len()).unwrap_or(u64::MAX);
            self.files.append(&when, &Record::Missed { count, late, since })?;
            self.missed.fetch_sub(count, Ordering::SeqCst);
            self.lost_since = None;
        }
        while let Some((when, record)) = self.late.front() {
            self.files.append(when, record)?;
            self.late.pop_front();
        }
        Ok(())
    }

    fn keep(&mut self, when: When, record: Record) {
        if self.late.len() < MOST_LATE {
            self.late.push_back((when, record));
        } else {
            self.missed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Sees whether the audit can be written, where nobody asks for it.
    fn look(&mut self) {
        let looked = self.catch_up();
        self.tell(&looked);
    }

    fn tell(&mut self, written: &io::Result<()>) {
        let Err(error) = written else {
            return self.publisher.tell(AUDIT_LOST, None);
        };
        self.lost_since.get_or_insert_with(|| self.timepiece.when().time);
        self.publisher.tell(AUDIT_LOST, Some(lost(&self.files.dir().display().to_string(), error)));
    }

    /// Writes what is still to be written; what cannot be is told in the log.
    fn end(mut self) {
        let counted = self.quota().take_all(self.timepiece.now());
        self.note_all(counted.into_iter().map(Record::Counted));
        self.note_all([Record::Stop {}].into_iter());
        let missed = self.missed.load(Ordering::SeqCst);
        if missed > 0 || !self.late.is_empty() {
            let late = self.late.len();
            tracing::error!(missed, late, "agentd ends with an audit that lacks records");
        }
    }

    /// How long it may do nothing.
    fn patience(&self) -> Duration {
        if self.lost_since.is_some() { RETRY } else { LOOK }
    }

    fn quota(&self) -> MutexGuard<'_, Quota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said while the audit cannot be written.
pub(super) fn lost(dir: &str, why: &dyn std::fmt::Display) -> String {
    format!(
        "the audit cannot be written: {why}; every change but a pause is refused until it can: see to \
         {dir} and its disk"
    )
}

/// Records that wait for the disk. While it takes nothing no change is made but a pause.
const MOST_LATE: usize = 64;
/// A disk that was full is seldom empty sooner.
const RETRY: Duration = Duration::from_secs(2);
/// Files that somebody took away are missed so soon, and counted denials are written about as soon.
const LOOK: Duration = Duration::from_secs(10);
