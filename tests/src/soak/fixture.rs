//! Hand-made truths for the tests of the judge's own parts.

use std::time::Duration;

use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::bytes::ByteCount;
use agentd_core::sample::{HostMemory, RunState};
use agentd_core::vm::VmId;

pub(super) const GIVER: VmId = VmId::from_bytes([1; 16]);
pub(super) const TAKER: VmId = VmId::from_bytes([2; 16]);

pub(super) const fn mib(count: u32) -> ByteCount {
    ByteCount::mib(count)
}

/// A VM that rests at what it holds, all of it resident.
pub(super) fn holding(held: u32) -> VmFacts {
    let held = mib(held);
    VmFacts {
        run: RunState::Running,
        generation: 0,
        max: mib(4096),
        actual: held,
        target: held,
        late: None,
        foreign_at: None,
        in_place: ByteCount::ZERO,
        touched: held,
        rss: held,
        demand: ByteCount::ZERO,
        resident: ByteCount::ZERO,
        swapped: ByteCount::ZERO,
        cache: ByteCount::ZERO,
        swap_in: ByteCount::ZERO,
        swap_out: ByteCount::ZERO,
        oom_kills: 0,
        refuses: false,
        works: true,
        report: None,
    }
}

/// A host of 1000 MiB of which it takes 100 itself, with these VMs.
pub(super) fn host(vms: &[(VmId, VmFacts)]) -> Facts {
    let total = mib(1000);
    let used: ByteCount = vms.iter().map(|(_, vm)| vm.rss).sum();
    let taken = used.saturating_add(mib(100));
    let usable = total.saturating_sub(taken);
    Facts {
        now: Duration::ZERO,
        host: HostMemory { total, usable, pressure: None },
        taken,
        vms: vms.iter().copied().collect(),
    }
}
