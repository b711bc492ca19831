//! [`Feed`]: what happens, for one who counts it. Whoever tells never waits: where the reader is behind,
//! events are lost to it, and counted.

use std::sync::OnceLock;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Lost, Meters};
use crate::event::Event;

/// The place for one reader of events.
#[derive(Debug, Default)]
pub struct Feed {
    reader: OnceLock<Sender<Event>>,
}

impl Feed {
    /// What happens from now on; `None` where somebody reads already.
    #[must_use]
    pub fn subscribe(&self) -> Option<Receiver<Event>> {
        let (sender, receiver) = channel(WAITING);
        self.reader.set(sender).ok().map(|()| receiver)
    }

    /// Tells the reader, if there is one.
    pub(crate) fn tell(&self, event: &Event, meters: &Meters) {
        let Some(reader) = self.reader.get() else { return };
        // A reader that is gone has no use for anything.
        if !reader.is_closed() && reader.try_send(event.clone()).is_err() {
            meters.lose(Lost::NotCounted, 1);
        }
    }
}

/// Events that wait for a reader: half a minute of ticks and their changes, at one tick a second.
const WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::VmChange;

    #[test]
    fn a_reader_that_is_behind_delays_nobody_and_what_it_misses_is_counted() {
        let (feed, meters) = (Feed::default(), Meters::default());
        let vm = agentd_core::vm::VmId::from_bytes([1; 16]);
        let event = Event::Vm(VmChange { vm, name: "web1".into(), before: None, after: None });
        feed.tell(&event, &meters);
        let mut reader = feed.subscribe().unwrap();
        assert!(feed.subscribe().is_none(), "one reader");
        for _ in 0..WAITING + 3 {
            feed.tell(&event, &meters);
        }
        assert_eq!(meters.counted().lost, [("not_counted", 3)].into());
        let mut read = 0;
        while reader.try_recv().is_ok() {
            read += 1;
        }
        assert_eq!(read, WAITING);
        drop(reader);
        feed.tell(&event, &meters);
        assert_eq!(meters.counted().lost, [("not_counted", 3)].into());
    }
}
