//! [`Reservation`]: memory that is kept together for a VM that is about to start or arrive.
//!
//! A reservation stands in the pool like a VM that is not there yet. What it *holds* is a part of
//! what the host is seen to keep beyond its reserve: nobody is given that. What it *lacks* is asked
//! of VMs that have some to spare, under the same rules of safety as anything else. It holds nothing
//! that is not there: where the host itself takes memory, what is held grows less, and is lacked anew.
//!
//! ```text
//! usable = promised to VMs + reserve of the host + held for reservations + the rest
//! ```
//!
//! Once the VM is there it is counted with all that it may come to hold, and in the same tick the
//! reservation ends: no memory is counted for both, and there is no tick in which neither counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{bytes::ByteCount, policy::VmKey, sample::Sample, vm::VmId};

/// Names a reservation. Numbers grow and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservationId(pub u64);

/// Memory that somebody wants kept together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Which one. The lower is served first.
    pub id: ReservationId,
    /// What it is guaranteed: it is filled once it holds this.
    pub min: ByteCount,
    /// Most that it takes: beyond its minimum only what no VM needs.
    pub max: ByteCount,
    /// The VM that it is for; `None` for the first VM that comes once it is filled.
    pub vm: Option<VmKey>,
}

/// How a reservation stands after one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Which one.
    pub id: ReservationId,
    /// What it is guaranteed.
    pub min: ByteCount,
    /// Most that it takes.
    pub max: ByteCount,
    /// What it holds: seen free on the host, and promised to nobody. Zero once it is handed over.
    pub held: ByteCount,
    /// It holds its minimum, or did and lacks next to nothing of it.
    pub filled: bool,
    /// The VM that has come and is counted in its place; it is over then.
    pub handed_to: Option<VmId>,
}

/// What is remembered of reservations from tick to tick, of those of the last sample only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// A tick was decided before: VMs that were not there then have come since.
    began: bool,
    /// Those that hold their minimum now, give or take.
    filled: BTreeSet<ReservationId>,
    /// Those that ever did: one that lacks something again still goes to the first VM that comes.
    was_filled: BTreeSet<ReservationId>,
    handed: BTreeMap<ReservationId, VmId>,
}

/// What all reservations together do to the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// What they are guaranteed: the host gives nothing that would leave it this or less beside its
    /// reserve.
    pub reserved: ByteCount,
    /// What they may take beyond.
    pub beyond: ByteCount,
    /// What they hold.
    pub held: ByteCount,
    /// What they lack of their minimums.
    pub lacks: ByteCount,
    /// What they lack of what they may take beyond.
    pub wants: ByteCount,
    /// What nobody has to be asked for: what VMs have been told to give to the host and have not given
    /// yet, and what only shows as theirs until it is known what they were told before.
    pub coming: ByteCount,
}

impl Booking {
    /// What it lacks of its minimum: nothing once it is handed over.
    #[must_use]
    pub const fn lacks(&self) -> ByteCount {
        match self.handed_to {
            Some(_) => ByteCount::ZERO,
            None => self.min.saturating_sub(self.held),
        }
    }
}

impl Booked {
    /// What VMs are asked for before anybody else gets anything. A little more than is lacked, so
    /// that a reservation that is filled stays so while the host's own use goes up and down.
    #[must_use]
    pub fn asks(&self) -> ByteCount {
        let margin = if self.lacks.is_zero() { ByteCount::ZERO } else { NOISE };
        self.lacks.saturating_add(margin).saturating_sub(self.coming)
    }

    /// What VMs are asked for that have some to spare when nobody else needs it.
    #[must_use]
    pub fn asks_more(&self) -> ByteCount {
        let all = self.lacks.saturating_add(self.wants).saturating_sub(self.coming);
        all.saturating_sub(self.asks())
    }
}

impl Memory {
    /// The VM that a reservation was handed over to; `None` while it is open.
    #[must_use]
    pub fn handed_to(&self, id: ReservationId) -> Option<VmId> {
        self.handed.get(&id).copied()
    }

    /// Takes in a sample: hands over what is for VMs that are there, and gives what is `free`, which
    /// is what the host keeps beyond its reserve, to the reservations that stay open. `known` are the
    /// VMs of the tick before.
    #[must_use]
    pub fn book(
        &self,
        sample: &Sample,
        is_known: impl Fn(VmId) -> bool,
        free: ByteCount,
    ) -> (Vec<Booking>, Self) {
        let handed = self.hand_over(sample, is_known);
        let is_open = |own: &&Reservation| !handed.contains_key(&own.id);
        let open: Vec<&Reservation> = sample.reservations.iter().filter(is_open).collect();
        let held = fill(&open, free);
        let bookings = sample.reservations.iter().map(|own| {
            let held = held.get(&own.id).copied().unwrap_or_default();
            let handed_to = handed.get(&own.id).copied();
            let was_filled = self.filled.contains(&own.id);
            let lacks = own.min.saturating_sub(held);
            // One that is small is not filled by nothing.
            let noise = NOISE.min(own.min.fraction(1, 4));
            let filled = lacks.is_zero() || was_filled && (lacks <= noise || handed_to.is_some());
            Booking { id: own.id, min: own.min, max: own.max, held, filled, handed_to }
        });
        let bookings: Vec<Booking> = bookings.collect();
        let ids = |is: &dyn Fn(&Booking) -> bool| -> BTreeSet<ReservationId> {
            bookings.iter().filter(|own| is(own)).map(|own| own.id).collect()
        };
        let filled = ids(&|own| own.filled);
        let was_filled = ids(&|own| own.filled || self.was_filled.contains(&own.id));
        (bookings, Self { began: true, filled, was_filled, handed })
    }

    fn hand_over(
        &self,
        sample: &Sample,
        is_known: impl Fn(VmId) -> bool,
    ) -> BTreeMap<ReservationId, VmId> {
        let mut handed = BTreeMap::new();
        for own in &sample.reservations {
            let vm = self.handed_to(own.id).or_else(|| named(sample, own.vm.as_ref()?));
            handed.extend(vm.map(|vm| (own.id, vm)));
        }
        let taken: BTreeSet<VmId> = handed.values().copied().collect();
        let has_come = |id: &&VmId| self.began && !is_known(**id) && !taken.contains(*id);
        let mut newcomers = sample.vms.keys().filter(has_come);
        for own in &sample.reservations {
            let waits = own.vm.is_none() && self.was_filled.contains(&own.id);
            if waits
                && !handed.contains_key(&own.id)
                && let Some(vm) = newcomers.next()
            {
                handed.insert(own.id, *vm);
            }
        }
        handed
    }
}

/// The VM with this UUID or name, where it is there.
#[must_use]
pub fn named(sample: &Sample, key: &VmKey) -> Option<VmId> {
    match key {
        VmKey::Id(id) => sample.vms.contains_key(id).then_some(*id),
        VmKey::Name(name) => {
            sample.vms.iter().find(|(_, vm)| *vm.name == **name).map(|(id, _)| *id)
        }
    }
}

/// What all of these come to, with `coming` on its way to the host.
#[must_use]
pub fn booked(bookings: &[Booking], coming: ByteCount) -> Booked {
    let mut booked = Booked { coming, ..Booked::default() };
    for own in bookings.iter().filter(|own| own.handed_to.is_none()) {
        let least = own.min.max(own.held);
        let add = |sum: &mut ByteCount, amount| *sum = sum.saturating_add(amount);
        add(&mut booked.reserved, own.min);
        add(&mut booked.beyond, own.max.saturating_sub(own.min));
        add(&mut booked.held, own.held);
        add(&mut booked.lacks, own.lacks());
        add(&mut booked.wants, own.max.saturating_sub(least));
    }
    booked
}

/// What each gets of what is free: first all of them their minimums, then what they take beyond.
fn fill(open: &[&Reservation], mut free: ByteCount) -> BTreeMap<ReservationId, ByteCount> {
    let mut held: BTreeMap<ReservationId, ByteCount> = BTreeMap::new();
    let wanted: [fn(&Reservation) -> ByteCount; 2] =
        [|own| own.min, |own| own.max.saturating_sub(own.min)];
    for wanted in wanted {
        for own in open {
            let gets = wanted(own).min(free);
            free = free.saturating_sub(gets);
            let sum = held.entry(own.id).or_default();
            *sum = sum.saturating_add(gets);
        }
    }
    held
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the host's own use goes up and down by: a reservation that lacks no more than this stays
/// filled once it was.
const NOISE: ByteCount = ByteCount::mib(16);
