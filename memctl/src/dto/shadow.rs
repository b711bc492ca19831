//! DTOs of the shadow: a policy that decides along, and what it would have done differently.

use agentd_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Actor, PolicyChange, Time, VmName, seconds, time, word};

/// A shadow.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Shadow {
    pub(crate) changes: Vec<PolicyChange>,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
    /// Why it does not decide; "" where it does.
    pub(crate) error: String,
}

/// What a shadow would have done differently, in sum.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ShadowSummary {
    pub(crate) ticks: u64,
    pub(crate) differed: u64,
    pub(crate) rejected: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) shadow_moved_bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) slowest_seconds: Option<f64>,
    /// When the first of these ticks began: the sum begins anew with every other policy in force.
    pub(crate) since_time: Option<Time>,
    pub(crate) vms: Vec<ShadowVm>,
}

/// The same for one VM.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ShadowVm {
    pub(crate) vm: VmName,
    pub(crate) differed: u64,
    pub(crate) more_bytes: u64,
    pub(crate) less_bytes: u64,
    pub(crate) first: Option<ShadowInstance>,
    pub(crate) last: Option<ShadowInstance>,
}

/// A difference at its time.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ShadowInstance {
    pub(crate) tick: u64,
    pub(crate) time: Option<Time>,
    pub(crate) acting: ShadowRuling,
    pub(crate) shadow: ShadowRuling,
}

/// What was ruled for a VM.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ShadowRuling {
    /// "hold", "grow", "shrink".
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) amount_bytes: u64,
}

/// What a shadow says of one tick.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ShadowTick {
    pub(crate) algorithm: String,
    pub(crate) moved_bytes: u64,
    /// Why its plan would have been thrown away; "" where it would not.
    pub(crate) objection: String,
    pub(crate) vms: Vec<ShadowDifference>,
}

/// A VM for which the shadow would do something else.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ShadowDifference {
    pub(crate) vm: VmName,
    pub(crate) acting: ShadowRuling,
    pub(crate) shadow: ShadowRuling,
}

impl From<v1::Shadow> for Shadow {
    fn from(wire: v1::Shadow) -> Self {
        Self {
            changes: wire.changes.into_iter().map(Into::into).collect(),
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
            error: wire.error,
        }
    }
}

impl From<v1::ShadowSummary> for ShadowSummary {
    fn from(wire: v1::ShadowSummary) -> Self {
        Self {
            ticks: wire.ticks,
            differed: wire.differed,
            rejected: wire.rejected,
            moved_bytes: wire.moved_bytes,
            shadow_moved_bytes: wire.shadow_moved_bytes,
            skipped: wire.skipped,
            slowest_seconds: seconds(wire.slowest),
            since_time: time(wire.since_time),
            vms: wire.vms.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ShadowVm> for ShadowVm {
    fn from(wire: v1::ShadowVm) -> Self {
        Self {
            vm: wire.vm.unwrap_or_default().into(),
            differed: wire.differed,
            more_bytes: wire.more_bytes,
            less_bytes: wire.less_bytes,
            first: wire.first.map(Into::into),
            last: wire.last.map(Into::into),
        }
    }
}

impl From<v1::ShadowInstance> for ShadowInstance {
    fn from(wire: v1::ShadowInstance) -> Self {
        Self {
            tick: wire.tick,
            time: time(wire.time),
            acting: wire.acting.unwrap_or_default().into(),
            shadow: wire.shadow.unwrap_or_default().into(),
        }
    }
}

impl From<v1::ShadowRuling> for ShadowRuling {
    fn from(wire: v1::ShadowRuling) -> Self {
        Self {
            kind: word(wire.kind, v1::VerdictKind::as_str_name, "VERDICT_KIND_"),
            reason: wire.reason,
            amount_bytes: wire.amount_bytes,
        }
    }
}

impl From<v1::ShadowTick> for ShadowTick {
    fn from(wire: v1::ShadowTick) -> Self {
        Self {
            algorithm: wire.algorithm,
            moved_bytes: wire.moved_bytes,
            objection: wire.objection,
            vms: wire.vms.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ShadowDifference> for ShadowDifference {
    fn from(wire: v1::ShadowDifference) -> Self {
        Self {
            vm: wire.vm.unwrap_or_default().into(),
            acting: wire.acting.unwrap_or_default().into(),
            shadow: wire.shadow.unwrap_or_default().into(),
        }
    }
}
