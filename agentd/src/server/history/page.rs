//! One page of the history: digests where they are fine enough or all that is kept, entries elsewhere,
//! made into steps.

use std::{ops::ControlFlow, time::SystemTime};

use agentd_proto::v1 as wire;
use prost::Message as _;
use wire::watch_response::Body;

use super::{
    ask::{Asked, at},
    point::{merge, of_tick},
};
use crate::{
    publish::Entry,
    record::HistoryError,
    server::to_proto,
    store::{Place, Snapshot},
};

/// Reads a page. Nothing that is asked for makes it read more than so much and one step more.
pub(super) fn read(
    past: &Snapshot<'_>,
    asked: &Asked,
) -> Result<wire::ListHistoryResponse, HistoryError> {
    let reach = past.reach()?;
    let mut page = Page::new(asked);
    let flow = collect(past, asked, &mut page)?;
    let next = match flow {
        ControlFlow::Break(next) if at(next) < asked.until => next.to_string(),
        ControlFlow::Break(_) | ControlFlow::Continue(()) => String::new(),
    };
    Ok(wire::ListHistoryResponse {
        next_page_token: next,
        step: Some(prost_types::Duration { seconds: whole(asked.step), nanos: 0 }),
        start_time: Some(to_proto::timestamp(at(asked.start))),
        end_time: Some(to_proto::timestamp(asked.until)),
        oldest_time: reach.oldest.map(to_proto::timestamp),
        oldest_whole_time: reach.oldest_whole.map(to_proto::timestamp),
        ..page.told
    })
}

/// The step that the next page begins with, where there is one.
type Flow = ControlFlow<u64>;

fn collect(past: &Snapshot<'_>, asked: &Asked, page: &mut Page<'_>) -> Result<Flow, HistoryError> {
    let span = (asked.from(), asked.until);
    // From here on entries are read, not digests.
    let whole = if asked.is_coarse() { None } else { Some(past.place_at(asked.from())?) };
    let mut place = Place::default();
    'digests: loop {
        let digests = past.digests(place, span, DIGESTS)?;
        if digests.is_empty() {
            break;
        }
        for digest in digests {
            if whole.is_some_and(|whole| digest.behind > whole) {
                break 'digests;
            }
            place = digest.behind;
            page.read = page.read.saturating_add(digest.bytes.len());
            let Ok(kept) = wire::ListHistoryResponse::decode(&*digest.bytes) else { continue };
            if let ControlFlow::Break(next) = page.add_digest(digest.first, kept) {
                return Ok(ControlFlow::Break(next));
            }
        }
    }
    let mut place = whole.unwrap_or(place);
    loop {
        let found = match whole {
            Some(_) => past.behind(place, BYTES)?,
            None => past.loose(place, ROWS)?,
        };
        let Some(last) = found.last() else { return Ok(page.end()) };
        place = last.place;
        for found in &found {
            page.read = page.read.saturating_add(found.entry.bytes.len());
            if let ControlFlow::Break(next) = page.add_entry(&found.entry) {
                return Ok(ControlFlow::Break(next));
            }
        }
    }
}

/// A page as it grows.
struct Page<'a> {
    asked: &'a Asked,
    told: wire::ListHistoryResponse,
    /// The step under way, by its beginning, and its point.
    open: Option<(u64, wire::HistoryPoint)>,
    /// Bytes that were read for the page.
    read: usize,
    bytes: usize,
}

impl<'a> Page<'a> {
    fn new(asked: &'a Asked) -> Self {
        let told = wire::ListHistoryResponse::default();
        Self { asked, told, open: None, read: 0, bytes: 0 }
    }

    fn add_digest(&mut self, first: SystemTime, kept: wire::ListHistoryResponse) -> Flow {
        if !self.wants(first) {
            return ControlFlow::Continue(());
        }
        self.step(first)?;
        for point in kept.points {
            self.merge(point);
        }
        for change in kept.changes {
            self.change(change);
        }
        ControlFlow::Continue(())
    }

    fn add_entry(&mut self, entry: &Entry) -> Flow {
        let time = entry.stamp.wall;
        if !self.wants(time) {
            return ControlFlow::Continue(());
        }
        self.step(time)?;
        let Ok(message) = wire::WatchResponse::decode(&*entry.bytes) else {
            return ControlFlow::Continue(());
        };
        match message {
            wire::WatchResponse { time, body: Some(Body::Tick(tick)), .. } => {
                self.merge(of_tick(time, &tick));
            }
            other => self.change(other),
        }
        ControlFlow::Continue(())
    }

    fn wants(&self, time: SystemTime) -> bool {
        time >= self.asked.from() && time < self.asked.until
    }

    /// Begins another step where this time is in one; not where the page is full.
    fn step(&mut self, time: SystemTime) -> Flow {
        let step = self.asked.step_of(time);
        // A clock that was set back goes on with the step that it was in.
        if self.open.as_ref().is_some_and(|(open, _)| step <= *open) {
            return ControlFlow::Continue(());
        }
        self.close();
        let is_full = self.told.points.len() >= self.asked.size;
        if is_full || self.read > READ || self.bytes > BYTES {
            return ControlFlow::Break(step);
        }
        self.open = Some((step, wire::HistoryPoint::default()));
        ControlFlow::Continue(())
    }

    fn merge(&mut self, mut point: wire::HistoryPoint) {
        point.vms.retain(|vm| self.asked.names(vm.vm.as_ref()));
        if let Some((_, open)) = self.open.as_mut().filter(|_| point.ticks > 0) {
            merge(open, point);
        }
    }

    fn change(&mut self, change: wire::WatchResponse) {
        let is_wanted = match &change.body {
            Some(Body::VmChanged(change)) => {
                self.asked.vms.is_empty() || self.asked.names(change.vm.as_ref())
            }
            _ => true,
        };
        if !self.asked.changes || !is_wanted {
            return;
        }
        if self.told.changes.len() >= CHANGES || self.bytes > BYTES {
            self.told.changes_cut = true;
            return;
        }
        self.bytes = self.bytes.saturating_add(change.encoded_len());
        self.told.changes.push(change);
    }

    fn close(&mut self) {
        let Some((step, point)) = self.open.take().filter(|(_, point)| point.ticks > 0) else {
            return;
        };
        let time = Some(to_proto::timestamp(at(step)));
        let point = wire::HistoryPoint { time, ..point };
        self.bytes = self.bytes.saturating_add(point.encoded_len());
        self.told.points.push(point);
    }

    fn end(&mut self) -> Flow {
        self.close();
        ControlFlow::Continue(())
    }
}

fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Digests read at a time.
const DIGESTS: usize = 64;
/// Rows read at a time.
const ROWS: usize = 64;
/// Bytes of digests or entries read for a page, beside those of one step: less than a second's work.
const READ: usize = 32 << 20;
/// Bytes of a page, beside one step and one change, and of entries that are read at a time.
const BYTES: usize = 1 << 20;
/// Changes in a page.
const CHANGES: usize = 1000;
