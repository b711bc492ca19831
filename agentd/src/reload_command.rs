//! `agentd reload`: has the agentd at work read its config again, and ends as that ends.
//!
//! A signal asks for it and cannot be answered. The answer is a file in the state directory, which one
//! agentd has for itself: whose it is, which of its reloads, whether it was taken, and words.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    args::ReloadArgs,
    clock::{Clock as _, RealClock},
    lock::Lock,
    places,
    run::DEFAULT_CONFIG,
};

/// Why the config was not read again, or is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is nobody to ask.
    #[error(
        "no agentd is at work on the state directory {}, or this user may not look: name another one with \
         --state-dir, or start agentd",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// It may not be asked.
    #[error("agentd (pid {pid}) cannot be sent SIGHUP: {error}")]
    Signal {
        /// Who.
        pid: i32,
        /// What the system says.
        error: io::Error,
    },
    /// It has not answered.
    #[error(
        "agentd (pid {pid}) has not said within {} s what came of it: its log may, and the disk under the \
         state directory may hang",
        PATIENCE.as_secs()
    )]
    Silent {
        /// Who.
        pid: i32,
    },
    /// All is as before.
    #[error("{0}")]
    Refused(String),
}

/// Has the config read again. What else is to be said of it, in words; empty where nothing is.
///
/// # Errors
///
/// Fails when no agentd is at work, when it refuses the config, or does not answer in time.
pub fn reload(args: &ReloadArgs) -> Result<String, ReloadError> {
    let named = args.state_dir.clone().or_else(|| named_in(Path::new(DEFAULT_CONFIG)));
    let dir = named.unwrap_or_else(places::state_dir);
    let holder =
        Lock::holder_of(&dir.join("lock")).and_then(|pid| Some((pid, Pid::from_raw(pid)?)));
    let Some((pid, process)) = holder else { return Err(ReloadError::NotRunning(dir)) };
    let before = read(&dir);
    kill_process(process, Signal::HUP)
        .map_err(|error| ReloadError::Signal { pid, error: error.into() })?;
    let clock = RealClock::start();
    while clock.now() < PATIENCE {
        clock.sleep(PAUSE);
        let now = read(&dir).filter(|now| before.as_ref() != Some(now));
        if let Some(answer) = now {
            return answer.came_of_it();
        }
    }
    Err(ReloadError::Silent { pid })
}

/// The state directory that a config names, be the rest of it what it may.
fn named_in(config: &Path) -> Option<PathBuf> {
    let table: toml::Table = fs::read_to_string(config).ok()?.parse().ok()?;
    let dir = table.get("state")?.get("dir")?.as_str()?;
    (!dir.is_empty()).then(|| PathBuf::from(dir))
}

/// What is in the file.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// Whose, and which: never the same twice.
    head: String,
    words: String,
}

impl Answer {
    fn came_of_it(self) -> Result<String, ReloadError> {
        if self.head.ends_with(TAKEN) {
            Ok(self.words)
        } else {
            Err(ReloadError::Refused(self.words))
        }
    }
}

fn read(dir: &Path) -> Option<Answer> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    let (head, words) = text.split_once('\n')?;
    Some(Answer { head: head.to_owned(), words: words.to_owned() })
}

/// Leaves answers.
#[derive(Debug)]
pub(crate) struct Answers {
    dir: PathBuf,
    count: u64,
}

impl Answers {
    /// Those of agentds before go: a process id may come again.
    pub(crate) fn into(dir: &Path) -> Self {
        // Where it cannot be removed there is none, or no disk.
        let _ = fs::remove_file(dir.join(FILE));
        Self { dir: dir.to_owned(), count: 0 }
    }

    /// Leaves one: what else is to be said of a config that was taken, or why it was not.
    pub(crate) fn leave(&mut self, came_of_it: Result<&str, &str>) {
        self.count = self.count.saturating_add(1);
        let (outcome, words) = came_of_it.map_or_else(|why| (REFUSED, why), |more| (TAKEN, more));
        let text = format!("{} {} {outcome}\n{words}", process::id(), self.count);
        let new = self.dir.join(format!("{FILE}.new"));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, self.dir.join(FILE)));
        if let Err(error) = written {
            tracing::warn!(%error, "\"agentd reload\" cannot be told what came of it");
        }
    }
}

const FILE: &str = "reload";
const TAKEN: &str = "taken";
const REFUSED: &str = "refused";
/// Longer than a disk is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
