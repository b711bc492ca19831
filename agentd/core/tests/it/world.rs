//! An ideal host for tests: memory arrives within the tick and every figure is exact.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    by_vm::ByVm,
    bytes::ByteCount,
    check::check,
    decide::decide,
    decision::Decision,
    grant::Ledger,
    plan::{Party, Plan, Resize, Transfer},
    policy::Policy,
    reserve::Reservation,
    sample::{Freshness, GuestFigures, HostMemory, RunState, Sample, Traits, VmSample},
    state::{Applied, Outcome, Resized, State},
    vm::VmId,
};

/// One VM of the world.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) actual: ByteCount,
    pub(crate) max: ByteCount,
    /// What it wants to use at each tick; the last value goes on for ever.
    pub(crate) demand: Vec<ByteCount>,
    /// Ticks during which it is there.
    pub(crate) life: std::ops::Range<u64>,
}

/// An ideal host with its policy.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) total: ByteCount,
    pub(crate) other: ByteCount,
    pub(crate) policy: Policy,
    pub(crate) vms: BTreeMap<VmId, Vm>,
    pub(crate) state: State,
    pub(crate) tick: u64,
    /// What is reserved now.
    pub(crate) reservations: Vec<Reservation>,
}

impl World {
    /// What a perfect look at the world shows now.
    pub(crate) fn sample(&self) -> Sample {
        let there = self.vms.iter().filter(|(_, vm)| vm.life.contains(&self.tick));
        let vms: ByVm<_> = there.map(|(id, vm)| (*id, self.vm_sample(vm))).collect();
        let held = vms.values().map(|vm| vm.actual).sum::<ByteCount>();
        let usable = self.total.saturating_sub(self.other).saturating_sub(held);
        Sample {
            tick: self.tick,
            now: Duration::from_secs(self.tick),
            host: HostMemory { total: self.total, usable, pressure: None },
            granule: ByteCount::bytes(1),
            ideal: true,
            vms,
            reservations: self.reservations.clone(),
        }
    }

    fn vm_sample(&self, vm: &Vm) -> VmSample {
        let tick = usize::try_from(self.tick).unwrap();
        let wanted = *vm.demand.get(tick).or_else(|| vm.demand.last()).unwrap();
        let unused = vm.actual.saturating_sub(wanted);
        VmSample {
            name: vm.name.as_str().into(),
            run: RunState::Running,
            generation: 0,
            traits: Some(Traits::default()),
            boot: None,
            silent_for: Duration::ZERO,
            distress: None,
            actual: vm.actual,
            max: vm.max,
            guest: GuestFigures {
                unused: Some(unused),
                usable: Some(unused),
                ..GuestFigures::default()
            },
            freshness: Freshness::Fresh,
            figures_age: Some(Duration::ZERO),
            host_rss: Some(vm.actual),
            overhead: Some(ByteCount::ZERO),
            reported: None,
            overhead_at_most: None,
        }
    }

    /// One tick: decides, has the judge look at it, and carries it out whole.
    pub(crate) fn turn(&mut self) -> (Sample, Decision) {
        self.turn_beside(None)
    }

    /// The same beside a VM that follows no order to shrink: what it was to give is granted to nobody.
    pub(crate) fn turn_beside(&mut self, stuck: Option<VmId>) -> (Sample, Decision) {
        let sample = self.sample();
        let (decision, state) = decide(&self.policy, &self.state, &sample);
        assert_eq!(check(&self.policy, &state, &sample, &decision), []);
        let plan = &decision.plan;
        for resize in plan.shrinks.iter().filter(|resize| Some(resize.vm) != stuck) {
            self.vms.get_mut(&resize.vm).unwrap().actual = resize.to;
        }
        let mut ledger = Ledger::new(plan, &state, &sample);
        ledger.see(self.vms.iter().map(|(id, vm)| (*id, vm.actual, Some(vm.actual))));
        let mut applied = carried_out(plan);
        applied.granted = ledger.granted().to_vec();
        for grow in &plan.grows {
            let target = ledger.target(grow);
            let vm = self.vms.get_mut(&grow.vm).unwrap();
            vm.actual = target.unwrap_or(vm.actual);
            let resized = applied.resized.iter_mut().filter(|own| own.vm == grow.vm);
            resized.for_each(|own| match target {
                Some(_) => own.ordered = target,
                None => (own.ordered, own.outcome) = (None, Outcome::Held),
            });
        }
        self.state = state.after(plan, &applied, &sample, sample.now);
        self.tick += 1;
        (sample, decision)
    }

    pub(crate) fn name(&self, party: Party) -> &str {
        match party {
            Party::Host => "host",
            Party::Vm(id) => &self.vms[&id].name,
        }
    }
}

/// Everything accepted, everything granted.
pub(crate) fn carried_out(plan: &Plan) -> Applied {
    let accepted = |resize: &Resize| Resized {
        vm: resize.vm,
        planned: resize.to,
        ordered: Some(resize.to),
        outcome: Outcome::Accepted,
        rest_refused: None,
    };
    Applied {
        resized: plan.resizes().map(accepted).collect(),
        granted: plan.funding.iter().map(|transfer: &Transfer| transfer.amount).collect(),
    }
}
