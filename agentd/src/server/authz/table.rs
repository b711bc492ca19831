//! The table of all calls: who may make each, and what it counts as. A call that is not in it is
//! made by nobody.

use super::Role;

/// One call.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Rule {
    /// Its path, as in a request.
    pub(in crate::server) path: &'static str,
    /// The least role that may make it; `None` where whoever is known may.
    pub(super) least: Option<Role>,
    /// What it counts as.
    pub(in crate::server) kind: Kind,
}

/// What a call counts as among those that its caller may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// It is answered from what is published.
    Read,
    /// It changes something, or is checked like a change.
    Change,
    /// It goes on until somebody ends it.
    Stream,
    /// It sets the mode. A pause counts as nothing, which only its handler can tell.
    Mode,
}

/// The rule for a path.
pub(in crate::server) fn rule(path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.path == path)
}

const fn of(path: &'static str, least: Role, kind: Kind) -> Rule {
    Rule { path, least: Some(least), kind }
}

/// What stays is an admin's: that an operator may change the policy only for a while, go on only after
/// their own pause, and undo only their own pins, is for the handlers to say, who know what is asked.
pub(super) const RULES: [Rule; 26] = [
    Rule { path: "/agentd.v1.HostService/WhoAmI", least: None, kind: Kind::Read },
    of("/agentd.v1.HostService/GetStatus", Role::Reader, Kind::Read),
    of("/agentd.v1.HostService/SetMode", Role::Operator, Kind::Mode),
    of("/agentd.v1.VmService/ListVms", Role::Reader, Kind::Read),
    of("/agentd.v1.VmService/ExplainVm", Role::Reader, Kind::Read),
    of("/agentd.v1.PolicyService/GetPolicy", Role::Reader, Kind::Read),
    of("/agentd.v1.PolicyService/ListPolicyRevisions", Role::Reader, Kind::Read),
    of("/agentd.v1.PolicyService/UpdatePolicy", Role::Operator, Kind::Change),
    of("/agentd.v1.PolicyService/ConfirmPolicy", Role::Admin, Kind::Change),
    of("/agentd.v1.PolicyService/RevertPolicy", Role::Admin, Kind::Change),
    of("/agentd.v1.PolicyService/PinVm", Role::Operator, Kind::Change),
    of("/agentd.v1.PolicyService/UnpinVm", Role::Operator, Kind::Change),
    of("/agentd.v1.ReservationService/GetReservation", Role::Reader, Kind::Read),
    of("/agentd.v1.ReservationService/ListReservations", Role::Reader, Kind::Read),
    of("/agentd.v1.ReservationService/CreateReservation", Role::Operator, Kind::Change),
    of("/agentd.v1.ReservationService/DeleteReservation", Role::Operator, Kind::Change),
    of("/agentd.v1.ShadowService/GetShadow", Role::Reader, Kind::Read),
    of("/agentd.v1.ShadowService/SetShadow", Role::Operator, Kind::Change),
    of("/agentd.v1.ShadowService/ClearShadow", Role::Operator, Kind::Change),
    of("/agentd.v1.AuditService/ListAudit", Role::Admin, Kind::Read),
    of("/agentd.v1.EventService/Watch", Role::Reader, Kind::Stream),
    of("/agentd.v1.HistoryService/ListHistory", Role::Reader, Kind::Read),
    of("/grpc.health.v1.Health/Check", Role::Reader, Kind::Read),
    of("/grpc.health.v1.Health/Watch", Role::Reader, Kind::Stream),
    of("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Reader, Kind::Stream),
    of(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Role::Reader,
        Kind::Stream,
    ),
];
