//! Has every VM's balloon driver report: without a statistics period its figures stay those of its
//! boot, and each start loses the period.

use super::{chore::Chore, question::arm};

/// Arms VMs to report every `period` seconds.
pub(super) fn arming(period: i32) -> Chore<()> {
    Chore::new("have its figures reported by", move |wire, vm| {
        if let Some(words) = arm(wire, vm, period)? {
            tracing::info!("VM {vm} will not report its memory: {words}");
        }
        Ok(())
    })
}
