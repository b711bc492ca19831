//! A hypervisor host: namespaces with a libvirtd of their own, on which `qemu:///system` is that
//! libvirtd.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::gauge::{Gauge, available_kib};
use super::process::Process;
use super::space::Space;
use super::vm::{Vm, VmSpec};
use super::{Ground, clock, shell};

/// A private hypervisor host. Everything on it ends when it is dropped.
#[derive(Debug)]
pub struct Host {
    libvirtd: Option<Process>,
    space: Arc<Space>,
    ground: Arc<Ground>,
}

impl Host {
    /// Makes a host called `name`; `hosts` are further lines of its `/etc/hosts`.
    pub(crate) fn make(ground: &Arc<Ground>, name: &str, hosts: &str) -> Result<Self> {
        let space = Arc::new(Space::make(ground, name, hosts)?);
        let mut host = Self { libvirtd: None, space, ground: Arc::clone(ground) };
        host.start_libvirtd()?;
        Ok(host)
    }

    /// The name that its programs see.
    pub fn name(&self) -> &str {
        self.space.name()
    }

    /// Its namespaces, to run programs in: agentd, memctl.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// A command that runs `program` on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.space.command(program)
    }

    /// Starts a long-running `program` on this host; its log is called `name`.
    pub fn start(&self, name: &str, program: &Command) -> Result<Process> {
        self.space.start(name, program)
    }

    /// How the host's libvirtd is reached from outside. On the host it is plain `qemu:///system`.
    pub fn uri(&self) -> String {
        uri(&self.space)
    }

    /// Starts a VM. It boots on by itself: see [`Vm::wait_ready`].
    pub fn vm(&self, spec: VmSpec) -> Result<Vm> {
        Vm::start(&self.space, &self.ground, spec)
    }

    /// Starts VMs and waits until all of them are up.
    pub fn boot(&self, specs: impl IntoIterator<Item = VmSpec>) -> Result<Vec<Vm>> {
        let vms = specs.into_iter().map(|spec| self.vm(spec)).collect::<Result<Vec<_>>>()?;
        for vm in &vms {
            vm.wait_ready(BOOT_LIMIT)?;
        }
        Ok(vms)
    }

    /// The memory that every running VM holds now, in KiB by name, asked of each VM itself.
    pub fn actuals_kib(&self) -> Result<BTreeMap<String, u64>> {
        // A VM that ends between the list and its figure fails the first try, not the second.
        self.try_actuals_kib().or_else(|_| self.try_actuals_kib())
    }

    /// Reads what these VMs hold again and again, until the gauge is dropped.
    pub fn gauge(&self, names: &[&str]) -> Result<Gauge> {
        Gauge::start(&self.space, names, Duration::ZERO)
    }

    /// The same with a rest after each reading. libvirt skips a VM that answers somebody else, so
    /// that a gauge without rests keeps figures from agentd on a busy machine.
    pub fn gauge_at_times(&self, names: &[&str], rest: Duration) -> Result<Gauge> {
        Gauge::start(&self.space, names, rest)
    }

    /// The memory that the host's kernel says it can still give away, in KiB.
    pub fn available_kib(&self) -> Result<u64> {
        available_kib(&self.space)
    }

    /// Runs one virsh command against the host's libvirtd and gives what it printed.
    pub fn virsh(&self, args: &[&str]) -> Result<String> {
        virsh(&self.space, args)
    }

    /// Begins a virsh command that takes long, and gives its process.
    pub fn begin_virsh(&self, args: &[&str]) -> Result<Child> {
        let mut virsh = Command::new("timeout");
        virsh.args([&LONG_LIMIT.as_secs().to_string(), "virsh", "-q", "-c", &self.uri()]);
        virsh.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        virsh.spawn().context("cannot start virsh")
    }

    /// Waits until a program of this name runs on the host, stops it (SIGSTOP) and gives its
    /// number.
    pub fn freeze_program(&self, name: &str) -> Result<u32> {
        let what = format!("{name} to run on {}", self.name());
        let pid = clock::wait_for(&what, PROGRAM_LIMIT, || Ok(self.space.pid_of(name)))?;
        self.space.signal(pid, "STOP")?;
        Ok(pid)
    }

    /// Adds a line to the config of libvirt's QEMU driver and starts libvirtd anew with it.
    pub fn configure_qemu(&mut self, line: &str) -> Result<()> {
        self.kill_libvirtd();
        let path = self.space.path("/etc/libvirt/qemu.conf");
        let config = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{config}{line}\n"))?;
        self.start_libvirtd()
    }

    /// Starts libvirtd again after [`Self::kill_libvirtd`] or [`Self::stop_libvirtd`].
    pub fn start_libvirtd(&mut self) -> Result<()> {
        let mut libvirtd = self.start("libvirtd", &Command::new("libvirtd"))?;
        let socket = self.space.path(SOCKET);
        clock::wait_until("libvirtd to answer", LIBVIRTD_LIMIT, || {
            if let Some(status) = libvirtd.ended()? {
                bail!("libvirtd ended ({status}): {}", libvirtd.log()?);
            }
            Ok(UnixStream::connect(&socket).is_ok())
        })?;
        virsh(&self.space, &["version"]).with_context(|| libvirtd.log().unwrap_or_default())?;
        self.libvirtd = Some(libvirtd);
        Ok(())
    }

    /// Ends libvirtd by SIGKILL. The VMs run on.
    pub fn kill_libvirtd(&mut self) {
        self.libvirtd = None;
    }

    /// Ends libvirtd as its supervisor would, and waits for its end. The VMs run on.
    pub fn stop_libvirtd(&mut self) -> Result<()> {
        let mut libvirtd = self.libvirtd.take().context("libvirtd does not run")?;
        libvirtd.signal("TERM")?;
        libvirtd.wait(LIBVIRTD_LIMIT).map(drop)
    }

    /// Stops libvirtd (SIGSTOP): it accepts connections and answers nothing.
    pub fn freeze_libvirtd(&self) -> Result<()> {
        self.libvirtd()?.signal("STOP")
    }

    /// Lets a frozen libvirtd go on.
    pub fn thaw_libvirtd(&self) -> Result<()> {
        self.libvirtd()?.signal("CONT")
    }

    fn try_actuals_kib(&self) -> Result<BTreeMap<String, u64>> {
        let names = virsh(&self.space, &["list", "--name"])?;
        let script = actuals_script(names.split_whitespace());
        if script.is_empty() {
            return Ok(BTreeMap::new());
        }
        parse_actuals(&virsh(&self.space, &[&script])?)
    }

    fn libvirtd(&self) -> Result<&Process> {
        self.libvirtd.as_ref().context("libvirtd was killed: start_libvirtd first")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Whoever still has a VM or a program of this host has a name of something that is gone.
        // If they do not end now, the drop of the space ends them by force.
        let _ = self.space.end();
    }
}

/// Runs one virsh command from outside the space: another client library than agentd's, and one
/// that can be ended when libvirtd hangs.
pub(crate) fn virsh(space: &Space, args: &[&str]) -> Result<String> {
    feed_virsh(space, args, "")
}

/// The same, with something on stdin.
pub(crate) fn feed_virsh(space: &Space, args: &[&str], stdin: &str) -> Result<String> {
    let uri = uri(space);
    let mut all = vec!["-q", "-c", &uri];
    all.extend(args);
    shell::feed("virsh", &all, stdin, VIRSH_LIMIT)
}

fn uri(space: &Space) -> String {
    format!("qemu:///system?socket={}", space.path(SOCKET).display())
}

/// The virsh commands that print what [`parse_actuals`] reads.
pub(crate) fn actuals_script<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("echo [{name}]; dommemstat {name}; ")).collect()
}

/// virsh's `echo` ends no line: the name stands before the first figure.
pub(crate) fn parse_actuals(printed: &str) -> Result<BTreeMap<String, u64>> {
    let mut actuals = BTreeMap::new();
    for line in printed.lines() {
        let Some((names, kib)) = line.split_once("]actual ") else {
            continue;
        };
        let name = names.rsplit('[').next().unwrap_or_default();
        let kib = kib.trim().parse().with_context(|| format!("{name}: actual {kib:?}"))?;
        actuals.insert(name.to_owned(), kib);
    }
    Ok(actuals)
}

/// Where libvirtd listens, inside.
const SOCKET: &str = "/run/libvirt/libvirt-sock";

/// libvirtd asks QEMU for its capabilities before it answers.
const LIBVIRTD_LIMIT: Duration = Duration::from_secs(120);

/// Programs that libvirt starts for its jobs come at once.
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

/// libvirt itself gives up on a busy VM after 30 s.
const VIRSH_LIMIT: Duration = Duration::from_secs(120);

/// For what a test begins, looks at for as long as it likes, and lets end.
const LONG_LIMIT: Duration = Duration::from_secs(600);

/// An emulated VM boots in about 3 s alone, in several times that beside others on a busy machine.
pub const BOOT_LIMIT: Duration = Duration::from_secs(240);

#[cfg(test)]
mod tests {
    use super::parse_actuals;

    #[test]
    fn actuals_are_read_per_vm() {
        let printed = "[a]actual 1024\nrss 5\n[b][c]actual 7\nrss 6\n";
        let actuals = parse_actuals(printed).unwrap();
        assert_eq!(actuals, [("a".to_owned(), 1024), ("c".to_owned(), 7)].into());
        assert!(parse_actuals("[a]actual many\n").is_err());
    }
}
