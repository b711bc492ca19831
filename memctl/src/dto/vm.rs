//! DTOs of VMs, verdicts, transfers and resizes.

use agentd_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Time, said, seconds, time, word};

/// A VM by its UUID and its name.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub(crate) struct VmName {
    pub(crate) uuid: String,
    pub(crate) name: String,
}

/// A VM as the last tick saw it.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Vm {
    #[serde(flatten)]
    pub(crate) vm: VmName,
    /// "running", "booting", "no-driver", ...: the states of `VmState` on the wire.
    pub(crate) state: String,
    pub(crate) memory: Option<VmMemory>,
    pub(crate) verdict: Option<Verdict>,
    /// Until when it is pinned beside the policy; null where it is not. `memctl explain` tells by whom.
    pub(crate) pinned_until: Option<Time>,
}

/// Memory figures of a VM.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct VmMemory {
    pub(crate) actual_bytes: u64,
    pub(crate) target_bytes: Option<u64>,
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) guest_unused_bytes: Option<u64>,
    pub(crate) guest_usable_bytes: Option<u64>,
    pub(crate) used_bytes: Option<u64>,
    pub(crate) host_rss_bytes: Option<u64>,
    pub(crate) figures_age_seconds: Option<f64>,
    pub(crate) exposure_bytes: Option<u64>,
}

/// What was decided for a VM, and why.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Verdict {
    /// "hold", "grow", "shrink".
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) need_bytes: Option<u64>,
    pub(crate) spare_bytes: Option<u64>,
    pub(crate) demand_bytes: Option<u64>,
    pub(crate) entitled_bytes: Option<u64>,
}

/// Memory that goes from one party to another.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Transfer {
    /// Null is the host.
    pub(crate) from: Option<VmName>,
    /// Null is the host.
    pub(crate) to: Option<VmName>,
    pub(crate) amount_bytes: u64,
    pub(crate) granted_bytes: u64,
}

/// An order to the hypervisor and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Resize {
    pub(crate) vm: VmName,
    pub(crate) from_bytes: u64,
    pub(crate) to_bytes: u64,
    pub(crate) ordered_bytes: Option<u64>,
    /// "accepted", "refused", "vm_gone", "in_doubt", "held", "skipped".
    pub(crate) outcome: String,
    pub(crate) message: String,
}

impl From<v1::VmRef> for VmName {
    fn from(wire: v1::VmRef) -> Self {
        Self { uuid: wire.uuid, name: wire.name }
    }
}

impl VmName {
    /// What to call it: its name, else its UUID.
    pub(crate) fn label(&self) -> &str {
        if self.name.is_empty() { &self.uuid } else { &self.name }
    }
}

/// The name of a VM state, in lower case; "" where there is none.
pub(crate) fn state_name(state: i32) -> String {
    let name = said(state, v1::VmState::as_str_name, "VM_STATE_");
    name.unwrap_or_default().replace('_', "-")
}

impl From<v1::Vm> for Vm {
    fn from(wire: v1::Vm) -> Self {
        Self {
            state: state_name(wire.state),
            vm: wire.vm.unwrap_or_default().into(),
            memory: wire.memory.map(Into::into),
            verdict: wire.verdict.map(Into::into),
            pinned_until: wire.pin.and_then(|pin| time(pin.end_time)),
        }
    }
}

impl From<v1::VmMemory> for VmMemory {
    fn from(wire: v1::VmMemory) -> Self {
        Self {
            actual_bytes: wire.actual_bytes,
            target_bytes: wire.target_bytes,
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            guest_unused_bytes: wire.guest_unused_bytes,
            guest_usable_bytes: wire.guest_usable_bytes,
            used_bytes: wire.used_bytes,
            host_rss_bytes: wire.host_rss_bytes,
            figures_age_seconds: seconds(wire.figures_age),
            exposure_bytes: wire.exposure_bytes,
        }
    }
}

impl From<v1::Verdict> for Verdict {
    fn from(wire: v1::Verdict) -> Self {
        Self {
            kind: word(wire.kind, v1::VerdictKind::as_str_name, "VERDICT_KIND_"),
            reason: wire.reason,
            message: wire.message,
            need_bytes: wire.need_bytes,
            spare_bytes: wire.spare_bytes,
            demand_bytes: wire.demand_bytes,
            entitled_bytes: wire.entitled_bytes,
        }
    }
}

impl From<v1::Transfer> for Transfer {
    fn from(wire: v1::Transfer) -> Self {
        Self {
            from: wire.from.map(Into::into),
            to: wire.to.map(Into::into),
            amount_bytes: wire.amount_bytes,
            granted_bytes: wire.granted_bytes,
        }
    }
}

impl From<v1::Resize> for Resize {
    fn from(wire: v1::Resize) -> Self {
        Self {
            outcome: word(wire.outcome, v1::Outcome::as_str_name, "OUTCOME_"),
            vm: wire.vm.unwrap_or_default().into(),
            from_bytes: wire.from_bytes,
            to_bytes: wire.to_bytes,
            ordered_bytes: wire.ordered_bytes,
            message: wire.message,
        }
    }
}
