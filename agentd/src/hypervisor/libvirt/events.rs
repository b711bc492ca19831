//! What libvirt says by itself, on its way from the thread of its event loop to the tick.
//!
//! The queue is bounded: when it is full, the reader is told that it missed something.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use agentd_core::vm::VmId;

use crate::bell::Bell;

/// Something happened to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It started, rebooted, or came from a save, a snapshot or another host: what was known of it
    /// has to be learned anew.
    Started(VmId),
    /// A device was added to it or removed.
    Rebuilt(VmId),
    /// It ended.
    Stopped(VmId),
    /// It holds so much memory.
    Actual {
        /// Which VM.
        vm: VmId,
        /// How much.
        kib: u64,
    },
}

/// The end that callbacks push into. Never blocks.
#[derive(Debug)]
pub(super) struct Signals {
    events: SyncSender<Event>,
    missed: AtomicBool,
    closed: AtomicBool,
    /// Rung when the connection is lost.
    bell: Arc<Bell>,
}

/// A queue for the events of one link, and the bell that its loss rings.
pub(super) fn channel(bell: Arc<Bell>) -> (Signals, Receiver<Event>) {
    let (events, receiver) = sync_channel(CAPACITY);
    let (missed, closed) = Default::default();
    (Signals { events, missed, closed, bell }, receiver)
}

impl Signals {
    pub(super) fn push(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a connection is lost, which is the end of the link.
    pub(super) fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.bell.look();
        }
    }

    /// Notes that the link is given up: what becomes of its connections from now on rings no more.
    pub(super) fn give_up(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// True once after events were lost.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

/// A start of every VM of a full host, with room to spare.
const CAPACITY: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bell::Rung;

    #[test]
    fn a_full_queue_says_so_once_and_does_not_block() {
        let (signals, events) = channel(Arc::default());
        let vm = VmId::from_bytes([1; 16]);
        for _ in 0..=CAPACITY {
            signals.push(Event::Started(vm));
        }
        assert_eq!(events.try_iter().count(), CAPACITY);
        assert!(signals.take_missed());
        assert!(!signals.take_missed());
    }

    #[test]
    fn the_first_connection_that_is_lost_rings_and_the_others_do_not() {
        let bell = Arc::new(Bell::default());
        let (signals, _events) = channel(Arc::clone(&bell));
        signals.close();
        assert_eq!(bell.wait(Duration::ZERO), Rung::Look);
        signals.close();
        assert_eq!(bell.wait(Duration::ZERO), Rung::No);
        assert!(signals.is_closed());
    }

    #[test]
    fn a_link_that_was_given_up_does_not_ring_when_it_is_closed_at_last() {
        let bell = Arc::new(Bell::default());
        let (signals, _events) = channel(Arc::clone(&bell));
        signals.give_up();
        signals.close();
        assert_eq!(bell.wait(Duration::ZERO), Rung::No);
    }
}
