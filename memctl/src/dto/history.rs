//! DTOs of the history: a stretch of time in steps.

use agentd_proto::v1;
use serde::Serialize;

use super::vm::state_name;
use super::{ModeName, Record, Time, VmName, said, seconds, time};

/// How one host fared.
#[derive(Debug, Default, Serialize, schemars::JsonSchema)]
pub(crate) struct History {
    pub(crate) start_time: Option<Time>,
    pub(crate) end_time: Option<Time>,
    /// Length of a step.
    pub(crate) step_seconds: f64,
    /// When the oldest entry was made of which anything is kept.
    pub(crate) oldest_time: Option<Time>,
    /// When the oldest entry was made that is kept whole.
    pub(crate) oldest_whole_time: Option<Time>,
    /// Steps in which something was recorded.
    pub(crate) points: Vec<HistoryPoint>,
    /// Changes of VMs, policy, mode and reservations.
    pub(crate) changes: Vec<Record>,
    /// Whether there were more changes.
    pub(crate) changes_cut: bool,
}

/// One step.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct HistoryPoint {
    pub(crate) time: Option<Time>,
    pub(crate) ticks: u64,
    /// Ticks that could not read the hypervisor.
    pub(crate) ticks_unread: u64,
    pub(crate) host: Option<HistoryHost>,
    pub(crate) vms: Vec<HistoryVm>,
}

/// The host in one step.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct HistoryHost {
    pub(crate) total_bytes: u64,
    pub(crate) usable_bytes: u64,
    pub(crate) usable_least_bytes: u64,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) actual_bytes: u64,
    pub(crate) actual_most_bytes: u64,
    pub(crate) kept_bytes: Option<u64>,
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) demand_bytes: Option<u64>,
    pub(crate) demand_most_bytes: Option<u64>,
    pub(crate) target_bytes: u64,
    pub(crate) vms: u64,
    /// "normal", "low", "emergency"; null while nothing was decided.
    pub(crate) level: Option<String>,
    pub(crate) mode: ModeName,
    pub(crate) algorithm: String,
    pub(crate) policy_revision: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) failed: u64,
}

/// One VM in one step.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct HistoryVm {
    #[serde(flatten)]
    pub(crate) vm: VmName,
    pub(crate) ticks: u64,
    pub(crate) actual_bytes: u64,
    pub(crate) actual_least_bytes: u64,
    pub(crate) actual_most_bytes: u64,
    pub(crate) target_bytes: Option<u64>,
    pub(crate) min_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) demand_bytes: Option<u64>,
    pub(crate) demand_most_bytes: Option<u64>,
    pub(crate) guest_usable_least_bytes: Option<u64>,
    pub(crate) host_rss_bytes: Option<u64>,
    pub(crate) state: String,
    /// "hold", "grow", "shrink"; null while nothing was decided.
    pub(crate) verdict: Option<String>,
    pub(crate) reason: String,
    pub(crate) got_bytes: u64,
    pub(crate) gave_bytes: u64,
    pub(crate) orders: u64,
    pub(crate) failed: u64,
}

impl History {
    /// Adds the next page of `host`.
    pub(crate) fn add(&mut self, host: &str, page: v1::ListHistoryResponse) {
        self.start_time = self.start_time.or_else(|| time(page.start_time));
        self.end_time = self.end_time.or_else(|| time(page.end_time));
        self.step_seconds = seconds(page.step).unwrap_or_default();
        self.oldest_time = time(page.oldest_time);
        self.oldest_whole_time = time(page.oldest_whole_time);
        self.points.extend(page.points.into_iter().map(HistoryPoint::from));
        let changes = page.changes.into_iter().map(|change| Record::new(host, change));
        self.changes.extend(changes);
        self.changes_cut |= page.changes_cut;
    }
}

impl From<v1::HistoryPoint> for HistoryPoint {
    fn from(wire: v1::HistoryPoint) -> Self {
        Self {
            time: time(wire.time),
            ticks: wire.ticks,
            ticks_unread: wire.ticks_unread,
            host: wire.host.map(HistoryHost::from),
            vms: wire.vms.into_iter().map(HistoryVm::from).collect(),
        }
    }
}

impl From<v1::HistoryHost> for HistoryHost {
    fn from(wire: v1::HistoryHost) -> Self {
        Self {
            level: said(wire.level, v1::HostLevel::as_str_name, "HOST_LEVEL_"),
            mode: ModeName::of(wire.mode),
            total_bytes: wire.total_bytes,
            usable_bytes: wire.usable_bytes,
            usable_least_bytes: wire.usable_least_bytes,
            limit_bytes: wire.limit_bytes,
            actual_bytes: wire.actual_bytes,
            actual_most_bytes: wire.actual_most_bytes,
            kept_bytes: wire.kept_bytes,
            reserve_bytes: wire.reserve_bytes,
            demand_bytes: wire.demand_bytes,
            demand_most_bytes: wire.demand_most_bytes,
            target_bytes: wire.target_bytes,
            vms: wire.vms,
            algorithm: wire.algorithm,
            policy_revision: wire.policy_revision,
            moved_bytes: wire.moved_bytes,
            failed: wire.failed,
        }
    }
}

impl From<v1::HistoryVm> for HistoryVm {
    fn from(wire: v1::HistoryVm) -> Self {
        Self {
            state: state_name(wire.state),
            verdict: said(wire.verdict, v1::VerdictKind::as_str_name, "VERDICT_KIND_"),
            vm: wire.vm.unwrap_or_default().into(),
            ticks: wire.ticks,
            actual_bytes: wire.actual_bytes,
            actual_least_bytes: wire.actual_least_bytes,
            actual_most_bytes: wire.actual_most_bytes,
            target_bytes: wire.target_bytes,
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            demand_bytes: wire.demand_bytes,
            demand_most_bytes: wire.demand_most_bytes,
            guest_usable_least_bytes: wire.guest_usable_least_bytes,
            host_rss_bytes: wire.host_rss_bytes,
            reason: wire.reason,
            got_bytes: wire.got_bytes,
            gave_bytes: wire.gave_bytes,
            orders: wire.orders,
            failed: wire.failed,
        }
    }
}
