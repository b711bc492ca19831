//! The host and its pool as the last tick saw them.

use agentd_core::{
    bytes::ByteCount,
    decision::{Decision, Pool},
    host::HostLevel,
    sample::{HostMemory, Share},
};

use super::{
    catalogue as the,
    page::{Page, Value, labels},
};
use crate::event::TickRecord;

/// Tells of the host; nothing where the tick could not read it.
pub(super) fn tell(record: &TickRecord, page: &mut Page) {
    let Some(sample) = &record.sample else { return };
    memory(&sample.host, page);
    page.tell(&the::HOST_RESERVE, bytes(record.policy.policy.host_reserve));
    if let Some(decision) = &record.decision {
        view(decision, page);
        pool(&decision.pool, page);
    }
}

fn memory(host: &HostMemory, page: &mut Page) {
    page.tell(&the::HOST_TOTAL, bytes(host.total));
    page.tell(&the::HOST_AVAILABLE, bytes(host.usable));
    let pressure = host.pressure.into_iter().flat_map(|pressure| {
        [("some", pressure.some), ("full", pressure.full)]
            .map(|(kind, share)| (labels(&the::PRESSURE, [kind]), ratio(share)))
    });
    page.tell_all(&the::PRESSURE, pressure);
}

fn view(decision: &Decision, page: &mut Page) {
    let view = &decision.host;
    page.tell(&the::HOST_OTHER, view.other.map(bytes));
    page.tell(&the::HOST_UNEXPLAINED, bytes(view.unexplained));
    let levels = [HostLevel::Normal, HostLevel::Low, HostLevel::Emergency].map(|level| {
        (labels(&the::HOST_LEVEL, [level.name()]), Value::Whole(u64::from(level == view.level)))
    });
    page.tell_all(&the::HOST_LEVEL, levels);
}

fn pool(pool: &Pool, page: &mut Page) {
    page.tell(&the::POOL_LIMIT, pool.limit.map(bytes));
    page.tell(&the::POOL_ACTUAL, bytes(pool.actual));
    page.tell(&the::POOL_EXPOSED, bytes(pool.exposed));
    page.tell(&the::POOL_PROMISED, bytes(pool.promised));
    page.tell(&the::POOL_KEPT, bytes(pool.kept));
    page.tell(&the::POOL_RESERVED, bytes(pool.booked.reserved));
    page.tell(&the::POOL_HELD, bytes(pool.booked.held));
}

/// An amount of memory.
pub(super) const fn bytes(amount: ByteCount) -> Value {
    Value::Whole(amount.as_u64())
}

/// A share from 0 to 1.
fn ratio(share: Share) -> Value {
    Value::Real(f64::from(share.0) / 10_000.0)
}
