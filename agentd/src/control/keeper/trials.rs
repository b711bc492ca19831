//! [`Row`]: trials one after the other. Who may set no policy for good must not have one last by trying it
//! again and again.

use std::time::{Duration, SystemTime};

use super::LONGEST_TRIAL;
use crate::control::ControlError;

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

/// Trials with less between them are in a row.
const APART: Duration = Duration::from_secs(3600);
