//! [`Squeezed::reserve`]: memory that somebody asks of the daemon for a VM about to start.
//!
//! The contest has no use for it: its VMs start whoever has the host, and none waits to be let in. So nobody but the
//! tests here calls it.
//!
//! What is asked for counts as part of what the host is to keep, until it is there. Who is inactive then is named as
//! the one that refused. Whose a reservation is, how it goes over to its VM, and one of a range are left out.

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::{Squeezed, TOLERANCE, freeable};
use crate::contest::rival::{Rival, Seen, SeenVm};
use crate::contest::rivals::figures::{pool, real, spare, whole};

/// What is said to somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To ask again in a second; these are told to give.
    Wait(Vec<(VmId, ByteCount)>),
    /// The memory is there, and no VM can take it.
    Granted,
    /// Minima leave only so much.
    TooMuch(ByteCount),
    /// These do not give what they should.
    Refused(Vec<VmId>),
}

impl Squeezed {
    /// Makes so much free, in place of a turn.
    pub fn reserve(&mut self, amount: ByteCount, seen: &Seen) -> Reply {
        let reserve = seen.reserve.saturating_add(amount);
        let seen = &Seen { reserve, ..seen.clone() };
        if spare(seen) >= -TOLERANCE {
            return Reply::Granted;
        }
        self.moves = true;
        let orders = self.turn(seen);
        let (active, inactive): (Vec<&SeenVm>, Vec<&SeenVm>) =
            seen.vms.iter().partition(|vm| self.is_active(vm.id));
        let sum = |vms: &[&SeenVm]| vms.iter().map(|vm| freeable(vm)).sum::<f64>();
        let free = pool(seen) - seen.vms.iter().map(|vm| real(vm.actual)).sum::<f64>();
        // What would be free beyond what is asked for, of those who give, and of all.
        let (would, could) = (free + sum(&active), free + sum(&active) + sum(&inactive));
        if could < -TOLERANCE {
            return Reply::TooMuch(whole(real(amount) + could));
        }
        if would < -TOLERANCE {
            return Reply::Refused(inactive.iter().map(|vm| vm.id).collect());
        }
        Reply::Wait(orders)
    }
}
