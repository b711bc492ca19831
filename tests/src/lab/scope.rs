//! A control group of the machine's kernel, named as libvirt and systemd name that of a VM.
//!
//! The hosts of a lab have no systemd, and their VMs are in no group of their own: this is one for a
//! test that needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Host, clock};

/// An empty control group. Goes when dropped, which has to be after the host whose programs are in
/// it.
#[derive(Debug)]
pub struct Scope {
    folder: PathBuf,
}

impl Scope {
    /// Makes one; `None` where this machine's kernel has no memory controller to be used here.
    pub fn make() -> Result<Option<Self>> {
        let name = format!("machine-qemu\\x2dlab\\x2d{}.scope", std::process::id());
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let tree = if unified { PathBuf::from(ROOT) } else { Path::new(ROOT).join("memory") };
        let scope = Self { folder: tree.join(name) };
        if fs::create_dir(&scope.folder).is_err() {
            return Ok(None);
        }
        Ok(scope.folder.join("memory.stat").exists().then_some(scope))
    }

    /// Puts the host's libvirtd in, and with it every VM that it starts from now on.
    pub fn take_in(&self, host: &Host) -> Result<()> {
        let libvirtd = host.space().pid_of("libvirtd").context("libvirtd does not run")?;
        // Written inside: the kernel takes the number for what it is to the writer.
        let file = self.folder.join("cgroup.procs");
        let file = file.to_str().context("a path is text")?;
        let order = r#"echo "$1" >"$2""#;
        host.space().run(&["sh", "-c", order, "sh", &libvirtd.to_string(), file]).map(drop)
    }

    /// The kernel's own account of what is in the group, in KiB: anonymous and shared memory.
    pub fn resident_kib(&self) -> Result<u64> {
        let stat = fs::read_to_string(self.folder.join("memory.stat"))?;
        let legacy = stat.contains("total_rss ");
        let keys = if legacy { ["total_rss", "total_shmem"] } else { ["anon", "shmem"] };
        let amounts = stat.lines().filter_map(|line| line.split_once(' '));
        let amounts = amounts.filter(|(key, _)| keys.contains(key));
        let bytes: Vec<u64> = amounts.map(|(_, bytes)| bytes.parse()).collect::<Result<_, _>>()?;
        Ok(bytes.iter().sum::<u64>() / 1024)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // The kernel keeps it for as long as a process is in it.
        let _ = clock::wait_until("the control group to be empty", EMPTY_LIMIT, || {
            Ok(fs::remove_dir(&self.folder).is_ok())
        });
    }
}

const ROOT: &str = "/sys/fs/cgroup";

/// A host has ended when it is dropped; its processes are reaped a moment later.
const EMPTY_LIMIT: Duration = Duration::from_secs(60);
