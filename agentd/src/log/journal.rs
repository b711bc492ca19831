//! The journal of systemd: a line becomes an entry with its fields, where standard error is the journal's
//! anyway.
//!
//! An entry is made where it is logged, and sent by the thread of [`Lines`]: a journal that hangs makes
//! whoever sends to it wait.

use std::{
    env,
    ffi::OsStr,
    fmt::Debug,
    fs::File,
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::Path,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::lines::{Lines, Sink};

/// Takes entries; `None` where standard error is not the journal, or the journal cannot be reached: text
/// on standard error then ends up in the right place, too.
pub(super) fn sink() -> Option<Sink> {
    if !is_stderr(&env_var()?) {
        return None;
    }
    dial(Path::new(SOCKET)).ok()
}

/// Makes entries of what is logged.
#[derive(Debug)]
pub(super) struct Journal(pub(super) Lines);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut entry = Entry::default();
        entry.put("PRIORITY", priority(*about.level()));
        entry.put("SYSLOG_IDENTIFIER", "agentd");
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.0.put(entry.0);
    }
}

/// An entry in the journal's own protocol.
#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    /// A value may hold anything: its length stands before it.
    fn put(&mut self, name: &str, value: &str) {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(&name(field.name()), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(&name(field.name()), &format!("{value:?}"));
    }
}

/// The journal takes upper-case letters, digits and underscores.
fn name(field: &str) -> String {
    if field == "message" {
        return "MESSAGE".to_owned();
    }
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("AGENTD_{}", field.chars().map(allowed).collect::<String>())
}

/// As syslog counts; what is worth knowing is above what is for whoever looks for a fault.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

/// Reaches the journal, and does not wait for it to be so.
fn dial(path: &Path) -> io::Result<Sink> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    // Nothing, which it throws away: it tells whether somebody is there.
    match socket.send_to(&[], path) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        Ok(_) | Err(_) => {}
    }
    socket.set_nonblocking(false)?;
    let path = path.to_owned();
    Ok(Box::new(move |entry| send(&socket, entry, &path)))
}

/// Sends one entry; one that is too large for the socket as a file in memory.
fn send(socket: &UnixDatagram, entry: &[u8], path: &Path) -> io::Result<()> {
    let too_large = rustix::io::Errno::MSGSIZE.raw_os_error();
    match socket.send_to(entry, path) {
        Err(error) if error.raw_os_error() == Some(too_large) => {}
        sent => return sent.map(drop),
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("agentd-log", flags)?);
    file.write_all(entry)?;
    // Only what nobody changes any more is taken.
    fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [std::os::fd::AsFd::as_fd(&file)];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg_addr(socket, &SocketAddrUnix::new(path)?, &[], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "systemd says it by this variable alone")]
fn env_var() -> Option<std::ffi::OsString> {
    env::var_os("JOURNAL_STREAM")
}

/// True where this names the file that standard error is: a program may inherit the variable from one
/// that wrote to the journal, and write elsewhere itself.
fn is_stderr(stream: &OsStr) -> bool {
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// Where it listens.
const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use std::{
        io::{IoSliceMut, Read as _, Seek as _},
        mem::MaybeUninit,
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn only_the_file_that_standard_error_is_counts() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stderr(OsStr::new(&own)));
        for other in ["", "1", &format!("{}:{}", stat.st_dev, stat.st_ino + 1), &format!("{own}0")]
        {
            assert!(!is_stderr(OsStr::new(other)), "{other}");
        }
    }

    /// The next entry, as it is or from its file, past the empty one of whoever dials.
    fn received(journal: &UnixDatagram) -> String {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(journal, &mut into, &mut control, RecvFlags::empty()).unwrap();
            for message in control.drain() {
                let RecvAncillaryMessage::ScmRights(mut files) = message else { continue };
                let mut file = File::from(files.next().unwrap());
                let mut text = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut text).unwrap();
                assert!(file.write_all(b"more").is_err(), "it is sealed");
                return String::from_utf8_lossy(&text).into_owned();
            }
            if got.bytes > 0 {
                return String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
            }
        }
    }

    #[test]
    fn an_entry_has_its_fields_whatever_is_in_them_and_however_long_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let lines = Lines::into(dial(&path).unwrap()).unwrap();
        let log = tracing_subscriber::registry().with(Journal(lines));
        let large = "x".repeat(1 << 20);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(vm.name = "web1\nMESSAGE=forged", tick = 7, "it \"moves\"");
            tracing::info!(large, "a large one");
        });
        let field = |name: &str, value: &str| {
            let length = (value.len() as u64).to_le_bytes();
            format!("{name}\n{}{value}\n", String::from_utf8_lossy(&length))
        };
        let entry = received(&journal);
        for (name, value) in [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "agentd"),
            ("MESSAGE", "it \"moves\""),
            ("AGENTD_VM_NAME", "web1\nMESSAGE=forged"),
            ("AGENTD_TICK", "7"),
        ] {
            assert!(entry.contains(&field(name, value)), "{name}: {entry}");
        }
        assert!(received(&journal).contains(&field("AGENTD_LARGE", &large)));
    }

    #[test]
    fn a_journal_that_nobody_is_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(dial(&dir.path().join("socket")).is_err());
    }
}
