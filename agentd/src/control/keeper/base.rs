//! Another config file while agentd runs: its policy and its bounds.

use agentd_core::policy::Policy;

use super::{Base, Claim, ControlError, FILE, Keeper, bounds::within, file_revision};
use crate::control::{Bounds, Rebased};

impl Keeper {
    /// See [`Control::rebase`](crate::control::Control::rebase).
    pub(in crate::control) fn rebase(
        &mut self,
        (policy, bounds): (Policy, Bounds),
        policy_source: String,
        claim: &Claim,
    ) -> Result<Rebased, ControlError> {
        self.still_wanted(claim)?;
        let base = within(Base { policy, bounds, policy_source, ..self.base.clone() });
        let current = self.current();
        if current.actor.id == FILE && current.policy != base.policy {
            let faults = self.shared.beyond_host(&base.policy);
            if !faults.is_empty() {
                return Err(ControlError::Invalid(faults));
            }
            let number = current.number.saturating_add(1);
            let revision = file_revision(&base, number, self.clock.wall());
            self.replace(revision, None, claim)?;
            self.file_policy = Some(base.policy.clone());
        }
        self.base = base;
        self.shared.put_bounds(bounds);
        if let Some(trial) = &mut self.trial {
            trial.fallback = bounds.within(&trial.fallback);
        }
        self.keep_bounds();
        // Raised where it fails, and tried again.
        let _ = self.save_unsaved();
        self.note_file();
        Ok(Rebased { before: current, after: self.current() })
    }
}
