//! A long-running program in a space: its log, its signals, its end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock;
use super::space::Space;

/// A program that runs on a lab host until it is stopped, dropped, or the host ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    space: Arc<Space>,
    /// nsenter, outside, which waits for the program and ends as it does.
    waiter: Child,
    /// The program's number inside.
    pid: u32,
    /// Where its part of the log begins: another one of its name may have written before it.
    begins: u64,
}

impl Process {
    pub(crate) fn start(space: &Arc<Space>, name: &str, program: &Command) -> Result<Self> {
        let pid_file = format!("/run/lab/{name}.pid");
        let _ = std::fs::remove_file(space.path(&pid_file));
        let log = File::options()
            .create(true)
            .append(true)
            .open(space.path(&log_file(name)))
            .with_context(|| format!("cannot open the log of {name}"))?;
        let begins = log.metadata()?.len();
        let waiter = told_its_pid(space, &pid_file, program)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal is for the process that made the lab.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} on {}", space.name()))?;
        let (name, space) = (name.to_owned(), Arc::clone(space));
        let mut process = Self { name, space, waiter, pid: 0, begins };
        process.pid = clock::wait_for(&format!("{} to start", process.name), START_LIMIT, || {
            Ok(process.space.read(&pid_file).ok().and_then(|pid| pid.trim().parse().ok()))
        })?;
        Ok(process)
    }

    /// Its process number inside the space.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, `CONT`, `INT`, `HUP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.space.signal(self.pid, signal)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.waiter.try_wait()?)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        clock::wait_for(&what, limit, || Ok(self.waiter.try_wait()?))
            .with_context(|| format!("its log says:\n{}", self.log().unwrap_or_default()))
    }

    /// Everything it has written to stdout and stderr.
    pub fn log(&self) -> Result<String> {
        self.log_since(0)
    }

    /// What it has written from this byte of it on.
    pub fn log_since(&self, offset: u64) -> Result<String> {
        let path = self.space.path(&log_file(&self.name));
        let mut file = File::open(path).with_context(|| format!("no log of {}", self.name))?;
        file.seek(SeekFrom::Start(self.begins + offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.waiter.try_wait(), Ok(None)) && self.pid != 0 {
            // Whoever takes its place must find its locks free: it has to be gone, not only told.
            let _ = self.signal("KILL").and_then(|()| self.wait(KILL_LIMIT).map(drop));
        }
        let _ = self.waiter.kill();
        let _ = self.waiter.wait();
    }
}

/// The program behind a shell that writes its own number down and then becomes the program.
fn told_its_pid(space: &Space, pid_file: &str, program: &Command) -> Command {
    let mut command = space.command("sh");
    command
        .args(["-c", r#"echo $$ >"$1" && shift && exec "$@""#, "sh", pid_file])
        .arg(program.get_program())
        .args(program.get_args());
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

fn log_file(name: &str) -> String {
    format!("/run/lab/{name}.log")
}

/// A busy kernel may take a moment to take down what a large process held.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// Between nsenter and the program's first line.
const START_LIMIT: Duration = Duration::from_secs(60);
