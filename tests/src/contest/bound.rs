//! [`least_unmet`]: the loss-free bound. What is wanted at one moment and cannot be met by whatever division of
//! the pool, so that nobody leaves less unmet who gives out no more than the pool and keeps every minimum. It asks
//! only for amounts: no time, no history, no rates.
//!
//! ```text
//! in a VM that holds a, programs have  u(a) = a - min(watermark, a/8)  at most, and no more than they want
//! of the pool each VM that works has its minimum; what is left goes to where most is met for it
//! ```
//!
//! Who holds less than eight times its watermark loses an eighth of each byte to its kernel, who holds more
//! nothing, so that a byte more meets at least as much as the one before. Between the minimum and what meets all
//! that is wanted the bound takes the straight line, which is never below u, and above it by less than a
//! watermark; and only one VM is served in part, so the bound is nearly exact. A VM that does not exist, or whose kernel still boots, wants nothing and
//! is reckoned to hold nothing, which helps the others; one whose balloon never moves holds what it began with.

use agentd::hypervisor::sim::{Kind, VmScenario, Window};
use agentd_core::bytes::ByteCount;

use super::film::{Frame, Shot};
use super::workload::{Member, Workload};

/// What VMs can hold together in a frame, in bytes: the pool, and what the processes of VMs that do not exist yet
/// will take once they do.
#[must_use]
pub fn pool(load: &Workload, frame: &Frame) -> u64 {
    let vms = load.scenario.vms.iter().zip(&frame.vms);
    let absent = vms.filter(|(_, shot)| shot.is_none());
    let spared: ByteCount = absent.map(|(vm, _)| vm.numbers.process_overhead).sum();
    load.pool.saturating_add(spared).as_u64()
}

/// The least that anybody can leave unmet in a frame, in bytes.
#[must_use]
pub fn least_unmet(load: &Workload, frame: &Frame) -> f64 {
    let mut pool = pool(load, frame) as f64;
    let mut unmet = 0.0;
    let mut claims = Vec::new();
    for ((vm, member), shot) in load.scenario.vms.iter().zip(&load.members).zip(&frame.vms) {
        let Some(shot) = shot.filter(|shot| shot.works) else { continue };
        let claim = Claim::of(vm, member, shot);
        pool -= claim.holds;
        unmet += shot.demand as f64 - claim.meets;
        claims.push(claim);
    }
    claims.sort_by(|one, two| two.worth().total_cmp(&one.worth()));
    for claim in claims {
        let more = claim.takes.min(pool.max(0.0));
        pool -= more;
        unmet -= more * claim.worth();
    }
    unmet.max(0.0)
}

/// What a VM has in any case, and what it could do with more. Amounts are bytes.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// What nobody takes from it.
    holds: f64,
    /// What that meets.
    meets: f64,
    /// What it needs beside, to meet all that it can.
    takes: f64,
    /// What it meets with that.
    gains: f64,
}

impl Claim {
    fn of(vm: &VmScenario, member: &Member, shot: Shot) -> Self {
        let rigid =
            vm.behaviours.iter().any(|own| own.kind == Kind::Stuck && own.during == Window::ALWAYS);
        let (least, most) = if rigid { (vm.actual, vm.actual) } else { (member.min, member.max) };
        let (least, most) = (least.as_u64() as f64, most.as_u64() as f64);
        let (watermark, demand) = (member.watermark.as_u64() as f64, shot.demand as f64);
        let meets = room(least, watermark).min(demand);
        let gains = room(most, watermark).min(demand) - meets;
        let needs = (meets + gains + watermark).min((meets + gains) * 8.0 / 7.0);
        Self { holds: least, meets, takes: (needs - least).max(0.0), gains }
    }

    /// What a byte more meets.
    fn worth(&self) -> f64 {
        if self.takes > 0.0 { self.gains / self.takes } else { 0.0 }
    }
}

/// What programs can have in a VM that holds so much.
fn room(actual: f64, watermark: f64) -> f64 {
    actual - watermark.min(actual / 8.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contest::arena::{Prompts, run};
    use crate::contest::contestant::Contestant;
    use crate::contest::workload::Family;

    const GIB: f64 = 1_073_741_824.0;

    /// Two VMs with a pool of 2 GiB, of which each is guaranteed a quarter of a GiB and may hold 4.
    fn load(watermark: u32) -> Workload {
        let mut load = Family::Turns.draw(1);
        load.members.truncate(2);
        load.scenario.vms.truncate(2);
        for (vm, member) in load.scenario.vms.iter_mut().zip(&mut load.members) {
            (member.min, member.max) = (ByteCount::mib(256), ByteCount::gib(4));
            member.watermark = ByteCount::mib(watermark);
            vm.actual = ByteCount::gib(1);
        }
        load.pool = ByteCount::gib(2);
        load
    }

    fn unmet(load: &Workload, wants: [Option<u64>; 2]) -> f64 {
        let shot = |mib: u64| Shot { works: true, demand: mib << 20, ..Shot::default() };
        let vms = wants.map(|wants| wants.map(shot)).to_vec();
        least_unmet(load, &Frame { at: Duration::ZERO, taken: 0, vms }) / GIB
    }

    #[test]
    fn what_the_pool_does_not_hold_is_unmet() {
        let load = load(0);
        assert_eq!(unmet(&load, [Some(1_024), Some(1_024)]), 0.0);
        assert_eq!(unmet(&load, [Some(1_536), Some(1_536)]), 1.0);
        // What is guaranteed to who wants nothing helps nobody, unless it is not there: nor is its process then.
        assert_eq!(unmet(&load, [Some(2_048), Some(0)]), 0.25);
        assert_eq!(unmet(&load, [Some(2_048 + 64), None]), 0.0);
        assert_eq!(unmet(&load, [Some(2_048 + 128), None]), 0.0625);
    }

    #[test]
    fn what_nobody_can_help_is_unmet() {
        let mut load = load(32);
        // Each kernel keeps 32 MiB.
        assert_eq!(unmet(&load, [Some(1_024), Some(1_024)]), 0.0625);
        // No VM has more than it may hold.
        load.members[0].max = ByteCount::gib(1);
        assert_eq!(unmet(&load, [Some(2_016), Some(64)]), 1.0);
        // One whose balloon does not move has what it began with, and the other not.
        let stuck = agentd::hypervisor::sim::Behaviour::of(Kind::Stuck);
        load.scenario.vms[1].behaviours = vec![stuck];
        assert_eq!(unmet(&load, [Some(992), Some(2_016)]), 1.0);
        assert_eq!(unmet(&load, [Some(992), Some(0)]), 0.0);
    }

    /// At every moment: who meets more has given out more than the pool, or taken what is guaranteed.
    #[test]
    fn nobody_meets_more_than_the_bound_with_what_the_pool_has() {
        let mut near = 0;
        let tight = [Family::Over, Family::Steady, Family::Many, Family::Stuck];
        let all = Family::ALL.iter().map(|family| (*family, 1));
        for (family, seed) in all.chain(tight.map(|family| (family, 101))) {
            let load = family.draw(seed);
            for who in Contestant::all() {
                let name = who.name();
                for frame in run(&load, who, Prompts::Ours).frames.iter().step_by(3) {
                    let (mut unmet, mut held) = (0.0, 0.0);
                    for (member, shot) in load.members.iter().zip(&frame.vms) {
                        let Some(shot) = shot.filter(|shot| shot.works) else { continue };
                        unmet += shot.demand.saturating_sub(shot.resident) as f64;
                        held += shot.actual.max(member.min.as_u64()) as f64;
                    }
                    let beyond = (held - pool(&load, frame) as f64).max(0.0);
                    let least = least_unmet(&load, frame);
                    let what = format!("{} {seed} {name} {:?}", family.name(), frame.at);
                    assert!(unmet + beyond >= least - ROUNDING, "{what}: {unmet} {beyond} {least}");
                    near += u32::from(least > 0.0 && unmet + beyond < 1.05 * least);
                }
            }
        }
        // It is not out of reach.
        assert!(near > 300, "{near}");
    }

    /// Kernels round what they keep and what they hold, each by less than two pages.
    const ROUNDING: f64 = 64.0 * 8_192.0;
}
