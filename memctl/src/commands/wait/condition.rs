//! What `memctl wait` waits for, as typed, and how one host stands to it.

use std::fmt;

use agentd_proto::v1;

use crate::client::Connection;
use crate::commands::reserve::parse_id;
use crate::commands::{status, vms};
use crate::dto::{self, Reservation, Status, Vm};
use crate::failure::Failure;
use crate::quantity::{Units, format_size, parse_size};

/// Something that is to be so on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The agent has read its VMs, and reads them still.
    Ready,
    /// Nothing is wrong.
    Healthy,
    /// This mode is in force.
    Mode(String),
    /// A VM is so.
    Vm(String, VmWish),
    /// This reservation is there.
    Reservation(u64),
}

/// What a VM is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmWish {
    Running,
    Gone,
    AtTarget,
    AtMost(u64),
    AtLeast(u64),
}

/// How a host stands to a condition.
pub(super) struct Standing {
    /// Whether it holds.
    pub(super) met: bool,
    /// Whether it never will.
    pub(super) never: bool,
    /// What is so now.
    pub(super) now: String,
}

impl Condition {
    /// Reads a condition as typed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("\"{text}\" is no condition: {FORMS}");
        match text.split_once('=') {
            None if text == "ready" => Ok(Self::Ready),
            None if text == "healthy" => Ok(Self::Healthy),
            Some(("mode", mode @ ("active" | "observe" | "paused"))) => {
                Ok(Self::Mode(mode.to_owned()))
            }
            Some(("mode", other)) => {
                Err(format!("\"{other}\" is no mode: active, observe or paused"))
            }
            Some(("vm", rest)) => {
                // A name may have a colon; a wish has none.
                let (vm, wish) = rest.rsplit_once(':').unwrap_or((rest, "running"));
                if vm.is_empty() { Err(refused()) } else { Ok(Self::Vm(vm.into(), wish_of(wish)?)) }
            }
            Some(("reservation", id)) => parse_id(id).map(Self::Reservation),
            _ => Err(refused()),
        }
    }
}

fn wish_of(text: &str) -> Result<VmWish, String> {
    match text {
        "running" => return Ok(VmWish::Running),
        "gone" => return Ok(VmWish::Gone),
        "at-target" => return Ok(VmWish::AtTarget),
        _ => {}
    }
    if let Some(size) = text.strip_prefix("actual<=") {
        return parse_size(size).map(VmWish::AtMost);
    }
    if let Some(size) = text.strip_prefix("actual>=") {
        return parse_size(size).map(VmWish::AtLeast);
    }
    Err(format!("\"{text}\" is nothing that a VM can be waited for to be: {FORMS}"))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: &u64| format_size(*bytes, Units::Iec).replace(' ', "");
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Healthy => f.write_str("healthy"),
            Self::Mode(mode) => write!(f, "mode={mode}"),
            Self::Reservation(id) => write!(f, "reservation={id}"),
            Self::Vm(vm, VmWish::Running) => write!(f, "vm={vm}:running"),
            Self::Vm(vm, VmWish::Gone) => write!(f, "vm={vm}:gone"),
            Self::Vm(vm, VmWish::AtTarget) => write!(f, "vm={vm}:at-target"),
            Self::Vm(vm, VmWish::AtMost(bytes)) => write!(f, "vm={vm}:actual<={}", size(bytes)),
            Self::Vm(vm, VmWish::AtLeast(bytes)) => write!(f, "vm={vm}:actual>={}", size(bytes)),
        }
    }
}

/// Asks a host once for all that the conditions speak of.
pub(super) async fn look(
    conditions: &[Condition],
    connection: Connection,
) -> Result<Vec<Standing>, Failure> {
    let status = status::ask(connection.clone()).await?;
    let of_vms = conditions.iter().any(|condition| matches!(condition, Condition::Vm(..)));
    let vms = if of_vms { vms::list(connection.clone()).await?.vms } else { Vec::new() };
    let mut standings = Vec::with_capacity(conditions.len());
    for condition in conditions {
        standings.push(match condition {
            Condition::Reservation(id) => of_reservation(&reservation(&connection, *id).await?),
            Condition::Ready => ready(&status),
            Condition::Healthy => so(status.health == "healthy", said(&status)),
            Condition::Mode(mode) => so(status.mode.0 == *mode, status.mode.0.clone()),
            Condition::Vm(vm, wish) => of_vm(find(&vms, vm), *wish),
        });
    }
    Ok(standings)
}

fn so(met: bool, now: String) -> Standing {
    Standing { met, never: false, now }
}

fn ready(status: &Status) -> Standing {
    let lost = dto::Condition::is_among(&status.conditions, dto::Condition::HYPERVISOR_LOST);
    so(status.last_read_age_seconds.is_some() && !lost, said(status))
}

/// The health, and what is wrong.
fn said(status: &Status) -> String {
    let reasons: Vec<&str> = status.conditions.iter().map(|c| c.reason.as_str()).collect();
    match reasons.is_empty() {
        true => status.health.to_owned(),
        false => format!("{}: {}", status.health, reasons.join(", ")),
    }
}

fn find<'a>(vms: &'a [Vm], wanted: &str) -> Option<&'a Vm> {
    vms.iter().find(|own| own.vm.name == wanted || own.vm.uuid == wanted)
}

fn of_vm(vm: Option<&Vm>, wish: VmWish) -> Standing {
    let Some(vm) = vm else {
        return so(wish == VmWish::Gone, "not running".to_owned());
    };
    let memory = vm.memory.as_ref();
    let actual = memory.map(|memory| memory.actual_bytes);
    let target = memory.and_then(|memory| memory.target_bytes);
    let met = match wish {
        VmWish::Running => vm.state == "running",
        VmWish::Gone => false,
        // Nobody ever asked it for anything else.
        VmWish::AtTarget => actual.is_some() && target.is_none_or(|target| actual == Some(target)),
        VmWish::AtMost(bytes) => actual.is_some_and(|actual| actual <= bytes),
        VmWish::AtLeast(bytes) => actual.is_some_and(|actual| actual >= bytes),
    };
    let size = |bytes| format_size(bytes, Units::Iec);
    let actual = actual.map(|bytes| format!(", actual {}", size(bytes))).unwrap_or_default();
    let target = target.map(|bytes| format!(", target {}", size(bytes))).unwrap_or_default();
    so(met, format!("{}{actual}{target}", vm.state))
}

fn of_reservation(own: &Reservation) -> Standing {
    let met = own.is_there();
    let never = !met && own.end_time.is_some();
    let message = if own.message.is_empty() { String::new() } else { format!(": {}", own.message) };
    Standing { met, never, now: format!("{}{message}", own.state) }
}

async fn reservation(connection: &Connection, id: u64) -> Result<Reservation, Failure> {
    let request = v1::GetReservationRequest { id };
    let answer = connection.reservations().get_reservation(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(wire.reservation.unwrap_or_default().into())
}

const FORMS: &str = "ready, healthy, mode=MODE, vm=NAME:running, vm=NAME:gone, vm=NAME:at-target, \
                     vm=NAME:actual<=4GiB, vm=NAME:actual>=1GiB or reservation=ID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_told_as_typed() {
        for text in [
            "ready",
            "healthy",
            "mode=paused",
            "vm=web1:running",
            "vm=a:b:gone",
            "vm=web1:at-target",
            "vm=web1:actual<=4GiB",
            "vm=web1:actual>=512MiB",
            "reservation=3",
        ] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), text);
        }
        let running = Condition::Vm("web1".to_owned(), VmWish::Running);
        assert_eq!(Condition::parse("vm=web1"), Ok(running));
    }

    #[test]
    fn what_cannot_be_waited_for_is_told_with_what_can() {
        for (text, said) in [
            ("readyy", "\"readyy\" is no condition: ready, healthy, mode=MODE"),
            ("mode=off", "\"off\" is no mode"),
            ("vm=web1:actual<=4", "\"4\" has no unit"),
            ("vm=web1:idle", "\"idle\" is nothing that a VM can be waited for"),
            ("vm=:gone", "is no condition"),
            ("reservation=x", "memctl reservations lists them"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
