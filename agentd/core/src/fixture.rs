//! Samples for the tests of this crate.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    sample::{Freshness, GuestFigures, HostMemory, RunState, Sample, Traits, VmSample},
    vm::VmId,
};

/// One VM of the tests.
pub(crate) const VM: VmId = VmId::from_bytes([1; 16]);
/// Another one.
pub(crate) const OTHER: VmId = VmId::from_bytes([2; 16]);

/// A VM with fresh figures that holds 512 MiB of at most 1 GiB, all of it resident beside 30 MiB of
/// its process, and has 300 MiB unused.
pub(crate) fn vm() -> VmSample {
    VmSample {
        name: "web1".into(),
        run: RunState::Running,
        generation: 0,
        traits: Some(Traits::default()),
        boot: None,
        silent_for: Duration::ZERO,
        actual: ByteCount::mib(512),
        max: ByteCount::gib(1),
        guest: GuestFigures { unused: Some(ByteCount::mib(300)), ..GuestFigures::default() },
        freshness: Freshness::Fresh,
        figures_age: Some(Duration::ZERO),
        distress: None,
        host_rss: Some(ByteCount::mib(542)),
        overhead: Some(ByteCount::mib(30)),
        reported: None,
        overhead_at_most: None,
    }
}

/// The same VM when it holds so many MiB.
pub(crate) fn holding(mib: u32) -> VmSample {
    let actual = ByteCount::mib(mib);
    VmSample { actual, host_rss: Some(actual.saturating_add(ByteCount::mib(30))), ..vm() }
}

/// What so many seconds after the start a host of 8 GiB with half of it usable shows of these VMs.
pub(crate) fn sample(second: u64, vms: impl IntoIterator<Item = (VmId, VmSample)>) -> Sample {
    let (total, usable) = (ByteCount::gib(8), ByteCount::gib(4));
    Sample {
        tick: second,
        now: Duration::from_secs(second),
        host: HostMemory { total, usable, pressure: None },
        granule: ByteCount::kib(4),
        ideal: false,
        vms: vms.into_iter().collect(),
        reservations: Vec::new(),
    }
}
