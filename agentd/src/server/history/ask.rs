//! A `ListHistoryRequest`, checked, and what it leaves open settled.

use std::time::{Duration, SystemTime};

use agentd_proto::v1 as wire;
use tonic::Status;

use crate::server::{
    fault::{Violations, invalid},
    from_proto, limits,
};

/// What is wanted of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The first step of the page, in seconds since the epoch, on a whole step.
    pub(super) from: u64,
    /// The first step of the whole answer.
    pub(super) start: u64,
    /// Exclusive, in nanoseconds since the epoch.
    pub(super) until: SystemTime,
    /// Length of a step, in seconds.
    pub(super) step: u64,
    /// Names or UUIDs in canonical form. Empty for all.
    pub(super) vms: Vec<String>,
    pub(super) host_only: bool,
    pub(super) changes: bool,
    /// Points in the page at most.
    pub(super) size: usize,
}

impl Asked {
    /// Checks a request. `oldest` is how far back there is anything.
    pub(super) fn new(
        request: wire::ListHistoryRequest,
        oldest: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Self, Status> {
        let size = from_proto::page_size(request.page_size, PAGE, PAGE_MOST)?;
        let until = time("end_time", request.end_time)?.unwrap_or(now);
        let start = time("start_time", request.start_time)?;
        if start.is_some_and(|start| start >= until) {
            let why = match request.end_time {
                Some(_) => "must be after start_time: nothing lies between them",
                None => "lies ahead: leave end_time out only with a beginning before now",
            };
            return Err(invalid("end_time", why));
        }
        // What is older than anything that is kept is a hole: no step needs to be there.
        let start = start.max(oldest.filter(|oldest| *oldest < until)).unwrap_or(until);
        let (first, last) = (seconds(start), seconds(until));
        let step = match request.step {
            Some(step) => given(step)?,
            None => fitting(last.saturating_sub(first), request.max_points)?,
        };
        let start = first.saturating_sub(first.checked_rem(step).unwrap_or(0));
        let from = page_start(&request.page_token, step)?.unwrap_or(start);
        Ok(Self {
            from: from.max(start),
            start,
            until,
            step,
            vms: vms(request.vms, request.host_only)?,
            host_only: request.host_only,
            changes: request.changes,
            size,
        })
    }

    /// The beginning of the page.
    pub(super) fn from(&self) -> SystemTime {
        at(self.from)
    }

    /// The step that holds this time, by its beginning in seconds.
    pub(super) fn step_of(&self, time: SystemTime) -> u64 {
        let seconds = seconds(time);
        seconds.saturating_sub(seconds.checked_rem(self.step).unwrap_or(0))
    }

    /// Whether digests of a minute are as fine as what is asked.
    pub(super) const fn is_coarse(&self) -> bool {
        self.step >= MINUTE
    }

    /// Whether this VM is asked for.
    pub(super) fn names(&self, vm: Option<&wire::VmRef>) -> bool {
        let is =
            |vm: &wire::VmRef| self.vms.iter().any(|name| *name == vm.uuid || *name == vm.name);
        !self.host_only && (self.vms.is_empty() || vm.is_some_and(is))
    }
}

/// What has to hold of any request for a stretch of time: one that is refused names the field, and a page begins
/// within the stretch.
#[cfg(any(test, feature = "testing"))]
pub(in crate::server) fn fuzz(data: &[u8]) {
    use prost::Message as _;

    let Ok(request) = wire::ListHistoryRequest::decode(data) else { return };
    match Asked::new(request, Some(at(1000)), at(100_000)) {
        Ok(asked) => {
            assert!(
                (1..=STEP_MOST).contains(&asked.step) && asked.from >= asked.start,
                "{asked:?}"
            );
            assert!(asked.step_of(asked.from()) <= asked.from && asked.size <= PAGE_MOST);
        }
        Err(refused) => {
            assert_eq!(crate::server::fault::reason(&refused), "INVALID_ARGUMENT", "{refused}");
        }
    }
}

/// This many seconds after the epoch.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<SystemTime>, Status> {
    let Some(time) = time else { return Ok(None) };
    let wrong = || {
        let (seconds, nanos) = (time.seconds, time.nanos);
        invalid(field, format!("{seconds} s and {nanos} ns is no time between 1970 and 9999"))
    };
    let read = SystemTime::try_from(time).map_err(|_| wrong())?;
    let is_sane = read >= SystemTime::UNIX_EPOCH && seconds(read) <= LATEST;
    if is_sane { Ok(Some(read)) } else { Err(wrong()) }
}

fn given(step: prost_types::Duration) -> Result<u64, Status> {
    let length = from_proto::duration("step", step)?;
    let seconds = length.as_secs();
    if length.subsec_nanos() != 0 || !(1..=STEP_MOST).contains(&seconds) {
        return Err(invalid("step", format!("{length:?} must be whole seconds, from 1 s to 24 h")));
    }
    if seconds > MINUTE && seconds % MINUTE != 0 {
        return Err(invalid("step", format!("{length:?} must be whole minutes beyond a minute")));
    }
    Ok(seconds)
}

fn fitting(span: u64, max_points: i32) -> Result<u64, Status> {
    let wrong = || invalid("max_points", format!("{max_points} must be from 1 to {POINTS_MOST}"));
    let most = match u64::try_from(max_points).map_err(|_| wrong())? {
        0 => POINTS,
        most if most > POINTS_MOST => return Err(wrong()),
        most => most,
    };
    let fits = |step: &&u64| span.div_ceil(**step) <= most;
    Ok(STEPS.iter().find(fits).copied().unwrap_or(STEP_MOST))
}

fn page_start(token: &str, step: u64) -> Result<Option<u64>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let start =
        token.parse().ok().filter(|start: &u64| start.is_multiple_of(step) && *start <= LATEST);
    let why =
        "is none; give the next_page_token of a response to the same request, or leave it out";
    start.map(Some).ok_or_else(|| invalid("page_token", why))
}

fn vms(vms: Vec<String>, host_only: bool) -> Result<Vec<String>, Status> {
    if host_only && !vms.is_empty() {
        return Err(invalid(
            "host_only",
            "leaves all VMs out, but vms names some: give one of both",
        ));
    }
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
    let canonical = |name: String| match name.parse::<agentd_core::vm::VmId>() {
        Ok(id) => id.to_string(),
        Err(_) => name,
    };
    Ok(vms.into_iter().map(canonical).collect())
}

const MINUTE: u64 = 60;
/// Steps to choose from.
const STEPS: [u64; 9] = [1, 5, 15, 60, 300, 900, 3600, 6 * 3600, STEP_MOST];
const STEP_MOST: u64 = 24 * 3600;
/// The end of the year 9999.
const LATEST: u64 = 253_402_300_799;
/// Points that are wanted unless the request says otherwise: what a screen shows.
const POINTS: u64 = 240;
const POINTS_MOST: u64 = 10_000;
const PAGE: usize = 500;
const PAGE_MOST: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: wire::ListHistoryRequest) -> Result<Asked, Status> {
        Asked::new(request, Some(at(1000)), at(100_000))
    }

    #[test]
    fn what_is_left_open_is_settled() {
        let all = asked(wire::ListHistoryRequest::default()).unwrap();
        // 99,000 s in at most 240 steps are steps of 15 min.
        assert_eq!((all.step, all.start, all.from, all.until), (900, 900, 900, at(100_000)));
        assert!(all.is_coarse() && all.names(None));
        let step =
            |max_points| asked(wire::ListHistoryRequest { max_points, ..Default::default() });
        assert_eq!(step(10_000).unwrap().step, 15);
        assert_eq!(step(1).unwrap().step, STEP_MOST);
        assert!(step(-1).is_err() && step(10_001).is_err());
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        let refused = |request: wire::ListHistoryRequest, field: &str| {
            let status = asked(request).unwrap_err();
            assert!(status.message().starts_with(field), "{status:?}");
        };
        let seconds = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let step = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let base = wire::ListHistoryRequest::default;
        refused(wire::ListHistoryRequest { start_time: seconds(-1), ..base() }, "start_time");
        refused(wire::ListHistoryRequest { start_time: seconds(200_000), ..base() }, "end_time");
        let backwards =
            wire::ListHistoryRequest { start_time: seconds(9), end_time: seconds(9), ..base() };
        refused(backwards, "end_time");
        for bad in [step(0, 0), step(-1, 0), step(1, 5), step(61, 0), step(86_401, 0)] {
            refused(wire::ListHistoryRequest { step: bad, ..base() }, "step");
        }
        for token in ["x", "7", "-60"] {
            let request = wire::ListHistoryRequest {
                page_token: token.to_owned(),
                step: step(60, 0),
                ..base()
            };
            refused(request, "page_token");
        }
        let both =
            wire::ListHistoryRequest { host_only: true, vms: vec!["a".to_owned()], ..base() };
        refused(both, "host_only");
        refused(wire::ListHistoryRequest { vms: vec![String::new()], ..base() }, "vms[0]");
    }
}
