//! [`Gate`]: what every order has to pass, so that nothing starts after a pause was acknowledged.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::Mode;

/// Lets orders through while the mode is active.
#[derive(Debug, Default)]
pub struct Gate {
    mode: RwLock<Mode>,
}

/// Leave to start orders. While it is held the gate cannot be closed: hold it for one call of the
/// hypervisor, which is bounded, and not longer.
#[derive(Debug)]
pub struct Pass<'a> {
    _mode: RwLockReadGuard<'a, Mode>,
}

impl Gate {
    /// A gate for this mode.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { mode: RwLock::new(mode) }
    }

    /// Leave to start orders; `None` unless the mode is active.
    #[must_use]
    pub fn pass(&self) -> Option<Pass<'_>> {
        let mode = self.mode.read().unwrap_or_else(PoisonError::into_inner);
        (*mode == Mode::Active).then_some(Pass { _mode: mode })
    }

    /// Changes the mode. When this returns, no order starts against it.
    pub fn set(&self, mode: Mode) {
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_only_while_active() {
        let gate = Gate::new(Mode::Observe);
        assert!(gate.pass().is_none());
        gate.set(Mode::Active);
        assert!(gate.pass().is_some());
        gate.set(Mode::Paused);
        assert!(gate.pass().is_none());
    }
}
