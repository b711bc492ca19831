//! What a policy allows one VM, reckoned without the code that agentd reckons it with.

use agentd_core::bytes::ByteCount;
use agentd_core::policy::{Algorithm, Policy, VmKey};
use agentd_core::vm::VmId;

/// What a policy allows one VM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) floor: ByteCount,
    pub(super) cap: ByteCount,
    pub(super) pinned: bool,
    /// Most that it gives in one tick, but for what is unused.
    pub(super) step: ByteCount,
    /// Of what is unused, in percent.
    percent: u64,
}

impl Allowed {
    /// How much of what is unused may go in one tick.
    pub(super) fn of_unused(&self, unused: ByteCount) -> ByteCount {
        let part = u128::from(unused.as_u64()) * u128::from(self.percent) / 100;
        ByteCount::bytes(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

/// What `policy` allows the VM whose hypervisor lets it hold `max`.
pub(super) fn allowed(policy: &Policy, id: VmId, name: &str, max: ByteCount) -> Allowed {
    // Each value by its UUID first, then by its name.
    let own = [VmKey::Id(id), VmKey::Name(name.to_owned())];
    let own = || own.iter().filter_map(|key| policy.vms.get(key));
    let min = own().find_map(|own| own.min).unwrap_or(policy.floor).max(policy.floor);
    let cap = own().find_map(|own| own.max).unwrap_or(max).min(max);
    let twentieth = ByteCount::bytes(max.as_u64() / 20);
    Allowed {
        floor: min.min(cap),
        cap,
        pinned: own().find_map(|own| own.pinned) == Some(true),
        step: policy.shrink_step.max(twentieth),
        percent: match policy.algorithm {
            Algorithm::TwoPointer => 0,
            Algorithm::WorkingSet => policy.working_set.shrink_percent.into(),
        },
    }
}
