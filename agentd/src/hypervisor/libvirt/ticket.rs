//! [`Ticket`]: leave to pass an order on, until its deadline and until its giver has given it up.
//!
//! Between the moment in which an order is handed to a thread and the call that passes it on lie
//! other calls, which may hang. What comes out of them later must not order anything: the figures
//! that the order was made of are old, and somebody may have paused agentd meanwhile. A ticket is
//! spent once, by the thread that orders or by whoever gives the order up: whoever comes second
//! knows that the other was first.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::scatter::Deadline;

/// Leave for one order. All copies are the same ticket.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    deadline: Deadline,
    spent: Arc<AtomicBool>,
}

impl Ticket {
    /// Good until the deadline.
    pub(super) fn until(deadline: &Deadline) -> Self {
        Self { deadline: deadline.clone(), spent: Arc::default() }
    }

    /// True when the order may be passed on now. To be asked right before that, and once.
    pub(super) fn redeem(&self) -> bool {
        !self.deadline.left().is_zero() && self.spend()
    }

    /// Gives the order up. True when it was not passed on, and never will be.
    pub(super) fn give_up(&self) -> bool {
        self.spend()
    }

    fn spend(&self) -> bool {
        !self.spent.swap(true, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, VirtualClock};

    fn ticket() -> (Ticket, Arc<VirtualClock>) {
        let clock = Arc::new(VirtualClock::default());
        let deadline = Deadline::after(&(clock.clone() as Arc<dyn Clock>), Duration::from_secs(1));
        (Ticket::until(&deadline), clock)
    }

    #[test]
    fn whoever_comes_first_has_it() {
        let (given_up, _) = ticket();
        assert!(given_up.give_up());
        assert!(!given_up.redeem());
        let (redeemed, _) = ticket();
        assert!(redeemed.clone().redeem());
        assert!(!redeemed.give_up(), "it may have been passed on");
        assert!(!redeemed.redeem(), "it is good for one order");
    }

    #[test]
    fn it_ends_with_its_deadline() {
        let (ticket, clock) = ticket();
        clock.sleep(Duration::from_secs(1));
        assert!(!ticket.redeem());
        assert!(ticket.give_up(), "it was not passed on");
    }
}
