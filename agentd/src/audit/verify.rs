//! [`Verdict`]: whether the lines of an audit are those that were written: every one, as it was, in the
//! order in which it was.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::{
    chain::{Hash, Head, Line, Link},
    files::{HEAD, LONGEST_LINE, NEWEST, earlier, read_head},
    record::Record,
    tally::Tally,
};

/// Where an audit is read.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    /// In words, for people.
    pub(super) place: String,
    /// In the order in which they were written.
    pub(super) files: Vec<PathBuf>,
    end: End,
}

/// What is known of the last line without the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing, for only files were named.
    NotAsked,
    /// The file that says it is not there, or says nothing.
    Missing,
    Known(Head),
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The first thing that is wrong.
    pub(super) first: Option<Finding>,
    /// How many there are.
    pub(super) findings: u64,
    /// Lines that were read.
    pub(super) lines: u64,
    /// Seq of the first line and of the last.
    pub(super) span: Option<(u64, u64)>,
    /// Bytes behind the last line, which agentd was writing when it was killed.
    pub(super) cut_off: u64,
    /// What the lines say.
    pub(super) tally: Tally,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The file, and the line in it; 0 for the file as a whole.
    pub(super) place: (PathBuf, u64),
    /// Which line of the chain.
    pub(super) seq: u64,
    /// What is wrong.
    pub(super) what: String,
}

/// A line of a file as it is there.
#[derive(Debug)]
pub(super) struct Raw {
    /// From 1 on.
    pub(super) number: u64,
    /// Without its end; no more than the longest line has.
    pub(super) bytes: Vec<u8>,
    /// False where the file ends before the line does.
    pub(super) is_whole: bool,
}

impl Trail {
    /// The audit in a state directory.
    pub(super) fn of_dir(dir: &Path) -> io::Result<Self> {
        // First the end: while agentd writes on, the lines are never behind it.
        let cannot = |error| unreadable(dir, &error);
        let head = read_head(dir).map_err(cannot)?.map_or(End::Missing, End::Known);
        let earlier = earlier(dir).map_err(cannot)?.into_iter();
        let mut files: Vec<PathBuf> = earlier.map(|(_, path)| path).collect();
        files.extend(Some(dir.join(NEWEST)).filter(|newest| newest.exists()));
        Ok(Self { place: dir.display().to_string(), files, end: head })
    }

    /// Files of an audit that are not where they were written. Whether the end is there is not known.
    pub(super) fn of_files(files: &[PathBuf]) -> io::Result<Self> {
        let mut all = Vec::new();
        for file in files {
            let first = Lines::of(file)?.next().transpose()?;
            let seq = first.and_then(|first| Head::of(&first.bytes)).map_or(0, |head| head.seq);
            all.push((seq, file.clone()));
        }
        all.sort();
        let place = format!("{} files", all.len());
        Ok(Self {
            place,
            files: all.into_iter().map(|(_, file)| file).collect(),
            end: End::NotAsked,
        })
    }

    /// True where nothing says that there ever was one.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.end == End::Missing
    }

    /// True where agentd has written on since.
    pub(super) fn is_outdated(&self, dir: &Path) -> bool {
        let End::Known(head) = self.end else { return false };
        read_head(dir).is_ok_and(|now| now != Some(head))
    }

    /// Reads all lines and says what is wrong with them.
    pub(super) fn verify(&self) -> io::Result<Verdict> {
        let none = (PathBuf::from(&self.place), 0);
        let verdict = Verdict::default();
        let mut check = Check { end: self.end, before: None, at: none, oldest: 1, verdict };
        for file in &self.files {
            for raw in Lines::of(file)? {
                let raw = raw?;
                if raw.is_whole {
                    check.line(file, &raw);
                } else if self.files.last() == Some(file) {
                    check.verdict.cut_off = length(&raw.bytes);
                } else {
                    let at = (file.clone(), raw.number);
                    check.find(at, check.next_seq(), "this line is cut off".to_owned());
                }
            }
        }
        check.ends(self);
        Ok(check.verdict)
    }
}

/// The lines so far.
struct Check {
    end: End,
    before: Option<Head>,
    /// Where the line before is.
    at: (PathBuf, u64),
    /// The seq that the oldest file is to begin with, by the last line that says so.
    oldest: u64,
    verdict: Verdict,
}

impl Check {
    fn line(&mut self, file: &Path, raw: &Raw) {
        self.verdict.lines = self.verdict.lines.saturating_add(1);
        let at = (file.to_owned(), raw.number);
        let hash = Hash::of(&raw.bytes);
        let link = serde_json::from_slice::<Link>(&raw.bytes);
        let own =
            Head { seq: link.as_ref().map_or_else(|_| self.next_seq(), |link| link.seq), hash };
        match &link {
            Ok(link) => self.linked(link, &at),
            Err(_) => {
                self.find(at.clone(), own.seq, "this line was changed: it makes no sense".into());
            }
        }
        if matches!(self.end, End::Known(end) if end.seq == own.seq && end.hash != own.hash) {
            let what = format!("this line was changed: it is not the one that {HEAD} tells of");
            self.find(at.clone(), own.seq, what);
        }
        (self.before, self.at) = (Some(own), at);
        let first = self.verdict.span.map_or(own.seq, |(first, _)| first);
        self.verdict.span = Some((first, own.seq));
        if link.is_ok() {
            self.tell(&raw.bytes);
        }
    }

    /// Says what is wrong with a line behind the one before it.
    fn linked(&mut self, link: &Link, at: &(PathBuf, u64)) {
        let before = match self.before {
            Some(before) => before,
            // The lines before the oldest that are kept are gone.
            None if link.seq > 1 => return,
            None => Head::NONE,
        };
        let due = before.seq.saturating_add(1);
        if link.seq > due {
            let missing = missing(due, link.seq.saturating_sub(1));
            self.find(at.clone(), link.seq, format!("{missing} missing before this line"));
        } else if link.seq < due {
            let what = format!("this line is not in its place, where seq {due} is due");
            self.find(at.clone(), link.seq, what);
        } else if link.prev != before.hash.to_string() {
            let what =
                "this line was changed: it is not the one whose hash the line behind it holds";
            self.find(self.at.clone(), before.seq, what.to_owned());
        }
    }

    /// What is to be known once all lines were read.
    fn ends(&mut self, trail: &Trail) {
        let (first, last) = self.verdict.span.unwrap_or((1, 0));
        if first > self.oldest && self.end != End::NotAsked {
            let file = trail.files.first().cloned().unwrap_or_default();
            let missing = missing(self.oldest, first.saturating_sub(1));
            self.find(
                (file, 1),
                first,
                format!("{missing} missing before this line, with their file"),
            );
        }
        match self.end {
            End::Missing => {
                let what =
                    format!("{HEAD} is missing, or says nothing: the end may be missing too");
                self.find(self.at.clone(), last, what);
            }
            End::Known(end) if end.seq > last => {
                let missing = missing(last.saturating_add(1), end.seq);
                self.find(self.at.clone(), last, format!("{missing} missing behind this line"));
            }
            End::Known(_) | End::NotAsked => {}
        }
    }

    fn tell(&mut self, bytes: &[u8]) {
        let Ok(Line { link, when, record }) = serde_json::from_slice(bytes) else {
            // A newer agentd may write what this one does not know; the chain is the same.
            return self.verdict.tally.note_unknown();
        };
        if let Record::Rotated { oldest } = record {
            self.oldest = oldest;
        }
        self.verdict.tally.note(link.seq, &when, &record);
    }

    fn next_seq(&self) -> u64 {
        self.before.map_or(1, |before| before.seq.saturating_add(1))
    }

    fn find(&mut self, place: (PathBuf, u64), seq: u64, what: String) {
        self.verdict.findings = self.verdict.findings.saturating_add(1);
        self.verdict.first.get_or_insert(Finding { place, seq, what });
    }
}

fn missing(from: u64, to: u64) -> String {
    if from == to { format!("seq {from} is") } else { format!("seq {from} to {to} are") }
}

/// The lines of a file.
pub(super) struct Lines {
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self { reader: BufReader::new(file), number: 0 })
    }

    fn read(&mut self) -> io::Result<Option<Raw>> {
        let mut bytes = Vec::new();
        let most = length_of(LONGEST_LINE);
        if (&mut self.reader).take(most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        let mut is_whole = bytes.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && length(&bytes) == most {
            // No line of ours: its rest is passed over.
            is_whole = self.reader.skip_until(b'\n')? > 0;
        }
        self.number = self.number.saturating_add(1);
        Ok(Some(Raw { number: self.number, bytes, is_whole }))
    }
}

impl Iterator for Lines {
    type Item = io::Result<Raw>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn unreadable(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
}

fn length(bytes: &[u8]) -> u64 {
    length_of(bytes.len())
}

fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
