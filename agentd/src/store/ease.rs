//! Who may ease the mode, in a note beside it: "TIME MODE WHO". The time is that of the mode which it is
//! of, so that it says nothing of one that an agentd has set which knows no such note.

use super::will::to_nanos;
use crate::control::{Eased, Mode, SavedMode};

/// The note of a mode; empty where nobody may.
pub(super) fn note(saved: &SavedMode) -> String {
    let Some(Eased { who, to }) = &saved.eased_by else { return String::new() };
    format!("{} {} {who}", to_nanos(saved.actor.time), to.name())
}

/// Who may ease this mode; `None` where the note is of another one, or makes no sense.
pub(super) fn read(note: &str, saved: &SavedMode) -> Option<Eased> {
    let (time, rest) = note.split_once(' ')?;
    let (to, who) = rest.split_once(' ')?;
    let to = Mode::named(to)?;
    let is_of_it = time.parse() == Ok(to_nanos(saved.actor.time));
    let is_less = to.caution() < saved.mode.caution();
    (is_of_it && is_less && !who.is_empty()).then(|| Eased { who: who.to_owned(), to })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::control::Actor;

    fn paused(eased_by: Option<Eased>) -> SavedMode {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let actor = Actor { id: "ann b".to_owned(), peer: String::new(), time };
        SavedMode { mode: Mode::Paused, actor, reason: String::new(), eased_by }
    }

    #[test]
    fn a_note_counts_for_its_mode_alone() {
        let eased = Some(Eased { who: "ann b".to_owned(), to: Mode::Observe });
        let note = note(&paused(eased.clone()));
        assert_eq!(read(&note, &paused(None)), eased);
        assert_eq!(super::note(&paused(None)), "");
        let mut later = paused(None);
        later.actor.time += Duration::from_nanos(1);
        assert_eq!(read(&note, &later), None);
        let observed = SavedMode { mode: Mode::Observe, ..paused(None) };
        assert_eq!(read(&note, &observed), None);
        for bad in ["", "7000000000", "7000000000 observe", "7000000000 observe ", "x observe a"] {
            assert_eq!(read(bad, &paused(None)), None, "{bad}");
        }
    }
}
