//! [`Storage`]: where the operator's will is kept, so that it outlives agentd.
//!
//! A port: `store` keeps it on disk; the tests of the control keep it in memory and make it fail.

use std::fmt::Debug;

use agentd_core::{policy::Policy, reserve::ReservationId};

use super::{Actor, Mode, Pin, Pins, Reserved, Revision};

/// Keeps the mode, the policy, reservations and pins. Every change is durable, whole or not at all, when its call
/// returns. Called from one thread; a call may take as long as the disk takes.
pub trait Storage: Debug + Send {
    /// All that was kept.
    ///
    /// # Errors
    ///
    /// As all calls here: whatever the disk says.
    fn load(&mut self) -> Result<Saved, StorageError>;

    /// Keeps the mode.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`]. A pause that could be kept in any way is no error.
    fn save_mode(&mut self, mode: &SavedMode) -> Result<(), StorageError>;

    /// Takes back the first mode that was ever kept, which nobody was told of and is no pause.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn forget_mode(&mut self) -> Result<(), StorageError>;

    /// Keeps a revision as the newest, and with it what it is a trial against.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn save_revision(
        &mut self,
        revision: &Revision,
        falls_back_to: Option<u64>,
    ) -> Result<(), StorageError>;

    /// Makes a trial stay: takes the time of its revert from the revision.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn confirm(&mut self, revision: &Revision) -> Result<(), StorageError>;

    /// Takes back the newest revision, which nobody was told of.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn forget(&mut self, number: u64) -> Result<(), StorageError>;

    /// Keeps a reservation, new or changed. Of those that are over only the last have to be kept.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn save_reservation(&mut self, reserved: &Reserved) -> Result<(), StorageError>;

    /// Takes back a reservation that nobody was told of.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn forget_reservation(&mut self, id: ReservationId) -> Result<(), StorageError>;

    /// Forgets the reservations that could not be read: somebody has seen to it.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn forget_unread(&mut self) -> Result<(), StorageError>;

    /// Keeps all pins, in the place of those before, read or not.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn save_pins(&mut self, pins: &Pins) -> Result<(), StorageError>;

    /// Writes something that says nothing, to see whether a change could be kept now.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn probe(&mut self) -> Result<(), StorageError>;

    /// At most `limit` revisions with numbers below `before`, newest first.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    fn revisions(&mut self, before: u64, limit: usize) -> Result<Vec<Revision>, StorageError>;
}

/// What was kept.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The mode; `None` where nobody has ever set one.
    pub mode: Option<SavedMode>,
    /// The newest revision; `None` where there is none yet.
    pub newest: Option<Revision>,
    /// The revision that the newest goes back to when it is a trial.
    pub falls_back_to: Option<u64>,
    /// The policy that the config file held when it was last in force.
    pub file_policy: Option<Policy>,
    /// Reservations, those that are over in the order in which they ended.
    pub reservations: Vec<Reserved>,
    /// Why some of the reservations, or all, are left out; `None` where all could be read.
    pub unread_reservations: Option<String>,
    /// The highest number that a reservation there has, whether it could be read or not; 0 for none.
    pub last_reservation: u64,
    /// VMs that are pinned for a while.
    pub pins: Vec<Pin>,
    /// Why some of the pins, or all, are left out; `None` where all could be read.
    pub unread_pins: Option<String>,
    /// Why what was kept before is lost, and what to do; until somebody ends the pause that
    /// follows.
    pub lost: Option<String>,
}

/// A mode, and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMode {
    /// The mode.
    pub mode: Mode,
    /// Who set it.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
    /// Who alone made it as cautious as it is. `None` where that was nobody, or several.
    pub eased_by: Option<Eased>,
}

/// Who may ease a mode without being an admin, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eased {
    /// Who, by name.
    pub who: String,
    /// The mode that they found.
    pub to: Mode,
}

/// Why something could not be kept or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(pub String);
