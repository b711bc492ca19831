//! One acting agentd for one host. Needs root, for a host of its own: a network and a /run that
//! nobody else sees; says so where there is none.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    process::{Child, Command, Output, Stdio},
};

use crate::rig::{AGENTD, Home};

/// Namespaces that end with it.
struct Apart {
    holder: Child,
}

impl Apart {
    /// `None` where this machine does not let us.
    fn new(test: &str) -> Option<Self> {
        let script = "mount -t tmpfs tmpfs /run && echo ready && exec sleep 600";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        if has_said(&mut holder, "ready") {
            return Some(Self { holder });
        }
        let _ = holder.kill();
        let _ = holder.wait();
        // Straight to stderr: what a passing test prints by macro is not shown.
        let skipped = format!("skipped {test}: no root, or no namespaces\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        None
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        command.args(["--target", &pid, "--mount", "--net", "--wd=/", "--", program]);
        command
    }

    /// An agentd for a real hypervisor, which is not there; each with files of its own.
    fn agentd(&self, home: &Home) -> Command {
        let mut arguments = home.arguments(&home.path("state"));
        arguments[2] = "qemu:///system?socket=/run/nobody".to_owned();
        let mut command = self.command(AGENTD);
        command.args(arguments);
        command
    }

    fn refused(&self) -> String {
        let Output { status, stderr, .. } = self.agentd(&Home::new()).output().unwrap();
        let problem = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(75), "{problem}");
        problem
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Waits until a child says this; false when it ends without.
fn has_said(child: &mut Child, what: &str) -> bool {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    lines.any(|line| line.unwrap().trim() == what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agentd_ends_also_when_the_lock_file_was_deleted() {
    let Some(apart) = Apart::new("a_second_agentd") else { return };
    let home = Home::new();
    let agent = home.start_as(apart.agentd(&home)).await;
    let first = format!("another agentd (pid {}) is at work on this host", agent.pid());
    let problem = apart.refused();
    assert!(problem.contains(&first) && problem.contains("stop it first"), "{problem}");
    assert!(apart.command("rm").arg("/run/agentd/lock").status().unwrap().success());
    for _ in 0..3 {
        let problem = apart.refused();
        assert!(problem.contains(&first), "{problem}");
    }
    // A simulated host is another one, and the first is as it was.
    drop(Home::new().start().await);
    agent.until_ticks_go_on().await;

    // However it ends, the next one may begin.
    agent.kill();
    home.start_as(apart.agentd(&home)).await.until_ticks_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_takes_the_name_keeps_no_agentd_away() {
    let Some(apart) = Apart::new("a_stranger") else { return };
    let me = std::env::current_exe().unwrap();
    let mut stranger = apart.command("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(me);
    stranger.args(["--exact", "host::squat", "--nocapture"]).env(SQUATTER, "1");
    let mut stranger = stranger.stdout(Stdio::piped()).spawn().unwrap();
    assert!(has_said(&mut stranger, "taken"), "the stranger has ended");

    let home = Home::new();
    let agent = home.start_as(apart.agentd(&home)).await;
    home.until_log("is taken by uid 65534");
    // The file alone does as well.
    let problem = apart.refused();
    assert!(problem.contains(&format!("(pid {})", agent.pid())), "{problem}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_that_root_has_it_runs_and_says_what_it_lacks() {
    let Some(apart) = Apart::new("without_rights") else { return };
    let home = Home::new();
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(home.dir.path(), everybody).unwrap();
    let mut command = apart.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", AGENTD]);
    let mut arguments = home.arguments(&home.path("state"));
    arguments[2] = "qemu:///system?socket=/run/nobody".to_owned();
    let agent = home
        .start_as({
            command.args(arguments);
            command
        })
        .await;
    home.until_log("WARN agentd's oom_score_adj is not -900 (Permission denied");
    agent.until_ticks_go_on().await;
}

/// What runs as the stranger; nothing otherwise.
#[test]
fn squat() {
    if std::env::var_os(SQUATTER).is_none() {
        return;
    }
    let _name =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name("agentd").unwrap()).unwrap();
    println!("\ntaken");
    // Killed by whoever started it.
    loop {
        std::thread::park();
    }
}

const SQUATTER: &str = "AGENTD_TEST_CHILD_SQUATS";
