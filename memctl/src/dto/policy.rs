//! DTOs of the policy, its revisions and its changes.

use std::collections::BTreeMap;

use agentd_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Time, seconds, time};
use crate::policy_keys::Key;

/// The policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Policy {
    pub(crate) algorithm: String,
    pub(crate) host_reserve_bytes: Option<u64>,
    pub(crate) pool_limit_bytes: Option<u64>,
    pub(crate) floor_bytes: Option<u64>,
    pub(crate) shrink_step_bytes: Option<u64>,
    pub(crate) two_pointer: TwoPointer,
    pub(crate) working_set: WorkingSet,
    pub(crate) vms: BTreeMap<String, VmPolicy>,
}

/// What no policy goes beyond on a host, as its root has fixed it; null binds nothing.
#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
pub(crate) struct Bounds {
    pub(crate) floor_bytes: Option<u64>,
    pub(crate) host_reserve_bytes: Option<u64>,
    pub(crate) shrink_step_bytes: Option<u64>,
    pub(crate) shrink_percent: Option<u32>,
}

/// Constants of "two-pointer".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct TwoPointer {
    pub(crate) need_below_bytes: Option<u64>,
    pub(crate) spare_above_bytes: Option<u64>,
    pub(crate) step_bytes: Option<u64>,
}

/// Constants of "working-set".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct WorkingSet {
    pub(crate) headroom_bytes: Option<u64>,
    pub(crate) headroom_percent: Option<u32>,
    pub(crate) lead_seconds: Option<f64>,
    pub(crate) keep_for_seconds: Option<f64>,
    pub(crate) dead_band_bytes: Option<u64>,
    pub(crate) shrink_percent: Option<u32>,
}

/// An exception for one VM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct VmPolicy {
    pub(crate) min_bytes: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) weight: Option<u32>,
    pub(crate) pinned: Option<bool>,
}

/// A policy with its place in history.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Revision {
    pub(crate) revision: u64,
    pub(crate) etag: String,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
    pub(crate) revert_time: Option<Time>,
    pub(crate) policy: Policy,
}

/// Who caused a change.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Actor {
    pub(crate) id: String,
    pub(crate) peer: String,
    pub(crate) time: Option<Time>,
}

impl Actor {
    /// Who it is, with the address where that says more.
    pub(crate) fn label(&self) -> String {
        let space = if self.peer.is_empty() { "" } else { " " };
        format!("{}{space}{}", self.id, self.peer)
    }
}

/// One field that changed, or would.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct PolicyChange {
    /// As typed in `memctl policy set`.
    pub(crate) key: String,
    /// As in a field mask.
    pub(crate) path: String,
    pub(crate) old_value: String,
    pub(crate) new_value: String,
}

impl From<v1::PolicyBounds> for Bounds {
    fn from(wire: v1::PolicyBounds) -> Self {
        Self {
            floor_bytes: wire.floor_bytes,
            host_reserve_bytes: wire.host_reserve_bytes,
            shrink_step_bytes: wire.shrink_step_bytes,
            shrink_percent: wire.shrink_percent,
        }
    }
}

impl From<v1::Policy> for Policy {
    fn from(wire: v1::Policy) -> Self {
        Self {
            algorithm: wire.algorithm,
            host_reserve_bytes: wire.host_reserve_bytes,
            pool_limit_bytes: wire.pool_limit_bytes,
            floor_bytes: wire.floor_bytes,
            shrink_step_bytes: wire.shrink_step_bytes,
            two_pointer: wire.two_pointer.map(Into::into).unwrap_or_default(),
            working_set: wire.working_set.map(Into::into).unwrap_or_default(),
            vms: wire.vms.into_iter().map(|(name, vm)| (name, vm.into())).collect(),
        }
    }
}

impl From<v1::TwoPointer> for TwoPointer {
    fn from(wire: v1::TwoPointer) -> Self {
        Self {
            need_below_bytes: wire.need_below_bytes,
            spare_above_bytes: wire.spare_above_bytes,
            step_bytes: wire.step_bytes,
        }
    }
}

impl From<v1::WorkingSet> for WorkingSet {
    fn from(wire: v1::WorkingSet) -> Self {
        Self {
            headroom_bytes: wire.headroom_bytes,
            headroom_percent: wire.headroom_percent,
            lead_seconds: seconds(wire.lead),
            keep_for_seconds: seconds(wire.keep_for),
            dead_band_bytes: wire.dead_band_bytes,
            shrink_percent: wire.shrink_percent,
        }
    }
}

impl From<v1::VmPolicy> for VmPolicy {
    fn from(wire: v1::VmPolicy) -> Self {
        Self {
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            weight: wire.weight,
            pinned: wire.pinned,
        }
    }
}

impl From<v1::PolicyRevision> for Revision {
    fn from(wire: v1::PolicyRevision) -> Self {
        Self {
            revision: wire.revision,
            etag: wire.etag,
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
            revert_time: time(wire.revert_time),
            policy: wire.policy.unwrap_or_default().into(),
        }
    }
}

impl From<v1::Actor> for Actor {
    fn from(wire: v1::Actor) -> Self {
        Self { id: wire.id, peer: wire.peer, time: time(wire.time) }
    }
}

impl From<v1::PolicyChange> for PolicyChange {
    fn from(wire: v1::PolicyChange) -> Self {
        Self {
            key: Key::of_path(&wire.path).map_or_else(|| wire.path.clone(), |k| k.to_string()),
            path: wire.path,
            old_value: wire.old_value,
            new_value: wire.new_value,
        }
    }
}
