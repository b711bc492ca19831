//! Policies, states and samples of any kind: what decisions are tried on.

use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use agentd_core::{
    by_vm::ByVm,
    bytes::ByteCount,
    decide::decide,
    decision::Decision,
    distress::{Distress, Sign},
    order::Order,
    plan::{Party, Plan, Resize, Transfer},
    policy::{Algorithm, Policy, TwoPointer, VmKey, VmPolicy, WorkingSet},
    report::ReportTime,
    sample::{
        Boot, Freshness, GuestFigures, HostMemory, Obstacle, Pressure, Reported, RunState, Sample,
        Share, Shown, Traits, VmSample,
    },
    state::{Applied, Outcome, Resized, State},
    vm::VmId,
};
use proptest::{collection::vec, prelude::*};

/// Bytes that are no multiple of anything, from next to nothing to 2 GiB.
pub(crate) fn amount(most_mib: u64) -> impl Strategy<Value = ByteCount> {
    (0..most_mib << 20).prop_map(ByteCount::bytes)
}

prop_compose! {
    pub(crate) fn a_policy()(
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

fn any_working_set() -> impl Strategy<Value = WorkingSet> {
    let keep_for = prop_oneof![1..120_u64, 1..=86_400_u64];
    a_working_set((1..300, 0..=200), (0..=60, keep_for), 1..100)
}

/// Constants of these ranges: headroom in MiB and percent, lead and `keep-for` in seconds, a dead band in MiB.
pub(crate) fn a_working_set(
    headroom: (Range<u32>, RangeInclusive<u32>),
    seconds: (RangeInclusive<u64>, impl Strategy<Value = u64>),
    dead_band: Range<u32>,
) -> impl Strategy<Value = WorkingSet> {
    (headroom, seconds, dead_band, 0..=75_u32).prop_map(
        |((headroom, headroom_percent), (lead, keep_for), dead_band, shrink_percent)| WorkingSet {
            headroom: ByteCount::mib(headroom),
            headroom_percent,
            lead: Duration::from_secs(lead),
            keep_for: Duration::from_secs(keep_for),
            dead_band: ByteCount::mib(dead_band),
            shrink_percent,
        },
    )
}

prop_compose! {
    fn any_exception()(
        (min, more) in (amount(1024), amount(2048)),
        (has_min, has_max) in any::<(bool, bool)>(),
        weight in proptest::option::of(1..=10_000_u32),
        pinned in proptest::option::weighted(0.1, Just(true)),
    ) -> VmPolicy {
        let max = has_max.then_some(min.saturating_add(more));
        VmPolicy { min: has_min.then_some(min), max, weight, pinned }
    }
}

prop_compose! {
    /// Any algorithm with any constants, and with exceptions for some VMs.
    fn any_policy()(
        policy in a_policy(),
        algorithm in prop_oneof![Just(Algorithm::TwoPointer), Just(Algorithm::WorkingSet)],
        working_set in any_working_set(),
        vms in vec((0..7_u8, any_exception()), 0..4),
    ) -> Policy {
        let floor = policy.floor;
        let exception = |(number, own): (u8, VmPolicy)| {
            let [min, max] = [own.min, own.max].map(|bound| bound.map(|own| own.max(floor)));
            (VmKey::Id(id(number)), VmPolicy { min, max, ..own })
        };
        let vms = vms.into_iter().map(exception).collect();
        Policy { algorithm, working_set, vms, ..policy }
    }
}

const fn id(number: u8) -> VmId {
    VmId::from_bytes([number; 16])
}

prop_compose! {
    /// What a kernel says of itself: what it cannot be, too.
    pub(crate) fn any_figures()(
        unused in prop_oneof![
            8 => amount(1024).prop_map(Some), 1 => any_amount().prop_map(Some), 1 => Just(None)
        ],
        cached in amount(512),
        usable in prop_oneof![
            6 => Just(None), 1 => any_amount().prop_map(Some), 1 => amount(1024).prop_map(Some)
        ],
        says_usable in proptest::bool::weighted(0.8),
        (swap_in, swap_out) in (any_counter(), any_counter()),
        major_faults in proptest::option::of(0..10_000_u64),
    ) -> GuestFigures {
        let usable = usable.or_else(|| Some(unused?.saturating_add(cached)));
        let usable = usable.filter(|_| says_usable);
        GuestFigures { unused, usable, swap_in, swap_out, major_faults }
    }
}

fn any_counter() -> impl Strategy<Value = Option<ByteCount>> {
    prop_oneof![
        4 => amount(2048).prop_map(Some), 2 => Just(Some(ByteCount::ZERO)), 2 => Just(None),
        1 => any_amount().prop_map(Some)
    ]
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
        guest in any_figures(),
        rss in proptest::option::of(amount(2048)),
        traits in prop_oneof![
            8 => Just(Some(Traits::default())), 1 => Just(None),
            1 => amount(4096).prop_map(|set_aside| {
                Some(Traits { obstacle: Some(Obstacle::Device), set_aside, ..Traits::default() })
            }),
            1 => Just(Some(Traits { takes_back_on_oom: true, ..Traits::default() }))
        ],
        boot in prop_oneof![8 => Just(None), 1 => Just(Some(Boot::Start)), 1 => Just(Some(Boot::Reboot))],
        distress in proptest::option::weighted(0.2, a_distress()),
        (generation, silent) in (0..2_u64, 0..200_u64),
        (overhead, beside) in (proptest::option::of(amount(200)), proptest::option::of(amount(200))),
        (second, age) in (proptest::option::of(0..100_u64), 0..10_u64),
    ) -> VmSample {
        let reported = second.map(|second| {
            ReportTime::seen(Reported::at(second), None, Duration::from_secs(second))
        });
        VmSample {
            name: "vm".into(), run, generation, traits, boot, distress, actual, max,
            silent_for: Duration::from_secs(silent),
            guest, freshness, figures_age: Some(Duration::from_secs(age)), host_rss: rss, overhead,
            reported, overhead_at_most: overhead.zip(beside).map(|(least, more)| least.saturating_add(more)),
        }
    }
}

prop_compose! {
    pub(crate) fn a_distress()(
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
        policy in any_policy(),
        vms in vec(any_vm(), 0..7),
        orders in vec((0..7_u8, amount(2048), amount(1024), 0..100_u64, any::<bool>()), 0..5),
        owed in vec((0..7_u8, 0..7_u8, amount(200)), 0..4),
        pinned in 0..20_u8,
        previous in vec(amount(2048), 7),
        (usable, granule) in (amount(8192), prop_oneof![Just(1_u64), Just(4096)]),
        full in proptest::option::weighted(0.2, 0..10_000_u32),
        ideal in proptest::bool::weighted(0.1),
    ) -> (Policy, State, Sample) {
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
            let order = Order { most, in_doubt, ..Order::new(target, gives, base, since) };
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

/// A mess, and what becomes of it: some ticks, of which each remembers those before.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) policy: Policy,
    state: State,
    pub(crate) samples: Vec<Sample>,
    /// For each order what becomes of it, and whether its VM follows it.
    answers: Vec<(Outcome, bool)>,
}

prop_compose! {
    pub(crate) fn a_course()(
        (policy, state, first) in a_mess(),
        later in vec((1..10_u64, vec(any_vm(), 0..7), amount(8192), any::<bool>()), 0..3),
        answers in vec((an_outcome(), any::<bool>()), 5),
    ) -> Course {
        let mut samples = vec![first];
        for (passed, vms, usable, is_calm) in later {
            let before = samples.last().unwrap();
            let mut vms: ByVm<_> = (0..7).map(id).zip(vms).collect();
            if is_calm {
                // The same VMs, which say something else.
                vms = before.vms.iter().map(|(id, vm)| match vms.get(id) {
                    Some(says) => (*id, VmSample { guest: says.guest, distress: says.distress, ..vm.clone() }),
                    None => (*id, vm.clone()),
                }).collect();
            }
            let (tick, now) = (before.tick + 1, before.now + Duration::from_secs(passed));
            let host = HostMemory { usable, ..before.host };
            samples.push(Sample { tick, now, host, vms, ..before.clone() });
        }
        Course { policy, state, samples, answers }
    }
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Accepted), 1 => Just(Outcome::Refused("no".to_owned())),
        1 => Just(Outcome::VmGone), 1 => Just(Outcome::InDoubt), 1 => Just(Outcome::Held),
        1 => Just(Outcome::Skipped),
    ]
}

impl Course {
    /// Decides tick by tick, and has every decision looked at, with the state before it is carried out.
    pub(crate) fn play(
        mut self,
        mut look: impl FnMut(&Policy, &State, &Sample, &Decision) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let mut holds = BTreeMap::new();
        for sample in &mut self.samples {
            for (id, holds) in &holds {
                if let Some(vm) = sample.vms.get_mut(id) {
                    vm.actual = *holds;
                }
            }
            let (decision, state) = decide(&self.policy, &self.state, sample);
            look(&self.policy, &state, sample, &decision)?;
            let applied = answered(&decision.plan, &self.answers);
            let follows = self.answers.iter().map(|(_, follows)| *follows).cycle();
            for (resized, follows) in applied.resized.iter().zip(follows) {
                holds.extend(resized.ordered.filter(|_| follows).map(|to| (resized.vm, to)));
            }
            self.state = state.after(&decision.plan, &applied, sample, sample.now);
            self.answers.rotate_left(1);
        }
        Ok(())
    }
}

/// Each order is answered in turn, and what is granted is all of a transfer or nothing.
fn answered(plan: &Plan, answers: &[(Outcome, bool)]) -> Applied {
    let answer = |(resize, (outcome, _)): (&Resize, &(Outcome, bool))| {
        let told = matches!(outcome, Outcome::Accepted | Outcome::InDoubt);
        let (vm, planned, outcome) = (resize.vm, resize.to, outcome.clone());
        Resized { vm, planned, ordered: told.then_some(planned), outcome, rest_refused: None }
    };
    let granted = plan.funding.iter().zip(answers.iter().cycle());
    let granted =
        granted.map(|(transfer, (_, all))| if *all { transfer.amount } else { ByteCount::ZERO });
    Applied {
        resized: plan.resizes().zip(answers.iter().cycle()).map(answer).collect(),
        granted: granted.collect(),
    }
}
