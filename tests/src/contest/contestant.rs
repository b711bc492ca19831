//! [`Contestant`]: who takes part.

use agentd_core::policy::Algorithm;

use super::rival::Rival;
use super::rivals;

/// One who takes part.
#[derive(Debug)]
pub enum Contestant {
    /// An algorithm of agentd, in the real tick.
    Ours(Algorithm),
    /// Somebody else's policy.
    Rival(Box<dyn Rival>),
    /// Who knows what every VM will want.
    Clairvoyant,
}

impl Contestant {
    /// Its name in tables and on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours(algorithm) => algorithm.name(),
            Self::Rival(rival) => rival.name(),
            Self::Clairvoyant => CLAIRVOYANT,
        }
    }

    /// Everybody, fresh.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let ours = Algorithm::ALL.into_iter().map(Self::Ours);
        let rivals = rivals::all().into_iter().map(Self::Rival);
        ours.chain(rivals).chain([Self::Clairvoyant]).collect()
    }

    /// The one of this name, fresh.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|contestant| contestant.name() == name)
    }

    /// What part it has.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::Ours(_) => Part::Ours,
            Self::Rival(_) => Part::Rival,
            Self::Clairvoyant => Part::Clairvoyant,
        }
    }
}

/// What part somebody has in the contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is to win.
    Ours,
    /// It is measured beside ours.
    Rival,
    /// It shows what foresight is worth.
    Clairvoyant,
}

/// The name of the clairvoyant.
pub const CLAIRVOYANT: &str = "clairvoyant";
