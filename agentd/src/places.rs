//! Where agentd's files are when nobody says otherwise.

use std::{env, path::PathBuf};

/// Where state is kept: where systemd made place for it, or below `/var/lib` for root, else below the
/// user's own state directory.
pub(crate) fn state_dir() -> PathBuf {
    if let Some(given) = user_dir("STATE_DIRECTORY") {
        return given;
    }
    if is_root() {
        return PathBuf::from("/var/lib/agentd");
    }
    let state = user_dir("XDG_STATE_HOME");
    state
        .or_else(|| Some(user_dir("HOME")?.join(".local/state")))
        .unwrap_or_default()
        .join("agentd")
}

/// Where the socket, the lock and the freeze file are: what a reboot may forget.
pub(crate) fn runtime_dir() -> PathBuf {
    let system = || PathBuf::from("/run");
    let runtime =
        if is_root() { system() } else { user_dir("XDG_RUNTIME_DIR").unwrap_or_else(system) };
    runtime.join("agentd")
}

#[allow(clippy::disallowed_methods, reason = "the places that the XDG rules name")]
fn user_dir(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
