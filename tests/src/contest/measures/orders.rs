//! What the orders say: who is told now this, now that, and whether it ever ends.

use std::collections::BTreeMap;

use super::Run;
use crate::contest::workload::Workload;

/// How often a VM was told to go the other way than before.
pub(super) fn reversals(load: &Workload, run: &Run) -> u64 {
    let first = load.scenario.vms.iter().map(|vm| (vm.id, (vm.actual.as_u64(), None)));
    let mut last: BTreeMap<_, (u64, Option<bool>)> = first.collect();
    let mut count = 0;
    for order in &run.orders {
        let target = order.target.as_u64();
        let Some((before, direction)) = last.get_mut(&order.vm) else {
            continue;
        };
        if target.abs_diff(*before) < LITTLE {
            continue;
        }
        let grows = target > *before;
        count += u64::from(direction.is_some_and(|was| was != grows));
        (*before, *direction) = (target, Some(grows));
    }
    count
}

/// How many orders came in the last third.
pub(super) fn late(load: &Workload, run: &Run) -> u64 {
    run.orders.iter().filter(|order| order.at >= load.length * 2 / 3).count() as u64
}

/// Less is no direction.
const LITTLE: u64 = 1 << 20;
