//! [`Esx`]: shares with a tax on idle memory, as in VMware ESX Server, from a description of the
//! paper on it.
//!
//! Memory goes from whoever pays least for it: what a VM pays is its shares for each page, where an
//! idle page costs as much as four active ones. Taken on until all pay the same, that is how the
//! pool is divided, between minimum and maximum. The part that is active is the largest of a slow
//! average, a fast one, and the fast one with what is known since.
//!
//! There it is found by watching pages at random. Figures of a balloon tell of it only that
//! programs hold all but MemAvailable; that, with what came back from the swap device in as long as
//! a period of watching, 30 s, is taken to be active. The weights of the averages, 1/2 and 1/8, and
//! the turn, 5 s, are not in the description. The host reserve stands for its limits of free
//! memory; nobody grows without memory being there. It swaps a VM that would need a balloon of more
//! than 65 %, which cannot be done here: the balloon goes on. Changes of less than 1 % are left. A
//! VM that does not report counts as active all over. Left out: that a VM starts only where its minimum is
//! free; here none waits to be let in.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{forget_gone, funded, level, pool, real, spare, weight, within_limits};
use super::meter::Meter;
use super::usage::Usage;
use crate::contest::rival::{Rival, Seen, SeenVm};

/// Shares with a tax on idle memory, as in VMware ESX Server.
#[derive(Clone, Debug, Default)]
pub struct Esx {
    meter: Meter,
    usage: Usage,
    known: BTreeMap<VmId, Activity>,
}

/// Which part of its memory a VM uses.
#[derive(Clone, Copy, Debug)]
struct Activity {
    fast: f64,
    slow: f64,
    /// When the period began.
    since: Duration,
}

impl Rival for Esx {
    fn name(&self) -> &'static str {
        "esx"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.meter.read(seen);
        self.usage.read(seen);
        forget_gone(&mut self.known, seen);
        let claims: Vec<Claim<'_>> = seen.vms.iter().map(|vm| self.claim(seen.now, vm)).collect();
        let changes = |(vm, target): &(&SeenVm, f64)| {
            (target - real(vm.target)).abs() > SMALL * real(vm.target)
        };
        let targets = divide(&claims, pool(seen));
        funded(targets.into_iter().filter(changes).collect(), spare(seen))
    }
}

impl Esx {
    fn claim<'a>(&mut self, now: Duration, vm: &'a SeenVm) -> Claim<'a> {
        let holds = real(vm.actual);
        let came_back = self.meter.of(vm.id).swap_in * PERIOD.as_secs_f64();
        let sample = self.usage.of(vm).map_or(1.0, |used| used.part() + came_back / holds.max(1.0));
        let sample = sample.min(1.0);
        let new = Activity { fast: sample, slow: sample, since: now };
        let activity = self.known.entry(vm.id).or_insert(new);
        Claim { vm, active: activity.part(now, sample) * holds }
    }
}

impl Activity {
    /// The part that counts as active, given that this part is now.
    fn part(&mut self, now: Duration, sample: f64) -> f64 {
        let current = self.fast + (sample - self.fast) * FAST;
        let part = current.max(self.fast).max(self.slow);
        if now.saturating_sub(self.since) >= PERIOD {
            self.slow += (sample - self.slow) * SLOW;
            (self.fast, self.since) = (current, now);
        }
        part
    }
}

/// A VM, and how many bytes of it are active.
#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    vm: &'a SeenVm,
    active: f64,
}

impl Claim<'_> {
    fn shares(&self) -> f64 {
        weight(self.vm)
    }

    /// What it holds when it pays one for so much: active memory costs its size, idle memory more.
    fn holds_at(&self, per_share: f64) -> f64 {
        let cost = self.shares() * per_share;
        let idle = (cost - self.active).max(0.0) / IDLE_COST;
        within_limits(self.vm, cost.min(self.active) + idle)
    }
}

/// What all are to hold so that they pay the same.
fn divide<'a>(claims: &[Claim<'a>], pool: f64) -> Vec<(&'a SeenVm, f64)> {
    let all = claims.iter().map(|claim| IDLE_COST * real(claim.vm.max) / claim.shares());
    let holds = |per_share: f64| claims.iter().map(|claim| claim.holds_at(per_share)).sum();
    let per_share = level(pool, all.fold(0.0, f64::max), holds);
    claims.iter().map(|claim| (claim.vm, claim.holds_at(per_share))).collect()
}

/// What ESXi 6 likes to have free on a host of so much memory, of which its limits are parts: of the
/// first 4 GiB, the next 8, the next 16, and all others.
///
/// The contest gives it the reserve for that, so nobody but the test calls this.
#[cfg(test)]
fn min_free(host_total: ByteCount) -> ByteCount {
    let mut rest = host_total;
    let mut free = ByteCount::ZERO;
    for (first, percent) in [(4, 6), (8, 4), (16, 2), (u32::MAX, 1)] {
        let part = rest.min(ByteCount::gib(first));
        free = free.saturating_add(part.fraction(percent, 100));
        rest = rest.saturating_sub(part);
    }
    free
}

/// A tax of 75 %: an idle page costs as much as 1 / (1 - 0.75) active ones.
const IDLE_COST: f64 = 4.0;
const PERIOD: Duration = Duration::from_secs(30);
const FAST: f64 = 1.0 / 2.0;
const SLOW: f64 = 1.0 / 8.0;
const SMALL: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::figures::MIB;
    use crate::contest::rivals::scenes::{given, mib, reports, scene, vm};

    fn divided(active: [u32; 2], weights: [u64; 2], pool: u32) -> Vec<f64> {
        let first = SeenVm { weight: weights[0], ..vm(1, 200, 4000, 1000) };
        let second = SeenVm { weight: weights[1], ..vm(2, 200, 4000, 1000) };
        let of = |vm, active| Claim { vm, active: mib(active) };
        let claims = [of(&first, active[0]), of(&second, active[1])];
        divide(&claims, mib(pool)).iter().map(|(_, target)| (target / mib(1)).round()).collect()
    }

    #[test]
    fn idle_memory_costs_four_times_as_much() {
        // 1000 + 4 * 150 = 400 + 4 * 300.
        assert_eq!(divided([1000, 400], [100, 100], 1850), [1150.0, 700.0]);
        // All active against all idle.
        assert_eq!(divided([4000, 0], [100, 100], 2000), [1600.0, 400.0]);
        assert_eq!(divided([4000, 4000], [100, 300], 2000), [500.0, 1500.0]);
        // The minimum is no one's to take.
        assert_eq!(divided([4000, 0], [100, 100], 500), [300.0, 200.0]);
        assert_eq!(divided([0, 0], [100, 100], 9000), [4000.0, 4000.0]);
    }

    /// What each pays: shares for a page, in which idle ones count four times.
    #[test]
    fn all_pay_the_same() {
        let pays = |shares: f64, active: f64, holds: f64| {
            let part = active.min(holds) / holds;
            shares / (holds * (part + 4.0 * (1.0 - part)))
        };
        for (active, weights, pool) in [
            ([1000, 400], [100, 100], 1850),
            ([300, 900], [100, 300], 2600),
            ([700, 700], [200, 500], 900),
        ] {
            let holds = divided(active, weights, pool);
            assert_eq!(holds.iter().sum::<f64>().round(), f64::from(pool));
            let pay = |vm: usize| pays(weights[vm] as f64, active[vm].into(), holds[vm]);
            assert!((pay(0) / pay(1) - 1.0).abs() < 0.01, "{holds:?}");
        }
    }

    #[test]
    fn the_larger_a_host_the_smaller_the_part_that_is_free() {
        let free = |gib| min_free(ByteCount::gib(gib)).as_u64() as f64 / MIB;
        assert!((free(4) - 245.76).abs() < 0.01 && (free(12) - 573.44).abs() < 0.01);
        // Published are 899 and 1923 MB, which is 2 less than the parts add up to.
        assert!((free(28) - 899.0 - 2.12).abs() < 0.01, "{}", free(28));
        assert!((free(128) - 1923.0 - 2.12).abs() < 0.01, "{}", free(128));
    }

    #[test]
    fn activity_is_seen_fast_and_forgotten_slowly() {
        let near = |part: f64, want: f64| assert!((part - want).abs() < 1e-9, "{part}");
        let mut activity = Activity { fast: 0.2, slow: 0.2, since: Duration::ZERO };
        let mut part = |seconds, sample| activity.part(Duration::from_secs(seconds), sample);
        near(part(5, 1.0), 0.6);
        near(part(30, 1.0), 0.6);
        near(part(35, 0.0), 0.6);
        near(part(60, 0.0), 0.6);
        near(part(65, 0.0), 0.3);
        near(part(90, 0.0), 0.3);
        // The slow average: 0.2, 0.3, then 7/8 of it each period.
        near(part(95, 0.0), 0.3 * 0.875 * 0.875);
    }

    #[test]
    fn who_uses_what_it_holds_gets_from_who_does_not() {
        let vms =
            vec![reports(vm(1, 200, 4000, 1000), 0, 0), reports(vm(2, 200, 4000, 1000), 0, 1000)];
        // 1000 + 4 * 400 = 4 * 650, and 50 MiB are there at once.
        let orders = Esx::default().turn(&scene(4000, 150, 100, vms));
        assert_eq!(given(&orders), [(2, 650), (1, 1050)]);
    }
}
