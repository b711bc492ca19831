//! The story of one VM in one tick, told from the tick's entry in the log, so that it is the same
//! for the last tick and for any that is kept.

use std::cmp::Reverse;

use agentd_core::bytes::{ByteCount, told_apart};
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
    story.extend(spared(vm));
    story.extend(tick.transfers.iter().filter(|one| concerns(one, vm)).map(told));
    let starved = vm.verdict.as_ref().is_some_and(|verdict| verdict.reason == POOL_EMPTY);
    if let Some(pool) = tick.pool.as_ref().filter(|_| starved) {
        story.push(left(tick, pool));
        story.extend(counted_in_full(tick));
    }
    story.extend(resize(tick, vm).map(outcome));
    story
}

/// What is left to be given: of the policy's limit where that leaves less than the host.
fn left(tick: &wire::Tick, pool: &wire::Pool) -> String {
    let (kept, promised) = (amount(pool.kept_bytes), amount(pool.promised_bytes));
    let usable = tick.memory.as_ref().map_or(ByteCount::MAX, |host| amount(host.usable_bytes));
    match pool.limit_bytes.map(amount).filter(|_| kept < usable.saturating_sub(promised)) {
        Some(limit) => {
            let exposed = amount(pool.exposed_bytes);
            format!(
                "The policy's pool-limit of {limit} leaves {kept} beside {exposed} that VMs may come to hold; \
                 the host has {usable} usable."
            )
        }
        None => format!("The host keeps {kept} beside {promised} promised to VMs."),
    }
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

/// Why a VM at its minimum holds more than the policy's.
fn spared(vm: &wire::Vm) -> Option<String> {
    let memory = vm.memory.as_ref().filter(|memory| memory.actual_bytes > memory.min_bytes)?;
    (vm.verdict.as_ref()?.reason == AT_MINIMUM).then(|| {
        let min = amount(memory.min_bytes);
        format!("It suffered after it was shrunk, and is left with more than {min} for an hour.")
    })
}

/// The VMs that take most of the pool beyond what they hold, because nobody knows what they will take.
fn counted_in_full(tick: &wire::Tick) -> Option<String> {
    let beyond = |vm: &wire::Vm| {
        let memory = vm.memory.as_ref()?;
        let counted = memory.exposure_bytes?;
        let more = counted.saturating_sub(memory.target_bytes.unwrap_or(memory.actual_bytes));
        let name = vm.vm.as_ref()?.name.clone();
        (more >= MUCH).then_some((more, name, counted, memory.actual_bytes))
    };
    let mut found: Vec<_> = tick.vms.iter().filter_map(beyond).collect();
    found.sort_by_key(|(more, name, ..)| (Reverse(*more), name.clone()));
    let words = |(_, name, counted, holds): &(u64, String, u64, u64)| {
        format!("{name} with {}, though it holds {}", amount(*counted), amount(*holds))
    };
    let named: Vec<String> = found.iter().take(NAMED).map(words).collect();
    let more = found.len().saturating_sub(named.len());
    let rest = if more == 0 { String::new() } else { format!(", and {more} more") };
    (!named.is_empty()).then(|| format!("Counted at their maximum: {}{rest}.", named.join("; ")))
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
            let (ordered, planned) = told_apart(ordered, planned);
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
        wire::Outcome::Held if resize.from_bytes == resize.to_bytes => {
            format!("It was not told to hold what it holds: {}.", resize.message)
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
const AT_MINIMUM: &str = agentd_core::verdict::Reason::AtMinimum.name();
/// Less than this in one VM is nobody's reason for want, in bytes.
const MUCH: u64 = 64 << 20;
/// So many VMs are named.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// A VM for which this was decided, in MiB.
    fn vm(name: &str, reason: &str, holds: u64, counted: u64) -> wire::Vm {
        let memory = wire::VmMemory {
            actual_bytes: holds << 20,
            min_bytes: 64 << 20,
            max_bytes: 2048 << 20,
            exposure_bytes: Some(counted << 20),
            ..wire::VmMemory::default()
        };
        let verdict = wire::Verdict { reason: reason.to_owned(), ..wire::Verdict::default() };
        let (name, uuid) = (name.to_owned(), name.to_owned());
        let vm = Some(wire::VmRef { name, uuid });
        wire::Vm { vm, memory: Some(memory), verdict: Some(verdict), ..wire::Vm::default() }
    }

    #[test]
    fn who_wants_in_vain_is_told_who_is_counted_in_full() {
        let poor = vm("db1", POOL_EMPTY, 512, 512);
        let vms = ["a", "b", "c", "d"].map(|name| vm(name, "NO_DRIVER", 512, 2048));
        let mut tick = wire::Tick { pool: Some(wire::Pool::default()), ..wire::Tick::default() };
        tick.vms = vec![poor.clone()];
        assert!(!sentences(&tick, &poor).join(" ").contains("Counted"));
        tick.vms.extend(vms);
        let story = sentences(&tick, &poor).join(" ");
        let named = "Counted at their maximum: a with 2 GiB, though it holds 512 MiB; b with";
        assert!(story.contains(named) && story.contains(", and 1 more."), "{story}");
    }

    #[test]
    fn who_does_not_say_what_it_holds_is_not_said_to_wait_for_memory() {
        let held = |to: u64| {
            let (from_bytes, to_bytes) = (512 << 20, to << 20);
            let message = "it did not say in time how much that is".to_owned();
            let held = wire::Outcome::Held.into();
            outcome(&wire::Resize {
                from_bytes,
                to_bytes,
                outcome: held,
                message,
                ..Default::default()
            })
        };
        assert!(held(512).starts_with("It was not told to hold what it holds: it did not say"));
        assert!(held(600).contains("it waits"), "{}", held(600));
    }

    #[test]
    fn what_leaves_nothing_is_the_limit_where_the_host_has_more() {
        let gib = |count: u64| count << 30;
        let words = |limit_bytes, usable_bytes| {
            let pool = wire::Pool {
                limit_bytes,
                kept_bytes: 191 << 20,
                exposed_bytes: gib(2),
                ..wire::Pool::default()
            };
            let memory = Some(wire::HostMemory { usable_bytes, ..wire::HostMemory::default() });
            left(&wire::Tick { memory, ..wire::Tick::default() }, &pool)
        };
        let told = words(Some(gib(2)), gib(13));
        assert!(told.starts_with("The policy's pool-limit of 2 GiB leaves 191 MiB"), "{told}");
        for told in [words(None, gib(13)), words(Some(gib(16)), 191 << 20)] {
            assert!(told.starts_with("The host keeps 191 MiB"), "{told}");
        }
    }

    #[test]
    fn a_minimum_that_was_raised_is_told() {
        let raised = vm("db1", AT_MINIMUM, 640, 640);
        let least = vm("db1", AT_MINIMUM, 64, 64);
        let tells = |vm| sentences(&wire::Tick::default(), vm).join(" ").contains("suffered after");
        assert_eq!((tells(&raised), tells(&least)), (true, false));
    }
}
