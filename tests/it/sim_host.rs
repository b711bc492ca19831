//! [`World`]: agentd on simulated hosts and memctl beside it, as plain processes in one folder.
//!
//! Needs neither root nor the lab. Every program gets an empty environment, so that nothing of the
//! machine or of the person who runs the tests counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use agentd_tests::agent::patient;
use agentd_tests::lab::clock;
use agentd_tests::programs::Programs;
use anyhow::Result;
use serde_json::Value;

/// A folder with the files of some hosts, and the programs under test.
pub(crate) struct World {
    folder: tempfile::TempDir,
    programs: Programs,
}

/// What a program came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// With one scenario for all hosts.
    pub(crate) fn new(scenario: &str) -> Self {
        let programs = Programs::built().expect("cargo builds agentd and memctl");
        // Short, as paths of sockets must be.
        let folder = tempfile::Builder::new().prefix("agentd-").tempdir_in("/tmp").unwrap();
        fs::write(folder.path().join("scenario.toml"), scenario).unwrap();
        fs::write(folder.path().join("agentd.toml"), "").unwrap();
        Self { folder, programs }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `agentd run` of one host: its state, its socket and its log carry the host's name.
    pub(crate) fn agentd(&self, host: &str) -> Command {
        let mut command = self.program(&self.programs.agentd);
        command.args(["run", "--hypervisor"]).arg(format!("sim:{}", self.text("scenario.toml")));
        self.place(&mut command, host);
        command
    }

    /// As [`World::agentd`], with a libvirt URI instead of the scenario.
    pub(crate) fn agentd_on(&self, uri: &str, host: &str) -> Command {
        let mut command = self.program(&self.programs.agentd);
        command.args(["run", "--connect", uri]);
        self.place(&mut command, host);
        command
    }

    /// Any other agentd command, run to its end.
    pub(crate) fn run_agentd(&self, args: &[&str]) -> Answer {
        run(self.program(&self.programs.agentd).args(args))
    }

    /// Starts a host and waits until it answers.
    pub(crate) fn start(&self, host: &str) -> Agentd {
        self.start_as(host, self.agentd(host))
    }

    /// As [`World::start`], with the command that is given.
    pub(crate) fn start_as(&self, host: &str, mut command: Command) -> Agentd {
        let log = self.path(&format!("{host}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stderr(file).stdout(Stdio::null()).spawn().unwrap();
        let mut agentd = Agentd { child, log };
        let uri = self.uri(host);
        clock::wait_until("agentd to answer", LONG, || {
            let ended = agentd.child.try_wait()?;
            assert!(ended.is_none(), "agentd ended with {ended:?}: {}", agentd.log());
            Ok(self.memctl(&["status", "--host", &uri]).exit == Some(0))
        })
        .unwrap();
        agentd
    }

    /// memctl run to its end; the host `local` is the one that it asks without being told.
    pub(crate) fn memctl(&self, args: &[&str]) -> Answer {
        run(self.memctl_command().args(patient(args)).args(args))
    }

    /// memctl on the host `local`, which must succeed.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let answer = self.memctl(args);
        assert_eq!(answer.exit, Some(0), "memctl {args:?}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// What the host `local` has to say for `args`, without the frame around it.
    pub(crate) fn ask(&self, args: &[&str], what: &str) -> Value {
        let line = self.done(&[args, &["-o", "jsonl"]].concat());
        let item: Value = serde_json::from_str(&line).unwrap();
        item[what].clone()
    }

    pub(crate) fn memctl_command(&self) -> Command {
        let mut command = self.program(&self.programs.memctl);
        command.env("XDG_CONFIG_HOME", self.folder.path()).env("MEMCTL_SOCKET", self.socket(LOCAL));
        command.env("MEMCTL_SYSTEM_CONFIG", self.path("memctl-system.toml"));
        command
    }

    pub(crate) const fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn agentd_program(&self) -> &Path {
        &self.programs.agentd
    }

    pub(crate) fn uri(&self, host: &str) -> String {
        format!("unix://{}", self.socket(host).display())
    }

    pub(crate) fn socket(&self, host: &str) -> PathBuf {
        self.path(&format!("{host}.sock"))
    }

    pub(crate) fn state(&self, host: &str) -> PathBuf {
        self.path(&format!("{host}.state"))
    }

    fn place(&self, command: &mut Command, host: &str) {
        command.arg("--config").arg(self.path("agentd.toml"));
        command.arg("--state-dir").arg(self.state(host)).arg("--listen").arg(self.uri(host));
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// A running agentd. Killed when dropped.
pub(crate) struct Agentd {
    child: Child,
    log: PathBuf,
}

impl Agentd {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log says something.
    pub(crate) fn until_log(&self, what: &str) {
        let said = || Ok(self.log().contains(what));
        clock::wait_until(what, LONG, said).unwrap_or_else(|_| panic!("no {what}: {}", self.log()));
    }

    /// Sends `STOP`, `CONT`, `TERM` and the like.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        clock::wait_for("agentd to end", LONG, || Ok(self.child.try_wait()?)).unwrap()
    }
}

impl Drop for Agentd {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{name} to {pid}");
}

/// Runs a command to its end, which coreutils' `timeout` sees to.
pub(crate) fn run(command: &mut Command) -> Answer {
    let mut limited = Command::new("timeout");
    limited.env_clear().args(["-k", "1", LIMIT_S]).arg(command.get_program());
    limited.args(command.get_args()).stdin(Stdio::null());
    limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    let output = limited.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let exit = output.status.code();
    Answer { exit, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Asks until the answer is as wanted.
pub(crate) fn until(what: &str, probe: impl FnMut() -> Result<bool>) {
    clock::wait_until(what, LONG, probe).unwrap();
}

/// The host that memctl asks when it is not told.
pub(crate) const LOCAL: &str = "local";
/// Longer than anything here takes on a machine that is busy with other tests; only a hang is longer.
pub(crate) const LONG: Duration = Duration::from_secs(300);
const LIMIT_S: &str = "360";
/// Two VMs, the one in need of what the other has.
pub(crate) const SCENARIO: &str = r#"
tick_interval = "100ms"
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[[vm]]
name = "web1"
uuid = "00000000-0000-0000-0000-000000000001"
max = "2GiB"
actual = "512MiB"
demand = [{ at = "0s", used = "150MiB" }, { at = "60s", used = "900MiB" }]
[[vm]]
name = "db1"
uuid = "00000000-0000-0000-0000-000000000002"
max = "2GiB"
actual = "1GiB"
demand = "300MiB"
"#;
