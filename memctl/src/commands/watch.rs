//! `memctl watch`: follows the decisions of many hosts in one stream, until the end that was asked
//! for, Ctrl-C, or until no host is left.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::watch_request::Start;
use clap::{ArgGroup, Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::watcher::Watcher;
use super::{Ended, parse_position, saved, shadow};
use crate::completers;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::{Plan, follow};
use crate::hosts::Host;
use crate::merge::{Merge, Wait};
use crate::moment::Moment;
use crate::quantity::{parse_count, parse_positive_duration};
use crate::session::Session;
use crate::stop_signals::StopSignals;

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
    #[arg(long, value_name = "N", group = "start", value_parser = parse_count)]
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
    /// Put the entries of several hosts in the order of their times, by the hosts' clocks: each waits so long
    /// for an earlier one of another host, 500ms if no TIME is given; with --no-follow, until every
    /// host has told its next one.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "500ms", value_parser = parse_positive_duration)]
    sort: Option<Duration>,
    /// End after so many entries, quiet ticks included.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    count: Option<u64>,
    /// End after this time.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration)]
    lasting: Option<Duration>,
    /// End when the connection is lost.
    #[arg(long)]
    no_reconnect: bool,
    /// Ask no host: read a stream that was saved with -o jsonl; - for standard input. What chooses
    /// entries works as on a live one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shadow", "oldest", "no_follow", "no_reconnect", "sort"])]
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
    /// VMs that are pinned for a while, or no longer.
    Pin,
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
    watcher.ends = args.no_follow;
    watcher.merge = Merge::new(hosts.len(), args.wait());
    watcher.unseen.clone_from(&args.vms);
    let listened = async {
        // Beside the streams: a host that is slow to answer holds nothing up.
        let asked: &[Host] = if args.shadow { &hosts } else { &[] };
        let (ended, told) =
            tokio::join!(watcher.listen(news), shadow::tell_missing(asked, session));
        told?;
        ended
    };
    let mut ended = until_stopped(listened, args.lasting).await;
    if let Ok(Exit::Done) = ended {
        // Where the time is over, some may still be held back.
        ended = watcher.flush().await.map(|()| Exit::Done);
    }
    watcher.summarise();
    ended.map(|exit| watcher.judged(exit))
}

/// Runs `work` until it ends, its time is over or somebody stops us, even while it waits to write.
pub(super) async fn until_stopped(
    work: impl Future<Output = Ended>,
    lasting: Option<Duration>,
) -> Ended {
    let mut stop = StopSignals::listen()?;
    let time_over = async {
        match lasting {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        exit = stop.next() => Ok(exit),
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
    /// How long entries wait for those of other hosts.
    fn wait(&self) -> Wait {
        match (self.sort, self.no_follow) {
            (None, _) => Wait::None,
            (Some(_), true) => Wait::ForAll,
            (Some(wait), false) => Wait::For(wait),
        }
    }

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

impl Kind {
    /// As in the type of a record.
    fn word(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Vm => "vm",
            Self::Policy => "policy",
            Self::Mode => "mode",
            Self::Reservation => "reservation",
            Self::Pin => "pin",
        }
    }

    fn wire(self) -> v1::EventKind {
        match self {
            Self::Tick => v1::EventKind::Tick,
            Self::Vm => v1::EventKind::Vm,
            Self::Policy => v1::EventKind::Policy,
            Self::Mode => v1::EventKind::Mode,
            Self::Reservation => v1::EventKind::Reservation,
            Self::Pin => v1::EventKind::Pin,
        }
    }
}

/// News that wait to be written, of all hosts together; then the hosts' streams wait.
const NEWS_IN_FLIGHT: usize = 64;
