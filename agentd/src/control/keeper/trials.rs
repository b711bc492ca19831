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

use super::{AGENT, Keeper, log_failure, not_durable};
use crate::{
    control::{
        Actor, ControlError, FILE, NO_TRIAL_TIME, Revision, StorageError, TRIAL_LASTS,
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
        let left = TRIAL_LASTS.end().saturating_sub(gone);
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
        let ends = self.clock.now().saturating_add(left.min(*TRIAL_LASTS.end()));
        self.trial = Some(Trial { ends, falls_back_to: number, fallback });
        Ok(())
    }

    /// The row that was going on when agentd was stopped, be a trial in force or not: once more all that was
    /// tried since somebody set a policy for good. What cannot be read keeps no agentd from its start.
    pub(super) fn take_up_row(&mut self) {
        let newest = self.current();
        if newest.revert_at.is_none() && !is_by_nobody(&newest) {
            return;
        }
        let times = |own: &Revision| Some((own.actor.time, own.revert_at?));
        let in_row = |own: &&Revision| own.revert_at.is_some() || is_by_nobody(own);
        // The one in force is known, whatever can be read.
        let mut trials: Vec<_> = times(&newest).into_iter().collect();
        let mut below = newest.number;
        loop {
            let page = self.storage.revisions(below, AT_ONCE);
            let page = page.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read which policies were on trial: none is in a row with them");
                Vec::new()
            });
            trials.extend(page.iter().take_while(in_row).filter_map(times));
            match page.last() {
                Some(oldest) if page.iter().all(|own| in_row(&own)) => below = oldest.number,
                Some(_) | None => break,
            }
        }
        for (began, until) in trials.into_iter().rev() {
            self.row = Some(Row::with(self.row, began, until));
        }
    }
}

/// Whether nobody asked for it: what goes back by itself, or is brought within bounds, ends no row, nor does what
/// the config file says.
fn is_by_nobody(revision: &Revision) -> bool {
    [AGENT, FILE].contains(&revision.actor.id.as_str())
}

/// What is wrong with the time that a trial is to last, if anything.
pub(super) fn bad_trial(after: Duration) -> Option<Fault> {
    let is_bad = !TRIAL_LASTS.contains(&after);
    is_bad.then(|| Fault {
        path: "revert_after".to_owned(),
        value: explain::time(after),
        problem: NO_TRIAL_TIME.to_owned(),
    })
}

/// Revisions that are read at once: each may be long.
const AT_ONCE: usize = 10;
/// Trials with less between them are in a row.
const APART: Duration = Duration::from_secs(3600);
