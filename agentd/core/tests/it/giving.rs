//! Who gets what there is to give in one tick of `working-set`, while givers let go of theirs in steps.

use agentd_core::{verdict::Verdict, vm::VmId};
use proptest::prelude::*;

use crate::settled::{a_world, holds_for};

/// Who asks for headroom gets none of what arrives while another waits for what its programs work with,
/// whatever their weights.
#[test]
fn nobody_gets_headroom_while_another_waits_for_what_it_works_with() {
    let judged = holds_for(200, a_world(300..1600), |mut world| {
        let mut waited = false;
        for _ in 0..12 {
            let (sample, decision) = world.turn();
            let works = |id: VmId, verdict: &Verdict| {
                let vm = &sample.vms[&id];
                let min = world.policy.rules(id, &vm.name, vm.max).limits.min;
                let works = verdict.demand.unwrap().max(min);
                (vm.actual.saturating_add(verdict.amount), works, verdict.entitled.unwrap())
            };
            let waits = |(id, verdict): (&VmId, &Verdict)| {
                let (has, works, entitled) = works(*id, verdict);
                let lacks = verdict.need.is_some_and(|need| !need.is_zero());
                lacks && has.saturating_add(sample.granule) < works.min(entitled)
            };
            if !decision.verdicts.iter().any(waits) {
                continue;
            }
            waited |= decision.plan.grows.len() > 1;
            for grow in &decision.plan.grows {
                let (has, works, _) = works(grow.vm, decision.verdicts.get(&grow.vm).unwrap());
                prop_assert!(has <= works, "{has} of {works}, while another waits: {world:?}");
            }
        }
        Ok(waited)
    });
    assert!(judged >= 10, "only in {judged} somebody waited beside others who got something");
}
