//! Sockets that whoever started this process listens on already, as systemd does for `agentd.socket`.

use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

use super::ListenError;

/// Takes them over. They stay open for their owner when this process ends.
///
/// # Errors
///
/// Fails where one is no Unix socket.
pub fn inherited() -> Result<Vec<UnixListener>, ListenError> {
    let mut given = ListenFd::from_env();
    let mut taken = Vec::new();
    for number in 0..given.len() {
        taken.extend(given.take_unix_listener(number).map_err(ListenError::Inherited)?);
    }
    Ok(taken)
}
