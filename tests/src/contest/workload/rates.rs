//! [`Rates`]: how fast VMs and their programs are. The same workload can be had at others: what is wanted, of
//! whom and when stays as it is.

use super::Workload;
use crate::dice::Dice;

/// How fast VMs and their programs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rates {
    /// As on a processor that virtualizes.
    #[default]
    Usual,
    /// As measured on guests of the lab, whose processor is emulated: programs take 90 to 250 MiB a second, and
    /// swap on a disk of some 60.
    Lab,
}

impl Rates {
    /// Its name on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Lab => "lab",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Usual, Self::Lab].into_iter().find(|one| one.name() == name)
    }

    /// What it is, for the head of a report.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Usual => {
                "programs take 1024 MiB/s, VMs shrink by 500 to 1024 and grow by 1024 to 2048, swap 50 to 150"
            }
            Self::Lab => {
                "programs take 90 to 250 MiB/s, VMs shrink by 150 to 400 and grow by 400 to 800, swap 50 to 70"
            }
        }
    }
}

impl Workload {
    /// The same at such rates.
    #[must_use]
    pub fn at(mut self, rates: Rates) -> Self {
        if rates == Rates::Lab {
            let mut dice = Dice::new(self.seed, LAB + self.family.stream());
            for vm in &mut self.scenario.vms {
                vm.numbers.touch_rate = dice.mib(90, 250);
                vm.numbers.shrink_rate = dice.mib(150, 400);
                vm.numbers.grow_rate = dice.mib(400, 800);
                vm.numbers.swap_rate = dice.mib(50, 70);
            }
        }
        self
    }
}

/// Its random numbers are none of those that a family is drawn with.
const LAB: u64 = 1_000;

#[cfg(test)]
mod tests {
    use agentd_core::bytes::ByteCount;

    use super::*;
    use crate::contest::workload::Family;

    #[test]
    fn a_slow_host_has_the_same_workload() {
        for family in Family::ALL {
            let usual = family.draw(5);
            assert_eq!(usual.clone().at(Rates::Usual).scenario, usual.scenario);
            let lab = usual.clone().at(Rates::Lab);
            assert_eq!((lab.pool, lab.length), (usual.pool, usual.length));
            for (slow, fast) in lab.scenario.vms.iter().zip(&usual.scenario.vms) {
                assert_eq!(
                    (&slow.demand, slow.max, slow.actual),
                    (&fast.demand, fast.max, fast.actual)
                );
                let numbers = slow.numbers;
                assert!((ByteCount::mib(90)..=ByteCount::mib(250)).contains(&numbers.touch_rate));
                assert!(numbers.shrink_rate < fast.numbers.shrink_rate, "{numbers:?}");
                assert!(numbers.grow_rate < fast.numbers.grow_rate, "{numbers:?}");
            }
        }
        for rates in [Rates::Usual, Rates::Lab] {
            assert_eq!(Rates::named(rates.name()), Some(rates));
        }
    }
}
