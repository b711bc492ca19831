//! `PinVm` and `UnpinVm` of `PolicyService`: VMs that are left alone for a while, beside the policy. It
//! checks what a request says and finds the VM; whose pin it is, and whether it is kept, is the control's.

use std::{sync::Arc, time::Duration};

use agentd_core::vm::VmId;
use agentd_proto::v1 as wire;
use tonic::{Code, Request, Response, Status};

use super::{
    Published,
    audited::{Ask, Target},
    authz::{Caller, Role},
    fault::{Violations, exhausted, failed},
    from_proto, limits,
    to_proto::{self, pin::pin as told},
    vm,
};
use crate::control::{Control, Pin, PinAsk, PinError, PinWish};

/// `PinVm`.
pub(super) async fn pin(
    published: &Published,
    request: Request<wire::PinVmRequest>,
) -> Result<Response<wire::PinVmResponse>, Status> {
    let caller = Caller::of(&request);
    let mut ask = Ask::new(published, &request, (PIN, Target::Pin));
    let wire::PinVmRequest { vm, duration, reason, validate_only } = request.into_inner();
    ask.only_checks(validate_only);
    let mut violations = Violations::default();
    let lasting = lasting(duration, &mut violations);
    check(&vm, &reason, &mut violations);
    ask.checked(violations.check())?;
    ask.says(&reason);
    ask.wants("vm", &vm);
    ask.wants("for", &format!("{lasting:?}"));
    let (vm, name) = ask.checked(seen(published, &vm))?;
    let wish = wish(published, &caller, (reason, validate_only));
    let wanted = PinAsk { vm, name, lasting, wish };
    let set = published.changes.change(ask, move |control| control.pin(wanted)).await?;
    Ok(Response::new(wire::PinVmResponse {
        pin: Some(told(&set.pin)),
        replaced: set.replaced.as_deref().map(told),
        policy_pins: policy_pins(published, &set.pin),
        position: set.position.as_ref().map(to_proto::position),
    }))
}

/// `UnpinVm`.
pub(super) async fn unpin(
    published: &Published,
    request: Request<wire::UnpinVmRequest>,
) -> Result<Response<wire::UnpinVmResponse>, Status> {
    let caller = Caller::of(&request);
    let mut ask = Ask::new(published, &request, (UNPIN, Target::Pin));
    let wire::UnpinVmRequest { vm, reason, validate_only } = request.into_inner();
    ask.only_checks(validate_only);
    let mut violations = Violations::default();
    check(&vm, &reason, &mut violations);
    ask.checked(violations.check())?;
    ask.says(&reason);
    ask.wants("vm", &vm);
    let (vm, name) = ask.checked(pinned(published, &vm))?;
    let wish = wish(published, &caller, (reason, validate_only));
    let end = move |control: &Control| control.unpin(vm, name, wish);
    let set = published.changes.change(ask, end).await?;
    Ok(Response::new(wire::UnpinVmResponse {
        pin: Some(told(&set.pin)),
        policy_pins: policy_pins(published, &set.pin),
        position: set.position.as_ref().map(to_proto::position),
    }))
}

fn check(vm: &str, reason: &str, violations: &mut Violations) {
    if let Err(why) = from_proto::name(vm) {
        violations.add("vm", why);
    }
    from_proto::reason(reason, violations);
}

fn lasting(wanted: Option<prost_types::Duration>, violations: &mut Violations) -> Duration {
    let wanted = wanted.unwrap_or_default();
    let given = from_proto::time_in_words(wanted);
    let sane = Duration::try_from(wanted).ok();
    let sane = sane.filter(|time| (LEAST..=MOST).contains(time));
    if sane.is_none() {
        violations.add("duration", format!("{given}: must be from 1 s to 24 h"));
    }
    sane.unwrap_or(LEAST)
}

fn wish(
    published: &Published,
    caller: &Caller,
    (reason, validate_only): (String, bool),
) -> PinWish {
    let actor = caller.peer.actor(published.clock.wall());
    PinWish { actor, reason, may_any: caller.is(Role::Admin), validate_only }
}

/// The VM that is meant, of those that the last tick saw that could read the hypervisor.
fn seen(published: &Published, name: &str) -> Result<(VmId, Arc<str>), Status> {
    let unread = || {
        let why = "no tick has read the hypervisor yet, so nobody knows the VMs: try again in a moment, \
                   and see the conditions in the status";
        failed(Code::Unavailable, "VMS_UNREAD", why, [])
    };
    let record = published.publisher.latest().and_then(|latest| latest.seen.clone());
    let record = record.ok_or_else(unread)?;
    let sample = record.sample.as_ref().ok_or_else(unread)?;
    let known = sample.vms.iter().map(|(id, vm)| (*id, Arc::clone(&vm.name)));
    meant(known, name)?.ok_or_else(|| vm::unknown(name, record.tick))
}

/// The VM that is meant, of those that are pinned for a while: by UUID, or by the name that it has now. One
/// that nobody has now is that of a VM when it was pinned, which may be gone or have another since.
fn pinned(published: &Published, name: &str) -> Result<(VmId, Arc<str>), Status> {
    let pins = &published.in_force().pins;
    let own = |pin: &Arc<Pin>| (pin.vm, Arc::clone(&pin.name));
    if let Some(pin) = name.parse().ok().and_then(|id| pins.get(id)) {
        return Ok(own(pin));
    }
    let record = published.publisher.latest().and_then(|latest| latest.seen.clone());
    let sample = record.as_ref().and_then(|record| record.sample.as_ref());
    let running = sample.into_iter().flat_map(|sample| &sample.vms);
    let running = running.map(|(id, vm)| (*id, Arc::clone(&vm.name)));
    let found = if running.clone().any(|(_, now)| *now == *name) {
        meant(running.filter(|(id, _)| pins.get(*id).is_some()), name)?
    } else {
        meant(pins.all().map(own), name)?
    };
    found.ok_or_else(|| refusal(&PinError::NotPinned(Arc::from(name))))
}

/// By UUID, or by a name that no other has.
fn meant(
    known: impl Iterator<Item = (VmId, Arc<str>)>,
    wanted: &str,
) -> Result<Option<(VmId, Arc<str>)>, Status> {
    let id = wanted.parse::<VmId>().ok();
    let (mut by_id, mut named) = (None, Vec::new());
    for (vm, name) in known {
        if Some(vm) == id {
            by_id = Some((vm, name));
        } else if *name == *wanted {
            named.push((vm, name));
        }
    }
    if named.len() > 1 && by_id.is_none() {
        let uuids = named.iter().map(|(vm, _)| vm.to_string());
        return Err(vm::ambiguous(wanted, uuids));
    }
    Ok(by_id.or_else(|| named.pop()))
}

/// Whether the policy pins this VM as well, by the name that it has now or had last.
fn policy_pins(published: &Published, pin: &Pin) -> bool {
    let record = published.publisher.latest().and_then(|latest| latest.seen.clone());
    let sample = record.as_ref().and_then(|record| record.sample.as_ref());
    let name = sample.and_then(|sample| sample.vms.get(&pin.vm)).map(|vm| &vm.name);
    published.in_force().policy.policy.pins(pin.vm, name.unwrap_or(&pin.name))
}

/// Why there is no such pin, as a status.
pub(super) fn refusal(error: &PinError) -> Status {
    let message = error.to_string();
    match error {
        PinError::TooMany(_) => exhausted("TOO_MANY_PINS", message, limits::RETRY),
        PinError::NotYours { set_by, .. } => {
            let facts = [("set_by", set_by.to_string())];
            failed(Code::PermissionDenied, "PIN_OF_ANOTHER", message, facts)
        }
        PinError::NotPinned(_) => failed(Code::FailedPrecondition, "NOT_PINNED", message, []),
    }
}

/// What has to hold of any request for a pin: what is taken is a time that makes sense.
#[cfg(any(test, feature = "testing"))]
pub(super) fn fuzz(data: &[u8]) {
    use prost::Message as _;

    let Ok(request) = wire::PinVmRequest::decode(data) else { return };
    let mut violations = Violations::default();
    let lasting = lasting(request.duration, &mut violations);
    check(&request.vm, &request.reason, &mut violations);
    if violations.check().is_ok() {
        assert!((LEAST..=MOST).contains(&lasting), "{lasting:?}");
        assert!(!request.vm.is_empty());
    }
}

const PIN: &str = "agentd.v1.PolicyService/PinVm";
const UNPIN: &str = "agentd.v1.PolicyService/UnpinVm";
/// How long a pin may last.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(24 * 3600);
