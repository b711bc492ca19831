//! [`Followed`]: what is followed of one VM from tick to tick: how it follows orders, whether
//! somebody else moves its balloon, and what taking memory from it has done to it.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    conduct::{Conduct, Stage, Standing},
    distress::{Distress, Sign},
    order::{Order, Span},
    sample::{Sample, VmSample},
};

/// What is followed of one VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// What it is left with because less made it suffer.
    spared: Option<Spared>,
}

/// What a VM is left with because less made it suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spared {
    /// At most: a quarter more than it then held.
    most: ByteCount,
    until: Duration,
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
            // The order stays in force, and its balloon may go on with it.
            Movement::ItsOwn => self.took_back_at = Some(now),
            Movement::Foreign => {
                order = None;
                self.quarantined_until = Some(now.saturating_add(QUARANTINE));
            }
        }
        // Whatever it was told before this one, or those in doubt, it has taken this one by now.
        if let Some(own) = order.as_mut().filter(|own| own.accepted || !own.in_doubt) {
            own.earlier = None;
        }
        self.actual = Some(vm.actual);
        self.spare(vm, order.as_ref(), now);
        let stage = order.map_or(Stage::Done, |order| order.stage(vm, sample));
        self.conduct.follow(stage, passed, now);
        if matches!(stage, Stage::Done | Stage::Useless) {
            order = order.map(|order| Order { judged: true, ..order });
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
        if self.quarantined_until.is_some_and(|until| now < until) {
            return Standing::Quarantined;
        }
        self.conduct.standing(now)
    }

    /// What it is left with because less made it suffer: a quarter more than it works with, for it needs
    /// more than it shows. Nothing where nothing made it suffer.
    #[must_use]
    pub fn spared(&self, vm: &VmSample, now: Duration) -> ByteCount {
        let Some(own) = self.spared.filter(|own| now < own.until) else { return ByteCount::ZERO };
        works_with(vm).map_or(own.most, |works| more_than(works).min(own.most))
    }

    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    #[must_use]
    pub fn distress(&self, vm: &VmSample, now: Duration) -> Option<Distress> {
        let age = self.took_back_at.map(|at| now.saturating_sub(at));
        let took_back = age.filter(|age| *age < Distress::REMEMBERED);
        let took_back = took_back.map(|age| Distress { sign: Sign::TookBack, age });
        // What calls for memory now counts before what does not, then the younger.
        let rank = |distress: &Distress| (!distress.is_acute(), distress.age);
        took_back.into_iter().chain(vm.distress).min_by_key(rank)
    }

    /// Who moved its balloon since the tick before.
    fn movement(&self, vm: &VmSample, order: Option<&Order>) -> Movement {
        let Some(before) = self.actual.filter(|_| vm.boot.is_none()) else {
            return Movement::Ours;
        };
        if order.is_none() && self.quarantined_until.is_none() {
            // An order of before may be in force, which its balloon follows.
            return Movement::Ours;
        }
        let spans = order.map_or(Span { least: before, most: before }, Order::spans);
        let above = vm.actual > spans.most.max(before).saturating_add(TOLERANCE);
        let below = vm.actual.saturating_add(TOLERANCE) < spans.least.min(before);
        let by_itself = vm.traits.is_some_and(|traits| traits.takes_back_on_oom);
        match (above, below) {
            (false, false) => Movement::Ours,
            (true, _) if by_itself => Movement::ItsOwn,
            (true, _) | (_, true) => Movement::Foreign,
        }
    }

    /// A VM that suffers soon after it gave is left with a quarter more than it has now at most, for long.
    fn spare(&mut self, vm: &VmSample, order: Option<&Order>, now: Duration) {
        let suffers = vm.distress.is_some_and(|distress| distress.age.is_zero());
        let gave = order.is_some_and(|order| {
            !order.gives.is_zero() && now.saturating_sub(order.since) < Distress::REMEMBERED
        });
        if suffers && gave {
            let known = self.spared.filter(|own| now < own.until).map(|own| own.most);
            let most = more_than(vm.actual).max(known.unwrap_or_default());
            self.spared = Some(Spared { most, until: now.saturating_add(SPARED_FOR) });
        }
    }
}

fn more_than(amount: ByteCount) -> ByteCount {
    amount.saturating_add(amount.fraction(1, 4))
}

/// What could not be had without hurting anybody in a VM; `None` where it does not say.
fn works_with(vm: &VmSample) -> Option<ByteCount> {
    vm.guest.idle().map(|idle| vm.actual.saturating_sub(idle))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        distress::Distress,
        fixture::{VM, holding, sample},
        sample::{Freshness, GuestFigures, Shown, Traits},
    };

    const TICK: Duration = Duration::from_secs(2);

    /// An order to hold so many MiB, given by a VM that held so many.
    fn order(second: u64, from: u32, to: u32) -> Order {
        let (from, target) = (ByteCount::mib(from), ByteCount::mib(to));
        Order {
            target,
            least: target,
            most: target,
            base: Shown { actual: from, taken: Some(from) },
            gives: from.saturating_sub(target),
            since: Duration::from_secs(second),
            in_doubt: false,
            accepted: true,
            earlier: None,
            judged: false,
        }
    }

    /// Follows a VM that holds these MiB at each tick under one order.
    fn follow(followed: &mut Followed, mut order: Option<Order>, held: &[u32]) -> Option<Order> {
        for (tick, mib) in (0..).step_by(2).zip(held) {
            let vm = holding(*mib);
            let sample = sample(tick, [(VM, vm.clone())]);
            order = followed.follow(&vm, order, TICK, &sample);
        }
        order
    }

    fn standing(followed: &Followed, second: u64) -> Standing {
        followed.standing(Duration::from_secs(second))
    }

    #[test]
    fn moves_towards_an_order_are_ours_and_so_is_one_in_doubt() {
        let mut followed = Followed::of(&holding(512));
        let left = follow(&mut followed, Some(order(0, 512, 448)), &[512, 480, 448, 448]);
        assert_eq!(standing(&followed, 6), Standing::Cooperative);
        assert!(left.is_some());
        let doubt = Order { most: ByteCount::mib(600), in_doubt: true, ..order(0, 512, 448) };
        let mut followed = Followed::of(&holding(448));
        let left = follow(&mut followed, Some(doubt), &[470, 600, 520]);
        assert_eq!(standing(&followed, 4), Standing::Cooperative);
        assert_eq!(left.map(|order| order.most), Some(ByteCount::mib(600)), "not read back yet");
        let left = follow(&mut followed, left, &[448]);
        assert_eq!(
            left.map(|order| (order.most, order.in_doubt)),
            Some((ByteCount::mib(448), false))
        );
    }

    #[test]
    fn a_move_of_somebody_else_leaves_the_vm_to_them_for_ten_minutes() {
        let mut followed = Followed::of(&holding(512));
        let left = follow(&mut followed, Some(order(0, 512, 512)), &[512, 512, 300]);
        assert_eq!((left, standing(&followed, 4)), (None, Standing::Quarantined));
        let mut followed = Followed { adopted: true, ..Followed::of(&holding(512)) };
        let left = follow(&mut followed, Some(order(0, 512, 512)), &[512, 513, 512]);
        assert_eq!(standing(&followed, 4), Standing::Cooperative, "a MiB is nobody's order");
        follow(&mut followed, left, &[512, 515]);
        assert_eq!(standing(&followed, 601), Standing::Quarantined);
        assert_eq!(standing(&followed, 602), Standing::Cooperative, "though nobody decides");
        followed.adopted = true;
        let vm = holding(515);
        let _ = followed.follow(&vm, None, TICK, &sample(603, [(VM, vm.clone())]));
        assert_eq!(standing(&followed, 603), Standing::Cooperative);
        assert!(!followed.adopted, "it is told anew to hold what it holds");
    }

    #[test]
    fn a_vm_that_takes_memory_back_by_itself_is_not_quarantined_but_suffers() {
        let traits = Some(Traits { takes_back_on_oom: true, ..Traits::default() });
        let mut followed = Followed::of(&holding(512));
        let mut left = Some(order(0, 512, 512));
        for (second, mib) in [(0, 512), (2, 560), (4, 530)] {
            let vm = VmSample { traits, ..holding(mib) };
            left = followed.follow(&vm, left, TICK, &sample(second, [(VM, vm.clone())]));
        }
        assert!(left.is_some(), "its balloon may go on with the order");
        assert_eq!(standing(&followed, 2), Standing::Cooperative);
        let distress = followed.distress(&holding(560), Duration::from_secs(2));
        assert_eq!(distress.map(|distress| distress.sign), Some(Sign::TookBack));
        assert_eq!(followed.distress(&holding(560), Duration::from_secs(62)), None);
    }

    /// As in mode observe, or right after a pause: its balloon may follow what it was told before.
    #[test]
    fn one_that_was_told_nothing_is_moved_by_nobody_that_could_be_known() {
        let mut followed = Followed { adopted: true, ..Followed::of(&holding(2700)) };
        follow(&mut followed, None, &[2700, 2600, 2500]);
        assert_eq!(standing(&followed, 4), Standing::Cooperative);
    }

    #[test]
    fn who_swaps_hard_after_it_took_memory_back_is_in_want() {
        let mut followed = Followed::of(&holding(512));
        followed.took_back_at = Some(Duration::from_secs(2));
        let swaps = Sign::SwapsOut(ByteCount::mib(20));
        let sign = |second, sign, age| {
            let distress = Some(Distress { sign, age: Duration::from_secs(age) });
            let vm = VmSample { distress, ..holding(512) };
            followed.distress(&vm, Duration::from_secs(second)).map(|distress| distress.sign)
        };
        assert_eq!(sign(10, swaps, 1), Some(swaps), "it did take some back eight seconds ago");
        assert_eq!(sign(3, Sign::Faults(300), 0), Some(Sign::TookBack));
        assert_eq!(sign(10, Sign::Faults(300), 1), Some(Sign::Faults(300)), "the younger");
    }

    #[test]
    fn a_quarantine_lasts_from_the_last_move_on() {
        let mut followed = Followed::of(&holding(512));
        let mut left = Some(order(0, 512, 512));
        for (second, mib) in [(0, 512), (2, 700), (4, 700), (500, 600)] {
            let vm = holding(mib);
            left = followed.follow(&vm, left, TICK, &sample(second, [(VM, vm.clone())]));
        }
        let vm = holding(600);
        let _ = followed.follow(&vm, left, TICK, &sample(700, [(VM, vm.clone())]));
        assert_eq!(standing(&followed, 700), Standing::Quarantined);
        let _ = followed.follow(&vm, left, TICK, &sample(1101, [(VM, vm.clone())]));
        assert_eq!(standing(&followed, 1101), Standing::Cooperative);
    }

    #[test]
    fn another_kernel_inherits_nothing_and_what_nobody_saw_is_not_judged() {
        let mut followed = Followed::of(&holding(512));
        let rebooted = VmSample { generation: 1, ..holding(1024) };
        let order = Some(order(0, 512, 448));
        assert_eq!(followed.follow(&rebooted, order, TICK, &sample(2, [])), None);
        assert_eq!(standing(&followed, 2), Standing::Cooperative);
        let mut followed = Followed::of(&holding(512));
        follow(&mut followed, None, &[512]);
        let frozen = VmSample { freshness: Freshness::Stale, ..holding(512) };
        let _ = followed.follow(&frozen, None, TICK, &sample(2, []));
        follow(&mut followed, None, &[700]);
        assert_eq!(standing(&followed, 4), Standing::Cooperative);
    }

    #[test]
    fn what_a_vm_touches_after_the_host_got_its_memory_is_not_held_against_it() {
        let given = Some(order(0, 900, 600));
        let with = |rss| VmSample { host_rss: Some(ByteCount::mib(rss)), ..holding(600) };
        let stand = |seen: [(u64, u32); 3]| {
            let (mut followed, mut order) = (Followed::of(&holding(900)), given);
            for (second, rss) in seen {
                let vm = with(rss);
                order = followed.follow(&vm, order, TICK, &sample(second, [(VM, vm.clone())]));
            }
            standing(&followed, 20)
        };
        assert_eq!(stand([(2, 630), (8, 900), (20, 930)]), Standing::Cooperative);
        assert_eq!(stand([(2, 930), (4, 640), (20, 930)]), Standing::Cooperative);
        assert_eq!(stand([(2, 930), (4, 930), (20, 930)]), Standing::Ineffective);
        assert_eq!(stand([(2, 780), (4, 750), (20, 930)]), Standing::Cooperative, "half of it");
    }

    #[test]
    fn a_vm_that_suffers_after_it_gave_is_left_with_more() {
        let sign = Sign::SwapsOut(ByteCount::mib(2));
        let distress = Some(Distress { sign, age: Duration::ZERO });
        let mut followed = Followed::of(&holding(448));
        let vm = VmSample { distress, ..holding(448) };
        let _ = followed.follow(&vm, Some(order(0, 512, 448)), TICK, &sample(2, []));
        let spared = |vm: &VmSample, second| followed.spared(vm, Duration::from_secs(second));
        assert_eq!(spared(&vm, 3602), ByteCount::ZERO);
        // It works with so much of 560 MiB.
        let works_with = |mib: u32| {
            let unused = Some(ByteCount::mib(560 - mib));
            VmSample { guest: GuestFigures { unused, ..vm.guest }, ..holding(560) }
        };
        let left = [448, 460, 400, 20].map(|mib| spared(&works_with(mib), 3).mib_floor());
        assert_eq!(left, [560, 560, 500, 25], "others get what it does not work with any more");
        let silent = VmSample { guest: GuestFigures::default(), ..holding(560) };
        assert_eq!(spared(&silent, 3), ByteCount::mib(560));
        let mut innocent = Followed::of(&holding(448));
        let _ = innocent.follow(&vm, Some(order(0, 400, 448)), TICK, &sample(2, []));
        assert_eq!(innocent.spared(&vm, Duration::from_secs(3)), ByteCount::ZERO);
    }
}
