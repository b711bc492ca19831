//! When calls of the hypervisor hang so that only a new process can go on.

use agentd_core::sample::RunState;

use crate::tick::Turn;

/// Why this process has to end, when so many calls hang in it that it cannot go on: what hangs.
pub(super) fn why(turn: &Turn) -> Option<String> {
    if turn.parked < MOST_PARKED {
        return None;
    }
    let sample = turn.record.sample.iter();
    let vms = sample.flat_map(|sample| sample.vms.values());
    let silent = vms.filter(|vm| vm.run == RunState::Unresponsive);
    let names: Vec<&str> = silent.map(|vm| vm.name.as_ref()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Some(format!(
        "{} calls of the hypervisor have hung for so long that only a new process can go on; VMs \
         that do not answer: {names}; every VM keeps what it has",
        turn.parked
    ))
}

/// Calls that hang before the process ends itself for its supervisor to start it again: half of the
/// sixteen threads that the libvirt adapter has, from which on it takes no order any more.
const MOST_PARKED: usize = 8;
