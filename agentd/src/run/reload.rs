//! [`Reload`]: the config file read again while agentd runs.
//!
//! All of it is checked as a start would before any of it counts. What makes no sense leaves everything as
//! it was, and that is said: in the log, as a condition, and to the supervisor. A section that counts live
//! has its line in `put`; `config::changed` names those that do not.

use super::{RunError, settings, shadow_of_config};
use crate::{
    args::RunArgs,
    config::{Config, changed},
    control::ControlError,
    log::LogLevel,
    reload_command::Answers,
    server::{Deps, ServerHandle},
    supervisor::Supervisor,
};

/// What a reload needs and changes.
pub(super) struct Reload<'a> {
    pub(super) args: &'a RunArgs,
    /// What counts now, the scenario over it.
    pub(super) in_force: Config,
    pub(super) deps: &'a Deps,
    pub(super) server: &'a ServerHandle,
    pub(super) supervisor: &'a Supervisor,
    pub(super) log_level: &'a LogLevel,
    pub(super) answers: Answers,
}

/// Why a config is not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Refused(#[from] RunError),
    #[error("its policy cannot be put in force: {0}")]
    Policy(#[from] ControlError),
}

impl Reload<'_> {
    /// Reads the file again, and puts it in force or says why not.
    pub(super) fn again(&mut self) {
        self.supervisor.reloads();
        let taken = self.read().and_then(|config| self.put(config)).map_err(|error| {
            format!("the config was read again and is refused, all is as before: {error}")
        });
        self.deps.publisher.meters().reloaded(taken.is_ok());
        let taken = taken.as_deref().map_err(String::as_str);
        match taken {
            Err(problem) => {
                tracing::error!("{problem}");
                self.deps.publisher.raise(CONFIG_REJECTED, problem.to_owned());
            }
            Ok(_) => self.deps.publisher.tell(CONFIG_REJECTED, None),
        }
        self.answers.leave(taken);
        self.supervisor.has_reloaded(taken.err());
    }

    fn read(&self) -> Result<Config, ReloadError> {
        let mut config = settings::read_config(self.args).map_err(RunError::from)?;
        settings::check(&config)?;
        settings::lay_scenario_over(&mut config)?;
        Ok(config)
    }

    /// What else is to be said of it; empty where nothing is.
    fn put(&mut self, config: Config) -> Result<String, ReloadError> {
        let differs = changed(&self.in_force, &config);
        let has = |key| differs.live.contains(&key);
        // First, because the disk may refuse it.
        if has("policy") || has("bounds") {
            let Config { policy, bounds, policy_source, .. } = config.clone();
            self.deps.control.rebase(policy, bounds, policy_source)?;
        }
        if has("authz") {
            self.server.replace_authz(config.authz.clone());
        }
        if let Some(files) = &config.tls {
            self.server.read_tls(files.clone());
        }
        if has("shadow") {
            self.deps.shadow.clear();
            shadow_of_config(&config, &self.deps.shadow, self.deps.clock.wall());
        }
        tracing::info!(changed = %differs, "the config was read again");
        if has("log.level") {
            self.log_level.set(config.log.level);
        }
        let rest = self.tell_of_the_rest(&differs.at_start);
        self.keep(config);
        Ok(rest)
    }

    fn tell_of_the_rest(&self, at_start: &[&str]) -> String {
        let message = (!at_start.is_empty()).then(|| {
            format!(
                "of the config file, {} was changed since the start and counts from the next one on: \
                 \"systemctl restart agentd\", or put it back",
                at_start.join(", ")
            )
        });
        self.deps.publisher.tell(RESTART_NEEDED, message.clone());
        message.unwrap_or_default()
    }

    /// What counts live is as in the file; all else stays as at the start.
    fn keep(&mut self, config: Config) {
        let now = &mut self.in_force;
        if now.tls.is_some() && config.tls.is_some() {
            now.tls = config.tls;
        }
        now.log.level = config.log.level;
        (now.authz, now.shadow) = (config.authz, config.shadow);
        (now.bounds, now.policy, now.policy_source) =
            (config.bounds, config.policy, config.policy_source);
    }
}

/// Raised after a config file was read again and makes no sense, until one does.
const CONFIG_REJECTED: &str = "CONFIG_REJECTED";
/// Raised while the config file says something that counts from the next start on.
const RESTART_NEEDED: &str = "RESTART_NEEDED";
