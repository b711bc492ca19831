//! Points of the history: what is kept of ticks when they are looked at from afar. Pure.

use std::collections::BTreeMap;

use agentd_proto::v1 as wire;
use prost::Message as _;
use wire::watch_response::Body;

use crate::publish::{Entry, Kind};

/// What is kept of entries of one minute when they themselves have made way: one point, and all that are
/// no ticks. As the message that it is asked for with.
#[must_use]
pub fn condense(entries: &[Entry]) -> Vec<u8> {
    let mut digest = wire::ListHistoryResponse::default();
    let mut point = wire::HistoryPoint::default();
    for entry in entries {
        // Our own encoding: what does not decode is of a newer agentd, and is left out.
        let Ok(message) = wire::WatchResponse::decode(&*entry.bytes) else { continue };
        match message {
            wire::WatchResponse { time, body: Some(Body::Tick(tick)), .. } => {
                merge(&mut point, of_tick(time, &tick));
            }
            other if entry.kind != Kind::Tick => digest.changes.push(other),
            _ => {}
        }
    }
    digest.points.push(point);
    digest.encode_to_vec()
}

/// One tick, of this time, as a point.
pub(super) fn of_tick(
    time: Option<prost_types::Timestamp>,
    tick: &wire::Tick,
) -> wire::HistoryPoint {
    let vms = match tick.memory {
        Some(_) => tick.vms.iter().map(|vm| of_vm(tick, vm)).collect(),
        None => Vec::new(),
    };
    wire::HistoryPoint {
        time,
        ticks: 1,
        ticks_unread: u64::from(tick.memory.is_none()),
        host: tick.memory.as_ref().map(|memory| of_host(tick, memory, &vms)),
        vms,
    }
}

fn of_host(
    tick: &wire::Tick,
    memory: &wire::HostMemory,
    vms: &[wire::HistoryVm],
) -> wire::HistoryHost {
    let pool = tick.pool.as_ref();
    let sum =
        |of: &dyn Fn(&wire::HistoryVm) -> u64| vms.iter().map(of).fold(0, u64::saturating_add);
    let demands = vms.iter().filter_map(|vm| vm.demand_bytes);
    let demand = demands.reduce(u64::saturating_add);
    let actual = sum(&|vm| vm.actual_bytes);
    let granted = tick.transfers.iter().map(|transfer| transfer.granted_bytes);
    wire::HistoryHost {
        total_bytes: memory.total_bytes,
        usable_bytes: memory.usable_bytes,
        usable_least_bytes: memory.usable_bytes,
        limit_bytes: pool.and_then(|pool| pool.limit_bytes),
        actual_bytes: actual,
        actual_most_bytes: actual,
        kept_bytes: pool.map(|pool| pool.kept_bytes),
        reserve_bytes: pool.map(|pool| pool.reserve_bytes),
        demand_bytes: demand,
        demand_most_bytes: demand,
        target_bytes: sum(&|vm| vm.target_bytes.unwrap_or(vm.actual_bytes)),
        vms: u64::try_from(vms.len()).unwrap_or(u64::MAX),
        level: memory.level,
        mode: tick.mode,
        algorithm: tick.algorithm.clone(),
        policy_revision: tick.policy_revision,
        moved_bytes: granted.fold(0, u64::saturating_add),
        failed: sum(&|vm| vm.failed),
    }
}

fn of_vm(tick: &wire::Tick, vm: &wire::Vm) -> wire::HistoryVm {
    let memory = vm.memory.unwrap_or_default();
    let verdict = vm.verdict.as_ref();
    let demand = verdict.and_then(|verdict| verdict.demand_bytes).or(memory.used_bytes);
    let is = |party: &Option<wire::VmRef>| match (party, &vm.vm) {
        (Some(party), Some(vm)) => party.uuid == vm.uuid,
        (None, _) | (_, None) => false,
    };
    let granted = |side: &dyn Fn(&wire::Transfer) -> bool| {
        let of_it = tick.transfers.iter().filter(|transfer| side(transfer));
        of_it.map(|transfer| transfer.granted_bytes).fold(0, u64::saturating_add)
    };
    let order = tick.resizes.iter().find(|resize| is(&resize.vm));
    let order = order.filter(|order| order.ordered_bytes.is_some());
    // One of which a part was taken and the rest refused says so.
    let failed = order.is_some_and(|order| {
        order.outcome() != wire::Outcome::Accepted || !order.message.is_empty()
    });
    wire::HistoryVm {
        vm: vm.vm.clone(),
        ticks: 1,
        actual_bytes: memory.actual_bytes,
        actual_least_bytes: memory.actual_bytes,
        actual_most_bytes: memory.actual_bytes,
        target_bytes: memory.target_bytes,
        min_bytes: memory.min_bytes,
        max_bytes: memory.max_bytes,
        demand_bytes: demand,
        demand_most_bytes: demand,
        guest_usable_least_bytes: memory.guest_usable_bytes,
        host_rss_bytes: memory.host_rss_bytes,
        state: vm.state,
        verdict: verdict.map(|verdict| verdict.kind).unwrap_or_default(),
        reason: verdict.map(|verdict| verdict.reason.clone()).unwrap_or_default(),
        got_bytes: granted(&|transfer| is(&transfer.to)),
        gave_bytes: granted(&|transfer| is(&transfer.from)),
        orders: u64::from(order.is_some()),
        failed: u64::from(failed),
    }
}

/// Adds what comes after it to a point.
pub(super) fn merge(point: &mut wire::HistoryPoint, next: wire::HistoryPoint) {
    if point.time.is_none() {
        *point = next;
        return;
    }
    point.ticks = point.ticks.saturating_add(next.ticks);
    point.ticks_unread = point.ticks_unread.saturating_add(next.ticks_unread);
    point.host = match (point.host.take(), next.host) {
        (Some(before), Some(after)) => Some(merge_host(&before, after)),
        (before, after) => after.or(before),
    };
    let known = std::mem::take(&mut point.vms).into_iter().map(|vm| (key(&vm), vm));
    let mut vms: BTreeMap<String, wire::HistoryVm> = known.collect();
    for after in next.vms {
        let key = key(&after);
        let merged = match vms.remove(&key) {
            Some(before) => merge_vm(&before, after),
            None => after,
        };
        vms.insert(key, merged);
    }
    point.vms = vms.into_values().collect();
}

fn key(vm: &wire::HistoryVm) -> String {
    vm.vm.as_ref().map(|vm| vm.uuid.clone()).unwrap_or_default()
}

fn merge_host(before: &wire::HistoryHost, after: wire::HistoryHost) -> wire::HistoryHost {
    wire::HistoryHost {
        usable_least_bytes: before.usable_least_bytes.min(after.usable_least_bytes),
        actual_most_bytes: before.actual_most_bytes.max(after.actual_most_bytes),
        kept_bytes: after.kept_bytes.or(before.kept_bytes),
        reserve_bytes: after.reserve_bytes.or(before.reserve_bytes),
        demand_bytes: after.demand_bytes.or(before.demand_bytes),
        demand_most_bytes: before.demand_most_bytes.max(after.demand_most_bytes),
        level: before.level.max(after.level),
        moved_bytes: before.moved_bytes.saturating_add(after.moved_bytes),
        failed: before.failed.saturating_add(after.failed),
        ..after
    }
}

fn merge_vm(before: &wire::HistoryVm, after: wire::HistoryVm) -> wire::HistoryVm {
    let holds = |vm: &wire::HistoryVm| vm.verdict() == wire::VerdictKind::Hold;
    let is_unset = after.verdict() == wire::VerdictKind::Unspecified;
    let keeps = is_unset
        || (holds(&after) && before.verdict() != wire::VerdictKind::Unspecified && !holds(before));
    let (verdict, reason) = match keeps {
        true => (before.verdict, before.reason.clone()),
        false => (after.verdict, after.reason.clone()),
    };
    let least = match (before.guest_usable_least_bytes, after.guest_usable_least_bytes) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    wire::HistoryVm {
        ticks: before.ticks.saturating_add(after.ticks),
        actual_least_bytes: before.actual_least_bytes.min(after.actual_least_bytes),
        actual_most_bytes: before.actual_most_bytes.max(after.actual_most_bytes),
        target_bytes: after.target_bytes.or(before.target_bytes),
        demand_bytes: after.demand_bytes.or(before.demand_bytes),
        demand_most_bytes: before.demand_most_bytes.max(after.demand_most_bytes),
        guest_usable_least_bytes: least,
        host_rss_bytes: after.host_rss_bytes.or(before.host_rss_bytes),
        verdict,
        reason,
        got_bytes: before.got_bytes.saturating_add(after.got_bytes),
        gave_bytes: before.gave_bytes.saturating_add(after.gave_bytes),
        orders: before.orders.saturating_add(after.orders),
        failed: before.failed.saturating_add(after.failed),
        ..after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_counts_whoever_gets_it() {
        let vm = |name: &str| Some(wire::VmRef { uuid: name.to_owned(), name: name.to_owned() });
        let granted =
            |from, to, granted_bytes| wire::Transfer { from, to, amount_bytes: 100, granted_bytes };
        let tick = wire::Tick {
            memory: Some(wire::HostMemory::default()),
            transfers: vec![
                granted(vm("web1"), None, 100),
                granted(None, vm("db1"), 7),
                granted(vm("web2"), vm("db1"), 20),
            ],
            ..Default::default()
        };
        assert_eq!(of_tick(None, &tick).host.map(|host| host.moved_bytes), Some(127));
    }
}
