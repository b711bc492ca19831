//! Verdicts in words, with the figures that led to them.

use std::{cmp::Ordering, time::Duration};

use crate::{
    bytes::{ByteCount, told_apart},
    distress::{Distress, Sign},
    policy::{Algorithm, Policy},
    sample::{Obstacle, VmSample},
    verdict::{Reason, Verdict},
};

/// One sentence: what was decided for a VM and why.
#[must_use]
pub fn message(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let amount = verdict.amount;
    let need = verdict.need.unwrap_or_default();
    let reserve = policy.host_reserve;
    let wants = || wants(verdict, vm, policy);
    let spares = || spares(verdict, vm, policy);
    match verdict.reason {
        Reason::NeedsMemory => {
            format!("gets {amount}: {}; {}", wants(), needs(verdict, vm, policy))
        }
        Reason::Awaiting => format!("gets up to {amount} that it was given at an earlier tick"),
        Reason::GivesToVm if policy.algorithm == Algorithm::WorkingSet => {
            format!("gives {amount} to other VMs: {}", spares())
        }
        Reason::GivesToVm => format!("gives {amount} to VMs in need: {}", spares()),
        Reason::GivesToHost if policy.algorithm == Algorithm::WorkingSet => {
            format!("gives {amount} to the host, which keeps too little: {}", spares())
        }
        Reason::GivesToHost => format!("gives {amount} to the host: {}; no VM needs it", spares()),
        Reason::GivesToReservation => {
            format!("gives {amount} to what is reserved for a VM to come: {}", spares())
        }
        Reason::HostEmergency if !amount.is_zero() => {
            format!("gives {amount} of what it does not use: the host runs out of memory")
        }
        Reason::HostEmergency => format!("holds: {}", emergency(reserve)),
        Reason::Content => content(verdict, vm, policy),
        Reason::Full => full(verdict, vm),
        Reason::FairShare => format!("holds: {}, {}", wants(), share(verdict, vm, "too little")),
        Reason::Reserved if need.is_zero() => {
            let left = "what is not reserved for a VM to come";
            format!("holds: {}, {}", wants(), share(verdict, vm, left))
        }
        Reason::SpareNotNeeded => idle(verdict, vm, policy),
        Reason::AtMaximum => format!("holds: {}, but it is at its maximum", wants()),
        Reason::AtMinimum => format!("holds: {}, but it is at its minimum", spares()),
        Reason::PoolEmpty | Reason::Reserved | Reason::HostLow | Reason::HostUnexplained => {
            format!("holds: {}; it needs {need}, but {}", wants(), poor(verdict.reason, policy))
        }
        Reason::NotFollowing | Reason::Uncooperative | Reason::ReclaimIneffective => {
            format!("holds: {}, but {}", spares(), failed(verdict.reason))
        }
        Reason::Distressed => format!("holds: {}, but {}", spares(), suffers(verdict)),
        Reason::FiguresStale => {
            let age = vm.figures_age.unwrap_or_default().as_secs();
            format!("holds: its figures have not changed for {age} s")
        }
        Reason::Unreclaimable => {
            let why = vm.obstacle().map(Obstacle::words);
            format!("holds: {}", why.unwrap_or("the host gets nothing of what it gives"))
        }
        Reason::Settling => "holds: its memory is still moving".to_owned(),
        Reason::FiguresAbsent => {
            "holds: it reports no figures (is its balloon driver loaded?)".to_owned()
        }
        Reason::FiguresUnproven => "holds: its figures are looked at before they count".to_owned(),
        Reason::Quarantined => {
            "holds: somebody else moved its balloon; it is left to them for ten minutes".to_owned()
        }
        Reason::Unresponsive => "holds: the hypervisor did not answer for it in time".to_owned(),
        Reason::Pinned => "holds: it is pinned".to_owned(),
        Reason::Booting => "holds: it boots, and its balloon driver has not settled".to_owned(),
        Reason::Rebooting => "holds: it reboots, and its balloon driver has not settled".to_owned(),
        Reason::Busy => "holds: the hypervisor dumps, backs up or snapshots it".to_owned(),
        Reason::Paused => "holds: it is paused".to_owned(),
        Reason::Saving => "holds: it is being saved".to_owned(),
        Reason::Restoring => "holds: it is being brought back from a save".to_owned(),
        Reason::Migrating => "holds: it is being migrated".to_owned(),
        Reason::ShuttingDown => "holds: it is shutting down".to_owned(),
        Reason::Crashed => "holds: it has crashed".to_owned(),
    }
}

/// A length of time as people type it.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.is_zero() {
        "0s".to_owned()
    } else if time.subsec_nanos() == 0 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else {
        format!("{time:?}")
    }
}

/// How a VM stands that has its share of what there is, or is left more than that.
fn share(verdict: &Verdict, vm: &VmSample, there: &str) -> String {
    let works = verdict.demand.unwrap_or_default().min(vm.actual);
    if verdict.entitled.is_some_and(|entitled| entitled < works) {
        format!("its share of {there}, but none of the rest can go without making it swap")
    } else {
        format!("and it has its share of {there}")
    }
}

fn emergency(reserve: ByteCount) -> String {
    format!("the host is below half its reserve of {reserve}, or all work on it waits for memory")
}

/// Why nobody gives to a VM in need.
fn poor(reason: Reason, policy: &Policy) -> String {
    let reserve = policy.host_reserve;
    // Which of the two is used up the pool's figures tell.
    let whose = match policy.pool_limit {
        None => format!("the host has no more above its reserve of {reserve}"),
        Some(limit) => {
            format!(
                "the host, or the pool-limit of {limit}, has no more above the reserve of {reserve}"
            )
        }
    };
    if reason == Reason::HostLow {
        format!("the host is at its reserve of {reserve}, or work on it waits for memory")
    } else if reason == Reason::Reserved {
        format!(
            "no VM has memory to spare and what the host has above its reserve of {reserve} is \
             reserved for a VM to come"
        )
    } else if reason == Reason::HostUnexplained {
        "somebody unknown takes the host's memory".to_owned()
    } else {
        format!("no VM has memory to spare and {whose}")
    }
}

/// How a VM failed to give.
fn failed(reason: Reason) -> &'static str {
    if reason == Reason::NotFollowing {
        "it does not get on with its last order to shrink"
    } else if reason == Reason::Uncooperative {
        "it did not follow its orders for so long that it is not asked for a while"
    } else {
        "what it gave last did not become free on the host; it is not asked for a while"
    }
}

/// Why a VM with memory to spare gives none.
fn idle(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let spare = verdict.spare.unwrap_or_default();
    if policy.algorithm == Algorithm::TwoPointer {
        return format!(
            "holds: it could spare {spare} in this tick, but others gave what was needed"
        );
    }
    let spares = spares(verdict, vm, policy);
    if spare.is_zero() {
        return format!("holds: {spares}, but none of it can go without making it swap");
    }
    format!("holds: {spares}; it could spare {spare} in this tick, which nobody needs")
}

fn full(verdict: &Verdict, vm: &VmSample) -> String {
    let usable = vm.guest.usable.unwrap_or_default();
    let used = use_of(verdict, vm);
    format!("holds: only {usable} is usable, but {used}: a VM that is full cannot show its need")
}

/// What shows that a VM suffers.
fn suffers(verdict: &Verdict) -> String {
    let Some(Distress { sign, age }) = verdict.distress else {
        return "it suffered lately".to_owned();
    };
    let ago = age.as_secs();
    match sign {
        Sign::SwapsOut(rate) => format!("it swapped out {rate} a second {ago} s ago"),
        Sign::Faults(rate) => format!("it waited for {rate} pages a second {ago} s ago"),
        Sign::TookBack => "it took memory back by itself because it had none left".to_owned(),
    }
}

/// Why a VM was found to need memory.
fn wants(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    if verdict.distress.is_some_and(|distress| distress.is_acute()) {
        return suffers(verdict);
    }
    if policy.algorithm == Algorithm::WorkingSet {
        return works_with(verdict, vm);
    }
    let unused = vm.guest.unused.unwrap_or_default();
    let below = policy.two_pointer.need_below;
    format!("{} and {unused} is unused, below {below}", use_of(verdict, vm))
}

/// What a VM that gets memory is short of: under `working-set` also of room that it has no use for yet.
fn needs(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    let need = verdict.need.unwrap_or_default();
    let demand = verdict.demand.unwrap_or_default();
    let has_room = policy.algorithm == Algorithm::WorkingSet
        && policy.working_set.with_headroom(demand) <= vm.actual;
    if has_room && !verdict.distress.is_some_and(|distress| distress.is_acute()) {
        return format!("it is to have room for {need} more that it may grow by");
    }
    format!("it needs {need}")
}

/// Why a VM was found to have memory to spare.
fn spares(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    if policy.algorithm == Algorithm::WorkingSet {
        return works_with(verdict, vm);
    }
    let unused = vm.guest.unused.unwrap_or_default();
    let above = policy.two_pointer.spare_above;
    format!("{} and {unused} is unused, above {above}", use_of(verdict, vm))
}

/// What `working-set` goes by.
fn works_with(verdict: &Verdict, vm: &VmSample) -> String {
    let holds = vm.actual;
    // In an emergency of the host nobody's demand is reckoned.
    let (Some(demand), Some(entitled)) = (verdict.demand, verdict.entitled) else {
        return match vm.used() {
            Some(used) => format!("it uses {used} of the {holds} that it holds"),
            None => format!("it holds {holds}"),
        };
    };
    format!("it works with {demand} of the {holds} that it holds, and is entitled to {entitled}")
}

fn use_of(verdict: &Verdict, vm: &VmSample) -> String {
    let used = vm.used().unwrap_or_default();
    let Some(previous) = verdict.previous_used else {
        return format!("it was not seen before, it uses {used}");
    };
    let (before, now) = told_apart(previous, used);
    match previous.cmp(&used) {
        Ordering::Less => format!("its use grew from {before} to {now}"),
        Ordering::Greater => format!("its use fell from {before} to {now}"),
        Ordering::Equal => format!("its use stays at {used}"),
    }
}

/// Why a VM that neither needs nor spares is content.
fn content(verdict: &Verdict, vm: &VmSample, policy: &Policy) -> String {
    if policy.algorithm == Algorithm::WorkingSet {
        return format!("holds: {}", works_with(verdict, vm));
    }
    let constants = &policy.two_pointer;
    let unused = vm.guest.unused.unwrap_or_default();
    let grew = match (verdict.previous_used, vm.used()) {
        (Some(previous), Some(used)) => used > previous,
        _ => {
            let used = vm.used().unwrap_or_default();
            return format!("holds: it was not seen before; it uses {used}, {unused} is unused");
        }
    };
    if grew {
        let enough = constants.need_below;
        format!("holds: its use grew, but {unused} is unused, which is at least {enough}")
    } else {
        let little = constants.spare_above;
        format!("holds: its use does not grow, and of {unused} unused none is above {little}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture::holding;

    #[test]
    fn tells_room_for_growth_from_need() {
        let policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let words = |demand| {
            let (need, amount) = (Some(ByteCount::mib(300)), ByteCount::mib(200));
            let demand = Some(ByteCount::mib(demand));
            let verdict = Verdict { need, amount, demand, ..Verdict::hold(Reason::NeedsMemory) };
            message(&verdict, &holding(512), &policy)
        };
        assert!(words(400).ends_with("; it is to have room for 300 MiB more that it may grow by"));
        assert!(words(480).ends_with("; it needs 300 MiB"), "{}", words(480));
    }

    #[test]
    fn who_lacks_nothing_is_not_said_to_need_what_is_reserved() {
        let policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let words = |need, entitled| {
            let of = |mib| Some(ByteCount::mib(mib));
            let (need, demand, entitled) = (of(need), of(500), of(entitled));
            let verdict = Verdict { need, demand, entitled, ..Verdict::hold(Reason::Reserved) };
            message(&verdict, &holding(512), &policy)
        };
        let works = "holds: it works with 500 MiB of the 512 MiB that it holds, and is entitled to";
        let share = "its share of what is not reserved for a VM to come";
        let rest = "none of the rest can go without making it swap";
        assert_eq!(words(0, 64), format!("{works} 64 MiB, {share}, but {rest}"));
        assert_eq!(words(0, 512), format!("{works} 512 MiB, and it has {share}"));
        let needs = format!("{works} 600 MiB; it needs 88 MiB, but no VM has memory to spare");
        assert!(words(88, 600).starts_with(&needs), "{}", words(88, 600));
    }

    #[test]
    fn of_an_emergency_no_figures_are_told_that_nobody_reckoned() {
        let policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
        let words = message(&Verdict::hold(Reason::Distressed), &holding(512), &policy);
        let used = holding(512).used().unwrap();
        let expected =
            format!("holds: it uses {used} of the 512 MiB that it holds, but it suffered lately");
        assert_eq!(words, expected);
    }

    #[test]
    fn what_differs_by_little_is_told_apart() {
        let vm = holding(512);
        let used = vm.used().unwrap();
        let previous_used = Some(used.saturating_add(ByteCount::kib(4)));
        let verdict = Verdict { previous_used, ..Verdict::hold(Reason::AtMaximum) };
        let words = message(&verdict, &vm, &Policy::default());
        let kib = used.kib_floor();
        assert!(words.contains(&format!("from {} KiB to {kib} KiB", kib + 4)), "{words}");
    }

    #[test]
    fn tells_the_sign_that_the_decision_went_by() {
        let sign = |sign| Some(Distress { sign, age: Duration::from_secs(3) });
        let verdict =
            Verdict { distress: sign(Sign::TookBack), ..Verdict::hold(Reason::Distressed) };
        let vm = VmSample { distress: sign(Sign::Faults(20)), ..holding(512) };
        let words = message(&verdict, &vm, &Policy::default());
        assert!(
            words.ends_with("but it took memory back by itself because it had none left"),
            "{words}"
        );
    }
}
