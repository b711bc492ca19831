//! [`Followed`]: what is followed of one VM from tick to tick: how it follows orders, whether
//! somebody else moves its balloon, and what taking memory from it has done to it.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    conduct::{Conduct, Stage, Standing},
    distress::{Distress, Sign},
    order::Order,
    sample::{Sample, VmSample},
};

/// What is followed of one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Which kernel of it.
    generation: u64,
    /// What it held at the tick before; `None` when that did not count.
    actual: Option<ByteCount>,
    /// How it follows its orders.
    pub conduct: Conduct,
    /// Until when it is left to whoever else moved its balloon.
    quarantined_until: Option<Duration>,
    /// No order of before this agent can be in force: it was told to hold what it holds.
    pub adopted: bool,
    /// When it last took memory back by itself.
    took_back_at: Option<Duration>,
    /// What it is left with because less made it suffer, and until when.
    spared: Option<(ByteCount, Duration)>,
}

impl Followed {
    /// A VM that is seen for the first time.
    #[must_use]
    pub fn of(vm: &VmSample) -> Self {
        Self { generation: vm.generation, ..Self::default() }
    }

    /// Takes in a VM at a new tick with the order that is in force for it; that order as it is
    /// after it, `None` where none is any more.
    #[must_use]
    pub fn follow(
        &mut self,
        vm: &VmSample,
        order: Option<Order>,
        passed: Duration,
        sample: &Sample,
    ) -> Option<Order> {
        let now = sample.now;
        if vm.generation != self.generation {
            // Another kernel has learned nothing of what was told to the one before.
            *self = Self { generation: vm.generation, ..Self::default() };
            return None;
        }
        if !vm.is_accounted_for() {
            self.interrupt();
            return order;
        }
        let mut order = order.map(|order| order.seen(vm, sample.granule));
        if self.quarantined_until.is_some_and(|until| until <= now) {
            (self.quarantined_until, self.adopted) = (None, false);
        }
        match self.movement(vm, order.as_ref()) {
            Movement::Ours => {}
            Movement::ItsOwn => {
                order = None;
                self.took_back_at = Some(now);
            }
            Movement::Foreign => {
                order = None;
                self.quarantined_until = Some(now.saturating_add(QUARANTINE));
            }
        }
        self.actual = Some(vm.actual);
        self.spare(vm, order.as_ref(), now);
        let stage = order.map_or(Stage::Done, |order| order.stage(vm, sample));
        self.conduct.follow(stage, passed, now);
        if stage == Stage::Useless {
            // It is held against the VM once.
            order = order.map(|order| Order { written_off: true, ..order });
        }
        order
    }

    /// Forgets what was seen of its way: time has passed that nobody saw.
    pub const fn interrupt(&mut self) {
        self.actual = None;
        self.conduct.interrupt();
    }

    /// How it stands with those who order it.
    #[must_use]
    pub fn standing(&self, now: Duration) -> Standing {
        if self.quarantined_until.is_some() {
            return Standing::Quarantined;
        }
        self.conduct.standing(now)
    }

    /// What it is left with because less made it suffer; nothing where nothing did.
    #[must_use]
    pub fn spared(&self, now: Duration) -> ByteCount {
        self.spared.filter(|(_, until)| now < *until).map_or(ByteCount::ZERO, |(least, _)| least)
    }

    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    #[must_use]
    pub fn distress(&self, vm: &VmSample, now: Duration) -> Option<Distress> {
        let age = self.took_back_at.map(|at| now.saturating_sub(at));
        let took_back = age.filter(|age| *age < Distress::REMEMBERED);
        took_back.map(|age| Distress { sign: Sign::TookBack, age }).or(vm.distress)
    }

    /// Who moved its balloon since the tick before.
    fn movement(&self, vm: &VmSample, order: Option<&Order>) -> Movement {
        let Some(before) = self.actual.filter(|_| vm.boot.is_none()) else {
            return Movement::Ours;
        };
        let least = order.map_or(before, |order| order.least.min(before));
        let most = order.map_or(before, |order| order.most.max(before));
        let above = vm.actual > most.saturating_add(TOLERANCE);
        let below = vm.actual.saturating_add(TOLERANCE) < least;
        let by_itself = vm.traits.is_some_and(|traits| traits.takes_back_on_oom);
        match (above, below) {
            (false, false) => Movement::Ours,
            (true, _) if by_itself => Movement::ItsOwn,
            (true, _) | (_, true) => Movement::Foreign,
        }
    }

    /// A VM that suffers soon after it gave is left with a quarter more than it has now, for long.
    fn spare(&mut self, vm: &VmSample, order: Option<&Order>, now: Duration) {
        let suffers = vm.distress.is_some_and(|distress| distress.age.is_zero());
        let gave = order.is_some_and(|order| {
            !order.gives.is_zero() && now.saturating_sub(order.since) < Distress::REMEMBERED
        });
        if suffers && gave {
            let least = vm.actual.saturating_add(vm.actual.fraction(1, 4));
            let known = self.spared(now);
            self.spared = Some((least.max(known), now.saturating_add(SPARED_FOR)));
        }
    }
}

/// Who moved a VM's balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Movement {
    /// Nobody, or an order of ours.
    Ours,
    /// The VM itself, before its kernel would have killed a process.
    ItsOwn,
    /// Somebody else.
    Foreign,
}

/// A balloon that frees memory for a kernel in need moves by a MiB without anybody's order.
const TOLERANCE: ByteCount = ByteCount::mib(1);
/// For how long a VM is left to whoever else moved its balloon, from the last time on.
const QUARANTINE: Duration = Duration::from_secs(600);
const SPARED_FOR: Duration = Duration::from_secs(3600);
