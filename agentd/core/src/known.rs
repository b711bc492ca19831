//! [`Known`]: what is remembered of one VM, beside what is seen of it.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    conduct::{Stage, Standing},
    distress::Distress,
    followed::Followed,
    life::Life,
    order::Order,
    sample::{Sample, VmSample},
};

/// What is remembered of one VM, beside what is seen of it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What is seen of it.
    pub vm: &'a VmSample,
    /// What is followed of it; `None` where it was not seen before.
    pub followed: Option<&'a Followed>,
    /// What is or may be in force for it; `None` where it was told nothing.
    pub order: Option<&'a Order>,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The VM holds what it was told to, or was given up on: it may be given another order.
    Arrived,
    /// It is on its way.
    Moving,
    /// It is to shrink and does not get on.
    Stuck,
}

impl Known<'_> {
    /// What it may hold already: its actual, or a larger target in force.
    #[must_use]
    pub fn holds(&self) -> ByteCount {
        self.order.map_or(self.vm.actual, |order| order.most.max(self.vm.actual))
    }

    /// The most memory that it may come to hold without another order: S1 counts this. All it may
    /// have where that is not known.
    #[must_use]
    pub fn exposure(&self, pinned: bool, sample: &Sample) -> ByteCount {
        let earlier = self.order.and_then(|order| order.earlier);
        let went_on_to = earlier.map_or(ByteCount::ZERO, |earlier| earlier.most.min(self.vm.max));
        let held = self.holds().max(self.vm.surely_held()).max(went_on_to);
        let is_ours = self.standing(sample.now) != Standing::Quarantined;
        let is_steered = sample.ideal || !pinned && self.knows_target();
        let counts = self.vm.is_accounted_for() && is_ours && is_steered;
        if counts { held } else { held.max(self.vm.max) }
    }

    /// True when no target can be in force for it that this agent does not know of.
    #[must_use]
    pub fn knows_target(&self) -> bool {
        let told = self.order.is_some_and(|order| !order.in_doubt);
        told || self.followed.is_some_and(|followed| followed.adopted)
    }

    /// True while less than it holds may be in force.
    #[must_use]
    pub fn shrinks(&self) -> bool {
        self.order.is_some_and(|order| order.least < self.vm.actual)
    }

    /// True for a shrink that is to end where it is: it suffers, or does not follow.
    #[must_use]
    pub fn is_to_stop(&self, now: Duration) -> bool {
        let Some(followed) = self.followed else { return false };
        self.shrinks() && (followed.conduct.gave_up(now) || self.distress(now).is_some())
    }

    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    #[must_use]
    pub fn distress(&self, now: Duration) -> Option<Distress> {
        self.followed.map_or(self.vm.distress, |followed| followed.distress(self.vm, now))
    }

    /// How it stands with those who order it.
    #[must_use]
    pub fn standing(&self, now: Duration) -> Standing {
        self.followed.map_or(Standing::Cooperative, |followed| followed.standing(now))
    }

    /// Where it is in its life.
    #[must_use]
    pub fn life(&self, now: Duration) -> Life {
        Life::of(self.vm, self.standing(now))
    }

    /// Where its order stands.
    #[must_use]
    pub fn progress(&self, sample: &Sample) -> Progress {
        let Some(order) = self.order else {
            return Progress::Arrived;
        };
        let idle = self.standing(sample.now) != Standing::Cooperative;
        match order.stage(self.vm, sample) {
            Stage::Open(_) if !idle => Progress::Moving,
            Stage::Open(_) if self.vm.actual > order.target => Progress::Stuck,
            Stage::Open(_) | Stage::Useless => Progress::Arrived,
            Stage::Freeing => Progress::Moving,
            Stage::Done => Progress::Arrived,
        }
    }
}
