//! [`Ledger`]: what givers were told to give, what the host really has of it, and for whom it is.
//!
//! ```text
//! told to shrink -> delivered: base - held -> granted        a VM grows by it
//!                \-> came back: what was resident           nobody waits for it any more: the
//!                                                           host has it, and the giver is closed
//! ```
//!
//! Only what VMs are still to get of a giver allows anything. What goes to the host, or was promised
//! and is not any more, is the host's, and makes room for nobody by itself.

use std::collections::BTreeMap;

use agentd::hypervisor::sim::{Facts, VmFacts};
use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

/// What each giver has delivered, what of that was granted, and what is still to be.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    givers: BTreeMap<VmId, Giver>,
}

#[derive(Debug)]
struct Giver {
    /// What it may fail to deliver unnoticed.
    noise: ByteCount,
    /// What it holds.
    held: Course,
    /// What is really on the host of it.
    resident: Course,
    /// Delivered for earlier orders, and not granted yet.
    carried: ByteCount,
    /// What the host got back for earlier orders, and was not granted yet.
    carried_back: ByteCount,
    granted: ByteCount,
    /// What VMs are still to get of it; `None` in the turn in which it was told to give.
    promised: Option<ByteCount>,
}

/// What became of an amount since a VM was last told to shrink.
#[derive(Clone, Copy, Debug)]
struct Course {
    base: ByteCount,
    now: ByteCount,
    least: ByteCount,
}

impl Ledger {
    /// Forgets everything: who begins anew knows of no debts.
    pub(super) fn clear(&mut self) {
        self.givers.clear();
    }

    /// Notes what VMs really hold; one that is gone holds nothing.
    pub(super) fn see(&mut self, facts: &Facts) {
        for (id, giver) in &mut self.givers {
            let vm = facts.vms.get(id);
            giver.held.see(vm.map(VmFacts::held).unwrap_or_default());
            giver.resident.see(vm.map(resident).unwrap_or_default());
        }
    }

    /// Notes that a VM was told to shrink by so much, which was `read` so and is so now. What it
    /// gives counts from what was read, unless what came since came for an earlier order.
    pub(super) fn shrinks(&mut self, id: VmId, (read, vm): (&VmFacts, &VmFacts), gives: ByteCount) {
        let before = self.givers.get(&id);
        let base = |of: fn(&VmFacts) -> ByteCount| {
            let now = of(vm);
            let then = if before.is_none() { of(read) } else { now };
            Course { base: then.max(now), now, least: now }
        };
        let fresh = Giver {
            noise: noise_of(gives)
                .saturating_add(before.map_or(ByteCount::ZERO, Giver::carried_noise)),
            held: base(VmFacts::held),
            resident: base(resident),
            carried: before.map_or(ByteCount::ZERO, Giver::due),
            carried_back: before.map_or(ByteCount::ZERO, Giver::returned),
            granted: ByteCount::ZERO,
            promised: None,
        };
        self.givers.insert(id, fresh);
    }

    /// What givers let go of for VMs that were not granted it yet.
    pub(super) fn open(&self) -> ByteCount {
        self.givers.values().map(Giver::open).sum()
    }

    /// What the host got back for VMs that were not granted it yet.
    pub(super) fn returned(&self) -> ByteCount {
        self.givers.values().map(Giver::returned).sum()
    }

    /// The same where so much of each giver is for VMs, now that this is known of all.
    pub(super) fn returned_for(&self, due: &BTreeMap<VmId, ByteCount>) -> ByteCount {
        let of = |(id, giver): (&VmId, &Giver)| {
            giver.returned().min(due.get(id).copied().unwrap_or_default())
        };
        self.givers.iter().map(of).sum()
    }

    /// What givers may fail to deliver unnoticed.
    pub(super) fn noise(&self) -> ByteCount {
        self.givers.values().map(|giver| giver.noise).sum()
    }

    /// Notes that so much was granted out of a giver. Why that is too much; `None` where it is not.
    pub(super) fn grant(&mut self, id: VmId, amount: ByteCount) -> Option<String> {
        let Some(giver) = self.givers.get_mut(&id) else {
            return Some(format!("{amount} was granted, and it was not told to give"));
        };
        giver.granted = giver.granted.saturating_add(amount);
        let there = giver.delivered().saturating_add(giver.noise);
        (giver.granted > there).then(|| {
            let (granted, delivered) = (giver.granted, giver.delivered());
            format!("{granted} was granted, and {delivered} let go of")
        })
    }

    /// A turn is over in which so much of each giver was left for VMs to get. Of whom nobody is to
    /// get anything, nothing is open any more.
    pub(super) fn ends(&mut self, left: &BTreeMap<VmId, ByteCount>) {
        self.givers.retain(|id, giver| {
            giver.promised = left.get(id).copied();
            giver.promised.is_some_and(|promised| !promised.is_zero())
        });
    }
}

impl Giver {
    /// What it let go of, at most, since it was told to.
    fn delivered(&self) -> ByteCount {
        self.held.fell().saturating_add(self.carried)
    }

    /// What it let go of and VMs are still to get.
    fn due(&self) -> ByteCount {
        self.delivered().saturating_sub(self.granted).min(self.promised())
    }

    /// What is due of an earlier order was not counted more exactly than that order.
    fn carried_noise(&self) -> ByteCount {
        self.noise.min(self.due())
    }

    /// The same without what it took back since, which is its own again.
    fn open(&self) -> ByteCount {
        let gave = self.held.base.saturating_sub(self.held.now).saturating_add(self.carried);
        gave.saturating_sub(self.granted).min(self.promised())
    }

    fn returned(&self) -> ByteCount {
        let came = self.resident.fell().saturating_add(self.carried_back).min(self.delivered());
        came.saturating_sub(self.granted).min(self.promised())
    }

    fn promised(&self) -> ByteCount {
        self.promised.unwrap_or(ByteCount::MAX)
    }
}

impl Course {
    fn see(&mut self, amount: ByteCount) {
        self.now = amount;
        self.least = self.least.min(amount);
    }

    fn fell(&self) -> ByteCount {
        self.base.saturating_sub(self.least)
    }
}

/// A sixteenth of what a VM is to give, and 4 MiB at most, is left to the noise of the host's figures.
fn noise_of(gives: ByteCount) -> ByteCount {
    gives.fraction(1, 16).min(ByteCount::mib(4)).saturating_add(ByteCount::kib(8))
}

/// What of it is really on the host.
fn resident(vm: &VmFacts) -> ByteCount {
    vm.touched.max(vm.in_place)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{GIVER, TAKER, holding, host, mib};
    use super::*;

    /// A giver of 500 MiB was told to give 160, of which so much is still to go to VMs, and was seen
    /// to hold these amounts since.
    fn ledger(promised: u32, held: &[u32]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.shrinks(GIVER, (&holding(500), &holding(500)), mib(160));
        for held in held {
            ledger.see(&host(&[(GIVER, holding(*held))]));
        }
        ledger.ends(&BTreeMap::from([(GIVER, mib(promised))]));
        ledger
    }

    #[test]
    fn what_was_let_go_of_may_be_granted_and_no_more_than_the_noise_beyond_it() {
        let mut own = ledger(160, &[400]);
        assert_eq!(own.grant(GIVER, mib(100)), None);
        assert_eq!(own.open(), ByteCount::ZERO);
        assert_eq!(own.grant(GIVER, mib(4)), None, "no more, also of 160");
        let objection = own.grant(GIVER, mib(1)).unwrap();
        assert!(objection.starts_with("105 MiB was granted"), "{objection}");
        assert!(own.grant(TAKER, mib(1)).is_some(), "it was never told to give");
    }

    #[test]
    fn nothing_is_open_that_no_vm_is_to_get() {
        assert_eq!(ledger(160, &[400]).open(), mib(100));
        assert_eq!(ledger(60, &[400]).open(), mib(60), "the rest is the host's");
        assert_eq!(ledger(60, &[400]).returned(), mib(60));
        let mut given_up = ledger(160, &[400]);
        given_up.ends(&BTreeMap::new());
        assert_eq!((given_up.open(), given_up.returned()), (ByteCount::ZERO, ByteCount::ZERO));
        assert_eq!(given_up.noise(), ByteCount::ZERO);
        assert!(given_up.grant(GIVER, mib(60)).is_some(), "it is closed");
    }

    #[test]
    fn a_giver_that_is_gone_has_delivered_all_and_is_closed_like_any_other() {
        let mut own = ledger(160, &[]);
        own.see(&host(&[]));
        assert_eq!(own.open(), mib(160));
        own.ends(&BTreeMap::from([(GIVER, ByteCount::ZERO)]));
        assert!(own.givers.is_empty());
    }

    #[test]
    fn what_a_giver_took_back_is_not_open_and_was_delivered_all_the_same() {
        let mut own = ledger(160, &[400, 450]);
        assert_eq!(own.open(), mib(50));
        assert_eq!(own.grant(GIVER, mib(100)), None);
    }

    #[test]
    fn what_came_between_the_reading_and_the_order_counts_for_who_owed_nothing() {
        let mut own = Ledger::default();
        own.shrinks(GIVER, (&holding(500), &holding(480)), mib(100));
        assert_eq!((own.open(), own.returned()), (mib(20), mib(20)));
    }

    /// Of 100 MiB that it let go of, the host had given it 30.
    #[test]
    fn what_was_never_touched_came_back_in_no_turn() {
        let mut own = Ledger::default();
        let vm = |actual, touched| VmFacts { touched: mib(touched), ..holding(actual) };
        own.shrinks(GIVER, (&vm(500, 430), &vm(500, 430)), mib(100));
        own.see(&host(&[(GIVER, vm(400, 400))]));
        assert_eq!((own.open(), own.returned()), (mib(100), mib(30)));
        assert_eq!(own.returned_for(&BTreeMap::from([(GIVER, mib(20))])), mib(20));
        assert_eq!(own.returned_for(&BTreeMap::new()), ByteCount::ZERO, "all is for the host");
        own.ends(&BTreeMap::from([(GIVER, mib(100))]));
        own.shrinks(GIVER, (&vm(420, 420), &vm(400, 400)), mib(50));
        assert_eq!((own.open(), own.returned()), (mib(100), mib(30)), "told again");
        own.see(&host(&[(GIVER, vm(350, 350))]));
        assert_eq!((own.open(), own.returned()), (mib(150), mib(80)));
    }

    #[test]
    fn noise_is_that_of_givers_somebody_waits_for() {
        let noise = mib(4).saturating_add(ByteCount::kib(8));
        assert_eq!(ledger(160, &[]).noise(), noise);
        assert_eq!(ledger(0, &[400]).noise(), ByteCount::ZERO);
        // Told again, with as much due of before as that may be wrong by, or less.
        for (due, carried) in [(mib(100), noise), (mib(3), mib(3)), (ByteCount::ZERO, mib(0))] {
            let mut own = ledger(160, &[400]);
            own.grant(GIVER, mib(100).saturating_sub(due));
            own.shrinks(GIVER, (&holding(400), &holding(400)), mib(16));
            let of_now = mib(1).saturating_add(ByteCount::kib(8));
            assert_eq!(own.noise(), of_now.saturating_add(carried), "{due}");
        }
    }
}
