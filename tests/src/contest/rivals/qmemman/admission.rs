//! [`Ask`]: memory that a VM asks of [`Qmemman`] before it starts.
//!
//! The contest has no use for it: its VMs start whoever has the host, and none waits to be let in. So nobody but the
//! tests here calls it.
//!
//! Whoever asks has the one lock until its VM runs, so nothing else is done meanwhile. Every 100 ms it looks whether
//! so much is free; else those who hold more than they prefer give of that, each the same part, and a twentieth more
//! than is missing. It is refused when they do not hold so much, and when in three seconds the host gained less than
//! 100 MB a second. Who gave nothing since it was told to is left out from then on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::{Qmemman, Wish};
use crate::contest::rival::Seen;
use crate::contest::rivals::figures::{MIB, order, real, spare};

/// Memory asked for, and what came of it so far.
#[derive(Clone, Debug)]
pub struct Ask {
    amount: f64,
    /// What was free at each look of the last seconds.
    free: VecDeque<(Duration, f64)>,
    /// What those held who were told to give, when they were told.
    told: BTreeMap<VmId, ByteCount>,
}

/// What is said to a VM that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is to ask again at the next look; these are told to give.
    Wait(Vec<(VmId, ByteCount)>),
    /// The memory is there.
    Granted,
    /// It does not come.
    Refused,
}

impl Ask {
    /// For so much.
    #[must_use]
    pub fn new(amount: ByteCount) -> Self {
        Self { amount: real(amount), free: VecDeque::new(), told: BTreeMap::new() }
    }

    /// Whether the host has gained too little for as long as is looked back.
    fn is_too_slow(&mut self, now: Duration, free: f64) -> bool {
        self.free.push_back((now, free));
        let is_old = |at: &Duration| now.saturating_sub(*at) >= PATIENCE;
        while self.free.get(1).is_some_and(|(at, _)| is_old(at)) {
            self.free.pop_front();
        }
        let then = self.free.front().filter(|(at, _)| is_old(at));
        then.is_some_and(|(at, then)| {
            free - then < LEAST_GAIN * now.saturating_sub(*at).as_secs_f64()
        })
    }
}

impl Qmemman {
    /// Looks after a VM that asks, in place of a turn.
    pub fn admit(&mut self, ask: &mut Ask, seen: &Seen) -> Reply {
        self.hear(seen);
        let free = spare(seen) + MAY_TAKE;
        if free >= ask.amount {
            return Reply::Granted;
        }
        for vm in &seen.vms {
            let gave_nothing = ask.told.get(&vm.id).is_some_and(|held| vm.actual >= *held);
            if let Some(known) = self.known.get_mut(&vm.id) {
                known.is_stuck |= gave_nothing;
            }
        }
        let (vms, wishes) = self.wishes(seen);
        let plan = make_room(&wishes, ask.amount - free);
        if plan.is_empty() || ask.is_too_slow(seen.now, free) {
            return Reply::Refused;
        }
        let plan = plan.iter().filter_map(|(which, target)| Some((*vms.get(*which)?, *target)));
        let plan: Vec<_> = plan.collect();
        ask.told = plan.iter().map(|(vm, _)| (vm.id, vm.actual)).collect();
        Reply::Wait(plan.into_iter().filter_map(|(vm, target)| order(vm, target)).collect())
    }
}

/// What whom to tell to hold so that so much comes free; nothing where they have not that to give.
fn make_room(wishes: &[Wish], missing: f64) -> Vec<(usize, f64)> {
    let surplus = |wish: &Wish| wish.actual - wish.preferred;
    let donors = wishes.iter().enumerate().filter(|(_, wish)| surplus(wish) > 0.0);
    let available: f64 = donors.clone().map(|(_, wish)| surplus(wish)).sum();
    if available < missing {
        return Vec::new();
    }
    let part = missing / available * EXTRA;
    donors.map(|(which, wish)| (which, (wish.actual - part * surplus(wish)).floor())).collect()
}

/// So much of the host's reserve a VM that starts may take.
const MAY_TAKE: f64 = 25.0 * MIB;
/// More is taken than is missing.
const EXTRA: f64 = 1.05;
/// How far it looks back at what the host gained.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes that a host gains in a second while its VMs give as they should.
const LEAST_GAIN: f64 = 100.0 * 1_000_000.0;

#[cfg(test)]
mod tests {
    use super::super::tests::wished;
    use super::*;
    use crate::contest::rivals::scenes::{given, id, mib, reports, scene, vm};

    /// Those of its own test, of which the first is the host, and the second uses so much.
    fn three(used: u32) -> [Wish; 3] {
        [wished(1024, 4096, 1736, 350), wished(used, 4096, 1536, 0), wished(4096, 4096, 4096, 0)]
    }

    #[test]
    fn who_holds_more_than_it_prefers_makes_room_for_a_vm_that_starts() {
        let wishes = three(512);
        let plan = make_room(&wishes, mib(400));
        assert_eq!(plan, [(0, 1_794_242_737.0), (1, 1_196_296_014.0)]);
        let released: f64 = plan.iter().map(|(which, target)| wishes[*which].actual - target).sum();
        assert!((mib(400)..mib(421)).contains(&released), "{released}");
    }

    #[test]
    fn what_nobody_has_to_give_is_refused() {
        assert_eq!(make_room(&three(1024), mib(400)), []);
        // The last that fits; it takes a twentieth of what is preferred, too.
        let wishes = [wished(500, 4096, 1650, 0)];
        assert_eq!(make_room(&wishes, mib(1000)), [(0, mib(600))]);
        assert_eq!(make_room(&wishes, mib(1000) + 1.0), []);
    }

    /// Nothing is free above the reserve but `free`, and the first VM prefers 390 MiB; the third never reported.
    fn host(tenth: u64, holds: u32, free: u32) -> Seen {
        let told = |number, holds| reports(vm(number, 100, 4000, holds), 0, holds - 300);
        let vms = vec![told(1, holds), told(2, 390), vm(3, 100, 4000, 3000)];
        let now = Duration::from_millis(100 * tenth);
        Seen { now, ..scene(9000, 100 + free, 100, vms) }
    }

    fn orders(reply: Reply) -> Vec<(u8, u64)> {
        let Reply::Wait(orders) = reply else { panic!("{reply:?}") };
        given(&orders)
    }

    #[test]
    fn a_vm_starts_when_the_memory_is_there() {
        let mut qubes = Qmemman::default();
        let mut ask = Ask::new(ByteCount::mib(500));
        // 475, and a twentieth more; of the reserve it takes 25.
        assert_eq!(orders(qubes.admit(&mut ask, &host(1, 1000, 0))), [(1, 501)]);
        assert_eq!(orders(qubes.admit(&mut ask, &host(2, 800, 200))), [(1, 511)]);
        assert_eq!(qubes.admit(&mut ask, &host(3, 524, 476)), Reply::Granted);
        assert_eq!(
            qubes.admit(&mut Ask::new(ByteCount::mib(700)), &host(4, 1000, 0)),
            Reply::Refused
        );
    }

    #[test]
    fn who_is_told_to_give_and_does_not_is_asked_no_more() {
        let mut qubes = Qmemman::default();
        let mut ask = Ask::new(ByteCount::mib(500));
        let seen = |tenth, first_target, holds: u32| {
            let mut seen = host(tenth, 1000, 1000 - holds);
            seen.vms[0].target = ByteCount::mib(first_target);
            seen.vms[1] = reports(vm(2, 100, 4000, holds), 0, holds - 300);
            seen
        };
        assert_eq!(orders(qubes.admit(&mut ask, &seen(1, 1000, 1000))), [(1, 751), (2, 751)]);
        assert_eq!(orders(qubes.admit(&mut ask, &seen(2, 751, 900))), [(2, 506)]);
        assert!(qubes.known[&id(1)].is_stuck && !qubes.known[&id(2)].is_stuck);
        // The other one has not enough by itself.
        let mut more = Ask::new(ByteCount::mib(800));
        assert_eq!(qubes.admit(&mut more, &seen(3, 751, 900)), Reply::Refused);
    }

    #[test]
    fn a_host_that_gains_too_little_refuses() {
        let last = |gain: u32| {
            let mut qubes = Qmemman::default();
            let mut ask = Ask::new(ByteCount::mib(2000));
            let replies = (0_u32..=30).map(|tenth| {
                let given = gain * tenth;
                qubes.admit(&mut ask, &host(tenth.into(), 3000 - given, given))
            });
            replies.take_while(|reply| *reply != Reply::Refused).count()
        };
        // 286 MiB in three seconds are 300 MB.
        assert_eq!(last(9), 30);
        assert_eq!(last(10), 31);
    }
}
