//! Has a VM report at once; `Prompts` says which.

use agentd_core::vm::VmId;

use super::{
    chore::Chore,
    crew::Wire,
    question::{Unasked, report_now},
    record::Figures,
};

/// What it takes to have an armed VM report at once.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    /// How often it is to report afterwards, in seconds.
    pub(super) period: i32,
    /// It is read live afterwards: what it holds before is to be known.
    pub(super) is_live: bool,
    /// Arms it again if that fails half way.
    pub(super) arming: Chore<bool>,
}

/// Has a VM report at once. What it says comes within milliseconds; nobody waits for it here. With what it
/// held and had said before, where that is to be known.
pub(super) fn prompt(wire: &Wire, vm: VmId, prompt: &Prompt) -> Option<Figures> {
    match report_now(wire, vm, (prompt.period, prompt.is_live)) {
        Ok(before) => return before,
        Err(Unasked::Armed(words)) => tracing::debug!("VM {vm} is not asked to report: {words}"),
        Err(Unasked::Disarmed(words)) => {
            tracing::warn!("VM {vm} is to be armed again: {words}");
            prompt.arming.restart(vm);
        }
    }
    None
}
