//! A [`Link`]: all connections to one libvirt, and the one bulk call of a reading.
//!
//! One crew makes the bulk call, one reads single VMs, one orders, and one connection only listens.
//! A VM that hangs parks the first bulk call that comes to it for as long as it hangs; the next one,
//! on another connection, skips it at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use agentd_core::vm::VmId;
use virt::error::{Error, ErrorNumber};

use super::{
    calls::Calls,
    crew::{Crew, Wire},
    events::{self, Event, Signals},
    ffi::{Connection, is, start_event_loop},
    record::Record,
    scatter::Desk,
};
use crate::{bell::Bell, clock::Clock};

/// The connections to one libvirt.
#[derive(Debug)]
pub(super) struct Link {
    /// For the bulk call: one thread, and spare ones for when that hangs.
    bulk: Crew,
    /// For single VMs.
    reading: Crew,
    /// For orders, and for what can wait.
    ordering: Crew,
    /// Brings events, and carries no calls.
    listening: Connection,
    signals: Arc<Signals>,
    events: Receiver<Event>,
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenError {
    /// What went wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// What the bulk call showed.
#[derive(Debug)]
pub(super) struct Bulk {
    /// A record for each VM.
    pub(super) records: Vec<Record>,
    /// True when a first call got stuck, so that a VM hangs.
    pub(super) retried: bool,
}

/// Why the bulk call brought nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BulkError {
    /// There was no answer in time.
    Silent,
    /// libvirt answered with an error.
    Failed(String),
    /// The connection broke.
    Lost(String),
}

impl Link {
    /// Opens the connections, whose calls are counted among `calls`, and has `bell` rung when one is lost. Blocks as
    /// long as libvirt does.
    pub(super) fn open(uri: &str, calls: &Calls, bell: Arc<Bell>) -> Result<Self, OpenError> {
        let internal = |problem| OpenError { problem, remedy: REPORT };
        start_event_loop().map_err(internal)?;
        let (signals, events) = events::channel(bell);
        let signals = Arc::new(signals);
        let listening = Connection::open(uri).map_err(|e| OpenError::of(&e))?;
        listening.watch(&signals).map_err(|e| OpenError::of(&e))?;
        // The end of any connection is the end of the link.
        let connect = |_| {
            let connection = Connection::open(uri)?;
            connection.watch_close(&signals)?;
            Ok(connection)
        };
        let crew = |size| {
            let connections = (0..size).map(connect).collect::<Result<_, _>>();
            Crew::new(connections.map_err(|e| OpenError::of(&e))?, calls).map_err(internal)
        };
        let (bulk, reading, ordering) = (crew(BULK)?, crew(READERS)?, crew(ORDERERS)?);
        Ok(Self { bulk, reading, ordering, listening, signals, events })
    }

    /// True once any of the connections is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.signals.is_closed() || !self.listening.is_alive()
    }

    /// What happened to VMs since the last time; `None` when something was missed.
    pub(super) fn take_events(&self) -> Option<Vec<Event>> {
        let events = self.events.try_iter().collect();
        (!self.signals.take_missed()).then_some(events)
    }

    /// Where to make the bulk call.
    pub(super) fn bulk_desk(&self) -> Desk<'_> {
        (&self.bulk, 0)
    }

    /// Where to read single VMs.
    pub(super) fn reading_desk(&self) -> Desk<'_> {
        (&self.reading, 0)
    }

    /// Where to have VMs report, before anything shows whether they answer. Threads are kept for figures.
    pub(super) fn prompts_desk(&self) -> Desk<'_> {
        (&self.reading, 2)
    }

    /// Where to ask for jobs. Threads are kept for figures.
    pub(super) fn jobs_desk(&self) -> Desk<'_> {
        (&self.reading, 1)
    }

    /// Where to order.
    pub(super) fn ordering_desk(&self) -> Desk<'_> {
        (&self.ordering, 0)
    }

    /// Where to do what can wait. Threads are kept for orders.
    pub(super) fn chores_desk(&self) -> Desk<'_> {
        (&self.ordering, 3)
    }

    /// Calls that have not returned.
    pub(super) fn calls(&self) -> usize {
        self.crews().into_iter().map(Crew::calls).sum()
    }

    /// Frees the handles on all other VMs.
    pub(super) fn forget_all_but(&self, vms: &BTreeSet<VmId>) {
        self.crews().into_iter().for_each(|crew| crew.forget_all_but(vms));
    }

    /// The statistics of all VMs: asked once, and again on another connection when that gets stuck.
    pub(super) fn bulk(
        &self,
        clock: &Arc<dyn Clock>,
        timeout: Duration,
    ) -> Result<Bulk, BulkError> {
        let (answers, receiver) = sync_channel(ATTEMPTS.len());
        let begin = clock.now();
        let mut asked = false;
        for (attempt, eighths) in ATTEMPTS.into_iter().enumerate() {
            asked |= ask_all(self.bulk_desk(), attempt > 0, &answers);
            if !asked {
                break;
            }
            let until = begin.saturating_add(timeout.saturating_mul(eighths) / 8);
            match receiver.recv_timeout(until.saturating_sub(clock.now())) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        Err(BulkError::Silent)
    }

    fn crews(&self) -> [&Crew; 3] {
        [&self.bulk, &self.reading, &self.ordering]
    }

    /// Closes the connections on a thread of their own, and waits for it only shortly: a libvirt
    /// that does not answer must hold up neither a reconnect nor a stop.
    pub(super) fn close(self) {
        self.signals.give_up();
        let (done, closed) = sync_channel(1);
        let close = move || {
            drop(self);
            let _ = done.try_send(());
        };
        // Without a thread the link is closed here, with the closure that was to do it.
        let _ = thread::Builder::new().name("libvirt-close".to_owned()).spawn(close);
        let _ = closed.recv_timeout(CLOSING);
    }
}

type Answers = SyncSender<Result<Bulk, BulkError>>;

fn ask_all((crew, keep): Desk<'_>, retried: bool, answers: &Answers) -> bool {
    let answers = answers.clone();
    crew.start(keep, move |wire| {
        let bulk = match all_records(wire, retried) {
            Ok(records) => Ok(Bulk { records, retried }),
            Err(e) if wire.connection.is_alive() => Err(BulkError::Failed(e.message().to_owned())),
            Err(e) => Err(BulkError::Lost(e.message().to_owned())),
        };
        // Has room for the answer of every attempt, and nobody may be waiting any more.
        let _ = answers.try_send(bulk);
    })
}

/// The records; where a VM hangs, with a bare one for each VM that libvirt left out for that.
fn all_records(wire: &Wire, some_vm_hangs: bool) -> Result<Vec<Record>, Error> {
    let mut records = wire.connection.all_stats()?;
    if some_vm_hangs {
        let there: BTreeSet<VmId> = records.iter().map(|record| record.id).collect();
        let listed = wire.connection.list()?;
        let left_out = listed.into_iter().filter(|(vm, _)| !there.contains(vm));
        records.extend(left_out.map(|(vm, name)| Record::new(vm, &name)));
    }
    Ok(records)
}

impl OpenError {
    fn of(error: &Error) -> Self {
        let problem = error.message().to_owned();
        let denied = [
            ErrorNumber::AuthFailed,
            ErrorNumber::AuthCancelled,
            ErrorNumber::AuthUnavailable,
            ErrorNumber::AccessDenied,
        ];
        let remedy = if denied.iter().any(|number| is(error, *number))
            || problem.contains("Permission denied")
        {
            "let its user use libvirt: the polkit rule 50-agentd.rules of the package does for the user \
             agentd, where polkit runs; root needs none"
        } else if problem.contains("Failed to connect socket") {
            RUNNING
        } else if is(error, ErrorNumber::NoConnect) || is(error, ErrorNumber::InvalidArg) {
            "is the URI right? a usual one is qemu:///system"
        } else {
            "see: journalctl -u libvirtd -u virtqemud"
        };
        Self { problem, remedy }
    }
}

/// By when to ask again, in eighths of the time there is. The last eighth is for single VMs.
const ATTEMPTS: [u32; 3] = [4, 6, 7];
/// What to do where nobody listens.
pub(super) const RUNNING: &str = "is libvirtd or virtqemud running, and the URI right? see: \
    systemctl status libvirtd virtqemud.socket";
// Threads, and connections, for each purpose. libvirtd works on 20 calls at once.
const BULK: usize = 6;
const READERS: usize = 4;
const ORDERERS: usize = 6;
const CLOSING: Duration = Duration::from_secs(1);
const REPORT: &str = "agentd cannot work like this: see its log and the limits of its process";
