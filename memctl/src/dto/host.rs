//! DTOs of the host's state.

use agentd_proto::v1;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Actor, Time, said, seconds, time, word};

/// The state of a host and its agent.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Status {
    /// "healthy", "degraded" (there are conditions) or "starting" (no tick yet).
    pub(crate) health: &'static str,
    /// The host's own name.
    pub(crate) name: String,
    pub(crate) mode: ModeName,
    /// Who set the mode, and when.
    pub(crate) mode_actor: Option<Actor>,
    pub(crate) mode_reason: String,
    pub(crate) algorithm: String,
    pub(crate) managed_vms: u32,
    pub(crate) total_vms: u32,
    pub(crate) memory: Option<HostMemory>,
    pub(crate) pool: Option<Pool>,
    pub(crate) tick: Option<u64>,
    pub(crate) last_tick_age_seconds: Option<f64>,
    /// The age of memory, pool and the number of VMs.
    pub(crate) last_read_age_seconds: Option<f64>,
    pub(crate) tick_interval_seconds: Option<f64>,
    pub(crate) agent_version: String,
    pub(crate) hypervisor: String,
    pub(crate) start_time: Option<Time>,
    pub(crate) host_time: Option<Time>,
    /// How far the host's clock is ahead of ours.
    pub(crate) clock_skew_seconds: Option<f64>,
    pub(crate) watchers: u32,
    pub(crate) position: Option<Position>,
    pub(crate) policy_etag: String,
    pub(crate) policy_revision: u64,
    /// Who set the policy, and when.
    pub(crate) policy_actor: Option<Actor>,
    /// When the policy, which is a trial, goes back to the one before; null where it stays.
    pub(crate) policy_revert_time: Option<Time>,
    pub(crate) caller: Option<String>,
    /// The file that freezes the agent while it is there; null where none does.
    pub(crate) freeze_file: Option<String>,
    pub(crate) conditions: Vec<Condition>,
}

/// "active", "observe", "paused".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct ModeName(pub(crate) String);

/// The host's memory.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct HostMemory {
    pub(crate) total_bytes: u64,
    pub(crate) usable_bytes: u64,
    /// "normal", "low", "emergency"; null while paused.
    pub(crate) level: Option<String>,
    pub(crate) other_bytes: Option<u64>,
    pub(crate) unexplained_bytes: Option<u64>,
    pub(crate) pressure_some_percent: Option<f64>,
    pub(crate) pressure_full_percent: Option<f64>,
}

/// The memory that VMs may share.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Pool {
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) actual_bytes: u64,
    pub(crate) promised_bytes: u64,
    pub(crate) kept_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) exposed_bytes: u64,
    /// Most that reservations take.
    pub(crate) reserved_bytes: u64,
    /// What reservations hold of `kept_bytes`.
    pub(crate) held_bytes: u64,
    /// Why the host gives nothing now, however much it keeps; null where it may give.
    pub(crate) stop: Option<String>,
}

/// Something wrong or unusual.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Condition {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Time>,
}

impl Condition {
    /// The condition of a host whose freeze file is there.
    pub(crate) const FROZEN: &str = "FROZEN";
    /// The condition of a host whose hypervisor cannot be read.
    pub(crate) const HYPERVISOR_LOST: &str = "HYPERVISOR_LOST";
    /// Of ticks whose plan broke a rule of safety.
    pub(crate) const PLAN_REJECTED: &str = "PLAN_REJECTED";

    /// Whether one of this name is there.
    pub(crate) fn is_among(all: &[Self], reason: &str) -> bool {
        all.iter().any(|condition| condition.reason == reason)
    }
}

/// A place in an agent's event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) seq: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl Status {
    /// From the wire; `now` is our clock.
    pub(crate) fn new(wire: v1::GetStatusResponse, now: Timestamp) -> Self {
        let host_time = time(wire.host_time);
        let health = match (wire.conditions.is_empty(), wire.tick) {
            (false, _) => "degraded",
            (true, None) => "starting",
            (true, Some(_)) => "healthy",
        };
        Self {
            health,
            mode: ModeName::of(wire.mode),
            mode_actor: wire.mode_actor.map(Into::into),
            mode_reason: wire.mode_reason,
            name: wire.host,
            algorithm: wire.algorithm,
            managed_vms: wire.managed_vms,
            total_vms: wire.total_vms,
            memory: wire.memory.map(Into::into),
            pool: wire.pool.map(Into::into),
            tick: wire.tick,
            last_tick_age_seconds: seconds(wire.last_tick_age),
            last_read_age_seconds: seconds(wire.last_read_age),
            tick_interval_seconds: seconds(wire.tick_interval),
            agent_version: wire.agent_version,
            hypervisor: wire.hypervisor,
            start_time: time(wire.start_time),
            clock_skew_seconds: host_time.map(|t| t.0.duration_since(now).as_secs_f64()),
            host_time,
            watchers: wire.watchers,
            position: wire.position.map(Into::into),
            policy_etag: wire.policy_etag,
            policy_revision: wire.policy_revision,
            policy_actor: wire.policy_actor.map(Into::into),
            policy_revert_time: time(wire.policy_revert_time),
            caller: wire.caller.map(|c| c.name).filter(|name| !name.is_empty()),
            freeze_file: Some(wire.freeze_file).filter(|file| !file.is_empty()),
            conditions: wire.conditions.into_iter().map(Into::into).collect(),
        }
    }
}

impl ModeName {
    /// Of a mode that there is.
    pub(crate) fn new(mode: v1::Mode) -> Self {
        Self::of(mode.into())
    }

    /// From the wire, where it may be one that only a newer memctl knows.
    pub(crate) fn of(mode: i32) -> Self {
        Self(word(mode, v1::Mode::as_str_name, "MODE_"))
    }
}

impl From<v1::HostMemory> for HostMemory {
    fn from(wire: v1::HostMemory) -> Self {
        let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
        Self {
            total_bytes: wire.total_bytes,
            usable_bytes: wire.usable_bytes,
            level: said(wire.level, v1::HostLevel::as_str_name, "HOST_LEVEL_"),
            other_bytes: wire.other_bytes,
            unexplained_bytes: wire.unexplained_bytes,
            pressure_some_percent: wire.pressure_some.map(percent),
            pressure_full_percent: wire.pressure_full.map(percent),
        }
    }
}

impl From<v1::Pool> for Pool {
    fn from(wire: v1::Pool) -> Self {
        Self {
            limit_bytes: wire.limit_bytes,
            actual_bytes: wire.actual_bytes,
            promised_bytes: wire.promised_bytes,
            kept_bytes: wire.kept_bytes,
            reserve_bytes: wire.reserve_bytes,
            exposed_bytes: wire.exposed_bytes,
            reserved_bytes: wire.reserved_bytes,
            held_bytes: wire.held_bytes,
            stop: Some(wire.stop).filter(|stop| !stop.is_empty()),
        }
    }
}

impl From<v1::Condition> for Condition {
    fn from(wire: v1::Condition) -> Self {
        Self { reason: wire.reason, message: wire.message, since: time(wire.since) }
    }
}

impl From<v1::Position> for Position {
    fn from(wire: v1::Position) -> Self {
        Self { epoch: wire.epoch, seq: wire.seq }
    }
}
