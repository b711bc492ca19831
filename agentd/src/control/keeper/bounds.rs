//! A policy of before the bounds, which a start brings within them.

use std::sync::Arc;

use super::{AGENT, Base, Keeper, POLICY_BOUNDED, actor, changes};

impl Keeper {
    /// Puts a policy in force that is within the bounds where the one that was kept is not: what is in
    /// force never goes beyond. A trial stays one.
    pub(super) fn keep_bounds(&mut self) {
        let before = self.current();
        let faults = self.base.bounds.faults(&before.policy);
        if faults.is_empty() {
            return;
        }
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let reason = format!("revision {} went beyond the config's bounds", before.number);
        let policy = self.base.bounds.within(&before.policy);
        let mut revision = self.next(policy, actor(AGENT, self.clock.wall()), reason);
        revision.revert_at = before.revert_at;
        let revision = Arc::new(revision);
        // Written, and tried again, by whoever catches up.
        self.unsaved = Some(Arc::clone(&revision));
        self.put(&revision, changes(&before.policy, &revision.policy));
        let message = format!(
            "revision {} of the policy went beyond the config's bounds ({}), so that revision {}, \
             which does not, is in force: look at it with \"memctl policy history\", and set what \
             else is wanted, which ends this",
            before.number,
            faults.join("; "),
            revision.number
        );
        self.audience.raise(POLICY_BOUNDED, message);
    }
}

/// The base with its policy within its bounds. A config is so already, a scenario may not be.
pub(super) fn within(base: Base) -> Base {
    let policy = base.bounds.within(&base.policy);
    if policy != base.policy {
        let source = &base.policy_source;
        tracing::warn!(
            "the policy of {source} goes beyond [bounds], and counts as far as they allow"
        );
    }
    Base { policy, ..base }
}
