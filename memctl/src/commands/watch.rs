//! `memctl watch`: follows the decisions of many hosts in one stream, until the end that was asked
//! for, Ctrl-C, or until no host is left.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::watch_request::Start;
use agentd_proto::v1::watch_response::Body as wire;
use clap::{ArgGroup, Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::{Ended, Stop, parse_position, saved};
use crate::completers;
use crate::dto::{HostNews, Record};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::{News, Plan, follow};
use crate::moment::Moment;
use crate::output::{Format, Output};
use crate::quantity::parse_positive_duration;
use crate::render::summary::Summary;
use crate::render::text::safe;
use crate::render::watch::Watch;
use crate::render::{json, yaml};
use crate::session::Session;

/// Options of `memctl watch`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("start").multiple(false))]
pub(crate) struct WatchArgs {
    /// Only these kinds. May be repeated; commas separate several.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only what concerns these VMs, by name or UUID. May be repeated; commas separate several.
    #[arg(long = "vm", value_name = "VM", value_delimiter = ',')]
    #[arg(add = ArgValueCompleter::new(completers::vm_names))]
    vms: Vec<String>,
    /// Leave out ticks that decided and ordered nothing, nor would have with --shadow.
    #[arg(long)]
    only_changes: bool,
    /// Show with every tick what the shadow would have done differently; `memctl shadow set` sets one.
    #[arg(long)]
    shadow: bool,
    /// Start with the last so many entries.
    #[arg(long, value_name = "N", group = "start")]
    tail: Option<u64>,
    /// Start with entries from then on: so long ago (10m), a time of day (14:05), or a date and time. Reaches
    /// into the agent's history, over its restarts.
    #[arg(long, value_name = "TIME", group = "start", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Start behind this entry. One host only.
    #[arg(long, value_name = "EPOCH:SEQ", group = "start", value_parser = parse_position)]
    after: Option<v1::Position>,
    /// Start with the oldest entry that is kept.
    #[arg(long, group = "start")]
    oldest: bool,
    /// End when the past is told; needs one of the options above that say where to start.
    #[arg(long, requires = "start")]
    no_follow: bool,
    /// End after so many entries, quiet ticks included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration)]
    lasting: Option<Duration>,
    /// End when the connection is lost.
    #[arg(long)]
    no_reconnect: bool,
    /// Ask no host: read a stream that was saved with -o jsonl; - for standard input. What chooses
    /// entries works as on a live one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shadow", "oldest", "no_follow", "no_reconnect"])]
    input: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Ticks: figures, decisions and what became of them.
    Tick,
    /// VMs that come, go or change their state.
    Vm,
    /// Changes of the policy.
    Policy,
    /// Changes of the mode.
    Mode,
    /// Reservations that are made, filled, or over.
    Reservation,
}

/// Follows every host.
pub(crate) async fn run(args: &WatchArgs, session: &mut Session) -> Ended {
    if let Some(path) = &args.input {
        let selection = args.selection(&session.output.view.zone)?;
        return saved::run(path, &selection, session).await;
    }
    let hosts = session.hosts()?;
    if args.after.is_some() && hosts.len() > 1 {
        let what = format!("--after with {} hosts: each has positions of its own", hosts.len());
        return Err(Failure::usage(what).hint("watch one host, or use --since").into());
    }
    let plan = Plan {
        request: request(args, &session.output.view.zone)?,
        timeout: session.global.timeout,
        reconnect: !args.no_reconnect,
        dials: Arc::new(Semaphore::new(session.bounds().max_parallel)),
    };
    let mut tasks = JoinSet::new();
    let mut followers = Vec::with_capacity(hosts.len());
    let (sender, news) = mpsc::channel(NEWS_IN_FLIGHT);
    for (number, host) in hosts.iter().enumerate() {
        let follower = follow(number, host.clone(), plan.clone(), sender.clone());
        followers.push(tasks.spawn(follower));
    }
    drop(sender);
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let mut watcher = Watcher::new(session, &names, args.count);
    watcher.followers = followers;
    let ended = until_stopped(watcher.listen(news), args.lasting).await;
    watcher.summarise();
    ended.map(|exit| watcher.judged(exit))
}

/// Runs `work` until it ends, its time is over or somebody stops us, even while it waits to write.
pub(super) async fn until_stopped(
    work: impl Future<Output = Ended>,
    lasting: Option<Duration>,
) -> Ended {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let time_over = async {
        match lasting {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(Exit::Interrupted),
        _ = terminate.recv() => Ok(Exit::Terminated),
        () = time_over => Ok(Exit::Done),
        ended = work => ended,
    }
}

fn request(args: &WatchArgs, zone: &TimeZone) -> Result<v1::WatchRequest, Failure> {
    let since = args.since.as_ref().map(|since| age(since, zone)).transpose()?;
    let since = since.map(prost_types::Duration::try_from).transpose();
    let since = since.map_err(|error| Failure::usage(format!("--since: {error}")))?;
    let start = match (args.tail, since, &args.after, args.oldest) {
        (Some(tail), ..) => Some(Start::Tail(tail)),
        (_, Some(since), ..) => Some(Start::Since(since)),
        (_, _, Some(after), _) => Some(Start::After(after.clone())),
        (_, _, _, true) => Some(Start::Oldest(true)),
        (None, None, None, false) => None,
    };
    Ok(v1::WatchRequest {
        start,
        follow: !args.no_follow,
        snapshot: !args.no_follow,
        kinds: args.kinds.iter().map(|kind| kind.wire().into()).collect(),
        vms: args.vms.clone(),
        only_changes: args.only_changes,
        heartbeat_interval: None,
        shadow: args.shadow,
    })
}

/// How long ago it is by our clock: of a time of day no agent knows the zone.
fn age(since: &Moment, zone: &TimeZone) -> Result<Duration, Failure> {
    let age = match since {
        Moment::Ago(age) => Ok(*age),
        Moment::Clock(_) | Moment::Local(_) | Moment::Instant(_) => {
            let now = Timestamp::now();
            Duration::try_from(now.duration_since(since.at(now, zone)?))
        }
    };
    age.map_err(|_| Failure::usage("--since lies ahead"))
}

impl WatchArgs {
    /// What of a saved stream is wanted.
    fn selection(&self, zone: &TimeZone) -> Result<saved::Selection, Failure> {
        Ok(saved::Selection {
            kinds: self.kinds.iter().map(|kind| kind.word()).collect(),
            vms: self.vms.clone(),
            only_changes: self.only_changes,
            tail: self.tail,
            since: self.since.as_ref().map(|since| age(since, zone)).transpose()?,
            after: self.after.clone(),
            count: self.count,
            lasting: self.lasting,
        })
    }
}

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
}

pub(super) struct Watcher<'a> {
    output: &'a Output,
    hosts: Vec<Followed>,
    followers: Vec<AbortHandle>,
    lines: Watch,
    summary: Summary,
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
        });
        Self {
            output: &session.output,
            hosts: followed.collect(),
            followers: Vec::new(),
            lines: Watch::new(session.output.view.clone(), session.global.verbose, names),
            summary: Summary::default(),
            seen: 0,
            wanted,
        }
    }

    /// Takes news until there are enough of them, or no host is left.
    async fn listen(&mut self, mut news: mpsc::Receiver<(usize, News)>) -> Ended {
        while let Some((number, news)) = news.recv().await {
            let Some(record) = self.record(number, news) else {
                continue;
            };
            let is_enough = self.take(&record).await?;
            self.tell_loss(number)?;
            if is_enough {
                return Ok(Exit::Done);
            }
            // Nobody ever answered: better to say so than to wait for who may never come.
            if self.hosts.iter().all(|h| !h.was_heard && h.failure.is_some()) {
                break;
            }
        }
        self.told_failures();
        let done = self.hosts.iter().filter(|h| h.failure.is_none()).count();
        Ok(Exit::of_hosts(done, self.hosts.iter().filter_map(|h| h.failure.as_ref())))
    }

    /// Counts and writes a record; whether there are enough of them now.
    pub(super) async fn take(&mut self, record: &Record) -> Result<bool, Stop> {
        self.summary.count(record);
        self.write(record).await?;
        self.seen += u64::from(record.is_entry());
        Ok(self.wanted.is_some_and(|wanted| self.seen >= wanted))
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
                return Record::new(&host.name, *message);
            }
            News::Lost { failure, retry_in } => ("reconnecting", Some(retry_in), Some(failure)),
            News::Ended(result) => ("ended", None, result.err()),
        };
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
    fn judged(&self, exit: Exit) -> Exit {
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

impl Kind {
    /// As in the type of a record.
    fn word(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Vm => "vm",
            Self::Policy => "policy",
            Self::Mode => "mode",
            Self::Reservation => "reservation",
        }
    }

    fn wire(self) -> v1::EventKind {
        match self {
            Self::Tick => v1::EventKind::Tick,
            Self::Vm => v1::EventKind::Vm,
            Self::Policy => v1::EventKind::Policy,
            Self::Mode => v1::EventKind::Mode,
            Self::Reservation => v1::EventKind::Reservation,
        }
    }
}

/// News that wait to be written, of all hosts together; then the hosts' streams wait.
const NEWS_IN_FLIGHT: usize = 64;
