//! A line through ssh: `ssh HOST agentd proxy`, whose input and output are the agent's socket. Who
//! one is there, and how ssh gets there, is ssh's own business.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::{Line, Link};
use crate::address::{Address, Ssh};
use crate::failure::{Code, Failure};

/// Starts ssh. What it says of itself is known only when it ends.
pub(super) fn dial(address: &Ssh, link: Arc<Link>) -> Result<Box<dyn Line>, Failure> {
    let mut command = Command::new("ssh");
    command.args(arguments(address));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| no_ssh(&error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Failure::new(Code::Internal, "SSH_PIPES", "ssh has no input or output"));
    };
    let (open, closed) = oneshot::channel();
    tokio::spawn(attend(child, stderr, address.clone(), Arc::clone(&link), closed));
    Ok(Box::new(Pipe { stdin, stdout, link, _open: open }))
}

/// ssh's own command line. The address was checked to hold nothing that it takes for an option.
fn arguments(address: &Ssh) -> Vec<String> {
    let mut arguments = vec!["-T".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()];
    if let Some(port) = address.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.push(address.destination());
    arguments.extend(["agentd".to_owned(), "proxy".to_owned()]);
    if let Some(socket) = &address.socket {
        arguments.extend(["--socket".to_owned(), socket.clone()]);
    }
    arguments
}

/// Waits for the end of ssh, or ends it when the connection is over.
async fn attend(
    mut child: Child,
    stderr: ChildStderr,
    address: Ssh,
    link: Arc<Link>,
    closed: oneshot::Receiver<()>,
) {
    // It may end by itself once its input is closed; dropping the child kills it.
    let over = async {
        let _ = closed.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        (status, said) = end(&mut child, stderr) => link.note(failure(&address, status, &said)),
        () = over => {}
    }
}

/// How it ended, and the last that it said. A master connection that ssh leaves behind may keep its
/// stderr open for long.
async fn end(child: &mut Child, mut stderr: ChildStderr) -> (Option<ExitStatus>, String) {
    let mut said = Vec::new();
    let status = tokio::select! {
        status = child.wait() => status,
        () = collect(&mut stderr, &mut said) => child.wait().await,
    };
    // What does not come at once belongs to somebody else.
    let _ = tokio::time::timeout(MOMENT, collect(&mut stderr, &mut said)).await;
    (status.ok(), last_lines(&said))
}

/// Reads to the end, and keeps the last of it.
async fn collect(stderr: &mut ChildStderr, said: &mut Vec<u8>) {
    let mut part = [0; 1024];
    // What cannot be read is not there.
    while let Ok(read) = stderr.read(&mut part).await {
        if read == 0 {
            break;
        }
        said.extend_from_slice(part.get(..read).unwrap_or_default());
        let surplus = said.len().saturating_sub(MOST_OF_STDERR);
        said.drain(..surplus);
    }
}

fn last_lines(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.len().saturating_sub(MOST_LINES);
    lines.get(last..).unwrap_or_default().join("; ")
}

/// What its end means.
fn failure(ssh: &Ssh, status: Option<ExitStatus>, said: &str) -> Failure {
    let (address, host) = (Address::Ssh(ssh.clone()), ssh.destination());
    let code = status.and_then(|status| status.code());
    let said = if said.is_empty() { "it said nothing".to_owned() } else { said.to_owned() };
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (kind, reason, hint) = match code {
        Some(127) => (
            Code::Unavailable,
            "AGENTD_MISSING",
            format!("install agentd there, in the PATH of ssh {host} echo '$PATH'"),
        ),
        Some(SSH_FAILED) if has(&["Host key verification failed", "HOST IDENTIFICATION"]) => (
            Code::Unauthenticated,
            "SSH_HOST_KEY",
            format!("ssh {host} shows the host's key: compare it, then accept it there"),
        ),
        Some(SSH_FAILED) if has(&["Permission denied", "Too many authentication failures"]) => (
            Code::PermissionDenied,
            "SSH_DENIED",
            format!(
                "memctl types no password: ssh-add your key, ssh-copy-id {host} it, and try ssh -o \
                 BatchMode=yes {host} true"
            ),
        ),
        Some(SSH_FAILED) => (
            Code::Unavailable,
            "SSH_FAILED",
            format!("does ssh -o BatchMode=yes {host} true work?"),
        ),
        Some(_) if has(&["may not open"]) => (
            Code::PermissionDenied,
            "SOCKET_PERMISSION",
            "log in as root, or as a member of the socket's group".to_owned(),
        ),
        _ => (
            Code::Unavailable,
            "PROXY_ENDED",
            format!("is agentd running there? ssh {host} systemctl status agentd"),
        ),
    };
    Failure::new(kind, reason, format!("{address}: {said}")).hint(hint)
}

fn no_ssh(error: &io::Error) -> Failure {
    let failure = |what| Failure::new(Code::Unavailable, "SSH_MISSING", what);
    if error.kind() == io::ErrorKind::NotFound {
        return failure("there is no program ssh on this machine".to_owned())
            .hint("install it (apt install openssh-client), or reach the host by https://");
    }
    failure(format!("cannot run ssh: {error}"))
}

/// Input and output of ssh.
struct Pipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    link: Arc<Link>,
    /// Dropped with the rest.
    _open: oneshot::Sender<()>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stdout).poll_read(cx, buf));
        if result.is_err() || buf.filled().len() == before {
            self.link.ends();
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stdin).poll_write(cx, buf));
        if result.is_err() {
            self.link.ends();
        }
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

/// ssh's exit code for its own failures.
const SSH_FAILED: i32 = 255;
/// Time for ssh to end by itself.
const GRACE: Duration = Duration::from_secs(2);
const MOMENT: Duration = Duration::from_millis(100);
const MOST_OF_STDERR: usize = 4096;
const MOST_LINES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(uri: &str) -> Ssh {
        let Address::Ssh(ssh) = Address::parse(uri).unwrap() else { panic!("{uri}") };
        ssh
    }

    #[test]
    fn the_command_line_is_one_that_can_be_typed() {
        for (uri, line) in [
            ("ssh://node1", "-T -o BatchMode=yes node1 agentd proxy"),
            (
                "ssh://root@[fd00::1]:22/run/a.sock",
                "-T -o BatchMode=yes -p 22 root@fd00::1 agentd proxy --socket /run/a.sock",
            ),
        ] {
            assert_eq!(arguments(&ssh(uri)).join(" "), line);
        }
    }

    #[test]
    #[cfg(unix)]
    fn each_end_of_ssh_has_its_meaning() {
        use std::os::unix::process::ExitStatusExt as _;
        for (code, said, reason, kind) in [
            (127, "sh: agentd: not found", "AGENTD_MISSING", Code::Unavailable),
            (255, "a@b: Permission denied (publickey).", "SSH_DENIED", Code::PermissionDenied),
            (255, "Host key verification failed.", "SSH_HOST_KEY", Code::Unauthenticated),
            (255, "ssh: Could not resolve hostname x", "SSH_FAILED", Code::Unavailable),
            (1, "agentd: you may not open /s", "SOCKET_PERMISSION", Code::PermissionDenied),
            (1, "agentd: there is no socket /s", "PROXY_ENDED", Code::Unavailable),
        ] {
            let status = ExitStatus::from_raw(code << 8);
            let failure = failure(&ssh("ssh://node1"), Some(status), said);
            assert_eq!((failure.reason.as_str(), failure.code), (reason, kind));
            assert!(failure.message.ends_with(said), "{}", failure.message);
        }
    }
}
