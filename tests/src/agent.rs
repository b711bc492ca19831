//! agentd and memctl on hosts of the lab: started, asked and watched as an operator would.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::{Host, Process, Space, clock};
use crate::programs::Programs;

/// An agentd on a host. Dropping it ends it by SIGKILL.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    memctl: Memctl,
}

impl Agent {
    /// Starts agentd on a host and waits until it answers: in mode observe, with ticks of a second,
    /// state that outlives it, the default socket and `more` arguments.
    pub fn start(programs: &Programs, host: &Host, more: &[&str]) -> Result<Self> {
        Self::start_with(programs, host, CONFIG, more)
    }

    /// Starts agentd on a host with this config, the default socket and `more` arguments, and waits
    /// until it answers.
    pub fn start_with(
        programs: &Programs,
        host: &Host,
        config: &str,
        more: &[&str],
    ) -> Result<Self> {
        std::fs::write(host.space().path(CONFIG_FILE), config)
            .context("cannot write the config")?;
        let mut command = Command::new(&programs.agentd);
        command.args(["run", "--config", CONFIG_FILE, "--listen", SOCKET]).args(more);
        let process = host.start("agentd", &command)?;
        let mut agent = Self { process, memctl: Memctl::on(programs, host.space()) };
        clock::wait_until("agentd to answer", START_LIMIT, || {
            if let Some(status) = agent.process.ended()? {
                bail!("agentd ended ({status}): {}", agent.log()?);
            }
            Ok(agent.memctl.run(&["status"])?.exit == 0)
        })?;
        Ok(agent)
    }

    /// memctl on the same host.
    pub fn memctl(&self) -> &Memctl {
        &self.memctl
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has written to its log, by all agentd of this host.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }
}

/// memctl on some machine of the lab.
#[derive(Debug, Clone)]
pub struct Memctl {
    program: PathBuf,
    space: Arc<Space>,
}

/// What one run of memctl came to.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub exit: i32,
    /// The data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Memctl {
    /// memctl in a space.
    pub fn on(programs: &Programs, space: &Arc<Space>) -> Self {
        Self { program: programs.memctl.clone(), space: Arc::clone(space) }
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Result<Answer> {
        let mut command = self.space.command("timeout");
        command.args(["-k", "1", RUN_LIMIT_S]).arg(&self.program).args(patient(args)).args(args);
        let output = own(&mut command).output().context("cannot start memctl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let exit = output.status.code().context("memctl was ended by a signal")?;
        Ok(Answer { exit, stdout, stderr })
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub fn done(&self, args: &[&str]) -> Result<String> {
        let answer = self.run(args)?;
        if answer.exit != 0 {
            bail!("memctl {} ended with {}: {}", args.join(" "), answer.exit, answer.stderr);
        }
        Ok(answer.stdout)
    }

    /// Runs a command that must succeed with `-o json`, and gives its items, one per host and thing.
    pub fn items(&self, args: &[&str]) -> Result<Vec<Value>> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        items(&self.done(&all)?)
    }

    /// Starts `memctl watch -o jsonl` with `more` arguments; its log is called `name`.
    pub fn watch(&self, name: &str, more: &[&str]) -> Result<Watch> {
        let mut command = Command::new(&self.program);
        command.args(["watch", "-o", "jsonl"]).args(more);
        Ok(Watch { process: self.space.start(name, own(&mut command))? })
    }
}

/// A `memctl watch` that runs on.
#[derive(Debug)]
pub struct Watch {
    process: Process,
}

impl Watch {
    /// Every record that it has told so far.
    pub fn records(&self) -> Result<Vec<Value>> {
        let log = self.process.log()?;
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let records = whole.lines().filter(|line| line.starts_with('{'));
        records
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }

    /// The records of ticks so far.
    pub fn ticks(&self) -> Result<Vec<Value>> {
        Ok(self.records()?.into_iter().filter(|record| record["type"] == "tick").collect())
    }

    /// Waits for a record that is as wanted, and gives all up to now.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        clock::wait_for(what, limit, || {
            let records = self.records()?;
            Ok(records.iter().any(&is).then_some(records))
        })
    }

    /// Waits until `count` more ticks were told.
    pub fn wait_ticks(&self, count: usize, limit: Duration) -> Result<()> {
        let wanted = self.ticks()?.len() + count;
        clock::wait_until("more ticks", limit, || Ok(self.ticks()?.len() >= wanted))
    }

    /// What it has told from this byte of its log on.
    pub fn told_since(&self, offset: u64) -> Result<String> {
        self.process.log_since(offset)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Shows on standard output what a program on a host writes, as it writes it, until dropped.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<TailShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct TailShared {
    process: Process,
    stop: AtomicBool,
    /// How much was shown. Whoever writes to standard output holds it.
    shown: Mutex<usize>,
}

impl Tail {
    /// Shows what this process writes, and ends it in the end.
    pub fn start(process: Process) -> Result<Self> {
        let shared = TailShared { process, stop: AtomicBool::new(false), shown: Mutex::default() };
        let shared = Arc::new(shared);
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("tail".to_owned()).spawn(move || {
            while !inner.stop.load(Ordering::Relaxed) {
                inner.show("");
                clock::breathe();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Puts a line of one's own between those of the program.
    pub fn caption(&self, text: &str) {
        self.shared.show(&format!("-- {text}\n"));
    }
}

impl TailShared {
    fn show(&self, more: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.process.log().unwrap_or_default();
        // Whole lines, so that nothing stands in the middle of one.
        let end = log.rfind('\n').map_or(0, |at| at + 1);
        let text = format!("{}{more}", log.get(*shown..end).unwrap_or_default());
        *shown = end.max(*shown);
        let mut out = std::io::stdout();
        // Where nobody looks on any more, nothing is to be done about it.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.show("");
    }
}

/// What has memctl wait for hosts of a machine that is busy with other tests, where a test that runs it
/// with these arguments does not say how long.
pub fn patient(args: &[&str]) -> &'static [&'static str] {
    if args.contains(&"--timeout") { &[] } else { &["--timeout", "60s"] }
}

/// The items of an answer in JSON.
pub fn items(json: &str) -> Result<Vec<Value>> {
    let document: Value = serde_json::from_str(json).with_context(|| format!("no JSON: {json}"))?;
    document["items"].as_array().cloned().with_context(|| format!("no items: {json}"))
}

/// An operator's own settings, and none of the person's who runs the tests.
fn own(command: &mut Command) -> &mut Command {
    for variable in ["MEMCTL_CONFIG", "MEMCTL_HOST", "MEMCTL_OUTPUT", "MEMCTL_SOCKET"] {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", "/run/lab")
}

const CONFIG_FILE: &str = "/run/lab/agentd.toml";
const SOCKET: &str = "unix:///run/agentd/agentd.sock";
/// Ticks of a second: tests see more of them; and calls may take longer, on a machine that is busy with
/// other tests. Nothing is ordered until the operator says so.
pub const CONFIG: &str = "mode = \"observe\"\n[tick]\ninterval = \"1s\"\ncall_timeout = \"2s\"\n[state]\ndir = \"/run/lab/agentd\"\n";
/// On a machine that boots emulated VMs beside it.
const START_LIMIT: Duration = Duration::from_secs(180);
/// memctl has its own limits, below.
const RUN_LIMIT_S: &str = "180";
