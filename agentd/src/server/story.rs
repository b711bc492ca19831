//! The story of one VM in one tick, told from the tick's entry in the log, so that it is the same
//! for the last tick and for any that is kept.

use agentd_core::bytes::ByteCount;
use agentd_proto::v1 as wire;

/// A sentence each: what it held, what was decided and why, what was ordered.
pub(super) fn sentences(tick: &wire::Tick, vm: &wire::Vm) -> Vec<String> {
    let mut story = Vec::new();
    if let Some(memory) = &vm.memory {
        story.push(measured(memory));
        let (min, max) = (amount(memory.min_bytes), amount(memory.max_bytes));
        story.push(format!("It may hold from {min} to {max}."));
    }
    match &vm.verdict {
        Some(verdict) => story.push(format!("It {}.", verdict.message)),
        None => story.push("Nothing was decided in this tick.".to_owned()),
    }
    story.extend(tick.transfers.iter().filter(|one| concerns(one, vm)).map(told));
    let starved = vm.verdict.as_ref().is_some_and(|verdict| verdict.reason == POOL_EMPTY);
    if let Some(pool) = tick.pool.as_ref().filter(|_| starved) {
        let (kept, promised) = (amount(pool.kept_bytes), amount(pool.promised_bytes));
        story.push(format!("The host keeps {kept} beside {promised} promised to VMs."));
    }
    story.extend(resize(tick, vm).map(outcome));
    story
}

/// True for transfers that this VM takes part in.
pub(super) fn concerns(transfer: &wire::Transfer, vm: &wire::Vm) -> bool {
    [&transfer.from, &transfer.to].into_iter().any(|party| is(party.as_ref(), vm))
}

/// The order for this VM.
pub(super) fn resize<'a>(tick: &'a wire::Tick, vm: &wire::Vm) -> Option<&'a wire::Resize> {
    tick.resizes.iter().find(|resize| is(resize.vm.as_ref(), vm))
}

fn is(party: Option<&wire::VmRef>, vm: &wire::Vm) -> bool {
    let uuid = |vm: &wire::VmRef| vm.uuid.clone();
    party.is_some() && party.map(uuid) == vm.vm.as_ref().map(uuid)
}

fn measured(memory: &wire::VmMemory) -> String {
    let mut text = format!("It holds {}", amount(memory.actual_bytes));
    if let (Some(used), Some(unused)) = (memory.used_bytes, memory.guest_unused_bytes) {
        let (used, unused) = (amount(used), amount(unused));
        text.push_str(&format!(" and uses {used} of it; {unused} is unused"));
    }
    if let Some(usable) = memory.guest_usable_bytes {
        text.push_str(&format!(", {} usable", amount(usable)));
    }
    if let Some(age) = &memory.figures_age {
        let tenths = age.nanos / 100_000_000;
        text.push_str(&format!(" (figures {}.{tenths} s old)", age.seconds));
    }
    text.push('.');
    text
}

fn told(transfer: &wire::Transfer) -> String {
    let name = |party: &Option<wire::VmRef>| match party {
        None => "the host".to_owned(),
        Some(vm) if vm.name.is_empty() => vm.uuid.clone(),
        Some(vm) => vm.name.clone(),
    };
    let (from, to) = (name(&transfer.from), name(&transfer.to));
    format!("{} goes from {from} to {to}.", amount(transfer.amount_bytes))
}

fn outcome(resize: &wire::Resize) -> String {
    let planned = amount(resize.to_bytes);
    let ordered = amount(resize.ordered_bytes.unwrap_or_default());
    match resize.outcome() {
        wire::Outcome::Accepted if ordered < planned => {
            format!("It was told to hold {ordered}; the rest of {planned} has not arrived yet.")
        }
        wire::Outcome::Accepted => format!("It was told to hold {ordered}."),
        wire::Outcome::Refused => {
            format!("The hypervisor refused to let it hold {ordered}: {}.", resize.message)
        }
        wire::Outcome::VmGone => "It was gone before it could be told.".to_owned(),
        wire::Outcome::InDoubt => {
            format!("It was told to hold {ordered}, but the hypervisor did not answer in time.")
        }
        wire::Outcome::Held => format!("Nothing for its {planned} has arrived yet: it waits."),
        wire::Outcome::Skipped => {
            "It was not told: the mode does not let it, or the plan was thrown away.".to_owned()
        }
        wire::Outcome::Unspecified => format!("It was to hold {planned}."),
    }
}

const fn amount(bytes: u64) -> ByteCount {
    ByteCount::bytes(bytes)
}

const POOL_EMPTY: &str = agentd_core::verdict::Reason::PoolEmpty.name();
