//! [`Workload`]: what VMs want of a host through a time. A [`Family`] draws one from a seed, so that
//! fresh ones can be had: a policy that was tuned to a fixed list shows.

mod draft;
mod families;
mod line;
mod rates;

use std::time::Duration;

use agentd::hypervisor::sim::{Scenario, VmScenario};
use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

pub use self::rates::Rates;

/// A host, its VMs and what they want.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What kind it is of.
    pub family: Family,
    /// What it was drawn from.
    pub seed: u64,
    /// The host and its VMs, in the order of their ids.
    pub scenario: Scenario,
    /// What is promised to each VM, in the same order.
    pub members: Vec<Member>,
    /// What the host is to keep.
    pub reserve: ByteCount,
    /// What the VMs can hold together: all but the reserve and what the host and the processes take.
    pub pool: ByteCount,
    /// How long it lasts.
    pub length: Duration,
}

/// What is promised to a VM.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which VM.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// What it is guaranteed.
    pub min: ByteCount,
    /// Most that it may hold.
    pub max: ByteCount,
    /// Its share when memory is short; 100 is ordinary.
    pub weight: u64,
    /// What its kernel keeps unused.
    pub watermark: ByteCount,
}

impl Workload {
    /// What a VM needs at a time, with what its kernel keeps; nothing before it exists.
    #[must_use]
    pub fn need(&self, index: usize, at: Duration) -> ByteCount {
        let vm = self.scenario.vms.get(index).filter(|vm| vm.life.holds_at(at));
        vm.map_or(ByteCount::ZERO, |vm| need(vm, at))
    }
}

fn need(vm: &VmScenario, at: Duration) -> ByteCount {
    vm.demand.at(at).saturating_add(vm.numbers.watermark).min(vm.max)
}

macro_rules! families {
    ($($(#[doc = $doc:literal])* $family:ident $name:literal $count:literal,)*) => {
        /// A kind of workload.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Family {
            $($(#[doc = $doc])* $family,)*
        }

        impl Family {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$family,)*];

            /// Its name on the command line and in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$family => $name,)*
                }
            }

            /// What it is, in a line.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$family => concat!($($doc,)*).trim_ascii(),)*
                }
            }

            /// The stream of its random numbers: it stays the same where others come in between.
            const fn stream(self) -> u64 {
                match self {
                    $(Self::$family => $count,)*
                }
            }
        }
    };
}

families! {
    /// One VM grows, the others have memory to spare.
    OneGrows "course-one-grows" 1,
    /// All VMs grow alike.
    AllGrow "course-all-grow" 2,
    /// Two VMs grow, and one of them stops and gives back.
    TwoGrowOneStops "course-two-grow-one-stops" 3,
    /// A VM takes 3 GiB in 25 s.
    Burst "burst" 4,
    /// Days of two minutes that begin at another time in each VM.
    Diurnal "diurnal" 5,
    /// Heaps that grow in steps and fall when they are collected.
    JvmSteps "jvm-steps" 6,
    /// Some VMs read files without end while others need memory.
    CacheScan "cache-scan" 7,
    /// Many VMs start at nearly the same time.
    BootStorm "boot-storm" 8,
    /// One VM wants more and more, until it is restarted.
    Leak "leak" 9,
    /// One VM after the other reads all of its files.
    NightlyBackup "nightly-backup" 10,
    /// Idle VMs full of files, and one that starves beside them.
    IdleCaches "idle-caches" 11,
    /// 4 to 60 VMs that each do something else.
    Many "many" 12,
    /// Demand moves between VMs and is 95 % of the pool at all times.
    Tight "tight" 13,
    /// Demand moves between VMs and is 120 % of the pool at all times.
    Over "over" 14,
    /// Demand moves between VMs and is half of the pool.
    Loose "loose" 15,
    /// Bursts take turns in a pool of 60 % of their sum.
    Turns "turns" 16,
    /// Demand does not change at all.
    Steady "steady" 17,
    /// VMs whose balloons follow not at all, or by a part, beside others that need memory.
    Stuck "stuck" 18,
}

impl Family {
    /// The family of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }

    /// The workload of a seed.
    #[must_use]
    pub fn draw(self, seed: u64) -> Workload {
        families::draw(self, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_twice_and_another_seed_another() {
        for family in Family::ALL {
            let one = family.draw(7);
            assert_eq!(one.scenario, family.draw(7).scenario, "{}", family.name());
            assert_ne!(one.scenario, family.draw(8).scenario, "{}", family.name());
            assert_eq!(Family::named(family.name()), Some(*family));
            assert!(family.about().ends_with('.'), "{}", family.about());
        }
    }

    /// Nobody could do well on a host that cannot keep what it promises.
    #[test]
    fn every_host_can_keep_its_promises() {
        for (family, seed) in
            Family::ALL.iter().flat_map(|family| (1..20).map(move |s| (family, s)))
        {
            let load = family.draw(seed);
            let what = format!("{} of {seed}", family.name());
            let pool = load.pool;
            let mins: ByteCount = load.members.iter().map(|vm| vm.min).sum();
            assert!(mins <= pool, "{what}: {mins} in {pool}");
            let first = load.scenario.vms.iter().filter(|vm| vm.life.holds_at(Duration::ZERO));
            let held: ByteCount = first.map(|vm| vm.actual).sum();
            assert!(held <= pool, "{what}: {held} in {pool}");
            for (vm, member) in load.scenario.vms.iter().zip(&load.members) {
                assert!(member.min <= vm.actual && vm.actual <= vm.max, "{what}: {vm:?}");
                assert!(member.min >= ByteCount::mib(64) && member.max == vm.max, "{what}");
            }
            let overhead: ByteCount =
                load.scenario.vms.iter().map(|vm| vm.numbers.process_overhead).sum();
            let other = load.scenario.host.other.at(Duration::ZERO);
            let parts = [pool, load.reserve, overhead, other];
            assert_eq!(load.scenario.host.total, parts.into_iter().sum(), "{what}");
        }
    }

    #[test]
    fn demand_is_the_share_of_the_pool_that_the_family_says() {
        for (family, least, most) in
            [(Family::Tight, 92, 96), (Family::Over, 115, 123), (Family::Loose, 45, 52)]
        {
            let load = family.draw(3);
            let needs = |second| {
                let at = Duration::from_secs(second);
                (0..load.members.len()).map(|vm| load.need(vm, at)).sum::<ByteCount>().as_u64()
            };
            let peak = (0..load.length.as_secs()).map(needs).max().unwrap();
            let percent = peak * 100 / load.pool.as_u64();
            assert!((least..=most).contains(&percent), "{}: {percent} %", family.name());
        }
    }
}
