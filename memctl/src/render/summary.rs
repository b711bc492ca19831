//! What a watch has seen in all, for its end. Pure.

use super::View;
use crate::dto::{Body, Record};
use crate::quantity::format_size;

/// What was seen in all, for the end.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    ticks: u64,
    quiet: u64,
    transfers: u64,
    moved_bytes: u64,
    gaps: u64,
    missed: u64,
    /// Gaps that do not say how many entries are missing.
    untold: u64,
}

impl Summary {
    /// Counts one record.
    pub(crate) fn count(&mut self, record: &Record) {
        if let Body::Gap(gap) = &record.body {
            self.gaps += 1;
            self.untold += u64::from(gap.missed.is_none());
            self.missed = self.missed.saturating_add(gap.missed.unwrap_or(0));
        }
        let Body::Tick(tick) = &record.body else {
            return;
        };
        self.ticks += 1;
        self.quiet += u64::from(tick.transfers.is_empty() && tick.resizes.is_empty());
        for transfer in &tick.transfers {
            self.transfers += 1;
            self.moved_bytes = self.moved_bytes.saturating_add(transfer.granted_bytes);
        }
    }

    /// In one line.
    pub(crate) fn text(&self, view: &View) -> String {
        let moved = format_size(self.moved_bytes, view.units);
        let gaps = plural(self.gaps, "gap");
        let gaps = match (self.gaps, self.missed, self.untold) {
            (0, ..) => "no gap".to_owned(),
            (_, 0, 0) => format!("{gaps} with nothing missing"),
            (_, missed, 0) => format!("{gaps} with {} missing", entries(missed)),
            (_, 0, _) => format!("{gaps} with an unknown number of entries missing"),
            (_, missed, _) => format!("{gaps} with more than {} missing", entries(missed)),
        };
        format!(
            "{} ({} quiet), {} moved {moved}, {gaps}",
            plural(self.ticks, "tick"),
            self.quiet,
            plural(self.transfers, "transfer"),
        )
    }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
