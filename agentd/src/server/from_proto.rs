//! Requests of the wire as what agentd knows, checked field by field. Together with `to_proto` the
//! only place that converts; what it refuses changes nothing.

use std::time::Duration;

use agentd_core::explain;
use agentd_proto::v1 as wire;
use tonic::Status;

use super::{
    fault::{Violations, invalid},
    limits,
};
use crate::control::Mode;

/// A length of time, not negative.
pub(super) fn duration(field: &str, length: prost_types::Duration) -> Result<Duration, Status> {
    time(length).map_err(|why| invalid(field, why))
}

/// The same, or why it is none.
pub(super) fn time(time: prost_types::Duration) -> Result<Duration, String> {
    let (seconds, nanos) = (time.seconds, time.nanos);
    Duration::try_from(time).map_err(|_| {
        format!("{seconds} s and {nanos} ns is no length of time: it must not be below 0")
    })
}

/// A length of time as a caller gave it, in words; also one that is none.
pub(super) fn time_in_words(time: prost_types::Duration) -> String {
    let (seconds, nanos) = (time.seconds, time.nanos);
    let sane = Duration::try_from(time);
    sane.map_or_else(|_| format!("{seconds} s and {nanos} ns"), explain::time)
}

/// The mode that a caller wants.
pub(super) fn mode(mode: i32) -> Result<Mode, Status> {
    match wire::Mode::try_from(mode) {
        Ok(wire::Mode::Active) => Ok(Mode::Active),
        Ok(wire::Mode::Observe) => Ok(Mode::Observe),
        Ok(wire::Mode::Paused) => Ok(Mode::Paused),
        Ok(wire::Mode::Unspecified) | Err(_) => {
            let why = format!("{mode} is no mode: choose ACTIVE, OBSERVE or PAUSED");
            Err(invalid("mode", why))
        }
    }
}

/// What is wrong with a VM's name or UUID, if anything.
pub(super) fn name(name: &str) -> Result<(), String> {
    let most = limits::NAME;
    if name.is_empty() || name.len() > most {
        let bytes = name.len();
        return Err(format!("has {bytes} bytes; a name or UUID has 1 to {most}"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{name:?} holds control characters; leave them out"));
    }
    Ok(())
}

/// Checks the reason that a caller gives.
pub(super) fn reason(reason: &str, violations: &mut Violations) {
    let most = limits::REASON;
    if reason.len() > most {
        let bytes = reason.len();
        violations.add("reason", format!("has {bytes} bytes; at most {most} are kept"));
    }
    if reason.chars().any(char::is_control) {
        violations.add("reason", "holds control characters; write it in one line");
    }
}

/// How many items a page may have: 0 means `usual`, more than `most` means `most`.
pub(super) fn page_size(size: i32, usual: usize, most: usize) -> Result<usize, Status> {
    match usize::try_from(size) {
        Ok(0) => Ok(usual),
        Ok(size) => Ok(size.min(most)),
        Err(_) => {
            let why = format!("{size} is below 0; leave it out for {usual}");
            Err(invalid("page_size", why))
        }
    }
}
