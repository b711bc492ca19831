//! agentd under a supervisor: a socket that stands in for systemd's hears what it says, and a listener
//! that stands in for `agentd.socket` is served.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use agentd::clock::{Clock as _, RealClock};
use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::rig::{AGENTD, Agent, Home, LONG, pause};

/// What stands in for systemd, and all that it has heard.
struct Supervisor {
    socket: UnixDatagram,
    heard: String,
}

impl Supervisor {
    fn of(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: String::new() }
    }

    fn command(home: &Home) -> Command {
        let mut command = Command::new(AGENTD);
        command.args(home.arguments(&home.path("state")));
        command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "30000000");
        command
    }

    /// Listens to all that was said by now.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            self.heard += &String::from_utf8_lossy(&bytes[..length]);
            self.heard.push('\n');
        }
    }

    /// Waits until a line that begins so was said; what came before it is forgotten. Its rest.
    fn until(&mut self, what: &str) -> String {
        let clock = RealClock::start();
        while clock.now() < LONG {
            self.listen();
            let lines: Vec<&str> = self.heard.lines().collect();
            if let Some(at) = lines.iter().position(|line| line.starts_with(what)) {
                let rest = lines[at][what.len()..].to_owned();
                self.heard = lines[at + 1..].iter().map(|line| format!("{line}\n")).collect();
                return rest;
            }
            pause();
        }
        panic!("not a word of {what}: {}", self.heard);
    }

    fn forget(&mut self) {
        self.listen();
        self.heard.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_after_a_tick_lives_by_ticks_reloads_and_stops() {
    let home = Home::new();
    let mut supervisor = Supervisor::of(&home);
    let mut agent = home.start_as(Supervisor::command(&home)).await;
    let status = supervisor.until("STATUS=");
    assert_eq!(status, "mode active, 1 VMs");
    assert_eq!(supervisor.until("READY="), "1");
    for _ in 0..3 {
        assert_eq!(supervisor.until("WATCHDOG="), "1");
    }
    agent.signal("HUP");
    assert_eq!(supervisor.until("RELOADING="), "1");
    let said: u64 = supervisor.until("MONOTONIC_USEC=").parse().unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    // Both count from the boot, but for the time that the machine was suspended.
    assert!(said > 0 && said / 1_000_000 <= uptime + 1, "{said} {uptime}");
    assert_eq!(supervisor.until("READY="), "1");
    agent.signal("TERM");
    assert_eq!(supervisor.until("STOPPING="), "1");
    assert_eq!(agent.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_refused_is_told_to_the_supervisor_until_one_is_taken() {
    let home = Home::new();
    let mut supervisor = Supervisor::of(&home);
    let agent = home.start_as(Supervisor::command(&home)).await;
    supervisor.until("READY=");
    fs::write(home.path("agentd.toml"), "[tick]\nintervall = \"1s\"\n").unwrap();
    agent.signal("HUP");
    supervisor.until("RELOADING=");
    let status = supervisor.until("STATUS=");
    assert!(status.contains("is refused, all is as before"), "{status}");
    assert!(status.contains("agentd.toml:2: tick.intervall is no key that is known"), "{status}");
    supervisor.until("READY=");
    fs::write(home.path("agentd.toml"), "").unwrap();
    agent.signal("HUP");
    assert_eq!(supervisor.until("STATUS="), "mode active, 1 VMs");
}

/// One thread of a process, stopped until this is dropped; all others go on.
struct Stopped {
    release: Option<mpsc::Sender<()>>,
    tracer: Option<thread::JoinHandle<()>>,
}

impl Stopped {
    /// `None` where this machine does not let us.
    fn thread(agent: &Agent, name: &str) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
        let is_it = |folder: &fs::DirEntry| {
            fs::read_to_string(folder.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.map(Result::unwrap).find(is_it);
        let task = task.unwrap_or_else(|| panic!("agentd has no thread {name}"));
        let id = Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
        let ((release, released), (tell, told)) = (mpsc::channel(), mpsc::channel());
        // Who traces is a thread, and all that it traces goes on when it ends.
        let tracer = thread::spawn(move || {
            let stopped = ptrace::seize(id, ptrace::Options::empty())
                .and_then(|()| ptrace::interrupt(id))
                .and_then(|()| waitpid(id, Some(WaitPidFlag::__WALL)));
            let is_stopped = stopped.is_ok();
            tell.send(stopped).unwrap();
            if is_stopped {
                let _ = released.recv();
                let _ = ptrace::detach(id, None);
            }
        });
        let stopped = Self { release: Some(release), tracer: Some(tracer) };
        told.recv().unwrap().ok().map(|_| stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.release.take());
        let _ = self.tracer.take().map(thread::JoinHandle::join);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_is_stuck_stops_the_watchdog_though_all_else_goes_on() {
    let home = Home::new();
    let mut supervisor = Supervisor::of(&home);
    let agent = home.start_as(Supervisor::command(&home)).await;
    supervisor.until("WATCHDOG=");
    let Some(stopped) = Stopped::thread(&agent, "tick") else {
        // Straight to stderr: what a passing test prints by macro is not shown.
        let skipped = "skipped a_tick_that_is_stuck: no right to trace\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    };
    supervisor.forget();
    let clock = RealClock::start();
    // The time of twenty ticks, in which the server answers as ever.
    while clock.now() < std::time::Duration::from_secs(2) {
        agent.status().await.unwrap();
        pause();
    }
    supervisor.listen();
    assert!(!supervisor.heard.contains("WATCHDOG=1"), "{}", supervisor.heard);
    drop(stopped);
    supervisor.until("WATCHDOG=1");
    agent.until_ticks_go_on().await;
}

/// An agentd that is given something as its first socket, as systemd would.
fn given(socket: OwnedFd, arguments: &[String]) -> Command {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec \"$0\" \"$@\" 3<&0 </dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, AGENTD]).args(arguments).stdin(Stdio::from(socket));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_it_is_given_is_served_and_left_in_its_place() {
    let home = Home::new();
    let path = home.path("agentd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = || OwnedFd::from(listener.try_clone().unwrap());
    let arguments = home.arguments(&home.path("state"));
    // With the config naming the same place, and none.
    for arguments in [&arguments[..], &arguments[..7]] {
        let mut agent = home.start_as(given(socket(), arguments)).await;
        agent.signal("TERM");
        assert_eq!(agent.wait().code(), Some(0), "{}", home.log());
        assert!(UnixStream::connect(&path).is_ok(), "the socket is open and in its place");
    }
    assert!(!home.log().contains("cannot be given to the group"), "{}", home.log());
}

#[test]
fn what_it_is_given_and_cannot_serve_ends_the_start() {
    let home = Home::new();
    let file = fs::File::open(home.path("scenario.toml")).unwrap();
    let refused = given(file.into(), &home.arguments(&home.path("state"))).output().unwrap();
    let problem = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{problem}");
    let words =
        "agentd: agentd was started with a socket that it cannot serve (fd 3 is not a socket)";
    assert!(problem.contains(words), "{problem}");
}
