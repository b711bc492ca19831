//! [`Proxmox`]: auto-ballooning of Proxmox VE, from a description of pvestatd.
//!
//! Every 10 s it hands out or takes back memory so that the host comes to use a share of its
//! memory, which an operator sets in whole percent (80 by default): here all that the reserve leaves. What a VM holds above its minimum is made fair
//! by shares; a VM's MemFree says only whose turn it is: those that have some give first, those
//! that lack it get first. A VM moves by 100 MiB at most.
//!
//! A weight of 100 is its default of 1000 shares; zero shares take a VM out, as they do there. A VM
//! that never reported counts as one that lacks memory.

use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::order;
use crate::contest::rival::{Rival, Seen, SeenVm};

/// Auto-ballooning of Proxmox VE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proxmox;

impl Rival for Proxmox {
    fn name(&self) -> &'static str {
        "proxmox"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        let host_used = seen.host_total.saturating_sub(seen.host_usable);
        let goal = wide(seen.host_total.fraction(used_percent(seen), 100)) - wide(host_used);
        let mut claims: Vec<Claim> = seen.vms.iter().map(Claim::of).collect();
        balance(&mut claims, goal, MAX_CHANGE);
        let ordered = seen.vms.iter().zip(&claims);
        ordered.filter_map(|(vm, claim)| order(vm, claim.result? as f64)).collect()
    }
}

/// What the host is to use of its memory: `ballooning-target`, for which no fraction can be given.
fn used_percent(seen: &Seen) -> u64 {
    let most = seen.host_total.saturating_sub(seen.reserve);
    let whole = u128::from(most.as_u64()) * 100 / u128::from(seen.host_total.as_u64().max(1));
    u64::try_from(whole).unwrap_or(100)
}

/// What a VM is in its reckoning; signed and wide, so that no sum can overflow.
#[derive(Clone, Copy, Debug)]
struct Claim {
    shares: i128,
    actual: i128,
    min: i128,
    max: i128,
    free: Option<i128>,
    result: Option<i128>,
}

impl Claim {
    fn of(vm: &SeenVm) -> Self {
        Self {
            shares: i128::from(vm.weight.saturating_mul(10).min(MAX_SHARES)),
            actual: wide(vm.actual),
            min: wide(vm.min),
            max: wide(vm.max),
            free: vm.unused.map(wide),
            result: None,
        }
    }

    fn is_eligible(&self) -> bool {
        self.shares > 0
    }

    fn is_comfortable(&self) -> bool {
        let has_free = self.free.is_some_and(|free| free * 4 > self.min);
        self.is_eligible() && has_free && self.actual >= self.min
    }

    fn is_pressed(&self) -> bool {
        self.is_eligible() && !self.is_comfortable()
    }

    fn holds(&self) -> i128 {
        self.result.unwrap_or(self.actual)
    }
}

/// Brings the host nearer to its goal: what it may hand out, or must take when below zero.
fn balance(claims: &mut [Claim], goal: i128, max_change: i128) {
    if goal > DEAD_BAND {
        let rest = change(claims, Claim::is_pressed, goal, max_change);
        if rest >= goal {
            change(claims, Claim::is_eligible, rest, max_change);
        }
    } else if goal < -DEAD_BAND {
        let rest = change(claims, Claim::is_comfortable, goal, max_change);
        if rest <= goal {
            change(claims, Claim::is_eligible, rest, max_change);
        }
    }
}

/// Shares out so many bytes among those asked; returns what is left of them.
fn change(claims: &mut [Claim], who: fn(&Claim) -> bool, bytes: i128, max_change: i128) -> i128 {
    let mut asked: Vec<&mut Claim> = claims.iter_mut().filter(|claim| who(claim)).collect();
    let mut rest = bytes;
    // It ends when nothing moves; the bound only says so to the reader.
    for _ in 0..MAX_PASSES {
        let shares: i128 = asked.iter().map(|claim| claim.shares).sum();
        let above: i128 = asked.iter().map(|claim| claim.holds() - claim.min).sum::<i128>() + rest;
        let mut changes = 0;
        let mut moved = false;
        asked.retain_mut(|claim| {
            let fair = (above * claim.shares).div_euclid(shares.max(1));
            let desired = (claim.min + fair).max(claim.min).min(claim.max);
            let new = if bytes > 0 && desired > claim.actual {
                desired.min(claim.actual + max_change)
            } else if desired < claim.actual {
                desired.max(claim.actual - max_change)
            } else {
                return false;
            };
            if claim.result != Some(new) {
                changes += new - claim.holds();
                claim.result = Some(new);
                moved = true;
            }
            true
        });
        rest -= changes;
        if rest == 0 || !moved {
            break;
        }
    }
    rest
}

fn wide(amount: ByteCount) -> i128 {
    i128::from(amount.as_u64())
}

/// Most that a VM moves in one turn.
const MAX_CHANGE: i128 = 100 << 20;
/// A goal within this is reached.
const DEAD_BAND: i128 = 10 << 20;
const MAX_SHARES: u64 = 50_000;
const MAX_PASSES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, reports, scene, vm};

    /// Its own tests reckon in millions of bytes.
    const MB: i128 = 1_000_000;

    fn claim(shares: i128, actual: i128, min: i128, free: i128) -> Claim {
        let (actual, min, free) = (actual * MB, min * MB, Some(free * MB));
        Claim { shares, actual, min, max: 2000 * MB, free, result: None }
    }

    /// What all hold after one turn.
    fn once(claims: &[Claim], goal: i128) -> Vec<i128> {
        let mut claims = claims.to_vec();
        balance(&mut claims, goal * MB, 100 * MB);
        claims.iter().map(|claim| claim.holds() / MB).collect()
    }

    /// What all hold when turns change nothing any more: memory that moved is free memory of its
    /// VM, and no longer of the goal.
    fn settle(claims: &mut [Claim], goal: i128) -> Vec<i128> {
        let mut goal = goal * MB;
        for _ in 0..100 {
            balance(claims, goal, 100 * MB);
            for claim in claims.iter_mut() {
                let change = claim.holds() - claim.actual;
                goal -= change;
                claim.actual += change;
                claim.free = claim.free.map(|free| free + change);
                claim.result = None;
            }
        }
        claims.iter().map(|claim| claim.actual / MB).collect()
    }

    #[test]
    fn two_vms_that_lack_memory_get_it_by_shares() {
        let claims = [claim(2000, 1000, 1000, 0), claim(1000, 1000, 1000, 0)];
        assert_eq!(once(&claims, 90), [1060, 1030]);
        assert_eq!(once(&claims, 150), [1100, 1050]);
        assert_eq!(once(&claims, 270), [1100, 1090]);
        assert_eq!(settle(&mut claims.clone(), 180), [1120, 1060]);
        assert_eq!(settle(&mut claims.clone(), 270), [1180, 1090]);
        assert_eq!(settle(&mut claims.clone(), 600), [1300, 1300]);
        assert_eq!(settle(&mut claims.clone(), 900), [1600, 1300]);
    }

    #[test]
    fn a_vm_at_its_maximum_leaves_all_to_the_other() {
        let claims = [claim(2000, 2000, 2000, 0), claim(1000, 1000, 1000, 0)];
        assert_eq!(once(&claims, 18), [2000, 1018]);
        assert_eq!(once(&claims, 500), [2000, 1100]);
    }

    #[test]
    fn those_that_lack_memory_get_first_and_those_that_have_some_give_first() {
        let (first, third) = (claim(2000, 2000, 2000, 0), claim(1000, 1000, 1000, 512));
        let mut claims = [first, claim(1000, 1007, 1000, 0), third];
        assert_eq!(once(&claims, 11), [2000, 1018, 1000]);
        assert_eq!(once(&claims, 80), [2000, 1087, 1000]);
        assert_eq!(once(&claims, 200), [2000, 1107, 1000]);
        assert_eq!(settle(&mut claims, 593), [2000, 1300, 1300]);
        assert_eq!(settle(&mut claims.clone(), -200), [2000, 1200, 1200]);
        assert_eq!(settle(&mut claims.clone(), -400), [2000, 1200, 1000]);
        assert_eq!(settle(&mut claims, -593), [2000, 1007, 1000]);
    }

    #[test]
    fn who_is_silent_or_below_its_minimum_lacks_memory() {
        let silent = Claim { free: None, ..claim(1000, 1500, 1000, 0) };
        assert!(silent.is_pressed());
        assert!(claim(1000, 999, 1000, 900).is_pressed());
        assert!(claim(1000, 1000, 1000, 250).is_pressed());
        assert!(claim(1000, 1000, 1000, 251).is_comfortable());
        let out = claim(0, 1500, 1000, 900);
        assert!(!out.is_comfortable() && !out.is_pressed());
        // Who has free memory gives first.
        assert_eq!(once(&[silent, claim(1000, 1500, 1000, 900)], -50), [1500, 1450]);
    }

    #[test]
    fn the_host_comes_to_use_what_the_reserve_leaves() {
        let vms = || vec![reports(vm(1, 500, 2000, 1000), 0, 0), vm(2, 500, 2000, 1000)];
        // 2300 of 2500 MiB are used, where 2000 are to be: each is to give 150, and gives 100.
        assert_eq!(given(&Proxmox.turn(&scene(2500, 200, 500, vms()))), [(1, 900), (2, 900)]);
        assert_eq!(given(&Proxmox.turn(&scene(2500, 540, 500, vms()))), [(1, 1020), (2, 1020)]);
        // 1990 of them are used, which is near enough.
        assert!(Proxmox.turn(&scene(2500, 510, 500, vms())).is_empty());
        // Of a reserve of 10.4 % it leaves 11.
        assert_eq!(used_percent(&scene(2500, 200, 260, vms())), 89);
        let opted_out = vms().into_iter().map(|vm| SeenVm { weight: 0, ..vm }).collect();
        assert!(Proxmox.turn(&scene(2500, 200, 500, opted_out)).is_empty());
    }
}
