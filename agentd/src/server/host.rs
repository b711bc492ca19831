//! `HostService`: the state of the host and of agentd on it, and its mode.

use std::sync::Arc;

use agentd_core::{policy::Policy, sample::VmSample, vm::VmId};
use agentd_proto::v1 as wire;
use tonic::{Request, Response, Status, async_trait};
use wire::host_service_server::HostService;

use super::{
    Published,
    audited::{Ask, Target},
    authz::{Caller, Role},
    fault::Violations,
    from_proto,
    peer::Peer,
    to_proto,
};
use crate::{
    control::{Control, Mode},
    event::TickRecord,
};

/// `HostService`.
#[derive(Clone, Debug)]
pub(super) struct HostCalls(pub(super) Arc<Published>);

#[async_trait]
impl HostService for HostCalls {
    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        self.0.look_for_freeze().await;
        Ok(Response::new(status(&self.0, &Peer::of(&request))))
    }

    async fn set_mode(
        &self,
        request: Request<wire::SetModeRequest>,
    ) -> Result<Response<wire::SetModeResponse>, Status> {
        let caller = Caller::of(&request);
        let actor = caller.peer.actor(self.0.clock.wall());
        let mut ask = Ask::new(&self.0, &request, ("agentd.v1.HostService/SetMode", Target::Mode));
        let wire::SetModeRequest { mode, reason } = request.into_inner();
        let mode = ask.checked(from_proto::mode(mode))?;
        let mut violations = Violations::default();
        from_proto::reason(&reason, &mut violations);
        ask.checked(violations.check())?;
        ask.says(&reason);
        ask.wants_mode(mode);
        // To pause what is paused changes nothing, and fills the audit all the same.
        if mode != Mode::Paused || self.0.in_force().mode == Mode::Paused {
            ask.checked(self.0.authz.count_change(&caller))?;
        }
        let is_admin = caller.is(Role::Admin);
        let set = move |control: &Control| match is_admin {
            true => control.set_mode(mode, actor, reason),
            false => control.set_own_mode(mode, actor, reason),
        };
        let door = if mode == Mode::Paused { &self.0.pauses } else { &self.0.modes };
        let set = door.change(ask, set).await?;
        Ok(Response::new(wire::SetModeResponse {
            mode: to_proto::mode(set.after).into(),
            previous_mode: to_proto::mode(set.before).into(),
            durable: set.durable,
            position: set.position.as_ref().map(to_proto::position),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<wire::WhoAmIRequest>,
    ) -> Result<Response<wire::WhoAmIResponse>, Status> {
        Ok(Response::new(wire::WhoAmIResponse {
            host: self.0.about.host.clone(),
            host_time: Some(to_proto::timestamp(self.0.clock.wall())),
            ..to_proto::access::caller(&Caller::of(&request))
        }))
    }
}

fn status(published: &Published, caller: &Peer) -> wire::GetStatusResponse {
    let (publisher, about) = (&published.publisher, &published.about);
    let in_force = published.in_force();
    // The two are read one after the other.
    let set = Some(published.control.mode_set()).filter(|set| set.mode == in_force.mode);
    let latest = publisher.latest();
    let seen = latest.as_ref().and_then(|latest| latest.seen.as_ref());
    let sample = seen.and_then(|record| record.sample.as_ref());
    let decision = seen.and_then(|record| record.decision.as_ref());
    let revision = &in_force.policy;
    let policy = &revision.policy;
    let managed = seen.zip(sample).map_or(0, |(record, sample)| {
        let acting = &in_force.acting.policy;
        count(sample.vms.iter().filter(|(id, vm)| is_managed(acting, record, **id, vm)))
    });
    let newest = publisher.position(publisher.ring().span().newest);
    wire::GetStatusResponse {
        host: about.host.clone(),
        agent_version: about.version.clone(),
        start_time: Some(to_proto::timestamp(about.started)),
        host_time: Some(to_proto::timestamp(published.clock.wall())),
        hypervisor: about.hypervisor.clone(),
        mode: to_proto::mode(in_force.mode).into(),
        memory: sample.map(|s| to_proto::host_memory(&s.host, decision.map(|d| &d.host))),
        pool: decision.map(|decision| to_proto::pool(&decision.pool)),
        position: Some(to_proto::position(&newest)),
        managed_vms: managed,
        total_vms: sample.map_or(0, |sample| count(sample.vms.iter())),
        watchers: u32::try_from(published.open_watchers()).unwrap_or(u32::MAX),
        tick: latest.as_ref().map(|latest| latest.record.tick),
        last_tick_age: publisher.last_tick_age().map(to_proto::duration),
        tick_interval: Some(to_proto::duration(about.tick_interval)),
        algorithm: policy.algorithm.name().to_owned(),
        policy_etag: revision.etag.clone(),
        policy_revision: revision.number,
        policy_actor: Some(to_proto::actor(&revision.actor)),
        policy_revert_time: revision.revert_at.map(to_proto::timestamp),
        conditions: published.conditions(|_| true),
        caller: Some(wire::Identity { name: caller.name() }),
        freeze_file: freeze_file(published),
        mode_actor: set.as_ref().map(|set| to_proto::mode_actor(&set.actor)),
        mode_reason: set.map(|set| set.reason.clone()).unwrap_or_default(),
        last_read_age: publisher.last_read_age().map(to_proto::duration),
    }
}

fn freeze_file(published: &Published) -> String {
    let file = published.control.gate().freeze_file();
    file.map(|file| file.display().to_string()).unwrap_or_default()
}

/// True for VMs that agentd may resize now.
fn is_managed(policy: &Policy, record: &TickRecord, id: VmId, vm: &VmSample) -> bool {
    let pinned = policy.rules(id, &vm.name, vm.max).pinned;
    !pinned && record.lives.get(&id).is_some_and(|life| life.bar().is_none())
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
