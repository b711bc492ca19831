//! [`HostLock`]: one acting agentd for one host.
//!
//! Held twice: as a lock file in the runtime directory, and as the name of an abstract Unix socket.
//! Whoever deletes the file lets no second agentd in, for the name is still taken; whoever takes the
//! name without being agentd's user or root keeps nobody out, for the file is still free. Abstract
//! names belong to a network namespace, and with it to a host.

use std::{
    fs::DirBuilder,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::DirBuilderExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{net::Shutdown, process::geteuid};
use tokio::net::UnixStream;

use crate::lock::{Lock, LockError};

/// Held until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct HostLock {
    _file: Option<Lock>,
    _name: Option<Name>,
}

/// Why this host is not ours.
#[derive(Debug, thiserror::Error)]
pub enum HostLockError {
    /// Another agentd serves it.
    #[error(
        "another agentd ({0}) is at work on this host, and one is all that may be: stop it first; \
         \"sim:FILE\" serves a simulated host beside it"
    )]
    Busy(String),
    /// Neither the file nor the name can be had.
    #[error(
        "cannot make sure that no other agentd is at work: the lock file {path} cannot be used \
         ({problem}), and {stranger}; make its directory writable for this user"
    )]
    Unsure {
        /// The lock file.
        path: String,
        /// What the system says of it.
        problem: String,
        /// Who has the name.
        stranger: String,
    },
}

impl HostLock {
    /// Takes the host: the file "lock" in `dir`, which is created where it is missing, and the name.
    ///
    /// # Errors
    ///
    /// Fails when another agentd has either, or when neither can be had.
    pub fn take(dir: &Path) -> Result<Self, HostLockError> {
        Self::take_as(dir, NAME)
    }

    fn take_as(dir: &Path, name: &str) -> Result<Self, HostLockError> {
        let path = dir.join("lock");
        let made = make_dir(dir).map_err(LockError::Unusable);
        let file = match made.and_then(|()| Lock::take(&path)) {
            Ok(lock) => Ok(lock),
            Err(LockError::Busy(holder)) => return Err(HostLockError::Busy(holder)),
            Err(LockError::Unusable(error)) => Err(error.to_string()),
        };
        let path = path.display().to_string();
        match (file, Name::take(name)) {
            (_, Err(Taken::ByAgentd(holder))) => Err(HostLockError::Busy(holder)),
            (Ok(file), Ok(name)) => Ok(Self { _file: Some(file), _name: Some(name) }),
            (Ok(file), Err(Taken::ByStranger(stranger))) => {
                tracing::warn!("{stranger}; only {path} keeps a second agentd away");
                Ok(Self { _file: Some(file), _name: None })
            }
            (Err(problem), Ok(name)) => {
                tracing::warn!(
                    "cannot use {path}: {problem}; only the name \"{NAME}\" of an \
                     abstract socket keeps a second agentd away"
                );
                Ok(Self { _file: None, _name: Some(name) })
            }
            (Err(problem), Err(Taken::ByStranger(stranger))) => {
                Err(HostLockError::Unsure { path, problem, stranger })
            }
        }
    }
}

/// Clients look for agentd's socket in the same directory.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(dir)
}

/// The name of an abstract socket, on which a thread answers whoever asks by hanging up.
#[derive(Debug)]
struct Name {
    listener: Arc<UnixListener>,
    thread: Option<JoinHandle<()>>,
}

/// Who has the name.
#[derive(Debug)]
enum Taken {
    /// A process of our user or of root, which no stranger is.
    ByAgentd(String),
    /// Anybody else, in words.
    ByStranger(String),
}

impl Name {
    fn take(name: &str) -> Result<Self, Taken> {
        let strange = |error: io::Error| {
            Taken::ByStranger(format!(
                "the name \"{name}\" of an \
             abstract socket cannot be had: {error}"
            ))
        };
        let address = SocketAddr::from_abstract_name(name).map_err(strange)?;
        let listener = match UnixListener::bind_addr(&address) {
            Ok(listener) => Arc::new(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(holder(name)),
            Err(error) => return Err(strange(error)),
        };
        let ours = Arc::clone(&listener);
        let thread = thread::Builder::new().name("host-lock".to_owned());
        let thread = Some(thread.spawn(move || hang_up(&ours)).map_err(strange)?);
        Ok(Self { listener, thread })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Ends the thread, which has a share of the listener.
        let ended = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take().filter(|_| ended.is_ok()) {
            // It does not panic, or nobody would be here.
            let _ = thread.join();
        }
    }
}

/// Takes whoever asks off the queue: a full one could not tell who is at the other end of it.
fn hang_up(listener: &UnixListener) {
    loop {
        match listener.accept() {
            Ok(asked) => drop(asked),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            // Out of descriptors, perhaps: the name is ours all the same.
            Err(_) => thread::park_timeout(ACCEPT_BACKOFF),
        }
    }
}

/// Who has this name: the kernel says which user listens, whatever the process says.
fn holder(name: &str) -> Taken {
    let peer = tokio::runtime::Builder::new_current_thread().enable_io().build().and_then(|it| {
        it.block_on(async { UnixStream::connect(format!("\0{name}")).await?.peer_cred() })
    });
    let taken = format!("the name \"{name}\" of an abstract socket is taken");
    match peer {
        Ok(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => Taken::ByAgentd(
            peer.pid().map_or_else(|| "of unknown pid".to_owned(), |pid| format!("pid {pid}")),
        ),
        Ok(peer) => {
            let pid = peer.pid().map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            Taken::ByStranger(format!(
                "{taken} by uid {}, pid {pid}, who is neither root nor this \
                 user",
                peer.uid()
            ))
        }
        Err(error) => {
            Taken::ByStranger(format!("{taken} by somebody who does not answer ({error})"))
        }
    }
}

const NAME: &str = "agentd";
/// As long as the server waits after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A name that no other test has.
    fn name(test: &str) -> String {
        format!("agentd-test-{test}-{}", std::process::id())
    }

    fn busy(taken: Result<HostLock, HostLockError>) -> bool {
        let me = format!("another agentd (pid {}) is at work", std::process::id());
        taken.is_err_and(|error| error.to_string().starts_with(&me))
    }

    #[test]
    fn a_second_one_is_refused_also_without_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let name = name("second");
        let first = HostLock::take_as(dir.path(), &name).unwrap();
        assert!(busy(HostLock::take_as(dir.path(), &name)));
        fs::remove_file(dir.path().join("lock")).unwrap();
        // More often than the queue of a socket is long.
        for _ in 0..200 {
            assert!(busy(HostLock::take_as(dir.path(), &name)));
        }
        // What the last of them left is no lock.
        drop(first);
        assert!(HostLock::take_as(dir.path(), &name).is_ok());
    }

    #[test]
    fn the_file_alone_keeps_a_second_one_away() {
        let dir = tempfile::tempdir().unwrap();
        let _first = HostLock::take_as(dir.path(), &name("one")).unwrap();
        assert!(busy(HostLock::take_as(dir.path(), &name("two"))));
    }

    #[test]
    fn the_name_alone_keeps_a_second_one_away() {
        let dir = tempfile::tempdir().unwrap();
        let no_dir = dir.path().join("file");
        fs::write(&no_dir, "").unwrap();
        let name = name("unusable");
        let _first = HostLock::take_as(&no_dir, &name).unwrap();
        assert!(busy(HostLock::take_as(&no_dir, &name)));
    }

    /// Bound, but nobody listens: an agentd would.
    #[test]
    fn who_only_squats_the_name_keeps_nobody_away() {
        let dir = tempfile::tempdir().unwrap();
        let name = name("squatter");
        let kind = rustix::net::SocketType::STREAM;
        let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None).unwrap();
        let address = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        let first = HostLock::take_as(dir.path(), &name).unwrap();
        assert!(busy(HostLock::take_as(dir.path(), &name)));
        drop(first);

        let no_dir = dir.path().join("lock");
        let unsure = HostLock::take_as(&no_dir, &name).unwrap_err().to_string();
        assert!(unsure.contains("cannot make sure"), "{unsure}");
    }
}
