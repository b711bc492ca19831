//! [`Page`]: entries of the audit as a client is told them, the newest first. The files are read from
//! their ends on, a piece at a time, and no more of them than a page may cost.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{
    chain::Line,
    files::{NEWEST, earlier, first_seq, line_start},
    record::{Call, Changed, Changes, Counted, Decision, Denial, Facts, Intent, Outcome, Record},
};
use crate::control::FieldChange;

/// Which entries are wanted. What is empty or `None` holds of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Who called.
    pub identity: String,
    /// The method, with or without package and service.
    pub method: String,
    /// The outcome.
    pub outcome: String,
    /// How it was ruled.
    pub decision: Option<Decision>,
}

/// Some entries, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Token>,
}

/// Something that is in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of its line; 0 where the line makes no sense.
    pub seq: u64,
    /// When it was written; `None` where the line makes no sense.
    pub time: Option<SystemTime>,
    /// What it is.
    pub kind: Kind,
    /// The call; empty where it tells of none.
    pub call: Call,
    /// How that was ruled.
    pub decision: Option<Decision>,
    /// What the caller was told: "OK" or a reason. Empty where that is not known.
    pub outcome: String,
    /// The same in words.
    pub detail: String,
    /// What was in force before.
    pub before: Facts,
    /// What was in force after, or was asked for.
    pub after: Facts,
    /// Fields that changed, and how many there are beyond these.
    pub changes: (Vec<FieldChange>, usize),
    /// How long it took, where it has ended.
    pub took: Option<Duration>,
    /// How many calls it stands for.
    pub count: u64,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A change that was asked for, with what came of it.
    Change,
    /// One of which nobody knows.
    Unfinished,
    /// A call that ended before anything could be changed.
    Denial,
    /// Several of them.
    Counted,
    /// Something about the agent or the audit itself.
    Agent,
}

/// Where a page begins: before a place in the file whose first line has this seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    file: u64,
    end: u64,
    /// Changes whose outcomes were met, and whose intents are still to come.
    concluded: BTreeSet<u64>,
}

/// The text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

/// Reads a page of at most `size` entries.
pub(super) fn page(
    dir: &Path,
    wanted: &Wanted,
    from: Option<Token>,
    size: usize,
) -> io::Result<Page> {
    let mut reader =
        Reader { wanted, size, room: MOST_READ, concluded: BTreeSet::new(), entries: Vec::new() };
    let mut from = from;
    if let Some(token) = &mut from {
        reader.concluded = std::mem::take(&mut token.concluded);
    }
    for (first, path) in newest_first(dir)? {
        if from.as_ref().is_some_and(|token| token.file < first) {
            continue;
        }
        let file = File::open(path)?;
        let whole = line_start(&file, file.metadata()?.len())?;
        let end = from.take().filter(|token| token.file == first);
        let end = end.map_or(whole, |token| token.end.min(whole));
        if let Some(end) = reader.read(&file, end)? {
            let concluded = reader.concluded;
            return Ok(Page {
                entries: reader.entries,
                next: Some(Token { file: first, end, concluded }),
            });
        }
    }
    Ok(Page { entries: reader.entries, next: None })
}

/// The files with the seqs of their first lines. A file that is put aside meanwhile is there once.
fn newest_first(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let newest = dir.join(NEWEST);
    let mut all = Vec::new();
    if newest.exists() {
        let file = File::open(&newest)?;
        let end = line_start(&file, file.metadata()?.len())?;
        all.extend(first_seq(&file, end)?.map(|first| (first, newest)));
    }
    for (first, path) in earlier(dir)?.into_iter().rev() {
        if all.iter().all(|(known, _)| *known != first) {
            all.push((first, path));
        }
    }
    Ok(all)
}

/// The page so far.
struct Reader<'a> {
    wanted: &'a Wanted,
    size: usize,
    /// Bytes that may still be read.
    room: u64,
    concluded: BTreeSet<u64>,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    /// Takes the lines of a file before `end`, the last one first. Where it stopped, unless at the
    /// file's beginning.
    fn read(&mut self, file: &File, mut end: u64) -> io::Result<Option<u64>> {
        while end > 0 {
            let piece = piece(file, end)?;
            for (start, line) in piece.into_iter().rev() {
                if self.entries.len() >= self.size || self.room == 0 {
                    return Ok(Some(end));
                }
                self.room = self.room.saturating_sub(end.saturating_sub(start));
                end = start;
                self.take(&line);
            }
        }
        Ok(None)
    }

    fn take(&mut self, line: &[u8]) {
        let entry = match serde_json::from_slice::<Line>(line) {
            Ok(line) => self.entry(line),
            Err(_) => Some(Entry::of_agent(0, None, SENSELESS.to_owned())),
        };
        self.entries.extend(entry.filter(|entry| self.wanted.holds_of(entry)));
    }

    /// `None` for what another entry says as well.
    fn entry(&mut self, line: Line) -> Option<Entry> {
        let (seq, time) = (line.link.seq, line.when.time.parse::<Timestamp>().ok());
        let time = time.map(SystemTime::from);
        let entry = match line.record {
            Record::Outcome(outcome) => {
                self.concluded.insert(outcome.change);
                if self.concluded.len() > MOST_OPEN {
                    // The newest of them: its intent is the farthest away, or there is none.
                    self.concluded.pop_last();
                }
                Entry::of_outcome(outcome)
            }
            Record::Intent(intent) if self.concluded.remove(&intent.change) => return None,
            Record::Intent(intent) => Entry::of_intent(intent),
            Record::Denial(denial) => Entry::of_denial(denial),
            Record::Counted(counted) => Entry::of_counted(counted),
            other @ (Record::Start { .. }
            | Record::Stop {}
            | Record::Missed { .. }
            | Record::Rotated { .. }
            | Record::Torn { .. }
            | Record::Broken { .. }) => {
                if matches!(other, Record::Start { .. }) {
                    // The changes before it count from 1 on, too.
                    self.concluded.clear();
                }
                Entry::of_agent(seq, time, other.about_agent()?)
            }
        };
        Some(Entry { seq, time, ..entry })
    }
}

/// Whole lines before `end`, which is behind a line, with the places at which they begin.
fn piece(file: &File, end: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let from = end.saturating_sub(PIECE);
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut start = from;
    let mut lines = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let next = start.saturating_add(u64::try_from(line.len()).unwrap_or(0));
        // The first one may have begun before.
        if index > 0 || from == 0 {
            lines.push((start, line.strip_suffix(b"\n").unwrap_or(line).to_vec()));
        }
        start = next;
    }
    if lines.is_empty() {
        // No line of ours is so long: it is passed over.
        lines.push((from, Vec::new()));
    }
    Ok(lines)
}

impl Wanted {
    fn holds_of(&self, entry: &Entry) -> bool {
        let same = |wanted: &str, own: &str| wanted.is_empty() || wanted == own;
        let short = entry.call.method.rsplit('/').next().unwrap_or_default();
        same(&self.identity, &entry.call.caller.who)
            && (same(&self.method, &entry.call.method) || self.method == short)
            && same(&self.outcome, &entry.outcome)
            && self.decision.is_none_or(|decision| entry.decision == Some(decision))
    }
}

impl Entry {
    fn of_outcome(outcome: Outcome) -> Self {
        let Outcome { call, decision, outcome, detail, before, after, changes, latency_us, .. } =
            outcome;
        Self {
            decision: Some(decision),
            outcome,
            detail,
            before,
            after,
            changes: told(changes),
            took: Some(Duration::from_micros(latency_us)),
            ..Self::of_call(Kind::Change, call)
        }
    }

    fn of_intent(intent: Intent) -> Self {
        let Intent { call, decision, before, asked, changes, .. } = intent;
        Self {
            decision: Some(decision),
            before,
            after: asked,
            changes: told(changes),
            ..Self::of_call(Kind::Unfinished, call)
        }
    }

    fn of_denial(denial: Denial) -> Self {
        let Denial { call, decision, outcome, detail } = denial;
        Self { decision: Some(decision), outcome, detail, ..Self::of_call(Kind::Denial, call) }
    }

    fn of_counted(counted: Counted) -> Self {
        let Counted { who, decision, count, mut last } = counted;
        last.caller.who = who;
        Self { decision: Some(decision), count, ..Self::of_call(Kind::Counted, last) }
    }

    fn of_agent(seq: u64, time: Option<SystemTime>, detail: String) -> Self {
        Self { seq, time, detail, count: 0, ..Self::of_call(Kind::Agent, Call::default()) }
    }

    fn of_call(kind: Kind, call: Call) -> Self {
        Self {
            seq: 0,
            time: None,
            kind,
            call,
            decision: None,
            outcome: String::new(),
            detail: String::new(),
            before: Facts::new(),
            after: Facts::new(),
            changes: (Vec::new(), 0),
            took: None,
            count: 1,
        }
    }
}

fn told(changes: Changes) -> (Vec<FieldChange>, usize) {
    let Changes { changes, more_changes } = changes;
    let change = |Changed { field, old, new }| FieldChange { path: field, old, new };
    (changes.into_iter().map(change).collect(), more_changes)
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, end, concluded } = self;
        write!(f, "{file}-{end}")?;
        concluded.iter().try_for_each(|change| write!(f, "-{change}"))
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut numbers = text.split('-').map(|number| number.parse::<u64>().map_err(|_| NoToken));
        let mut next = || numbers.next().unwrap_or(Err(NoToken));
        let (file, end) = (next()?, next()?);
        let concluded = numbers.take(MOST_OPEN).collect::<Result<_, _>>()?;
        Ok(Self { file, end, concluded })
    }
}

/// Bytes that are read at a time: more than the longest line has.
const PIECE: u64 = 256 << 10;
/// Bytes that a page looks through at most. What it tells is no larger on the wire.
const MOST_READ: u64 = 2 << 20;
/// Changes whose intents are still to come: a few are under way at a time, and of one that was refused
/// for the audit itself there may be none.
const MOST_OPEN: usize = 64;
/// Said of what is not as agentd wrote it.
const SENSELESS: &str = "a line makes no sense: see \"agentd audit verify\" on the host";

#[cfg(test)]
mod tests;
