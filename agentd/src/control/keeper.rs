//! [`Keeper`]: makes the changes, one after the other on its own thread.
//!
//! Each change is written, then in force, then announced. Trials run out here too: the policy
//! matters to ticks alone, but whoever asks between two of them shall not see one that is over.
//! What is in force without being on disk, a pause, the end of a trial, of a reservation or of a pin, is
//! written as soon as the disk takes it.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, SystemTime},
};

use agentd_core::policy::Policy;

use super::{
    Actor, Audience, Base, ControlError, FILE, MODE_FLAG_IGNORED, POLICY_BOUNDED,
    POLICY_FILE_IGNORED, POLICY_NOT_DURABLE, PolicyEdit, PolicySet, Reserved, Revision, STATE_LOST,
    STATE_NOT_WRITABLE, SavedMode, Storage, StorageError,
    begin::{actor, begin_mode, file_revision, revision},
    changes,
    desk::{Claim, Job, Parts, Shared, stuck},
    fields::warnings,
};
use crate::{
    clock::Clock,
    event::{Event, PolicyChange},
    publish::Position,
};

mod base;
mod bounds;
mod mode;
mod pin;
mod reserve;
mod trials;

pub(super) use reserve::Noted;
use reserve::Unread;
use trials::{Row, Trial, bad_trial};

#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    storage: Box<dyn Storage>,
    clock: Arc<dyn Clock>,
    audience: Box<dyn Audience>,
    patience: Duration,
    base: Base,
    /// The file's policy when it was last in force.
    file_policy: Option<Policy>,
    /// The mode on disk.
    saved_mode: Option<SavedMode>,
    trial: Option<Trial>,
    /// The trials so far that are in a row; `None` where there is none, or what was tried stays.
    row: Option<Row>,
    /// A revision that is in force and not on disk.
    unsaved: Option<Arc<Revision>>,
    /// Reservations that are over, which is in force and not on disk.
    unsaved_ends: Vec<Reserved>,
    /// Pins are over, which is in force and not on disk.
    unsaved_pins: bool,
    /// Some pins on disk could not be read, and nobody has seen to that.
    unread_pins: bool,
    /// The same of reservations.
    unread_reservations: Unread,
    /// The highest number that a reservation on disk had at the start, whether it could be read or not.
    last_reservation: u64,
    /// When to try again to write what is not on disk.
    retry_at: Duration,
    /// When to see whether the disk takes anything, where nobody asks it to.
    probe_at: Duration,
    stopped: bool,
}

/// What is asked for with [`Keeper::revert`].
#[derive(Debug)]
pub(super) struct Revert {
    pub(super) to: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) actor: Actor,
    pub(super) reason: String,
}

impl Keeper {
    /// Takes up what was kept, or the base where nothing was.
    pub(super) fn begin(parts: Parts) -> Result<Self, StorageError> {
        let Parts { mut storage, base, clock, audience, patience, freeze_file } = parts;
        let base = bounds::within(base);
        let saved = storage.load()?;
        let (set, ignored) = begin_mode(saved.mode.as_ref(), &base, clock.wall());
        let from_file = |number| file_revision(&base, number, clock.wall());
        let (policy, is_new) = match saved.newest {
            None => (from_file(1), true),
            Some(newest) if newest.actor.id == FILE && newest.policy != base.policy => {
                (from_file(newest.number.saturating_add(1)), true)
            }
            Some(newest) => (newest, false),
        };
        let policy = Arc::new(policy);
        let mut keeper = Self {
            shared: Arc::new(Shared::new(set, Arc::clone(&policy), base.bounds, freeze_file)),
            storage,
            clock,
            audience,
            patience,
            base,
            file_policy: saved.file_policy,
            saved_mode: saved.mode,
            trial: None,
            row: None,
            unsaved: is_new.then_some(policy),
            unsaved_ends: Vec::new(),
            unsaved_pins: false,
            unread_pins: saved.unread_pins.is_some(),
            unread_reservations: Unread::of(saved.unread_reservations.as_ref()),
            last_reservation: saved.last_reservation,
            retry_at: Duration::ZERO,
            probe_at: Duration::ZERO,
            stopped: false,
        };
        if let Some(lost) = saved.lost {
            keeper.audience.raise(STATE_LOST, lost);
        }
        if let Some(message) = ignored {
            keeper.audience.raise(MODE_FLAG_IGNORED, message);
        }
        if keeper.unsaved.is_some() {
            keeper.file_policy = Some(keeper.base.policy.clone());
        }
        keeper.take_up_trial(saved.falls_back_to)?;
        keeper.take_up_row();
        keeper.keep_bounds();
        keeper.take_up_reservations(saved.reservations, saved.unread_reservations);
        keeper.take_up_pins(saved.pins, saved.unread_pins);
        keeper.catch_up();
        keeper.note_file();
        Ok(keeper)
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Works until it is stopped or nobody is left to give it work.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while !self.stopped {
            let job = jobs.recv_timeout(self.next_look());
            if matches!(job, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
            // What has run out is over before anybody is served.
            self.catch_up();
            if let Ok(job) = job {
                job(&mut self);
            }
        }
    }

    pub(super) const fn stop(&mut self) {
        self.stopped = true;
    }

    /// Changes the policy.
    pub(super) fn update(
        &mut self,
        edit: PolicyEdit,
        claim: &Claim,
    ) -> Result<PolicySet, ControlError> {
        let current = self.current();
        self.expect(edit.etag.as_deref())?;
        let policy = (edit.edit)(&current.policy).map_err(ControlError::Invalid)?;
        let mut faults = policy.validate();
        faults.extend(edit.revert_after.and_then(bad_trial));
        faults.extend(self.base.bounds.faults(&policy));
        faults.extend(self.shared.beyond_host(&policy));
        if faults.is_empty() {
            faults.extend(self.shared.guarantees_too_much(&policy));
        }
        if !faults.is_empty() {
            return Err(ControlError::Invalid(faults));
        }
        if let Some(after) = edit.revert_after.filter(|_| !edit.may_last) {
            Row::check(self.row, self.clock.wall(), after)?;
        }
        let trial = edit.revert_after.map(|after| self.trial_of(&current, after));
        let mut revision = self.next(policy, edit.actor, edit.reason);
        // A time that the calendar cannot hold never comes; the range above is far from it.
        revision.revert_at = edit.revert_after.and_then(|t| self.clock.wall().checked_add(t));
        if edit.validate_only {
            return Ok(self.would_be(revision));
        }
        self.replace(revision, trial, claim)
    }

    /// Makes an earlier revision's policy the one in force.
    pub(super) fn revert(
        &mut self,
        revert: Revert,
        claim: &Claim,
    ) -> Result<PolicySet, ControlError> {
        self.expect(revert.etag.as_deref())?;
        let number = match revert.to {
            Some(number) => number,
            None => self.last_lasting()?,
        };
        let earlier = self.find(number)?.ok_or(ControlError::UnknownRevision(number))?;
        let mut faults = self.base.bounds.faults(&earlier.policy);
        faults.extend(self.shared.beyond_host(&earlier.policy));
        if !faults.is_empty() {
            return Err(ControlError::Invalid(faults));
        }
        let revision = self.next(earlier.policy, revert.actor, revert.reason);
        self.replace(revision, None, claim)
    }

    /// The newest revision before that was there to stay and says something else; the one in force where there
    /// is none. What was on trial went back by itself, or goes back now: it is not made to last by going back.
    fn last_lasting(&mut self) -> Result<u64, ControlError> {
        let current = self.current();
        let mut below = current.number;
        loop {
            let page = self.storage.revisions(below, PAGE).map_err(unreadable)?;
            let Some(oldest) = page.last() else { return Ok(current.number) };
            below = oldest.number;
            let lasts = |own: &&Revision| own.revert_at.is_none() && own.policy != current.policy;
            if let Some(found) = page.iter().find(lasts) {
                return Ok(found.number);
            }
        }
    }

    /// A page of revisions.
    pub(super) fn revisions(
        &mut self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Revision>>, ControlError> {
        let before = before.unwrap_or(u64::MAX);
        let page = self.storage.revisions(before, limit.min(PAGE)).map_err(unreadable)?;
        Ok(page.into_iter().map(Arc::new).collect())
    }

    fn current(&self) -> Arc<Revision> {
        Arc::clone(&self.shared.in_force.load().policy)
    }

    fn expect(&self, etag: Option<&str>) -> Result<(), ControlError> {
        let current_etag = self.current().etag.clone();
        if etag.is_some_and(|etag| etag != current_etag) {
            return Err(ControlError::Conflict { current_etag });
        }
        Ok(())
    }

    fn still_wanted(&self, claim: &Claim) -> Result<(), ControlError> {
        if claim.is_given_up() { Err(stuck(self.patience)) } else { Ok(()) }
    }

    fn find(&mut self, number: u64) -> Result<Option<Revision>, ControlError> {
        let below = number.saturating_add(1);
        let found = self.storage.revisions(below, 1).map_err(unreadable)?;
        Ok(found.into_iter().find(|revision| revision.number == number))
    }

    fn next(&self, policy: Policy, actor: Actor, reason: String) -> Revision {
        let number = self.current().number.saturating_add(1);
        revision(number, policy, actor, reason)
    }

    fn would_be(&self, revision: Revision) -> PolicySet {
        let before = self.current();
        let changes = changes(&before.policy, &revision.policy);
        let warnings = self.warnings(&revision);
        let revision = match (changes.is_empty(), self.ends_trial(&revision)) {
            (false, _) => Arc::new(revision),
            (true, true) => Arc::new(Revision { revert_at: None, ..Revision::clone(&before) }),
            (true, false) => Arc::clone(&before),
        };
        PolicySet { before, revision, changes, warnings, position: None }
    }

    fn warnings(&self, revision: &Revision) -> Vec<String> {
        let mut warnings = warnings(&revision.policy);
        if self.ends_trial(revision) {
            let trial = self.current().number;
            warnings.push(format!(
                "revision {trial} was a trial, which this change ends: what it tried and this does not \
                 change stays"
            ));
        }
        warnings
    }

    /// Makes a revision the one in force. Where it says nothing new but that it is to last, the trial in force
    /// stays.
    fn replace(
        &mut self,
        revision: Revision,
        trial: Option<Trial>,
        claim: &Claim,
    ) -> Result<PolicySet, ControlError> {
        let ends_trial = self.ends_trial(&revision);
        let (actor, reason) = (revision.actor.clone(), revision.reason.clone());
        let mut set = self.would_be(revision);
        if set.changes.is_empty() {
            if ends_trial {
                (set.revision, set.position) = self.keep(&actor, reason, claim)?;
            }
            return Ok(set);
        }
        let falls_back_to = trial.as_ref().map(|trial| trial.falls_back_to);
        self.make_durable(&set.revision, falls_back_to, claim)?;
        self.trial = trial;
        let until = set.revision.revert_at;
        self.row = until.map(|until| Row::with(self.row, self.clock.wall(), until));
        set.position = self.put(&set.revision, set.changes.clone());
        Ok(set)
    }

    /// Writes a revision, which is taken back where nobody wants it any more. Where this returns nobody can
    /// refuse it, so that it is put in force without waiting for the disk again.
    fn make_durable(
        &mut self,
        revision: &Revision,
        falls_back_to: Option<u64>,
        claim: &Claim,
    ) -> Result<(), ControlError> {
        self.still_wanted(claim)?;
        self.save_unsaved().map_err(not_durable)?;
        let saved = self.storage.save_revision(revision, falls_back_to);
        self.wrote(saved).map_err(not_durable)?;
        if !claim.take() {
            log_failure("take a policy back", self.storage.forget(revision.number));
            return Err(stuck(self.patience));
        }
        Ok(())
    }

    /// What a revision goes back to that is the trial, or in its place.
    fn falls_back_to(&self, revision: &Revision) -> Option<u64> {
        let trial = self.trial.as_ref().filter(|_| revision.revert_at.is_some());
        trial.map(|trial| trial.falls_back_to)
    }

    /// Puts a revision in force and tells of it.
    fn put(&self, revision: &Arc<Revision>, changes: Vec<super::FieldChange>) -> Option<Position> {
        self.shared.put(revision);
        self.audience.clear(POLICY_BOUNDED);
        self.note_file();
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        tracing::info!(
            actor = %revision.actor,
            revision = revision.number,
            reason = revision.reason,
            changes = words.join(", "),
            "policy changed"
        );
        let change = PolicyChange { revision: Arc::clone(revision), changes };
        self.audience.announce(Event::Policy(change))
    }

    /// Ends what has run out and writes what is not yet written.
    fn catch_up(&mut self) {
        let now = self.clock.now();
        if let Some(trial) = self.trial.take_if(|trial| trial.ends <= now) {
            self.end(trial);
        }
        self.expire_reservations();
        self.expire_pins();
        if self.probe_at <= now {
            self.probe();
        }
        if now < self.retry_at || !self.is_unsaved() {
            return;
        }
        // Tried again below where it fails; all say so themselves.
        let _ = self.save_unsaved();
        let _ = self.save_ends();
        let _ = self.save_pins();
        let _ = self.forget_unread();
        if let Some(paused) = self.unsaved_pause() {
            self.save_pause(&paused);
        }
        self.retry_at = self.clock.now().saturating_add(RETRY);
    }

    /// Goes back to where a trial began. In force at once: on disk it has run out anyway.
    fn end(&mut self, trial: Trial) {
        let before = self.current();
        let Trial { falls_back_to, fallback, .. } = trial;
        let reason = format!(
            "revision {} was not confirmed in time: back to revision {falls_back_to}",
            before.number
        );
        let revision = Arc::new(self.next(fallback, actor(AGENT, self.clock.wall()), reason));
        self.unsaved = Some(Arc::clone(&revision));
        // Raised where it fails, and tried again.
        let _ = self.save_unsaved();
        self.put(&revision, changes(&before.policy, &revision.policy));
    }

    fn save_unsaved(&mut self) -> Result<(), StorageError> {
        let Some(revision) = self.unsaved.clone() else {
            return Ok(());
        };
        let falls_back_to = self.falls_back_to(&revision);
        let saved = self.storage.save_revision(&revision, falls_back_to);
        if let Err(error) = self.wrote(saved) {
            let message = format!(
                "revision {} of the policy is in force but could not be written: {error}; no \
                 other change is accepted until it is",
                revision.number
            );
            self.audience.raise(POLICY_NOT_DURABLE, message);
            return Err(error);
        }
        self.unsaved = None;
        self.audience.clear(POLICY_NOT_DURABLE);
        Ok(())
    }

    /// Something is in force and not on disk.
    fn is_unsaved(&self) -> bool {
        let is_over = !self.unsaved_ends.is_empty() || self.unsaved_pins;
        let is_over = is_over || self.unread_reservations == Unread::SeenTo;
        self.unsaved.is_some() || is_over || self.unsaved_pause().is_some()
    }

    /// Sees whether the disk takes anything.
    fn probe(&mut self) {
        let probed = self.storage.probe();
        // Told, and that is all there is to do.
        let _ = self.wrote(probed);
    }

    /// Tells whether what was written is on disk.
    fn wrote(&mut self, written: Result<(), StorageError>) -> Result<(), StorageError> {
        self.probe_at = self.clock.now().saturating_add(PROBE);
        match &written {
            Ok(()) => self.audience.clear(STATE_NOT_WRITABLE),
            Err(error) => {
                let message = format!(
                    "policy and mode cannot be written: {error}; every change but a pause is \
                     refused, and a restart may find them lost: see to the state directory and its \
                     disk"
                );
                self.audience.raise(STATE_NOT_WRITABLE, message);
            }
        }
        written
    }

    /// Says when the file's policy has changed and does not count.
    fn note_file(&self) {
        let in_force = self.current();
        let is_ignored = in_force.policy != self.base.policy
            && self.file_policy.as_ref().is_some_and(|policy| *policy != self.base.policy);
        if !is_ignored {
            return self.audience.clear(POLICY_FILE_IGNORED);
        }
        let message = format!(
            "the policy in the config file has changed, but the one set by {} (revision {}) stays \
             in force: set the file's values with \"memctl policy set\", or put the file back",
            in_force.actor, in_force.number
        );
        self.audience.raise(POLICY_FILE_IGNORED, message);
    }

    fn next_look(&self) -> Duration {
        let now = self.clock.now();
        let trial = self.trial.as_ref().map(|trial| trial.ends.saturating_sub(now));
        let retry = self.is_unsaved().then(|| self.retry_at.saturating_sub(now));
        let probe = self.probe_at.saturating_sub(now);
        let over = [self.next_expiry(now), self.next_unpin(now)];
        [trial, retry].into_iter().chain(over).flatten().fold(probe, Duration::min)
    }
}

/// How long what was made for a while still lasts after a restart. The wall clock says so, but it is never longer
/// than it was made for: the clock may have gone back.
fn left_of(made: SystemTime, ends: SystemTime, now: SystemTime) -> Duration {
    let left = ends.duration_since(now).unwrap_or_default();
    let whole = ends.duration_since(made).unwrap_or_default();
    left.min(whole).min(LONGEST)
}

fn not_durable(StorageError(error): StorageError) -> ControlError {
    ControlError::NotDurable(format!("cannot write the change, so it was not made: {error}"))
}

fn unreadable(StorageError(error): StorageError) -> ControlError {
    ControlError::NotDurable(format!("cannot read what the policy has been: {error}"))
}

/// For what nobody waits for any more.
fn log_failure(what: &str, result: Result<(), StorageError>) {
    if let Err(error) = result {
        tracing::error!(%error, "cannot {what}: a restart may bring it back");
    }
}

/// Who made a revision that nobody asked for.
const AGENT: &str = "agent";
/// No pin and no reservation lasts longer, whatever the wall clock says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A disk that was full is seldom empty sooner.
const RETRY: Duration = Duration::from_secs(5);
/// A disk that breaks between changes is told of within a minute.
const PROBE: Duration = Duration::from_secs(60);
/// Most revisions that are read at once.
const PAGE: usize = 100;
