//! Finds a tick in the log: in the ring, or in the history for as long as that keeps it whole.

use std::{cmp::Ordering, time::SystemTime};

use agentd_proto::v1 as wire;
use prost::Message as _;
use tonic::{Code, Status};
use wire::watch_response::Body;

use super::{
    Published,
    fault::{failed, invalid},
};
use crate::publish::{Entry, Epoch, Kind, Position};

/// The entry at a position, of this run or of an earlier one.
pub(super) async fn at(published: &Published, at: &wire::Position) -> Result<Entry, Status> {
    let Some(epoch) = Epoch::parse(&at.epoch) else {
        return Err(invalid("at.epoch", "must be 32 lower-case hex digits, as in a position"));
    };
    let is_current = epoch == *published.publisher.epoch();
    let found = published.entry(Position { epoch: epoch.clone(), seq: at.seq }).await?;
    found.ok_or_else(|| {
        if is_current {
            return not_kept(at.seq);
        }
        let message = format!("{epoch} is not this run of the log, nor one that the history keeps");
        failed(Code::NotFound, "OTHER_EPOCH", message, [])
    })
}

/// The last tick that had ended by this time.
pub(super) async fn before(
    published: &Published,
    time: prost_types::Timestamp,
) -> Result<Entry, Status> {
    let (seconds, nanos) = (time.seconds, time.nanos);
    let Ok(time) = SystemTime::try_from(time) else {
        return Err(invalid("time", format!("{seconds} s and {nanos} ns is no time")));
    };
    // What was said a moment ago is in the history before it is in the ring; and what the history was not
    // given, as its disk was full, is in the ring alone. The later one counts.
    let kept = published.past.read(move |past| past.tick_before(time)).await;
    let epoch = published.publisher.epoch();
    let behind = match &kept {
        Ok(Some(Some(kept))) if kept.position.epoch == *epoch => kept.position.seq,
        Ok(_) | Err(_) => 0,
    };
    let found = match in_ring(published, behind, time).await {
        Some(found) => Some(found),
        None => kept?.flatten(),
    };
    found.ok_or_else(|| {
        let at = jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default();
        let message = format!("no tick that had ended by {at} is kept");
        failed(Code::NotFound, "NOT_KEPT", message, [])
    })
}

/// The tick with this number in the run that is under way.
pub(super) async fn numbered(published: &Published, number: u64) -> Result<Entry, Status> {
    let publisher = &published.publisher;
    // An entry each, at least, so that no tick's seq is below its number.
    let (mut low, mut high) = (number.saturating_add(1), publisher.ring().span().newest);
    while low <= high {
        let middle = low.midpoint(high);
        // The first tick there or behind it, as far as it is kept.
        let mut seq = middle;
        let found = loop {
            if seq > high || seq.saturating_sub(middle) > BETWEEN {
                break None;
            }
            match published.entry(publisher.position(seq)).await? {
                Some(entry) if entry.kind == Kind::Tick => break Some(entry),
                Some(_) => seq = seq.saturating_add(1),
                // What is not kept is older than what is.
                None => break None,
            }
        };
        match found.as_ref().and_then(|entry| Some((entry, number_of(entry)?))) {
            Some((entry, there)) => match there.cmp(&number) {
                Ordering::Equal => return Ok(entry.clone()),
                Ordering::Less => low = seq.saturating_add(1),
                Ordering::Greater => high = middle.saturating_sub(1),
            },
            None if seq > high => high = middle.saturating_sub(1),
            None => low = seq.saturating_add(1),
        }
    }
    let message =
        format!("tick {number} of the run that is under way is not kept, or is yet to come");
    Err(failed(Code::NotFound, "NOT_KEPT", message, [("tick", number.to_string())]))
}

/// The last tick behind this seq that the ring has of this time or before.
async fn in_ring(published: &Published, behind: u64, time: SystemTime) -> Option<Entry> {
    let ring = published.publisher.ring();
    let span = ring.span();
    for seq in (span.oldest.max(behind.saturating_add(1))..=span.newest).rev() {
        tokio::task::coop::consume_budget().await;
        let found = ring.get(seq);
        let is = |entry: &Entry| entry.kind == Kind::Tick && entry.stamp.wall <= time;
        if let Some(entry) = found.filter(is) {
            return Some(entry);
        }
    }
    None
}

fn number_of(entry: &Entry) -> Option<u64> {
    let Body::Tick(tick) = wire::WatchResponse::decode(&*entry.bytes).ok()?.body? else {
        return None;
    };
    Some(tick.tick)
}

pub(super) fn not_kept(seq: u64) -> Status {
    let message = format!("entry {seq} of the log is not kept");
    failed(Code::NotFound, "NOT_KEPT", message, [("seq", seq.to_string())])
}

impl Published {
    /// An entry from the ring, or from the history; `None` where neither keeps it.
    async fn entry(&self, position: Position) -> Result<Option<Entry>, Status> {
        if position.epoch == *self.publisher.epoch()
            && let Some(entry) = self.publisher.ring().get(position.seq)
        {
            return Ok(Some(entry));
        }
        Ok(self.past.read(move |past| past.find(&position)).await?.flatten())
    }
}

/// Entries between two ticks, at most so many of which are looked at: a storm of changes.
const BETWEEN: u64 = 4096;
