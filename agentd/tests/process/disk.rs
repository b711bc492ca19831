//! A state directory on a disk that gets full, or read-only. Needs root, for a small file system
//! in a mount namespace of its own; says so where there is none.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use agentd_proto::v1 as wire;
use wire::Mode;

use crate::rig::{AGENTD, Agent, Home, SCENARIO};

/// A small file system that only those see who enter its namespace. Gone when dropped.
pub(crate) struct SmallDisk {
    holder: Child,
    mount: PathBuf,
}

impl SmallDisk {
    /// `None` where this machine does not let us.
    pub(crate) fn new(home: &Home, test: &str) -> Option<Self> {
        let mount = home.path("disk");
        std::fs::create_dir(&mount).unwrap();
        let script = format!(
            "mount -t tmpfs -o size=2m tmpfs '{}' && echo ready && exec sleep 600",
            mount.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() == "ready" {
            return Some(Self { holder, mount });
        }
        let _ = holder.kill();
        let _ = holder.wait();
        // Straight to stderr: what a passing test prints by macro is not shown.
        let skipped = format!("skipped {test}: no root, or no mount namespaces\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        None
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--wd=/", "--"]);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = self.enter();
        command.arg(program).args(arguments).stderr(Stdio::null());
        // dd fails when the disk is full, which is what it is for.
        command.status().unwrap();
    }

    pub(crate) fn fill(&self) {
        let to = format!("of={}", self.mount.join("fill").display());
        self.run("dd", &["if=/dev/zero", &to, "bs=64k"]);
        self.run("dd", &["if=/dev/zero", &to, "bs=1", "oflag=append", "conv=notrunc"]);
    }

    pub(crate) fn empty(&self) {
        self.run("rm", &[&self.mount.join("fill").display().to_string()]);
    }

    pub(crate) fn remount(&self, how: &str) {
        self.run("mount", &["-o", &format!("remount,{how}"), &self.mount.display().to_string()]);
    }

    fn state(&self) -> PathBuf {
        self.mount.join("state")
    }

    /// Copies the state directory to where everybody sees it.
    pub(crate) fn copy_state(&self, to: &Path) {
        self.run("cp", &["-r", &self.state().display().to_string(), &to.display().to_string()]);
    }

    pub(crate) async fn start(&self, home: &Home) -> Agent {
        let mut command = self.enter();
        command.arg(AGENTD).args(home.arguments(Path::new(&self.state())));
        home.start_as(command).await
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_tick_refuses_changes_and_keeps_a_pause() {
    let freeze =
        |home: &Home| format!("[state]\nfreeze_file = \"{}\"\n", home.path("freeze").display());
    let home = Home::with(SCENARIO, freeze);
    let Some(disk) = SmallDisk::new(&home, "a_full_disk") else { return };
    let agent = disk.start(&home).await;
    agent.set_floor(65 << 20).await.unwrap();
    disk.fill();

    let refused = agent.set_floor(66 << 20).await.unwrap_err();
    assert!(refused.message().contains("was not made"), "{refused}");
    assert_eq!(agent.floor().await, 65 << 20);
    assert!(agent.set_mode(Mode::Observe).await.is_err());
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active);
    let paused = agent.set_mode(Mode::Paused).await.unwrap();
    assert_eq!((paused.mode(), paused.durable), (Mode::Paused, true));
    agent.until_ticks_go_on().await;
    agent.until_condition("HISTORY_NOT_RECORDED", true).await;
    // The freeze file is on another disk, and needs none.
    std::fs::write(home.path("freeze"), "").unwrap();
    agent.until_condition("FROZEN", true).await;
    std::fs::remove_file(home.path("freeze")).unwrap();
    agent.until_condition("FROZEN", false).await;
    agent.kill();

    // Also through a restart, still without room.
    let agent = disk.start(&home).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
    assert_eq!(agent.floor().await, 65 << 20);
    disk.empty();
    agent.until_condition("HISTORY_NOT_RECORDED", false).await;
    agent.set_floor(66 << 20).await.unwrap();
    agent.set_mode(Mode::Active).await.unwrap();
    agent.kill();
    let agent = disk.start(&home).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active);
    assert_eq!(agent.floor().await, 66 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_a_pause_holds_says_that_it_is_not_durable_and_is_written_later() {
    let home = Home::new();
    let Some(disk) = SmallDisk::new(&home, "a_read_only_disk") else { return };
    // What is open for writing keeps a file system writable: the disk changes while agentd is away.
    disk.start(&home).await.kill();
    disk.remount("ro");
    let agent = disk.start(&home).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Active);
    assert!(agent.set_floor(66 << 20).await.is_err());
    let paused = agent.set_mode(Mode::Paused).await.unwrap();
    assert_eq!((paused.mode(), paused.durable), (Mode::Paused, false));
    assert!(agent.has_condition("PAUSE_NOT_DURABLE").await);
    agent.until_ticks_go_on().await;

    disk.remount("rw");
    agent.until_condition("PAUSE_NOT_DURABLE", false).await;
    agent.kill();
    let agent = disk.start(&home).await;
    assert_eq!(agent.status().await.unwrap().mode(), Mode::Paused);
}
