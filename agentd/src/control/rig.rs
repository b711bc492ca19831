//! What the control's tests stand on: a storage in memory that can fail or hang, and an audience
//! that remembers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, SystemTime},
};

use agentd_core::reserve::ReservationId;

use super::{keeper::Keeper, *};
use crate::{
    clock::{Clock, VirtualClock},
    publish::Epoch,
};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Debug, Default)]
pub(super) struct DiskState {
    pub(super) mode: Option<SavedMode>,
    pub(super) revisions: BTreeMap<u64, (Revision, Option<u64>)>,
    pub(super) file_policy: Option<Policy>,
    pub(super) reservations: BTreeMap<ReservationId, Reserved>,
    pub(super) unread_reservations: Option<String>,
    pub(super) last_reservation: u64,
    pub(super) pins: Vec<Pin>,
    pub(super) unread_pins: Option<String>,
    pub(super) is_full: bool,
    pub(super) hangs: bool,
    /// Hangs where what could not be read is to be forgotten.
    pub(super) hangs_forgetting: bool,
    /// Somebody waits for it to hang no more.
    pub(super) is_waited_for: bool,
}

impl Disk {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut DiskState) -> T) -> T {
        let result = look(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    fn write(&self, change: impl FnOnce(&mut DiskState)) -> Result<(), StorageError> {
        let (state, changed) = &*self.0;
        let waits = |disk: &mut DiskState| {
            disk.is_waited_for = disk.hangs;
            disk.hangs
        };
        let mut state = changed.wait_while(state.lock().unwrap(), waits).unwrap();
        if state.is_full {
            return Err(StorageError("the disk is full".to_owned()));
        }
        change(&mut state);
        Ok(())
    }
}

impl Storage for Disk {
    fn load(&mut self) -> Result<Saved, StorageError> {
        Ok(self.with(|disk| {
            let newest = disk.revisions.values().next_back().cloned();
            let (newest, falls_back_to) = newest.unzip();
            let falls_back_to = falls_back_to.flatten();
            let file_policy = disk.file_policy.clone();
            let mode = disk.mode.clone();
            let reservations = disk.reservations.values().cloned().collect();
            let unread_reservations = disk.unread_reservations.clone();
            let (pins, unread_pins) = (disk.pins.clone(), disk.unread_pins.clone());
            Saved {
                mode,
                newest,
                falls_back_to,
                file_policy,
                reservations,
                unread_reservations,
                last_reservation: disk.last_reservation,
                pins,
                unread_pins,
                lost: None,
            }
        }))
    }

    fn save_mode(&mut self, mode: &SavedMode) -> Result<(), StorageError> {
        self.write(|disk| disk.mode = Some(mode.clone()))
    }

    fn forget_mode(&mut self) -> Result<(), StorageError> {
        self.write(|disk| disk.mode = None)
    }

    fn save_revision(
        &mut self,
        revision: &Revision,
        falls_back_to: Option<u64>,
    ) -> Result<(), StorageError> {
        self.write(|disk| {
            if revision.actor.id == "config" {
                disk.file_policy = Some(revision.policy.clone());
            }
            disk.revisions.insert(revision.number, (revision.clone(), falls_back_to));
        })
    }

    fn confirm(&mut self, revision: &Revision) -> Result<(), StorageError> {
        self.write(|disk| {
            disk.revisions.insert(revision.number, (revision.clone(), None));
        })
    }

    fn forget(&mut self, number: u64) -> Result<(), StorageError> {
        self.write(|disk| {
            disk.revisions.remove(&number);
        })
    }

    fn save_reservation(&mut self, reserved: &Reserved) -> Result<(), StorageError> {
        self.write(|disk| {
            disk.reservations.insert(reserved.reservation.id, reserved.clone());
        })
    }

    fn forget_reservation(&mut self, id: ReservationId) -> Result<(), StorageError> {
        self.write(|disk| {
            disk.reservations.remove(&id);
        })
    }

    fn forget_unread(&mut self) -> Result<(), StorageError> {
        match self.with(|disk| disk.unread_reservations.is_some()) {
            true => {
                self.with(|disk| disk.hangs |= disk.hangs_forgetting);
                self.write(|disk| disk.unread_reservations = None)
            }
            false => Ok(()),
        }
    }

    fn save_pins(&mut self, pins: &Pins) -> Result<(), StorageError> {
        self.write(|disk| {
            disk.pins = pins.all().map(|pin| Pin::clone(pin)).collect();
            disk.unread_pins = None;
        })
    }

    fn probe(&mut self) -> Result<(), StorageError> {
        self.write(|_| {})
    }

    fn revisions(&mut self, before: u64, limit: usize) -> Result<Vec<Revision>, StorageError> {
        Ok(self.with(|disk| {
            let page = disk.revisions.range(..before).rev().take(limit);
            page.map(|(_, (revision, _))| revision.clone()).collect()
        }))
    }
}

/// Remembers what it is told. Clones are the same audience.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    epoch: Epoch,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) events: Vec<Event>,
    pub(super) conditions: BTreeMap<&'static str, String>,
}

impl Default for Ear {
    fn default() -> Self {
        Self { epoch: Epoch::random(), heard: Arc::default() }
    }
}

impl Ear {
    pub(super) fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap())
    }

    pub(super) fn has(&self, condition: &str) -> bool {
        self.with(|heard| heard.conditions.contains_key(condition))
    }
}

impl Audience for Ear {
    fn announce(&self, event: Event) -> Option<Position> {
        let mut heard = self.heard.lock().unwrap();
        heard.events.push(event);
        let seq = heard.events.len() as u64;
        Some(Position { epoch: self.epoch.clone(), seq })
    }

    fn raise(&self, condition: &'static str, message: String) {
        self.heard.lock().unwrap().conditions.insert(condition, message);
    }

    fn clear(&self, condition: &'static str) {
        self.heard.lock().unwrap().conditions.remove(condition);
    }
}

/// Everything that a control stands on.
#[derive(Debug, Default)]
pub(super) struct Rig {
    pub(super) disk: Disk,
    pub(super) ear: Ear,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) base: Base,
}

impl Rig {
    pub(super) fn start(&self) -> Control {
        self.start_with(PATIENT)
    }

    pub(super) fn start_with(&self, patience: Duration) -> Control {
        Control::start(self.parts(patience)).unwrap()
    }

    /// A keeper on the test's own thread.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper::begin(self.parts(PATIENT)).unwrap()
    }

    fn parts(&self, patience: Duration) -> Parts {
        let clock: Arc<dyn Clock> = self.clock.clone();
        Parts {
            storage: Box::new(self.disk.clone()),
            base: self.base.clone(),
            clock,
            audience: Box::new(self.ear.clone()),
            patience,
            freeze_file: None,
        }
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds));
    }
}

pub(super) fn somebody() -> Actor {
    Actor { id: "uid:0".to_owned(), peer: String::new(), time: SystemTime::UNIX_EPOCH }
}

/// A change of one field.
pub(super) fn edit(change: impl FnOnce(&mut Policy) + Send + 'static) -> PolicyEdit {
    PolicyEdit {
        edit: Box::new(move |policy| {
            let mut policy = policy.clone();
            change(&mut policy);
            Ok(policy)
        }),
        etag: None,
        validate_only: false,
        revert_after: None,
        may_last: true,
        actor: somebody(),
        reason: "a test".to_owned(),
    }
}

/// Longer than any test may hang.
pub(super) const PATIENT: Duration = Duration::from_secs(60);
