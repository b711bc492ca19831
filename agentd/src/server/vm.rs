//! `VmService`: the VMs as the last tick saw them, and why each got what it got.

use std::{
    ops::{Bound, RangeBounds as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::vm::VmId;
use agentd_proto::v1 as wire;
use prost::Message as _;
use tonic::{Code, Request, Response, Status, async_trait};
use wire::{vm_service_server::VmService, watch_response::Body};

use super::{
    Published,
    fault::{failed, invalid},
    found, from_proto, story, to_proto,
};
use crate::{event::TickRecord, publish::Entry};

/// `VmService`.
#[derive(Clone, Debug)]
pub(super) struct VmCalls(pub(super) Arc<Published>);

#[async_trait]
impl VmService for VmCalls {
    async fn list_vms(
        &self,
        request: Request<wire::ListVmsRequest>,
    ) -> Result<Response<wire::ListVmsResponse>, Status> {
        let request = request.into_inner();
        let size = from_proto::page_size(request.page_size, PAGE, PAGE_MOST)?;
        let behind = page_start(&request.page_token)?;
        let latest = self.0.publisher.latest();
        let conditions = self.0.caveats().await;
        let Some(record) = latest.and_then(|latest| latest.seen.clone()) else {
            let unread = wire::ListVmsResponse { conditions, ..wire::ListVmsResponse::default() };
            return Ok(Response::new(unread));
        };
        let page = page(&record, behind, size, self.0.publisher.age(&record));
        Ok(Response::new(wire::ListVmsResponse { conditions, ..page }))
    }

    async fn explain_vm(
        &self,
        request: Request<wire::ExplainVmRequest>,
    ) -> Result<Response<wire::ExplainVmResponse>, Status> {
        let wire::ExplainVmRequest { vm, at, time, tick } = request.into_inner();
        from_proto::name(&vm).map_err(|why| invalid("vm", why))?;
        let entry = match (at, time, tick) {
            (None, None, None) => {
                let conditions = self.0.caveats().await;
                let told = explain(&self.0, &last_tick(&self.0)?, &vm, When::Now)?;
                return Ok(Response::new(wire::ExplainVmResponse { conditions, ..told }));
            }
            (Some(at), None, None) => found::at(&self.0, &at).await?,
            (None, Some(time), None) => found::before(&self.0, time).await?,
            (None, None, Some(number)) => found::numbered(&self.0, number).await?,
            _ => return Err(invalid("at", "only one of at, time and tick may say which tick")),
        };
        Ok(Response::new(explain(&self.0, &entry, &vm, When::Then)?))
    }
}

fn page_start(token: &str) -> Result<Bound<VmId>, Status> {
    if token.is_empty() {
        return Ok(Bound::Unbounded);
    }
    let id = token.parse::<VmId>();
    let why = "is none; give the next_page_token of a response, or leave it out";
    id.map(Bound::Excluded).map_err(|_| invalid("page_token", why))
}

fn page(
    record: &TickRecord,
    behind: Bound<VmId>,
    size: usize,
    since: Duration,
) -> wire::ListVmsResponse {
    let Some(sample) = &record.sample else {
        return wire::ListVmsResponse::default();
    };
    let mut vms = sample.vms.iter().filter(|(id, _)| (behind, Bound::Unbounded).contains(*id));
    let found: Vec<_> = vms.by_ref().take(size).collect();
    let last = found.last().map(|(id, _)| id.to_string());
    let next = last.filter(|_| vms.next().is_some());
    wire::ListVmsResponse {
        vms: found.into_iter().map(|(id, vm)| to_proto::vm(record, *id, vm, since)).collect(),
        next_page_token: next.unwrap_or_default(),
        tick: Some(record.tick),
        tick_age: Some(to_proto::duration(since)),
        conditions: Vec::new(),
    }
}

fn last_tick(published: &Published) -> Result<Entry, Status> {
    let publisher = &published.publisher;
    let none =
        || failed(Code::Unavailable, "NO_TICK", "no tick has read the VMs yet; ask again", []);
    let logged = publisher.logged().ok_or_else(none)?;
    let seq = logged.position.seq;
    publisher.ring().get(seq).ok_or_else(|| found::not_kept(seq))
}

/// As of when figures have their age: a past tick is explained by what they were to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    Then,
}

fn explain(
    published: &Published,
    entry: &Entry,
    name: &str,
    when: When,
) -> Result<wire::ExplainVmResponse, Status> {
    let decoded = wire::WatchResponse::decode(&*entry.bytes).unwrap_or_default();
    let since = since(published, entry, decoded.monotonic_ns);
    let Some(Body::Tick(tick)) = decoded.body else {
        let seq = entry.position.seq;
        return Err(invalid("at.seq", format!("entry {seq} is no tick; only ticks are explained")));
    };
    let took = took(&tick);
    let since = since.saturating_add(took);
    let vm = match when {
        When::Now => &aged(find(&tick, name)?, since),
        When::Then => find(&tick, name)?,
    };
    Ok(wire::ExplainVmResponse {
        vm: vm.vm.clone(),
        tick: tick.tick,
        position: Some(to_proto::position(&entry.position)),
        time: Some(to_proto::timestamp(began(entry, took))),
        memory: vm.memory,
        verdict: vm.verdict.clone(),
        resize: story::resize(&tick, vm).cloned(),
        transfers: tick.transfers.iter().filter(|one| story::concerns(one, vm)).cloned().collect(),
        pool: tick.pool.clone(),
        sentences: story::sentences(&tick, vm),
        mode: tick.mode,
        algorithm: tick.algorithm.clone(),
        tick_age: Some(to_proto::duration(since)),
        conditions: Vec::new(),
        pin: vm.pin.clone(),
    })
}

/// How long ago an entry was made: by the wall clock where another run made it.
fn since(published: &Published, entry: &Entry, monotonic_ns: u64) -> Duration {
    let clock = &published.clock;
    if entry.position.epoch == *published.publisher.epoch() {
        return clock.now().saturating_sub(Duration::from_nanos(monotonic_ns));
    }
    clock.wall().duration_since(entry.stamp.wall).unwrap_or_default()
}

fn took(tick: &wire::Tick) -> Duration {
    tick.took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default()
}

/// An entry is made when its tick ends.
fn began(entry: &Entry, took: Duration) -> SystemTime {
    entry.stamp.wall.checked_sub(took).unwrap_or(entry.stamp.wall)
}

/// A VM of a tick with the age that its figures have `since` after it.
fn aged(vm: &wire::Vm, since: Duration) -> wire::Vm {
    let mut vm = vm.clone();
    if let Some(age) = vm.memory.as_mut().and_then(|memory| memory.figures_age.as_mut()) {
        let then = Duration::try_from(*age).unwrap_or_default();
        *age = to_proto::duration(then.saturating_add(since));
    }
    vm
}

fn find<'a>(tick: &'a wire::Tick, name: &str) -> Result<&'a wire::Vm, Status> {
    let by = |is: &dyn Fn(&wire::VmRef) -> bool| -> Vec<&'a wire::Vm> {
        tick.vms.iter().filter(|vm| vm.vm.as_ref().is_some_and(is)).collect()
    };
    let found = match name.parse::<VmId>() {
        Ok(id) => by(&|vm| vm.uuid == id.to_string()),
        Err(_) => Vec::new(),
    };
    let found = if found.is_empty() { by(&|vm| vm.name == name) } else { found };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(name, tick.tick)),
        several => {
            let uuids = several.iter().filter_map(|vm| vm.vm.as_ref()).map(|vm| vm.uuid.clone());
            Err(ambiguous(name, uuids))
        }
    }
}

/// That a tick saw no such VM.
pub(super) fn unknown(name: &str, tick: u64) -> Status {
    let message = format!("no VM {name:?} was running in tick {tick}");
    failed(Code::NotFound, "UNKNOWN_VM", message, [])
}

/// That several have this name.
pub(super) fn ambiguous(name: &str, uuids: impl Iterator<Item = String>) -> Status {
    let uuids: Vec<String> = uuids.take(LISTED).collect();
    let why = format!("several VMs are named {name:?}; give one's UUID: {}", uuids.join(", "));
    invalid("vm", why)
}

const PAGE: usize = 100;
const PAGE_MOST: usize = 1000;
/// UUIDs that an ambiguous name is answered with.
const LISTED: usize = 16;
