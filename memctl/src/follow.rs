//! Follows the event stream of one host for as long as it takes: connects, resumes where it was,
//! judges by the heartbeats whether the stream lives, and waits between tries. Tells what happens
//! through a bounded channel; renders nothing.
//!
//! ```text
//! connect → Hello → messages … → lost → wait (backoff) → connect after the last position → …
//! ```

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::watch_request::Start;
use agentd_proto::v1::watch_response::Body;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::client::{Connection, timed_out};
use crate::failure::{Code, Failure};
use crate::hosts::Host;
use crate::quantity::format_seconds;

/// What to follow and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The first request; later ones differ in where they start.
    pub(crate) request: v1::WatchRequest,
    /// Time until the stream stands.
    pub(crate) timeout: Duration,
    /// Whether to connect again when the stream is lost.
    pub(crate) reconnect: bool,
    /// Hosts that are dialled at the same time take one each.
    pub(crate) dials: Arc<Semaphore>,
}

/// What happened at one host.
#[derive(Debug)]
pub(crate) enum News {
    /// The agent sent this.
    Message(Box<v1::WatchResponse>),
    /// The stream is lost, or never stood; another try follows.
    Lost {
        /// Why.
        failure: Failure,
        /// When the next try is made.
        retry_in: Duration,
    },
    /// It is over: at its end, or for good.
    Ended(Result<(), Failure>),
}

/// Where news go: the number of the host, and what happened there.
pub(crate) type Sender = mpsc::Sender<(usize, News)>;

/// Follows one host until its stream ends, it fails for good, or nobody listens any more.
pub(crate) async fn follow(number: usize, host: Host, plan: Plan, news: Sender) {
    let mut follower = Follower { number, host, plan, news, last: None };
    let mut backoff = Backoff::default();
    loop {
        let Lost { failure, lasted, wait_at_least } = match follower.stream().await {
            Turn::Lost(lost) => *lost,
            Turn::Ended => {
                follower.tell(News::Ended(Ok(()))).await;
                return;
            }
            Turn::Unheard => return,
        };
        if !follower.plan.reconnect || !failure.code.is_passing() {
            follower.tell(News::Ended(Err(failure))).await;
            return;
        }
        backoff.after_connection_of(lasted);
        let retry_in = wait_at_least.min(LONGEST_WISH) + backoff.next(roll());
        if !follower.tell(News::Lost { failure, retry_in }).await {
            return;
        }
        tokio::time::sleep(retry_in).await;
    }
}

struct Follower {
    number: usize,
    host: Host,
    plan: Plan,
    news: Sender,
    /// The last position seen: where to resume.
    last: Option<v1::Position>,
}

/// How one connection went.
enum Turn {
    Lost(Box<Lost>),
    Ended,
    Unheard,
}

struct Lost {
    failure: Failure,
    lasted: Duration,
    wait_at_least: Duration,
}

impl Follower {
    /// One connection, from dialling to its end.
    async fn stream(&mut self) -> Turn {
        let dial = Arc::clone(&self.plan.dials);
        let permit = dial.acquire().await;
        let opened = Instant::now();
        let deadline = opened + self.plan.timeout;
        // The connection is held until the stream ends: without it there are no keepalive pings.
        let (connection, mut stream) = match timeout_at(deadline, self.open()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(failure)) => return lost(failure, Duration::ZERO, Duration::ZERO),
            Err(_) => {
                let failure = timed_out(&self.host, self.plan.timeout);
                return lost(failure, Duration::ZERO, Duration::ZERO);
            }
        };
        drop(permit);
        let mut patience = self.plan.timeout;
        let mut heard = opened;
        let mut going_away: Option<v1::GoingAway> = None;
        loop {
            let failure = match timeout(patience, stream.message()).await {
                Err(_) => silent(&self.host, patience),
                Ok(Err(status)) => broken(&self.host, &status, heard.elapsed()),
                Ok(Ok(None)) if !self.plan.request.follow => return Turn::Ended,
                Ok(Ok(None)) => {
                    Failure::new(Code::Unavailable, "STREAM_ENDED", "the agent ended the stream")
                }
                Ok(Ok(Some(message))) => {
                    heard = Instant::now();
                    note(&message, &mut patience, &mut going_away);
                    if !self.pass_on(message).await {
                        return Turn::Unheard;
                    }
                    continue;
                }
            };
            let failure = connection.explained(failure).await;
            return departed(failure, going_away, opened.elapsed());
        }
    }

    async fn open(&self) -> Result<(Connection, Streaming<v1::WatchResponse>), Failure> {
        let connection = Connection::open(&self.host).await?;
        let mut request = self.plan.request.clone();
        if let Some(last) = &self.last {
            request.start = Some(Start::After(last.clone()));
        }
        match connection.events().watch(request).await {
            Ok(answer) => Ok((connection, answer.into_inner())),
            Err(status) => Err(connection.explained(Failure::from_status(&status)).await),
        }
    }

    async fn pass_on(&mut self, message: v1::WatchResponse) -> bool {
        if let Some(position) = message.position.as_ref().filter(|p| !p.epoch.is_empty()) {
            self.last = Some(position.clone());
        }
        self.tell(News::Message(Box::new(message))).await
    }

    /// Whether somebody still listens.
    async fn tell(&self, news: News) -> bool {
        self.news.send((self.number, news)).await.is_ok()
    }
}

/// Learns from a message how long silence may last, and whether the agent is leaving.
fn note(
    message: &v1::WatchResponse,
    patience: &mut Duration,
    going_away: &mut Option<v1::GoingAway>,
) {
    match &message.body {
        Some(Body::Hello(hello)) => {
            let interval = hello.heartbeat_interval.and_then(|i| Duration::try_from(i).ok());
            *patience = interval.filter(|i| !i.is_zero()).unwrap_or(DEFAULT_HEARTBEAT) * 3;
        }
        Some(Body::GoingAway(farewell)) => *going_away = Some(farewell.clone()),
        Some(
            Body::Snapshot(_)
            | Body::Gap(_)
            | Body::Heartbeat(_)
            | Body::Tick(_)
            | Body::PolicyChanged(_)
            | Body::VmChanged(_)
            | Body::ModeChanged(_)
            | Body::ReservationChanged(_)
            | Body::PinChanged(_),
        )
        | None => {}
    }
}

/// An agent that said farewell is not a mystery, and may name the time to come back.
fn departed(failure: Failure, farewell: Option<v1::GoingAway>, lasted: Duration) -> Turn {
    let wish = failure.retry_after_seconds.unwrap_or_default().clamp(0.0, MOST_SECONDS);
    let Some(farewell) = farewell else {
        return lost(failure, lasted, Duration::from_secs_f64(wish));
    };
    let wish = farewell.reconnect_after.and_then(|d| Duration::try_from(d).ok());
    let what = format!("the agent went away: {}", farewell.reason);
    let failure = Failure::new(Code::Unavailable, "GOING_AWAY", what);
    lost(failure, lasted, wish.unwrap_or_default())
}

fn lost(failure: Failure, lasted: Duration, wait_at_least: Duration) -> Turn {
    Turn::Lost(Box::new(Lost { failure, lasted, wait_at_least }))
}

/// Why a stream broke. One that broke after a silence did so because nobody answered our pings, which what
/// runs over the line is not told.
fn broken(host: &Host, status: &tonic::Status, silence: Duration) -> Failure {
    let failure = Failure::from_status(status);
    let is_silence = failure.code == Code::Unavailable && silence >= LONG_SILENCE;
    if is_silence { silent(host, silence) } else { failure }
}

fn silent(host: &Host, patience: Duration) -> Failure {
    let silence = format_seconds(patience.as_secs_f64());
    let what = format!("{} was silent for {silence}", host.address);
    Failure::new(Code::Unavailable, "STREAM_SILENT", what)
        .hint("the network or the agent hangs: memctl status asks it directly")
}

fn roll() -> u64 {
    // Each RandomState has keys of its own, drawn from the system.
    std::hash::RandomState::new().build_hasher().finish()
}

const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
/// Longer than the time between two signs of life of any stream that has the usual ones.
const LONG_SILENCE: Duration = Duration::from_secs(25);
/// No agent makes us wait longer than this.
const LONGEST_WISH: Duration = Duration::from_secs(300);
const MOST_SECONDS: f64 = 300.0;
