//! [`Debian`]: a Debian with nothing in it but what a package needs, for a test to spoil.
//!
//! It is made once, from where apt has its packages, and kept with cargo's own files; each test gets a copy.
//! Whatever runs inside has processes, mounts and a network of its own; no systemd, unless it is booted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentd_tests::lab::clock;
use anyhow::{Context as _, Result, bail};

use crate::sim_host::{Answer, run};

/// A system of its own, in a folder that goes with it.
pub(crate) struct Debian {
    folder: tempfile::TempDir,
}

impl Debian {
    /// `None`, and it is said, where this machine cannot have one.
    pub(crate) fn open(test: &str) -> Option<Self> {
        if let Some(missing) = agentd_tests::lab::missing() {
            crate::skip(test, &missing);
            return None;
        }
        if !Path::new("/usr/sbin/debootstrap").exists() {
            crate::skip(test, "there is no debootstrap (see tests/install.sh)");
            return None;
        }
        let base = base().expect("a clean Debian is made");
        let folder = tempfile::Builder::new().prefix("debian-").tempdir_in(target()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(base.join(".")).arg(folder.path()).status();
        assert!(copied.unwrap().success(), "the clean Debian is copied");
        Some(Self { folder })
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    /// Runs a script of the shell to its end.
    pub(crate) fn run(&self, script: &str) -> Answer {
        let output = self.command("120", script).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            exit: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// As [`Debian::run`], and it has to succeed.
    pub(crate) fn done(&self, script: &str) -> String {
        let answer = self.run(script);
        assert_eq!(answer.exit, Some(0), "{script}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Starts a script that goes on; its log is a file inside.
    pub(crate) fn start(&self, script: &str, log: &str) -> Child {
        let log = fs::File::create(self.path(log)).unwrap();
        self.command("600", script).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Starts systemd in it. `None`, and it is said, where that may not be here.
    pub(crate) fn boot(&self, test: &str) -> Option<Booted<'_>> {
        let mut space = Command::new("unshare");
        space.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork"]);
        space.args(["--kill-child", "sh", "-c", BOOT]).arg(self.folder.path());
        let log = fs::File::create(self.path("/boot.log")).unwrap();
        let space = space.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut booted = Booted { _debian: self, space };
        let up = || booted.run("systemctl is-active multi-user.target").stdout == "active\n";
        if clock::wait_until("systemd to be up", UP_LIMIT, || Ok(up())).is_ok() {
            return Some(booted);
        }
        let log = fs::read_to_string(self.path("/boot.log")).unwrap();
        crate::skip(test, &format!("systemd does not run in namespaces here: {log}"));
        let _ = booted.space.kill();
        None
    }

    fn command(&self, seconds: &str, script: &str) -> Command {
        let root = self.folder.path().display();
        let mut command = Command::new("timeout");
        command.args(["-k", "1", seconds, "unshare", "--mount", "--pid", "--net", "--fork"]);
        command.args(["--kill-child", &format!("--mount-proc={root}/proc"), "chroot"]);
        command.arg(self.folder.path()).args(["/bin/sh", "-c", script]);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command
    }
}

/// One that systemd runs in; ends with it.
pub(crate) struct Booted<'a> {
    /// Its files outlive it.
    _debian: &'a Debian,
    space: Child,
}

impl Booted<'_> {
    /// Runs a script of the shell to its end.
    pub(crate) fn run(&self, script: &str) -> Answer {
        let mut command = Command::new("nsenter");
        // Process 1 inside is the child of who holds the space.
        let holder = self.space.id();
        let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children"));
        command.args([
            "-t",
            children.unwrap_or_default().trim(),
            "-m",
            "-p",
            "-n",
            "-u",
            "-i",
            "-C",
        ]);
        command.args(["--root", "--wd=/", "/bin/sh", "-c", script]).current_dir("/");
        command.env("PATH", PATH).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    }

    /// As [`Booted::run`], and it has to succeed.
    pub(crate) fn done(&self, script: &str) -> String {
        let answer = self.run(script);
        let journal = || self.run("journalctl --no-pager -n 30 -u agentd").stdout;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.exit, Some(0), "{script}: {said}{}", journal());
        answer.stdout.trim().to_owned()
    }
}

impl Drop for Booted<'_> {
    fn drop(&mut self) {
        // Process 1 of the space goes with it, and all others with that.
        let _ = self.space.kill();
        let _ = self.space.wait();
    }
}

/// The clean system that others are copies of. Made by one test while the others wait.
fn base() -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let suite = suite()?;
    let base = target().join(format!("debian-{suite}-2"));
    if base.exists() {
        return Ok(base);
    }
    let new = target().join(format!("debian-{suite}.new"));
    // Left by a run that was ended in the middle.
    let _ = fs::remove_dir_all(&new);
    let mut make = Command::new("timeout");
    make.args(["-k", "5", "600", "debootstrap", "--variant=minbase", NEEDS, &suite]);
    let made = make.arg(&new).arg(mirror(&suite)?).env("LC_ALL", "C").output()?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stdout);
        bail!("debootstrap: {}{}", said, String::from_utf8_lossy(&made.stderr));
    }
    fs::remove_dir_all(new.join("var/cache/apt/archives"))?;
    fs::rename(&new, &base)?;
    Ok(base)
}

/// The release of this machine: the programs are linked to its libraries.
fn suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release")?.to_owned())
}

/// Where apt has the packages of a release.
fn mirror(suite: &str) -> Result<String> {
    let args = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let asked = Command::new("apt-get").args(args).arg(format!("Codename: {suite}")).output()?;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let first = said.lines().next().map(str::to_owned);
    first.context("apt has no packages of this release: run apt-get update")
}

/// Cargo's own folder for what tests keep.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Beside the least that makes a Debian: what the packages depend on, and what a service runs under.
const NEEDS: &str = "--include=libvirt0,systemd,dbus";
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What becomes process 1 of a system below the folder that it is given.
const BOOT: &str = "set -e
mount --make-rprivate /
mount --bind \"$0\" \"$0\"
mount -t proc proc \"$0/proc\"
mount -t tmpfs tmpfs \"$0/run\"
mount -t tmpfs tmpfs \"$0/tmp\"
mount --rbind /sys \"$0/sys\"
exec chroot \"$0\" env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal";
/// It takes two seconds on a machine with nothing else to do.
const UP_LIMIT: Duration = Duration::from_secs(300);
