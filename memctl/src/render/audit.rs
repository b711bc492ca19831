//! Text of `memctl audit`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{AuditEntry, Item};

/// Body of an item of `memctl audit`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct AuditBody {
    /// The entry.
    pub(crate) entry: AuditEntry,
}

impl Show for AuditBody {
    const KIND: &'static str = "AuditEntry";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, if view.wide { WIDE_HEADS } else { HEADS });
        table.fill(items, "RESULT", |body| row(&body.entry, view));
        table.render(view)
    }

    fn name(&self) -> String {
        self.entry.seq.to_string()
    }
}

fn row(entry: &AuditEntry, view: &View) -> Vec<Cell> {
    let words = |text: &str| if text.is_empty() { Cell::Absent } else { Cell::text(text) };
    let tells_of_a_call = !entry.identity.is_empty();
    let from = if entry.peer.is_empty() && tells_of_a_call { "local" } else { &entry.peer };
    let mut cells = vec![
        entry.time.map_or(Cell::Absent, |time| Cell::text(date_time(time.0, &view.zone))),
        words(&entry.identity),
        words(from),
        words(entry.method.rsplit('/').next().unwrap_or_default()),
        result(entry),
    ];
    if view.wide {
        cells.extend([
            Cell::number(entry.seq),
            words(&entry.serial),
            words(&entry.request_id),
            Cell::figure(entry.took_seconds.map(|took| format!("{took:.3}s"))),
        ]);
    }
    cells.push(words(&what(entry)));
    cells
}

fn result(entry: &AuditEntry) -> Cell {
    let (text, paint) = match entry.kind.as_str() {
        "unfinished" => ("NO OUTCOME".to_owned(), Paint::Warn),
        "counted" => {
            let ruled = entry.decision.as_deref().unwrap_or_default().to_ascii_uppercase();
            (format!("{} MORE {ruled}", entry.count), Paint::Bad)
        }
        _ if entry.outcome.is_empty() => return Cell::Absent,
        _ if entry.decision.as_deref() == Some("allowed") => (entry.outcome.clone(), Paint::Good),
        _ => (entry.outcome.clone(), Paint::Bad),
    };
    Cell::Painted(text, paint)
}

/// Of what, from what to what, and why.
fn what(entry: &AuditEntry) -> String {
    let mut parts = Vec::new();
    let target = &entry.target;
    match (target.is_empty(), entry.after.is_empty()) {
        (true, _) => {}
        (false, true) => parts.push(target.clone()),
        (false, false) => {
            parts.push(format!("{target}: {} -> {}", facts(&entry.before), facts(&entry.after)));
        }
    }
    let changes = entry.changes.iter();
    let changes = changes
        .map(|change| format!("{} {} -> {}", change.key, change.old_value, change.new_value));
    let changes: Vec<String> = changes.collect();
    if !changes.is_empty() {
        let more = match entry.more_changes {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("{}{more}", changes.join(", ")));
    }
    parts.extend((!entry.reason.is_empty()).then(|| format!("\"{}\"", entry.reason)));
    parts.extend((!entry.detail.is_empty()).then(|| entry.detail.clone()));
    parts.join("; ")
}

fn facts(facts: &BTreeMap<String, String>) -> String {
    let each: Vec<String> = facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

const HEADS: &[&str] = &["TIME", "WHO", "FROM", "CALL", "RESULT", "WHAT"];
const WIDE_HEADS: &[&str] =
    &["TIME", "WHO", "FROM", "CALL", "RESULT", "SEQ", "SERIAL", "REQUEST", "TOOK", "WHAT"];
