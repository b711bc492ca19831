//! `agentd run`: puts the parts together, lets them run, and takes them apart again.
//!
//! ```text
//! tick thread --> recorder thread --> publisher <-- server
//!      ^---- control (policy, mode, gate) <---------'
//! ```

use std::{
    fs, io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use agentd_core::bytes::ByteCount;

use crate::{
    alarm::Alarms,
    args::RunArgs,
    audit::{self, Audit, Facts},
    bell::Bell,
    clock::{Clock, RealClock},
    config::{Config, ConfigError},
    control::{Actor, Audience, Base, Control, Mode, Parts, StartError},
    event::Event,
    frozen,
    host_lock::{HostLock, HostLockError},
    hypervisor::sim::LoadError,
    lifecycle::{StopSignals, end_broken, end_on_panic},
    log::{self, Refusals},
    metrics::Metrics,
    pace, places,
    publish::{Position, Publisher},
    record::{Beside, Recorder},
    recording::{Head, Recording},
    reload_command::Answers,
    resources,
    server::{
        About, Deps, Listen, ListenError, Server, ServerConfig, ServerError, ServerHandle,
        TlsError, condense, encode, encode_shadow, inherited,
    },
    shadow::{Shadow, Vary, Wish},
    store::{Opening, Retention, Shelf, StateDir, StoreError, Will},
    supervisor::Supervisor,
    tick::{TickConfig, Ticker},
    uri::is_real,
};

mod hung;
mod reload;
mod settings;
mod teller;

use reload::{Reload, Reloads};
pub use settings::check;
use settings::{check_freeze_file, freeze_file, hypervisor, listen_beside, read_config, with_file};
use teller::{Teller, longest_tick};

/// Where the config is looked for when no other is named.
pub const DEFAULT_CONFIG: &str = "/etc/agentd/agentd.toml";

/// Why agentd does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag makes no sense.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What TCP needs cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] LoadError),
    /// The text names no hypervisor.
    #[error("\"{0}\" is no hypervisor: write a libvirt URI such as qemu:///system, or sim:FILE")]
    NoUri(String),
    /// The hypervisor is on another host.
    #[error(
        "{0} is on another host: agentd reads this host's memory, so run it there, on \
         qemu:///system for example"
    )]
    Remote(String),
    /// The freeze file cannot be put where it is looked for.
    #[error(
        "there is no directory {folder}, in which the freeze file {} would be: create it, or correct \
         freeze_file in [state]; whoever needs to freeze agentd could not",
        .file.display(), folder = .folder.display()
    )]
    NoFreezeFolder {
        /// The file.
        file: PathBuf,
        /// The directory that is not there.
        folder: PathBuf,
    },
    /// Another agentd serves this host.
    #[error(transparent)]
    Host(#[from] HostLockError),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy and the mode cannot be taken up.
    #[error(transparent)]
    Control(#[from] StartError),
    /// The server does not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The system refuses threads or signals.
    #[error("the system refuses a thread or a signal")]
    System(#[from] io::Error),
}

impl RunError {
    /// True when another agentd is at work.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        match self {
            Self::Store(StoreError::Busy { .. }) | Self::Host(HostLockError::Busy(_)) => true,
            Self::Server(error) => error.is_answered(),
            Self::Config(_)
            | Self::Listen(_)
            | Self::Tls(_)
            | Self::Scenario(_)
            | Self::NoUri(_)
            | Self::Remote(_)
            | Self::NoFreezeFolder { .. }
            | Self::Host(HostLockError::Unsure { .. })
            | Self::Store(_)
            | Self::Control(_)
            | Self::System(_) => false,
        }
    }
}

/// Runs until told to stop. Every VM then keeps what it has.
///
/// # Errors
///
/// Fails when something that it needs is not there. A hypervisor that is not there is waited for.
pub fn run(args: &RunArgs) -> Result<(), RunError> {
    let ran = serve(args);
    log::stop();
    ran
}

fn serve(args: &RunArgs) -> Result<(), RunError> {
    let mut signals = StopSignals::take_over()?;
    end_on_panic();
    let args = &with_file(args);
    let mut config = read_config(args)?;
    let log_level = log::start(config.log)?;
    let (supervisor, inherited) = (Arc::new(Supervisor::of_environment()), inherited()?);
    let clock: Arc<dyn Clock> = RealClock::start();
    let hypervisor = hypervisor(&mut config, &clock)?;
    let listen = listen_beside(&inherited, &config)?;
    check_freeze_file(&config)?;
    resources::take_descriptors();
    let _host = take_host(&config)?;

    let state = StateDir::open(&config.state_dir.clone().unwrap_or_else(places::state_dir))?;
    let publisher = Arc::new(Publisher::new(clock.clone(), size(config.ring_size)));
    // Before the history is made: a database that is not there beside one is a lost one.
    let will = state.will();
    let shadow = Arc::new(Shadow::none(clock.clone()));
    // Before anything happens: it counts from the start on.
    let metrics = Metrics::of_config(&config, &publisher, &clock)?;
    let (history, past) = history(&state, &config)?;
    let beside = beside(shadow.clone());
    let recorder =
        Arc::new(Recorder::start_beside(publisher.clone(), encode, Box::new(history), beside)?);
    let asked = args.mode.map(Mode::from);
    let control = control(&config, asked, will, (&clock, &recorder, &publisher))?;

    let about = about(&config, hypervisor.uri(), &clock);
    let head = head(&about);
    tracing::info!(
        host = about.host, hypervisor = about.hypervisor, mode = control.in_force().mode.name(),
        state = %state.path().display(), freeze_file = frozen::file(control.gate()), "agentd starts"
    );
    frozen::warn_of_folder(control.gate());
    let server_config = server_config(&config, listen, about);
    shadow_of_config(&config, &shadow, clock.wall());
    let audit = Arc::new(audit_of(&config, &state, &publisher)?);
    audit.begin(in_force(&control));
    let deps = Deps {
        clock: clock.clone(),
        publisher: publisher.clone(),
        control: control.clone(),
        shadow: shadow.clone(),
        audit: audit.clone(),
        history: past,
    };
    let server = listening(Server::start_on(inherited, server_config, deps.clone())?);
    // Not before: a start that fails would put a new recording in the place of a good one.
    let recording = recording(&config, head, &publisher);

    let ticker = Ticker::new(hypervisor, clock.clone(), tick_config(&config));
    let teller = Teller {
        recorder: recorder.clone(),
        publisher: publisher.clone(),
        recording,
        refusals: Refusals::default(),
        alarms: Alarms::default(),
        supervisor: supervisor.clone(),
        longest: longest_tick(&config),
    };
    supervisor.begins(teller.longest);
    let loop_ = Loop::start(ticker, control.clone(), teller)?;
    let reloads = Reloads::start(Reload {
        args: args.clone(),
        in_force: config,
        deps,
        server: server.live().clone(),
        supervisor: supervisor.clone(),
        log_level,
        answers: Answers::into(state.path()),
    })?;
    signals.wait(|by| reloads.ask(by));
    supervisor.stops();
    tracing::info!("stopping; every VM keeps what it has");
    Running { server, loop_, control, audit, recorder, metrics }.stop();
    Ok(())
}

fn server_config(config: &Config, listen: Vec<Listen>, about: About) -> ServerConfig {
    ServerConfig {
        listen,
        tls: config.tls.clone(),
        max_watchers: config.max_watchers,
        authz: config.authz.clone(),
        about,
    }
}

/// Says where it can be reached.
fn listening(server: ServerHandle) -> ServerHandle {
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    server
}

/// What is at work.
struct Running {
    server: ServerHandle,
    loop_: Loop,
    control: Arc<Control>,
    audit: Arc<Audit>,
    recorder: Arc<Recorder>,
    metrics: Option<Metrics>,
}

impl Running {
    /// Takes it apart, in less than five seconds whatever hangs.
    fn stop(self) {
        self.loop_.tell_to_stop();
        self.server.stop(SERVER_GRACE);
        let parts = [
            ("tick", self.loop_.wait(LOOP_GRACE)),
            ("control", self.control.close(CONTROL_GRACE)),
            ("audit", self.audit.close(AUDIT_GRACE)),
            ("record", self.recorder.stop(RECORDER_GRACE)),
        ];
        self.metrics.into_iter().for_each(Metrics::stop);
        for (name, _) in parts.iter().filter(|(_, has_ended)| !has_ended) {
            tracing::warn!("the thread \"{name}\" is stuck and is left behind");
        }
    }
}

/// Takes this host, and what a host at its limits would take from agentd; nothing of a simulated
/// host or of libvirt's own test driver, of which there may be many.
fn take_host(config: &Config) -> Result<Option<HostLock>, HostLockError> {
    if !is_real(&config.hypervisor) {
        return Ok(None);
    }
    let lock = HostLock::take(&places::runtime_dir())?;
    resources::be_spared();
    if config.lock_memory {
        resources::stay_in_memory();
    }
    Ok(Some(lock))
}

fn control(
    config: &Config,
    asked: Option<Mode>,
    will: Will,
    (clock, recorder, publisher): (&Arc<dyn Clock>, &Arc<Recorder>, &Arc<Publisher>),
) -> Result<Arc<Control>, RunError> {
    let parts = Parts {
        storage: Box::new(will),
        base: Base {
            mode: config.mode,
            asked,
            policy: config.policy.clone(),
            bounds: config.bounds,
            source: config.source.clone(),
            policy_source: config.policy_source.clone(),
        },
        clock: clock.clone(),
        audience: Box::new(Log { recorder: recorder.clone(), publisher: publisher.clone() }),
        patience: crate::control::PATIENCE,
        freeze_file: freeze_file(config),
    };
    Ok(Arc::new(Control::start(parts)?))
}

/// The audit in the state directory.
fn audit_of(config: &Config, state: &StateDir, publisher: &Arc<Publisher>) -> io::Result<Audit> {
    Audit::start(audit::Parts {
        dir: state.path().to_owned(),
        limits: config.audit,
        clock: RealClock::of_boot(),
        publisher: publisher.clone(),
        patience: audit::PATIENCE,
    })
}

/// What agentd begins with, for the audit.
fn in_force(control: &Control) -> Facts {
    let now = control.in_force();
    let (mode, policy) = (now.mode.name().to_owned(), &now.policy);
    let facts =
        [("mode", mode), ("revision", policy.number.to_string()), ("etag", policy.etag.clone())];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the shadow says of each tick.
fn beside(shadow: Arc<Shadow>) -> Beside {
    Box::new(move |position, stamp, record| {
        shadow.look(record, |look| encode_shadow(position, stamp, record, look))
    })
}

/// Sets the shadow that the config asks for.
fn shadow_of_config(config: &Config, shadow: &Shadow, time: SystemTime) {
    let Some(variation) = config.shadow.clone() else { return };
    let actor = Actor { id: "config".to_owned(), peer: String::new(), time };
    let vary: Vary =
        Arc::new(move |policy| variation.apply(policy).map_err(|error| error.to_string()));
    shadow.set(Wish { vary, actor, reason: String::new() });
}

/// What a recording says of this agentd.
fn head(about: &About) -> Head {
    Head {
        agent_version: about.version.clone(),
        host: about.host.clone(),
        hypervisor: about.hypervisor.clone(),
        began: about.started,
    }
}

/// The recording that the config asks for.
fn recording(config: &Config, head: Head, publisher: &Arc<Publisher>) -> Option<Recording> {
    let file = config.recording.file.as_ref()?;
    Some(Recording::start(file, head, config.recording.size, publisher.clone()))
}

/// The history, and where it is read. What cannot be opened says so with every entry: agentd runs without it.
fn history(state: &StateDir, config: &Config) -> io::Result<(Opening, Shelf)> {
    let retention = Retention { age: config.history_age, bytes: config.history_size.as_u64() };
    state.history(retention, condense)
}

/// Tells of what the control does.
#[derive(Debug)]
struct Log {
    recorder: Arc<Recorder>,
    publisher: Arc<Publisher>,
}

impl Audience for Log {
    fn announce(&self, event: Event) -> Option<Position> {
        self.recorder.change(event)
    }

    fn raise(&self, condition: &'static str, message: String) {
        self.publisher.tell(condition, Some(message));
    }

    fn clear(&self, condition: &'static str) {
        self.publisher.tell(condition, None);
    }
}

/// The loop on its thread.
struct Loop {
    bell: Arc<Bell>,
    thread: thread::JoinHandle<()>,
}

impl Loop {
    fn start(mut ticker: Ticker, control: Arc<Control>, mut teller: Teller) -> io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let heard = Arc::clone(&bell);
        let thread = thread::Builder::new().name("tick".to_owned()).spawn(move || {
            let in_force = || control.in_force();
            pace::run(&mut ticker, in_force, control.gate(), &heard, |mut turn| {
                let hung = hung::why(&turn);
                teller.judge(&mut turn, control.gate());
                control.note_seen(&turn.record);
                control.note_bookings(&turn.record);
                teller.tell(turn);
                if let Some(why) = hung {
                    end_broken(&why);
                }
            });
        })?;
        Ok(Self { bell, thread })
    }

    /// The turn under way is the last one.
    fn tell_to_stop(&self) {
        self.bell.stop();
    }

    /// Waits for the end, but no longer than `patience`. True when it is over.
    fn wait(self, patience: Duration) -> bool {
        let clock = RealClock::start();
        while !self.thread.is_finished() && clock.now() < patience {
            clock.sleep(Duration::from_millis(5));
        }
        self.thread.is_finished()
    }
}

fn tick_config(config: &Config) -> TickConfig {
    TickConfig {
        interval: config.tick.interval,
        settle: config.tick.settle(),
        call_timeout: config.tick.call_timeout(),
        stale_after: config.tick.stale_after,
    }
}

fn about(config: &Config, uri: &str, clock: &Arc<dyn Clock>) -> About {
    let kernel = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    About {
        host: config.host.clone().unwrap_or_else(|| kernel().trim().to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hypervisor: uri.to_owned(),
        started: clock.wall(),
        tick_interval: config.tick.interval,
    }
}

fn size(bytes: ByteCount) -> usize {
    usize::try_from(bytes.as_u64()).unwrap_or(usize::MAX)
}

/// Together they stay below the five seconds in which a stop has to be done.
const SERVER_GRACE: Duration = Duration::from_secs(2);
const LOOP_GRACE: Duration = Duration::from_millis(1000);
const CONTROL_GRACE: Duration = Duration::from_millis(500);
const AUDIT_GRACE: Duration = Duration::from_millis(500);
const RECORDER_GRACE: Duration = Duration::from_millis(500);
const _: () = {
    let graces = [SERVER_GRACE, LOOP_GRACE, CONTROL_GRACE, AUDIT_GRACE, RECORDER_GRACE, log::GRACE];
    let (mut sum, mut next) = (0, 0);
    while next < graces.len() {
        sum += graces[next].as_millis();
        next += 1;
    }
    assert!(sum < 5000);
};

#[cfg(test)]
mod tests;
