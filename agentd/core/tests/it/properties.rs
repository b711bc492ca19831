//! Properties of every decision, over random hosts: an oracle that follows the published words of
//! the algorithm line by line agrees, memory is conserved, limits and spare thresholds hold.

use std::{collections::BTreeMap, time::Duration};

use crate::world::{Vm, World};
use agentd_core::{
    bytes::ByteCount,
    check::check,
    decide::decide,
    decision::Decision,
    distress::{Distress, Sign},
    order::Order,
    plan::{Party, Transfer},
    policy::{Policy, TwoPointer, VmKey, VmPolicy},
    sample::{
        Boot, Freshness, GuestFigures, HostMemory, Obstacle, Pressure, RunState, Sample, Share,
        Shown, Traits, VmSample,
    },
    state::{Applied, State},
    vm::VmId,
};
use proptest::{collection::vec, prelude::*};

/// The algorithm as published, on plain numbers. `None` stands for the host.
struct Oracle {
    offset: usize,
    previous: BTreeMap<VmId, u64>,
}

type Moves = Vec<(Option<usize>, Option<usize>, u64)>;

impl Oracle {
    fn tick(&mut self, policy: &Policy, sample: &Sample) -> Moves {
        let TwoPointer { need_below, spare_above, step } = policy.two_pointer;
        let (low, high, step) = (need_below.as_u64(), spare_above.as_u64(), step.as_u64());
        let vms: Vec<_> = sample.vms.iter().collect();
        let n = vms.len();
        let (mut need, mut spare) = (vec![0; n], vec![0; n]);
        for (i, (id, vm)) in vms.iter().enumerate() {
            let (actual, unused) = (vm.actual.as_u64(), vm.guest.unused.unwrap().as_u64());
            let used = actual - unused;
            let previous = self.previous.get(*id).copied().unwrap_or(0);
            if used > previous && unused < low {
                need[i] = step.max(low - unused).min(vm.max.as_u64() - actual);
            } else if used <= previous && unused > high {
                let limit = (vm.max.as_u64() / 20).max(policy.shrink_step.as_u64());
                let floor = actual.saturating_sub(policy.floor.as_u64());
                spare[i] = step.min(unused - high).min(limit).min(floor);
            }
        }
        let moves = self.moves(policy, sample, (&mut need, &mut spare));
        self.previous = vms.iter().map(|(id, vm)| (**id, vm.used().unwrap().as_u64())).collect();
        self.offset = if n == 0 { 0 } else { (self.offset % n + 1) % n };
        moves
    }

    fn moves(
        &self,
        policy: &Policy,
        sample: &Sample,
        (need, spare): (&mut [u64], &mut [u64]),
    ) -> Moves {
        let vms: Vec<_> = sample.vms.values().collect();
        let (n, step) = (vms.len(), policy.two_pointer.step.as_u64());
        let mut moves = Vec::new();
        let anybody_needs = need.iter().any(|need| *need > 0);
        let mut got = vec![0; n];
        let mut j = 0;
        for i in 0..n {
            let taker = (i + self.offset) % n;
            while need[taker] > 0 && j < n {
                let giver = (j + self.offset) % n;
                let amount = need[taker].min(spare[giver]);
                if amount > 0 {
                    moves.push((Some(giver), Some(taker), amount));
                    need[taker] -= amount;
                    spare[giver] -= amount;
                    got[taker] += amount;
                }
                if spare[giver] == 0 {
                    j += 1;
                }
            }
        }
        if anybody_needs && spare.iter().all(|spare| *spare == 0) {
            let held: u64 = vms.iter().map(|vm| vm.actual.as_u64()).sum();
            let limit = policy.pool_limit.map_or(u64::MAX, ByteCount::as_u64);
            let mut keeps = sample.host.usable.as_u64().min(limit.saturating_sub(held));
            for i in 0..n {
                let vm = (i + self.offset) % n;
                let room = vms[vm].max.as_u64() - vms[vm].actual.as_u64() - got[vm];
                let amount = step.min(room);
                let enough = keeps.saturating_sub(amount) > policy.host_reserve.as_u64();
                if need[vm] > 0 && amount > 0 && enough {
                    moves.push((None, Some(vm), amount));
                    keeps -= amount;
                }
            }
        }
        if !anybody_needs {
            let rotation = (0..n).map(|i| (i + self.offset) % n);
            let given = rotation.filter(|vm| spare[*vm] > 0);
            moves.extend(given.map(|vm| (Some(vm), None, spare[vm])));
        }
        moves
    }
}

fn moves_of(decision: &Decision, sample: &Sample) -> Moves {
    let index = |party| match party {
        Party::Host => None,
        Party::Vm(id) => sample.vms.keys().position(|vm| *vm == id),
    };
    let tell = |t: &Transfer| (index(t.from), index(t.to), t.amount.as_u64());
    decision.transfers.iter().map(tell).collect()
}

/// Bytes that are no multiple of anything, from next to nothing to 2 GiB.
fn amount(most_mib: u64) -> impl Strategy<Value = ByteCount> {
    (0..most_mib << 20).prop_map(ByteCount::bytes)
}

prop_compose! {
    fn a_policy()(
        reserve in amount(2048),
        limit in proptest::option::of(amount(8192)),
        (spare, more, step) in (amount(400), amount(400), 1..200_u32),
        shrink_step in 1..400_u32,
        floor in 16..512_u32,
    ) -> Policy {
        let need_below = spare.saturating_add(more).max(ByteCount::mib(1));
        Policy {
            host_reserve: reserve,
            pool_limit: limit.map(|limit| limit.max(ByteCount::mib(16))),
            shrink_step: ByteCount::mib(shrink_step),
            floor: ByteCount::mib(floor),
            two_pointer: TwoPointer { need_below, spare_above: spare, step: ByteCount::mib(step) },
            ..Policy::default()
        }
    }
}

prop_compose! {
    fn a_vm()(
        actual in amount(1024),
        room in amount(1024),
        demand in vec(amount(2048), 1..12),
        (from, length) in (0..6_u64, 1..20_u64),
    ) -> Vm {
        let from = from.saturating_sub(3);
        let max = actual.saturating_add(room);
        Vm { name: "vm".to_owned(), actual, max, demand, life: from..from + length }
    }
}

prop_compose! {
    fn a_world()(
        policy in prop_oneof![Just(Policy::default()), a_policy()],
        vms in vec(a_vm(), 0..9),
        other in amount(4096),
        ids in any::<u64>(),
    ) -> World {
        assert_eq!(policy.validate(), []);
        let id = |i: usize| u128::from(ids.rotate_left(u32::try_from(i).unwrap() * 7)) + i as u128;
        let vms = vms.into_iter().enumerate();
        World {
            total: ByteCount::gib(12),
            other,
            policy,
            vms: vms.map(|(i, vm)| (VmId::from_bytes(id(i).to_be_bytes()), vm)).collect(),
            state: State::default(),
            tick: 0,
            reservations: Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The world's own `turn` has the judge look at every decision too.
    #[test]
    fn agrees_with_the_words_of_the_algorithm(mut world in a_world()) {
        let mut oracle = Oracle { offset: 0, previous: BTreeMap::new() };
        for _ in 0..16 {
            let held = |world: &World| world.sample().vms.values().map(|vm| vm.actual).sum();
            let before: ByteCount = held(&world);
            let expected = oracle.tick(&world.policy, &world.sample());
            let offset = oracle.offset;
            let (sample, decision) = world.turn();
            prop_assert_eq!(moves_of(&decision, &sample), expected);
            prop_assert_eq!(world.state.two_pointer.offset, offset as u64);

            world.tick -= 1;
            let after: ByteCount = held(&world);
            world.tick += 1;
            let of = |party: fn(&Transfer) -> Party| -> ByteCount {
                let own = decision.transfers.iter().filter(|t| party(t) == Party::Host);
                own.map(|t| t.amount).sum()
            };
            let (granted, returned) = (of(|t| t.from), of(|t| t.to));
            prop_assert_eq!(
                before.saturating_add(granted), after.saturating_add(returned),
                "memory appears or vanishes"
            );
            for resize in &decision.plan.shrinks {
                let vm = &sample.vms[&resize.vm];
                let left = vm.guest.unused.unwrap().saturating_sub(resize.shrinkage());
                prop_assert!(left >= world.policy.two_pointer.spare_above);
            }
            let again = decide(&world.policy, &State::default(), &sample);
            prop_assert_eq!(&again, &decide(&world.policy, &State::default(), &sample));
        }
    }

    /// Figures of any kind, orders in doubt, debts: nothing fails and the judge has no objection.
    #[test]
    fn keeps_every_rule_on_any_sample((policy, state, sample) in a_mess()) {
        let (decision, state) = decide(&policy, &state, &sample);
        prop_assert_eq!(check(&policy, &state, &sample, &decision), []);
        let after = state.after(&decision.plan, &Applied::default(), &sample, sample.now);
        prop_assert!(after.orders.len() <= sample.vms.len());
    }

    /// No claim of one VM takes another below its minimum or beyond its maximum.
    #[test]
    fn a_liar_moves_nobody_beyond_limits(
        (policy, state, mut sample) in a_mess(),
        claim in any::<Option<u64>>(),
    ) {
        let Some(liar) = sample.vms.keys().next().copied() else { return Ok(()) };
        sample.vms.get_mut(&liar).unwrap().guest.unused = claim.map(ByteCount::bytes);
        let (decision, _) = decide(&policy, &state, &sample);
        for resize in decision.plan.shrinks.iter().chain(&decision.plan.grows) {
            let vm = &sample.vms[&resize.vm];
            let limits = policy.rules(resize.vm, &vm.name, vm.max).limits;
            prop_assert!(resize.to <= limits.max || resize.to < resize.from);
            prop_assert!(resize.to >= limits.min || resize.to > resize.from);
        }
    }
}

prop_compose! {
    fn any_vm()(
        run in prop_oneof![
            16 => Just(RunState::Running), 1 => Just(RunState::Paused), 1 => Just(RunState::Unresponsive),
            1 => Just(RunState::Busy), 1 => Just(RunState::MigratingIn)
        ],
        freshness in prop_oneof![
            8 => Just(Freshness::Fresh), 1 => Just(Freshness::Unsettled),
            1 => Just(Freshness::Unproven), 1 => Just(Freshness::Stale), 1 => Just(Freshness::Absent)
        ],
        (actual, max) in prop_oneof![9 => (amount(2048), amount(4096)), 1 => (any_amount(), any_amount())],
        unused in prop_oneof![8 => amount(1024).prop_map(Some), 1 => any_amount().prop_map(Some), 1 => Just(None)],
        rss in proptest::option::of(amount(2048)),
        traits in prop_oneof![
            8 => Just(Some(Traits::default())), 1 => Just(None),
            1 => Just(Some(Traits { obstacle: Some(Obstacle::Device), takes_back_on_oom: false })),
            1 => Just(Some(Traits { obstacle: None, takes_back_on_oom: true }))
        ],
        boot in prop_oneof![8 => Just(None), 1 => Just(Some(Boot::Start)), 1 => Just(Some(Boot::Reboot))],
        distress in proptest::option::weighted(0.2, a_distress()),
        (generation, silent) in (0..2_u64, 0..200_u64),
        overhead in proptest::option::of(amount(200)),
    ) -> VmSample {
        VmSample {
            name: "vm".into(), run, generation, traits, boot, distress, actual, max,
            silent_for: Duration::from_secs(silent),
            guest: GuestFigures { unused, ..GuestFigures::default() },
            freshness, figures_age: Some(Duration::from_secs(1)), host_rss: rss, overhead,
            reported: None,
        }
    }
}

prop_compose! {
    fn a_distress()(
        sign in prop_oneof![
            amount(64).prop_map(Sign::SwapsOut), (0..5000_u64).prop_map(Sign::Faults), Just(Sign::TookBack)
        ],
        age in 0..60_u64,
    ) -> Distress {
        Distress { sign, age: Duration::from_secs(age) }
    }
}

fn any_amount() -> impl Strategy<Value = ByteCount> {
    any::<u64>().prop_map(ByteCount::bytes)
}

prop_compose! {
    pub(crate) fn a_mess()(
        policy in a_policy(),
        vms in vec(any_vm(), 0..7),
        orders in vec((0..7_u8, amount(2048), amount(1024), 0..100_u64, any::<bool>()), 0..5),
        owed in vec((0..7_u8, 0..7_u8, amount(200)), 0..4),
        pinned in 0..20_u8,
        previous in vec(amount(2048), 7),
        (usable, granule) in (amount(8192), prop_oneof![Just(1_u64), Just(4096)]),
        full in proptest::option::weighted(0.2, 0..10_000_u32),
        ideal in proptest::bool::weighted(0.1),
    ) -> (Policy, State, Sample) {
        let id = |i: u8| VmId::from_bytes([i; 16]);
        let mut policy = policy;
        let pin = VmPolicy { pinned: Some(true), ..VmPolicy::default() };
        policy.vms.insert(VmKey::Id(id(pinned)), pin);
        let granule = ByteCount::bytes(granule);
        let mut state = State::default();
        for (vm, target, more, since, in_doubt) in orders {
            let most = if in_doubt { target.saturating_add(more) } else { target };
            let (held, gives) = (target.saturating_add(more), more);
            let base = Shown { actual: held, taken: (since % 3 > 0).then_some(held) };
            let since = Duration::from_secs(since);
            let (least, judged) = (target, false);
            let order = Order { target, least, most, base, gives, since, in_doubt, judged };
            state.orders.insert(id(vm), order);
        }
        state.owed = owed.into_iter().filter(|(from, to, _)| from != to).map(|(from, to, amount)| Transfer {
            from: Party::Vm(id(from)), to: Party::Vm(id(to)), amount: amount.align_down(granule),
        }).collect();
        state.two_pointer.offset = 3;
        state.two_pointer.previous = (0..7).map(id).zip(previous).collect();
        let vms = (0..7).map(id).zip(vms).collect();
        let host = HostMemory {
            total: ByteCount::gib(16), usable,
            pressure: full.map(|full| Pressure { some: Share(full), full: Share(full) }),
        };
        let now = Duration::from_secs(100);
        let reservations = Vec::new();
        (policy, state, Sample { tick: 5, now, host, granule, ideal, vms, reservations })
    }
}
