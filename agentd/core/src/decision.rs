//! [`Decision`]: everything that one tick decided, as a value.

use crate::{
    by_vm::ByVm,
    bytes::ByteCount,
    host::HostView,
    plan::{Plan, Transfer},
    policy::Algorithm,
    reserve::{Booked, Booking},
    verdict::{Reason, Verdict},
};

/// Everything that one tick decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Number of the tick.
    pub tick: u64,
    /// Who decided.
    pub algorithm: Algorithm,
    /// Where the rotation of `two-pointer` stood; `None` for other algorithms.
    pub offset: Option<u64>,
    /// A verdict for every VM of the sample.
    pub verdicts: ByVm<Verdict>,
    /// Who gives how much to whom, in the order in which it was decided.
    pub transfers: Vec<Transfer>,
    /// The orders that follow.
    pub plan: Plan,
    /// The pool that this was decided on.
    pub pool: Pool,
    /// How the host itself fares.
    pub host: HostView,
    /// How every reservation of the sample stands, in its order.
    pub bookings: Vec<Booking>,
}

/// The host memory that VMs may share, as one tick saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Upper bound of the sum of all actuals; `None` for none.
    pub limit: Option<ByteCount>,
    /// Sum of all actuals.
    pub actual: ByteCount,
    /// The most that VMs may come to hold together without another order, and what is spoken for.
    pub exposed: ByteCount,
    /// What VMs may still take without another order, as far as the host does not show it taken.
    pub promised: ByteCount,
    /// What the host keeps: the lesser of its usable memory less `promised`, and what the limit
    /// leaves beside all that VMs may hold.
    pub kept: ByteCount,
    /// What the host has left.
    pub usable: ByteCount,
    /// What of `promised` is of VMs that start, less what is on its way to the host: nothing shows how much of
    /// it they will take, and soon.
    pub starting: ByteCount,
    /// What the host could promise beside its reserve and what it has promised already.
    pub room: ByteCount,
    /// What the host has promised already beyond its usable memory less its reserve; nothing where
    /// it could keep all of it.
    pub debt: ByteCount,
    /// What the host must keep more than.
    pub reserve: ByteCount,
    /// Why the host gives nothing to anybody, however much it keeps; `None` where it may.
    pub stop: Option<Reason>,
    /// What reservations hold of `kept`, and what they lack.
    pub booked: Booked,
}

impl Pool {
    /// What the host has left once the VMs that start have taken theirs. Nothing where they may take more than
    /// there is: then others give a reserve's worth in a tick for them, for most never take it, and one that does
    /// not get on with its start would empty all others.
    #[must_use]
    pub const fn left(&self) -> ByteCount {
        self.usable.saturating_sub(self.starting)
    }

    /// What the host must keep more than: its reserve, and what reservations are guaranteed.
    #[must_use]
    pub const fn least(&self) -> ByteCount {
        self.reserve.saturating_add(self.booked.reserved)
    }

    /// Why the host does not give what nobody else can.
    #[must_use]
    pub fn refusal(&self) -> Reason {
        let spent = if self.booked.held.is_zero() { Reason::PoolEmpty } else { Reason::Reserved };
        self.stop.unwrap_or(spent)
    }
}
