//! Properties of every decision, over random hosts: an oracle that follows the published words of
//! the algorithm line by line agrees, memory is conserved, limits and spare thresholds hold.

use std::{cell::Cell, collections::BTreeMap};

use crate::{
    mess::{a_course, a_distress, a_policy, amount, any_figures},
    settled::without_a_file,
    world::{Vm, World},
};
use agentd_core::{
    bytes::ByteCount,
    check::check,
    decide::decide,
    decision::Decision,
    host::HostLevel,
    plan::{Party, Transfer},
    policy::{Algorithm, Policy, TwoPointer},
    sample::{GuestFigures, Sample},
    state::State,
    verdict::VerdictKind,
    vm::VmId,
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

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
                let vm = sample.vms.get(&resize.vm).unwrap();
                let left = vm.guest.unused.unwrap().saturating_sub(resize.shrinkage());
                prop_assert!(left >= world.policy.two_pointer.spare_above);
            }
            let again = decide(&world.policy, &State::default(), &sample);
            prop_assert_eq!(&again, &decide(&world.policy, &State::default(), &sample));
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Figures of any kind, orders in doubt, debts, both algorithms with any constants: nothing fails,
    /// and the judge has no objection.
    #[test]
    fn keeps_every_rule_on_any_sample(course in a_course()) {
        course.play(|policy, state, sample, decision| {
            prop_assert_eq!(check(policy, state, sample, decision), []);
            prop_assert!(state.orders.len() <= sample.vms.len());
            // What is known of VMs waits while the host is to be saved.
            let waits = decision.host.level == HostLevel::Emergency;
            prop_assert!(waits || state.working_set.demands.len() <= sample.vms.len());
            Ok(())
        })?;
    }

    /// No claim of one VM takes another below its minimum or beyond its maximum.
    #[test]
    fn a_liar_moves_nobody_beyond_limits(
        mut course in a_course(),
        claims in vec(prop_oneof![any_figures(), any_lies()], 3),
    ) {
        let Some(liar) = course.samples[0].vms.keys().next().copied() else { return Ok(()) };
        for (sample, claim) in course.samples.iter_mut().zip(claims) {
            if let Some(vm) = sample.vms.get_mut(&liar) {
                vm.guest = claim;
            }
        }
        course.play(|policy, state, sample, decision| {
            prop_assert_eq!(check(policy, state, sample, decision), []);
            for resize in decision.plan.shrinks.iter().chain(&decision.plan.grows) {
                let vm = sample.vms.get(&resize.vm).unwrap();
                let limits = policy.rules(resize.vm, &vm.name, vm.max).limits;
                prop_assert!(resize.to <= limits.max || resize.to < resize.from);
                prop_assert!(resize.to >= limits.min || resize.to > resize.from);
            }
            Ok(())
        })?;
    }
}

fn any_lies() -> impl Strategy<Value = GuestFigures> {
    let amount = || any::<Option<u64>>().prop_map(|claim| claim.map(ByteCount::bytes));
    (amount(), amount(), amount(), amount(), any::<Option<u64>>()).prop_map(
        |(unused, usable, swap_in, swap_out, major_faults)| GuestFigures {
            unused,
            usable,
            swap_in,
            swap_out,
            major_faults,
        },
    )
}

/// Whatever others lack, also while the host runs out of memory: an order in force may be ended where
/// it is, and nothing else is asked. Of the VMs without the sign, some would have given.
#[test]
fn nobody_shrinks_who_suffers() {
    let spared = [Cell::new(0), Cell::new(0)];
    let mut runner = TestRunner::new(without_a_file(1000));
    let played = runner.run(&(a_course(), a_distress()), |(mut course, sign)| {
        // One VM suffers that otherwise does not.
        let sample = &mut course.samples[0];
        let Some(victim) = sample.vms.keys().next().copied() else { return Ok(()) };
        sample.vms.get_mut(&victim).unwrap().distress = None;
        let gives = Cell::new(false);
        course.clone().play(|_, _, sample, decision| {
            let kind = decision.verdicts.get(&victim).map(|verdict| verdict.kind);
            let is_first = sample.tick == 5;
            gives.set(gives.get() || is_first && kind == Some(VerdictKind::Shrink));
            Ok(())
        })?;
        let sample = &mut course.samples[0];
        sample.vms.get_mut(&victim).unwrap().distress = Some(sign);
        let algorithm = usize::from(course.policy.algorithm == Algorithm::WorkingSet);
        spared[algorithm].set(spared[algorithm].get() + usize::from(gives.get()));
        course.play(|_, _, sample, decision| {
            for (id, vm) in sample.vms.iter().filter(|(_, vm)| vm.distress.is_some()) {
                let verdict = decision.verdicts.get(id).unwrap();
                prop_assert_ne!(verdict.kind, VerdictKind::Shrink, "{:?}", vm);
                let gives = |own: &Transfer| own.from == Party::Vm(*id);
                prop_assert!(!decision.transfers.iter().any(gives), "{:?}", vm);
                let mut own = decision.plan.resizes().filter(|resize| resize.vm == *id);
                prop_assert!(own.all(|resize| resize.to >= vm.actual), "{:?}", vm);
            }
            Ok(())
        })
    });
    played.unwrap();
    let spared = spared.map(Cell::into_inner);
    assert!(spared.iter().all(|count| *count >= 10), "they say nothing: {spared:?}");
}
