//! [`Files`]: the audit on disk.
//!
//! ```text
//! STATE_DIR/audit.jsonl       the newest lines
//! STATE_DIR/audit-SEQ.jsonl   those before, by the seq of their first line; the oldest go
//! STATE_DIR/audit.head        seq and hash of the last line: where the end is missing, this shows it
//! STATE_DIR/audit.torn-SEQ    what there was of a line that was cut off and should have had this seq
//! ```
//!
//! A line is on disk when [`Files::append`] returns, or it is not there at all. `audit.head` follows after
//! it, so that it is never ahead of the lines but by somebody's hand.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    chain::{Hash, Head, When},
    record::Record,
};

/// The files of an audit, as their one writer has them.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    limits: Limits,
    /// The last line that was written; `None` before anything was looked at.
    head: Option<Head>,
    /// The newest file, while it is the one at its path.
    newest: Option<Newest>,
    /// What was found when files were taken up, not yet written down.
    found: Vec<Record>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file, from which on the next one begins.
    pub size: u64,
    /// How many files are kept, the newest among them.
    pub files: usize,
}

#[derive(Debug)]
struct Newest {
    file: File,
    inode: (u64, u64),
    bytes: u64,
    /// Seq of its first line; `None` while it is empty.
    first: Option<u64>,
}

impl Files {
    pub(super) const fn new(dir: PathBuf, limits: Limits) -> Self {
        Self { dir, limits, head: None, newest: None, found: Vec::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a line. It is on disk then; where this fails it is not there.
    pub(super) fn append(&mut self, when: &When, record: &Record) -> io::Result<()> {
        self.take_up(when)?;
        self.put(when, record)
    }

    /// Sees that the files are there and ours, and what has become of them where not. The damage that was
    /// found since the last look, in words.
    pub(super) fn take_up(&mut self, when: &When) -> io::Result<Vec<String>> {
        let path = self.dir.join(NEWEST);
        if self.newest.as_ref().is_none_or(|newest| inode(&path) != Some(newest.inode)) {
            self.newest = None;
            self.open(&path)?;
        }
        let mut told = Vec::new();
        while let Some(found) = self.found.first().cloned() {
            self.put(when, &found)?;
            told.extend(words(&found));
            self.found.remove(0);
        }
        Ok(told)
    }

    /// Takes up what is there: the end of the chain, and what is wrong with it.
    fn open(&mut self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        sync_dir(&self.dir)?;
        let inode = inode(path).ok_or(ErrorKind::NotFound)?;
        let end = line_start(&file, file.metadata()?.len())?;
        let mut newest = Newest { file, inode, bytes: end, first: None };
        newest.first = first_seq(&newest.file, end)?;
        let last = if end == 0 { self.end_of_earlier()? } else { last_line(&newest.file, end)? };
        let told = read_head(&self.dir)?;
        let (head, wrong) = join(self.head.or(told), last);
        let torn = self.keep_torn(&newest, head.seq.saturating_add(1))?;
        self.find(torn);
        self.find(wrong.map(|detail| Record::Broken { detail }));
        if told.is_none() {
            // Before the first line: where there are lines and no such file, somebody removed it.
            begin_head(&self.dir, head)?;
        }
        // Where logs are sent elsewhere, this shows a chain that was made up anew.
        tracing::info!(seq = head.seq, hash = %head.hash, "the audit goes on behind this line");
        self.head = Some(head);
        self.newest = Some(newest);
        Ok(())
    }

    /// To be written down once. It is found anew where that fails.
    fn find(&mut self, found: Option<Record>) {
        self.found.extend(found.filter(|found| !self.found.contains(found)));
    }

    /// Keeps what follows the last whole line, for whoever wants to know what it was to say.
    fn keep_torn(&self, newest: &Newest, seq: u64) -> io::Result<Option<Record>> {
        let name = format!("{TORN}{seq}");
        let kept = self.dir.join(&name);
        let mut file = &newest.file;
        if file.metadata()?.len() > newest.bytes {
            let mut aside = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(MODE)
                .open(&kept)?;
            file.seek(SeekFrom::Start(newest.bytes))?;
            io::copy(&mut file.take(MOST_TORN), &mut aside)?;
            aside.sync_all()?;
            sync_dir(&self.dir)?;
            file.set_len(newest.bytes)?;
        }
        // Where agentd was killed right here, the file is there and no record that says so.
        let Ok(there) = fs::metadata(&kept) else { return Ok(None) };
        remove_beyond(&self.dir, TORN, KEPT_TORN)?;
        Ok(Some(Record::Torn { bytes: there.len(), kept: name }))
    }

    /// The last line of the file before the newest one.
    fn end_of_earlier(&self) -> io::Result<Option<Result<Head, Vec<u8>>>> {
        let Some((_, path)) = earlier(&self.dir)?.pop() else { return Ok(None) };
        let file = File::open(path)?;
        let end = line_start(&file, file.metadata()?.len())?;
        if end == 0 { Ok(None) } else { last_line(&file, end) }
    }

    fn put(&mut self, when: &When, record: &Record) -> io::Result<()> {
        let head = self.head.unwrap_or(Head::NONE);
        let (line, _) = head.next(when, record)?;
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let is_full = |newest: &Newest| newest.bytes.saturating_add(bytes) > self.limits.size;
        if self.newest.as_ref().is_some_and(|newest| newest.first.is_some() && is_full(newest)) {
            self.rotate(when)?;
        }
        self.write(when, record)
    }

    /// Begins a new file, and removes the oldest where there are too many.
    fn rotate(&mut self, when: &When) -> io::Result<()> {
        let Some(first) = self.newest.as_ref().and_then(|newest| newest.first) else {
            return Ok(());
        };
        let (path, earlier_path) = (self.dir.join(NEWEST), self.dir.join(name_of(first)));
        if earlier_path.exists() {
            let what = format!("{} is there already: move it away", earlier_path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        fs::rename(&path, earlier_path)?;
        self.newest = None;
        self.open(&path)?;
        let all = earlier(&self.dir)?;
        let too_many = all.len().saturating_sub(self.limits.files.saturating_sub(1));
        let oldest = all.get(too_many).map_or(first, |(seq, _)| *seq);
        self.write(when, &Record::Rotated { oldest })?;
        // Not before: the line says that they are to be gone.
        all.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn write(&mut self, when: &When, record: &Record) -> io::Result<()> {
        let head = self.head.unwrap_or(Head::NONE);
        let (line, next) = head.next(when, record)?;
        let Some(newest) = &mut self.newest else { return Err(ErrorKind::NotFound.into()) };
        let written = newest.file.write_all(&line).and_then(|()| newest.file.sync_data());
        if let Err(error) = written {
            // Half a line is worse than none. Where it stays, the next look finds it.
            if newest.file.set_len(newest.bytes).is_err() {
                self.newest = None;
            }
            return Err(error);
        }
        newest.bytes = newest.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        newest.first.get_or_insert(next.seq);
        self.head = Some(next);
        if let Err(error) = write_head(&self.dir, next) {
            // The line is there, which is what counts.
            tracing::warn!(%error, "cannot note where the audit ends");
        }
        Ok(())
    }
}

/// Where the chain goes on: behind the line that is known to have been the last, or the one that is. What
/// is wrong where these are not the same.
fn join(known: Option<Head>, last: Option<Result<Head, Vec<u8>>>) -> (Head, Option<String>) {
    let last = match last {
        None => Head::NONE,
        Some(Ok(last)) => last,
        Some(Err(line)) => {
            let head = known.unwrap_or_else(|| Head { seq: 1, hash: Hash::of(&line) });
            return (head, Some("the last line makes no sense".to_owned()));
        }
    };
    match known {
        Some(known) if known.seq > last.seq => {
            let (from, to) = (last.seq.saturating_add(1), known.seq);
            (known, Some(format!("the lines with seq {from} to {to} are missing at the end")))
        }
        Some(known) if known.seq == last.seq && known.hash != last.hash => {
            let what = format!("the last line, seq {}, is not the one that was written", last.seq);
            (last, Some(what))
        }
        None if last.seq > 0 => (last, Some(format!("{HEAD} is missing, or says nothing"))),
        Some(_) | None => (last, None),
    }
}

fn words(found: &Record) -> Option<String> {
    match found {
        Record::Broken { detail } => Some(detail.clone()),
        Record::Torn { bytes, kept } => {
            Some(format!("the last line was cut off; its {bytes} bytes are kept in {kept}"))
        }
        Record::Start { .. }
        | Record::Stop {}
        | Record::Intent(_)
        | Record::Outcome(_)
        | Record::Denial(_)
        | Record::Counted(_)
        | Record::Missed { .. }
        | Record::Rotated { .. } => None,
    }
}

/// The files before the newest one with the seq of their first lines, in the order of these.
pub(super) fn earlier(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let seq = name.to_str().and_then(|name| name.strip_prefix(EARLIER)?.strip_suffix(ENDING));
        all.extend(seq.and_then(|seq| seq.parse().ok()).map(|seq| (seq, entry.path())));
    }
    all.sort();
    Ok(all)
}

/// What `audit.head` says; `None` where it is not there, or makes no sense.
pub(super) fn read_head(dir: &Path) -> io::Result<Option<Head>> {
    let file = match File::open(dir.join(HEAD)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut said = Vec::new();
    file.take(LONGEST_HEAD).read_to_end(&mut said)?;
    Ok(std::str::from_utf8(&said).ok().and_then(|said| said.parse().ok()))
}

fn begin_head(dir: &Path, head: Head) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(MODE);
    let mut file = options.open(dir.join(HEAD))?;
    file.write_all(head.to_string().as_bytes())?;
    file.sync_all()?;
    // Its name too: a file that a crash takes away would be missed as one that somebody removed.
    sync_dir(dir)
}

/// Writes over what was there, which needs no room.
fn write_head(dir: &Path, head: Head) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(dir.join(HEAD))?;
    file.write_all_at(head.to_string().as_bytes(), 0)
}

/// Where the last line begins of which the end is at `end`, which is behind the last line break before
/// that.
pub(super) fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let mut end = end;
    let mut piece = vec![0; PIECE];
    while end > 0 {
        let start = end.saturating_sub(u64::try_from(PIECE).unwrap_or(u64::MAX));
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(PIECE);
        let Some(bytes) = piece.get_mut(..length) else { break };
        file.read_exact_at(bytes, start)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start
                .saturating_add(u64::try_from(at).unwrap_or(u64::MAX))
                .saturating_add(1));
        }
        end = start;
    }
    Ok(0)
}

/// The chain's end by the last whole line, which ends at `end`; its bytes where it makes no sense.
fn last_line(file: &File, end: u64) -> io::Result<Option<Result<Head, Vec<u8>>>> {
    let line_end = end.saturating_sub(1);
    let start = line_start(file, line_end)?;
    let length = usize::try_from(line_end.saturating_sub(start)).unwrap_or(usize::MAX);
    let mut line = vec![0; length.min(LONGEST_LINE)];
    file.read_exact_at(&mut line, start)?;
    Ok(Some(Head::of(&line).ok_or(line)))
}

/// Seq of the first line; that which it should have where it makes no sense is not known, so 0 has to do.
pub(super) fn first_seq(file: &File, end: u64) -> io::Result<Option<u64>> {
    if end == 0 {
        return Ok(None);
    }
    let mut start = vec![0; usize::try_from(end).unwrap_or(usize::MAX).min(LONGEST_LINE)];
    file.read_exact_at(&mut start, 0)?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Some(Head::of(line).map_or(0, |head| head.seq)))
}

/// Removes all but the newest `keep` of the files with a number behind this prefix.
fn remove_beyond(dir: &Path, prefix: &str, keep: usize) -> io::Result<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u64>().ok());
        all.extend(number.map(|number| (number, entry.path())));
    }
    all.sort();
    let too_many = all.len().saturating_sub(keep);
    all.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
}

fn name_of(first: u64) -> String {
    format!("{EARLIER}{first:012}{ENDING}")
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The file with the newest lines.
pub(super) const NEWEST: &str = "audit.jsonl";
/// The file that says where the chain ends.
pub(super) const HEAD: &str = "audit.head";
const EARLIER: &str = "audit-";
const ENDING: &str = ".jsonl";
const TORN: &str = "audit.torn-";
/// Remains of lines that are kept: a disk that tears more has worse to tell.
const KEPT_TORN: usize = 5;
/// Bytes that are kept of each.
const MOST_TORN: u64 = 1 << 20;
/// Bytes of the longest line, with all its texts at their longest and every character escaped.
pub(super) const LONGEST_LINE: usize = 96 << 10;
const PIECE: usize = 16 << 10;
/// More than it ever says.
const LONGEST_HEAD: u64 = 256;
/// Who did what on a host is for those who run it.
const MODE: u32 = 0o600;
