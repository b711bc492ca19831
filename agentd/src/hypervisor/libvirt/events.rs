//! What libvirt says by itself, on its way from the thread of its event loop to the tick.
//!
//! The queue is bounded: when it is full, the reader is told that it missed something.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use agentd_core::vm::VmId;

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
}

/// A queue for the events of one connection.
pub(super) fn channel() -> (Signals, Receiver<Event>) {
    let (events, receiver) = sync_channel(CAPACITY);
    let signals =
        Signals { events, missed: AtomicBool::new(false), closed: AtomicBool::new(false) };
    (signals, receiver)
}

impl Signals {
    pub(super) fn push(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that the connection is lost.
    pub(super) fn close(&self) {
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
    use super::*;

    #[test]
    fn a_full_queue_says_so_once_and_does_not_block() {
        let (signals, events) = channel();
        let vm = VmId::from_bytes([1; 16]);
        for _ in 0..=CAPACITY {
            signals.push(Event::Started(vm));
        }
        assert_eq!(events.try_iter().count(), CAPACITY);
        assert!(signals.take_missed());
        assert!(!signals.take_missed());
    }
}
