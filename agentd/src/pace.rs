//! When turns come: at an interval, and once between two of them while a VM is short of memory.

use std::{sync::Arc, time::Duration};

use agentd_core::policy::Algorithm;

use crate::{
    bell::{Bell, Rung},
    control::{Gate, InForce, Mode},
    event::TickRecord,
    log::SPANS,
    tick::{Ticker, Turn},
};

/// Turns until `bell` says stop, at its own pace: a turn that takes too long costs the ticks that it
/// runs over, and nothing is caught up. One that comes sooner, for a bell or for a VM, comes beside the others.
pub fn run(
    ticker: &mut Ticker,
    in_force: impl Fn() -> Arc<InForce>,
    gate: &Gate,
    bell: &Arc<Bell>,
    mut publish: impl FnMut(Turn),
) {
    let interval = ticker.interval().max(LEAST_INTERVAL);
    let air = AIR.min(interval / 2);
    let mut due = ticker.now();
    ticker.ring_when_lost(bell);
    loop {
        let span = tracing::info_span!(target: SPANS, "tick", tick = ticker.number());
        let sooner = span.in_scope(|| {
            let turn = ticker.turn(&in_force(), gate);
            let sooner = turn.record.now.saturating_add(rest(&turn.record, interval));
            publish(turn);
            sooner
        });
        let now = ticker.now();
        // A turn that came before its time takes the place of none.
        if due <= now {
            due = due.saturating_add(interval).max(now.saturating_add(air));
        }
        let next = due.min(sooner.max(now.saturating_add(air)));
        if bell.wait(next.saturating_sub(now)) == Rung::Stop {
            return;
        }
    }
}

/// Time from the beginning of this turn to the next one, with ticks at this interval: half of it while
/// `working-set` finds a VM short of memory that it would have it hold. Programs that grow fill what they were
/// given long before the next tick. What `two-pointer` decides is by the tick, and ticks of it are as far apart
/// as they are configured.
#[must_use]
pub fn rest(record: &TickRecord, interval: Duration) -> Duration {
    if is_short(record) { (interval / 2).max(SOONEST).min(interval) } else { interval }
}

/// True where agentd is to act, and a VM lacks what is worth an order.
fn is_short(record: &TickRecord) -> bool {
    let is_by_need = record.policy.policy.algorithm == Algorithm::WorkingSet;
    let verdicts = record.decision.iter().flat_map(|decision| decision.verdicts.values());
    let mut needs = verdicts.filter_map(|verdict| verdict.need);
    record.mode == Mode::Active && is_by_need && needs.any(|need| !need.is_zero())
}

/// As short as a simulated host may have it.
const LEAST_INTERVAL: Duration = Duration::from_millis(2);
/// Even a loop that is late leaves the machine some air.
const AIR: Duration = Duration::from_millis(10);
/// A kernel answers within some tenths of a second when it is asked to report.
const SOONEST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock as _,
        tick::bench::{Bench, INTERVAL},
    };

    /// The rests after turns of a host with one VM that grows from the tenth second to the fourteenth.
    fn rests(algorithm: Algorithm, mode: Mode) -> Vec<Duration> {
        let mut bench = Bench::new(&format!(
            "[host]\ntotal = \"4GiB\"\nother = \"1GiB\"\n[policy]\nalgorithm = \"{algorithm}\"\n\
             [[vm]]\nname = \"grows\"\nmax = \"2GiB\"\nactual = \"512MiB\"\n\
             demand = [{{ at = \"10s\", used = \"300MiB\" }}, {{ at = \"14s\", used = \"900MiB\" }}]\n"
        ));
        bench.set_mode(mode);
        let mut rests = Vec::new();
        while bench.clock.now() < Duration::from_secs(60) {
            let began = bench.clock.now();
            let turn = bench.ticker.turn(&bench.in_force, &bench.gate);
            rests.push(rest(&turn.record, INTERVAL));
            bench.clock.advance_to(began + rests[rests.len() - 1]);
        }
        rests
    }

    #[test]
    fn a_turn_comes_sooner_while_a_vm_is_short_of_memory_and_not_for_long() {
        let rests = rests(Algorithm::WorkingSet, Mode::Active);
        let sooner = rests.iter().filter(|rest| **rest == INTERVAL / 2).count();
        assert!((1..10).contains(&sooner), "{rests:?}");
        let last = rests.split_at(rests.len() - 15).1;
        assert!(last.iter().all(|rest| *rest == INTERVAL), "{rests:?}");
    }

    #[test]
    fn ticks_of_two_pointer_are_evenly_apart_and_so_are_those_of_who_gives_nothing() {
        for (algorithm, mode) in
            [(Algorithm::TwoPointer, Mode::Active), (Algorithm::WorkingSet, Mode::Observe)]
        {
            let rests = rests(algorithm, mode);
            assert!(rests.iter().all(|rest| *rest == INTERVAL), "{algorithm:?}: {rests:?}");
        }
    }
}
