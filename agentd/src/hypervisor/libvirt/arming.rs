//! Has every VM's balloon driver report: without a statistics period its figures stay those of its
//! boot, and each start loses the period.

use super::{chore::Chore, question::arm};

/// Arms VMs to report every `period` seconds; the outcome is whether a VM will.
pub(super) fn arming(period: i32) -> Chore<bool> {
    Chore::new("have its figures reported by", move |wire, vm| {
        let refused = arm(wire, vm, period)?;
        if let Some(words) = &refused {
            tracing::info!("VM {vm} will not report its memory: {words}");
        }
        Ok(refused.is_none())
    })
}
