//! [`Budget`]: whether a grow leaves the host and the pool what they are to keep, by what is really
//! so; and [`Ledger`]: whether what was granted out of a giver had really come back.
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
//!   event may be late.
//! - Memory that a VM took back by itself since the last reading counts as it was read.
//! - What an earlier process told a VM that is pinned now counts as what that VM holds: see the judge.
//! - A VM whose memory stays in place without its configuration saying so counts in the pool as what
//!   it holds: the rest looks like the overhead of its process. The host misses it either way.
//! - Where it is already too much, memory may still pass from one to another: it may come to what it
//!   was at the reading and what givers have delivered and takers have not got yet. On the host only
//!   as much as the host really got back: what a giver never touched makes nobody richer.

use std::collections::BTreeMap;
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
    /// What was so at the last reading, if that counts still.
    pub(super) read: Option<&'a Facts>,
    pub(super) known: &'a BTreeMap<VmId, Known>,
    /// What VMs may hold for all that could be known, where somebody else has ordered them since.
    pub(super) undone: BTreeMap<VmId, ByteCount>,
    /// What givers have delivered and nobody was granted yet.
    pub(super) delivered: ByteCount,
    /// What VMs were granted in this tick, with what is looked at.
    pub(super) grown: ByteCount,
    /// What the host got back of givers, and nobody was granted before this tick.
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
        let more = |id: &VmId| granted.get(id).copied().unwrap_or_default();
        let shown = |hidden: bool, id: &VmId, vm: &VmFacts| {
            if hidden { self.as_shown(*id, vm) } else { *vm }
        };
        let sum_of = |hidden: bool| -> ByteCount {
            let charge = |(id, vm): (&VmId, &VmFacts)| {
                let then = self.read.map(|read| read.vms.get(id).map(|vm| shown(hidden, id, vm)));
                self.charge(*id, shown(hidden, id, vm), then, late).max(more(id))
            };
            self.now.vms.iter().map(charge).sum()
        };
        let before_of = |hidden: bool| -> ByteCount {
            let vms = self.read.unwrap_or(self.now).vms.iter();
            let held = |(id, vm): (&VmId, &VmFacts)| {
                let undone = self.undone.get(id).copied().unwrap_or_default();
                shown(hidden, id, vm).exposure().max(undone)
            };
            vms.map(held).sum::<ByteCount>().saturating_add(self.delivered)
        };
        if let Some(limit) = self.policy.pool_limit {
            let (sum, before) = (sum_of(true), before_of(true));
            let most = limit.max(before).saturating_add(self.rounding());
            if sum > most.saturating_add(self.noise) {
                let all = "VMs may come to hold";
                return Some(format!("{all} {sum}, the pool's limit is {limit}; it was {before}"));
            }
        }
        let (sum, before) = (sum_of(false), before_of(false));
        let (other, reserve) = (self.other(), self.policy.host_reserve);
        let total = self.now.host.total;
        let all = sum.saturating_add(other).saturating_add(reserve);
        let rounded = self.rounding();
        let (grown, returned) = (self.grown, self.returned);
        let most = total.saturating_add(rounded).saturating_add(self.noise);
        if all > most && grown > returned {
            return Some(format!(
                "VMs may come to hold {sum}, others {other}, reserve {reserve}: {all} of {total}; \
                 they are granted {grown} of {returned} that the host got back"
            ));
        }
        if all > most && sum > before {
            return Some(format!(
                "VMs may come to hold {sum}, others {other}, reserve {reserve}: {all} of {total}; \
                 VMs might hold {before} before"
            ));
        }
        None
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
        let (now, before) = (self.sum_with(granted), self.before());
        let all = now.saturating_add(self.other()).saturating_add(reserve);
        let spare = self.rounding().saturating_add(self.noise);
        let total = self.now.host.total;
        let is_taken = all > total.saturating_add(spare) && now > before.saturating_add(spare);
        is_taken.then(|| {
            format!(
                "VMs may come to hold {now}, {before} before, of {total} with {reserve} reserved and \
                 kept"
            )
        })
    }

    /// What VMs may come to hold with what they are granted.
    fn sum_with(&self, granted: &BTreeMap<VmId, ByteCount>) -> ByteCount {
        let charge = |(id, vm): (&VmId, &VmFacts)| {
            let then = self.read.map(|read| read.vms.get(id).copied());
            let more = granted.get(id).copied().unwrap_or_default();
            self.charge(*id, *vm, then, false).max(more)
        };
        self.now.vms.iter().map(charge).sum()
    }

    /// What they might hold before, and what givers delivered that takers have not got.
    fn before(&self) -> ByteCount {
        let held = |(id, vm): (&VmId, &VmFacts)| {
            let undone = self.undone.get(id).copied().unwrap_or_default();
            vm.exposure().max(undone)
        };
        let vms = self.read.unwrap_or(self.now).vms.iter();
        vms.map(held).sum::<ByteCount>().saturating_add(self.delivered)
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

    /// What one VM is charged with. `then` is what was so of it at the last reading, if that counts
    /// still and if it was there.
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
        let exposure = vm.exposure().min(then.exposure().max(ordered));
        let unseen = vm.foreign_at.is_some_and(|at| at.saturating_add(EVENT) > read.now);
        match self.known.get(&id).filter(|_| unseen) {
            Some(known) => known.actual.min(exposure),
            None => exposure,
        }
    }

    /// What others use.
    fn other(&self) -> ByteCount {
        let now = other(self.now);
        self.read.map_or(now, |read| other(read).min(now))
    }
}

const PAGE: ByteCount = ByteCount::kib(4);

/// What neither a VM nor its process takes.
fn other(facts: &Facts) -> ByteCount {
    let processes: ByteCount = facts.vms.values().map(|vm| vm.rss).sum();
    facts.taken.saturating_sub(processes)
}

/// What each giver has delivered, and what of that was granted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    givers: BTreeMap<VmId, Giver>,
}

#[derive(Debug)]
struct Giver {
    /// What it held when it was last told to shrink.
    base: ByteCount,
    /// The least that it was seen to hold since.
    least: ByteCount,
    /// How much it was to give.
    gives: ByteCount,
    /// What was resident of it when it was last told to shrink, and the least since.
    touched: (ByteCount, ByteCount),
    /// Delivered for earlier orders, and not granted yet.
    carried: ByteCount,
    granted: ByteCount,
}

impl Ledger {
    /// Forgets everything: a new process knows of no debts.
    pub(super) fn clear(&mut self) {
        self.givers.clear();
    }

    /// Notes what VMs really hold; one that is gone holds nothing.
    pub(super) fn see(&mut self, facts: &Facts) {
        for (id, giver) in &mut self.givers {
            let held = facts.vms.get(id).map(VmFacts::held).unwrap_or_default();
            let touched = facts.vms.get(id).map(resident).unwrap_or_default();
            giver.least = giver.least.min(held);
            giver.touched.1 = giver.touched.1.min(touched);
        }
    }

    /// Notes that a VM was told to shrink by so much.
    pub(super) fn shrinks(&mut self, id: VmId, vm: &VmFacts, gives: ByteCount) {
        let carried = self.givers.get(&id).map_or(ByteCount::ZERO, Giver::open);
        let (base, least, touched) = (vm.held(), vm.held(), (resident(vm), resident(vm)));
        let granted = ByteCount::ZERO;
        let fresh = Giver { base, least, gives, touched, carried, granted };
        self.givers.insert(id, fresh);
    }

    /// What was delivered and not granted, of all, and the noise of that.
    pub(super) fn open(&self) -> ByteCount {
        self.givers.values().map(|giver| giver.open().saturating_add(giver.noise())).sum()
    }

    /// What the host got back and nobody was granted, of all, and the noise of that.
    pub(super) fn returned(&self) -> ByteCount {
        let of = |giver: &Giver| {
            let came = giver.touched.0.saturating_sub(giver.touched.1);
            let came = came.saturating_add(giver.carried).min(giver.delivered());
            came.saturating_sub(giver.granted).saturating_add(giver.noise())
        };
        self.givers.values().map(of).sum()
    }

    /// What all of them may fail to deliver unnoticed.
    pub(super) fn noise(&self) -> ByteCount {
        self.givers.values().map(Giver::noise).sum()
    }

    /// Notes that so much was granted out of a giver. Why that is too much; `None` where it is not.
    /// A sixteenth of what it was to give is left to the noise of the host's figures.
    pub(super) fn grant(&mut self, id: VmId, amount: ByteCount) -> Option<String> {
        let Some(giver) = self.givers.get_mut(&id) else {
            return Some(format!("{amount} was granted, and it was not told to give"));
        };
        giver.granted = giver.granted.saturating_add(amount);
        let there = giver.delivered().saturating_add(giver.noise());
        (giver.granted > there).then(|| {
            let (granted, delivered) = (giver.granted, giver.delivered());
            format!("{granted} was granted, of which the host got back {delivered}")
        })
    }
}

impl Giver {
    fn delivered(&self) -> ByteCount {
        self.base.saturating_sub(self.least).saturating_add(self.carried)
    }

    /// What it may fail to deliver unnoticed.
    fn noise(&self) -> ByteCount {
        self.gives.fraction(1, 16).saturating_add(ByteCount::kib(8))
    }

    fn open(&self) -> ByteCount {
        self.delivered().saturating_sub(self.granted)
    }
}

/// What of it is really on the host.
fn resident(vm: &VmFacts) -> ByteCount {
    vm.touched.max(vm.in_place)
}

/// The longest time from one balloon event to the next.
pub(super) const EVENT: Duration = Duration::from_millis(1_100);
