//! What a polite VM pays for those beside it whose balloons do not follow: not more than what they hold.

use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::policy::Algorithm;

use super::arena::{Prompts, Run, run};
use super::contestant::Contestant;
use super::workload::{Family, Workload};

/// The same host without the VMs that are not polite, and without what they hold.
fn without_odd(load: &Workload) -> Workload {
    let mut alone = load.clone();
    let is_odd = |index: usize| !load.scenario.vms[index].behaviours.is_empty();
    let odd: Vec<usize> = (0..load.members.len()).filter(|index| is_odd(*index)).collect();
    for index in odd.into_iter().rev() {
        let vm = alone.scenario.vms.remove(index);
        alone.members.remove(index);
        alone.pool = alone.pool.saturating_sub(vm.actual);
        let gone = vm.actual.saturating_add(vm.numbers.process_overhead);
        alone.scenario.host.total = alone.scenario.host.total.saturating_sub(gone);
    }
    alone
}

/// What is unmet in the polite VMs, in GiB·s, and what they held less than is guaranteed to them.
fn of_polite(load: &Workload, run: &Run) -> (f64, f64) {
    let (mut unmet, mut below) = (0.0, 0.0);
    for pair in run.frames.windows(2) {
        let time = pair[1].at.saturating_sub(pair[0].at);
        for ((vm, member), shot) in load.scenario.vms.iter().zip(&load.members).zip(&pair[1].vms) {
            let Some(shot) = shot.filter(|_| vm.behaviours.is_empty()) else { continue };
            unmet += through(shot.demand.saturating_sub(shot.resident), time);
            below += through(member.min.as_u64().saturating_sub(shot.actual), time);
        }
    }
    (unmet, below)
}

fn through(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / ByteCount::gib(1).as_u64() as f64 * time.as_secs_f64()
}

/// A VM that gives nothing keeps what it holds, whoever has the host: the others have all that is left, as if it
/// were not there. One that takes nothing is offered its share again and again, which costs the others a part.
#[test]
fn a_polite_vm_does_not_pay_for_a_stuck_one() {
    let ours = || Contestant::Ours(Algorithm::WorkingSet);
    let (mut beside, mut alone) = (0.0, 0.0);
    for seed in SEEDS {
        let load = Family::Stuck.draw(seed);
        let (unmet, below) = of_polite(&load, &run(&load, ours(), Prompts::Ours));
        assert!(below < 0.001, "seed {seed}: {below}");
        let less = without_odd(&load);
        assert!(less.members.len() < load.members.len(), "seed {seed}");
        let (best, _) = of_polite(&less, &run(&less, ours(), Prompts::Ours));
        assert!(unmet <= 3.0 * best + LITTLE, "seed {seed}: {unmet} beside {best}");
        (beside, alone) = (beside + unmet, alone + best);
    }
    assert!(beside <= 1.1 * alone && alone > 1.0, "{beside} beside {alone}");
}

const SEEDS: std::ops::RangeInclusive<u64> = 1..=12;
/// GiB·s: a turn or two in which a GiB is on its way.
const LITTLE: f64 = 2.0;
