//! `agentd replay`: runs a recording through a policy. The recorded one decides as it did then, or the
//! first difference is told; another one tells what it would have done differently.
//!
//! `play` decides, `print` writes what came of it.

mod play;
mod print;

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use agentd_core::{
    policy::{Policy, UnknownAlgorithm},
    vm::VmId,
};

use crate::{
    args::{ReplayArgs, ReplayOutput},
    config::Variation,
    difference::Tally,
    fields::FieldError,
    recording::{ReadError, Reader},
};
use play::{Play, Played};

/// Why a replay fails.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording cannot be read, or not further.
    #[error("{}: {error}", .file.display())]
    Recording {
        /// The recording.
        file: PathBuf,
        /// What is wrong with it.
        error: ReadError,
    },
    /// Ticks are missing, so that what was remembered cannot be known.
    #[error(
        "{}: tick {found} follows where tick {wanted} should: ticks are missing, and nothing behind \
         them can be replayed", .file.display()
    )]
    Hole {
        /// The recording.
        file: PathBuf,
        /// The tick that is missing.
        wanted: u64,
        /// The one that is there.
        found: u64,
    },
    /// What a decision is made of is not there.
    #[error(
        "{}: tick {tick} was decided and has no {what}: agentd does not write this, so make another \
         recording", .file.display()
    )]
    Incomplete {
        /// The recording.
        file: PathBuf,
        /// The tick.
        tick: u64,
        /// What it lacks.
        what: &'static str,
    },
    /// A decision is another one than the recorded.
    #[error("{}: tick {tick}: {what}{}", .file.display(), hint(.recorded_by))]
    Differs {
        /// The recording.
        file: PathBuf,
        /// The first tick that differs.
        tick: u64,
        /// What differs: both.
        what: String,
        /// Version of the agentd that recorded it.
        recorded_by: String,
    },
    /// There is no such algorithm.
    #[error("--policy {0}")]
    Algorithm(#[from] UnknownAlgorithm),
    /// The policy makes no sense.
    #[error(transparent)]
    Policy(#[from] FieldError),
    /// The other policy asks for more than the host has, and the recorded one did not.
    #[error(
        "{}: tick {tick}: {what}: such a policy is refused on that host, so there is nothing to compare", .file.display()
    )]
    BeyondHost {
        /// The recording.
        file: PathBuf,
        /// The first tick that it would have decided.
        tick: u64,
        /// The value, and what is wrong with it.
        what: String,
    },
    /// The file of the policy cannot be read.
    #[error("cannot read the policy {}: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl ReplayError {
    /// True where a decision was not as recorded; all else keeps the question from being answered.
    #[must_use]
    pub const fn is_difference(&self) -> bool {
        matches!(self, Self::Differs { .. })
    }
}

fn hint(recorded_by: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    if recorded_by == own {
        return String::new();
    }
    format!("; it was recorded by agentd {}, and this is {own}", recorded_by.escape_debug())
}

/// Replays what the command line asks for and prints it.
///
/// # Errors
///
/// Fails when the recording or the policy makes no sense, when a decision is not as recorded, or
/// standard output cannot be written.
pub fn replay(args: &ReplayArgs) -> Result<(), ReplayError> {
    let other = Other::of(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let replay = Replay { file: &args.recording, other: other.as_ref(), output: args.output };
    match replay.run(&mut out, &mut io::stderr().lock()) {
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Another policy than the recorded one.
#[derive(Clone, Debug)]
pub struct Other {
    /// The whole policy; `None` for the recorded one of each tick.
    whole: Option<Variation>,
    words: Variation,
}

impl Other {
    /// The policy that the command line names; `None` for the recorded one.
    fn of(args: &ReplayArgs) -> Result<Option<Self>, ReplayError> {
        let mut words = args.set.clone();
        if let Some(name) = &args.policy {
            let algorithm: agentd_core::policy::Algorithm = name.parse()?;
            words.insert(0, format!("algorithm={algorithm}"));
        }
        let read = |file: &PathBuf| match fs::read_to_string(file) {
            Ok(text) => Ok(Variation::of_file(&file.display().to_string(), &text)),
            Err(error) => Err(ReplayError::Unreadable { file: file.clone(), error }),
        };
        let whole = args.policy_file.as_ref().map(read).transpose()?;
        if words.is_empty() && whole.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { whole, words: Variation::of_words(&words) }))
    }

    /// The policy in the place of a recorded one. What is pinned beside that is pinned under any other.
    fn instead_of(&self, recorded: &Policy, pinned: &[VmId]) -> Result<Policy, FieldError> {
        let base = match &self.whole {
            Some(whole) => {
                let mut policy = whole.apply(&Policy::default())?;
                pinned.iter().for_each(|vm| policy.pin(*vm));
                policy
            }
            None => recorded.clone(),
        };
        self.words.apply(&base)
    }
}

/// What to replay.
#[derive(Debug)]
pub struct Replay<'a> {
    /// The recording.
    pub file: &'a Path,
    /// Another policy; `None` for the recorded one.
    pub other: Option<&'a Other>,
    /// Form of the output.
    pub output: ReplayOutput,
}

impl Replay<'_> {
    /// Replays and writes what came of it; what is odd about the recording goes to `notes`.
    ///
    /// # Errors
    ///
    /// See [`replay`].
    pub fn run(&self, out: &mut impl Write, notes: &mut impl Write) -> Result<(), ReplayError> {
        let broken = |error| ReplayError::Recording { file: self.file.to_owned(), error };
        let mut reader = Reader::open(self.file).map_err(broken)?;
        let mut play = Play::new(self.file, self.other, &reader.head().agent_version);
        let (mut tally, mut decided) = (Tally::default(), 0_u64);
        let mut ticks = 0_u64;
        let end = loop {
            let recorded = match reader.next_tick() {
                Ok(Some(recorded)) => recorded,
                Ok(None) => break Ok(()),
                Err(error) => break Err(broken(error)),
            };
            let played = match play.tick(&recorded) {
                Ok(played) => played,
                Err(error) => break Err(error),
            };
            ticks = ticks.saturating_add(1);
            decided = decided.saturating_add(u64::from(played.decided));
            if let Some(compared) = &played.compared {
                tally.add(compared);
            }
            self.print_tick(out, &played)?;
        };
        if let Some(torn) = reader.torn() {
            let file = self.file.display();
            writeln!(
                notes,
                "agentd: {file}: the last entry, at byte {}, is cut off: whoever wrote it ended \
                 there; all before it is whole",
                torn.at
            )?;
        }
        if let Some((tick, what)) = play.astray() {
            let file = self.file.display();
            writeln!(
                notes,
                "agentd: {file}: this agentd does not decide as the one that recorded it, from tick \
                 {tick} on: {what}"
            )?;
        }
        if end.is_ok() || self.other.is_some() && ticks > 0 {
            let sum = print::Sum { ticks, decided, head: reader.head(), tally: &tally };
            match (self.output, self.other.is_some()) {
                (ReplayOutput::Table, true) => print::table(out, &sum)?,
                (ReplayOutput::Table, false) => print::as_recorded(out, &sum)?,
                (ReplayOutput::Jsonl, other) => print::summary_line(out, &sum, other)?,
            }
        }
        out.flush()?;
        end
    }

    fn print_tick(&self, out: &mut impl Write, played: &Played) -> io::Result<()> {
        match (self.output, &played.compared) {
            (ReplayOutput::Table, _) => Ok(()),
            (ReplayOutput::Jsonl, Some(compared)) => print::tick_line(out, compared),
            (ReplayOutput::Jsonl, None) if self.other.is_some() => Ok(()),
            (ReplayOutput::Jsonl, None) => print::same_line(out, played),
        }
    }
}

#[cfg(test)]
mod tests;
