//! A machine inside the machine: mount, pid, network and name spaces of its own, and programs in
//! them.
//!
//! Process 1 of a space is `host-init.sh`, which ends when its stdin does. The lab holds the other
//! end, so a space is gone, with every process in it, when it is dropped or when the process that
//! made it ends, be it by SIGKILL. All its files are on its own tmpfs; from outside they are
//! reached through /proc.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Ground, clock, shell};

/// One set of namespaces and the process that keeps them.
#[derive(Debug)]
pub struct Space {
    name: String,
    /// The process whose namespaces these are. It is not waited for before the drop: until then its
    /// number belongs to nobody else, and what is asked of an ended space fails and reaches no
    /// stranger.
    keeper: Child,
    lifeline: Mutex<Option<ChildStdin>>,
}

impl Space {
    /// Makes a space called `name`; `hosts` are further lines of its `/etc/hosts`.
    pub(crate) fn make(ground: &Ground, name: &str, hosts: &str) -> Result<Self> {
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", include_str!("host-init.sh"), "lab", name, &uuid_of(name), hosts])
            .arg(&ground.image.capabilities)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for the process that made the lab.
            .process_group(0)
            .spawn()
            .context("cannot start unshare: util-linux is missing")?;
        let lifeline = Mutex::new(keeper.stdin.take());
        let said = keeper.stdout.take();
        let mut space = Self { name: name.to_owned(), keeper, lifeline };
        let mut line = String::new();
        if let Some(said) = said {
            BufReader::new(said).read_line(&mut line)?;
        }
        if line.trim() != "ready" {
            bail!("the namespaces of {name} did not come up: {}", space.last_words());
        }
        Ok(space)
    }

    /// Ends every process inside and waits until they are gone.
    pub fn end(&self) -> Result<()> {
        self.cut_lifeline();
        clock::wait_until("the namespaces to end", END_LIMIT, || Ok(self.has_ended()))
    }

    /// The name that programs inside see as the host's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process, outside, whose namespaces these are.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// The path by which a file inside is reached from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.keeper())).join(inside.trim_start_matches('/'))
    }

    /// A command that runs `program` inside. Add arguments, environment and stdio as to any other.
    ///
    /// It starts in the folder `/`. Its exit status is the program's own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.keeper()))
            .args(["--mount", "--net", "--uts"])
            .arg(format!("--pid=/proc/{}/ns/pid_for_children", self.keeper()))
            .arg("--")
            .arg(program);
        command
    }

    /// Starts `program` inside with a log file, to be signalled and waited for.
    pub fn start(self: &Arc<Self>, name: &str, program: &Command) -> Result<super::Process> {
        super::Process::start(self, name, program)
    }

    /// Runs a short program inside to its end.
    pub(crate) fn run(&self, program: &[&str]) -> Result<String> {
        let target = format!("--target={}", self.keeper());
        let pids = format!("--pid=/proc/{}/ns/pid_for_children", self.keeper());
        let mut args = vec![&*target, "--mount", "--net", "--uts", &*pids, "--"];
        args.extend(program);
        shell::run("nsenter", &args, RUN_LIMIT)
    }

    /// Runs a short program that is inside only as far as the network goes, so that it knows the
    /// processes of the machine by their numbers.
    pub(crate) fn run_in_net(&self, program: &[&str]) -> Result<String> {
        let target = format!("--target={}", self.keeper());
        let mut args = vec![&*target, "--net", "--"];
        args.extend(program);
        shell::run("nsenter", &args, RUN_LIMIT)
    }

    /// Sends a signal (`STOP`, `CONT`, `TERM`, `KILL`) to a process by the number it has inside.
    pub fn signal(&self, pid: u32, signal: &str) -> Result<()> {
        let order = format!("kill -{signal} {pid}");
        self.run(&["sh", "-c", &order]).with_context(|| {
            format!("cannot send SIG{signal} to process {pid} on {}", self.name)
        })?;
        Ok(())
    }

    /// The number, inside, of a process that runs a program of this name, which the kernel cuts to
    /// 15 bytes.
    pub(crate) fn pid_of(&self, program: &str) -> Option<u32> {
        let shown = program.get(..15).unwrap_or(program);
        let folders = std::fs::read_dir(self.path("/proc")).ok()?.flatten();
        let mut pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid: &u32| {
            let name = std::fs::read_to_string(self.path(&format!("/proc/{pid}/comm")));
            name.is_ok_and(|name| name.trim_end() == shown)
        })
    }

    /// Reads a file inside, as text.
    pub fn read(&self, inside: &str) -> Result<String> {
        let path = self.path(inside);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("cannot read {inside} on {}", self.name))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn cut_lifeline(&self) {
        self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Process 1 of a pid space is gone only when all others are, and the keeper waits for it.
    fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.keeper()));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    }

    fn last_words(&mut self) -> String {
        self.cut_lifeline();
        let mut words = String::new();
        if let Some(mut stderr) = self.keeper.stderr.take() {
            let _ = stderr.read_to_string(&mut words);
        }
        words.trim().to_owned()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.end().is_err() {
            // --kill-child takes process 1 of the space along.
            let _ = self.keeper.kill();
        }
        let _ = self.keeper.wait();
    }
}

/// A UUID that is always the same for a name, so that a host or VM made again is the same one.
pub(crate) fn uuid_of(name: &str) -> String {
    // FNV-1a, 128 bits: any spread will do.
    let hash = name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    let hex = format!("{hash:032x}");
    let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]];
    // Version 8 and variant 8: made by a rule of one's own.
    format!("{a}-{b}-8{c}-8{d}-{e}")
}

/// Commands run inside only configure; none takes seconds.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Process 1 ends at once; the kernel takes a moment to end emulators with their memory.
const END_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::uuid_of;

    #[test]
    fn a_name_has_one_uuid_and_another_name_another() {
        // The same in every build: images and state of a lab that was made before go by it.
        assert_eq!(uuid_of("vm1"), "a68da6db-498b-8822-836d-bc7993f7f0bf");
        assert_ne!(uuid_of("vm1"), uuid_of("vm2"));
    }
}
