//! A VM of the lab: what it is told, what it says, what is done to it.
//!
//! Figures come from virsh and from /proc, not from the code under test: the lab is its judge.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::channel::Channel;
pub use super::channel::Ticket;
use super::host::{Host, feed_virsh, virsh};
use super::space::Space;
pub use super::spec::{Balloon, VmSpec};
use super::{Ground, clock};

/// What a VM's kernel counts of its swap disk, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Written to it.
    pub out: u64,
    /// Read from it.
    pub back: u64,
}

/// A running VM. It ends with its host, or when told to, not when this is dropped.
#[derive(Debug)]
pub struct Vm {
    spec: VmSpec,
    space: Arc<Space>,
    channel: Mutex<Channel>,
}

impl Vm {
    pub(crate) fn start(space: &Arc<Space>, ground: &Ground, spec: VmSpec) -> Result<Self> {
        make_disks(space, &spec)?;
        let xml = spec.xml(&ground.image, ground.kvm);
        if spec.persistent {
            feed_virsh(space, &["define", "/dev/stdin"], &xml)?;
            virsh(space, &["start", &spec.name])?;
        } else {
            feed_virsh(space, &["create", "/dev/stdin"], &xml)?;
        }
        let channel = Channel::over(space.path(&spec.file("channel")));
        Ok(Self { spec, space: Arc::clone(space), channel: Mutex::new(channel) })
    }

    /// Makes a host ready for the VM to come there by live migration.
    pub fn prepare_on(&self, host: &Host) -> Result<()> {
        make_disks(host.space(), &self.spec)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its UUID.
    pub fn uuid(&self) -> &str {
        &self.spec.uuid
    }

    /// Waits until the VM obeys orders, after a start, a reboot or a restore.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let what = format!("{} to be up", self.name());
        let ready = clock::wait_until(&what, limit, || {
            let mut channel = self.channel();
            let pong = channel.send("ping").and_then(|ticket| channel.answer(ticket, PING_LIMIT));
            Ok(pong.is_ok())
        });
        self.explained(ready)
    }

    /// Makes a process in the VM hold `mib`, filled at `mib_per_s` (0: as fast as it can), until
    /// released. The ticket is answered when it holds all of it.
    pub fn hold(&self, name: &str, mib: u64, mib_per_s: u64) -> Result<Ticket> {
        self.order(&format!("hold {name} {mib} {mib_per_s}"))
    }

    /// Ends the process that holds memory under this name.
    pub fn release(&self, name: &str) -> Result<()> {
        self.ask(&format!("release {name}")).map(drop)
    }

    /// How much of what is held under this name is in the VM's RAM now: not swapped out, not
    /// killed.
    pub fn held_kib(&self, name: &str) -> Result<u64> {
        let said = self.ask(&format!("held {name}"))?;
        said.parse().with_context(|| format!("the VM holds {said:?} KiB"))
    }

    /// Reads again all that is held under this name, as a program would that works with it. The
    /// ticket is answered when all of it has been in RAM.
    pub fn touch(&self, name: &str) -> Result<Ticket> {
        self.order(&format!("touch {name}"))
    }

    /// How much went to the VM's swap disk and how much came back from it since its boot.
    pub fn swapped_kib(&self) -> Result<Swapped> {
        let said = self.ask("swapped")?;
        let figures = said.split_once(' ').with_context(|| format!("the VM swapped {said:?}"))?;
        let parse = |text: &str| text.parse().with_context(|| format!("the VM swapped {said:?}"));
        Ok(Swapped { out: parse(figures.0)?, back: parse(figures.1)? })
    }

    /// Starts work that needs `mib` at once; its answer is `WORK DONE mib checksum`.
    pub fn work(&self, mib: u64) -> Result<Ticket> {
        self.order(&format!("work {mib}"))
    }

    /// Reads `mib` from disk, which then stay in the VM's page cache.
    pub fn cache(&self, mib: u64) -> Result<Ticket> {
        self.order(&format!("cache {mib}"))
    }

    /// Makes the VM give its page cache up.
    pub fn drop_cache(&self) -> Result<()> {
        self.ask("drop").map(drop)
    }

    /// Makes the VM's kernel keep `mib` free for itself: they count as unused, and the balloon cannot
    /// have them. Nor can processes: ask nothing else of it until `mib` is little again.
    pub fn keep_free(&self, mib: u64) -> Result<()> {
        self.ask(&format!("keepfree {mib}")).map(drop)
    }

    /// The VM's own /proc/meminfo: `MemTotal`, `MemFree`, `MemAvailable`, `Cached`, `SwapFree`, …
    /// in KiB.
    pub fn meminfo_kib(&self) -> Result<BTreeMap<String, u64>> {
        let said = self.ask("meminfo")?;
        let words: Vec<&str> = said.split_whitespace().collect();
        words.chunks_exact(2).map(|pair| figure(pair[0].trim_end_matches(':'), pair[1])).collect()
    }

    /// Gives an order of `guest-init.sh`.
    pub fn order(&self, order: &str) -> Result<Ticket> {
        self.channel().send(order).with_context(|| format!("{}: order {order:?}", self.name()))
    }

    /// Waits for the answer to an order.
    pub fn finish(&self, ticket: Ticket, limit: Duration) -> Result<String> {
        let answer = self.channel().answer(ticket, limit);
        self.explained(answer)
    }

    /// Gives an order that is done at once.
    pub fn ask(&self, order: &str) -> Result<String> {
        let ticket = self.order(order)?;
        self.finish(ticket, ASK_LIMIT)
    }

    /// The memory that the VM holds now, as QEMU says.
    pub fn actual_kib(&self) -> Result<u64> {
        let stats = self.memory_stats_kib()?;
        stats.get("actual").copied().with_context(|| format!("{} has no actual", self.name()))
    }

    /// What libvirt says of the VM's memory: `actual`, `unused`, `usable`, `available`, `rss`,
    /// `last_update`, …; what the VM has not told is absent.
    pub fn memory_stats_kib(&self) -> Result<BTreeMap<String, u64>> {
        let printed = self.virsh(&["dommemstat", self.name()])?;
        printed.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| figure(k, v)).collect()
    }

    /// Host memory in RAM of the VM's process, overhead included.
    pub fn rss_kib(&self) -> Result<u64> {
        self.of_process("VmRSS:")
    }

    /// The most of it since the VM's start, or since [`Vm::forget_peak`].
    pub fn peak_kib(&self) -> Result<u64> {
        self.of_process("VmHWM:")
    }

    /// Lets the peak of its memory begin anew.
    pub fn forget_peak(&self) -> Result<()> {
        // proc_pid_clear_refs(5): 5 resets the peak resident set size.
        let file = self.space.path(&format!("/proc/{}/clear_refs", self.pid()?));
        std::fs::write(file, "5").with_context(|| format!("{} keeps its peak", self.name()))
    }

    fn of_process(&self, field: &str) -> Result<u64> {
        let status = self.space.read(&format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.with_context(|| format!("the process of {} has no {field}", self.name()))
    }

    /// Orders the VM to hold `mib`, as an operator at the host would.
    pub fn set_memory(&self, mib: u64) -> Result<()> {
        self.virsh(&["setmem", self.name(), &format!("{mib}MiB"), "--live"]).map(drop)
    }

    /// Waits until the VM holds `mib`, give or take 1 MiB.
    pub fn wait_actual(&self, mib: u64, limit: Duration) -> Result<()> {
        let what = format!("{} to hold {mib} MiB", self.name());
        let reached =
            clock::wait_until(&what, limit, || Ok(self.actual_kib()?.abs_diff(mib * 1024) <= 1024));
        self.explained(reached)
    }

    /// Stops the VM's process (SIGSTOP): libvirt's calls for it hang.
    pub fn freeze(&self) -> Result<()> {
        self.space.signal(self.pid()?, "STOP")
    }

    /// Lets a frozen VM go on.
    pub fn thaw(&self) -> Result<()> {
        self.space.signal(self.pid()?, "CONT")
    }

    /// Ends the VM's process by SIGKILL, as a crash of QEMU would.
    pub fn kill(&self) -> Result<()> {
        self.space.signal(self.pid()?, "KILL")
    }

    /// Pauses the VM's processors in the way libvirt knows of.
    pub fn suspend(&self) -> Result<()> {
        self.virsh(&["suspend", self.name()]).map(drop)
    }

    /// Lets a suspended VM go on.
    pub fn resume(&self) -> Result<()> {
        self.virsh(&["resume", self.name()]).map(drop)
    }

    /// Presses the reset button.
    pub fn reset(&self) -> Result<()> {
        self.virsh(&["reset", self.name()]).map(drop)
    }

    /// Cuts the VM's power. A persistent one can be started again.
    pub fn destroy(&self) -> Result<()> {
        self.channel().hang_up();
        self.virsh(&["destroy", self.name()]).map(drop)
    }

    /// Saves a persistent VM to the host's disk and ends it.
    pub fn managed_save(&self) -> Result<()> {
        self.channel().hang_up();
        self.virsh(&["managedsave", self.name()]).map(drop)
    }

    /// Starts a persistent VM that is off, from its save if it has one.
    pub fn start_again(&self) -> Result<()> {
        self.channel().hang_up();
        self.virsh(&["start", self.name()]).map(drop)
    }

    /// What its kernel and its init have printed since it was first started.
    pub fn console(&self) -> Result<String> {
        self.space.read(&self.spec.file("console"))
    }

    /// How many times its kernel ran out of memory and killed a process, or found none to kill.
    pub fn oom_kills(&self) -> Result<usize> {
        let console = self.console()?;
        Ok(console.lines().filter(|line| line.contains("Out of memory")).count())
    }

    /// How many times its kernel panicked.
    pub fn panics(&self) -> Result<usize> {
        Ok(self.console()?.matches("Kernel panic").count())
    }

    /// How many times it has booted to the end.
    pub fn boots(&self) -> Result<usize> {
        Ok(self.console()?.lines().filter(|line| line.starts_with("READY ")).count())
    }

    /// The number of its process inside the host.
    pub fn pid(&self) -> Result<u32> {
        let file = format!("/run/libvirt/qemu/{}.pid", self.name());
        let text = self.space.read(&file).context("is the VM running?")?;
        text.trim().parse().with_context(|| format!("{file} says {text:?}"))
    }

    fn virsh(&self, args: &[&str]) -> Result<String> {
        virsh(&self.space, args)
    }

    fn channel(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to an error what the VM itself said last.
    fn explained<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let console = self.console().unwrap_or_default();
            let lines: Vec<&str> = console.lines().rev().take(CONSOLE_TAIL).collect();
            let tail: Vec<&str> = lines.into_iter().rev().collect();
            format!("{}; its console ends with:\n{}", self.name(), tail.join("\n"))
        })
    }
}

fn figure(name: &str, value: &str) -> Result<(String, u64)> {
    let parsed = value.trim().parse();
    Ok((name.to_owned(), parsed.with_context(|| format!("{name} is {value:?}: not a number"))?))
}

fn make_disks(space: &Space, spec: &VmSpec) -> Result<()> {
    make_disk(space, &spec.file("disk"), spec.disk_mib())?;
    if spec.swap_mib > 0 {
        make_disk(space, &spec.file("swap"), spec.swap_mib)?;
    }
    Ok(())
}

/// A disk of zeros that takes no host memory until it is written to.
fn make_disk(space: &Space, path: &str, mib: u64) -> Result<()> {
    if mib > LARGEST_DISK_MIB {
        bail!("a disk of {mib} MiB is too large for the lab: at most {LARGEST_DISK_MIB} MiB");
    }
    let file = File::create(space.path(path)).with_context(|| format!("cannot make {path}"))?;
    file.set_len(mib * 1024 * 1024).with_context(|| format!("cannot size {path}"))
}

/// Disks are on the host's tmpfs.
const LARGEST_DISK_MIB: u64 = 16 * 1024;

/// A running VM answers in milliseconds; one that boots does not answer at all.
const PING_LIMIT: Duration = Duration::from_secs(1);

/// For orders that are done at once, by a VM that may be short of memory on a busy machine.
const ASK_LIMIT: Duration = Duration::from_secs(120);

/// Lines of the console that go with an error.
const CONSOLE_TAIL: usize = 15;
