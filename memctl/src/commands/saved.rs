//! `memctl watch --input FILE`: a stream that was saved with `-o jsonl`, shown once more. Asks no
//! host.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use agentd_proto::v1;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::watch::until_stopped;
use super::watcher::Watcher;
use super::{Ended, Stop};
use crate::dto::{Body, Record, Tick, VmName};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::session::Session;

/// What of the stream is wanted.
pub(super) struct Selection {
    /// Types of entries; all where it is empty.
    pub(super) kinds: Vec<&'static str>,
    /// VMs by name or UUID; all where it is empty.
    pub(super) vms: Vec<String>,
    pub(super) only_changes: bool,
    /// The last so many entries.
    pub(super) tail: Option<u64>,
    /// Entries that are at most this old.
    pub(super) since: Option<Duration>,
    /// Entries behind this one.
    pub(super) after: Option<v1::Position>,
    pub(super) count: Option<u64>,
    pub(super) lasting: Option<Duration>,
}

/// Shows what is wanted of the file.
pub(super) async fn run(path: &Path, selection: &Selection, session: &mut Session) -> Ended {
    let is_stdin = path == Path::new("-");
    // Whoever comes through a pipe is not known before.
    let names = if is_stdin { BTreeSet::new() } else { hosts(path)? };
    session.output.view.many_hosts = is_stdin || names.len() > 1;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut watcher = Watcher::new(session, &names, selection.count);
    let ended = until_stopped(show(path, selection, &mut watcher), selection.lasting).await;
    watcher.summarise();
    ended
}

async fn show(path: &Path, selection: &Selection, watcher: &mut Watcher<'_>) -> Ended {
    let oldest = selection.since.and_then(|age| Timestamp::now().checked_sub(age).ok());
    let mut wanted = Wanted { selection, oldest, behind: selection.after.is_none() };
    let mut last: VecDeque<Record> = VecDeque::new();
    let mut records = read_along(records(path)?);
    while let Some(record) = records.recv().await {
        let Some(record) = wanted.of(record?) else { continue };
        match selection.tail {
            Some(tail) => {
                last.push_back(record);
                let most = usize::try_from(tail).unwrap_or(usize::MAX);
                if last.len() > most {
                    last.pop_front();
                }
            }
            None if watcher.take(&record).await? => return Ok(Exit::Done),
            None => {}
        }
    }
    for record in last {
        if watcher.take(&record).await? {
            break;
        }
    }
    if !wanted.behind {
        let after = selection.after.clone().unwrap_or_default();
        let what = format!("{}:{} is not in {}", after.epoch, after.seq, path.display());
        return Err(Failure::new(Code::NotFound, "POSITION_NOT_FOUND", what).into());
    }
    Ok(Exit::Done)
}

/// The same on a thread of its own: reading may block, and Ctrl-C is to work all the same.
fn read_along(records: Records) -> mpsc::Receiver<Result<Record, Failure>> {
    let (sender, receiver) = mpsc::channel(RECORDS_IN_FLIGHT);
    std::thread::spawn(move || {
        for record in records {
            if sender.blocking_send(record).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What is left of a stream by a selection.
struct Wanted<'a> {
    selection: &'a Selection,
    oldest: Option<Timestamp>,
    /// Whether the entry to start behind has passed.
    behind: bool,
}

impl Wanted<'_> {
    /// The record, as far as it is wanted.
    fn of(&mut self, mut record: Record) -> Option<Record> {
        let Selection { kinds, vms, only_changes, after, tail, .. } = self.selection;
        if !self.behind {
            let position = record.position.as_ref().zip(after.as_ref());
            self.behind = position
                .is_some_and(|(own, after)| own.epoch == after.epoch && own.seq >= after.seq);
            let is_there = position.is_some_and(|(own, after)| own.seq > after.seq);
            if !is_there || !self.behind {
                return None;
            }
        }
        let is_old = record.time.zip(self.oldest).is_some_and(|(time, oldest)| time.0 < oldest);
        let is_other = record.is_entry() && !kinds.is_empty() && !kinds.contains(&&*record.kind);
        // The last entries are counted; what the stream said of itself in between is not.
        if is_old || is_other || tail.is_some() && !record.is_entry() {
            return None;
        }
        if !vms.is_empty() && !narrowed(&mut record.body, vms) {
            return None;
        }
        let is_quiet = matches!(&record.body, Body::Tick(tick) if is_quiet(tick));
        (!only_changes || !is_quiet).then_some(record)
    }
}

/// Leaves of a record what concerns these VMs; whether that is anything.
fn narrowed(body: &mut Body, wanted: &[String]) -> bool {
    let is_wanted = |vm: &VmName| wanted.iter().any(|name| *name == vm.name || *name == vm.uuid);
    match body {
        Body::Tick(tick) => {
            let is_party = |party: &Option<VmName>| party.as_ref().is_some_and(&is_wanted);
            tick.transfers.retain(|own| is_party(&own.from) || is_party(&own.to));
            tick.resizes.retain(|own| is_wanted(&own.vm));
            tick.vms.retain(|own| is_wanted(&own.vm));
            !tick.vms.is_empty() || !tick.transfers.is_empty() || !tick.resizes.is_empty()
        }
        Body::Vm(change) => is_wanted(&change.vm),
        Body::Pin(event) => is_wanted(&event.pin.vm),
        // These concern all.
        Body::Policy(_) | Body::Mode(_) | Body::Reservation(_) => true,
        Body::Hello(_) | Body::Snapshot(_) | Body::Gap(_) | Body::Heartbeat {} => true,
        Body::GoingAway { .. } | Body::Host(_) | Body::Unknown {} => true,
    }
}

/// Whether a tick decided and ordered nothing, nor would have by its shadow.
fn is_quiet(tick: &Tick) -> bool {
    let holds = |kind: &str| kind == "hold";
    let decided = tick.vms.iter().filter_map(|own| own.verdict.as_ref());
    let differs = tick.shadow.as_ref().is_some_and(|shadow| !shadow.vms.is_empty());
    tick.transfers.is_empty()
        && tick.resizes.is_empty()
        && decided.into_iter().all(|verdict| holds(&verdict.kind))
        && !differs
}

/// The hosts of a file.
fn hosts(path: &Path) -> Result<BTreeSet<String>, Stop> {
    let mut names = BTreeSet::new();
    for record in records(path)? {
        if names.len() < MOST_HOSTS {
            names.insert(record?.host);
        }
    }
    Ok(names)
}

/// The records of a file, one after another.
fn records(path: &Path) -> Result<Records, Failure> {
    let reader: Box<dyn BufRead + Send> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?))
    };
    Ok(Records { reader, path: path.display().to_string(), line: 0 })
}

struct Records {
    reader: Box<dyn BufRead + Send>,
    path: String,
    line: u64,
}

impl Iterator for Records {
    type Item = Result<Record, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = String::new();
            self.line += 1;
            match self.reader.by_ref().take(MOST_BYTES).read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => return Some(Record::read(&line).map_err(|what| self.unfit(&what))),
                Err(error) => return Some(Err(unreadable(Path::new(&self.path), &error))),
            }
        }
    }
}

impl Records {
    fn unfit(&self, what: &str) -> Failure {
        let what = format!("{}:{}: {what}", self.path, self.line);
        Failure::new(Code::InvalidArgument, "RECORD_INVALID", what)
            .hint("--input takes what memctl watch -o jsonl has written, a record a line")
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("cannot read {}: {error}", path.display());
    Failure::new(Code::NotFound, "INPUT_UNREADABLE", what)
}

/// Far more than a line has.
const MOST_BYTES: u64 = 64 << 20;
const MOST_HOSTS: usize = 4096;
const RECORDS_IN_FLIGHT: usize = 64;
