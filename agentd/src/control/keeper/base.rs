//! Another config file while agentd runs: its policy and its bounds.

use std::sync::Arc;

use agentd_core::policy::Policy;

use super::{
    Base, Claim, ControlError, FILE, Keeper, Revision, bounds::within, changes, file_revision,
    stuck,
};
use crate::control::{Bounds, Rebased};

impl Keeper {
    /// See [`Control::rebase`](crate::control::Control::rebase).
    pub(in crate::control) fn rebase(
        &mut self,
        (policy, bounds): (Policy, Bounds),
        policy_source: String,
        claim: &Claim,
    ) -> Result<Rebased, ControlError> {
        let base = within(Base { policy, bounds, policy_source, ..self.base.clone() });
        let before = self.current();
        // What is to be in force is on disk, and still wanted, before anything of the file counts.
        if let Some(revision) = self.of_file(&base)? {
            self.make_durable(&revision, None, claim)?;
            self.take_up_base(base);
            self.file_policy = Some(self.base.policy.clone());
            self.put(&revision, changes(&before.policy, &revision.policy));
        } else if let Some((revision, message)) = self.bounded(&bounds) {
            let falls_back_to = self.falls_back_to(&revision);
            self.make_durable(&revision, falls_back_to, claim)?;
            self.take_up_base(base);
            self.put_bounded(&revision, message);
        } else if claim.take() {
            self.take_up_base(base);
            self.note_file();
        } else {
            return Err(stuck(self.patience));
        }
        self.shared.put_bounds(bounds);
        Ok(Rebased { before, after: self.current() })
    }

    /// The file's policy as a revision, where that of the file before it is in force and another one.
    fn of_file(&self, base: &Base) -> Result<Option<Arc<Revision>>, ControlError> {
        let current = self.current();
        if current.actor.id != FILE || current.policy == base.policy {
            return Ok(None);
        }
        let mut faults = self.shared.beyond_host(&base.policy);
        if faults.is_empty() {
            faults.extend(self.shared.guarantees_too_much(&base.policy));
        }
        if !faults.is_empty() {
            return Err(ControlError::Invalid(faults));
        }
        let number = current.number.saturating_add(1);
        Ok(Some(Arc::new(file_revision(base, number, self.clock.wall()))))
    }

    /// A trial goes back within the bounds, too.
    fn take_up_base(&mut self, base: Base) {
        if let Some(trial) = &mut self.trial {
            trial.fallback = base.bounds.within(&trial.fallback);
        }
        self.base = base;
    }
}
