//! A `WatchRequest`, checked.

use std::time::Duration;

use agentd_proto::v1 as wire;
use tonic::Status;
use wire::watch_request::Start as WireStart;

use super::filter::{Filter, VmName};
use crate::{
    publish::{Epoch, Kind, Position},
    server::{
        fault::{Violations, invalid},
        from_proto, limits,
    },
};

/// What a watcher wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) start: Start,
    pub(super) follow: bool,
    pub(super) snapshot: bool,
    pub(super) filter: Filter,
    pub(super) heartbeat: Duration,
}

/// Where a stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the next entry.
    Next,
    /// Behind this one.
    After(Position),
    /// With the first that is at most this old.
    Since(Duration),
    /// With the last so many that pass the filter.
    Tail(u64),
    /// With the oldest.
    Oldest,
}

/// What a request wants.
pub(super) fn wanted(request: wire::WatchRequest) -> Result<Wanted, Status> {
    let start = start(request.start)?;
    let heartbeat = match request.heartbeat_interval {
        None => HEARTBEAT,
        Some(wanted) => from_proto::duration("heartbeat_interval", wanted)?,
    };
    let filter = Filter {
        kinds: kinds(&request.kinds)?,
        vms: vms(request.vms)?,
        only_changes: request.only_changes,
        shadow: request.shadow,
    };
    Ok(Wanted {
        start,
        follow: request.follow,
        snapshot: request.snapshot,
        filter,
        heartbeat: heartbeat.clamp(HEARTBEAT_LEAST, HEARTBEAT_MOST),
    })
}

fn start(start: Option<WireStart>) -> Result<Start, Status> {
    Ok(match start {
        None | Some(WireStart::Oldest(false)) => Start::Next,
        Some(WireStart::Oldest(true)) => Start::Oldest,
        Some(WireStart::Tail(count)) => Start::Tail(count),
        Some(WireStart::Since(age)) => Start::Since(from_proto::duration("since", age)?),
        Some(WireStart::After(wire::Position { epoch, seq })) => {
            let Some(epoch) = Epoch::parse(&epoch) else {
                let why = "must be 32 lower-case hex digits, as in the position of a message";
                return Err(invalid("after.epoch", why));
            };
            Start::After(Position { epoch, seq })
        }
    })
}

fn kinds(kinds: &[i32]) -> Result<Vec<Kind>, Status> {
    let mut violations = Violations::default();
    let mut known = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let kind = match wire::EventKind::try_from(*kind) {
            Ok(wire::EventKind::Tick) => Kind::Tick,
            Ok(wire::EventKind::Vm) => Kind::Vm,
            Ok(wire::EventKind::Policy) => Kind::Policy,
            Ok(wire::EventKind::Mode) => Kind::Mode,
            Ok(wire::EventKind::Reservation) => Kind::Reservation,
            Ok(wire::EventKind::Pin) => Kind::Pin,
            Ok(wire::EventKind::Unspecified) | Err(_) => {
                let why = format!("{kind} is no kind of entry; leave the list empty for all");
                violations.add(format!("kinds[{index}]"), why);
                break;
            }
        };
        if !known.contains(&kind) {
            known.push(kind);
        }
    }
    violations.check()?;
    Ok(known)
}

fn vms(vms: Vec<String>) -> Result<Vec<VmName>, Status> {
    if vms.len() > limits::FILTER_VMS {
        let (count, most) = (vms.len(), limits::FILTER_VMS);
        return Err(invalid("vms", format!("{count} names, but at most {most} may be given")));
    }
    let mut violations = Violations::default();
    for (index, vm) in vms.iter().enumerate() {
        if let Err(why) = from_proto::name(vm) {
            violations.add(format!("vms[{index}]"), why);
        }
    }
    violations.check()?;
    Ok(vms.into_iter().map(VmName::from).collect())
}

/// Interval of heartbeats that nobody asked otherwise for, and its bounds.
const HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEAT_LEAST: Duration = Duration::from_secs(1);
const HEARTBEAT_MOST: Duration = Duration::from_secs(60);
