//! [`Budget`]: whether a grow leaves the host and the pool what they are to keep, by what is really
//! so.
//!
//! ```text
//! for each VM    exposure = most of: held, target in force, order still to be taken
//! host           sum of exposures + what others use + reserve <= total
//! pool           sum of exposures                             <= limit
//! ```
//!
//! Allowances, each for what nobody could have known:
//! - The overhead of processes does not count: it can be told from memory only in a VM that has
//!   touched all that it holds.
//! - The host's figures are whole pages: what is resident of a VM may be told a page too large.
//! - What happened since the last reading, which is not older than two ticks: VMs that started or
//!   rebooted, memory that others took, counts as it was read.
//! - An order of somebody else that undoes one of agentd's while that is on its way cannot be told
//!   from its progress: the VM counts as what it was told before.
//! - An order of somebody else counts as what the VM was shown to hold for as long as a balloon
//!   event may be late, and while the VM shrinks by it: the host has what it let go of since. So it
//!   has where an earlier process told the VM, which takes no order to stop.
//! - Memory that a VM took back by itself since the last reading, or by a reboot, counts as it was
//!   read, or as it was seen to hold less since, when it was last looked at.
//! - What an earlier process told a VM that is pinned now counts as what that VM holds: see the judge.
//! - A VM whose memory stays in place without its configuration saying so counts in the pool as what
//!   it holds: the rest looks like the overhead of its process. The host misses it either way.
//! - Where it is already too much, memory may still pass from one to another: it may come to what it
//!   was at the last reading, however old, and what givers had delivered by then and takers had not
//!   got yet; to nothing where nothing was read. On the host only as much as the host really got back
//!   for them: what a giver never touched makes nobody richer, and what it gave to the host neither. In
//!   the pool a VM counts as what it was shown to hold then, where it held less: an event may be late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::bytes::ByteCount;
use agentd_core::policy::Policy;
use agentd_core::vm::VmId;

use super::known::Known;

/// What may be granted at one moment.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    pub(super) policy: &'a Policy,
    /// What is really so now.
    pub(super) now: &'a Facts,
    /// What was so at the last reading; `None` where there was none.
    pub(super) read: Option<&'a Facts>,
    /// That was lately: what happened since could not be known.
    pub(super) recent: bool,
    /// What was so of VMs that were last seen to hold less since.
    pub(super) looked: &'a BTreeMap<VmId, VmFacts>,
    /// VMs that were told since to hold no more than they did already, or were shown to: they were
    /// granted nothing.
    pub(super) stay: &'a BTreeSet<VmId>,
    pub(super) known: &'a BTreeMap<VmId, Known>,
    /// What VMs may hold for all that could be known, where somebody else has ordered them since.
    pub(super) undone: BTreeMap<VmId, ByteCount>,
    /// What givers had delivered by then for VMs that were not granted it yet.
    pub(super) delivered: ByteCount,
    /// What VMs were granted in this tick, with what is looked at.
    pub(super) grown: ByteCount,
    /// What the host got back of givers for VMs, and nobody was granted before this tick.
    pub(super) returned: ByteCount,
    /// What givers may fail to deliver unnoticed.
    pub(super) noise: ByteCount,
}

impl Budget<'_> {
    /// Why VMs may not come to hold what `granted` says beside what they may already; `None` where
    /// they may. With `late` false, orders without answer are left out.
    pub(super) fn objection(
        &self,
        granted: &BTreeMap<VmId, ByteCount>,
        late: bool,
    ) -> Option<String> {
        if let Some(limit) = self.policy.pool_limit {
            let (sum, before) = (self.sum(granted, late, true), self.before(true));
            if sum > limit.max(before).saturating_add(self.tolerance()) {
                let all = "VMs may come to hold";
                return Some(format!("{all} {sum}, the pool's limit is {limit}; it was {before}"));
            }
        }
        let words = self.excess(granted, late)?;
        let (sum, before) = (self.sum(granted, late, false), self.before(false));
        let (grown, returned) = (self.grown, self.returned);
        if grown > returned.saturating_add(self.noise) {
            return Some(format!("{words}; they are granted {grown} of {returned} that came back"));
        }
        let is_more = sum > before.saturating_add(self.noise);
        is_more.then(|| format!("{words}; VMs might hold {before} before"))
    }

    /// What is too much on the host with what `granted` says; `None` where it is not.
    pub(super) fn excess(&self, granted: &BTreeMap<VmId, ByteCount>, late: bool) -> Option<String> {
        let (sum, other, reserve) =
            (self.sum(granted, late, false), self.other(), self.policy.host_reserve);
        let (all, total) = (sum.saturating_add(other).saturating_add(reserve), self.now.host.total);
        (all > total.saturating_add(self.tolerance())).then(|| {
            format!(
                "VMs may come to hold {sum}, others {other}, reserve {reserve}: {all} of {total}"
            )
        })
    }

    /// What VMs may come to hold with what they are granted; without what is `hidden` of them.
    fn sum(&self, granted: &BTreeMap<VmId, ByteCount>, late: bool, hidden: bool) -> ByteCount {
        let charge = |(id, vm): (&VmId, &VmFacts)| {
            let lately = self.read.filter(|_| self.recent);
            let then = lately.map(|read| {
                let then = read.vms.get(id).map(|read| self.looked.get(id).unwrap_or(read));
                then.map(|vm| self.shown(hidden, *id, vm))
            });
            let more = granted.get(id).copied().unwrap_or_default();
            self.charge(*id, self.shown(hidden, *id, vm), then, late).max(more)
        };
        self.now.vms.iter().map(charge).sum()
    }

    /// What they might already at the last reading.
    fn before(&self, hidden: bool) -> ByteCount {
        let held = |(id, vm): (&VmId, &VmFacts)| {
            let undone = self.undone.get(id).copied().unwrap_or_default();
            let exposure = self.shown(hidden, *id, vm).exposure().max(undone);
            // By a limit it counts as what it was shown to hold, which may be from before it let go of some.
            let known = self.known.get(id).filter(|_| hidden);
            known.map_or(exposure, |known| exposure.max(known.actual))
        };
        let vms = self.read.into_iter().flat_map(|read| &read.vms);
        vms.map(held).sum::<ByteCount>().saturating_add(self.delivered)
    }

    fn shown(&self, hidden: bool, id: VmId, vm: &VmFacts) -> VmFacts {
        if hidden { self.as_shown(id, vm) } else { *vm }
    }

    /// What is no breach, though it is too much.
    fn tolerance(&self) -> ByteCount {
        self.rounding().saturating_add(self.noise)
    }

    /// Why VMs may not come to hold what `granted` says while so much is reserved; `None` where they
    /// may. What passes from one to another takes nothing of it.
    pub(super) fn takes_reserved(
        &self,
        granted: &BTreeMap<VmId, ByteCount>,
        reserved: ByteCount,
    ) -> Option<String> {
        let policy = self.policy;
        let reserve = policy.host_reserve.saturating_add(reserved);
        let (now, before) = (self.sum(granted, false, false), self.before(false));
        let all = now.saturating_add(self.other()).saturating_add(reserve);
        let (spare, total) = (self.tolerance(), self.now.host.total);
        let is_taken = all > total.saturating_add(spare) && now > before.saturating_add(spare);
        is_taken.then(|| {
            format!(
                "VMs may come to hold {now}, {before} before, of {total} with {reserve} reserved and \
                 kept"
            )
        })
    }

    /// Figures are whole pages.
    fn rounding(&self) -> ByteCount {
        let vms = u64::try_from(self.now.vms.len()).unwrap_or(u64::MAX);
        ByteCount::bytes(PAGE.as_u64().saturating_mul(vms))
    }

    /// What is so of a VM, without what is hidden of it.
    fn as_shown(&self, id: VmId, vm: &VmFacts) -> VmFacts {
        let told = self.known.get(&id).is_some_and(|known| known.obstacle);
        let in_place = if told { vm.in_place } else { ByteCount::ZERO };
        VmFacts { in_place, ..*vm }
    }

    /// What one VM is charged with. `then` is what was last known of it, if that counts still and if
    /// it was there.
    fn charge(
        &self,
        id: VmId,
        mut vm: VmFacts,
        then: Option<Option<VmFacts>>,
        late: bool,
    ) -> ByteCount {
        if !late {
            vm.late = None;
        }
        let (Some(read), Some(then)) = (self.read, then) else {
            return vm.exposure();
        };
        // It is new, or its kernel began anew: that can be known at the next reading.
        let Some(then) = then else {
            return ByteCount::ZERO;
        };
        if then.generation != vm.generation {
            return then.exposure().min(vm.exposure());
        }
        // More than it was to hold is what it took back by itself.
        let ordered = vm.late.map_or(vm.target, |late| late.max(vm.target));
        let granted = if self.stay.contains(&id) { ByteCount::ZERO } else { ordered };
        let exposure = vm.exposure().min(then.exposure().max(granted));
        let unseen = vm.foreign_at.is_some_and(|at| at.saturating_add(EVENT) > read.now);
        match self.known.get(&id).filter(|_| unseen) {
            Some(known) => known.actual.min(exposure),
            None => exposure,
        }
    }

    /// What others use.
    fn other(&self) -> ByteCount {
        let now = other(self.now);
        self.read.filter(|_| self.recent).map_or(now, |read| other(read).min(now))
    }
}

const PAGE: ByteCount = ByteCount::kib(4);

/// What neither a VM nor its process takes.
fn other(facts: &Facts) -> ByteCount {
    let processes: ByteCount = facts.vms.values().map(|vm| vm.rss).sum();
    facts.taken.saturating_sub(processes)
}

/// The longest time from one balloon event to the next.
pub(super) const EVENT: Duration = Duration::from_millis(1_100);

#[cfg(test)]
mod tests {
    use super::super::fixture::{GIVER, TAKER, holding, host, mib};
    use super::*;

    /// What is said to a taker growing to so many MiB where all was so at the last reading and is so
    /// now. The host can have 900 MiB for VMs.
    fn objection(
        change: impl FnOnce(&mut Budget<'_>),
        read: Option<&Facts>,
        now: &Facts,
        to: u32,
    ) -> Option<String> {
        let (policy, known) =
            (Policy { host_reserve: ByteCount::ZERO, ..Policy::default() }, BTreeMap::new());
        let limited = Policy { pool_limit: Some(mib(600)), ..policy.clone() };
        let (looked, stay) = (BTreeMap::new(), BTreeSet::new());
        let grown = mib(to).saturating_sub(now.vms[&TAKER].actual);
        let mut budget = Budget {
            policy: if now.host.total > mib(1000) { &limited } else { &policy },
            now,
            read,
            recent: true,
            looked: &looked,
            stay: &stay,
            known: &known,
            undone: BTreeMap::new(),
            delivered: ByteCount::ZERO,
            grown,
            returned: ByteCount::ZERO,
            noise: ByteCount::ZERO,
        };
        change(&mut budget);
        budget.objection(&BTreeMap::from([(TAKER, mib(to))]), true)
    }

    fn pair(giver: u32, taker: u32) -> Facts {
        host(&[(GIVER, holding(giver)), (TAKER, holding(taker))])
    }

    /// The same on a host of so much that only the pool's limit of 600 MiB counts.
    fn pool(giver: u32, taker: u32) -> Facts {
        let mut facts = pair(giver, taker);
        facts.host.total = ByteCount::gib(64);
        facts
    }

    #[test]
    fn what_fits_may_be_granted_and_a_mib_more_may_not() {
        let now = pair(500, 300);
        assert_eq!(objection(|_| {}, Some(&now), &now, 400), None);
        let words = objection(|_| {}, Some(&now), &now, 401).unwrap();
        assert!(words.contains("granted 101 MiB of 0 B"), "{words}");
        let now = pool(300, 200);
        assert_eq!(objection(|_| {}, Some(&now), &now, 300), None);
        assert!(objection(|_| {}, Some(&now), &now, 301).is_some());
    }

    #[test]
    fn where_it_is_too_much_memory_may_pass_on_and_no_more() {
        // 100 MiB too much; the giver let go of 50 of them since the reading.
        let (read, now) = (pair(600, 400), pair(550, 400));
        let came = |mib: ByteCount| move |budget: &mut Budget<'_>| budget.returned = mib;
        assert_eq!(objection(came(mib(50)), Some(&read), &now, 450), None);
        assert!(objection(came(mib(49)), Some(&read), &now, 450).is_some());
        assert!(objection(came(mib(90)), Some(&read), &now, 451).is_some(), "it held 1000 before");
        let (read, now) = (pool(500, 200), pool(450, 200));
        assert_eq!(objection(|_| {}, Some(&read), &now, 250), None);
        assert!(objection(|_| {}, Some(&read), &now, 251).is_some());
    }

    /// What was delivered before the reading is no more held at it, and counts beside it.
    #[test]
    fn what_is_open_since_before_the_reading_counts_beside_it_and_noise_once() {
        let now = pool(450, 200);
        let open = |budget: &mut Budget<'_>| budget.delivered = mib(50);
        assert_eq!(objection(open, Some(&now), &now, 250), None);
        assert!(objection(open, Some(&now), &now, 251).is_some());
        let noisy = |budget: &mut Budget<'_>| budget.noise = mib(3);
        assert_eq!(objection(noisy, Some(&now), &now, 203), None);
        assert!(objection(noisy, Some(&now), &now, 204).is_some());
    }

    #[test]
    fn where_nothing_was_read_only_what_fits_may_be_granted() {
        let now = pool(450, 200);
        assert!(objection(|_| {}, None, &now, 201).is_some());
        let fits = pool(300, 200);
        assert_eq!(objection(|_| {}, None, &fits, 300), None);
        assert!(objection(|_| {}, None, &fits, 301).is_some());
        let now = pair(700, 300);
        let came = |budget: &mut Budget<'_>| budget.returned = mib(500);
        assert!(objection(came, None, &now, 301).is_some());
    }

    /// It was read long ago: what was so then still bounds what passes on, and nothing is forgiven.
    #[test]
    fn an_old_reading_is_no_excuse() {
        let read = pool(450, 200);
        let mut now = read.clone();
        now.vms.insert(GIVER, VmFacts { generation: 1, ..holding(500) });
        let old = |budget: &mut Budget<'_>| budget.recent = false;
        assert_eq!(objection(|_| {}, Some(&read), &now, 200), None, "nobody could know");
        assert!(objection(old, Some(&read), &now, 200).is_some());
        assert_eq!(objection(old, Some(&read), &read, 200), None);
        assert!(objection(old, Some(&read), &read, 201).is_some());
    }

    /// It gave 100 MiB, was seen to have, and took them back before they went to the other.
    #[test]
    fn what_a_vm_took_back_counts_as_it_was_seen_to_be_gone_and_only_then() {
        let read = pair(600, 300);
        let seen = VmFacts { target: mib(500), ..holding(500) };
        let now =
            host(&[(GIVER, VmFacts { target: mib(500), ..holding(600) }), (TAKER, holding(300))]);
        let looked = BTreeMap::from([(GIVER, seen)]);
        let unseen = BTreeMap::from([(GIVER, now.vms[&GIVER])]);
        let stay = BTreeSet::new();
        let with = |looked, to| {
            let policy = Policy { host_reserve: ByteCount::ZERO, ..Policy::default() };
            let known = BTreeMap::new();
            let budget = Budget {
                policy: &policy,
                now: &now,
                read: Some(&read),
                recent: true,
                looked,
                stay: &stay,
                known: &known,
                undone: BTreeMap::new(),
                delivered: ByteCount::ZERO,
                grown: mib(to).saturating_sub(mib(300)),
                returned: ByteCount::ZERO,
                noise: ByteCount::ZERO,
            };
            budget.objection(&BTreeMap::from([(TAKER, mib(to))]), true)
        };
        assert_eq!(with(&looked, 400), None);
        assert!(with(&looked, 401).is_some());
        assert!(with(&unseen, 400).is_some(), "it was never seen to give it");
    }
}
