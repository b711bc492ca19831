//! Callers who are somebody else.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
};

use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// Connects as somebody else: on Linux a thread can be, for itself alone.
pub(crate) fn connect_as(socket: PathBuf, uid: u32, gid: u32) -> io::Result<UnixStream> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let connecting = thread::spawn(move || {
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    connecting.join().unwrap()
}

/// True, and says so, where a test cannot be anybody else.
pub(crate) fn cannot_be_others(test: &str) -> bool {
    let cannot = !rustix::process::geteuid().is_root();
    if cannot {
        // Past what cargo captures: that a test did not run is to be seen.
        let skipped = format!("skipped {test}: only root can be somebody else\n");
        io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    cannot
}

/// An admin by his uid, and the groups of others. No host has them.
pub(crate) const ADMIN: u32 = 61_000;
pub(crate) const OPERATORS: u32 = 61_001;
pub(crate) const READERS: u32 = 61_002;
pub(crate) const NOBODYS: u32 = 61_003;
