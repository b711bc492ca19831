//! Pins in the database of the operator's will: a note of JSON with all of them, which an agentd that knows
//! of none leaves alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::will::{from_nanos, to_nanos};
use crate::control::{Actor, Pin, Pins};

/// The note of all pins.
pub(super) fn note(pins: &Pins) -> Result<String, String> {
    let all: Vec<Body> = pins.all().map(|pin| Body::from(&**pin)).collect();
    serde_json::to_string(&all).map_err(|error| error.to_string())
}

/// The pins of a note, and why some are left out, where they are: one that cannot be read holds up nothing
/// else.
pub(super) fn read(note: &str) -> (Vec<Pin>, Option<String>) {
    let all: Vec<serde_json::Value> = match serde_json::from_str(note) {
        Ok(all) => all,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let (count, mut pins, mut first) = (all.len(), Vec::new(), None);
    for own in all {
        let name = own.get("name").and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
        let body = serde_json::from_value(own).map_err(|error| error.to_string());
        match body.and_then(pin) {
            Ok(pin) => pins.push(pin),
            Err(error) => {
                first.get_or_insert_with(|| format!("{name:.64}: {error:.256}"));
            }
        }
    }
    let unread = count.saturating_sub(pins.len());
    let why = first.map(|first| format!("{unread} of {count}, the first: {first}"));
    (pins, why)
}

/// A pin; times are nanoseconds since 1970.
#[derive(Deserialize, Serialize)]
struct Body {
    vm: String,
    name: String,
    actor: String,
    peer: String,
    time_ns: i64,
    reason: String,
    ends_at_ns: i64,
}

impl From<&Pin> for Body {
    fn from(pin: &Pin) -> Self {
        Self {
            vm: pin.vm.to_string(),
            name: pin.name.to_string(),
            actor: pin.actor.id.clone(),
            peer: pin.actor.peer.clone(),
            time_ns: to_nanos(pin.actor.time),
            reason: pin.reason.clone(),
            ends_at_ns: to_nanos(pin.ends_at),
        }
    }
}

fn pin(body: Body) -> Result<Pin, String> {
    let vm = body.vm.parse().map_err(|_| format!("\"{}\" is no UUID", body.vm))?;
    Ok(Pin {
        vm,
        name: body.name.into(),
        actor: Actor { id: body.actor, peer: body.peer, time: from_nanos(body.time_ns) },
        reason: body.reason,
        ends_at: from_nanos(body.ends_at_ns),
        ends: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{control::Storage as _, store::Will};

    fn pinned(number: u8) -> Pin {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, 123);
        Pin {
            vm: agentd_core::vm::VmId::from_bytes([number; 16]),
            name: format!("web \"{number}\"").into(),
            actor: Actor { id: "uid:0".to_owned(), peer: "unix".to_owned(), time: time(7) },
            reason: "import".to_owned(),
            ends_at: time(1000),
            ends: Duration::ZERO,
        }
    }

    #[test]
    fn all_of_them_are_there_after_a_restart_and_the_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut will = Will::open(dir.path(), false);
        assert_eq!(will.load().unwrap().pins, []);
        let all = |numbers: &[u8]| numbers.iter().map(|own| Arc::new(pinned(*own))).collect();
        will.save_pins(&all(&[1, 2, 3])).unwrap();
        will.save_pins(&all(&[2, 3])).unwrap();
        drop(will);
        let saved = Will::open(dir.path(), true).load().unwrap();
        assert_eq!((saved.pins, saved.unread_pins), (vec![pinned(2), pinned(3)], None));
    }

    #[test]
    fn nonsense_holds_up_nothing() {
        let whole = note(&[Arc::new(pinned(1))].into_iter().collect()).unwrap();
        let other = whole.replace(&pinned(1).vm.to_string(), "web1");
        let both = format!("{},{}", other.trim_end_matches(']'), whole.trim_start_matches('['));
        let why = "1 of 2, the first: web \"1\": \"web1\" is no UUID".to_owned();
        assert_eq!(read(&both), (vec![pinned(1)], Some(why)));
        for bad in ["", "{}", "[", "[7]"] {
            let (pins, why) = read(bad);
            assert!(pins.is_empty() && why.is_some(), "{bad}");
        }
        assert_eq!(read("[]"), (vec![], None));
    }
}
