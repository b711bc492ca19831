//! `ShadowService`: sets a policy that decides along, and tells what it would have done differently.

use std::sync::Arc;

use agentd_core::{
    policy::{Fault, Policy},
    verdict::VerdictKind,
    vm::VmId,
};
use agentd_proto::v1 as wire;
use tonic::{Request, Response, Status, async_trait};
use wire::shadow_service_server::ShadowService;

use super::{
    Published,
    audited::{self, Ask, Made, Target},
    fault::Violations,
    from_proto, mask,
    peer::Peer,
    policy::warnings_beside,
    to_proto,
};
use crate::{
    audit::{Changes, Effect},
    control::{self, Actor, Control, ControlError, FieldChange, changes},
    difference::{Instance, Ruled, VmDifference, VmTally},
    event::TickRecord,
    publish::{Position, Stamp},
    shadow::{Look, MOST_TICKS, Report, Shadow, Vary, Wish},
};

/// `ShadowService`.
#[derive(Clone, Debug)]
pub(super) struct ShadowCalls(pub(super) Arc<Published>);

#[async_trait]
impl ShadowService for ShadowCalls {
    async fn get_shadow(
        &self,
        request: Request<wire::GetShadowRequest>,
    ) -> Result<Response<wire::GetShadowResponse>, Status> {
        let ticks = match request.into_inner().ticks {
            0 => MOST_TICKS,
            some => usize::try_from(some).unwrap_or(MOST_TICKS),
        };
        // It adds up for milliseconds, on a thread that may.
        let place = Arc::clone(&self.0.shadow);
        let report = move |control: &Control| Ok(place.report(&control.in_force().policy, ticks));
        let report = self.0.history.read(report).await?;
        Ok(Response::new(wire::GetShadowResponse {
            shadow: report.as_ref().map(shadow),
            summary: report.as_ref().map(summary),
        }))
    }

    async fn set_shadow(
        &self,
        request: Request<wire::SetShadowRequest>,
    ) -> Result<Response<wire::SetShadowResponse>, Status> {
        let actor = Peer::of(&request).actor(self.0.clock.wall());
        let mut ask = self.ask(&request, "agentd.v1.ShadowService/SetShadow");
        let wire::SetShadowRequest { policy, update_mask, reason, validate_only } =
            request.into_inner();
        ask.only_checks(validate_only);
        let mut violations = Violations::default();
        let paths = mask::paths(&update_mask.unwrap_or_default(), &mut violations);
        let values = mask::Values::read(policy.unwrap_or_default(), &mut violations);
        from_proto::reason(&reason, &mut violations);
        ask.checked(violations.check())?;
        ask.says(&reason);

        let vary = move |policy: &Policy| {
            let varied = values.clone().applied(&paths, policy)?;
            let faults = varied.validate();
            if faults.is_empty() { Ok(varied) } else { Err(faults) }
        };
        let in_force = self.0.in_force();
        let (base, wish) = (&in_force.policy.policy, (actor.clone(), reason.clone()));
        let varied = vary(base).unwrap_or_else(|_| base.clone());
        ask.wants_changes(Changes::of(&changes(base, &varied)));
        let warnings = self.warnings(base, &varied);
        let place = Arc::clone(&self.0.shadow);
        let set = move |control: &Control| {
            let place = (!validate_only).then_some(&*place);
            set(control, place, (vary, wish))
        };
        let Set(changes) = self.0.changes.change(ask, set).await?;
        let shadow = told(&changes, &actor, &reason);
        Ok(Response::new(wire::SetShadowResponse { shadow: Some(shadow), warnings }))
    }

    async fn clear_shadow(
        &self,
        request: Request<wire::ClearShadowRequest>,
    ) -> Result<Response<wire::ClearShadowResponse>, Status> {
        let actor = Peer::of(&request).actor(self.0.clock.wall());
        let ask = self.ask(&request, "agentd.v1.ShadowService/ClearShadow");
        let place = Arc::clone(&self.0.shadow);
        let Cleared(cleared) =
            self.0.changes.change(ask, move |_| Ok(Cleared(place.clear()))).await?;
        if cleared {
            tracing::info!(%actor, "shadow taken away");
        }
        Ok(Response::new(wire::ClearShadowResponse { cleared }))
    }
}

impl ShadowCalls {
    /// What a change to this policy would be warned of, as far as it is not so of the one in force.
    fn warnings(&self, in_force: &Policy, varied: &Policy) -> Vec<String> {
        let of = |policy| {
            let mut warnings = control::warnings(policy);
            warnings.extend(warnings_beside(&self.0, policy));
            warnings
        };
        let known = of(in_force);
        let mut warnings = of(varied);
        warnings.retain(|warning| !known.contains(warning));
        warnings
    }

    fn ask<T>(&self, request: &Request<T>, method: &str) -> Ask {
        let in_force = self.0.in_force();
        let report = self.0.shadow.report(&in_force.policy, 0);
        let before = report.map_or_else(
            || NONE.to_owned(),
            |report| match &report.changes {
                Ok(changes) => words(changes),
                Err(error) => error.clone(),
            },
        );
        Ask::new(&self.0, request, (method, Target::Shadow(before)))
    }
}

/// A shadow that was set, by what it has otherwise than the policy in force.
struct Set(Vec<FieldChange>);

/// Whether there was a shadow to be taken away.
struct Cleared(bool);

impl Made for Set {
    fn effect(&self) -> Effect {
        let after = audited::shadow(&words(&self.0));
        Effect { before: None, after, changes: Changes::of(&self.0) }
    }
}

impl Made for Cleared {
    fn effect(&self) -> Effect {
        Effect { before: None, after: audited::shadow(NONE), changes: Changes::default() }
    }
}

/// Puts a shadow in its place, or only sees whether it could be where there is none.
fn set(
    control: &Control,
    place: Option<&Shadow>,
    (vary, (actor, reason)): (
        impl Fn(&Policy) -> Result<Policy, Vec<Fault>> + Send + Sync + 'static,
        (Actor, String),
    ),
) -> Result<Set, ControlError> {
    let in_force = control.in_force();
    let base = &in_force.policy.policy;
    let varied = vary(base).map_err(ControlError::Invalid)?;
    let beyond = control.beyond_host(&varied);
    if !beyond.is_empty() {
        return Err(ControlError::Invalid(beyond));
    }
    let changes = changes(base, &varied);
    if let Some(place) = place {
        tracing::info!(%actor, reason, changes = words(&changes), "shadow set");
        let vary: Vary = Arc::new(move |policy| {
            let words = |faults: Vec<Fault>| {
                faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            };
            vary(policy).map_err(words)
        });
        place.set(Wish { vary, actor, reason });
    }
    Ok(Set(changes))
}

fn words(changes: &[FieldChange]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The bytes of a tick's entry with what the shadow says of it.
#[must_use]
pub fn encode_shadow(
    position: &Position,
    stamp: Stamp,
    record: &TickRecord,
    look: &Look,
) -> Vec<u8> {
    to_proto::encode_tick(position, stamp, record, Some(tick(look)))
}

fn tick(look: &Look) -> wire::ShadowTick {
    let compared = &look.compared;
    let difference = |vm: &VmDifference| wire::ShadowDifference {
        vm: Some(to_proto::vm_ref(vm.vm, &vm.name)),
        acting: Some(ruling(&vm.acting)),
        shadow: Some(ruling(&vm.other)),
    };
    wire::ShadowTick {
        algorithm: look.algorithm.name().to_owned(),
        moved_bytes: compared.other_moved.as_u64(),
        vms: compared.vms.iter().map(difference).collect(),
        objection: compared.objection.clone().unwrap_or_default(),
    }
}

fn shadow(report: &Report) -> wire::Shadow {
    let Report { changes, actor, reason, .. } = report;
    let none = Vec::new();
    let error = changes.as_ref().err().cloned().unwrap_or_default();
    wire::Shadow { error, ..told(changes.as_ref().unwrap_or(&none), actor, reason) }
}

fn told(changes: &[FieldChange], actor: &Actor, reason: &str) -> wire::Shadow {
    wire::Shadow {
        changes: to_proto::changes(changes),
        actor: Some(to_proto::actor(actor)),
        reason: reason.to_owned(),
        error: String::new(),
    }
}

fn summary(report: &Report) -> wire::ShadowSummary {
    let tally = &report.tally;
    wire::ShadowSummary {
        ticks: tally.ticks,
        differed: tally.differed,
        rejected: tally.rejected,
        moved_bytes: tally.moved.as_u64(),
        shadow_moved_bytes: tally.other_moved.as_u64(),
        vms: tally.vms.iter().map(|(id, vm)| shadow_vm(*id, vm)).collect(),
        skipped: report.skipped,
        slowest: Some(to_proto::duration(report.slowest)),
        since_time: report.since.map(to_proto::timestamp),
    }
}

fn shadow_vm(id: VmId, vm: &VmTally) -> wire::ShadowVm {
    wire::ShadowVm {
        vm: Some(to_proto::vm_ref(id, &vm.name)),
        differed: vm.differed,
        more_bytes: vm.more.as_u64(),
        less_bytes: vm.less.as_u64(),
        first: Some(instance(&vm.first)),
        last: Some(instance(&vm.last)),
    }
}

fn instance(instance: &Instance) -> wire::ShadowInstance {
    wire::ShadowInstance {
        tick: instance.tick,
        time: Some(to_proto::timestamp(instance.began)),
        acting: Some(ruling(&instance.acting)),
        shadow: Some(ruling(&instance.other)),
    }
}

fn ruling(ruled: &Ruled) -> wire::ShadowRuling {
    let kind = match ruled.kind {
        VerdictKind::Hold => wire::VerdictKind::Hold,
        VerdictKind::Grow => wire::VerdictKind::Grow,
        VerdictKind::Shrink => wire::VerdictKind::Shrink,
    };
    wire::ShadowRuling {
        kind: kind.into(),
        reason: ruled.reason.name().to_owned(),
        amount_bytes: ruled.amount.as_u64(),
    }
}

/// What decides along where nothing does.
const NONE: &str = "none";
