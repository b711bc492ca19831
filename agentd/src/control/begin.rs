//! What is in force at a start: the mode, which the command line may make more cautious, and the
//! config file's policy as a revision.

use std::time::SystemTime;

use agentd_core::policy::Policy;

use super::{Actor, Base, FILE, Revision, SavedMode, fields::digest};

/// The mode to begin in, and what to say where the command line's is not it. What somebody set counts,
/// but for this run a more cautious flag does: whoever gives it wants no more than that.
pub(super) fn begin_mode(
    saved: Option<&SavedMode>,
    base: &Base,
    now: SystemTime,
) -> (SavedMode, Option<String>) {
    let by_flag = |mode| SavedMode {
        mode,
        actor: actor(FILE, now),
        reason: "--mode on the command line".to_owned(),
        eased_by: None,
    };
    let Some(saved) = saved else {
        let reason = base.source.clone();
        let of_file =
            SavedMode { mode: base.mode, actor: actor(FILE, now), reason, eased_by: None };
        return (base.asked.map_or(of_file, by_flag), None);
    };
    let stored = format!("mode {}, which {} set,", saved.mode.name(), saved.actor);
    match base.asked {
        Some(asked) if asked.caution() > saved.mode.caution() => {
            tracing::warn!(
                "mode {} is in force for this run, as --mode on the command line says; {stored} is \
                 less cautious, and in force again after a start without the flag",
                asked.name()
            );
            (by_flag(asked), None)
        }
        Some(asked) if asked != saved.mode => {
            let message = format!(
                "{stored} stays in force: --mode {} on the command line is less cautious and does \
                 not end it; \"memctl mode {}\" does",
                asked.name(),
                asked.name()
            );
            (saved.clone(), Some(message))
        }
        None if base.mode != saved.mode => {
            tracing::warn!(
                "{stored} is in force: the config's mode, {}, counts only until somebody sets one",
                base.mode.name()
            );
            (saved.clone(), None)
        }
        Some(_) | None => (saved.clone(), None),
    }
}

pub(super) fn revision(number: u64, policy: Policy, actor: Actor, reason: String) -> Revision {
    let since = actor.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let etag = format!("{number}-{:016x}", digest(&policy, since.as_nanos()));
    Revision { number, etag, policy, actor, reason, revert_at: None }
}

pub(super) fn file_revision(base: &Base, number: u64, now: SystemTime) -> Revision {
    revision(number, base.policy.clone(), actor(FILE, now), base.policy_source.clone())
}

pub(super) fn actor(id: &str, time: SystemTime) -> Actor {
    Actor { id: id.to_owned(), peer: String::new(), time }
}
