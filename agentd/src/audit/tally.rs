//! [`Tally`]: what the lines of an audit come to, and which changes have no outcome.

use std::collections::BTreeMap;

use super::{
    chain::When,
    record::{Decision, Record},
};

/// What the lines come to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Wall-clock time of the first line and of the last.
    pub(super) span: Option<(String, String)>,
    /// Changes that were made.
    pub(super) made: u64,
    /// Calls that were refused for what they asked, and those denied for who asked, one by one.
    pub(super) refused: u64,
    pub(super) denied: u64,
    /// Those that were only counted.
    pub(super) counted: u64,
    /// Records that could not be written.
    pub(super) missed: u64,
    /// Lines that were cut off, and other damage that agentd found by itself.
    pub(super) damaged: u64,
    /// Lines of a kind that is not known here.
    pub(super) unknown: u64,
    /// Seqs of intents without an outcome: agentd was killed before it could say what became of them.
    pub(super) unfinished: Vec<u64>,
    /// The seqs of those since the last start, by the numbers of their changes.
    open: BTreeMap<u64, u64>,
}

impl Tally {
    pub(super) fn note(&mut self, seq: u64, when: &When, record: &Record) {
        let first = self.span.take().map_or_else(|| when.time.clone(), |(first, _)| first);
        self.span = Some((first, when.time.clone()));
        match record {
            Record::Start { .. } | Record::Stop {} => self.end_run(),
            Record::Intent(intent) => {
                self.open.insert(intent.change, seq);
            }
            Record::Outcome(outcome) => {
                self.open.remove(&outcome.change);
                self.count(outcome.decision);
            }
            Record::Denial(denial) => self.count(denial.decision),
            Record::Counted(counted) => self.counted = self.counted.saturating_add(counted.count),
            Record::Missed { count, .. } => self.missed = self.missed.saturating_add(*count),
            Record::Torn { .. } | Record::Broken { .. } => {
                self.damaged = self.damaged.saturating_add(1);
            }
            Record::Rotated { .. } => {}
        }
    }

    pub(super) fn note_unknown(&mut self) {
        self.unknown = self.unknown.saturating_add(1);
    }

    /// Seqs of the intents since the last start that have no outcome: under way, or as the others.
    pub(super) fn open(&self) -> impl Iterator<Item = u64> {
        self.open.values().copied()
    }

    fn end_run(&mut self) {
        self.unfinished.extend(std::mem::take(&mut self.open).into_values());
    }

    fn count(&mut self, decision: Decision) {
        let count = match decision {
            Decision::Allowed => &mut self.made,
            Decision::Refused => &mut self.refused,
            Decision::Denied => &mut self.denied,
        };
        *count = count.saturating_add(1);
    }
}
