//! [`Victim`]: a real agentd on a simulated host, with mutual TLS on loopback, and what the kernel says of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agentd::clock::{Clock as _, RealClock};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustls::ClientConfig;
use tempfile::TempDir;

use super::{By, Foe, tls};
use crate::certificates::{self, Authority};
use crate::lab::clock;

/// A running agentd; killed when dropped.
#[derive(Debug)]
pub struct Victim {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
    authority: Authority,
}

/// What agentd takes of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most of it since the start, or since [`Victim::forget_peak`].
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Processor time since the start.
    pub processor: Duration,
    /// Bytes of its audit.
    pub audit: u64,
    /// Bytes of its log.
    pub log: u64,
}

impl Victim {
    /// Starts it with so much time from tick to tick, and waits until it listens.
    pub fn start(agentd: &Path, tick_interval: Duration) -> Result<Self> {
        let authority = Authority::new("ca", RealClock::start().wall())?;
        // Short, as paths of sockets must be.
        let folder = tempfile::Builder::new().prefix("attacks-").tempdir_in("/tmp")?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("scenario.toml"), scenario(tick_interval))?;
        let tls = certificates::serve(folder.path(), &authority, &[tls::HOST]);
        let tls = tls.map_err(|error| anyhow::anyhow!("{error}"))?;
        fs::write(path("agentd.toml"), format!("{tls}{API}"))?;
        let mut command = Command::new(agentd);
        command.env_clear().current_dir(folder.path()).args(["run", "--listen"]);
        command.arg(format!("unix://{}", path("agentd.sock").display()));
        command.args(["--listen", "tcp://127.0.0.1:0", "--config"]).arg(path("agentd.toml"));
        command.arg("--hypervisor").arg(format!("sim:{}", path("scenario.toml").display()));
        command.arg("--state-dir").arg(path("state"));
        let log = File::create(path("log"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let told = || -> Result<Option<SocketAddr>> {
            let log = fs::read_to_string(path("log"))?;
            ensure!(child.try_wait()?.is_none(), "agentd ended: {log}");
            let port = log.split("tcp://127.0.0.1:").nth(1);
            let port = port.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            Ok(port.and_then(|port| format!("127.0.0.1:{port}").parse().ok()))
        };
        let address = clock::wait_for("agentd to listen", START_LIMIT, told)?;
        Ok(Self { folder, child, address, authority })
    }

    /// Where it listens on TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens on this host.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agentd.sock")
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What a reader of this name shows.
    pub fn reader(&self, name: &str) -> Result<Arc<ClientConfig>> {
        let issued = self.authority.issue(&self.authority.client(name, "agentd:reader"))?;
        tls::offer(&self.authority, Some(&issued))
    }

    /// Who attacks it.
    pub fn foe(&self, by: By) -> Result<Foe> {
        let shows = match by {
            By::Nobody => vec![tls::offer(&self.authority, None)?],
            By::Reader => vec![self.reader("mallory")?],
            By::Readers => {
                let names = (0..READERS).map(|number| format!("mallory-{number}"));
                names.map(|name| self.reader(&name)).collect::<Result<_>>()?
            }
        };
        Ok(Foe::new(self.address, shows))
    }

    /// What it takes now.
    pub fn figures(&self) -> Result<Figures> {
        let status = fs::read_to_string(self.proc("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).with_context(|| format!("no {name} of agentd"))
        };
        let files = fs::read_dir(self.folder.path().join("state"))?.flatten();
        let audit = files.filter(|file| file.file_name().to_string_lossy().starts_with("audit"));
        Ok(Figures {
            resident: field("VmRSS")?,
            peak: field("VmHWM")?,
            descriptors: fs::read_dir(self.proc("fd"))?.count(),
            processor: self.processor()?,
            audit: audit.filter_map(|file| Some(file.metadata().ok()?.len())).sum(),
            log: fs::metadata(self.folder.path().join("log"))?.len(),
        })
    }

    fn processor(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // proc_pid_stat(5): fields 14 and 15, counted from the state, which is the third, behind the name.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * USER_TICK_MS))
    }

    /// Lets the peak of its memory begin anew.
    pub fn forget_peak(&self) -> Result<()> {
        // proc_pid_clear_refs(5): 5 resets the peak resident set size.
        fs::write(self.proc("clear_refs"), "5").context("the peak of agentd's memory is not reset")
    }

    /// Leaves it next to no descriptors beyond those it has.
    pub fn starve(&self) -> Result<()> {
        let open = u64::try_from(self.figures()?.descriptors)?;
        self.limit(Some(open + SPARE))
    }

    /// Gives it as many descriptors as it may have.
    pub fn feed(&self) -> Result<()> {
        self.limit(None)
    }

    fn limit(&self, descriptors: Option<u64>) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: descriptors.or(maximum), maximum };
        prlimit(pid, Resource::Nofile, limit)
            .context("agentd's limit of descriptors is not set")?;
        Ok(())
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fifty VMs, ten of which want more and less by turns: every tick has something to decide, and no tenth of a
/// period has more to decide than another.
fn scenario(tick_interval: Duration) -> String {
    let mut text = format!(
        "tick_interval = \"{}ms\"\n[sim]\nideal = true\n[host]\ntotal = \"64GiB\"\nother = \"1GiB\"\n",
        tick_interval.as_millis()
    );
    for number in 0..VMS {
        let demand = if number.is_multiple_of(WAVE_EVERY) {
            wave(number / WAVE_EVERY)
        } else {
            "\"300MiB\"".to_owned()
        };
        // A String takes whatever is written to it.
        let _ = write!(
            text,
            "[[vm]]\nname = \"vm{number:02}\"\nmax = \"2GiB\"\nactual = \"512MiB\"\ndemand = {demand}\n"
        );
    }
    text
}

/// Up and down, each a tenth of a period after the one before, for as long as a benchmark lasts.
fn wave(number: usize) -> String {
    let after = number * 2 * WAVE_TURN_MS / (VMS / WAVE_EVERY);
    let point = |turn: usize| {
        let used = if turn.is_multiple_of(2) { 300 } else { 1200 };
        format!("{{ at = \"{}ms\", used = \"{used}MiB\" }}", after + WAVE_TURN_MS * turn)
    };
    format!("[{}]", (0..WAVE_TURNS).map(point).collect::<Vec<_>>().join(", "))
}

/// A log that is full within ten seconds: what it grows by is no attack's doing.
const API: &str = "[api]\nring_size = \"8MiB\"\n";
/// What /proc counts processor time in, on every machine that has KVM.
const USER_TICK_MS: u64 = 10;
const VMS: usize = 50;
/// Of so many VMs one wants more and less by turns.
const WAVE_EVERY: usize = 5;
/// Up, and as long down: a tenth of both is a block of the benchmark.
const WAVE_TURN_MS: usize = 2000;
/// Twenty minutes.
const WAVE_TURNS: usize = 600;
/// As many as are to make a thousand watchers.
const READERS: usize = 64;
/// Descriptors that are left to a victim without any: enough to be attacked.
const SPARE: u64 = 4;
/// Far longer than a start takes.
const START_LIMIT: Duration = Duration::from_secs(60);
