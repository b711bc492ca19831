//! [`Alarms`]: what is wrong or unusual by what ticks show, as conditions for the operator.

mod short;

use std::time::Duration;

use agentd_core::{host::HostLevel, life::Life, sample::Sample, vm::VmId};

use self::short::Short;
use crate::{
    control::{Overcommitment, forbids},
    event::TickRecord,
};

/// What is wrong or unusual: by the last tick alone, but for what would come and go.
#[derive(Debug, Default)]
pub struct Alarms {
    short: Short,
    /// The last time that VMs were guaranteed too much, by which revision of the policy, and the words for it.
    overcommitted: Option<(Duration, u64, String)>,
}

impl Alarms {
    /// Every condition that a tick can tell of: what is wrong and what to do, or `None` where it is
    /// right. A tick that saw nothing says nothing of VMs and host.
    pub fn of(&mut self, record: &TickRecord) -> Vec<(&'static str, Option<String>)> {
        let error = |is: bool| record.error.clone().filter(|_| is);
        let saw = record.sample.is_some();
        let mut alarms = vec![(HYPERVISOR_LOST, error(!saw)), (PLAN_REJECTED, error(saw))];
        if let Some(sample) = &record.sample {
            let beyond = beyond(record, sample);
            let overcommitted = self.overcommitted(record, sample).filter(|_| beyond.is_none());
            alarms.extend([(POLICY_BEYOND_HOST, beyond), (MINIMUMS_BEYOND_POOL, overcommitted)]);
            alarms.extend(vms(record));
            alarms.push((VM_SHORT_OF_MEMORY, self.short.look(record)));
            alarms.extend(host(record));
        }
        alarms
    }

    /// What the host uses itself goes up and down: it is over for good, or by another policy.
    fn overcommitted(&mut self, record: &TickRecord, sample: &Sample) -> Option<String> {
        let (now, revision) = (record.now, record.policy.number);
        if let Some(own) = Overcommitment::of(&record.policy.policy, sample) {
            let words = format!(
                "{own}; lower what \"memctl policy set\" has as vm.NAME.min or floor, or move a VM"
            );
            self.overcommitted = Some((now, revision, words));
        }
        let lasts = |(last, by, _): &&(Duration, u64, String)| {
            *by == revision && now.saturating_sub(*last) < OVER_AFTER
        };
        self.overcommitted.as_ref().filter(lasts).map(|(_, _, words)| words.clone())
    }
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
            "does not give the memory that it was asked for, or the host gets nothing of it; \"memctl explain \
             VM\" says which: look at its balloon driver and its load, or pin it",
        ),
        told(
            VM_QUARANTINED,
            Life::Quarantined,
            "somebody else moved its balloon, and it is left to them for ten minutes; end the \
             other manager, or pin the VM",
        ),
    ]
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

/// The names of the VMs at this point of their lives. Who is pinned gives nothing anyway, and is not named for that.
fn names(record: &TickRecord, life: Life) -> String {
    let is = |(_, own): &(&VmId, &Life)| **own == life;
    let all = record.lives.iter().filter(is).map(|(id, _)| *id);
    let is_pinned =
        |id: &VmId| record.vm(*id).is_some_and(|vm| record.policy.policy.pins(*id, &vm.name));
    let is_told = |id: &VmId| life == Life::Unresponsive || !is_pinned(id);
    let all: Vec<VmId> = all.filter(is_told).collect();
    named(record, &all)
}

/// The names of these VMs, of at most [`NAMED`] of them.
fn named(record: &TickRecord, all: &[VmId]) -> String {
    let name = |id: &VmId| record.vm(*id).map_or_else(|| id.to_string(), |vm| vm.name.to_string());
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
/// Raised while a VM swaps again and again, and is given nothing.
const VM_SHORT_OF_MEMORY: &str = "VM_SHORT_OF_MEMORY";
/// Raised while the host is at its reserve.
const HOST_LOW: &str = "HOST_LOW";
/// Raised while VMs are made to give because the host runs out of memory.
const HOST_EMERGENCY: &str = "HOST_EMERGENCY";
/// Raised while somebody unknown takes the host's memory.
const HOST_UNEXPLAINED: &str = "HOST_UNEXPLAINED";
/// What was not so for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// More names than this help nobody.
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tick::bench::Bench;

    /// Whether the minimums of VMs are told to be too much at the end of so many ticks.
    fn is_overcommitted(scenario: &str) -> bool {
        let mut alarms = Alarms::default();
        let turns = Bench::new(scenario).turns(8);
        let all: Vec<_> = turns.iter().map(|turn| alarms.of(&turn.record)).collect();
        let told = |(name, words): &(&str, Option<String>)| {
            *name == MINIMUMS_BEYOND_POOL && words.is_some()
        };
        all.last().unwrap().iter().any(told)
    }

    #[test]
    fn who_gives_nothing_back_is_guaranteed_what_it_holds() {
        let with = |behaviour: &str, min: &str| {
            is_overcommitted(&format!(
                "[host]\ntotal = \"8GiB\"\nother = \"512MiB\"\n[policy.vms.db1]\nmin = \"{min}\"\n\
                 [[vm]]\nname = \"db1\"\nmax = \"4GiB\"\nactual = \"1GiB\"\ndemand = \"300MiB\"\n\
                 [[vm]]\nname = \"big\"\nmax = \"5GiB\"\nactual = \"3GiB\"\ndemand = \"4GiB\"\n\
                 behaviour = \"{behaviour}\"\n"
            ))
        };
        for behaviour in ["huge-pages", "vfio", "locked", "confidential"] {
            assert!(with(behaviour, "4GiB"), "{behaviour}");
            assert!(!with(behaviour, "1GiB"), "{behaviour}");
        }
    }

    /// Of 4 GiB the host has 3700 MiB for a VM that is guaranteed that much, but for half of the time.
    #[test]
    fn guarantees_that_are_too_much_now_and_then_are_told_once() {
        let other = (0..10).map(|second| {
            let mib = if second % 2 == 0 { 290 } else { 310 };
            format!("{{ at = \"{}s\", used = \"{mib}MiB\" }}", 4 * second)
        });
        let other = other.collect::<Vec<_>>().join(", ");
        let mut bench = Bench::new(&format!(
            "[sim]\nideal = true\n[host]\ntotal = \"4GiB\"\nother = [{other}, {{ at = \"37s\", used = \"0MiB\" }}]\n\
             [policy]\nhost_reserve = \"96MiB\"\n[policy.vms.db1]\nmin = \"3700MiB\"\n\
             [[vm]]\nname = \"db1\"\nmax = \"4000MiB\"\nactual = \"3700MiB\"\ndemand = \"3600MiB\"\n"
        ));
        let mut alarms = Alarms::default();
        let mut told = |turn: &crate::tick::Turn| {
            let all = alarms.of(&turn.record);
            all.into_iter().any(|(name, words)| name == MINIMUMS_BEYOND_POOL && words.is_some())
        };
        let said: Vec<bool> = bench.turns(60).iter().map(&mut told).collect();
        let begins = said.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert_eq!((begins, said.last()), (1, Some(&false)), "{said:?}");
        let over = said.iter().filter(|said| **said).count();
        assert!(over > 30, "{said:?}");
    }

    #[test]
    fn another_policy_ends_what_was_told_of_the_one_before() {
        let with = |min: &str, revision: u64| {
            let mut bench = Bench::new(&format!(
                "[host]\ntotal = \"4GiB\"\n[policy.vms.db1]\nmin = \"{min}\"\n\
                 [[vm]]\nname = \"db1\"\nmax = \"4000MiB\"\nactual = \"1GiB\"\ndemand = \"300MiB\"\n"
            ));
            let mut record = Arc::into_inner(bench.turn().record).expect("it is nobody else's");
            Arc::make_mut(&mut record.policy).number = revision;
            record
        };
        let mut alarms = Alarms::default();
        let mut is_told = |record: TickRecord| {
            let mut all = alarms.of(&record).into_iter();
            all.any(|(name, words)| name == MINIMUMS_BEYOND_POOL && words.is_some())
        };
        assert!(is_told(with("4000MiB", 1)));
        assert!(is_told(with("1GiB", 1)), "the same policy: it comes and goes");
        assert!(!is_told(with("1GiB", 2)));
    }
}
