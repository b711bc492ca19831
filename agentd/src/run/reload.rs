//! The config file under a running agentd.

use std::path::{Path, PathBuf};

use super::DEFAULT_CONFIG;
use crate::{
    args::RunArgs,
    config::Config,
    server::{Reloaded, ServerHandle},
};

/// The file that is named, or else the one that is looked for, where it is there.
pub(super) fn config_file(args: &RunArgs) -> Option<PathBuf> {
    let default = || Some(PathBuf::from(DEFAULT_CONFIG)).filter(|file| file.exists());
    args.config.clone().or_else(default)
}

/// Has the files of TLS read again, and takes the rules of who may do what from the config as it is now:
/// from the file that agentd was started with, which is missed where it is gone. The log says what came of it.
pub(super) fn files(server: &ServerHandle, args: &RunArgs, started_with: Option<&Path>) {
    server.read_tls_again();
    let file = started_with.map(Path::to_owned).or_else(|| config_file(args));
    let config = file.map_or_else(|| Ok(Config::default()), |file| Config::load(&file));
    match server.reload_authz(config) {
        Ok(Reloaded::Other) => {}
        Ok(Reloaded::Same) => tracing::info!("[authz] says what it said before"),
        // Told as a condition too.
        Err(error) => tracing::error!("{error}; [authz] stays as it was"),
    }
}
