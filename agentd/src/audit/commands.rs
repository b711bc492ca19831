//! `agentd audit`: reads the audit on the host where it is, with no agentd needed.

use std::{
    io::{self, BufWriter, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;

use super::{
    show,
    verify::{Finding, Trail, Verdict},
};
use crate::{
    args::{AuditCommand, AuditOutput, AuditShowArgs},
    clock::{Clock as _, RealClock},
    config::{Config, ConfigError},
    fields::parse_time,
    places,
    run::DEFAULT_CONFIG,
};

/// Why an audit is not whole, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Something is not as it was written.
    #[error("{}; {more} more findings in {lines} lines", told(.first), more = .findings - 1)]
    Changed {
        /// The first thing that is wrong.
        first: Found,
        /// How many there are.
        findings: u64,
        /// Lines that were read.
        lines: u64,
    },
    /// There is none.
    #[error(
        "there is no audit in {}: name the state directory of an agentd, or files of an audit", 
        .0.display()
    )]
    None(PathBuf),
    /// What is named is of both kinds.
    #[error("name one state directory, or files: {} is a directory among others", .0.display())]
    Mixed(PathBuf),
    /// The time is none.
    #[error(
        "--since {0}: write how long ago, for example 2h, or a time, for example 2026-01-31T12:00:00Z"
    )]
    Since(String),
    /// The config does not say where the state is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read, or standard output not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where something is wrong, and what.
#[derive(Debug)]
pub struct Found(Finding);

fn told(Found(Finding { place: (file, line), seq, what }): &Found) -> String {
    format!("{}:{line}: seq {seq}: {what}", file.display())
}

/// Does what the command line asks for.
///
/// # Errors
///
/// When the audit is not whole or cannot be read.
pub fn audit(command: &AuditCommand) -> Result<(), AuditError> {
    let done = match command {
        AuditCommand::Verify { places } => verify(places),
        AuditCommand::Show(args) => show(args),
    };
    match done {
        Err(AuditError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn verify(places: &[PathBuf]) -> Result<(), AuditError> {
    let (trail, verdict) = judged(places)?;
    if let Some(first) = verdict.first {
        let Verdict { findings, lines, .. } = verdict;
        return Err(AuditError::Changed { first: Found(first), findings, lines });
    }
    Ok(io::stdout().write_all(summary(&trail, &verdict).as_bytes())?)
}

/// Where agentd writes on meanwhile, files move: what is wrong then is looked at again.
fn judged(places: &[PathBuf]) -> Result<(Trail, Verdict), AuditError> {
    let mut left = TRIES;
    loop {
        let trail = trail(places)?;
        let verdict = trail.verify();
        left -= 1;
        let dir = dir(places)?;
        let is_moving = dir.is_some_and(|dir| trail.is_outdated(&dir));
        let is_whole = verdict.as_ref().is_ok_and(|verdict| verdict.first.is_none());
        if is_whole || !is_moving || left == 0 {
            return Ok((trail, verdict?));
        }
    }
}

fn summary(trail: &Trail, verdict: &Verdict) -> String {
    let Verdict { lines, span, cut_off, tally, .. } = verdict;
    let (first, last) = span.unwrap_or_default();
    let files = trail.files.len();
    let mut words = format!("{}: whole: {lines} lines in {files} files", trail.place);
    if let Some((from, to)) = &tally.span {
        words.push_str(&format!(", seq {first} to {last}, {from} to {to}"));
    }
    words.push_str(&format!(
        "\n{} changes made; {} calls refused, {} denied, {} more only counted; {} records missing\n",
        tally.made, tally.refused, tally.denied, tally.counted, tally.missed
    ));
    let list = |seqs: &mut dyn Iterator<Item = u64>| {
        seqs.take(NAMED).map(|seq| seq.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut say = |count: usize, what: String| {
        if count > 0 {
            words.push_str(&format!("{count} {what}\n"));
        }
    };
    let seqs = list(&mut tally.unfinished.iter().rev().copied());
    let why = "changes without outcome, because agentd was killed in them; the last: seq";
    say(tally.unfinished.len(), format!("{why} {seqs}"));
    let seqs = list(&mut tally.open());
    say(
        tally.open().count(),
        format!("changes under way, or agentd was killed in them: seq {seqs}"),
    );
    let damaged = usize::try_from(tally.damaged).unwrap_or(usize::MAX);
    say(damaged, "times agentd itself found it damaged: see \"agentd audit show\"".to_owned());
    let unknown = usize::try_from(tally.unknown).unwrap_or(usize::MAX);
    say(unknown, "lines of a kind that this agentd does not know".to_owned());
    let cut_off = usize::try_from(*cut_off).unwrap_or(usize::MAX);
    say(
        cut_off,
        "bytes behind the last line were not finished: agentd keeps them aside when it starts"
            .to_owned(),
    );
    words
}

fn show(args: &AuditShowArgs) -> Result<(), AuditError> {
    let since = args.since.as_deref().map_or(Ok(String::new()), since)?;
    let trail = trail(&args.places)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let to = (&mut out, &mut io::stderr().lock());
    match args.output {
        AuditOutput::Table => show::table(&trail, &since, to)?,
        AuditOutput::Jsonl => show::lines(&trail, &since, to)?,
    }
    Ok(out.flush()?)
}

/// The time in the form of the lines, of which the order is that of the times.
fn since(text: &str) -> Result<String, AuditError> {
    let bad = || AuditError::Since(text.to_owned());
    let time = if let Ok(ago) = parse_time(text) {
        let now: SystemTime = RealClock::start().wall();
        Timestamp::try_from(now.checked_sub(ago).ok_or_else(bad)?).map_err(|_| bad())?
    } else {
        text.parse::<Timestamp>().map_err(|_| bad())?
    };
    Ok(format!("{time:.6}"))
}

fn trail(places: &[PathBuf]) -> Result<Trail, AuditError> {
    let Some(dir) = dir(places)? else { return Ok(Trail::of_files(places)?) };
    if !dir.is_dir() {
        return Err(AuditError::None(dir));
    }
    let trail = Trail::of_dir(&dir)?;
    if trail.is_empty() { Err(AuditError::None(dir)) } else { Ok(trail) }
}

/// The directory that is named, or else that of this host's agentd; `None` where files are named.
fn dir(places: &[PathBuf]) -> Result<Option<PathBuf>, AuditError> {
    match places {
        [] => Ok(Some(own_dir()?)),
        [one] if one.is_dir() => Ok(Some(one.clone())),
        several => match several.iter().find(|place| place.is_dir()) {
            Some(dir) => Err(AuditError::Mixed(dir.clone())),
            None => Ok(None),
        },
    }
}

fn own_dir() -> Result<PathBuf, AuditError> {
    let file = Path::new(DEFAULT_CONFIG);
    let config = if file.exists() { Config::load(file)? } else { Config::default() };
    Ok(config.state_dir.unwrap_or_else(places::state_dir))
}

/// A running agentd begins a new file far less often.
const TRIES: u32 = 4;
/// More seqs than this nobody reads.
const NAMED: usize = 8;
