//! The whole state for one stream, in parts that any client takes.

use agentd_proto::v1 as wire;
use prost::Message as _;

use super::filter::Filter;
use crate::server::{Published, limits, to_proto};

/// The state now, as one or more parts.
pub(super) async fn parts(published: &Published, filter: &Filter) -> Vec<wire::Snapshot> {
    published.look_for_freeze().await;
    let in_force = published.in_force();
    let logged = published.publisher.logged();
    let record = logged.as_ref().map(|logged| &logged.record);
    let sample = record.and_then(|record| record.sample.as_ref());
    let decision = record.and_then(|record| record.decision.as_ref());
    let first = wire::Snapshot {
        memory: sample.map(|s| to_proto::host_memory(&s.host, decision.map(|d| &d.host))),
        pool: decision.map(|decision| to_proto::pool(&decision.pool)),
        vms: Vec::new(),
        policy: Some(to_proto::revision(&in_force.policy)),
        mode: to_proto::mode(in_force.mode).into(),
        continued: false,
        conditions: published.conditions(|_| true),
    };
    let since = record.map(|record| published.publisher.age(record)).unwrap_or_default();
    let vms = record.into_iter().flat_map(|record| to_proto::vms(record, since));
    split(first, vms.filter(|vm| filter.names(vm.vm.as_ref())))
}

fn split(first: wire::Snapshot, vms: impl Iterator<Item = wire::Vm>) -> Vec<wire::Snapshot> {
    let mut done = Vec::new();
    let mut size = first.encoded_len();
    let mut part = first;
    for vm in vms {
        let more = vm.encoded_len().saturating_add(FIELD);
        if size.saturating_add(more) > limits::SNAPSHOT_PART {
            part.continued = true;
            let next = wire::Snapshot { mode: part.mode, ..wire::Snapshot::default() };
            done.push(std::mem::replace(&mut part, next));
            size = FIELD;
        }
        size = size.saturating_add(more);
        part.vms.push(vm);
    }
    done.push(part);
    done
}

/// Key and length of a field, at most.
const FIELD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_hold_every_vm_once_in_order() {
        let vm = |index: u32| wire::Vm {
            vm: Some(wire::VmRef { uuid: format!("{index:08}"), name: "n".repeat(200) }),
            ..wire::Vm::default()
        };
        let parts = split(wire::Snapshot::default(), (0..20_000).map(vm));
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.encoded_len() <= limits::SNAPSHOT_PART));
        let (last, others) = parts.split_last().unwrap();
        assert!(!last.continued && others.iter().all(|part| part.continued));
        let names = parts.iter().flat_map(|part| &part.vms);
        let names = names.map(|vm| vm.vm.clone().unwrap().uuid.parse::<u32>().unwrap());
        assert!(names.eq(0..20_000));
    }
}
