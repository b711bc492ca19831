//! What memctl writes as JSON and YAML, schema "memctl/v1": names in snake_case, bytes and seconds
//! as numbers, times in RFC 3339. Made from the wire here and nowhere else; renderers read these.

mod audit;
mod caller;
mod event;
mod explain;
mod history;
mod host;
mod pin;
mod policy;
mod reservation;
mod shadow;
mod vm;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use audit::AuditEntry;
pub(crate) use caller::WhoAmI;
pub(crate) use event::{
    Body, Gap, HostNews, ModeEvent, PolicyEvent, Record, Snapshot, Tick, VmChange,
};
pub(crate) use explain::Explanation;
pub(crate) use history::{History, HistoryHost, HistoryPoint, HistoryVm};
pub(crate) use host::{Condition, HostMemory, ModeName, Pool, Position, Status};
pub(crate) use pin::{Pin, PinEvent};
pub(crate) use policy::{Actor, Bounds, Policy, PolicyChange, Revision};
pub(crate) use reservation::{Booking, Reservation, ReservationEvent, VmRefusal};
pub(crate) use shadow::{
    Shadow, ShadowInstance, ShadowRuling, ShadowSummary, ShadowTick, ShadowVm,
};
pub(crate) use vm::{Resize, Transfer, Verdict, Vm, VmMemory, VmName};

use crate::failure::Failure;
use crate::fleet::Answer;

/// Name of this form of output. A new one comes only with an incompatible change.
pub(crate) const SCHEMA: &str = "memctl/v1";

/// A whole answer.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Document<'a, T> {
    /// "memctl/v1".
    pub(crate) schema: &'static str,
    /// "StatusList" and the like.
    pub(crate) kind: String,
    /// One or more for each host.
    pub(crate) items: &'a [Item<T>],
}

/// One line of `-o jsonl`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Line<'a, T> {
    /// "memctl/v1".
    pub(crate) schema: &'static str,
    /// "Status" and the like.
    pub(crate) kind: &'static str,
    /// The item.
    #[serde(flatten)]
    pub(crate) item: &'a Item<T>,
}

/// A command that failed before any host was asked.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Refusal<'a> {
    /// "memctl/v1".
    pub(crate) schema: &'static str,
    /// "Error".
    pub(crate) kind: &'static str,
    /// What is wrong.
    pub(crate) error: &'a Failure,
}

/// What one host answered, or why it did not.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Item<T> {
    /// Name of the host, as memctl knows it.
    pub(crate) host: String,
    /// Other names of the same host that were asked for: it is asked once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also_named: Vec<String>,
    /// Whether it answered.
    pub(crate) ok: bool,
    /// The answer.
    #[serde(flatten)]
    pub(crate) body: Option<T>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
}

impl<T> Item<T> {
    /// An answer.
    pub(crate) fn answered(host: &str, body: T) -> Self {
        let (host, also_named) = (host.to_owned(), Vec::new());
        Self { host, also_named, ok: true, body: Some(body), error: None }
    }

    /// No answer.
    pub(crate) fn failed(host: &str, error: Failure) -> Self {
        let (host, also_named) = (host.to_owned(), Vec::new());
        Self { host, also_named, ok: false, body: None, error: Some(error) }
    }

    /// The items of many answers, of which each may hold several bodies.
    pub(crate) fn of_answers<A>(
        answers: Vec<Answer<A>>,
        bodies: impl Fn(A) -> Vec<T>,
    ) -> Vec<Self> {
        let mut items = Vec::with_capacity(answers.len());
        for Answer { host, also_named, result } in answers {
            let first = items.len();
            match result {
                Ok(answer) => {
                    items.extend(bodies(answer).into_iter().map(|b| Self::answered(&host, b)));
                }
                Err(error) => items.push(Self::failed(&host, error)),
            }
            if let Some(item) = items.get_mut(first) {
                item.also_named = also_named;
            }
        }
        items
    }
}

/// A point in time; RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A point in time, RFC 3339 in UTC",
            "type": "string",
            "format": "date-time",
        })
    }
}

/// A time of the wire; none where it lies outside of what a calendar holds.
pub(crate) fn time(wire: Option<prost_types::Timestamp>) -> Option<Time> {
    let wire = wire?;
    Timestamp::new(wire.seconds, wire.nanos).ok().map(Time)
}

/// A duration of the wire in seconds, to the millisecond.
pub(crate) fn seconds(wire: Option<prost_types::Duration>) -> Option<f64> {
    let wire = wire?;
    let exact = jiff::SignedDuration::new(wire.seconds, wire.nanos % 1_000_000_000);
    let millis = jiff::SignedDuration::try_from_millis_i128(exact.as_millis())?;
    Some(millis.as_secs_f64())
}

/// The name of a value of a wire enum without its prefix, in lower case; one that only a newer memctl
/// knows by its number: "unknown(17)".
pub(crate) fn word<E: TryFrom<i32>>(
    value: i32,
    name: fn(&E) -> &'static str,
    prefix: &str,
) -> String {
    let Ok(known) = E::try_from(value) else { return format!("unknown({value})") };
    let name = name(&known);
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// The same; none for the value that says nothing.
pub(crate) fn said<E: TryFrom<i32>>(
    value: i32,
    name: fn(&E) -> &'static str,
    prefix: &str,
) -> Option<String> {
    (value != NOT_SET).then(|| word(value, name, prefix))
}

/// The first value of every enum of the wire.
const NOT_SET: i32 = 0;
