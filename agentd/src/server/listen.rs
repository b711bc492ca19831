//! [`Listen`]: where the server can be reached, and how such a place is taken and given back.

use std::{
    fmt,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::places;

/// Where the server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `unix:///path`: a socket for processes of this host.
    Unix(PathBuf),
    /// `tcp://host:port`, as host and port.
    Tcp(String),
}

/// Why a place cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The text names no place.
    #[error("\"{0}\" is no address to listen on: write unix:///path or tcp://host:port")]
    NotAnAddress(String),
    /// Another process answers there.
    #[error("{0}: another agentd answers on this socket; stop it, or choose another path")]
    Answered(PathBuf),
    /// There is something else.
    #[error("{0}: exists and is no socket; remove it, or choose another path")]
    NotASocket(PathBuf),
    /// It would be in a directory that is not there.
    #[error("cannot listen on unix://{}: there is no directory {}; create it", .0.display(), .1.display())]
    NoFolder(PathBuf, PathBuf),
    /// Nobody could show there who they are.
    #[error(
        "tcp://{0}: TCP is served with mutual TLS alone: set cert, key and client_ca in [tls] of the config \
         file, or listen on unix:///path"
    )]
    NoTls(String),
    /// Whoever started agentd has given it something else than a Unix socket.
    #[error(
        "agentd was started with a socket that it cannot serve ({0}): it takes over Unix stream sockets \
         alone; where else it listens says [listen] of the config file"
    )]
    Inherited(#[source] io::Error),
    /// The system says no.
    #[error("cannot listen on {0}")]
    Refused(String, #[source] io::Error),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let bad = || ListenError::NotAnAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            let absolute = path.starts_with('/') && path.len() > 1;
            return absolute.then(|| Self::Unix(path.into())).ok_or_else(bad);
        }
        let authority = text.strip_prefix("tcp://").ok_or_else(bad)?;
        let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let sane = !host.is_empty() && (bracketed || !host.contains([':', '/']));
        if !sane || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(authority.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

/// A place that was taken.
#[derive(Debug)]
pub(super) enum Bound {
    Unix(UnixListener, OwnedPath),
    Tcp(TcpListener, SocketAddr),
}

/// A socket's path; removed when dropped, unless somebody else's socket is there by then.
#[derive(Debug)]
pub(super) struct OwnedPath {
    path: PathBuf,
    /// `None` where it is not ours: whoever made the socket says who may come to it, and removes it.
    inode: Option<(u64, u64)>,
}

impl Listen {
    /// Whether it may be listened on: on TCP only where there is TLS.
    ///
    /// # Errors
    ///
    /// Fails when it may not, or when it is no address of this host.
    pub fn check(&self, has_tls: bool) -> Result<(), ListenError> {
        match self {
            Self::Unix(path) => check_folder(path),
            Self::Tcp(authority) if !has_tls => Err(ListenError::NoTls(authority.clone())),
            Self::Tcp(authority) => self.resolve(authority).map(drop),
        }
    }

    fn resolve(&self, authority: &str) -> Result<SocketAddr, ListenError> {
        let refused = |error| ListenError::Refused(self.to_string(), error);
        let mut addresses = authority.to_socket_addrs().map_err(refused)?;
        let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        addresses.next().ok_or_else(none).map_err(refused)
    }

    /// Takes the place.
    pub(super) fn bind(&self, has_tls: bool) -> Result<Bound, ListenError> {
        let refused = |error| ListenError::Refused(self.to_string(), error);
        match self {
            Self::Unix(path) => bind_unix(path, refused),
            Self::Tcp(authority) if !has_tls => Err(ListenError::NoTls(authority.clone())),
            Self::Tcp(authority) => {
                let address = self.resolve(authority)?;
                let listener = TcpListener::bind(address).map_err(refused)?;
                listener.set_nonblocking(true).map_err(refused)?;
                let address = listener.local_addr().map_err(refused)?;
                Ok(Bound::Tcp(listener, address))
            }
        }
    }
}

impl Bound {
    /// A socket that somebody else has bound, and keeps.
    pub(super) fn inherited(listener: UnixListener) -> Result<Self, ListenError> {
        listener.set_nonblocking(true).map_err(ListenError::Inherited)?;
        let address = listener.local_addr().map_err(ListenError::Inherited)?;
        let path = address.as_pathname().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self::Unix(listener, OwnedPath { path, inode: None }))
    }

    /// The socket that was made for it; `None` where there is none, or it is somebody else's.
    pub(super) fn own_socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(_, owned) => owned.inode.map(|_| owned.path.as_path()),
            Self::Tcp(..) => None,
        }
    }

    /// Where it can be reached, a port of 0 replaced by the one given.
    pub(super) fn address(&self) -> Listen {
        match self {
            Self::Unix(_, owned) => Listen::Unix(owned.path.clone()),
            Self::Tcp(_, address) => Listen::Tcp(address.to_string()),
        }
    }

    pub(super) const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(..))
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            // Nobody is left to tell; a stale socket is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Only agentd's own directory is made: a path that was mistyped leads to no new one.
fn check_folder(path: &Path) -> Result<(), ListenError> {
    match path.parent() {
        Some(folder) if !folder.is_dir() && folder != places::runtime_dir() => {
            Err(ListenError::NoFolder(path.to_owned(), folder.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

fn bind_unix(
    path: &Path,
    refused: impl Fn(io::Error) -> ListenError,
) -> Result<Bound, ListenError> {
    check_folder(path)?;
    if let Some(parent) = path.parent().filter(|parent| *parent == places::runtime_dir()) {
        fs::create_dir_all(parent).map_err(&refused)?;
    }
    clear_stale(path, &refused)?;
    let listener = bind_closed(path).map_err(&refused)?;
    let owned = OwnedPath { path: path.to_owned(), inode: inode(path) };
    // The umask may have taken more of it.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(&refused)?;
    listener.set_nonblocking(true).map_err(&refused)?;
    Ok(Bound::Unix(listener, owned))
}

/// A socket that is open to nobody else from its first moment on: it gets the mode of its descriptor.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let socket = File::from(socket);
    socket.set_permissions(fs::Permissions::from_mode(SOCKET_MODE))?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// Removes a socket that nobody answers on.
fn clear_stale(path: &Path, refused: impl Fn(io::Error) -> ListenError) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused)
        }
        Err(error) => Err(refused(error)),
        Ok(_) => Err(ListenError::Answered(path.to_owned())),
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Connections that wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;
/// For the owner and the socket's group.
const SOCKET_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_refuses_what_is_none() {
        for good in ["unix:///run/agentd.sock", "tcp://127.0.0.1:7000", "tcp://[::1]:7000"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        let bad = ["", "unix://", "unix://run", "tcp://:1", "tcp://h", "tcp://::1:7", "http://h:1"];
        for bad in bad {
            let error = bad.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("write unix:///path or tcp://host:port"), "{error}");
        }
    }

    #[test]
    fn takes_over_a_stale_socket_and_leaves_a_live_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentd.sock");
        let place = Listen::Unix(path.clone());
        let first = place.bind(false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(place.bind(false), Err(ListenError::Answered(_))));
        drop(first);
        assert!(!path.exists());

        // A listener that ended without removing its path.
        drop(UnixListener::bind(&path).unwrap());
        let second = place.bind(false).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "not ours").unwrap();
        drop(second);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not ours");
        assert!(matches!(place.bind(false), Err(ListenError::NotASocket(_))));
    }

    #[test]
    fn a_socket_is_open_to_no_others_from_its_first_moment_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentd.sock");
        let _socket = bind_closed(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode & !SOCKET_MODE, 0, "{mode:o}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_socket_of_somebody_else_is_served_as_it_is_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentd.sock");
        let theirs = UnixListener::bind(&path).unwrap();
        let bound = Bound::inherited(theirs.try_clone().unwrap()).unwrap();
        assert_eq!(bound.address(), Listen::Unix(path.clone()));
        assert_eq!(bound.own_socket(), None);
        drop(bound);
        assert!(UnixStream::connect(&path).is_ok(), "it is open and in its place");
    }

    #[test]
    fn makes_no_directory_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let place = Listen::Unix(dir.path().join("mistyped/agentd.sock"));
        for refused in [place.check(false).unwrap_err(), place.bind(false).unwrap_err()] {
            assert!(refused.to_string().contains("mistyped; create it"), "{refused}");
        }
        assert!(!dir.path().join("mistyped").exists());
        assert!(Listen::Unix(places::runtime_dir().join("agentd.sock")).check(false).is_ok());
    }

    #[test]
    fn there_is_no_tcp_without_tls() {
        for place in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:7433"] {
            let place = Listen::Tcp(place.to_owned());
            for refused in [place.check(false).unwrap_err(), place.bind(false).unwrap_err()] {
                let refused = refused.to_string();
                assert!(refused.contains("set cert, key and client_ca in [tls]"), "{refused}");
            }
        }
        let local = Listen::Tcp("127.0.0.1:0".to_owned());
        local.check(true).unwrap();
        assert_ne!(local.bind(true).unwrap().address(), local, "the port is known");
    }
}
