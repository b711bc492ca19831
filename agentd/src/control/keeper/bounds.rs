//! A policy of before the bounds, which a start or a reload brings within them.

use std::sync::Arc;

use super::{AGENT, Base, Keeper, POLICY_BOUNDED, Revision, actor, changes};
use crate::control::Bounds;

impl Keeper {
    /// Puts a policy in force that is within the bounds where the one that was kept is not: what is in
    /// force never goes beyond. A trial stays one.
    pub(super) fn keep_bounds(&mut self) {
        let Some((revision, message)) = self.bounded(&self.base.bounds) else { return };
        // Written, and tried again, by whoever catches up.
        self.unsaved = Some(Arc::clone(&revision));
        self.put_bounded(&revision, message);
    }

    /// The policy in force brought within these bounds, and what is to be said of it; `None` where it does
    /// not go beyond.
    pub(super) fn bounded(&self, bounds: &Bounds) -> Option<(Arc<Revision>, String)> {
        let before = self.current();
        let faults = bounds.faults(&before.policy);
        if faults.is_empty() {
            return None;
        }
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let reason = format!("revision {} went beyond the config's bounds", before.number);
        let policy = bounds.within(&before.policy);
        let mut revision = self.next(policy, actor(AGENT, self.clock.wall()), reason);
        revision.revert_at = before.revert_at;
        let message = format!(
            "revision {} of the policy went beyond the config's bounds ({}), so that revision {}, \
             which does not, is in force: look at it with \"memctl policy history\", and set what \
             else is wanted, which ends this",
            before.number,
            faults.join("; "),
            revision.number
        );
        Some((Arc::new(revision), message))
    }

    pub(super) fn put_bounded(&self, revision: &Arc<Revision>, message: String) {
        let before = self.current();
        self.put(revision, changes(&before.policy, &revision.policy));
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
