//! [`Entry`]: one line of the event log, encoded once for everybody who reads it.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Names one run of the log: 128 random bits in lower-case hex, new at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch(Arc<str>);

/// Names one entry. Positions can be compared only within an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which run of the log.
    pub epoch: Epoch,
    /// Starts at 1 and grows by 1. 0 is before the first entry.
    pub seq: u64,
}

/// When something happened, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// By the wall clock, for people.
    pub wall: SystemTime,
    /// Since the start of agentd, for differences.
    pub monotonic: Duration,
}

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A finished tick.
    Tick,
    /// A VM that came, went or changed its state.
    Vm,
    /// A change of the policy.
    Policy,
    /// A change of the mode.
    Mode,
    /// A reservation that was made, filled, or is over.
    Reservation,
    /// A VM that was pinned for a while, or is no longer.
    Pin,
}

/// One line of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// When it was made.
    pub stamp: Stamp,
    /// What it tells of.
    pub kind: Kind,
    /// False for a tick that decided and ordered nothing.
    pub eventful: bool,
    /// The whole entry as it goes over the wire.
    pub bytes: Arc<[u8]>,
    /// The same with what the shadow says of it; `None` where it says nothing.
    pub shadow: Option<Arc<[u8]>>,
}

impl Epoch {
    /// A new one.
    ///
    /// The standard library seeds its hashers from the system's entropy. That is unique enough to
    /// tell runs apart, cannot fail, and nothing here has to be secret.
    #[must_use]
    pub fn random() -> Self {
        let word = || RandomState::new().build_hasher().finish();
        Self(format!("{:016x}{:016x}", word(), word()).into())
    }

    /// Its text, 32 lower-case hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The epoch with this text; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.into()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_differ_and_read_back() {
        let (one, other) = (Epoch::random(), Epoch::random());
        assert_ne!(one, other);
        assert_eq!(Epoch::parse(one.as_str()), Some(one));
        assert_eq!(Epoch::parse("0123"), None);
        assert_eq!(Epoch::parse(&"G".repeat(32)), None);
    }
}
