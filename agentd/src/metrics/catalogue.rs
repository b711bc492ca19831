//! Every metric that agentd tells: its name, its unit, its labels, and what it says. The table "Metrics"
//! of docs/OPERATING.md says of each what to do about it, and a test compares the two.

use prometheus_client::{metrics::MetricType, registry::Unit};

use Measure::{Bytes, Number, Ratio, Seconds};

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name without `agentd_`, its unit and its `_total`.
    pub(super) stem: &'static str,
    pub(super) measure: Measure,
    /// What its values are.
    pub kind: Kind,
    /// The labels of each of its series.
    pub labels: &'static [&'static str],
    /// What it says, without a full stop.
    pub help: &'static str,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is so now.
    Gauge,
    /// What was counted since the start of agentd.
    Counter,
    /// How long something took, by length, since the start of agentd.
    Histogram,
}

/// What values are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// They are counted.
    Number,
    Bytes,
    Seconds,
    /// From 0 to 1.
    Ratio,
}

impl Metric {
    /// Its whole name, as in a query; a histogram's without its `_bucket`, `_count` and `_sum`.
    #[must_use]
    pub fn name(&self) -> String {
        let unit = self.measure.unit().map_or("", Unit::as_str);
        let mut name = format!("{PREFIX}_{}", self.stem);
        if !unit.is_empty() {
            name = format!("{name}_{unit}");
        }
        if self.kind == Kind::Counter { format!("{name}_total") } else { name }
    }
}

impl Kind {
    pub(super) const fn as_type(self) -> MetricType {
        match self {
            Self::Gauge => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

impl Measure {
    pub(super) fn unit(self) -> Option<&'static Unit> {
        static BYTES: Unit = Unit::Bytes;
        static SECONDS: Unit = Unit::Seconds;
        static RATIO: std::sync::LazyLock<Unit> =
            std::sync::LazyLock::new(|| Unit::Other("ratio".to_owned()));
        match self {
            Self::Number => None,
            Self::Bytes => Some(&BYTES),
            Self::Seconds => Some(&SECONDS),
            Self::Ratio => Some(&RATIO),
        }
    }
}

const fn gauge(
    stem: &'static str,
    measure: Measure,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { stem, measure, kind: Kind::Gauge, labels, help }
}

const fn counter(
    stem: &'static str,
    measure: Measure,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { stem, measure, kind: Kind::Counter, labels, help }
}

const fn histogram(
    stem: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { stem, measure: Seconds, kind: Kind::Histogram, labels, help }
}

/// The metrics with their names in the code, and all of them as a list.
macro_rules! catalogue {
    ($($name:ident = $metric:expr;)*) => {
        $(pub(super) static $name: Metric = $metric;)*
        /// Every metric.
        pub static ALL: &[&Metric] = &[$(&$name),*];
    };
}

catalogue! {
    BUILD = gauge("build_info", Number, &["version", "commit"], "1 for the agentd that runs");
    TICKS = counter("ticks", Number, &["outcome"], "Ticks by what came of them");
    TICK_TIME = histogram("tick_duration", &[], "How long ticks took");
    TICK_INTERVAL = gauge("tick_interval", Seconds, &[], "Time from tick to tick as configured");
    LAST_TICK = gauge("last_tick_timestamp", Seconds, &[], "When the last tick ended");
    HYPERVISOR = gauge("hypervisor_up", Number, &[], "1 where the last tick could read the hypervisor");
    MODE = gauge("mode", Number, &["mode"], "1 for the mode of the last tick");
    REVISION = gauge("policy_revision", Number, &[], "Number of the policy in force");
    DECISIONS = counter("decisions", Number, &["reason", "outcome"],
        "Verdicts on VMs by reason and what came of the order that followed");
    ORDERS = counter("orders", Number, &["direction", "outcome"],
        "Orders to the hypervisor by direction and what came of them");
    TRANSFERRED = counter("transferred", Bytes, &["direction"],
        "Memory that VMs were told to take (grow) and to give (shrink) and the hypervisor accepted");
    PLANS_REJECTED = counter("plans_rejected", Number, &[],
        "Plans that broke a rule of safety and were thrown away");
    POLICY_CHANGES = counter("policy_changes", Number, &["actor_kind"], "Changes of the policy by who made them");
    MODE_CHANGES = counter("mode_changes", Number, &["actor_kind"], "Changes of the mode by who made them");
    RELOADS = counter("config_reloads", Number, &["result"], "Reloads of the config by what came of them");
    CONDITION = gauge("condition", Number, &["reason"], "1 for what is wrong or unusual now");
    CONDITION_SINCE = gauge("condition_since_timestamp", Seconds, &["reason"], "Since when it is so");
    WATCHERS = gauge("watchers", Number, &[], "Watch streams that are open");
    LOST = counter("events_lost", Number, &["reason"], "Entries of the log that somebody did not get");
    LINES_LEFT_OUT = counter("log_lines_suppressed", Number, &[], "Lines of the log that were left out as too many of a kind");
    LINES_LOST = counter("log_lines_lost", Number, &[], "Lines of the log that nobody took in time");
    EXPIRY = gauge("certificate_expiry_timestamp", Seconds, &["which"],
        "Until when this host's certificate and the list of revoked ones are valid");
    CALLS = counter("rpc_requests", Number, &["method", "code"], "Calls over gRPC that are over");
    CALL_TIME = histogram("rpc_duration", &["method"], "How long calls over gRPC took, streams left out");

    HOST_TOTAL = gauge("host_total", Bytes, &[], "Memory of the host");
    HOST_AVAILABLE = gauge("host_available", Bytes, &[], "Memory that can be had on the host without swapping");
    HOST_RESERVE = gauge("host_reserve", Bytes, &[], "Memory that the host must keep more than");
    HOST_OTHER = gauge("host_other", Bytes, &[], "Memory that the host uses beside the processes of its VMs");
    HOST_UNEXPLAINED = gauge("host_unexplained", Bytes, &[], "What of that is more than was seen before");
    HOST_LEVEL = gauge("host_level", Number, &["level"], "1 for how short the host is of memory");
    PRESSURE = gauge("pressure", Ratio, &["kind"],
        "Share of the last ten seconds in which some or all (full) of the host's work waited for memory");
    POOL_LIMIT = gauge("pool_limit", Bytes, &[], "Upper bound of what all VMs hold");
    POOL_ACTUAL = gauge("pool_actual", Bytes, &[], "Memory that all VMs hold");
    POOL_EXPOSED = gauge("pool_exposed", Bytes, &[],
        "The most that VMs may come to hold without another order, and what is spoken for");
    POOL_PROMISED = gauge("pool_promised", Bytes, &[], "What of that the host does not show as taken yet");
    POOL_KEPT = gauge("pool_kept", Bytes, &[], "What the host keeps beside all that it has promised");
    POOL_RESERVED = gauge("pool_reserved", Bytes, &[], "What reservations for VMs to come are guaranteed");
    POOL_HELD = gauge("pool_held", Bytes, &[], "What reservations hold");

    VMS = gauge("vms", Number, &["state"], "VMs by where they are in their lives");
    VMS_NOT_SHOWN = gauge("vms_not_shown", Number, &[], "VMs beyond those that have series of their own");
    VM_ACTUAL = gauge("guest_balloon_actual", Bytes, VM, "Memory that the VM holds");
    VM_TARGET = gauge("guest_balloon_target", Bytes, VM, "Memory that it was last told to hold");
    VM_AVAILABLE = gauge("guest_available", Bytes, VM, "MemAvailable by its own account");
    VM_UNUSED = gauge("guest_unused", Bytes, VM, "MemFree by its own account");
    VM_FIGURES_AGE = gauge("guest_stats_age", Seconds, VM, "How long ago its figures were seen to change");
    VM_USED = gauge("vm_used", Bytes, VM, "What it holds less what is unused");
    VM_MIN = gauge("vm_min", Bytes, VM, "Least that the policy lets it hold");
    VM_MAX = gauge("vm_max", Bytes, VM, "Most that the policy and the hypervisor let it hold");
    VM_EXPOSURE = gauge("vm_exposure", Bytes, VM, "The most that it may come to hold without another order");
    VM_RSS = gauge("vm_rss", Bytes, VM, "Resident memory of its process on the host");
    VM_STATE = gauge("vm_state", Number, &["domain", "uuid", "state"], "1 for where it is in its life");
    VM_VERDICT = gauge("vm_verdict", Number, &["domain", "uuid", "verdict", "reason"],
        "1 for what the last tick decided for it and why");
}

/// As libvirt's own exporters have them, so that series can be joined.
const VM: &[&str] = &["domain", "uuid"];
pub(super) const PREFIX: &str = "agentd";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_carry_prefix_unit_and_total() {
        assert_eq!(TICKS.name(), "agentd_ticks_total");
        assert_eq!(TRANSFERRED.name(), "agentd_transferred_bytes_total");
        assert_eq!(PRESSURE.name(), "agentd_pressure_ratio");
        assert_eq!(TICK_TIME.name(), "agentd_tick_duration_seconds");
        let names: BTreeSet<String> = ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), ALL.len(), "no name twice");
    }

    /// What a row of the table in the operators' book says of a metric, and in which order.
    #[test]
    fn every_metric_is_in_the_operators_book_and_no_other() {
        let book = include_str!("../../../docs/OPERATING.md");
        let table = book.split("\n## Metrics").nth(1).expect("a chapter on metrics");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter(|line| line.starts_with("| `agentd_"));
        let told: Vec<(String, String)> = rows
            .map(|row| {
                let mut cells = row.split('|').skip(1).map(|cell| cell.trim().replace('`', ""));
                (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
            })
            .collect();
        let wanted: Vec<(String, String)> =
            ALL.iter().map(|metric| (metric.name(), metric.labels.join(", "))).collect();
        assert_eq!(told, wanted);
    }
}
