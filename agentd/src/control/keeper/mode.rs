//! How the keeper changes the mode: a pause is in force before it is written, any other mode after that.

use super::{Keeper, log_failure, not_durable};
use crate::{
    control::{
        ControlError, MODE_FLAG_IGNORED, Mode, ModeSet, PAUSE_NOT_DURABLE, STATE_LOST, SavedMode,
        desk::{Claim, Whose, stuck},
    },
    event::{Event, ModeChange},
    publish::Position,
};

impl Keeper {
    /// Changes the mode, unless somebody has paused since `seen`.
    pub(in crate::control) fn set_mode(
        &mut self,
        wanted: SavedMode,
        whose: Whose,
        seen: u64,
        claim: &Claim,
    ) -> Result<ModeSet, ControlError> {
        if whose == Whose::Own {
            self.shared.check_own(&wanted)?;
        }
        let (before, mode) = (self.shared.mode(), wanted.mode);
        let is_saved = self.saved_mode.as_ref().is_some_and(|saved| saved.mode == mode);
        if before == mode && is_saved {
            return Ok(ModeSet { before, after: mode, durable: true, position: None });
        }
        self.still_wanted(claim)?;
        if self.shared.pauses() != seen {
            // Outdated before it was begun: what is on disk by now is not written over.
            return Ok(self.outpaced(before));
        }
        let wanted = self.shared.with_ease(wanted);
        let saved = self.storage.save_mode(&wanted);
        self.wrote(saved).map_err(not_durable)?;
        if !claim.take() {
            self.take_back_mode();
            return Err(stuck(self.patience));
        }
        self.saved_mode = Some(wanted.clone());
        self.audience.clear(STATE_LOST);
        self.audience.clear(MODE_FLAG_IGNORED);
        if !self.shared.enter(&wanted, seen) {
            // Who paused meanwhile has the pause written next.
            return Ok(self.outpaced(before));
        }
        let is_change = before != mode;
        let position = is_change.then(|| self.announce_mode(before, wanted)).flatten();
        Ok(ModeSet { before, after: self.shared.mode(), durable: true, position })
    }

    /// What became of a change of the mode that somebody paused before.
    fn outpaced(&self, before: Mode) -> ModeSet {
        let after = self.shared.mode();
        let durable = self.saved_mode.as_ref().is_some_and(|saved| saved.mode == after);
        ModeSet { before, after, durable, position: None }
    }

    /// Writes and announces a pause that is in force already.
    pub(in crate::control) fn pause(&mut self, before: Mode, wanted: SavedMode) -> ModeSet {
        self.audience.clear(MODE_FLAG_IGNORED);
        let is_known = self.saved_mode.as_ref() == Some(&wanted);
        let durable = is_known || self.save_pause(&wanted) || self.is_pause_saved();
        let is_change = before != Mode::Paused;
        let position = is_change.then(|| self.announce_mode(before, wanted)).flatten();
        ModeSet { before, after: Mode::Paused, durable, position }
    }

    fn announce_mode(&self, before: Mode, set: SavedMode) -> Option<Position> {
        let SavedMode { mode: after, actor, reason, .. } = set;
        let (was, is) = (before.name(), after.name());
        tracing::info!(%actor, reason, "mode changed from {was} to {is}");
        self.audience.announce(Event::Mode(ModeChange { actor, before, after, reason }))
    }

    /// What was on disk before, which may be that nobody ever set a mode: the config's counts then. A pause
    /// that is in force and could not be written comes before that.
    fn take_back_mode(&mut self) {
        let taken_back = match self.unsaved_pause().as_ref().or(self.saved_mode.as_ref()) {
            Some(saved) => self.storage.save_mode(saved),
            None => self.storage.forget_mode(),
        };
        log_failure("take a mode back", taken_back);
    }

    fn is_pause_saved(&self) -> bool {
        self.saved_mode.as_ref().is_some_and(|saved| saved.mode == Mode::Paused)
    }

    /// A pause that is in force and not on disk. Only where somebody has paused: the base's mode needs no writing.
    pub(super) fn unsaved_pause(&self) -> Option<SavedMode> {
        let last = self.shared.last_pause().filter(|_| self.shared.mode() == Mode::Paused);
        last.filter(|last| self.saved_mode.as_ref() != Some(last))
    }

    pub(super) fn save_pause(&mut self, wanted: &SavedMode) -> bool {
        if let Err(error) = self.storage.save_mode(wanted) {
            let forgotten = match self.is_pause_saved() {
                true => "that several have paused",
                false => "it",
            };
            let message = format!(
                "agentd is paused, but this could not be written and a restart would forget \
                 {forgotten}: {error}"
            );
            self.audience.raise(PAUSE_NOT_DURABLE, message);
            return false;
        }
        self.saved_mode = Some(wanted.clone());
        self.audience.clear(PAUSE_NOT_DURABLE);
        // It is kept in two places, of which one is enough.
        self.probe();
        true
    }
}
