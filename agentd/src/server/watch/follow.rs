//! [`Follower`]: one stream, from Hello to its end.
//!
//! ```text
//! Hello -> [Gap] -> [Snapshot] -> [history] -> replay -> live ... -> end of the replay: OK
//!                                           |  ^         stop of agentd: GoingAway, UNAVAILABLE
//!                                           Gap          end of the connection: GoingAway, its reason
//!                                                        client gone: nothing
//! ```

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_proto::v1 as wire;
use prost::{Message as _, bytes::Bytes};
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tonic::Status;
use wire::{GapReason, watch_response::Body};

use super::{
    parse::{Start, Wanted},
    past::Past,
    snapshot,
};
use crate::{
    publish::{Epoch, Lost, Missing, Next, Position, Span, Why},
    server::{Published, fault::invalid, limits, tls::Lease, to_proto},
};

/// One stream.
pub(super) struct Follower {
    pub(super) published: Arc<Published>,
    pub(super) wanted: Wanted,
    sink: mpsc::Sender<Result<Bytes, Status>>,
    news: watch::Receiver<u64>,
    /// The last entry that this stream has dealt with.
    pub(super) cursor: u64,
    /// What the ring spanned at the start.
    pub(super) span: Span,
    /// What is told of the history first.
    pub(super) past: Option<Past>,
    /// What is missing before the first entry.
    gap: Option<wire::Gap>,
    sent: Instant,
    told: Option<Instant>,
}

/// The client went away.
pub(super) struct Gone;

impl Follower {
    /// Finds the place to start at.
    pub(super) async fn start(
        published: Arc<Published>,
        wanted: Wanted,
        sink: mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<Self, Status> {
        let news = published.publisher.ring().subscribe();
        let span = published.publisher.ring().span();
        let mut this = Self {
            published,
            wanted,
            sink,
            news,
            cursor: span.newest,
            span,
            past: None,
            gap: None,
            sent: Instant::now(),
            told: None,
        };
        this.place().await?;
        Ok(this)
    }

    /// Sends until the stream has reached its end, the client is gone, the server stops, or the
    /// connection's time is over: for ever where there is no `lease`.
    pub(super) async fn run(mut self, lease: Option<Lease>) {
        let stop = self.published.stop.clone();
        let over = async {
            match lease {
                Some(lease) => lease.end().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = self.follow() => ended,
            () = stop.cancelled() => {
                // Whoever does not read is waited for as long as the stop allows, not longer.
                let status = Status::unavailable("agentd is stopping; connect again in a moment");
                self.leave("agentd is stopping", status).await;
                return;
            }
            end = over => {
                self.leave(&end.reason(), end.status()).await;
                return;
            }
        };
        // Ended or gone: either way the stream ends by dropping the sink.
        let (Ok(()) | Err(Gone)) = ended;
    }

    async fn place(&mut self) -> Result<(), Status> {
        let span = self.span;
        let before_oldest = self.before_oldest();
        self.cursor = match self.wanted.start.clone() {
            Start::Next => span.newest,
            Start::Oldest if span.oldest == 0 => span.newest,
            Start::Oldest => before_oldest,
            Start::Tail(count) => self.behind_last(Some(count), Duration::ZERO).await,
            Start::Since(age) => {
                let now = self.published.clock.now();
                let cutoff = now.checked_sub(age).unwrap_or_default();
                let place = self.behind_last(None, cutoff).await;
                // All that the ring has is younger: there may be more.
                if place == before_oldest || span.oldest == 0 {
                    let wall = self.published.clock.wall().checked_sub(age);
                    self.past = self.past_since(wall.unwrap_or(SystemTime::UNIX_EPOCH)).await?;
                }
                place
            }
            Start::After(Position { epoch, seq }) if epoch == *self.epoch() => {
                if seq > span.newest {
                    let newest = span.newest;
                    let why = format!("{seq} was not reached yet: the newest entry is {newest}");
                    return Err(invalid("after.seq", why));
                }
                match self.published.publisher.ring().after(seq) {
                    Next::Missing(missing) if missing.why == Why::MadeWay => {
                        let last = Position { epoch, seq };
                        self.past = self.past_behind(&last).await?;
                        if self.past.is_some() {
                            return Ok(());
                        }
                        self.gap = Some(self.gap(GapReason::Expired, missing));
                        missing.last
                    }
                    Next::Entry(_) | Next::Missing(_) | Next::Nothing => seq,
                }
            }
            Start::After(former) => {
                self.cursor = before_oldest;
                self.past = self.past_behind(&former).await?;
                if self.past.is_some() {
                    return Ok(());
                }
                self.gap = Some(wire::Gap {
                    reason: GapReason::Restarted.into(),
                    first: Some(wire::Position {
                        epoch: former.epoch.to_string(),
                        seq: former.seq.saturating_add(1),
                    }),
                    last: Some(self.position(before_oldest)),
                    missed: None,
                });
                before_oldest
            }
        };
        Ok(())
    }

    /// The place behind which come the last so many entries that pass the filter, or all, as far
    /// as they are not older than `cutoff`.
    async fn behind_last(&self, count: Option<u64>, cutoff: Duration) -> u64 {
        let (ring, span) = (self.published.publisher.ring(), self.span);
        let mut place = span.newest;
        let mut left = count.unwrap_or(u64::MAX);
        for seq in (span.oldest.max(1)..=span.newest).rev() {
            if left == 0 {
                break;
            }
            // The server's two threads have other watchers too.
            tokio::task::coop::consume_budget().await;
            let Some(entry) = ring.get(seq) else {
                continue;
            };
            if entry.stamp.monotonic < cutoff {
                break;
            }
            if count.is_none() || self.wanted.filter.pass(&entry).is_some() {
                place = seq.saturating_sub(1);
                left = left.saturating_sub(1);
            }
        }
        place
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        self.send(Body::Hello(self.hello())).await?;
        match self.gap.take() {
            Some(gap) => self.send_gap(gap).await?,
            None => self.send_snapshot().await?,
        }
        if self.replay().await? {
            return Ok(());
        }
        loop {
            tokio::task::coop::consume_budget().await;
            if !self.wanted.follow && self.cursor >= self.span.newest {
                return Ok(());
            }
            self.news.mark_unchanged();
            match self.published.publisher.ring().after(self.cursor) {
                Next::Entry(entry) => {
                    if let Some(bytes) = self.wanted.filter.pass(&entry) {
                        self.send_bytes(bytes).await?;
                    }
                    self.cursor = entry.position.seq;
                }
                Next::Missing(missing) => self.miss(missing).await?,
                Next::Nothing => self.wait().await?,
            }
            if self.is_silent_for_long() {
                self.send(Body::Heartbeat(wire::Heartbeat {})).await?;
            }
        }
    }

    pub(super) fn is_silent_for_long(&self) -> bool {
        self.sent.elapsed() >= self.wanted.heartbeat
    }

    /// The place before the oldest entry of the ring.
    pub(super) fn before_oldest(&self) -> u64 {
        self.span.oldest.saturating_sub(1)
    }

    /// Waits for news, or for the time of the next heartbeat.
    async fn wait(&mut self) -> Result<(), Gone> {
        let next = self.sent + self.wanted.heartbeat;
        tokio::select! {
            changed = self.news.changed() => changed.map_err(|_| Gone),
            () = time::sleep_until(next) => Ok(()),
            () = self.sink.closed() => Err(Gone),
        }
    }

    /// Tells what is missing, a slow client not more often than it can take.
    async fn miss(&mut self, missing: Missing) -> Result<(), Gone> {
        let reason = match missing.why {
            Why::Dropped => GapReason::Dropped,
            Why::MadeWay => GapReason::SlowConsumer,
        };
        let again = self.told.map(|told| told + limits::GAP_INTERVAL);
        if let (Why::MadeWay, Some(again)) = (missing.why, again.filter(|at| *at > Instant::now()))
        {
            tokio::select! {
                () = time::sleep_until(again) => {}
                () = self.sink.closed() => return Err(Gone),
            }
            // More is missing by now: look again.
            return Ok(());
        }
        if missing.why == Why::MadeWay {
            self.told = Some(Instant::now());
            let entries = missing.last.saturating_sub(missing.first).saturating_add(1);
            self.published.publisher.meters().lose(Lost::SlowConsumer, entries);
        }
        self.cursor = missing.last;
        self.send_gap(self.gap(reason, missing)).await
    }

    pub(super) async fn send_gap(&mut self, gap: wire::Gap) -> Result<(), Gone> {
        self.send(Body::Gap(gap)).await?;
        self.send_snapshot().await
    }

    async fn send_snapshot(&mut self) -> Result<(), Gone> {
        if !self.wanted.snapshot {
            return Ok(());
        }
        for part in snapshot::parts(&self.published, &self.wanted.filter).await {
            self.send(Body::Snapshot(part)).await?;
        }
        Ok(())
    }

    async fn leave(&mut self, reason: &str, status: Status) {
        let farewell = wire::GoingAway {
            reason: reason.to_owned(),
            reconnect_after: Some(to_proto::duration(RECONNECT)),
        };
        if self.send(Body::GoingAway(farewell)).await.is_ok() {
            let _ = self.sink.send(Err(status)).await;
        }
    }

    /// Sends a message about the stream.
    pub(super) async fn send(&mut self, body: Body) -> Result<(), Gone> {
        let cursor = self.published.publisher.position(self.cursor);
        let mut message = to_proto::response(&cursor, self.published.stamp(), body);
        if let Some(past) = &self.past {
            // Nowhere yet where the past was not begun: who comes again then begins again.
            message.position = past.last().map(to_proto::position);
        }
        self.send_bytes(message.encode_to_vec().into()).await
    }

    pub(super) async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.sink.send(Ok(bytes)).await.map_err(|_| Gone)?;
        self.sent = Instant::now();
        Ok(())
    }

    fn hello(&self) -> wire::Hello {
        let span = self.span;
        let capacity = self.published.publisher.ring().capacity();
        wire::Hello {
            agent_version: self.published.about.version.clone(),
            host: self.published.about.host.clone(),
            oldest: Some(self.position(span.oldest)),
            newest: Some(self.position(span.newest)),
            ring_capacity_bytes: u64::try_from(capacity).unwrap_or(u64::MAX),
            heartbeat_interval: Some(to_proto::duration(self.wanted.heartbeat)),
            resume_failed: self.gap.is_some(),
        }
    }

    pub(super) fn gap(&self, reason: GapReason, missing: Missing) -> wire::Gap {
        let missed = missing.last.saturating_sub(missing.first).saturating_add(1);
        wire::Gap {
            reason: reason.into(),
            first: Some(self.position(missing.first)),
            last: Some(self.position(missing.last)),
            missed: Some(missed),
        }
    }

    fn position(&self, seq: u64) -> wire::Position {
        to_proto::position(&self.published.publisher.position(seq))
    }

    pub(super) fn epoch(&self) -> &Epoch {
        self.published.publisher.epoch()
    }
}

/// A restart of agentd takes about this long.
const RECONNECT: Duration = Duration::from_secs(1);
