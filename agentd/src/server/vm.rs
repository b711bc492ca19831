//! `VmService`: the VMs as the last tick saw them, and why each got what it got.

use std::{ops::Bound, sync::Arc, time::SystemTime};

use agentd_core::vm::VmId;
use agentd_proto::v1 as wire;
use prost::Message as _;
use tonic::{Code, Request, Response, Status, async_trait};
use wire::{vm_service_server::VmService, watch_response::Body};

use super::{
    Published,
    fault::{failed, invalid},
    from_proto, story, to_proto,
};
use crate::{
    event::TickRecord,
    publish::{Entry, Epoch},
};

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
        let Some(record) = latest.and_then(|latest| latest.seen.clone()) else {
            return Ok(Response::new(wire::ListVmsResponse::default()));
        };
        Ok(Response::new(page(&record, behind, size)))
    }

    async fn explain_vm(
        &self,
        request: Request<wire::ExplainVmRequest>,
    ) -> Result<Response<wire::ExplainVmResponse>, Status> {
        let wire::ExplainVmRequest { vm, at } = request.into_inner();
        from_proto::name(&vm).map_err(|why| invalid("vm", why))?;
        let entry = match at {
            None => last_tick(&self.0)?,
            Some(at) => tick_at(&self.0, &at)?,
        };
        Ok(Response::new(explain(&entry, &vm)?))
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

fn page(record: &TickRecord, behind: Bound<VmId>, size: usize) -> wire::ListVmsResponse {
    let Some(sample) = &record.sample else {
        return wire::ListVmsResponse::default();
    };
    let mut vms = sample.vms.range((behind, Bound::Unbounded));
    let found: Vec<_> = vms.by_ref().take(size).collect();
    let last = found.last().map(|(id, _)| id.to_string());
    let next = last.filter(|_| vms.next().is_some());
    wire::ListVmsResponse {
        vms: found.into_iter().map(|(id, vm)| to_proto::vm(record, *id, vm)).collect(),
        next_page_token: next.unwrap_or_default(),
        tick: Some(record.tick),
    }
}

fn last_tick(published: &Published) -> Result<Entry, Status> {
    let publisher = &published.publisher;
    let none =
        || failed(Code::Unavailable, "NO_TICK", "no tick has read the VMs yet; ask again", []);
    let logged = publisher.logged().ok_or_else(none)?;
    let seq = logged.position.seq;
    publisher.ring().get(seq).ok_or_else(|| not_kept(seq))
}

fn tick_at(published: &Published, at: &wire::Position) -> Result<Entry, Status> {
    let publisher = &published.publisher;
    let Some(epoch) = Epoch::parse(&at.epoch) else {
        return Err(invalid("at.epoch", "must be 32 lower-case hex digits, as in a position"));
    };
    if epoch != *publisher.epoch() {
        let message = format!("{epoch} is not this run of the log: agentd was restarted since");
        return Err(failed(Code::NotFound, "OTHER_EPOCH", message, []));
    }
    publisher.ring().get(at.seq).ok_or_else(|| not_kept(at.seq))
}

fn not_kept(seq: u64) -> Status {
    let message = format!("entry {seq} of the log is not kept in memory");
    failed(Code::NotFound, "NOT_KEPT", message, [("seq", seq.to_string())])
}

fn explain(entry: &Entry, name: &str) -> Result<wire::ExplainVmResponse, Status> {
    let decoded = wire::WatchResponse::decode(&*entry.bytes).map(|message| message.body);
    let Ok(Some(Body::Tick(tick))) = decoded else {
        let seq = entry.position.seq;
        return Err(invalid("at.seq", format!("entry {seq} is no tick; only ticks are explained")));
    };
    let vm = find(&tick, name)?;
    Ok(wire::ExplainVmResponse {
        vm: vm.vm.clone(),
        tick: tick.tick,
        position: Some(to_proto::position(&entry.position)),
        time: Some(to_proto::timestamp(began(entry, &tick))),
        memory: vm.memory,
        verdict: vm.verdict.clone(),
        resize: story::resize(&tick, vm).cloned(),
        transfers: tick.transfers.iter().filter(|one| story::concerns(one, vm)).cloned().collect(),
        pool: tick.pool.clone(),
        sentences: story::sentences(&tick, vm),
        mode: tick.mode,
        algorithm: tick.algorithm.clone(),
    })
}

/// An entry is made when its tick ends.
fn began(entry: &Entry, tick: &wire::Tick) -> SystemTime {
    let took = tick.took.and_then(|took| std::time::Duration::try_from(took).ok());
    entry.stamp.wall.checked_sub(took.unwrap_or_default()).unwrap_or(entry.stamp.wall)
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
        [] => {
            let message = format!("no VM {name:?} was running in tick {}", tick.tick);
            Err(failed(Code::NotFound, "UNKNOWN_VM", message, []))
        }
        several => {
            let uuids = several.iter().filter_map(|vm| vm.vm.as_ref()).map(|vm| vm.uuid.as_str());
            let uuids: Vec<&str> = uuids.take(LISTED).collect();
            let why =
                format!("several VMs are named {name:?}; give one's UUID: {}", uuids.join(", "));
            Err(invalid("vm", why))
        }
    }
}

const PAGE: usize = 100;
const PAGE_MOST: usize = 1000;
/// UUIDs that an ambiguous name is answered with.
const LISTED: usize = 16;
