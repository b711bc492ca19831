//! The config that counts: the file with the command line over it, and what it means where the file alone
//! does not tell.

use std::{os::unix::net::UnixListener, path::PathBuf, sync::Arc};

use super::{DEFAULT_CONFIG, RunError};
use crate::{
    args::RunArgs,
    clock::{Clock, RealClock},
    config::{Config, ConfigError},
    frozen,
    hypervisor::{
        Hypervisor,
        libvirt::{Libvirt, LibvirtConfig},
        sim::{Scenario, Sim},
    },
    places,
    server::{Listen, ListenError, check_tls},
    uri::{is_real, is_remote, is_uri},
};

/// The command line with the config file that counts, where there is one: who takes that away later does
/// not ask for the defaults.
pub(super) fn with_file(args: &RunArgs) -> RunArgs {
    let default = || Some(PathBuf::from(DEFAULT_CONFIG)).filter(|file| file.exists());
    RunArgs { config: args.config.clone().or_else(default), ..args.clone() }
}

pub(super) fn read_config(args: &RunArgs) -> Result<Config, ConfigError> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(uri) = args.connect.as_ref().or(args.hypervisor.as_ref()) {
        config.hypervisor.clone_from(uri);
    }
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    if args.state_dir.is_some() {
        config.state_dir.clone_from(&args.state_dir);
    }
    if let Some(at) = args.metrics {
        config.metrics = at;
    }
    if args.record.is_some() {
        config.recording.file.clone_from(&args.record);
    }
    if let Some(format) = args.log_format {
        config.log.format = format.into();
    }
    config.log.level = match args.verbose {
        0 => config.log.level,
        1 => config.log.level.max(tracing::Level::DEBUG),
        _ => tracing::Level::TRACE,
    };
    Ok(config)
}

/// Checks what `run` would check of a config before it starts anything.
///
/// # Errors
///
/// Fails where `run` would.
pub fn check(config: &Config) -> Result<(), RunError> {
    for address in listen(config)? {
        address.check(config.tls.is_some())?;
    }
    check_freeze_file(config)?;
    let clock: Arc<dyn Clock> = RealClock::start();
    if let Some(files) = &config.tls {
        check_tls(files, &clock)?;
    }
    hypervisor(&mut config.clone(), &clock).map(drop)
}

/// The hypervisor that the config names. A scenario brings its own interval and policy along.
pub(super) fn hypervisor(
    config: &mut Config,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Hypervisor>, RunError> {
    if let Some((file, scenario)) = lay_scenario_over(config)? {
        return Ok(Box::new(Sim::new(&file, &scenario, clock.clone())));
    }
    if !is_uri(&config.hypervisor) {
        return Err(RunError::NoUri(config.hypervisor.clone()));
    }
    if is_remote(&config.hypervisor) {
        return Err(RunError::Remote(config.hypervisor.clone()));
    }
    let libvirt = LibvirtConfig {
        uri: config.hypervisor.clone(),
        stats_period: config.stats_period,
        ..LibvirtConfig::default()
    };
    Ok(Box::new(Libvirt::new(libvirt, clock.clone())))
}

/// What a scenario says in the place of the config, and the scenario; `None` where none is served.
pub(super) fn lay_scenario_over(
    config: &mut Config,
) -> Result<Option<(PathBuf, Scenario)>, RunError> {
    let Some(file) = config.hypervisor.strip_prefix("sim:") else { return Ok(None) };
    let file = PathBuf::from(file);
    let scenario = Scenario::load(&file)?;
    config.tick.interval = scenario.tick_interval;
    if let Some(policy) = scenario.policy.clone() {
        config.policy = policy;
        config.policy_source = format!("the scenario {}", file.display());
    }
    Ok(Some((file, scenario)))
}

/// What freezes agentd. A simulated host does not share a real one's file.
pub(super) fn freeze_file(config: &Config) -> Option<PathBuf> {
    let default = || is_real(&config.hypervisor).then(|| places::runtime_dir().join("freeze"));
    config.freeze_file.clone().or_else(default)
}

/// A file that somebody named is to be where it can be made: who mistyped the path would learn it in
/// the hour of need. The directory of its own that agentd makes may be missing yet.
pub(super) fn check_freeze_file(config: &Config) -> Result<(), RunError> {
    let Some(file) = &config.freeze_file else { return Ok(()) };
    match frozen::missing_folder(file) {
        Some(folder) if folder != places::runtime_dir() => {
            Err(RunError::NoFreezeFolder { file: file.clone(), folder: folder.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

fn listen(config: &Config) -> Result<Vec<Listen>, ListenError> {
    if config.listen.is_empty() {
        return Ok(vec![Listen::Unix(places::runtime_dir().join("agentd.sock"))]);
    }
    config.listen.iter().map(|address| address.parse()).collect()
}

/// Where to listen beside sockets that are there already: they stand for the one that is by default.
pub(super) fn listen_beside(
    inherited: &[UnixListener],
    config: &Config,
) -> Result<Vec<Listen>, ListenError> {
    if config.listen.is_empty() && !inherited.is_empty() {
        return Ok(Vec::new());
    }
    listen(config)
}
