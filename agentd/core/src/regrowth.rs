//! [`Regrowth`]: who has grown a VM whose balloon may give memory back by itself.
//!
//! Such a balloon does so before its kernel would kill a program, a MiB at a time and only while there
//! is none left. Neither QEMU nor libvirt tell the target that a balloon has, so that what it holds does
//! not say who moved it. What can be told apart: memory that was taken in need is in use, and before it
//! there was no room. A VM that had room, and has that and what it grew by, needed none of it.
//!
//! ```text
//!   room before, all of it idle after   somebody else's order
//!   anything else                       taken by itself: it suffers, and is helped
//! ```

use crate::{
    bytes::ByteCount,
    sample::{Freshness, VmSample},
};

/// What a VM had before it grew without an order of this agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regrowth {
    held: ByteCount,
    room: ByteCount,
}

/// Who has grown a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grower {
    /// Its own balloon, in need.
    Itself,
    /// Somebody else.
    Other,
}

/// What a VM had to spare when its figures last counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    held: ByteCount,
    idle: ByteCount,
}

impl Room {
    /// What a VM has to spare; `None` where its figures do not count or say nothing of it.
    #[must_use]
    pub fn of(vm: &VmSample) -> Option<Self> {
        let idle = vm.guest.idle().filter(|_| vm.freshness == Freshness::Fresh)?;
        Some(Self { held: vm.actual, idle })
    }

    /// What is left of it when the VM holds so much.
    fn at(&self, held: ByteCount) -> ByteCount {
        self.idle.saturating_sub(self.held.saturating_sub(held))
    }
}

impl Regrowth {
    /// A VM that held so much has grown; `None` where it had no room, so that it may have been in need.
    #[must_use]
    pub fn from(held: ByteCount, room: Option<Room>) -> Option<Self> {
        let room = room?.at(held);
        (room >= LEAST_ROOM).then_some(Self { held, room })
    }

    /// Who has grown it; `None` as long as its figures are of before.
    #[must_use]
    pub fn grower(&self, vm: &VmSample) -> Option<Grower> {
        let idle = Room::of(vm)?.idle;
        let grown = vm.actual.saturating_sub(self.held);
        let unneeded = self.room.saturating_add(grown.fraction(IDLE_PERCENT, 100));
        let is_others = grown >= LEAST_GROWN && idle >= unneeded;
        Some(if is_others { Grower::Other } else { Grower::Itself })
    }
}

/// More than kernels of ordinary VMs keep unused in any case.
const LEAST_ROOM: ByteCount = ByteCount::mib(64);
/// Less may be anything that goes up and down in a VM.
const LEAST_GROWN: ByteCount = ByteCount::mib(16);
/// What of what it grew by is idle in a VM that did not need it: its programs go on meanwhile.
const IDLE_PERCENT: u64 = 75;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::holding, sample::GuestFigures};

    fn vm(held: u32, idle: u32) -> VmSample {
        let usable = Some(ByteCount::mib(idle));
        let vm = holding(held);
        VmSample { guest: GuestFigures { usable, ..vm.guest }, ..vm }
    }

    /// Who grew a VM of 400 MiB, by what was idle in it before and what it holds and has idle now.
    fn grower(before: u32, (held, idle): (u32, u32)) -> Option<Grower> {
        let regrowth = Regrowth::from(ByteCount::mib(400), Room::of(&vm(400, before)));
        regrowth.and_then(|own| own.grower(&vm(held, idle)))
    }

    #[test]
    fn who_had_room_and_has_all_that_it_got_did_not_take_it_in_need() {
        assert_eq!(grower(100, (600, 300)), Some(Grower::Other));
        assert_eq!(grower(100, (600, 250)), Some(Grower::Other), "its programs go on");
        assert_eq!(grower(100, (600, 249)), Some(Grower::Itself));
        assert_eq!(grower(100, (600, 2)), Some(Grower::Itself), "it took all of it and more");
        assert_eq!(grower(100, (410, 110)), Some(Grower::Itself), "too little to tell");
    }

    #[test]
    fn who_had_no_room_may_have_been_in_need_whatever_it_has_now() {
        assert_eq!(grower(63, (600, 260)), None);
        let shrunk = Room::of(&vm(500, 150));
        assert_eq!(Regrowth::from(ByteCount::mib(400), shrunk), None, "50 MiB were left");
    }

    #[test]
    fn figures_of_before_tell_nothing() {
        let regrowth = Regrowth::from(ByteCount::mib(400), Room::of(&vm(400, 100))).unwrap();
        let unsettled = VmSample { freshness: Freshness::Unsettled, ..vm(600, 300) };
        assert_eq!(regrowth.grower(&unsettled), None);
        assert_eq!(Room::of(&unsettled), None);
    }
}
