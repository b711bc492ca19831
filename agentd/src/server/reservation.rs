//! `ReservationService`: memory that is kept together for VMs to come. It checks what a request says,
//! and brings the figures of the last tick; whether a reservation can be is the control's to say.

use std::{sync::Arc, time::Duration};

use agentd_core::{
    admit::{Known, Room},
    bytes::ByteCount,
    policy::{Policy, VmKey},
    reserve::named,
};
use agentd_proto::v1 as wire;
use tonic::{Code, Request, Response, Status, async_trait};
use wire::reservation_service_server::ReservationService;

use super::{
    Published,
    audited::{Ask, Target},
    fault::{Violations, exhausted, failed},
    from_proto, limits,
    peer::Peer,
    to_proto::{self, reservation::reservation},
};
use crate::{
    control::{Actor, Control, ReserveAsk, ReserveError, Reserved},
    event::TickRecord,
};

/// `ReservationService`.
#[derive(Clone, Debug)]
pub(super) struct ReservationCalls(pub(super) Arc<Published>);

#[async_trait]
impl ReservationService for ReservationCalls {
    async fn create_reservation(
        &self,
        request: Request<wire::CreateReservationRequest>,
    ) -> Result<Response<wire::CreateReservationResponse>, Status> {
        let actor = Peer::of(&request).actor(self.0.clock.wall());
        let method = "agentd.v1.ReservationService/CreateReservation";
        let mut ask = Ask::new(&self.0, &request, (method, Target::NewReservation));
        let request = request.into_inner();
        ask.only_checks(request.validate_only);
        ask.named(&request.request_id);
        let record = ask.checked(self.latest().ok_or_else(unread))?;
        let in_force = self.0.in_force();
        let policy = &in_force.acting.policy;
        let wanted = ask.checked(wanted(request, actor, (&record, policy)))?;
        note(&mut ask, &wanted);
        let set = self.0.changes.change(ask, move |control| control.reserve(wanted)).await?;
        Ok(Response::new(wire::CreateReservationResponse {
            reservation: Some(self.told(&set.reserved)),
            position: set.position.as_ref().map(to_proto::position),
        }))
    }

    async fn get_reservation(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<Response<wire::GetReservationResponse>, Status> {
        let id = request.into_inner().id;
        let reservations = Arc::clone(&self.0.in_force().reservations);
        let found = reservations.find(id).ok_or_else(|| refusal(&ReserveError::Unknown(id)))?;
        let reservation = Some(self.told(found));
        Ok(Response::new(wire::GetReservationResponse { reservation }))
    }

    async fn list_reservations(
        &self,
        _: Request<wire::ListReservationsRequest>,
    ) -> Result<Response<wire::ListReservationsResponse>, Status> {
        let in_force = self.0.in_force();
        let open = in_force.reservations.open.iter().map(|own| self.told(own));
        Ok(Response::new(wire::ListReservationsResponse { reservations: open.collect() }))
    }

    async fn delete_reservation(
        &self,
        request: Request<wire::DeleteReservationRequest>,
    ) -> Result<Response<wire::DeleteReservationResponse>, Status> {
        let actor = Peer::of(&request).actor(self.0.clock.wall());
        let method = "agentd.v1.ReservationService/DeleteReservation";
        let target = Target::Reservation(request.get_ref().id);
        let mut ask = Ask::new(&self.0, &request, (method, target));
        let wire::DeleteReservationRequest { id, reason } = request.into_inner();
        let mut violations = Violations::default();
        from_proto::reason(&reason, &mut violations);
        ask.checked(violations.check())?;
        ask.says(&reason);
        let release = move |control: &Control| control.release(id, actor, reason);
        let set = self.0.changes.change(ask, release).await?;
        Ok(Response::new(wire::DeleteReservationResponse {
            reservation: Some(self.told(&set.reserved)),
            position: set.position.as_ref().map(to_proto::position),
        }))
    }
}

impl ReservationCalls {
    /// The last tick. Where it could not read the hypervisor, older figures are no longer true of what
    /// is free now.
    fn latest(&self) -> Option<Arc<TickRecord>> {
        Some(Arc::clone(&self.0.publisher.latest()?.record))
    }

    fn told(&self, own: &Reserved) -> wire::Reservation {
        reservation(own, self.latest().as_deref())
    }
}

/// Notes what is asked for.
fn note(ask: &mut Ask, wanted: &ReserveAsk) {
    ask.says(&wanted.reason);
    ask.wants("min", &wanted.min);
    ask.wants("max", &wanted.max);
    ask.wants("for", &format!("{:?}", wanted.lasting));
    if let Some(vm) = &wanted.vm {
        ask.wants("vm", vm);
    }
}

/// What a request asks for, checked, beside what there is on the host and what is wanted of it now, which may
/// be another policy than that of the tick.
fn wanted(
    request: wire::CreateReservationRequest,
    actor: Actor,
    (record, policy): (&TickRecord, &Policy),
) -> Result<ReserveAsk, Status> {
    let Some(sample) = &record.sample else { return Err(unread()) };
    let mut violations = Violations::default();
    let host = (sample.host.total, sample.granule);
    let (min, max) = sizes(&request, host, &mut violations);
    let lasting = lasting(request.duration, &mut violations);
    from_proto::reason(&request.reason, &mut violations);
    if request.request_id.len() > REQUEST_ID {
        let bytes = request.request_id.len();
        let why = format!("has {bytes} bytes; a request is named with at most {REQUEST_ID}");
        violations.add("request_id", why);
    }
    let vm = Some(request.vm).filter(|vm| !vm.is_empty());
    if let Some(Err(why)) = vm.as_deref().map(from_proto::name) {
        violations.add("vm", why);
    }
    violations.check()?;
    let vm = vm.as_deref().map(VmKey::from);
    let runs = vm.as_ref().and_then(|key| Some(sample.vms.get(&named(sample, key)?)?.actual));
    let known = Known { lives: &record.lives, exposures: &record.exposures };
    let room = Room::of(policy, sample, known);
    let (reason, request_id) = (request.reason, request.request_id);
    let validate_only = request.validate_only;
    Ok(ReserveAsk { min, max, lasting, vm, actor, reason, request_id, validate_only, runs, room })
}

fn sizes(
    request: &wire::CreateReservationRequest,
    (total, granule): (ByteCount, ByteCount),
    violations: &mut Violations,
) -> (ByteCount, ByteCount) {
    let min = ByteCount::bytes(request.min_bytes);
    let max = ByteCount::bytes(request.max_bytes);
    let max = if max.is_zero() { min } else { max };
    if min.is_zero() {
        violations.add("min_bytes", "is 0: nothing would be reserved");
    } else if min < granule {
        let why = format!("{min}: no VM gives or gets less than {granule} at a time");
        violations.add("min_bytes", why);
    }
    if min > total {
        violations.add("min_bytes", format!("{min}: the whole host has {total}"));
    } else if max > total {
        violations.add("max_bytes", format!("{max}: the whole host has {total}"));
    }
    if max < min {
        violations.add("max_bytes", format!("{max} is below min_bytes = {min}"));
    }
    (min, max)
}

fn lasting(wanted: Option<prost_types::Duration>, violations: &mut Violations) -> Duration {
    let Some(wanted) = wanted else { return LASTING };
    let given = from_proto::time_in_words(wanted);
    let sane = Duration::try_from(wanted).ok();
    let sane = sane.filter(|time| (LASTING_LEAST..=LASTING_MOST).contains(time));
    if sane.is_none() {
        violations.add("duration", format!("{given}: must be from 10 s to 24 h"));
    }
    sane.unwrap_or(LASTING)
}

/// What has to hold of any request for a reservation: what is taken is a size and a time that make sense.
#[cfg(any(test, feature = "testing"))]
pub(super) fn fuzz(data: &[u8]) {
    use prost::Message as _;

    let Ok(request) = wire::CreateReservationRequest::decode(data) else { return };
    let (host, mut violations) = ((ByteCount::gib(16), ByteCount::kib(4)), Violations::default());
    let (min, max) = sizes(&request, host, &mut violations);
    let lasting = lasting(request.duration, &mut violations);
    if violations.check().is_ok() {
        assert!(host.1 <= min && min <= max && max <= host.0, "{min} to {max}");
        assert!((LASTING_LEAST..=LASTING_MOST).contains(&lasting), "{lasting:?}");
    }
}

fn unread() -> Status {
    let why = "the last tick did not read the hypervisor, or there was none yet, so nobody knows what \
               could be reserved: try again in a moment, and see the conditions in the status";
    failed(Code::Unavailable, "VMS_UNREAD", why, [])
}

/// Why there is no such reservation, as a status.
pub(super) fn refusal(error: &ReserveError) -> Status {
    let message = error.to_string();
    match error {
        ReserveError::DoesNotFit(_) => {
            failed(Code::FailedPrecondition, "DOES_NOT_FIT", message, [])
        }
        ReserveError::VmRuns { .. } => failed(Code::FailedPrecondition, "VM_RUNS", message, []),
        ReserveError::TooMany(_) => exhausted("TOO_MANY_RESERVATIONS", message, limits::RETRY),
        ReserveError::Twice { id, .. } => {
            let facts = [("reservation", id.to_string())];
            failed(Code::AlreadyExists, "VM_HAS_RESERVATION", message, facts)
        }
        ReserveError::OtherRequest { id, .. } => {
            let facts = [("reservation", id.to_string())];
            failed(Code::AlreadyExists, "REQUEST_ID_USED", message, facts)
        }
        ReserveError::Unknown(id) => {
            let facts = [("reservation", id.to_string())];
            failed(Code::NotFound, "UNKNOWN_RESERVATION", message, facts)
        }
    }
}

/// How long a reservation lasts, by itself and at most.
const LASTING: Duration = Duration::from_secs(10 * 60);
const LASTING_LEAST: Duration = Duration::from_secs(10);
const LASTING_MOST: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the name of a request: any kind of UUID fits.
const REQUEST_ID: usize = 64;
