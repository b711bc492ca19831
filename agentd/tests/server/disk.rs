//! A disk for the history that hangs, is full, or takes its time, and the history on it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
};

use agentd::{
    publish::Entry,
    record::{History, HistoryError},
    server::condense,
    store::{HistoryStore, Opening, Retention, Shelf, StoreError},
};

use crate::rig::LONG;

/// A disk that hangs while somebody holds it, and takes nothing while it is full.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) hangs: Arc<Mutex<()>>,
    pub(crate) is_full: Arc<AtomicBool>,
}

/// What a rig keeps of its log.
#[derive(Default)]
pub(crate) enum Keeps {
    #[default]
    Nothing,
    /// All of it, on disk.
    All,
    /// The same, in a file that is not open before its sender is dropped.
    Late(Receiver<()>),
}

/// A history on the disk.
struct OnDisk {
    disk: Disk,
    /// `None` where it keeps nothing.
    store: Option<Box<dyn History>>,
}

impl History for OnDisk {
    fn append(&mut self, entries: &[Entry]) -> Result<(), HistoryError> {
        drop(self.disk.hangs.lock().unwrap_or_else(PoisonError::into_inner));
        if self.disk.is_full.load(Ordering::SeqCst) {
            return Err(HistoryError("no space left on device".to_owned()));
        }
        self.store.as_mut().map_or(Ok(()), |store| store.append(entries))
    }

    fn is_open(&mut self) -> bool {
        self.store.as_mut().is_none_or(|store| store.is_open())
    }
}

/// A history in this directory, which may hold one of before, and where it is read.
pub(crate) fn history(dir: &Path, keeps: Keeps, disk: &Disk) -> (Box<dyn History>, Shelf) {
    let (store, shelf): (Option<Box<dyn History>>, Shelf) = match keeps {
        Keeps::Nothing => (None, Shelf::of(None)),
        Keeps::All => {
            let store = open(dir).unwrap();
            let reader = Arc::new(store.reader().unwrap());
            (Some(Box::new(store)), Shelf::of(Some(reader)))
        }
        Keeps::Late(opens) => {
            let dir = dir.to_owned();
            let late = Opening::begin(move || {
                // Nothing is sent: it goes on when the sender is gone.
                let _ = opens.recv();
                open(&dir)
            });
            let (store, shelf) = late.unwrap();
            (Some(Box::new(store)), shelf)
        }
    };
    (Box::new(OnDisk { disk: disk.clone(), store }), shelf)
}

fn open(dir: &Path) -> Result<HistoryStore, StoreError> {
    let retention = Retention { age: LONG * 1_000_000, bytes: 64 << 20 };
    HistoryStore::open(&dir.join("history.db"), retention, condense)
}
