//! [`Room`]: whether what is asked to be reserved can ever be there.
//!
//! What VMs are guaranteed they keep whatever is asked of them, and a VM of which the host gets
//! nothing back keeps all that it may hold. Together with what reservations are guaranteed, that has
//! to fit beside the host's own use and its reserve.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    bytes::ByteCount,
    life::Life,
    policy::{Policy, Rules, largest, pool},
    sample::{Obstacle, Sample, VmSample},
    vm::VmId,
};

/// What a host uses beside its VMs now. What a process takes beside the memory of its VM is part of it.
#[must_use]
pub fn own_use(sample: &Sample) -> ByteCount {
    let taken = |vm: &VmSample| {
        if !vm.set_aside().is_zero() {
            return vm.surely_taken();
        }
        let shown = vm.shown().taken.unwrap_or(vm.actual);
        // What is encrypted may show as resident of no process.
        let is_hidden = vm.obstacle() == Some(Obstacle::Confidential);
        if is_hidden { shown.max(vm.actual) } else { shown }
    };
    let by_vms: ByteCount = sample.vms.values().map(taken).sum();
    let used = sample.host.total.saturating_sub(sample.host.usable);
    used.saturating_sub(by_vms)
}

/// What VMs and reservations may share on one host, and what of it is taken for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// All memory of the host.
    pub total: ByteCount,
    /// What it must keep.
    pub reserve: ByteCount,
    /// What it uses beside its VMs.
    pub other: ByteCount,
    /// Upper bound of what all VMs hold; `None` for none.
    pub limit: Option<ByteCount>,
    /// What each VM keeps for certain.
    pub guaranteed: Vec<(ByteCount, Arc<str>)>,
}

/// What one tick knew of its VMs.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Where each VM is in its life.
    pub lives: &'a BTreeMap<VmId, Life>,
    /// The most that each may come to hold; one that is missing counts with its maximum.
    pub exposures: &'a BTreeMap<VmId, ByteCount>,
}

impl Room {
    /// The room of the host of a sample.
    #[must_use]
    pub fn of(policy: &Policy, sample: &Sample, known: Known<'_>) -> Self {
        let vms = sample.vms.iter();
        Self {
            total: sample.host.total,
            reserve: policy.host_reserve,
            other: own_use(sample),
            limit: policy.pool_limit,
            guaranteed: vms
                .map(|(id, vm)| {
                    let kept = guaranteed(policy, (*id, vm), known, sample.ideal);
                    (kept, Arc::clone(&vm.name))
                })
                .collect(),
        }
    }

    /// What VMs and reservations may hold together.
    #[must_use]
    pub fn pool(&self) -> ByteCount {
        pool(self.total.saturating_sub(self.other), self.limit, self.reserve)
    }

    /// What VMs keep for certain, together.
    #[must_use]
    pub fn kept(&self) -> ByteCount {
        self.guaranteed.iter().map(|(kept, _)| *kept).sum()
    }

    /// Why this cannot be reserved beside what other reservations are guaranteed, with all figures;
    /// `None` where it can.
    #[must_use]
    pub fn objection(&self, wanted: ByteCount, others: ByteCount) -> Option<String> {
        let (pool, kept) = (self.pool(), self.kept());
        let left = pool.saturating_sub(kept).saturating_sub(others);
        (wanted > left).then(|| {
            // Guarantees may be beyond the pool by themselves: who asks for less is refused as well then.
            let all = kept.saturating_add(others).saturating_add(wanted);
            let missing = all.saturating_sub(pool);
            format!(
                "{wanted} can never be kept together: {missing} too much: {}; of these {pool} {} and \
                 other reservations are guaranteed {others}: {left} is left",
                self.pool_in_words(),
                self.kept_in_words(kept)
            )
        })
    }

    fn pool_in_words(&self) -> String {
        let Self { total, reserve, other, .. } = self;
        let pool = self.pool();
        match self.limit {
            Some(limit) if limit.saturating_sub(*reserve) == pool => format!(
                "the policy's pool_limit is {limit} and its host_reserve {reserve}, which leaves {pool}"
            ),
            Some(_) | None => format!(
                "of the host's {total} it uses {other} beside its VMs and keeps {reserve} as its \
                 host_reserve, which leaves {pool}"
            ),
        }
    }

    fn kept_in_words(&self, kept: ByteCount) -> String {
        if self.guaranteed.is_empty() {
            return "no VM is guaranteed anything".to_owned();
        }
        let guaranteed = self.guaranteed.iter().map(|(kept, name)| (*kept, name.to_string()));
        let (count, who) = (self.guaranteed.len(), largest(guaranteed.collect()));
        format!("{count} VMs are guaranteed {kept} together ({who})")
    }
}

/// What a VM keeps for certain: its minimum, or all that it may hold where nothing of it comes back.
fn guaranteed(
    policy: &Policy,
    (id, vm): (VmId, &VmSample),
    known: Known<'_>,
    is_ideal: bool,
) -> ByteCount {
    let Rules { limits, pinned, .. } = policy.rules(id, &vm.name, vm.max);
    let life = known.lives.get(&id);
    let stays = pinned || vm.gives_nothing_back() || life == Some(&Life::NoDriver);
    let exposure = known.exposures.get(&id).copied().unwrap_or(vm.max);
    // The tick may have known of no pin yet.
    let exposure = if pinned && !is_ideal { exposure.max(vm.max) } else { exposure };
    if stays { exposure.max(vm.actual) } else { limits.min }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::decide,
        fixture::{OTHER, VM, sample, vm},
        policy::{VmKey, VmPolicy},
        reserve::{Reservation, ReservationId},
        sample::{RunState, Traits},
        state::State,
    };

    fn room(policy: &Policy, lives: &BTreeMap<VmId, Life>) -> Room {
        let exposures = BTreeMap::from([(OTHER, ByteCount::mib(700))]);
        let known = Known { lives, exposures: &exposures };
        let mut sample = sample(0, [(VM, vm()), (OTHER, vm())]);
        sample.host.usable = ByteCount::gib(6);
        Room::of(policy, &sample, known)
    }

    #[test]
    fn memory_that_is_set_aside_for_a_vm_is_no_use_of_the_hosts_own() {
        let of = |obstacle, set_aside| {
            let set_aside = ByteCount::mib(set_aside);
            let traits = Some(Traits { obstacle, set_aside, ..Traits::default() });
            let host_rss = Some(ByteCount::mib(100));
            let (actual, max) = (ByteCount::gib(2), ByteCount::gib(2));
            let vm = VmSample { traits, host_rss, actual, max, ..vm() };
            let mut sample = sample(0, [(VM, vm)]);
            sample.host.usable = ByteCount::gib(5);
            own_use(&sample).mib_floor()
        };
        let all = "of the 3 GiB of 8 that are not there";
        assert_eq!(of(Some(Obstacle::HugePages), 2048), 1024, "{all}");
        assert_eq!(of(Some(Obstacle::Device), 2048), 1024, "{all}");
        assert_eq!(of(Some(Obstacle::Confidential), 0), 1024, "{all}");
        assert_eq!(of(Some(Obstacle::HugePages), 512), 3072 - 512, "of one of its nodes");
        assert!(of(Some(Obstacle::Device), 0) > 2900, "who holds it is not known");
    }

    /// Whether a VM has touched all that is set aside for it shows nowhere, and makes no difference.
    #[test]
    fn what_is_admitted_beside_memory_that_is_set_aside_is_kept_together() {
        let (obstacle, actual) = (Some(Obstacle::HugePages), ByteCount::gib(4));
        // All of it, or one node of two while the other one is touched for the most part.
        for (set_aside, rss) in [(4096, 100), (2048, 1900)] {
            let set_aside = ByteCount::mib(set_aside);
            let traits = Some(Traits { obstacle, set_aside, ..Traits::default() });
            let host_rss = Some(ByteCount::mib(rss));
            let huge = VmSample { traits, actual, host_rss, max: actual, ..vm() };
            let mut sample = sample(0, [(VM, huge)]);
            sample.host.usable = ByteCount::mib(2560);
            let (policy, lives) = (Policy::default(), BTreeMap::from([(VM, Life::Unreclaimable)]));
            let known = Known { lives: &lives, exposures: &BTreeMap::from([(VM, actual)]) };
            let room = Room::of(&policy, &sample, known);
            let size = room.pool().saturating_sub(room.kept());
            assert!(size > ByteCount::gib(2), "{size}");
            assert_eq!(room.objection(size, ByteCount::ZERO), None);
            sample.reservations =
                vec![Reservation { id: ReservationId(1), min: size, max: size, vm: None }];
            let (decision, _) = decide(&policy, &State::default(), &sample);
            assert!(decision.bookings.iter().all(|own| own.filled), "{:?}", decision.pool);
        }
    }

    /// 8 GiB, of which 1 is used beside what two VMs hold, 200 MiB kept, and two floors of 64 MiB guaranteed.
    #[test]
    fn what_is_left_beside_all_guarantees_can_be_reserved_and_not_a_byte_more() {
        let room = room(&Policy::default(), &BTreeMap::new());
        let left = ByteCount::mib(7 * 1024 - 200 - 2 * 64);
        assert_eq!(room.objection(left, ByteCount::ZERO), None);
        let more = left.saturating_add(ByteCount::bytes(1));
        assert!(room.objection(more, ByteCount::ZERO).is_some());
        assert!(room.objection(left, ByteCount::bytes(1)).is_some());
        let words = room.objection(ByteCount::gib(8), ByteCount::gib(1)).unwrap();
        for figure in ["8 GiB", "200 MiB", "1 GiB", "128 MiB", "web1 64 MiB"] {
            assert!(words.contains(figure), "{figure} in {words}");
        }
    }

    #[test]
    fn what_is_too_much_counts_what_was_too_much_before() {
        let limit = Some(ByteCount::mib(1200));
        let policy = Policy { pool_limit: limit, ..Policy::default() };
        let room = room(&policy, &BTreeMap::new());
        // 1000 MiB are left by the reserve; 128 are guaranteed to VMs.
        let words = room.objection(ByteCount::mib(100), ByteCount::mib(1100)).unwrap();
        assert!(
            words.contains(": 328 MiB too much: ") && words.ends_with(": 0 B is left"),
            "{words}"
        );
    }

    #[test]
    fn who_gives_nothing_back_counts_with_all_that_it_may_hold() {
        let lives = BTreeMap::from([(VM, Life::Running), (OTHER, Life::NoDriver)]);
        assert_eq!(room(&Policy::default(), &lives).kept(), ByteCount::mib(64 + 700));
        let traits = Some(Traits { obstacle: Some(Obstacle::Device), ..Traits::default() });
        let paused = sample(0, [(VM, VmSample { traits, run: RunState::Paused, ..vm() })]);
        let known = Known { lives: &BTreeMap::new(), exposures: &BTreeMap::new() };
        let kept = Room::of(&Policy::default(), &paused, known).kept();
        assert_eq!(kept, vm().max, "nothing comes back of it, whatever it does just now");
        let leaves = VmSample { traits, run: RunState::MigratingOut, ..vm() };
        let leaves = sample(0, [(VM, leaves)]);
        let kept = Room::of(&Policy::default(), &leaves, known).kept();
        assert_eq!(kept, ByteCount::mib(64), "its place may be reserved");
        let mut policy = Policy::default();
        let pinned = VmPolicy { pinned: Some(true), ..VmPolicy::default() };
        policy.vms.insert(VmKey::Id(VM), pinned);
        let kept = room(&policy, &BTreeMap::new()).kept();
        assert_eq!(kept, ByteCount::mib(1024 + 64), "its exposure is not known");
        let pinned = VmPolicy { pinned: Some(true), ..VmPolicy::default() };
        let policy = Policy { vms: [(VmKey::Id(OTHER), pinned)].into(), ..Policy::default() };
        let kept = room(&policy, &BTreeMap::new()).kept();
        let max = vm().max;
        assert_eq!(
            kept,
            max.saturating_add(ByteCount::mib(64)),
            "its exposure is of before the pin"
        );
    }

    #[test]
    fn what_processes_take_beside_their_vms_is_the_hosts_own_use() {
        let exposures = BTreeMap::new();
        let known = Known { lives: &BTreeMap::new(), exposures: &exposures };
        let hidden = VmSample { host_rss: None, ..vm() };
        let sample = sample(0, [(VM, vm()), (OTHER, hidden)]);
        let other = Room::of(&Policy::default(), &sample, known).other;
        assert_eq!(other, ByteCount::gib(3), "4 GiB without the 512 MiB of each");
    }

    /// What is held is a part of what the host keeps beyond its reserve, also where a limit says how
    /// much that is.
    #[test]
    fn a_reserve_is_no_part_of_what_a_limit_leaves() {
        let limit = Some(ByteCount::gib(8));
        let (total, reserve) = (ByteCount::gib(64), ByteCount::gib(2));
        let guaranteed = vec![(ByteCount::gib(1), Arc::from("web1"))];
        let room = Room { total, reserve, other: ByteCount::ZERO, limit, guaranteed };
        assert_eq!(room.objection(ByteCount::gib(5), ByteCount::ZERO), None);
        let words = room.objection(ByteCount::gib(6), ByteCount::ZERO).unwrap();
        for figure in
            ["pool_limit is 8 GiB", "host_reserve 2 GiB", "leaves 6 GiB", "1 GiB too much"]
        {
            assert!(words.contains(figure), "{figure} in {words}");
        }
    }

    #[test]
    fn a_pool_limit_bounds_it() {
        let policy = Policy { pool_limit: Some(ByteCount::gib(2)), ..Policy::default() };
        let words = room(&policy, &BTreeMap::new());
        let words = words.objection(ByteCount::gib(2), ByteCount::ZERO).unwrap();
        assert!(words.contains("pool_limit is 2 GiB"), "{words}");
    }
}
