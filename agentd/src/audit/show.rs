//! What `agentd audit show` prints: a row for every call that is told of, or the lines as they are.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use super::{
    chain::Line,
    record::{Call, Changes, Counted, Denial, Facts, Intent, Outcome, Record, in_words},
    verify::{Lines, Trail},
};

/// Prints what was written since a time, which is RFC 3339 in UTC, to `out`; lines that make no sense are
/// told of to `log`.
pub(super) fn table(
    trail: &Trail,
    since: &str,
    (out, log): (&mut impl Write, &mut impl Write),
) -> io::Result<()> {
    let mut table = Table { out, open: BTreeMap::new() };
    table.row(&HEADER.map(str::to_owned))?;
    each(trail, since, log, |_, line| table.line(line))?;
    table.open_ones("under way, or agentd was killed")
}

/// The same as it is in the files, a JSON object a line.
pub(super) fn lines(
    trail: &Trail,
    since: &str,
    (out, log): (&mut impl Write, &mut impl Write),
) -> io::Result<()> {
    each(trail, since, log, |bytes, _| {
        out.write_all(bytes)?;
        out.write_all(b"\n")
    })
}

fn each(
    trail: &Trail,
    since: &str,
    log: &mut impl Write,
    mut tell: impl FnMut(&[u8], Line) -> io::Result<()>,
) -> io::Result<()> {
    for file in &trail.files {
        for raw in Lines::of(file)? {
            let raw = raw?;
            match read(&raw.bytes) {
                Some(line) if line.when.time.as_str() >= since => tell(&raw.bytes, line)?,
                Some(_) => {}
                None => tell_odd(log, file, raw.number)?,
            }
        }
    }
    Ok(())
}

/// `None` for what agentd has not written so: a line of it has only characters that show themselves.
fn read(bytes: &[u8]) -> Option<Line> {
    let is_shown = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_shown.then(|| serde_json::from_slice(bytes).ok()).flatten()
}

fn tell_odd(log: &mut impl Write, file: &Path, number: u64) -> io::Result<()> {
    let file = file.display();
    writeln!(log, "{file}:{number}: this line makes no sense here: see \"agentd audit verify\"")
}

/// One row after the other: an audit may be larger than memory.
struct Table<'a, W> {
    out: &'a mut W,
    /// Intents that wait for their outcome, with their times.
    open: BTreeMap<u64, (String, Intent)>,
}

impl<W: Write> Table<'_, W> {
    fn line(&mut self, line: Line) -> io::Result<()> {
        let time = line.when.time;
        match line.record {
            Record::Intent(intent) => {
                self.open.insert(intent.change, (time, intent));
                Ok(())
            }
            Record::Outcome(outcome) => {
                self.open.remove(&outcome.change);
                self.call(&time, &outcome.call, &outcome.outcome, &what(&outcome))
            }
            Record::Denial(denial) => {
                let Denial { call, decision, outcome, detail } = denial;
                let words = format!("{}{}", decision.name(), behind(": ", &detail));
                self.call(&time, &call, &outcome, &words)
            }
            Record::Counted(Counted { who, decision, count, last }) => {
                let last = short(&last.method);
                let words = format!("{count} more were {}, the last: {last}", decision.name());
                self.note(&time, &who, &words)
            }
            other @ (Record::Start { .. }
            | Record::Stop {}
            | Record::Missed { .. }
            | Record::Rotated { .. }
            | Record::Torn { .. }
            | Record::Broken { .. }) => {
                if matches!(other, Record::Start { .. }) {
                    self.open_ones("agentd ended before it could say")?;
                }
                let words = other.about_agent();
                words.map_or(Ok(()), |words| self.note(&time, "agentd", &words))
            }
        }
    }

    /// Intents without an outcome.
    fn open_ones(&mut self, why: &str) -> io::Result<()> {
        for (time, intent) in std::mem::take(&mut self.open).into_values() {
            let Intent { call, before, asked, changes, .. } = intent;
            let words = told(&call, &before, &asked, &changes);
            self.call(&time, &call, "NO OUTCOME", &format!("{why}; {words}"))?;
        }
        Ok(())
    }

    fn call(&mut self, time: &str, call: &Call, result: &str, what: &str) -> io::Result<()> {
        let from = Some(call.caller.from.as_str()).filter(|from| !from.is_empty());
        let cells =
            [time, &call.caller.who, from.unwrap_or("local"), short(&call.method), result, what];
        self.row(&cells.map(str::to_owned))
    }

    fn note(&mut self, time: &str, who: &str, what: &str) -> io::Result<()> {
        self.row(&[time, who, "-", "-", "-", what].map(str::to_owned))
    }

    fn row(&mut self, cells: &[String; 6]) -> io::Result<()> {
        let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| {
            // Whatever others chose shows itself and does nothing else.
            let cell = cell.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
            format!("{cell:width$}")
        });
        writeln!(self.out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    }
}

fn what(outcome: &Outcome) -> String {
    let Outcome { call, detail, before, after, changes, .. } = outcome;
    format!("{}{}", told(call, before, after, changes), behind("; ", detail))
}

/// What of what, from what to what, and why.
fn told(call: &Call, before: &Facts, after: &Facts, changes: &Changes) -> String {
    let mut words = call.target.clone();
    if !after.is_empty() {
        words.push_str(&format!(": {} -> {}", in_words(before), in_words(after)));
    }
    let fields =
        changes.changes.iter().map(|own| format!("{} {} -> {}", own.field, own.old, own.new));
    words.push_str(&behind("; ", &fields.collect::<Vec<_>>().join(", ")));
    if changes.more_changes > 0 {
        words.push_str(&format!(" and {} more", changes.more_changes));
    }
    if !call.reason.is_empty() {
        words.push_str(&format!("; \"{}\"", call.reason));
    }
    words
}

fn behind(sign: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{sign}{text}") }
}

/// The method without its package and service.
fn short(method: &str) -> &str {
    method.rsplit('/').next().unwrap_or(method)
}

/// When, who, from where, what was asked, what came of it, and what of what.
const HEADER: [&str; 6] = ["TIME", "WHO", "FROM", "CALL", "RESULT", "WHAT"];
/// Of the columns: what is longer pushes the rest of its row.
const WIDTHS: [usize; 6] = [27, 8, 8, 17, 10, 0];
