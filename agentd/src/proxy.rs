//! `agentd proxy`: standard input and output joined with the local agent's socket, for a memctl that
//! comes through ssh. Asks no hypervisor; who one is, the kernel tells the agent.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    thread,
};

use crate::{args::ProxyArgs, places};

/// Why there is no line to the agent.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// There is nothing.
    #[error("there is no socket {}; is agentd running? systemctl status agentd", .0.display())]
    NoSocket(PathBuf),
    /// Nobody answers.
    #[error("nobody listens on {}: agentd stopped and left its socket; start it again", .0.display())]
    Refused(PathBuf),
    /// It is not for this user.
    #[error("you may not open {}: it is for root and the socket's group", .0.display())]
    Forbidden(PathBuf),
    /// Something else.
    #[error("cannot open {}: {error}", .path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The line broke.
    #[error("the line broke: {0}")]
    Broken(#[from] io::Error),
}

/// Carries bytes both ways until the agent, or whoever reads standard output, closes.
///
/// # Errors
///
/// Fails when the agent's socket cannot be opened, or the line breaks.
pub fn proxy(args: &ProxyArgs) -> Result<(), ProxyError> {
    let socket = open(&args.socket.clone().unwrap_or_else(default_socket))?;
    // Not those of std, which keep bytes back.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    relay(input, output, &socket).map_err(ProxyError::Broken)
}

fn open(path: &Path) -> Result<UnixStream, ProxyError> {
    let path = path.to_owned();
    match UnixStream::connect(&path) {
        Ok(socket) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ProxyError::NoSocket(path)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(ProxyError::Refused(path))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(ProxyError::Forbidden(path))
        }
        Err(error) => Err(ProxyError::Unreachable { path, error }),
    }
}

/// Where an agent of the system listens, or else one of this user.
fn default_socket() -> PathBuf {
    let system = PathBuf::from("/run/agentd/agentd.sock");
    let user = places::runtime_dir().join("agentd.sock");
    if !system.exists() && user.exists() { user } else { system }
}

/// The end of the input is passed on, and what the agent still says comes through; the end of what
/// it says is the end.
fn relay(
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
    socket: &UnixStream,
) -> io::Result<()> {
    let (mut from_agent, mut to_agent) = (socket.try_clone()?, socket.try_clone()?);
    // It may wait for input for ever: the process does not wait for it.
    thread::spawn(move || {
        let ended = carry(&mut input, &mut to_agent);
        let how = if ended.is_ok() { Shutdown::Write } else { Shutdown::Both };
        // A socket that is closed already cannot be closed.
        let _ = to_agent.shutdown(how);
    });
    match carry(&mut from_agent, &mut output) {
        // Whoever read has gone, which ends the line and is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

/// Passes on what comes as it comes.
fn carry(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut part = vec![0; PART];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(part.get(..read).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// As much as is carried at a time.
const PART: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_input_is_passed_on_and_the_answer_still_comes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = thread::spawn(move || {
            let (mut asked, mut theirs) = (String::new(), theirs);
            theirs.read_to_string(&mut asked).unwrap();
            theirs.write_all(format!("{asked}!").as_bytes()).unwrap();
        });
        let mut answer = Vec::new();
        relay(&b"who is it"[..], &mut answer, &ours).unwrap();
        agent.join().unwrap();
        assert_eq!(answer, b"who is it!");
    }

    #[test]
    fn it_ends_with_the_agent_while_the_input_is_still_open() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (waiting, _open) = UnixStream::pair().unwrap();
        theirs.write_all(b"bye").unwrap();
        drop(theirs);
        let mut answer = Vec::new();
        relay(waiting, &mut answer, &ours).unwrap();
        assert_eq!(answer, b"bye");
    }

    #[test]
    fn it_ends_when_nobody_reads() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (waiting, _open) = UnixStream::pair().unwrap();
        theirs.write_all(b"anybody?").unwrap();
        relay(waiting, Gone, &ours).unwrap();
    }

    #[test]
    fn a_socket_that_cannot_be_opened_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentd.sock");
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("there is no socket") && error.contains("is agentd running?"));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(open(&path).unwrap_err().to_string().contains("nobody listens on"));
    }
}
