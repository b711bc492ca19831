//! DTOs of the event stream: one record for each line of `memctl watch`.

use std::borrow::Cow;

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body as Wire;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::vm::state_name;
use super::{
    Actor, Booking, Condition, HostMemory, ModeName, PinEvent, PolicyChange, Pool, Position,
    ReservationEvent, Resize, Revision, ShadowTick, Time, Transfer, Vm, VmName, seconds, time,
    word,
};
use crate::failure::Failure;

/// One record.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Record {
    /// What it is: "tick", "vm", "policy", "mode", "reservation", "pin" for entries of the log; "hello",
    /// "snapshot", "gap", "heartbeat", "going_away" for the stream; "host" for what memctl itself noticed; "unknown" for what
    /// a newer agent says and this memctl does not know.
    #[serde(rename = "type")]
    pub(crate) kind: Cow<'static, str>,
    pub(crate) host: String,
    #[serde(flatten)]
    pub(crate) position: Option<Position>,
    pub(crate) time: Option<Time>,
    /// The host's monotonic clock, since the start of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monotonic_seconds: Option<f64>,
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// What a record tells.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub(crate) enum Body {
    Hello(Hello),
    Snapshot(Box<Snapshot>),
    Gap(Gap),
    Heartbeat {},
    GoingAway {
        reason: String,
        reconnect_after_seconds: Option<f64>,
    },
    Tick(Box<Tick>),
    Vm(VmChange),
    Policy(PolicyEvent),
    Mode(ModeEvent),
    Reservation(Box<ReservationEvent>),
    Pin(Box<PinEvent>),
    Host(HostNews),
    /// What only a newer memctl knows.
    Unknown {},
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Hello {
    pub(crate) agent_version: String,
    pub(crate) name: String,
    pub(crate) oldest: Option<Position>,
    pub(crate) newest: Option<Position>,
    pub(crate) ring_capacity_bytes: u64,
    pub(crate) heartbeat_interval_seconds: Option<f64>,
    pub(crate) resume_failed: bool,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Snapshot {
    pub(crate) mode: ModeName,
    pub(crate) memory: Option<HostMemory>,
    pub(crate) pool: Option<Pool>,
    pub(crate) policy: Option<Revision>,
    pub(crate) vms: Vec<Vm>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) continued: bool,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Gap {
    /// "slow_consumer", "expired", "restarted", "dropped".
    pub(crate) reason: String,
    pub(crate) first: Option<Position>,
    pub(crate) last: Option<Position>,
    pub(crate) missed: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Tick {
    pub(crate) tick: u64,
    pub(crate) took_seconds: Option<f64>,
    pub(crate) mode: ModeName,
    pub(crate) algorithm: String,
    pub(crate) policy_revision: u64,
    pub(crate) offset: Option<u64>,
    /// Why nothing was done: the hypervisor could not be read, or the plan was thrown away; "" otherwise.
    pub(crate) error: String,
    /// The freeze file, where it was there; "" otherwise.
    pub(crate) frozen: String,
    pub(crate) memory: Option<HostMemory>,
    pub(crate) pool: Option<Pool>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) resizes: Vec<Resize>,
    pub(crate) bookings: Vec<Booking>,
    pub(crate) vms: Vec<Vm>,
    /// Reasons of the conditions that held when it was over.
    pub(crate) conditions: Vec<String>,
    /// None where it was not asked for, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowTick>,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct VmChange {
    pub(crate) vm: VmName,
    /// Null when the VM has just come.
    pub(crate) previous_state: Option<String>,
    /// Null when the VM is gone.
    pub(crate) state: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct PolicyEvent {
    pub(crate) revision: u64,
    pub(crate) etag: String,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
    pub(crate) revert_time: Option<Time>,
    pub(crate) changes: Vec<PolicyChange>,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ModeEvent {
    pub(crate) previous_mode: ModeName,
    pub(crate) mode: ModeName,
    pub(crate) actor: Option<Actor>,
    pub(crate) reason: String,
}

/// What memctl noticed of a host.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct HostNews {
    /// "reconnecting", "ended", or "same_host": an agent that is followed by another name already.
    pub(crate) state: Cow<'static, str>,
    /// That name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) same_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
}

impl Record {
    /// From the wire.
    pub(crate) fn new(host: &str, wire: v1::WatchResponse) -> Self {
        let (kind, body) = wire.body.map_or(("unknown", Body::Unknown {}), body);
        let monotonic = std::time::Duration::from_nanos(wire.monotonic_ns).as_secs_f64();
        Self {
            kind: kind.into(),
            host: host.to_owned(),
            position: wire.position.map(Into::into),
            time: time(wire.time),
            monotonic_seconds: (wire.monotonic_ns > 0).then_some(monotonic),
            body,
        }
    }

    /// From a line of a saved stream, or what is wrong with it.
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let whole: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let frame: Frame = read(&whole)?;
        let body = match frame.kind.as_str() {
            "hello" => Body::Hello(read(&whole)?),
            "snapshot" => Body::Snapshot(read(&whole)?),
            "gap" => Body::Gap(read(&whole)?),
            "heartbeat" => Body::Heartbeat {},
            "going_away" => {
                let Farewell { reason, reconnect_after_seconds } = read(&whole)?;
                Body::GoingAway { reason, reconnect_after_seconds }
            }
            "tick" => Body::Tick(read(&whole)?),
            "vm" => Body::Vm(read(&whole)?),
            "policy" => Body::Policy(read(&whole)?),
            "mode" => Body::Mode(read(&whole)?),
            "reservation" => Body::Reservation(read(&whole)?),
            "pin" => Body::Pin(read(&whole)?),
            "host" => Body::Host(read(&whole)?),
            "unknown" => Body::Unknown {},
            other => return Err(format!("\"{other}\" is no type of a record")),
        };
        let position = frame.epoch.zip(frame.seq);
        Ok(Self {
            kind: frame.kind.into(),
            host: frame.host,
            position: position.map(|(epoch, seq)| Position { epoch, seq }),
            time: frame.time,
            monotonic_seconds: frame.monotonic_seconds,
            body,
        })
    }

    /// Something that memctl itself noticed.
    pub(crate) fn of_host(host: &str, now: Timestamp, news: HostNews) -> Self {
        Self {
            kind: "host".into(),
            host: host.to_owned(),
            position: None,
            time: Some(Time(now)),
            monotonic_seconds: None,
            body: Body::Host(news),
        }
    }

    /// Whether it is an entry of the agent's log.
    pub(crate) fn is_entry(&self) -> bool {
        matches!(
            self.body,
            Body::Tick(_)
                | Body::Vm(_)
                | Body::Policy(_)
                | Body::Mode(_)
                | Body::Reservation(_)
                | Body::Pin(_)
        )
    }
}

/// What every record has.
#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    host: String,
    epoch: Option<String>,
    seq: Option<u64>,
    time: Option<Time>,
    monotonic_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Farewell {
    reason: String,
    reconnect_after_seconds: Option<f64>,
}

fn read<T: serde::de::DeserializeOwned>(whole: &Value) -> Result<T, String> {
    T::deserialize(whole).map_err(|error| error.to_string())
}

fn body(wire: Wire) -> (&'static str, Body) {
    match wire {
        Wire::Hello(hello) => ("hello", Body::Hello(hello.into())),
        Wire::Snapshot(snapshot) => ("snapshot", Body::Snapshot(Box::new(snapshot.into()))),
        Wire::Gap(gap) => ("gap", Body::Gap(gap.into())),
        Wire::Heartbeat(_) => ("heartbeat", Body::Heartbeat {}),
        Wire::GoingAway(farewell) => {
            let reconnect_after_seconds = seconds(farewell.reconnect_after);
            ("going_away", Body::GoingAway { reason: farewell.reason, reconnect_after_seconds })
        }
        Wire::Tick(tick) => ("tick", Body::Tick(Box::new(tick.into()))),
        Wire::VmChanged(change) => ("vm", Body::Vm(change.into())),
        Wire::PolicyChanged(change) => ("policy", Body::Policy(change.into())),
        Wire::ModeChanged(change) => ("mode", Body::Mode(change.into())),
        Wire::PinChanged(change) => ("pin", Body::Pin(Box::new(change.into()))),
        Wire::ReservationChanged(change) => {
            ("reservation", Body::Reservation(Box::new(change.into())))
        }
    }
}

impl From<v1::Hello> for Hello {
    fn from(wire: v1::Hello) -> Self {
        Self {
            agent_version: wire.agent_version,
            name: wire.host,
            oldest: wire.oldest.map(Into::into),
            newest: wire.newest.map(Into::into),
            ring_capacity_bytes: wire.ring_capacity_bytes,
            heartbeat_interval_seconds: seconds(wire.heartbeat_interval),
            resume_failed: wire.resume_failed,
        }
    }
}

impl From<v1::Snapshot> for Snapshot {
    fn from(wire: v1::Snapshot) -> Self {
        Self {
            mode: ModeName::of(wire.mode),
            memory: wire.memory.map(Into::into),
            pool: wire.pool.map(Into::into),
            policy: wire.policy.map(Into::into),
            vms: wire.vms.into_iter().map(Into::into).collect(),
            conditions: wire.conditions.into_iter().map(Into::into).collect(),
            continued: wire.continued,
        }
    }
}

impl From<v1::Gap> for Gap {
    fn from(wire: v1::Gap) -> Self {
        Self {
            reason: word(wire.reason, v1::GapReason::as_str_name, "GAP_REASON_"),
            first: wire.first.map(Into::into),
            last: wire.last.map(Into::into),
            missed: wire.missed,
        }
    }
}

impl Tick {
    /// True where the hypervisor could not be read: nothing is known of host and VMs.
    pub(crate) const fn is_blind(&self) -> bool {
        !self.error.is_empty() && self.memory.is_none()
    }
}

impl From<v1::Tick> for Tick {
    fn from(wire: v1::Tick) -> Self {
        Self {
            mode: ModeName::of(wire.mode),
            tick: wire.tick,
            took_seconds: seconds(wire.took),
            algorithm: wire.algorithm,
            policy_revision: wire.policy_revision,
            offset: wire.offset,
            error: wire.error,
            frozen: wire.frozen,
            memory: wire.memory.map(Into::into),
            pool: wire.pool.map(Into::into),
            transfers: wire.transfers.into_iter().map(Into::into).collect(),
            resizes: wire.resizes.into_iter().map(Into::into).collect(),
            bookings: wire.bookings.into_iter().map(Into::into).collect(),
            vms: wire.vms.into_iter().map(Into::into).collect(),
            conditions: wire.conditions,
            shadow: wire.shadow.map(Into::into),
        }
    }
}

impl From<v1::VmChanged> for VmChange {
    fn from(wire: v1::VmChanged) -> Self {
        let known = |state| Some(state_name(state)).filter(|name| !name.is_empty());
        Self {
            previous_state: known(wire.previous_state),
            state: known(wire.state),
            vm: wire.vm.unwrap_or_default().into(),
        }
    }
}

impl From<v1::PolicyChanged> for PolicyEvent {
    fn from(wire: v1::PolicyChanged) -> Self {
        Self {
            revision: wire.revision,
            etag: wire.etag,
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
            revert_time: time(wire.revert_time),
            changes: wire.changes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ModeChanged> for ModeEvent {
    fn from(wire: v1::ModeChanged) -> Self {
        Self {
            previous_mode: ModeName::of(wire.previous_mode),
            mode: ModeName::of(wire.mode),
            actor: wire.actor.map(Into::into),
            reason: wire.reason,
        }
    }
}
