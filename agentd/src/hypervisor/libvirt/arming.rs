//! Has every VM's balloon driver report: without a statistics period its figures stay those of its
//! boot, and each start loses the period. And has one report at once, where the tick needs to know.

use agentd_core::vm::VmId;

use super::{
    chore::Chore,
    crew::Wire,
    question::{Unasked, arm, report_now},
};

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

/// What it takes to have an armed VM report at once.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    /// How often it is to report afterwards, in seconds.
    pub(super) period: i32,
    /// Arms it again if that fails half way.
    pub(super) arming: Chore<bool>,
}

/// Has a VM report at once. What it says comes within milliseconds, and nobody waits for it here.
pub(super) fn prompt(wire: &Wire, vm: VmId, prompt: &Prompt) {
    match report_now(wire, vm, prompt.period) {
        Ok(()) => {}
        Err(Unasked::Armed(words)) => tracing::debug!("VM {vm} is not asked to report: {words}"),
        Err(Unasked::Disarmed(words)) => {
            tracing::debug!("VM {vm} is to be armed again: {words}");
            prompt.arming.restart(vm);
        }
    }
}
