//! [`Opening`]: a history that is opened on a thread of its own, and [`Shelf`]: where its readers find it.
//!
//! A large file on a slow disk is looked through for minutes. Nobody waits for that: neither the first tick
//! nor the log, whose entries wait until there is a place for them.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
};

use tokio::sync::watch;

use super::{HistoryReader, HistoryStore};
use crate::{
    publish::Entry,
    record::{History, HistoryError},
    store::StoreError,
};

/// A history that may still be being opened.
#[derive(Debug)]
pub struct Opening {
    state: State,
    shelf: watch::Sender<Reading>,
}

#[derive(Debug)]
enum State {
    UnderWay(Receiver<Result<HistoryStore, StoreError>>),
    Open(Box<HistoryStore>),
    /// Why it cannot be.
    Failed(String),
}

/// What there is to be read.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Nothing yet: it is being checked.
    Checking,
    /// The history.
    Open(Arc<HistoryReader>),
    /// Nothing: there is no history, or it cannot be opened.
    Nothing,
}

/// Where readers find the history.
#[derive(Clone, Debug)]
pub struct Shelf(watch::Receiver<Reading>);

impl Opening {
    /// Begins to open it.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn begin(
        open: impl FnOnce() -> Result<HistoryStore, StoreError> + Send + 'static,
    ) -> io::Result<(Self, Shelf)> {
        let (opened, to_come) = mpsc::sync_channel(1);
        thread::Builder::new().name("history".to_owned()).spawn(move || {
            // Nobody takes it where agentd has stopped.
            let _ = opened.try_send(open());
        })?;
        let (shelf, readers) = watch::channel(Reading::Checking);
        Ok((Self { state: State::UnderWay(to_come), shelf }, Shelf(readers)))
    }

    /// Lets readers in, once what was held back for it is there.
    fn show(&self, store: &HistoryStore) {
        if !matches!(*self.shelf.borrow(), Reading::Checking) {
            return;
        }
        let reading = match store.reader() {
            Ok(reader) => Reading::Open(Arc::new(reader)),
            Err(error) => {
                tracing::warn!(%error, "the history cannot be read");
                Reading::Nothing
            }
        };
        self.shelf.send_replace(reading);
    }
}

impl History for Opening {
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError> {
        match &mut self.state {
            State::UnderWay(_) => Err(HistoryError("it is still being checked".to_owned())),
            State::Failed(why) => Err(HistoryError(why.clone())),
            State::Open(store) => {
                let kept = store.append(entries);
                if let State::Open(store) = &self.state {
                    self.show(store);
                }
                kept
            }
        }
    }

    fn is_open(&mut self) -> bool {
        let State::UnderWay(to_come) = &self.state else { return true };
        self.state = match to_come.try_recv() {
            Err(TryRecvError::Empty) => return false,
            Ok(Ok(store)) => State::Open(Box::new(store)),
            Ok(Err(error)) => {
                self.shelf.send_replace(Reading::Nothing);
                State::Failed(error.to_string())
            }
            // A thread that panics ends agentd.
            Err(TryRecvError::Disconnected) => return false,
        };
        true
    }
}

impl Shelf {
    /// Where there never is a history, or it is open already.
    #[must_use]
    pub fn of(reader: Option<Arc<HistoryReader>>) -> Self {
        let (_, readers) = watch::channel(reader.map_or(Reading::Nothing, Reading::Open));
        Self(readers)
    }

    /// What there is now, and wakes its holder when that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Reading> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        clock::{Clock as _, RealClock},
        publish::{Epoch, Kind, Position, Stamp},
        store::Retention,
    };

    fn entry(seq: u64) -> Entry {
        Entry {
            position: Position { epoch: Epoch::random(), seq },
            stamp: Stamp { wall: std::time::SystemTime::UNIX_EPOCH, monotonic: Duration::ZERO },
            kind: Kind::Tick,
            eventful: false,
            bytes: Arc::from([1]),
            shadow: None,
        }
    }

    fn open(path: &Path) -> Result<HistoryStore, StoreError> {
        let retention = Retention { age: Duration::from_secs(1 << 30), bytes: 1 << 30 };
        HistoryStore::open(path, retention, |_| Vec::new())
    }

    fn until_open(history: &mut Opening) {
        let clock = RealClock::start();
        while !history.is_open() {
            assert!(clock.now() < Duration::from_secs(60), "it is not opened");
            clock.sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_is_read_once_it_has_what_was_held_back_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let (go, may) = mpsc::channel::<()>();
        let (mut history, shelf) = Opening::begin(move || {
            let _ = may.recv();
            open(&path)
        })
        .unwrap();
        let news = shelf.subscribe();
        assert!(!history.is_open() && history.append(&[entry(1)]).is_err());
        drop(go);
        until_open(&mut history);
        assert!(matches!(*news.borrow(), Reading::Checking), "it would lack what is held");
        history.append(&[entry(1)]).unwrap();
        let Reading::Open(reader) = news.borrow().clone() else { panic!("it is not there") };
        let found = reader.read(|past| past.behind(Default::default(), 1)).unwrap();
        assert_eq!(found[0].entry.position.seq, 1);
    }

    #[test]
    fn one_that_cannot_be_opened_is_none_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (mut history, shelf) = Opening::begin(move || open(&path)).unwrap();
        until_open(&mut history);
        let error = history.append(&[entry(1)]).unwrap_err().to_string();
        assert!(error.contains("it is no file"), "{error}");
        assert!(matches!(*shelf.subscribe().borrow(), Reading::Nothing));
    }
}
