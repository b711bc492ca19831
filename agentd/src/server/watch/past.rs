//! What a stream tells from the history before it goes on with the ring.
//!
//! ```text
//! history: ... run 1 | RESTARTED | run 2 ...  -> ring: run 2 ... -> live
//! ```
//!
//! The first entry of this run that the ring still has is where the one ends and the other begins. The ring
//! may have some that the history was not given, as its disk was full: these come from there.

use std::{sync::Arc, time::SystemTime};

use agentd_proto::v1 as wire;
use tonic::Status;
use wire::{GapReason, watch_response::Body};

use super::follow::{Follower, Gone};
use crate::{
    publish::{Entry, Next, Position, Why},
    server::{limits, past::is_checking, to_proto},
    store::{Found, Place},
};

/// Where in the history a stream begins.
#[derive(Clone, Debug)]
pub(super) struct Past {
    place: Place,
    /// Nothing that was made before, in front of the first entry.
    from: SystemTime,
    /// The last entry that was dealt with.
    last: Option<Position>,
}

impl Past {
    /// The last entry that was dealt with.
    pub(super) const fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// True for what is older than anything that is wanted.
    fn is_before(&self, entry: &Entry) -> bool {
        self.last.is_none() && entry.stamp.wall < self.from
    }
}

impl Follower {
    /// The past from this time on; `None` where there is no history. Refused while it is being checked: who
    /// asks again in a moment misses nothing.
    pub(super) async fn past_since(&self, from: SystemTime) -> Result<Option<Past>, Status> {
        let place = self.published.past.read(move |past| past.place_at(from)).await;
        let place = or_without(place)?;
        Ok(place.map(|place| Past { place, from, last: None }))
    }

    /// The past behind this entry; `None` where the history does not keep it. Refused as above.
    pub(super) async fn past_behind(&self, last: &Position) -> Result<Option<Past>, Status> {
        let position = last.clone();
        let found = self.published.past.read(move |past| past.locate(&position)).await;
        let (from, last) = (SystemTime::UNIX_EPOCH, Some(last.clone()));
        Ok(or_without(found)?.flatten().map(|found| Past { place: found.place, from, last }))
    }

    /// Tells the past, and leaves the cursor where the ring goes on. True where that was all that was
    /// wanted.
    pub(super) async fn replay(&mut self) -> Result<bool, Gone> {
        loop {
            let Some(past) = &self.past else { return Ok(false) };
            let place = past.place;
            let read = self.published.past.read(move |past| past.behind(place, limits::REPLAY));
            let found = read.await.unwrap_or_else(|status| unread(&status)).unwrap_or_default();
            if found.is_empty() {
                return self.end_past().await.map(|()| false);
            }
            for found in found {
                if self.is_in_ring(&found.entry) {
                    return self.leave_past(found.entry.position).await.map(|()| false);
                }
                if self.pass_on(found).await? {
                    return Ok(true);
                }
            }
            if self.is_silent_for_long() {
                self.send(Body::Heartbeat(wire::Heartbeat {})).await?;
            }
        }
    }

    /// Sends one entry of the past. True where it is the last that is wanted.
    async fn pass_on(&mut self, found: Found) -> Result<bool, Gone> {
        tokio::task::coop::consume_budget().await;
        let Some(past) = &mut self.past else { return Ok(false) };
        past.place = found.place;
        let entry = found.entry;
        if past.is_before(&entry) {
            return Ok(false);
        }
        if let Some(gap) = past.last.as_ref().and_then(|last| between(last, &entry.position)) {
            self.send_gap(gap).await?;
        }
        if let Some(bytes) = self.wanted.filter.pass(&entry) {
            self.send_bytes(bytes).await?;
        }
        let is_current = entry.position.epoch == *self.epoch();
        let seq = entry.position.seq;
        if let Some(past) = &mut self.past {
            past.last = Some(entry.position);
        }
        Ok(is_current && !self.wanted.follow && seq >= self.span.newest)
    }

    /// True for a wanted entry from which on the ring has all.
    fn is_in_ring(&self, entry: &Entry) -> bool {
        let Position { epoch, seq } = &entry.position;
        let is_wanted = self.past.as_ref().is_some_and(|past| !past.is_before(entry));
        is_wanted && epoch == self.epoch() && self.published.publisher.ring().get(*seq).is_some()
    }

    /// Goes on with the ring from this entry on.
    async fn leave_past(&mut self, next: Position) -> Result<(), Gone> {
        self.cursor = next.seq.saturating_sub(1);
        let Some(last) = self.past.take().and_then(|past| past.last) else { return Ok(()) };
        let behind = if last.epoch == next.epoch { last.seq } else { 0 };
        let ring = self.published.publisher.ring();
        self.cursor = self.cursor.min(ring.span().oldest.saturating_sub(1).max(behind));
        let next = Position { seq: self.cursor.saturating_add(1), ..next };
        match between(&last, &next) {
            Some(gap) => self.send_gap(gap).await,
            None => Ok(()),
        }
    }

    /// Goes on with the ring where the history has nothing more.
    async fn end_past(&mut self) -> Result<(), Gone> {
        let published = Arc::clone(&self.published);
        let ring = published.publisher.ring();
        match self.past.take().and_then(|past| past.last) {
            Some(last) if last.epoch == *self.epoch() => {
                self.cursor = last.seq;
                // What the history was not given and the ring has no longer: no fault of who reads.
                if let Next::Missing(missing) = ring.after(last.seq)
                    && missing.why == Why::MadeWay
                {
                    self.cursor = missing.last;
                    self.send_gap(self.gap(GapReason::Expired, missing)).await?;
                }
            }
            Some(former) => {
                self.cursor = ring.span().oldest.saturating_sub(1);
                let last = published.publisher.position(self.cursor);
                self.send_gap(restarted(&former, &last)).await?;
            }
            None => {}
        }
        Ok(())
    }
}

/// What was read; nothing where it cannot be, but not for the time being.
fn or_without<T>(read: Result<Option<T>, Status>) -> Result<Option<T>, Status> {
    match read {
        Err(status) if !is_checking(&status) => Ok(unread(&status)),
        other => other,
    }
}

/// A stream goes on without the history where that cannot be read.
fn unread<T>(status: &Status) -> Option<T> {
    tracing::warn!(error = status.message(), "a watch goes on without the history");
    None
}

/// What is missing between two entries that the history has one behind the other.
fn between(last: &Position, next: &Position) -> Option<wire::Gap> {
    let before = |seq: u64| Position { epoch: next.epoch.clone(), seq };
    if last.epoch != next.epoch {
        return Some(restarted(last, &before(next.seq.saturating_sub(1))));
    }
    let (first, end) = (last.seq.saturating_add(1), next.seq.saturating_sub(1));
    (first <= end).then(|| wire::Gap {
        reason: GapReason::Dropped.into(),
        first: Some(to_proto::position(&before(first))),
        last: Some(to_proto::position(&before(end))),
        missed: Some(end.saturating_sub(last.seq)),
    })
}

/// Between the last entry of a run and what is there of the next one.
fn restarted(former: &Position, last: &Position) -> wire::Gap {
    let first = Position { epoch: former.epoch.clone(), seq: former.seq.saturating_add(1) };
    wire::Gap {
        reason: GapReason::Restarted.into(),
        first: Some(to_proto::position(&first)),
        last: Some(to_proto::position(last)),
        missed: None,
    }
}
