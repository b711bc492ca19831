//! [`Config`]: how the process runs. [`changed`] says what of it a running process takes up.
//!
//! The file is read here, in one pass that refuses what it does not know; the command line is laid
//! over it by `run`. `packaging/agentd.toml` is the defaults, written out.

mod audit;
mod authz;
mod bounds;
mod changed;
mod metrics;
pub mod policy;
mod recording;
mod tls;
mod variation;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use agentd_core::{bytes::ByteCount, explain, policy::Policy};

pub use authz::{AuthzConfig, Group};
pub use changed::{Changed, changed};
pub use metrics::MetricsAt;
pub use recording::RecordingConfig;
pub use tls::TlsConfig;
pub use variation::Variation;

use crate::{
    audit::Limits,
    control::{Bounds, Mode},
    fields::{Field, FieldError, Fields, Source},
};

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the host; `None` for the kernel's.
    pub host: Option<String>,
    /// Mode when none was ever set.
    pub mode: Mode,
    /// Where clients reach agentd; empty for the default socket.
    pub listen: Vec<String>,
    /// Where metrics are served.
    pub metrics: MetricsAt,
    /// What TCP needs; `None` for no TCP.
    pub tls: Option<TlsConfig>,
    /// The hypervisor, as a URI.
    pub hypervisor: String,
    /// How often VMs are to report.
    pub stats_period: Duration,
    /// How the loop runs.
    pub tick: Tick,
    /// Where state is kept; `None` for the default.
    pub state_dir: Option<PathBuf>,
    /// The file that freezes agentd while it is there; `None` for the default.
    pub freeze_file: Option<PathBuf>,
    /// Keep agentd's own memory from being swapped out, where a real host is served.
    pub lock_memory: bool,
    /// How long history is kept.
    pub history_age: Duration,
    /// How much history is kept.
    pub history_size: ByteCount,
    /// Watch streams at a time.
    pub max_watchers: usize,
    /// Who of this host has which role.
    pub authz: AuthzConfig,
    /// Bytes of entries kept for watchers that resume.
    pub ring_size: ByteCount,
    /// How much of the audit is kept.
    pub audit: Limits,
    /// Where every tick is recorded.
    pub recording: RecordingConfig,
    /// What is logged, and how.
    pub log: Log,
    /// A policy that decides along without acting; `None` for none.
    pub shadow: Option<Variation>,
    /// What no policy goes beyond.
    pub bounds: Bounds,
    /// The policy to start with, within the bounds.
    pub policy: Policy,
    /// Where this is from, in words.
    pub source: String,
    /// Where the policy is from, in words.
    pub policy_source: String,
}

/// How the loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Time from tick to tick; some come sooner, see [`crate::pace`].
    pub interval: Duration,
    /// Longest wait for memory to arrive; `None` for half the interval.
    pub settle: Option<Duration>,
    /// Longest wait for the hypervisor; `None` for half the interval and at least half a second.
    pub call_timeout: Option<Duration>,
    /// Figures that do not change for longer are stale.
    pub stale_after: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Entries of the journal with their fields where standard error is the journal, text elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {file}: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// The file is too long to be a config.
    #[error("the config {file} is longer than {LONGEST} bytes")]
    TooLong {
        /// The file.
        file: String,
    },
    /// Something in it makes no sense.
    #[error(transparent)]
    Senseless(#[from] Faults),
}

/// All that makes no sense, a line each: the first fault of every section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(Vec<FieldError>);

/// The defaults as a file, every key with its comment.
pub const DEFAULT_FILE: &str = include_str!("../../../packaging/agentd.toml");

impl Config {
    /// Reads a config from a file.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        match fs::read_to_string(path) {
            Err(error) => Err(ConfigError::Unreadable { file, error }),
            Ok(text) if text.len() > LONGEST => Err(ConfigError::TooLong { file }),
            Ok(text) => {
                let source = format!("the config file {file}");
                let config = Self::parse(&file, &text)?;
                Ok(Self { policy_source: source.clone(), source, ..config })
            }
        }
    }

    /// Reads a config from its text. `file` is only for errors.
    ///
    /// # Errors
    ///
    /// Fails when something in it makes no sense: with the line, the key, the value, and what
    /// would be right, for the first fault of every section.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let source = Source { file, text };
        let parsed = source.parse().map_err(|fault| Faults(vec![fault]))?;
        let root = Fields::root(source, parsed.get_ref());
        let mut config = Self::default();
        let sections = [
            root.only(&KEYS),
            config.read_names(&root),
            config.read_listen(&root),
            config.read_tls(&root),
            config.read_hypervisor(&root),
            config.tick.read(&root, config.stats_period),
            config.read_state(&root),
            config.read_process(&root),
            config.read_api(&root),
            config.authz.read(&root),
            audit::read(&mut config.audit, &root),
            config.recording.read(&root),
            config.read_log(&root),
            config.read_bounds(&root),
            config.read_policy(&root),
            config.read_shadow(&root, source),
        ];
        let faults: Vec<FieldError> = sections.into_iter().filter_map(Result::err).collect();
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    fn read_names(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        if let Some(host) = root.get("host") {
            self.host = read_host(&host)?;
        }
        if let Some(mode) = root.get("mode") {
            self.mode = choose(&mode, &MODES)?;
        }
        Ok(())
    }

    fn read_policy(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        if let Some(field) = root.get("policy") {
            self.policy = policy::read_within(&field, &self.bounds)?;
        }
        Ok(())
    }

    /// Before the policy: what that leaves out is within them by itself.
    fn read_bounds(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        self.bounds = bounds::read(root)?;
        self.policy = self.bounds.within(&self.policy);
        Ok(())
    }

    /// Checked against the policy of the same file: another one may be in force by the time.
    fn read_shadow(&mut self, root: &Fields<'_>, source: Source<'_>) -> Result<(), FieldError> {
        if root.get("shadow").is_some() {
            let shadow = Variation::new(source.file, source.text, "shadow");
            shadow.apply(&self.policy)?;
            self.shadow = Some(shadow);
        }
        Ok(())
    }

    fn read_listen(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "listen", &["addresses", "metrics"])? else {
            return Ok(());
        };
        if let Some(list) = fields.get("addresses") {
            let address = |field: &Field<'_>| field.text().map(str::to_owned);
            self.listen =
                list.items(MOST_LISTENERS)?.iter().map(address).collect::<Result<_, _>>()?;
        }
        if let Some(at) = fields.get("metrics") {
            self.metrics = metrics::read(&at)?;
        }
        Ok(())
    }

    fn read_tls(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        self.tls = TlsConfig::read(root)?;
        Ok(())
    }

    fn read_hypervisor(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "hypervisor", &["uri", "stats_period"])? else {
            return Ok(());
        };
        if let Some(uri) = fields.get("uri") {
            let text = uri.text()?;
            if text.is_empty() {
                return Err(
                    uri.error("must be a libvirt URI such as \"qemu:///system\", or \"sim:FILE\"")
                );
            }
            text.clone_into(&mut self.hypervisor);
        }
        if let Some(period) = fields.get("stats_period") {
            self.stats_period = bounded(&period, Duration::from_secs(1), Duration::from_secs(60))?;
            if self.stats_period.subsec_nanos() != 0 {
                return Err(period.error("must be whole seconds"));
            }
        }
        Ok(())
    }

    fn read_state(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "state", &STATE_KEYS)? else {
            return Ok(());
        };
        if let Some(dir) = fields.get("dir") {
            self.state_dir = read_path(&dir)?;
        }
        if let Some(file) = fields.get("freeze_file") {
            self.freeze_file = read_path(&file)?;
        }
        if let Some(age) = fields.get("history_age") {
            self.history_age = bounded(&age, LEAST_AGE, MOST_AGE)?;
        }
        if let Some(size) = fields.get("history_size") {
            self.history_size = size.size()?;
            if !(LEAST_HISTORY..=MOST_HISTORY).contains(&self.history_size) {
                let problem = format!("must be from {LEAST_HISTORY} to {MOST_HISTORY}");
                return Err(size.error(problem));
            }
        }
        Ok(())
    }

    fn read_process(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "process", &["lock_memory"])? else { return Ok(()) };
        if let Some(lock) = fields.get("lock_memory") {
            self.lock_memory = lock.truth()?;
        }
        Ok(())
    }

    fn read_api(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "api", &["max_watchers", "ring_size"])? else {
            return Ok(());
        };
        if let Some(most) = fields.get("max_watchers") {
            self.max_watchers = usize::try_from(most.number(MOST_WATCHERS)?).unwrap_or(usize::MAX);
        }
        if let Some(size) = fields.get("ring_size") {
            self.ring_size = size.size()?;
            if !(LEAST_RING..=MOST_RING).contains(&self.ring_size) {
                return Err(size.error(format!("must be from {LEAST_RING} to {MOST_RING}")));
            }
        }
        Ok(())
    }

    fn read_log(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "log", &["level", "format"])? else { return Ok(()) };
        if let Some(level) = fields.get("level") {
            self.log.level = choose(&level, &LEVELS)?;
        }
        if let Some(format) = fields.get("format") {
            self.log.format = choose(&format, &FORMATS)?;
        }
        Ok(())
    }
}

impl Tick {
    fn read(&mut self, root: &Fields<'_>, stats_period: Duration) -> Result<(), FieldError> {
        let keys = ["interval", "settle", "call_timeout", "stale_after"];
        let Some(fields) = section(root, "tick", &keys)? else { return Ok(()) };
        if let Some(interval) = fields.get("interval") {
            self.interval = bounded(&interval, LEAST_INTERVAL, MOST_INTERVAL)?;
        }
        if let Some(settle) = fields.get("settle").filter(|field| field.text() != Ok("")) {
            self.settle = Some(bounded(&settle, Duration::ZERO, self.interval / 2)?);
        }
        if let Some(timeout) = fields.get("call_timeout").filter(|field| field.text() != Ok("")) {
            self.call_timeout = Some(bounded(&timeout, LEAST_CALL, MOST_CALL)?);
        }
        if let Some(stale) = fields.get("stale_after") {
            self.stale_after = bounded(&stale, 3 * stats_period, MOST_INTERVAL)?;
        }
        Ok(())
    }

    /// Longest wait for memory to arrive within a tick.
    #[must_use]
    pub fn settle(&self) -> Duration {
        self.settle.unwrap_or(self.interval / 2).min(self.interval / 2)
    }

    /// Longest wait for an answer of the hypervisor.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout.unwrap_or_else(|| (self.interval / 2).max(Duration::from_millis(500)))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            mode: Mode::Active,
            listen: Vec::new(),
            metrics: MetricsAt::Default,
            tls: None,
            hypervisor: "qemu:///system".to_owned(),
            stats_period: Duration::from_secs(1),
            tick: Tick {
                interval: Duration::from_secs(2),
                settle: None,
                call_timeout: None,
                stale_after: Duration::from_secs(5),
            },
            state_dir: None,
            freeze_file: None,
            lock_memory: true,
            history_age: Duration::from_secs(168 * 3600),
            history_size: ByteCount::mib(500),
            max_watchers: 64,
            authz: AuthzConfig::default(),
            ring_size: ByteCount::mib(64),
            audit: audit::DEFAULT,
            recording: RecordingConfig::default(),
            log: Log { level: tracing::Level::INFO, format: LogFormat::Auto },
            shadow: None,
            bounds: Bounds::default(),
            policy: Policy::default(),
            source: BUILT_IN.to_owned(),
            policy_source: BUILT_IN.to_owned(),
        }
    }
}

fn section<'a>(
    root: &Fields<'a>,
    key: &str,
    known: &[&str],
) -> Result<Option<Fields<'a>>, FieldError> {
    let Some(field) = root.get(key) else { return Ok(None) };
    let fields = field.fields()?;
    fields.only(known)?;
    Ok(Some(fields))
}

fn read_host(field: &Field<'_>) -> Result<Option<String>, FieldError> {
    let name = field.text()?;
    if name.len() > LONGEST_HOST || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let problem = format!("must have at most {LONGEST_HOST} bytes and no blanks");
        return Err(field.error(problem));
    }
    Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

/// The same file wherever agentd is started; `None` for an empty text.
fn read_path(field: &Field<'_>) -> Result<Option<PathBuf>, FieldError> {
    let path = Some(PathBuf::from(field.text()?)).filter(|path| !path.as_os_str().is_empty());
    match path {
        Some(path) if !path.is_absolute() => Err(field.error("must be an absolute path")),
        path => Ok(path),
    }
}

fn bounded(field: &Field<'_>, least: Duration, most: Duration) -> Result<Duration, FieldError> {
    let time = field.time()?;
    if !(least..=most).contains(&time) {
        let [least, most] = [least, most].map(explain::time);
        return Err(field.error(format!("must be from {least} to {most}")));
    }
    Ok(time)
}

fn choose<T: Copy>(field: &Field<'_>, names: &[(&str, T)]) -> Result<T, FieldError> {
    let text = field.text()?;
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let all: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        field.error(format!("must be one of {}", all.join(", ")))
    })
}

const KEYS: [&str; 16] = [
    "host",
    "mode",
    "listen",
    "tls",
    "hypervisor",
    "tick",
    "state",
    "process",
    "api",
    "authz",
    "bounds",
    "audit",
    "recording",
    "log",
    "shadow",
    "policy",
];
const STATE_KEYS: [&str; 4] = ["dir", "freeze_file", "history_age", "history_size"];
const MODES: [(&str, Mode); 3] =
    [("active", Mode::Active), ("observe", Mode::Observe), ("paused", Mode::Paused)];
const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];
const FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
/// Where a config is from that no file was read for.
const BUILT_IN: &str = "built in: there is no config file";
const LONGEST: usize = 1 << 20;
const LONGEST_HOST: usize = 253;
const MOST_LISTENERS: usize = 16;
const MOST_WATCHERS: u64 = 10_000;
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
const MOST_INTERVAL: Duration = Duration::from_secs(3600);
const LEAST_CALL: Duration = Duration::from_millis(100);
const MOST_CALL: Duration = Duration::from_secs(60);
const LEAST_HISTORY: ByteCount = ByteCount::mib(1);
const MOST_HISTORY: ByteCount = ByteCount::gib(1024);
const LEAST_AGE: Duration = Duration::from_secs(1);
const MOST_AGE: Duration = Duration::from_secs(3650 * 24 * 3600);
const LEAST_RING: ByteCount = ByteCount::mib(1);
const MOST_RING: ByteCount = ByteCount::gib(4);

#[cfg(test)]
mod tests;
