//! [`alarms`]: what is wrong or unusual by one tick, as conditions for the operator.

use agentd_core::{
    distress::Sign,
    host::HostLevel,
    life::Life,
    sample::Sample,
    verdict::{Reason, Verdict},
    vm::VmId,
};

use crate::{
    control::{Overcommitment, forbids},
    event::TickRecord,
};

/// Every condition that a tick can tell of: what is wrong and what to do, or `None` where it is
/// right. A tick that saw nothing says nothing of VMs and host.
#[must_use]
pub fn alarms(record: &TickRecord) -> Vec<(&'static str, Option<String>)> {
    let error = |is: bool| record.error.clone().filter(|_| is);
    let saw = record.sample.is_some();
    let mut alarms = vec![(HYPERVISOR_LOST, error(!saw)), (PLAN_REJECTED, error(saw))];
    if let Some(sample) = &record.sample {
        let beyond = beyond(record, sample);
        let overcommitted = overcommitted(record, sample).filter(|_| beyond.is_none());
        alarms.extend([(POLICY_BEYOND_HOST, beyond), (MINIMUMS_BEYOND_POOL, overcommitted)]);
        alarms.extend(vms(record));
        alarms.push((VM_SHORT_OF_MEMORY, short(record)));
        alarms.extend(host(record));
    }
    alarms
}

fn beyond(record: &TickRecord, sample: &Sample) -> Option<String> {
    let faults = forbids(&record.policy.policy, sample);
    let each: Vec<String> = faults.iter().map(ToString::to_string).collect();
    (!each.is_empty()).then(|| {
        format!(
            "{}; nothing is ordered until \"memctl policy set\" has set what is",
            each.join("; ")
        )
    })
}

fn overcommitted(record: &TickRecord, sample: &Sample) -> Option<String> {
    let own = Overcommitment::of(&record.policy.policy, sample)?;
    Some(format!(
        "{own}; lower what \"memctl policy set\" has as vm.NAME.min or floor, or move a VM"
    ))
}

fn vms(record: &TickRecord) -> Vec<(&'static str, Option<String>)> {
    let told = |condition, life, words: &str| {
        let who = names(record, life);
        (condition, (!who.is_empty()).then(|| format!("{who}: {words}")))
    };
    vec![
        told(
            VM_UNRESPONSIVE,
            Life::Unresponsive,
            "the hypervisor does not answer for it; look at its QEMU and its disks, or end it",
        ),
        told(
            VM_UNCOOPERATIVE,
            Life::Uncooperative,
            "does not give the memory that it was asked for; look at its balloon driver and its \
             load, or pin it",
        ),
        told(
            VM_QUARANTINED,
            Life::Quarantined,
            "somebody else moved its balloon, and it is left to them for ten minutes; end the \
             other manager, or pin the VM",
        ),
    ]
}

/// VMs that have swapped or waited for memory within a minute, and are given none.
fn short(record: &TickRecord) -> Option<String> {
    let decision = record.decision.as_ref()?;
    let is_short = |verdict: &Verdict| {
        let in_vain = matches!(
            verdict.reason,
            Reason::PoolEmpty
                | Reason::Reserved
                | Reason::FairShare
                | Reason::Full
                | Reason::AtMaximum
                | Reason::HostLow
                | Reason::HostUnexplained
        );
        let swaps = verdict.distress.map(|distress| distress.sign);
        in_vain && matches!(swaps, Some(Sign::SwapsOut(_) | Sign::TookBack))
    };
    let short = decision.verdicts.iter().filter(|(_, verdict)| is_short(verdict));
    let who = named(record, &short.map(|(id, _)| *id).collect::<Vec<_>>());
    (!who.is_empty()).then(|| {
        format!(
            "{who}: swaps for want of memory, and there is none for it; \"memctl explain VM\" says what it waits \
             for: give the VMs of this host more, raise its maximum, or move one away"
        )
    })
}

fn host(record: &TickRecord) -> Vec<(&'static str, Option<String>)> {
    let (Some(decision), Some(sample)) = (&record.decision, &record.sample) else {
        return [HOST_LOW, HOST_EMERGENCY, HOST_UNEXPLAINED].map(|c| (c, None)).into();
    };
    let (view, reserve, usable) = (decision.host, decision.pool.reserve, sample.host.usable);
    let pressure = sample.host.pressure.unwrap_or_default();
    let figures = format!(
        "{usable} is usable of a reserve of {reserve}, and some of the work waited for memory for \
         {} of the last 10 s, all of it for {}",
        pressure.some, pressure.full
    );
    let at = |level, words: &str| {
        (view.level == level).then(|| format!("{figures}; {words}: end or move something"))
    };
    let unexplained = view.suspicious.then(|| {
        format!(
            "{} is taken by none of the VMs, and was not before; VMs get nothing from the host \
             until that has stood still for 15 s: find out who it is",
            view.unexplained
        )
    });
    vec![
        (HOST_LOW, at(HostLevel::Low, "the host gives nothing to VMs")),
        (HOST_EMERGENCY, at(HostLevel::Emergency, "VMs give what they do not use")),
        (HOST_UNEXPLAINED, unexplained),
    ]
}

/// The names of the VMs at this point of their lives.
fn names(record: &TickRecord, life: Life) -> String {
    let is = |(_, own): &(&VmId, &Life)| **own == life;
    let all: Vec<VmId> = record.lives.iter().filter(is).map(|(id, _)| *id).collect();
    named(record, &all)
}

/// The names of these VMs, of at most [`NAMED`] of them.
fn named(record: &TickRecord, all: &[VmId]) -> String {
    let name = |id: &VmId| {
        let vm = record.sample.as_ref().and_then(|sample| sample.vms.get(id));
        vm.map_or_else(|| id.to_string(), |vm| vm.name.to_string())
    };
    let mut named: Vec<String> = all.iter().take(NAMED).map(name).collect();
    if let Some(more) = all.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

/// Raised while the hypervisor cannot be read.
pub(crate) const HYPERVISOR_LOST: &str = "HYPERVISOR_LOST";
/// Raised while plans break a rule of safety and are thrown away.
const PLAN_REJECTED: &str = "PLAN_REJECTED";
/// Raised while the policy asks for more than the host has: nothing is ordered.
const POLICY_BEYOND_HOST: &str = "POLICY_BEYOND_HOST";
/// Raised while the policy guarantees VMs more together than there is for them.
const MINIMUMS_BEYOND_POOL: &str = "MINIMUMS_BEYOND_POOL";
/// Raised while the hypervisor does not answer for a VM.
const VM_UNRESPONSIVE: &str = "VM_UNRESPONSIVE";
/// Raised while a VM is not asked for memory because it does not give it.
const VM_UNCOOPERATIVE: &str = "VM_UNCOOPERATIVE";
/// Raised while a VM is left to whoever else moved its balloon.
const VM_QUARANTINED: &str = "VM_QUARANTINED";
/// Raised while a VM swaps, and is given nothing.
const VM_SHORT_OF_MEMORY: &str = "VM_SHORT_OF_MEMORY";
/// Raised while the host is at its reserve.
const HOST_LOW: &str = "HOST_LOW";
/// Raised while VMs are made to give because the host runs out of memory.
const HOST_EMERGENCY: &str = "HOST_EMERGENCY";
/// Raised while somebody unknown takes the host's memory.
const HOST_UNEXPLAINED: &str = "HOST_UNEXPLAINED";
/// More names than this help nobody.
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentd_core::policy::Algorithm;

    use super::*;
    use crate::tick::bench::Bench;

    /// Who is told to be short of memory at each second, where the VM may hold this much.
    fn short_ones(max: &str, algorithm: Algorithm) -> Vec<Option<String>> {
        let text = format!(
            "[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n[policy]\nalgorithm = \"{algorithm}\"\n\
             [[vm]]\nname = \"db1\"\nmax = \"{max}\"\nactual = \"512MiB\"\ncache = \"0MiB\"\n\
             demand = [{{ at = \"10s\", used = \"300MiB\" }}, {{ at = \"15s\", used = \"800MiB\" }}, \
             {{ at = \"30s\", used = \"800MiB\" }}, {{ at = \"31s\", used = \"200MiB\" }}]\n"
        );
        let mut bench = Bench::every(Duration::from_secs(1), &text);
        let told = |record: &TickRecord| {
            let own = alarms(record).into_iter().find(|(name, _)| *name == VM_SHORT_OF_MEMORY);
            own.unwrap().1
        };
        bench.turns(119).iter().map(|turn| told(&turn.record)).collect()
    }

    #[test]
    fn who_swaps_and_gets_nothing_is_told_and_no_more_once_it_has_recovered() {
        for algorithm in Algorithm::ALL {
            let told = short_ones("512MiB", algorithm);
            assert!(told[..12].iter().all(Option::is_none), "{algorithm:?}: {told:?}");
            let words = told[24].as_ref().unwrap_or_else(|| panic!("{algorithm:?}: {told:?}"));
            assert!(words.starts_with("db1: swaps for want of memory"), "{words}");
            assert_eq!(told.last().unwrap(), &None, "{algorithm:?}");
            let helped = short_ones("4GiB", algorithm);
            assert!(helped[30..].iter().all(Option::is_none), "{algorithm:?}: {helped:?}");
        }
    }
}
