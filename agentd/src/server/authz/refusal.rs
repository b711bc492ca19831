//! Why a call is not made, and what to do about it. Nobody is told of paths or of what others may.

use tonic::{Code, Status};

use super::{Caller, Role};
use crate::{
    config::{AuthzConfig, Group},
    server::{fault::failed, peer::Peer},
};

/// `PERMISSION_DENIED` for a call that a caller who is known may not make.
pub(super) fn role_missing(
    (method, beyond): (&str, &str),
    least: Role,
    caller: &Caller,
    rules: &AuthzConfig,
) -> Status {
    let name = caller.peer.name();
    let has = match caller.role {
        Some(role) => format!("has the role {} ({})", role.name(), caller.grounds),
        None => "has none".to_owned(),
    };
    let message = format!(
        "{method}{beyond} needs the role {}, and {name} {has}: {}",
        least.name(),
        remedy(least, &caller.peer, rules)
    );
    let facts = [
        ("method", method.to_owned()),
        ("needed", least.name().to_owned()),
        ("role", caller.role.map_or("none", Role::name).to_owned()),
        ("identity", name),
    ];
    failed(Code::PermissionDenied, "ROLE_MISSING", message, facts)
}

fn remedy(least: Role, peer: &Peer, rules: &AuthzConfig) -> String {
    match peer {
        Peer::Remote { .. } => format!(
            "ask whoever issues the certificates for one with the organization {}",
            least.organization()
        ),
        Peer::Local { .. } => {
            let groups = match least {
                Role::Admin => &[][..],
                Role::Operator => &rules.local_operator_groups,
                Role::Reader => &rules.local_reader_groups,
            };
            let groups: Vec<String> = groups.iter().map(Group::to_string).collect();
            match groups.as_slice() {
                [] => format!(
                    "ask root of this host to do it, or to make you {} in [authz] of agentd's config",
                    least.name()
                ),
                some => {
                    format!("ask root of this host to add you to the group {}", some.join(" or "))
                }
            }
        }
    }
}

/// For a process that the kernel said nothing of.
pub(super) fn nobody() -> Status {
    let message = "nobody knows who you are: the kernel did not say whose process this is";
    failed(Code::Unauthenticated, "IDENTITY_UNKNOWN", message, [])
}

/// For a certificate whose time is over.
pub(super) fn expired(name: &str) -> Status {
    let message =
        format!("the certificate of {name} has expired: get a new one, and connect again");
    failed(Code::Unauthenticated, "CERTIFICATE_EXPIRED", message, [("identity", name.to_owned())])
}

/// For a certificate that calls itself as agentd calls those without one.
pub(super) fn reserved(name: &str) -> Status {
    let message = format!(
        "no certificate may be for \"{name}\": agentd names others so; ask for one with another name"
    );
    failed(Code::Unauthenticated, "IDENTITY_RESERVED", message, [("identity", name.to_owned())])
}

/// For a user whose groups nobody knows.
pub(super) fn unanswered(name: &str) -> Status {
    let message = format!(
        "which groups {name} is in is not known: this host's user database does not answer; try \
         again in a moment"
    );
    failed(Code::Unavailable, "GROUPS_UNKNOWN", message, [("identity", name.to_owned())])
}

/// For a path that this agent has no method for. Nothing looks at it further.
pub(super) fn no_method(path: &str) -> Status {
    Status::unimplemented(format!("{:?} is no method of this agent", shown(path)))
}

/// A path as a method is named: without its first slash, cut where it is long.
pub(super) fn shown(path: &str) -> String {
    path.trim_start_matches('/').chars().take(SHOWN).collect()
}

/// Characters of a path that are repeated.
const SHOWN: usize = 100;
