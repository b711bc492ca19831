//! Who asks, and what nobody may set, as messages of the wire.

use agentd_core::bytes::ByteCount;
use agentd_proto::v1 as wire;

use super::timestamp;
use crate::{
    control::Bounds,
    server::{
        authz::{Caller, Role},
        peer::{Certificate, Peer},
    },
};

/// A caller, without what is said of the host.
pub(in crate::server) fn caller(caller: &Caller) -> wire::WhoAmIResponse {
    let certificate = match &caller.peer {
        Peer::Remote { certificate: own, .. } => Some(certificate(own)),
        Peer::Local { .. } => None,
    };
    wire::WhoAmIResponse {
        caller: Some(wire::Identity { name: caller.peer.name() }),
        role: caller.role.map_or(wire::Role::Unspecified, role).into(),
        role_from: caller.grounds.clone(),
        peer: caller.peer.address(),
        certificate,
        idle_organizations: caller.idle_organizations(),
        host: String::new(),
        host_time: None,
    }
}

const fn role(role: Role) -> wire::Role {
    match role {
        Role::Reader => wire::Role::Reader,
        Role::Operator => wire::Role::Operator,
        Role::Admin => wire::Role::Admin,
    }
}

fn certificate(own: &Certificate) -> wire::Certificate {
    wire::Certificate {
        serial: own.serial.clone(),
        expire_time: Some(timestamp(own.not_after)),
        organizations: own.organizations.clone(),
    }
}

/// Bounds of the policy.
pub(in crate::server) fn bounds(bounds: &Bounds) -> wire::PolicyBounds {
    wire::PolicyBounds {
        floor_bytes: bounds.floor.map(ByteCount::as_u64),
        host_reserve_bytes: bounds.host_reserve.map(ByteCount::as_u64),
        shrink_step_bytes: bounds.shrink_step.map(ByteCount::as_u64),
        shrink_percent: bounds.shrink_percent,
    }
}
