//! [`Compared`] and [`Tally`]: what two policies rule otherwise on the same samples, tick by tick and
//! in sum. Used by the shadow and by the replay.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use agentd_core::{
    bytes::ByteCount,
    check::Finding,
    decision::Decision,
    policy::{Fault, Policy},
    sample::Sample,
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};

use crate::control::forbids;

/// What was ruled for a VM, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Whether it grows, shrinks or holds.
    pub kind: VerdictKind,
    /// Why.
    pub reason: Reason,
    /// What it gets or gives.
    pub amount: ByteCount,
}

/// A VM for which the two do something else. Another reason alone is no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDifference {
    /// Which VM.
    pub vm: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// By the policy that acts.
    pub acting: Ruled,
    /// By the other one.
    pub other: Ruled,
}

/// Two decisions on the same sample, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Number of the tick.
    pub tick: u64,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// What the acting policy moves: the sum of its transfers.
    pub moved: ByteCount,
    /// The same for the other one.
    pub other_moved: ByteCount,
    /// Why the other one's plan would be thrown away: what the judge finds wrong with it, or what its
    /// policy has beyond the host.
    pub objection: Option<String>,
    /// Where they differ, in the order of the UUIDs.
    pub vms: Vec<VmDifference>,
}

impl Compared {
    /// Compares two decisions on a sample, the other one with its policy and what the judge finds wrong
    /// with it.
    #[must_use]
    pub fn new(
        sample: &Sample,
        began: SystemTime,
        acting: &Decision,
        policy: &Policy,
        (other, findings): &(Decision, Vec<Finding>),
    ) -> Self {
        let vms = sample.vms.iter().filter_map(|(id, vm)| {
            let acting = Ruled::from(acting.verdicts.get(id)?);
            let other = Ruled::from(other.verdicts.get(id)?);
            let differs = (acting.kind, acting.amount) != (other.kind, other.amount);
            differs.then(|| VmDifference { vm: *id, name: Arc::clone(&vm.name), acting, other })
        });
        Self {
            tick: sample.tick,
            began,
            moved: moved(acting),
            other_moved: moved(other),
            objection: objection(findings, &forbids(policy, sample)),
            vms: vms.collect(),
        }
    }

    /// The same without the words of its objection, which may be long; that there is one stays.
    #[must_use]
    pub fn without_words(&self) -> Self {
        let Self { tick, began, moved, other_moved, ref objection, ref vms } = *self;
        let objection = objection.as_ref().map(|_| String::new());
        Self { tick, began, moved, other_moved, objection, vms: vms.clone() }
    }
}

fn objection(findings: &[Finding], beyond: &[Fault]) -> Option<String> {
    let findings = findings.iter().map(ToString::to_string);
    let words: Vec<String> = findings.chain(beyond.iter().map(ToString::to_string)).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn moved(decision: &Decision) -> ByteCount {
    decision.transfers.iter().map(|transfer| transfer.amount).sum()
}

impl From<&Verdict> for Ruled {
    fn from(verdict: &Verdict) -> Self {
        Self { kind: verdict.kind, reason: verdict.reason, amount: verdict.amount }
    }
}

impl Ruled {
    /// What this leaves a VM with beyond what `other` does: more, and less.
    fn beside(&self, other: &Self) -> (ByteCount, ByteCount) {
        let got =
            |ruled: &Self, kind| if ruled.kind == kind { ruled.amount } else { ByteCount::ZERO };
        let up = |ruled: &Self, against: &Self| {
            got(ruled, VerdictKind::Grow).saturating_add(got(against, VerdictKind::Shrink))
        };
        let (more, less) = (up(self, other), up(other, self));
        (more.saturating_sub(less), less.saturating_sub(more))
    }
}

/// Differences in sum. What the other policy wants and does not get it wants again at the next tick:
/// so the amounts are what was decided, added up, and not what would have been moved in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks that were compared.
    pub ticks: u64,
    /// Ticks on which something differed.
    pub differed: u64,
    /// Ticks on which the other plan would have been thrown away.
    pub rejected: u64,
    /// What the acting policy moved.
    pub moved: ByteCount,
    /// The same for the other one.
    pub other_moved: ByteCount,
    /// Each VM for which something differed.
    pub vms: BTreeMap<VmId, VmTally>,
}

/// Differences of one VM in sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTally {
    /// Its name, as last seen.
    pub name: Arc<str>,
    /// Ticks on which it differed.
    pub differed: u64,
    /// What the other policy would have left it with beyond the acting one.
    pub more: ByteCount,
    /// What the acting policy left it with beyond the other one.
    pub less: ByteCount,
    /// The first difference.
    pub first: Instance,
    /// The last one.
    pub last: Instance,
}

/// A difference at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Number of the tick.
    pub tick: u64,
    /// When it began, by the wall clock.
    pub began: SystemTime,
    /// By the policy that acts.
    pub acting: Ruled,
    /// By the other one.
    pub other: Ruled,
}

impl Tally {
    /// Adds a tick.
    pub fn add(&mut self, compared: &Compared) {
        let count = |is: bool| u64::from(is);
        self.ticks = self.ticks.saturating_add(1);
        self.differed = self.differed.saturating_add(count(!compared.vms.is_empty()));
        self.rejected = self.rejected.saturating_add(count(compared.objection.is_some()));
        self.moved = self.moved.saturating_add(compared.moved);
        self.other_moved = self.other_moved.saturating_add(compared.other_moved);
        for VmDifference { vm, name, acting, other } in &compared.vms {
            let (tick, began) = (compared.tick, compared.began);
            let last = Instance { tick, began, acting: *acting, other: *other };
            let own = self.vms.entry(*vm).or_insert_with(|| VmTally::new(name, last));
            own.add(name, last);
        }
    }
}

impl VmTally {
    fn new(name: &Arc<str>, first: Instance) -> Self {
        let (more, less) = Default::default();
        Self { name: Arc::clone(name), differed: 0, more, less, first, last: first }
    }

    fn add(&mut self, name: &Arc<str>, last: Instance) {
        let (more, less) = last.other.beside(&last.acting);
        self.name = Arc::clone(name);
        self.differed = self.differed.saturating_add(1);
        self.more = self.more.saturating_add(more);
        self.less = self.less.saturating_add(less);
        self.last = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ruled(kind: VerdictKind, mib: u32) -> Ruled {
        Ruled { kind, reason: Reason::Content, amount: ByteCount::mib(mib) }
    }

    #[test]
    fn more_and_less_are_what_a_vm_is_left_with() {
        let (grow, shrink) = (ruled(VerdictKind::Grow, 50), ruled(VerdictKind::Shrink, 30));
        let hold = ruled(VerdictKind::Hold, 0);
        let of = |other: Ruled, acting: Ruled| {
            let (more, less) = other.beside(&acting);
            (more.mib_floor(), less.mib_floor())
        };
        assert_eq!(of(grow, hold), (50, 0));
        assert_eq!(of(hold, grow), (0, 50));
        assert_eq!(of(grow, shrink), (80, 0));
        assert_eq!(of(shrink, grow), (0, 80));
        assert_eq!(of(ruled(VerdictKind::Grow, 70), grow), (20, 0));
        assert_eq!(of(ruled(VerdictKind::Shrink, 40), shrink), (0, 10));
    }
}
