//! `PolicyService`: reads and changes the policy. It checks what a request says; whether a policy
//! makes sense, and whether it is kept, is the control's.

mod beside;
#[cfg(any(test, feature = "testing"))]
pub(super) mod fuzz;

use std::{sync::Arc, time::Duration};

use agentd_core::policy::Policy;
use agentd_proto::v1 as wire;
use tonic::{Request, Response, Status, async_trait};
use wire::policy_service_server::PolicyService;

use super::{
    Published,
    audited::{Ask, Target},
    authz::{Caller, Role},
    fault::{Violations, invalid},
    from_proto, limits, mask,
    peer::Peer,
    pin, to_proto,
};
use crate::{
    audit::Changes,
    control::{self, Actor, Control, EditFn, PolicyEdit, changes},
    event::TickRecord,
};

/// `PolicyService`.
#[derive(Clone, Debug)]
pub(super) struct PolicyCalls(pub(super) Arc<Published>);

/// What in a policy has no effect, or hardly the one that was meant, on what runs here now.
pub(super) fn warnings_beside(published: &Published, policy: &Policy) -> Vec<String> {
    let seen = seen(published);
    let told = seen.map(|record| beside::warnings(policy, &record, &published.in_force()));
    let mut told = told.unwrap_or_default();
    told.truncate(limits::WARNINGS);
    told
}

/// The last tick that read the hypervisor.
fn seen(published: &Published) -> Option<Arc<TickRecord>> {
    published.publisher.latest()?.seen.clone()
}

/// What a policy in the place of the one before does to VMs and to a shadow, which its author may not have
/// thought of.
fn warnings_of_change(published: &Published, before: &Policy, policy: &Policy) -> Vec<String> {
    let told = seen(published).map(|record| beside::takes(before, policy, &record));
    let mut told = told.unwrap_or_default();
    let objection = published.shadow.objection(policy);
    told.extend(
        objection.map(|why| format!("shadow: beside this policy it does not decide: {why}")),
    );
    told
}

#[async_trait]
impl PolicyService for PolicyCalls {
    async fn get_policy(
        &self,
        _: Request<wire::GetPolicyRequest>,
    ) -> Result<Response<wire::GetPolicyResponse>, Status> {
        let in_force = self.0.in_force();
        Ok(Response::new(wire::GetPolicyResponse {
            current: Some(to_proto::revision(&in_force.policy)),
            defaults: Some(to_proto::policy(&Policy::default())),
            bounds: Some(to_proto::access::bounds(&self.0.control.bounds())),
            pins: in_force.pins.all().map(|pin| to_proto::pin::pin(pin)).collect(),
        }))
    }

    async fn update_policy(
        &self,
        request: Request<wire::UpdatePolicyRequest>,
    ) -> Result<Response<wire::UpdatePolicyResponse>, Status> {
        let (caller, actor) = (Caller::of(&request), self.actor(&request));
        let mut ask = self.ask(&request, METHOD);
        let request = request.into_inner();
        ask.only_checks(request.validate_only);
        let stays = !request.validate_only && request.revert_after.is_none();
        if stays && !caller.is(Role::Admin) {
            let missing = self.0.authz.role_missing(METHOD, LASTING, &caller, Role::Admin);
            return ask.checked(Err(missing));
        }
        let (edit, sought) = ask.checked(edit(request, actor, caller.is(Role::Admin)))?;
        self.note(&mut ask, &edit, sought);
        let before = self.0.in_force();
        let set = self.0.changes.change(ask, move |control| control.update(edit)).await?;
        let mut warnings = set.warnings;
        let (before, after) = (&before.policy.policy, &set.revision.policy);
        warnings.extend(warnings_beside(&self.0, after));
        warnings.extend(warnings_of_change(&self.0, before, after));
        let mut standing_warnings = control::warnings(before);
        standing_warnings.extend(warnings_beside(&self.0, before));
        standing_warnings.retain(|own| warnings.contains(own));
        Ok(Response::new(wire::UpdatePolicyResponse {
            current: Some(to_proto::revision(&set.revision)),
            changes: to_proto::changes(&set.changes),
            warnings,
            position: set.position.as_ref().map(to_proto::position),
            standing_warnings,
        }))
    }

    async fn confirm_policy(
        &self,
        request: Request<wire::ConfirmPolicyRequest>,
    ) -> Result<Response<wire::ConfirmPolicyResponse>, Status> {
        let actor = self.actor(&request);
        let mut ask = self.ask(&request, "agentd.v1.PolicyService/ConfirmPolicy");
        let etag = request.into_inner().etag;
        if etag.is_empty() {
            let why = "is empty; give the etag that UpdatePolicy returned";
            return ask.checked(Err(invalid("etag", why)));
        }
        ask.wants("etag", &etag);
        let confirm = move |control: &Control| control.confirm(etag, actor);
        let revision = self.0.changes.change(ask, confirm).await?;
        let current = Some(to_proto::revision(&revision));
        Ok(Response::new(wire::ConfirmPolicyResponse { current }))
    }

    async fn revert_policy(
        &self,
        request: Request<wire::RevertPolicyRequest>,
    ) -> Result<Response<wire::RevertPolicyResponse>, Status> {
        let actor = self.actor(&request);
        let mut ask = self.ask(&request, "agentd.v1.PolicyService/RevertPolicy");
        let wire::RevertPolicyRequest { revision, etag, reason } = request.into_inner();
        let mut violations = Violations::default();
        from_proto::reason(&reason, &mut violations);
        ask.checked(violations.check())?;
        ask.says(&reason);
        let (to, etag) = ((revision != 0).then_some(revision), given(etag));
        let words = to.map_or_else(|| "the one before".to_owned(), |to| to.to_string());
        ask.wants("revert_to", &words);
        let revert = move |control: &Control| control.revert(to, etag, actor, reason);
        let set = self.0.changes.change(ask, revert).await?;
        Ok(Response::new(wire::RevertPolicyResponse {
            current: Some(to_proto::revision(&set.revision)),
            changes: to_proto::changes(&set.changes),
            position: set.position.as_ref().map(to_proto::position),
        }))
    }

    async fn list_policy_revisions(
        &self,
        request: Request<wire::ListPolicyRevisionsRequest>,
    ) -> Result<Response<wire::ListPolicyRevisionsResponse>, Status> {
        let wire::ListPolicyRevisionsRequest { page_size, page_token } = request.into_inner();
        let size = from_proto::page_size(page_size, PAGE, PAGE_MOST)?;
        let before = match page_token.as_str() {
            "" => None,
            token => Some(token.parse::<u64>().map_err(|_| {
                invalid("page_token", "is none; give the next_page_token of a response")
            })?),
        };
        let found = self.0.history.read(move |control| control.revisions(before, size)).await?;
        let last = found.last().map_or(0, |revision| revision.number);
        let more = found.len() == size && last > 1;
        Ok(Response::new(wire::ListPolicyRevisionsResponse {
            revisions: found.iter().map(|revision| to_proto::revision(revision)).collect(),
            next_page_token: if more { last.to_string() } else { String::new() },
        }))
    }

    async fn pin_vm(
        &self,
        request: Request<wire::PinVmRequest>,
    ) -> Result<Response<wire::PinVmResponse>, Status> {
        pin::pin(&self.0, request).await
    }

    async fn unpin_vm(
        &self,
        request: Request<wire::UnpinVmRequest>,
    ) -> Result<Response<wire::UnpinVmResponse>, Status> {
        pin::unpin(&self.0, request).await
    }
}

impl PolicyCalls {
    fn actor<T>(&self, request: &Request<T>) -> Actor {
        Peer::of(request).actor(self.0.clock.wall())
    }

    fn ask<T>(&self, request: &Request<T>, method: &str) -> Ask {
        Ask::new(&self.0, request, (method, Target::Policy))
    }

    /// Notes what is asked for, by what is in force now.
    fn note(&self, ask: &mut Ask, edit: &PolicyEdit, sought: Sought) {
        ask.says(&edit.reason);
        if let Some(etag) = &edit.etag {
            ask.wants("etag", etag);
        }
        if let Some(after) = edit.revert_after {
            ask.wants("revert_after", &format!("{after:?}"));
        }
        let base = self.0.in_force();
        let base = &base.policy.policy;
        // One that cannot be applied is refused, and that says why.
        if let Ok(wanted) = sought(base) {
            ask.wants_changes(Changes::of(&changes(base, &wanted)));
        }
    }
}

/// The policy that a request asks for, made of another one.
type Sought = EditFn;

fn edit(
    request: wire::UpdatePolicyRequest,
    actor: Actor,
    may_last: bool,
) -> Result<(PolicyEdit, Sought), Status> {
    let mut violations = Violations::default();
    let paths = mask::paths(&request.update_mask.unwrap_or_default(), &mut violations);
    let values = mask::Values::read(request.policy.unwrap_or_default(), &mut violations);
    from_proto::reason(&request.reason, &mut violations);
    if request.etag.len() > limits::NAME {
        let bytes = request.etag.len();
        violations.add("etag", format!("has {bytes} bytes, which no etag of this agent has"));
    }
    let revert_after = match request.revert_after {
        None => None,
        Some(after) => revert_after(after, &mut violations),
    };
    violations.check()?;
    let (same_values, same_paths) = (values.clone(), paths.clone());
    let sought: Sought = Box::new(move |policy| same_values.applied(&same_paths, policy));
    let edit = PolicyEdit {
        edit: Box::new(move |policy| values.applied(&paths, policy)),
        etag: given(request.etag),
        validate_only: request.validate_only,
        revert_after,
        may_last,
        actor,
        reason: request.reason,
    };
    Ok((edit, sought))
}

fn revert_after(after: prost_types::Duration, violations: &mut Violations) -> Option<Duration> {
    let given = from_proto::time_in_words(after);
    let after = Duration::try_from(after).ok();
    let sane = after.filter(|after| control::TRIAL_LASTS.contains(after));
    if sane.is_none() {
        violations.add("revert_after", format!("{given}: {}", control::NO_TRIAL_TIME));
    }
    sane
}

fn given(etag: String) -> Option<String> {
    (!etag.is_empty()).then_some(etag)
}

/// What an admin alone may do of a method.
const METHOD: &str = "agentd.v1.PolicyService/UpdatePolicy";
const LASTING: &str = " without revert_after or validate_only";
const PAGE: usize = 20;
const PAGE_MOST: usize = 100;
