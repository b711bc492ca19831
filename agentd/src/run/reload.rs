//! [`Reload`]: the config file read again while agentd runs.
//!
//! All of it is checked as a start would before any of it counts. What makes no sense leaves everything as
//! it was, and that is said: in the log, as a condition, and to the supervisor. What changes something is in
//! the audit before it does, as a call would be. A section that counts live has its line in `put`;
//! `config::changed` names those that do not.
//!
//! It has a thread of its own: a file or a disk that does not answer keeps nobody from stopping agentd.

mod audited;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread,
};

use super::{RunError, settings, shadow_of_config};
use crate::{
    args::RunArgs,
    audit::{Call, NotDurable},
    config::{Changed, Config, changed},
    control::{ControlError, Rebased},
    log::LogLevel,
    reload_command::Answers,
    server::{Deps, Live},
    supervisor::Supervisor,
};

/// Reloads, one after the other. One that is under way ends with the process.
#[derive(Debug)]
pub(super) struct Reloads {
    /// Users who ask for one.
    asked: SyncSender<Option<u32>>,
}

/// What a reload needs and changes.
pub(super) struct Reload {
    pub(super) args: RunArgs,
    /// What counts now, the scenario over it.
    pub(super) in_force: Config,
    pub(super) deps: Deps,
    pub(super) server: Live,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) log_level: LogLevel,
    pub(super) answers: Answers,
}

/// Why a config is not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Refused(#[from] RunError),
    #[error("its policy cannot be put in force: {0}")]
    Policy(#[from] ControlError),
    #[error(transparent)]
    Audit(#[from] NotDurable),
}

impl Reloads {
    /// Starts their thread.
    pub(super) fn start(mut reload: Reload) -> io::Result<Self> {
        let (asked, asks) = mpsc::sync_channel(WAITING);
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            for by in asks {
                reload.again(by);
            }
        })?;
        Ok(Self { asked })
    }

    /// Has the file read again, once those before are done. Never waits. `by` is the user who asks for it.
    pub(super) fn ask(&self, by: Option<u32>) {
        if self.asked.try_send(by).is_err() {
            tracing::warn!(
                "{WAITING} reloads wait for the one that is under way: no other one is begun, and they read \
                 the file as it is then"
            );
        }
    }
}

impl Reload {
    /// Reads the file again, and puts it in force or says why not. `by` is the user who asks for it.
    fn again(&mut self, by: Option<u32>) {
        self.supervisor.reloads();
        let taken = self.take_up(audited::call(by)).map_err(|error| {
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
        self.supervisor.has_reloaded(taken.err());
        self.answers.leave(taken);
    }

    /// What else is to be said of it; empty where nothing is.
    fn take_up(&mut self, call: Call) -> Result<String, ReloadError> {
        let audit = &self.deps.audit;
        let config = self
            .read()
            .inspect_err(|error| audit.refused(call.clone(), audited::refused(error)))?;
        let differs = changed(&self.in_force, &config);
        let next = kept(self.in_force.clone(), &config);
        let both = (&self.in_force, &next);
        let in_force = Arc::clone(&self.deps.control.in_force().policy);
        let intent = || audit.intend(call, audited::asked(&in_force, both));
        // What changes nothing has nothing to be written down.
        let change = (!differs.live.is_empty()).then(intent).transpose()?;
        let put = self.put(&config, &differs);
        if let Some(change) = change {
            let effect = put.as_ref().map(|rebased| audited::effect(rebased, both));
            audit.conclude(&change, effect.map_err(audited::refused));
        }
        put?;
        self.in_force = next;
        Ok(self.tell_of_the_rest(&differs.at_start))
    }

    fn read(&self) -> Result<Config, ReloadError> {
        let mut config = settings::read_config(&self.args).map_err(RunError::from)?;
        settings::check(&config)?;
        settings::lay_scenario_over(&mut config)?;
        Ok(config)
    }

    fn put(&self, config: &Config, differs: &Changed) -> Result<Rebased, ReloadError> {
        let has = |key| differs.live.contains(&key);
        // First, because the disk may refuse it.
        let rebased = if has("policy") || has("bounds") {
            let Config { policy, bounds, policy_source, .. } = config.clone();
            self.deps.control.rebase(policy, bounds, policy_source)?
        } else {
            let policy = Arc::clone(&self.deps.control.in_force().policy);
            Rebased { before: Arc::clone(&policy), after: policy }
        };
        if has("authz") {
            self.server.replace_authz(config.authz.clone());
        }
        if let Some(files) = &config.tls {
            self.server.read_tls(files.clone());
        }
        if has("shadow") {
            self.deps.shadow.clear();
            shadow_of_config(config, &self.deps.shadow, self.deps.clock.wall());
        }
        tracing::info!(changed = %differs, "the config was read again");
        if has("log.level") {
            self.log_level.set(config.log.level);
        }
        Ok(rebased)
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
}

/// What counts live is as in the file; all else stays as at the start.
fn kept(mut now: Config, file: &Config) -> Config {
    let Config { tls, log, authz, shadow, bounds, policy, policy_source, .. } = file.clone();
    if now.tls.is_some() && tls.is_some() {
        now.tls = tls;
    }
    now.log.level = log.level;
    (now.authz, now.shadow) = (authz, shadow);
    (now.bounds, now.policy, now.policy_source) = (bounds, policy, policy_source);
    now
}

/// Reloads that wait while one is under way.
const WAITING: usize = 16;
/// Raised after a config file was read again and makes no sense, until one does.
const CONFIG_REJECTED: &str = "CONFIG_REJECTED";
/// Raised while the config file says something that counts from the next start on.
const RESTART_NEEDED: &str = "RESTART_NEEDED";
