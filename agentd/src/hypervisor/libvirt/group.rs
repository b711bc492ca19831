//! Control groups: the one of each VM, which shows what is resident of it, and the one of all VMs,
//! which may be allowed less than the host has.
//!
//! Knows both layouts of the kernel, version 2 and the memory controller of version 1, and both
//! ways in which libvirt names groups (<https://libvirt.org/cgroups.html>).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use agentd_core::{bytes::ByteCount, sample::HostMemory};
use rustix::io::Errno;

/// Where the kernel shows control groups and processes, and libvirt the processes of VMs.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// `/sys/fs/cgroup`.
    pub(super) groups: PathBuf,
    /// `/proc`.
    pub(super) processes: PathBuf,
    /// `/run/libvirt/qemu`, with a file `NAME.pid` for each VM.
    pub(super) pids: PathBuf,
}

/// The control group of one VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    stat: PathBuf,
    layout: Layout,
}

/// Why a group does not tell what is resident of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// There is no such group any more.
    Gone,
    /// It could not be read this time: agentd may be short of descriptors, for example.
    Now,
}

/// Why the limit of all VMs could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LimitError {
    /// Where it should be.
    pub(super) path: PathBuf,
    /// What went wrong.
    pub(super) problem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Version 2: one tree.
    Unified,
    /// Version 1: a tree for memory.
    Legacy,
}

impl Places {
    /// The control group of a VM's process, when it has one of its own.
    pub(super) fn group_of(&self, vm: &str) -> Option<Group> {
        let (layout, tree) = self.tree()?;
        let pid = self.pid_of(vm)?;
        let text = fs::read_to_string(self.processes.join(format!("{pid}/cgroup"))).ok()?;
        let own = own_group(path_in(&text, layout)?)?;
        let group = Group { stat: tree.join(own).join("memory.stat"), layout };
        group.resident().is_ok().then_some(group)
    }

    /// The number of a VM's process.
    pub(super) fn pid_of(&self, vm: &str) -> Option<u32> {
        // A name is a file name to libvirt too; nothing else must come of it here.
        let file = Path::new(vm).file_name().filter(|file| *file == vm)?.to_str()?;
        let pid = fs::read_to_string(self.pids.join(format!("{file}.pid"))).ok()?;
        pid.trim().parse().ok()
    }

    /// What the host's memory is to its VMs: no more than the group of all of them may have.
    pub(super) fn narrow(&self, host: HostMemory) -> Result<HostMemory, LimitError> {
        let Some((layout, tree)) = self.tree() else {
            return Ok(host);
        };
        let all = ALL_VMS.map(|name| tree.join(name)).into_iter().find(|path| path.is_dir());
        match all.map(|folder| Room::read(&folder, layout)).transpose()?.flatten() {
            Some(room) => Ok(room.narrow(host)),
            None => Ok(host),
        }
    }

    fn tree(&self) -> Option<(Layout, PathBuf)> {
        let legacy = self.groups.join("memory");
        if self.groups.join("cgroup.controllers").exists() {
            Some((Layout::Unified, self.groups.clone()))
        } else {
            legacy.is_dir().then_some((Layout::Legacy, legacy))
        }
    }
}

impl Group {
    /// What is resident of the VM: anonymous and shared memory. Files that were read and may be dropped at any
    /// time are not, nor are huge pages, which not every kernel counts here.
    pub(super) fn resident(&self) -> Result<ByteCount, Untold> {
        let text = fs::read_to_string(&self.stat).map_err(|error| Untold::of(&error))?;
        resident_in(&text, self.layout).ok_or(Untold::Now)
    }
}

impl Untold {
    fn of(error: &io::Error) -> Self {
        // The kernel's word where a group ends while its file is read.
        let ended = Errno::from_io_error(error) == Some(Errno::NODEV);
        if ended || error.kind() == io::ErrorKind::NotFound { Self::Gone } else { Self::Now }
    }
}

/// The limit of a group, and how far it is from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    limit: ByteCount,
    free: ByteCount,
}

impl Room {
    /// `None` where there is no limit.
    fn read(folder: &Path, layout: Layout) -> Result<Option<Self>, LimitError> {
        let (limits, current): (&[&str], _) = match layout {
            // Beyond `high` VMs are held up and swapped out: that is a limit as well.
            Layout::Unified => (&["memory.max", "memory.high"], "memory.current"),
            Layout::Legacy => (&["memory.limit_in_bytes"], "memory.usage_in_bytes"),
        };
        let amount = |name: &str| amount(&folder.join(name));
        let mut limit: Option<ByteCount> = None;
        for name in limits {
            let this = amount(name)?;
            limit = limit.into_iter().chain(this).min();
        }
        let (Some(limit), Some(current)) = (limit, amount(current)?) else {
            return Ok(None);
        };
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let files = field(&stat, layout.inactive_file()).unwrap_or_default();
        let free = limit.saturating_sub(current.saturating_sub(files));
        Ok(Some(Self { limit, free }))
    }

    fn narrow(self, host: HostMemory) -> HostMemory {
        let total = host.total.min(self.limit);
        HostMemory { total, usable: host.usable.min(self.free).min(total), ..host }
    }
}

impl Layout {
    /// Of the group and all below it: files that nobody has used for a while.
    const fn inactive_file(self) -> &'static str {
        match self {
            Self::Unified => "inactive_file",
            Self::Legacy => "total_inactive_file",
        }
    }
}

/// One amount in bytes in a file. `None` for "max", and where there is no such file because the
/// memory controller is off.
fn amount(path: &Path) -> Result<Option<ByteCount>, LimitError> {
    let failed = |problem: String| LimitError { path: path.to_owned(), problem };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    match text.trim() {
        "max" => Ok(None),
        number => match number.parse() {
            Ok(bytes) => Ok(Some(ByteCount::bytes(bytes))),
            Err(_) => Err(failed(format!("{number:?} is no amount of bytes"))),
        },
    }
}

fn resident_in(stat: &str, layout: Layout) -> Option<ByteCount> {
    let (anonymous, shared) = match layout {
        Layout::Unified => ("anon", "shmem"),
        Layout::Legacy => ("total_rss", "total_shmem"),
    };
    Some(field(stat, anonymous)?.saturating_add(field(stat, shared)?))
}

/// The amount on the line "`key` 123".
fn field(stat: &str, key: &str) -> Option<ByteCount> {
    let line = stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line?.trim().parse().ok().map(ByteCount::bytes)
}

/// Where a process is, from its file `cgroup`: lines of "number:controllers:path".
fn path_in(text: &str, layout: Layout) -> Option<&str> {
    text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let here = match layout {
            Layout::Unified => number == "0" && controllers.is_empty(),
            Layout::Legacy => controllers.split(',').any(|name| name == "memory"),
        };
        here.then_some(path)
    })
}

/// The path, from the root, of the group that belongs to one VM alone: its emulator is in it or in
/// one below it.
fn own_group(path: &str) -> Option<PathBuf> {
    let mut own = PathBuf::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        // A path that leaves the tree is that of somebody else's.
        if part == ".." {
            return None;
        }
        own.push(part);
        let by_systemd = part.starts_with("machine-qemu") && part.ends_with(".scope");
        if by_systemd || part.ends_with(".libvirt-qemu") {
            return Some(own);
        }
    }
    None
}

/// The group of all VMs: with systemd, and without.
const ALL_VMS: [&str; 2] = ["machine.slice", "machine"];

#[cfg(test)]
mod tests;
