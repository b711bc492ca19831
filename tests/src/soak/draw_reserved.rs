//! Memory that is reserved in a run, and the VM that it is for.

use std::sync::Arc;
use std::time::Duration;

use agentd::hypervisor::sim::{Curve, Numbers, Scenario, VmScenario, Window, derived_id};
use agentd_core::bytes::ByteCount;
use agentd_core::policy::VmKey;
use agentd_core::reserve::{Reservation, ReservationId};

use super::draw::KEPT;
use crate::dice::Dice;

/// A reservation that somebody makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What is reserved.
    pub reservation: Reservation,
    /// At which tick it is made.
    pub made: u64,
    /// At which tick it is over, though nobody came.
    pub ends: u64,
    /// When that is; never as long as it is not known.
    pub expires: Duration,
}

/// What is reserved in the run of a seed. In some runs an eighth of the host is, for a time, for a VM
/// that never comes; in others memory is for a VM that comes, in time or too late, which is put into
/// the scenario.
pub(super) fn reserve(seed: u64, scenario: &mut Scenario) -> Vec<Planned> {
    let mut planned = Vec::new();
    if seed.is_multiple_of(FOR_NOBODY) {
        let size = scenario.host.total.fraction(1, 8);
        let vm = Some(VmKey::Name("nobody".to_owned()));
        let reservation = Reservation { id: ReservationId(1), min: size, max: size, vm };
        planned.push(Planned { reservation, made: 60, ends: 360, expires: Duration::MAX });
    }
    let mut dice = Dice::new(seed, STREAM);
    if dice.chance(30) && !KEPT.contains(&seed) {
        planned.push(newcomer(&mut dice, scenario));
    }
    planned
}

/// A VM that comes in the middle, and what is reserved for it.
fn newcomer(dice: &mut Dice, scenario: &mut Scenario) -> Planned {
    let interval = scenario.tick_interval;
    let name = "newcomer";
    let max = dice.size(128, 2048);
    let actual = dice.share(max, 50, 100).max(ByteCount::mib(64));
    let (made, lasts) = (dice.between(30, 180), dice.between(40, 180));
    // In the course of that time, or after it.
    let comes = made + lasts * dice.pick(&[1, 2, 3, 5], 2) / 4;
    let comes = interval.saturating_mul(u32::try_from(comes).unwrap_or(u32::MAX));
    scenario.vms.push(VmScenario {
        id: derived_id(name),
        name: Arc::from(name),
        max,
        actual,
        demand: Curve::constant(dice.share(actual, 10, 60)),
        life: Window { from: comes, until: None },
        behaviours: Vec::new(),
        numbers: scenario.vms.first().map_or_else(Numbers::default, |vm| vm.numbers),
    });
    let host = &mut scenario.host;
    host.total = host.total.saturating_add(max.fraction(dice.pick(&[0, 50, 100, 120], 50), 100));
    let min = dice.share(max, 40, 100).max(ByteCount::mib(16));
    let most = dice.pick(&[min, max], min).max(min);
    let keys = [Some(VmKey::Name(name.to_owned())), Some(VmKey::Id(derived_id(name))), None];
    let vm = keys.get(usize::try_from(dice.between(0, 2)).unwrap_or(0)).cloned().flatten();
    let reservation = Reservation { id: ReservationId(2), min, max: most, vm };
    Planned { reservation, made, ends: made + lasts, expires: Duration::MAX }
}

/// One seed of so many reserves memory for nobody.
const FOR_NOBODY: u64 = 3;
const STREAM: u64 = 0x5253;
