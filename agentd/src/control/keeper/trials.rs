//! [`Trial`]: a policy that goes away by itself, and [`Row`]: several of them, one after the other. Who may
//! set no policy for good must not have one last by trying it again and again.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    explain,
    policy::{Fault, Policy},
};

use super::{Keeper, log_failure, not_durable};
use crate::{
    control::{
        Actor, ControlError, Revision, StorageError,
        desk::{Claim, stuck},
    },
    event::{Event, PolicyChange},
    publish::Position,
};

/// A policy that goes away unless it is confirmed.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// When, monotonic.
    pub(super) ends: Duration,
    /// The revision that it goes back to.
    pub(super) falls_back_to: u64,
    /// That revision's policy.
    pub(super) fallback: Policy,
}

/// Trials one after the other, by the wall clock: they outlive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// When the first one began.
    began: SystemTime,
    /// When the last one ends, or has ended.
    until: SystemTime,
}

impl Row {
    /// The row once there is another trial, which begins `now`.
    pub(super) fn with(row: Option<Self>, now: SystemTime, until: SystemTime) -> Self {
        let began = row.filter(|row| row.is_going_on(now)).map_or(now, |row| row.began);
        Self { began, until }
    }

    /// Refuses a trial by which the row would be longer than a trial may be.
    pub(super) fn check(
        row: Option<Self>,
        now: SystemTime,
        after: Duration,
    ) -> Result<(), ControlError> {
        let Some(row) = row.filter(|row| row.is_going_on(now)) else { return Ok(()) };
        let gone = now.duration_since(row.began).unwrap_or_default();
        let left = LONGEST_TRIAL.saturating_sub(gone);
        if after <= left { Ok(()) } else { Err(ControlError::TrialsTooLong { left }) }
    }

    fn is_going_on(self, now: SystemTime) -> bool {
        // An error where it has not ended yet.
        now.duration_since(self.until).map_or(true, |over| over < APART)
    }
}

impl Keeper {
    /// Makes a trial stay.
    pub(in crate::control) fn confirm(
        &mut self,
        etag: &str,
        actor: &Actor,
        claim: &Claim,
    ) -> Result<Arc<Revision>, ControlError> {
        self.expect(Some(etag))?;
        let (kept, _) = self.keep(actor, "confirmed".to_owned(), claim)?;
        Ok(kept)
    }

    /// Whether a trial is in force that would be none any more with this revision.
    pub(super) const fn ends_trial(&self, revision: &Revision) -> bool {
        self.trial.is_some() && revision.revert_at.is_none()
    }

    /// Makes the trial in force stay, and tells who wanted that and why.
    pub(super) fn keep(
        &mut self,
        actor: &Actor,
        reason: String,
        claim: &Claim,
    ) -> Result<(Arc<Revision>, Option<Position>), ControlError> {
        let Some(trial) = self.trial.clone() else {
            return Err(ControlError::NothingToConfirm);
        };
        self.still_wanted(claim)?;
        // It may be one that bounds changed at the start, and that the disk did not take then.
        self.save_unsaved().map_err(not_durable)?;
        let current = self.current();
        let kept = Arc::new(Revision { revert_at: None, ..Revision::clone(&current) });
        let saved = self.storage.confirm(&kept);
        self.wrote(saved).map_err(not_durable)?;
        if !claim.take() {
            let back = self.storage.save_revision(&current, Some(trial.falls_back_to));
            log_failure("take a confirmation back", back);
            return Err(stuck(self.patience));
        }
        (self.trial, self.row) = (None, None);
        self.shared.put(&kept);
        tracing::info!(%actor, revision = kept.number, "trial policy confirmed");
        let told = Revision { actor: actor.clone(), reason, ..Revision::clone(&kept) };
        let change = PolicyChange { revision: Arc::new(told), changes: Vec::new() };
        Ok((kept, self.audience.announce(Event::Policy(change))))
    }

    /// Back to where a trial of `current` began, so that trials in a row end together.
    pub(super) fn trial_of(&self, current: &Revision, after: Duration) -> Trial {
        let ends = self.clock.now().saturating_add(after);
        match &self.trial {
            Some(trial) => Trial { ends, ..trial.clone() },
            None => Trial { ends, falls_back_to: current.number, fallback: current.policy.clone() },
        }
    }

    /// The trial that agentd was stopped in.
    pub(super) fn take_up_trial(&mut self, falls_back_to: Option<u64>) -> Result<(), StorageError> {
        let (Some(number), Some(revert_at)) = (falls_back_to, self.current().revert_at) else {
            return Ok(());
        };
        let kept = self.storage.revisions(number.saturating_add(1), 1)?;
        let kept = kept.into_iter().find(|revision| revision.number == number);
        // Kept for as long as the trial is; the file's is the only other policy there is.
        let fallback = kept.map_or_else(|| self.base.policy.clone(), |revision| revision.policy);
        let fallback = self.base.bounds.within(&fallback);
        let left = revert_at.duration_since(self.clock.wall()).unwrap_or_default();
        let ends = self.clock.now().saturating_add(left.min(LONGEST_TRIAL));
        self.trial = Some(Trial { ends, falls_back_to: number, fallback });
        // The first of them came right after what they fall back to.
        let first = self.storage.revisions(number.saturating_add(2), 1)?;
        let began = first.first().map_or_else(|| self.clock.wall(), |first| first.actor.time);
        self.row = Some(Row::with(None, began, revert_at));
        Ok(())
    }
}

/// What is wrong with the time that a trial is to last, if anything.
pub(super) fn bad_trial(after: Duration) -> Option<Fault> {
    let is_bad = !(SHORTEST_TRIAL..=LONGEST_TRIAL).contains(&after);
    is_bad.then(|| Fault {
        path: "revert_after".to_owned(),
        value: explain::time(after),
        problem: "must be from 1 s to 24 h".to_owned(),
    })
}

/// Trials with less between them are in a row.
const APART: Duration = Duration::from_secs(3600);
const SHORTEST_TRIAL: Duration = Duration::from_secs(1);
const LONGEST_TRIAL: Duration = Duration::from_secs(24 * 3600);
