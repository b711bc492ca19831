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

/// Turns until `bell` says stop, at its own pace.
pub fn run(
    ticker: &mut Ticker,
    in_force: impl Fn() -> Arc<InForce>,
    gate: &Gate,
    bell: &Arc<Bell>,
    mut publish: impl FnMut(Turn),
) {
    let mut pace = Pace::new(ticker.interval(), ticker.now());
    ticker.ring_when_lost(bell);
    loop {
        let span = tracing::info_span!(target: SPANS, "tick", tick = ticker.number());
        span.in_scope(|| {
            let turn = ticker.turn(&in_force(), gate);
            pace.look(&turn.record);
            publish(turn);
        });
        let now = ticker.now();
        let next = pace.next(now);
        if bell.wait(next.saturating_sub(now)) == Rung::Stop {
            return;
        }
    }
}

/// When turns begin. One that takes too long costs the ticks that it runs over, and nothing is caught up. One
/// that comes sooner, for a bell or for a VM, comes beside the others.
///
/// It comes sooner, after half the interval, while `working-set` finds a VM short of memory that it would
/// have it hold, and memory is granted: programs that grow fill what they were given long before the next
/// tick. What `two-pointer` decides is by the tick, and ticks of it are as far apart as they are configured.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval: Duration,
    /// When the next tick is due, monotonic.
    due: Duration,
    /// When the last turn began.
    began: Duration,
    /// A VM is short, and what is decided of it comes to something.
    is_worth_more: bool,
    /// How many turns in a row found a VM short and granted nothing.
    in_vain: u32,
}

impl Pace {
    /// Ticks at this interval, the first of which is due now.
    #[must_use]
    pub fn new(interval: Duration, now: Duration) -> Self {
        let interval = interval.max(LEAST_INTERVAL);
        Self { interval, due: now, began: now, is_worth_more: false, in_vain: 0 }
    }

    /// When the next tick is due; a turn may come sooner.
    #[must_use]
    pub const fn due(&self) -> Duration {
        self.due
    }

    /// Takes in what a turn came to.
    pub fn look(&mut self, record: &TickRecord) {
        let is_short = is_short(record);
        let grants = record.applied.granted.iter().any(|granted| !granted.is_zero());
        self.in_vain = if is_short && !grants { self.in_vain.saturating_add(1) } else { 0 };
        self.is_worth_more = is_short && self.in_vain < IN_VAIN;
        self.began = record.now;
    }

    /// When the turn after that one begins, which is over `now`.
    pub fn next(&mut self, now: Duration) -> Duration {
        let soonest = now.saturating_add(AIR.min(self.interval / 2));
        // A turn that came before its time takes the place of none, however long it took.
        if self.began >= self.due {
            self.due = self.due.saturating_add(self.interval).max(soonest);
        } else if self.due.saturating_add(self.interval / 2) <= soonest {
            self.due = soonest;
        }
        let due = self.due.max(soonest);
        let half = self.interval / 2;
        let sooner = self.began.saturating_add(half).max(soonest);
        // What comes shortly before a tick might as well wait for it.
        let in_time = sooner.saturating_add(half / 2) <= due;
        if self.is_worth_more && in_time && half >= SOONEST { sooner } else { due }
    }
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
/// After so many turns in a row that had nothing for who is short, ticks are enough: decision 14.
const IN_VAIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock as _,
        tick::bench::{Bench, INTERVAL},
    };

    /// A host of 4 GiB with one VM that grows from the tenth second to the fourteenth.
    fn grows(policy: &str) -> String {
        format!(
            "[host]\ntotal = \"4GiB\"\nother = \"1GiB\"\n[policy]\n{policy}\n\
             [[vm]]\nname = \"grows\"\nmax = \"2GiB\"\nactual = \"512MiB\"\n\
             demand = [{{ at = \"10s\", used = \"300MiB\" }}, {{ at = \"14s\", used = \"900MiB\" }}]\n"
        )
    }

    /// When turns of a minute begin, in milliseconds.
    fn begins(mut bench: Bench, interval: Duration) -> Vec<u128> {
        let mut pace = Pace::new(interval, bench.clock.now());
        let mut begins = Vec::new();
        while bench.clock.now() < Duration::from_secs(60) {
            begins.push(bench.clock.now().as_millis());
            let turn = bench.ticker.turn(&bench.in_force, &bench.gate);
            pace.look(&turn.record);
            let next = pace.next(bench.clock.now());
            bench.clock.advance_to(next);
        }
        begins
    }

    fn beside_ticks(begins: &[u128]) -> Vec<u128> {
        begins.iter().copied().filter(|at| at % INTERVAL.as_millis() != 0).collect()
    }

    #[test]
    fn a_turn_comes_sooner_while_a_vm_is_short_of_memory_and_not_for_long() {
        let begins = begins(Bench::new(&grows("algorithm = \"working-set\"")), INTERVAL);
        let sooner = beside_ticks(&begins);
        assert!((1..10).contains(&sooner.len()), "{sooner:?}");
        let half = INTERVAL.as_millis() / 2;
        assert!(sooner.iter().all(|at| at % half < 50 && *at < 30_000), "{sooner:?}");
        assert_eq!(begins.len() - sooner.len(), 30, "ticks come when they are due all the same");
    }

    #[test]
    fn ticks_of_two_pointer_are_evenly_apart_and_so_are_those_of_who_gives_nothing() {
        for (algorithm, mode) in
            [(Algorithm::TwoPointer, Mode::Active), (Algorithm::WorkingSet, Mode::Observe)]
        {
            let mut bench = Bench::new(&grows(&format!("algorithm = \"{algorithm}\"")));
            bench.set_mode(mode);
            let sooner = beside_ticks(&begins(bench, INTERVAL));
            assert!(sooner.is_empty(), "{algorithm:?}: {sooner:?}");
        }
    }

    /// It wants more for as long as it runs, and there is nothing to be had.
    #[test]
    fn turns_that_have_nothing_to_give_come_with_the_ticks() {
        let short = "algorithm = \"working-set\"\npool_limit = \"600MiB\"\nhost_reserve = \"0MiB\"";
        let sooner = beside_ticks(&begins(Bench::new(&grows(short)), INTERVAL));
        assert!(sooner.len() <= 10 && sooner.iter().all(|at| *at < 30_000), "{sooner:?}");
    }

    /// The record of a turn that began so late and gave a VM who is short what there was.
    fn gave(at: Duration) -> TickRecord {
        let mut bench = Bench::new(&grows("algorithm = \"working-set\""));
        let gives = |turn: &Turn| is_short(&turn.record) && !turn.record.applied.granted.is_empty();
        let turn = bench.turns(15).into_iter().find(gives).expect("it grows");
        TickRecord { now: at, ..Arc::into_inner(turn.record).expect("it is nobody else's") }
    }

    #[test]
    fn what_a_turn_takes_is_not_caught_up_and_nothing_comes_shortly_before_a_tick() {
        const fn ms(count: u64) -> Duration {
            Duration::from_millis(count)
        }
        let after = |pace: &mut Pace, began, over| {
            pace.look(&gave(ms(began)));
            pace.next(ms(over))
        };
        let next = |interval, began, over| {
            let mut pace = Pace::new(ms(interval), ms(0));
            let at = after(&mut pace, began, over);
            (at.as_millis(), pace.due().as_millis())
        };
        assert_eq!(next(1000, 0, 20), (500, 1000));
        assert_eq!(next(1000, 4, 300), (504, 1000), "as late as a thread wakes up");
        assert_eq!(next(1000, 0, 700), (710, 1000));
        assert_eq!(next(1000, 0, 950), (1000, 1000));
        assert_eq!(next(1000, 0, 2500), (2510, 2510), "two were run over");
        assert_eq!(next(500, 3, 20), (253, 500));
        let mut pace = Pace::new(ms(1000), ms(0));
        assert_eq!(after(&mut pace, 0, 20), ms(500));
        assert_eq!(after(&mut pace, 500, 1020), ms(1030), "the tick that it ran over");
        assert_eq!((after(&mut pace, 1030, 1100), pace.due()), (ms(1530), ms(2000)));
        let mut pace = Pace::new(ms(1000), ms(0));
        assert_eq!(after(&mut pace, 0, 20), ms(500));
        assert_eq!(after(&mut pace, 500, 3000), ms(3010), "two ticks were run over");
        after(&mut pace, 3010, 3050);
        assert_eq!(pace.due(), ms(4010), "and nothing is caught up");
        let mut pace = Pace::new(ms(1000), ms(0));
        assert_eq!(after(&mut pace, 0, 20), ms(500));
        assert_eq!(after(&mut pace, 500, 1980), ms(1990), "one, and nearly another");
        after(&mut pace, 1990, 2010);
        assert_eq!(pace.due(), ms(2990));
        assert_eq!(next(400, 0, 20), (400, 400), "a kernel could not answer any sooner");
    }
}
