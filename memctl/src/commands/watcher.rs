//! What comes of the streams of many hosts: put in order, counted, written, and judged in the end.

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body as wire;
use jiff::Timestamp;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Ended, Stop};
use crate::dto::{Body, HostNews, Record, VmName};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::News;
use crate::merge::{Merge, Wait};
use crate::output::{Format, Output};
use crate::render::summary::Summary;
use crate::render::text::safe;
use crate::render::watch::Watch;
use crate::render::{json, yaml};
use crate::session::Session;

/// What is known of one host.
struct Followed {
    name: String,
    /// The epoch of its log, once it was heard.
    epoch: Option<String>,
    /// Whether its agent is followed by another name already.
    is_double: bool,
    /// Whether its stream ever stood.
    was_heard: bool,
    /// Why it is not, or was last lost.
    failure: Option<Failure>,
    /// Whether no other try follows.
    lost_for_good: bool,
    /// Whether its stream has come to its end.
    is_over: bool,
    /// Whether it has told all that runs there.
    is_greeted: bool,
}

impl Followed {
    /// Whether something of it may still come, as far as is known: of who was never heard that is not.
    fn is_awaited(&self) -> bool {
        let is_lost_before = !self.was_heard && self.failure.is_some();
        !self.is_double && !self.is_over && !is_lost_before
    }
}

/// What is done with the records of all hosts.
pub(super) struct Watcher<'a> {
    output: &'a Output,
    hosts: Vec<Followed>,
    pub(super) followers: Vec<AbortHandle>,
    lines: Watch,
    summary: Summary,
    /// What waits for records of other hosts.
    pub(super) merge: Merge,
    /// Whether the streams end by themselves.
    pub(super) ends: bool,
    /// VMs that are asked for and that no host has named so far; emptied once that was told.
    pub(super) unseen: Vec<String>,
    seen: u64,
    wanted: Option<u64>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(session: &'a Session, names: &[&str], wanted: Option<u64>) -> Self {
        let followed = names.iter().map(|name| Followed {
            name: (*name).to_owned(),
            epoch: None,
            is_double: false,
            was_heard: false,
            failure: None,
            lost_for_good: false,
            is_over: false,
            is_greeted: false,
        });
        Self {
            output: &session.output,
            hosts: followed.collect(),
            followers: Vec::new(),
            lines: Watch::new(session.output.view.clone(), session.global.verbose > 0, names),
            summary: Summary::default(),
            merge: Merge::new(names.len(), Wait::None),
            ends: false,
            unseen: Vec::new(),
            seen: 0,
            wanted,
        }
    }

    /// Takes news until there are enough of them, or no host is left.
    pub(super) async fn listen(&mut self, mut news: mpsc::Receiver<(usize, News)>) -> Ended {
        loop {
            let news = tokio::select! {
                news = news.recv() => news,
                () = until(self.merge.due()) => {
                    if self.release().await? {
                        return Ok(Exit::Done);
                    }
                    continue;
                }
            };
            let Some((number, news)) = news else { break };
            let Some(record) = self.record(number, news) else { continue };
            self.merge.push(number, record, Instant::now());
            if self.release().await? {
                return Ok(Exit::Done);
            }
            if self.is_in_vain() {
                break;
            }
        }
        self.flush().await?;
        if self.is_enough() {
            return Ok(Exit::Done);
        }
        self.told_failures();
        let done = self.hosts.iter().filter(|h| h.failure.is_none()).count();
        Ok(Exit::of_hosts(done, self.hosts.iter().filter_map(|h| h.failure.as_ref())))
    }

    /// Nobody ever answered, or of streams that end nobody who has not ended: better to say so than to wait
    /// for who may never come.
    fn is_in_vain(&self) -> bool {
        let never = |host: &Followed| !host.was_heard && host.failure.is_some();
        self.hosts.iter().all(|host| never(host) || self.ends && (host.is_over || host.is_double))
            && self.hosts.iter().any(never)
    }

    /// Takes what need not wait any more; whether there is enough now.
    async fn release(&mut self) -> Result<bool, Stop> {
        loop {
            let hosts = &self.hosts;
            let is_awaited = |number: usize| hosts.get(number).is_some_and(Followed::is_awaited);
            let Some((number, record)) = self.merge.pop(Instant::now(), is_awaited) else {
                return Ok(false);
            };
            if self.told(number, &record).await? {
                return Ok(true);
            }
        }
    }

    /// Takes all that is held back, as far as it is wanted.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        while !self.is_enough()
            && let Some((number, record)) = self.merge.take()
        {
            self.told(number, &record).await?;
        }
        Ok(())
    }

    /// Takes a record of the host of this number; whether there are enough of them now.
    async fn told(&mut self, number: usize, record: &Record) -> Result<bool, Stop> {
        let is_enough = self.take(record).await?;
        self.tell_loss(number)?;
        self.look_for_vms(number, record)?;
        Ok(is_enough)
    }

    /// Looks for the VMs that are asked for, and tells once of those that no host knows.
    fn look_for_vms(&mut self, number: usize, record: &Record) -> std::io::Result<()> {
        if self.unseen.is_empty() {
            return Ok(());
        }
        let named: Vec<&VmName> = match &record.body {
            Body::Snapshot(snapshot) => snapshot.vms.iter().map(|vm| &vm.vm).collect(),
            Body::Tick(tick) => tick.vms.iter().map(|vm| &vm.vm).collect(),
            Body::Vm(change) => vec![&change.vm],
            Body::Pin(event) => vec![&event.pin.vm],
            Body::Hello(_) | Body::Gap(_) | Body::Heartbeat {} | Body::GoingAway { .. } => {
                Vec::new()
            }
            Body::Policy(_) | Body::Mode(_) | Body::Reservation(_) => Vec::new(),
            Body::Host(_) | Body::Unknown {} => Vec::new(),
        };
        self.unseen
            .retain(|wanted| !named.iter().any(|vm| vm.name == *wanted || vm.uuid == *wanted));
        if let (Body::Snapshot(snapshot), Some(host)) = (&record.body, self.hosts.get_mut(number)) {
            host.is_greeted = !snapshot.continued;
        }
        let is_heard = |host: &Followed| host.is_greeted || !host.is_awaited();
        let is_time =
            self.hosts.iter().any(|host| host.was_heard) && self.hosts.iter().all(is_heard);
        if !is_time {
            return Ok(());
        }
        for wanted in std::mem::take(&mut self.unseen) {
            let end = if self.ends { "" } else { "; it is told of once it comes" };
            self.output.notice(&format!("no VM \"{wanted}\" is known to any host{end}"))?;
        }
        Ok(())
    }

    /// Counts and writes a record; whether there are enough of them now.
    pub(super) async fn take(&mut self, record: &Record) -> Result<bool, Stop> {
        self.summary.count(record);
        self.write(record).await?;
        self.seen += u64::from(record.is_entry());
        Ok(self.is_enough())
    }

    fn is_enough(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.seen >= wanted)
    }

    /// Notes what the news say of the host, and makes a record of them.
    fn record(&mut self, number: usize, news: News) -> Option<Record> {
        if let News::Message(message) = &news
            && let Some(same) = self.followed_twice(number, message)
        {
            return Some(same);
        }
        let host = self.hosts.get_mut(number).filter(|host| !host.is_double)?;
        let (state, retry_in, error) = match news {
            News::Message(message) => {
                host.was_heard = true;
                host.failure = None;
                return Some(Record::new(&host.name, *message));
            }
            News::Lost { failure, retry_in } => ("reconnecting", Some(retry_in), Some(failure)),
            News::Ended(result) => ("ended", None, result.err()),
        };
        host.is_over = retry_in.is_none();
        host.failure.clone_from(&error);
        host.lost_for_good = retry_in.is_none() && error.is_some();
        let retry_in_seconds = retry_in.map(|d| d.as_secs_f64());
        let news = HostNews { state: state.into(), same_as: None, retry_in_seconds, error };
        Some(Record::of_host(&host.name, Timestamp::now(), news))
    }

    /// Ends a stream of an agent that is followed by another name already, and says so.
    fn followed_twice(&mut self, number: usize, message: &v1::WatchResponse) -> Option<Record> {
        let Some(wire::Hello(hello)) = &message.body else { return None };
        let position =
            [&message.position, &hello.newest, &hello.oldest].into_iter().flatten().next();
        let epoch = position.map(|position| position.epoch.clone()).filter(|e| !e.is_empty())?;
        let is_same = |(at, host): &(usize, &Followed)| {
            *at != number && !host.is_double && host.epoch.as_ref() == Some(&epoch)
        };
        let first = self.hosts.iter().enumerate().find(is_same).map(|(_, host)| host.name.clone());
        let host = self.hosts.get_mut(number).filter(|host| !host.is_double)?;
        host.epoch = Some(epoch);
        let same_as = Some(first?);
        host.is_double = true;
        host.failure = None;
        if let Some(follower) = self.followers.get(number) {
            follower.abort();
        }
        let state = "same_host".into();
        let news = HostNews { state, same_as, retry_in_seconds: None, error: None };
        Some(Record::of_host(&host.name, Timestamp::now(), news))
    }

    async fn write(&mut self, record: &Record) -> Result<(), Stop> {
        let text = match self.output.format {
            Format::Json | Format::Jsonl => {
                format!("{}\n", json::line(record).map_err(std::io::Error::from)?)
            }
            Format::Yaml => yaml::document(record).map_err(std::io::Error::from)?,
            Format::Name => self.position(record),
            Format::Table | Format::Wide => self.lines.text(record),
        };
        let notice = self.lines.notice(record);
        let told = notice.filter(|_| !self.output.is_for_programs() && self.anybody_was_heard());
        if let Some(text) = told {
            self.output.notice(&text)?;
        }
        if text.is_empty() {
            return Ok(());
        }
        // Not the blocking stdout: whoever does not read must not keep Ctrl-C from working.
        let mut stdout = tokio::io::stdout();
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await?;
        Ok(())
    }

    fn position(&self, record: &Record) -> String {
        let Some(position) = record.position.as_ref().filter(|_| record.is_entry()) else {
            return String::new();
        };
        match self.output.view.many_hosts {
            true => format!("{}/{}\n", safe(&record.host), safe(&position.to_string())),
            false => format!("{}\n", safe(&position.to_string())),
        }
    }

    /// Tells at once that a host is lost for good: the others go on without it.
    fn tell_loss(&self, number: usize) -> std::io::Result<()> {
        let lost = self.hosts.get(number).filter(|host| self.is_told_at_once(host));
        match lost.and_then(|host| Some((&host.name, host.failure.as_ref()?))) {
            Some((name, failure)) => self.output.host_failed(name, failure),
            None => Ok(()),
        }
    }

    /// Tells at the end why each host is not heard, where it was not told before.
    fn told_failures(&self) {
        if self.output.is_for_programs() {
            return;
        }
        let untold = self.hosts.iter().filter(|host| !self.is_told_at_once(host));
        for (name, failure) in untold.filter_map(|h| Some((&h.name, h.failure.as_ref()?))) {
            // Told in vain is told all the same.
            let _ = self.output.host_failed(name, failure);
        }
    }

    fn is_told_at_once(&self, host: &Followed) -> bool {
        host.lost_for_good && self.hosts.len() > 1 && !self.output.is_for_programs()
    }

    /// What was done without a host that is lost for good is done in part.
    pub(super) fn judged(&self, exit: Exit) -> Exit {
        let lost = self.hosts.iter().any(|host| host.lost_for_good);
        if lost && exit == Exit::Done { Exit::Partial } else { exit }
    }

    /// Before, the failures alone are news, and they are told at the end. Of a saved stream all is.
    fn anybody_was_heard(&self) -> bool {
        self.followers.is_empty() || self.hosts.iter().any(|h| h.was_heard)
    }

    pub(super) fn summarise(&self) {
        if self.anybody_was_heard() {
            let _ = self.output.notice(&self.summary.text(&self.output.view));
        }
    }
}

/// Until then; for ever where that is never.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
