//! [`Feed`]: ticks and changes of policy and mode, for one who counts them. Whoever tells never waits: where
//! the reader is behind, events are lost to it, and counted.

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

    /// Tells the reader, if there is one, what is counted.
    pub(crate) fn tell(&self, event: &Event, meters: &Meters) {
        let Some(reader) = self.reader.get().filter(|_| is_counted(event)) else { return };
        // A reader that is gone has no use for anything.
        if !reader.is_closed() && reader.try_send(event.clone()).is_err() {
            meters.lose(Lost::NotCounted, 1);
        }
    }
}

/// VMs that come and go may be as many as a host has; none of them is counted.
const fn is_counted(event: &Event) -> bool {
    match event {
        Event::Tick(_) | Event::Policy(_) | Event::Mode(_) => true,
        Event::Vm(_) | Event::Reservation(_) | Event::Pin(_) => false,
    }
}

/// Events that wait for a reader: a minute of ticks, at one tick a second.
const WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        control::{Actor, Mode},
        event::{ModeChange, VmChange},
    };

    #[test]
    fn a_reader_that_is_behind_delays_nobody_and_what_it_misses_is_counted() {
        let (feed, meters) = (Feed::default(), Meters::default());
        let (id, peer) = ("agent".to_owned(), String::new());
        let event = Event::Mode(ModeChange {
            actor: Actor { id, peer, time: SystemTime::UNIX_EPOCH },
            before: Mode::Active,
            after: Mode::Paused,
            reason: String::new(),
        });
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

    #[test]
    fn vms_that_come_take_no_room_of_what_is_counted() {
        let (feed, meters) = (Feed::default(), Meters::default());
        let mut reader = feed.subscribe().unwrap();
        let vm = agentd_core::vm::VmId::from_bytes([1; 16]);
        let came = VmChange { vm, name: "web1".into(), before: None, after: None };
        (0..3 * WAITING).for_each(|_| feed.tell(&Event::Vm(came.clone()), &meters));
        assert_eq!(meters.counted().lost, [].into());
        assert!(reader.try_recv().is_err(), "nothing of them is told");
    }
}
