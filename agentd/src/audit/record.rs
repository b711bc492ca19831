//! [`Record`]: what a line of the audit says. Whatever others have chosen in it is bounded here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::{Actor, FieldChange};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Record {
    /// agentd has started. What was under way when it ended before has no outcome.
    Start {
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
        /// What it begins with.
        in_force: Facts,
    },
    /// agentd was told to stop, and has.
    Stop {},
    /// Somebody may make a change, and it is about to be made.
    Intent(Intent),
    /// What became of it.
    Outcome(Outcome),
    /// A call that ended before anything could be changed.
    Denial(Denial),
    /// Calls like that of one caller that are not written one by one.
    Counted(Counted),
    /// The audit can be written again, after a while in which it could not.
    Missed {
        /// What was not written and never will be.
        count: u64,
        /// Records that follow now, each with the time at which it should have been written.
        late: u64,
        /// Since when, by the wall clock.
        since: String,
    },
    /// The first line of a file that is not the first one.
    Rotated {
        /// The seq that the oldest file begins with that is still kept.
        oldest: u64,
    },
    /// The last line was cut off, by a crash or a disk.
    Torn {
        /// Bytes of it that there were.
        bytes: u64,
        /// The file that keeps them.
        kept: String,
    },
    /// The files do not end where they should.
    Broken {
        /// What is wrong.
        detail: String,
    },
}

/// Who calls, as far as anybody vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Caller {
    /// "uid:0", or the name in a certificate.
    pub who: String,
    /// Serial number of the certificate in lower hexadecimal digits; empty for who has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Address of the peer; empty for a process of this host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
}

/// A call that asks for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Who asks.
    #[serde(flatten)]
    pub caller: Caller,
    /// Full name of the method, for example "agentd.v1.HostService/SetMode"; "connect" or "reload" for
    /// what is none.
    pub method: String,
    /// Names the request, as the caller chose; empty where it named nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// What is to change: "mode", "policy", "shadow", "config", "reservation 3".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Why, as the caller says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A change that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// Counts the changes since agentd started; the outcome has the same.
    pub(super) change: u64,
    /// The call.
    #[serde(flatten)]
    pub(super) call: Call,
    /// Always allowed: who is not never gets here.
    pub(super) decision: Decision,
    /// What is in force.
    pub(super) before: Facts,
    /// What is asked for, beside the fields.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub(super) asked: Facts,
    /// Fields that would change.
    #[serde(flatten)]
    pub(super) changes: Changes,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The number of its intent.
    pub(super) change: u64,
    /// The call.
    #[serde(flatten)]
    pub(super) call: Call,
    /// Allowed where it was made, refused where it was not.
    pub(super) decision: Decision,
    /// "OK", or the reason that the caller was given, for example "ETAG_MISMATCH".
    pub(super) outcome: String,
    /// The same in words; empty where it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
    /// What was in force until then.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub(super) before: Facts,
    /// What is in force by it; empty where nothing has changed.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub(super) after: Facts,
    /// Fields that have changed.
    #[serde(flatten)]
    pub(super) changes: Changes,
    /// How long it took from the intent on.
    pub(super) latency_us: u64,
}

/// A call that ended before anything could be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Denial {
    /// The call.
    #[serde(flatten)]
    pub(super) call: Call,
    /// Denied for who the caller is, or refused for what it asks.
    pub(super) decision: Decision,
    /// The reason that the caller was given.
    pub(super) outcome: String,
    /// The same in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
}

/// Calls that are only counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Whose; "others" for all those of whom there were too many to be told apart.
    pub(super) who: String,
    /// How they ended.
    pub(super) decision: Decision,
    /// How many, beside those that were written.
    pub(super) count: u64,
    /// The last of them.
    pub(super) last: Call,
}

/// How it was ruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The caller may, and it makes sense.
    Allowed,
    /// The caller may not.
    Denied,
    /// The caller may, and it was not made all the same.
    Refused,
}

/// Facts by their names.
pub type Facts = BTreeMap<String, String>;

/// Fields that change, as far as there is room for them in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) changes: Vec<Changed>,
    /// How many there are beyond these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) more_changes: usize,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    /// Its path.
    pub(super) field: String,
    /// Old value.
    pub(super) old: String,
    /// New value.
    pub(super) new: String,
}

impl Record {
    /// What it says of agentd or of the audit itself, in words; `None` where it tells of a call, or
    /// only of how lines are kept.
    pub(super) fn about_agent(&self) -> Option<String> {
        let words = match self {
            Self::Start { version, pid, in_force } => {
                format!("agentd {version} has started (pid {pid}): {}", in_words(in_force))
            }
            Self::Stop {} => "agentd has stopped".to_owned(),
            Self::Missed { count, late, since } => format!(
                "could not write since {since}: {count} records are missing, {late} follow late"
            ),
            Self::Torn { bytes, kept } => {
                format!("a line was cut off: its {bytes} bytes are kept in {kept}")
            }
            Self::Broken { detail } => detail.clone(),
            Self::Rotated { .. }
            | Self::Intent(_)
            | Self::Outcome(_)
            | Self::Denial(_)
            | Self::Counted(_) => return None,
        };
        Some(words)
    }
}

/// "none" where there are none.
pub(super) fn in_words(facts: &Facts) -> String {
    let each = facts.iter().map(|(name, value)| format!("{name} {value}"));
    let words = each.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "none".to_owned() } else { words }
}

impl Call {
    /// With every text cut to a length that a line has room for.
    pub(super) fn bounded(mut self) -> Self {
        for text in [
            &mut self.caller.who,
            &mut self.caller.serial,
            &mut self.caller.from,
            &mut self.method,
            &mut self.request_id,
            &mut self.target,
            &mut self.reason,
        ] {
            *text = bounded(text);
        }
        self
    }
}

impl Changes {
    /// As many as there is room for.
    #[must_use]
    pub fn of(changes: &[FieldChange]) -> Self {
        let mut room = ROOM;
        let told = changes.iter().map_while(|FieldChange { path, old, new }| {
            let change = Changed { field: bounded(path), old: bounded(old), new: bounded(new) };
            let bytes = [&change.field, &change.old, &change.new].map(String::len);
            room = room.checked_sub(bytes.iter().sum())?;
            Some(change)
        });
        let told: Vec<Changed> = told.collect();
        let more_changes = changes.len().saturating_sub(told.len());
        Self { changes: told, more_changes }
    }
}

impl From<&Actor> for Caller {
    fn from(actor: &Actor) -> Self {
        Self { who: actor.id.clone(), serial: String::new(), from: actor.peer.clone() }
    }
}

impl Decision {
    /// Its name in a line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Refused => "refused",
        }
    }
}

/// The text, or its first bytes where it is longer than a line has room for.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let (kept, _) = text.split_at(end);
    format!("{kept}... ({} bytes)", text.len())
}

pub(super) fn bounded_facts(facts: Facts) -> Facts {
    facts.into_iter().take(MOST_FACTS).map(|(name, value)| (name, bounded(&value))).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Bytes of one text: a reason and a name fit.
const LONGEST_TEXT: usize = 512;
/// Bytes of all fields that change.
const ROOM: usize = 4096;
/// No target has more.
const MOST_FACTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        let long = "ä".repeat(400);
        let cut = bounded(&long);
        assert!(cut.starts_with("ää") && cut.ends_with("ä... (800 bytes)"), "{cut}");
        assert!(cut.len() < 540);
        assert_eq!(bounded("short"), "short");
    }

    #[test]
    fn fields_beyond_the_room_of_a_line_are_counted() {
        let change = |n: usize| FieldChange {
            path: format!("vms.{}{n}.max_bytes", "v".repeat(200)),
            old: "unset".to_owned(),
            new: "1 GiB".to_owned(),
        };
        let all: Vec<FieldChange> = (0..100).map(change).collect();
        let told = Changes::of(&all);
        assert!((10..30).contains(&told.changes.len()), "{}", told.changes.len());
        assert_eq!(told.changes.len() + told.more_changes, 100);
    }
}
