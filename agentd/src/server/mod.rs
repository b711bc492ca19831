//! The gRPC server: the one part of agentd that is asynchronous and knows the wire.
//!
//! It sees published values out and commands in, and can never wait on the hypervisor:
//!
//! ```text
//! Listen -> accept -> [tls] -> calls -> authz -> routes -> host | vm | policy | reservation | history | watch | health | reflection
//!                                                  |      reads: Publisher      changes: Control
//!                                      from_proto / to_proto convert, fault says what went wrong
//! ```
//!
//! It runs on its own small runtime and ends within the grace it is given, whoever is connected.

mod accept;
mod audit;
mod audited;
mod authz;
mod begun;
mod calls;
mod change;
mod crowd;
mod fault;
mod found;
mod frames;
mod from_proto;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod goaway;
mod handshakes;
mod health;
mod history;
mod host;
mod inherited;
mod limits;
mod listen;
mod mask;
mod measured;
mod metered;
mod past;
mod peer;
mod pin;
mod policy;
mod quota;
mod reservation;
mod routes;
mod shadow;
mod story;
mod through;
mod tls;
mod to_proto;
mod vm;
mod watch;

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::{Handle, Runtime},
    sync::{Semaphore, watch::Sender},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use history::condense;
pub use inherited::inherited;
pub use listen::{Listen, ListenError};
pub use shadow::encode_shadow;
pub use tls::{TlsError, check as check_tls};
pub use to_proto::encode;

use agentd_proto::v1 as wire;

use crate::{
    alarm,
    audit::Audit,
    clock::Clock,
    config::{AuthzConfig, TlsConfig},
    control::{Control, InForce},
    frozen,
    publish::{Publisher, Stamp},
    shadow::Shadow,
    store::Shelf,
};
use accept::Connections;
use authz::{Authz, Guarded, OnDenial};
use change::Entrance;
use crowd::Crowd;
use listen::Bound;
use past::Past;
use tls::{Keeper, Tls};

/// How the server runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it can be reached.
    pub listen: Vec<Listen>,
    /// What connections over TCP show and demand; `None` for no TCP.
    pub tls: Option<TlsConfig>,
    /// Watch streams at a time.
    pub max_watchers: usize,
    /// Who of this host may do what.
    pub authz: AuthzConfig,
    /// What it says of the agent.
    pub about: About,
}

/// What does not change while agentd runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the host.
    pub host: String,
    /// Version of agentd.
    pub version: String,
    /// The hypervisor, as a URI.
    pub hypervisor: String,
    /// When agentd started.
    pub started: SystemTime,
    /// Time from tick to tick.
    pub tick_interval: Duration,
}

/// What the server reads and calls.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is published.
    pub publisher: Arc<Publisher>,
    /// The operator's will.
    pub control: Arc<Control>,
    /// The policy that decides along, if any.
    pub shadow: Arc<Shadow>,
    /// Where every change is written down.
    pub audit: Arc<Audit>,
    /// The history on disk.
    pub history: Shelf,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A place cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What TCP needs cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no threads.
    #[error("the server's threads cannot be started")]
    Threads(#[source] io::Error),
}

impl ServerError {
    /// True where another agentd answers at the place.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self, Self::Listen(ListenError::Answered(_)))
    }
}

/// The server.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A running server. Stops at once when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    tasks: TaskTracker,
    connections: TaskTracker,
    addresses: Vec<Listen>,
    live: Live,
}

/// What of a server can be replaced while it runs. May outlive it, and then changes nothing.
#[derive(Clone, Debug)]
pub struct Live {
    runtime: Handle,
    /// Places that were made here.
    sockets: Vec<PathBuf>,
    authz: Arc<Authz>,
    tls: Sender<Option<TlsConfig>>,
}

impl Server {
    /// Listens, and serves until the handle stops it.
    ///
    /// # Errors
    ///
    /// When a place cannot be listened on, the files of TLS cannot be used, or the system gives no threads;
    /// nothing is left behind.
    pub fn start(config: ServerConfig, deps: Deps) -> Result<ServerHandle, ServerError> {
        Self::start_on(Vec::new(), config, deps)
    }

    /// As [`Server::start`], and on sockets that others have bound and keep. One of them that is where
    /// the config wants to listen is all that is there.
    ///
    /// # Errors
    ///
    /// See [`Server::start`].
    pub fn start_on(
        inherited: Vec<UnixListener>,
        config: ServerConfig,
        deps: Deps,
    ) -> Result<ServerHandle, ServerError> {
        let (tls, keeper) = open_tls(&config, &deps)?.unzip();
        let bound = bind(inherited, &config.listen, tls.is_some())?;
        let addresses: Vec<Listen> = bound.iter().map(Bound::address).collect();
        let sockets: Vec<PathBuf> =
            bound.iter().filter_map(Bound::own_socket).map(Path::to_path_buf).collect();

        let runtime = runtime().map_err(ServerError::Threads)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let crowd = Crowd::new(Arc::clone(&deps.publisher), Arc::clone(&deps.audit));
        let published = Arc::new(Published::new(config, deps, &stop, &tasks));
        let authz = Arc::clone(&published.authz);
        let guard = runtime.enter();
        runtime.spawn(Arc::clone(&authz).share(sockets.clone()));
        let routes = routes::all(&published).prepare();
        let routes = Guarded::new(routes, Arc::clone(&authz), into_audit(&published.audit));
        let connections = Connections::new(routes, Arc::clone(&authz), crowd, stop.clone(), tls);
        let connections = Arc::new(connections);
        let tls = Sender::new(None);
        if let Some(keeper) = keeper {
            tasks.spawn(keeper.keep(stop.clone(), tls.subscribe()));
        }
        let served = connections.tasks.clone();
        let unix = bound.iter().filter(|bound| bound.is_unix()).count();
        let tcp = bound.len().saturating_sub(unix);
        for bound in bound {
            let connections = Arc::clone(&connections);
            let (alike, others) = if bound.is_unix() { (unix, tcp) } else { (tcp, unix) };
            let share = limits::Share::new(alike, others);
            tasks.spawn(async move {
                if let Err(error) = connections.accept_from(bound, share).await {
                    tracing::error!(%error, "a listener could not be served");
                }
            });
        }
        drop(guard);
        let live = Live { runtime: runtime.handle().clone(), sockets, authz, tls };
        let (runtime, connections) = (Some(runtime), served);
        Ok(ServerHandle { runtime, stop, tasks, connections, addresses, live })
    }
}

impl ServerHandle {
    /// Where the server can be reached, with ports of 0 replaced by those given.
    #[must_use]
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// What of it can be replaced.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Says good-bye to every watcher and ends, within `grace` whoever is connected.
    pub fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        self.connections.close();
        if let Some(runtime) = self.runtime.take() {
            let (tasks, connections) = (self.tasks.clone(), self.connections.clone());
            // A part of the grace is for threads that still write to the disk.
            let polite = grace.saturating_mul(3) / 4;
            runtime.block_on(async {
                let all = async {
                    tasks.wait().await;
                    connections.wait().await;
                };
                let _ = tokio::time::timeout(polite, all).await;
            });
            runtime.shutdown_timeout(grace.saturating_sub(polite));
        }
    }
}

impl Live {
    /// Puts other rules of who may do what in force: for calls from now on, for streams that are open,
    /// which end where they are no longer allowed, and for connections, which end where their caller
    /// has no role any more.
    pub fn replace_authz(&self, rules: AuthzConfig) {
        self.authz.replace(rules);
        self.runtime.spawn(Arc::clone(&self.authz).share(self.sockets.clone()));
    }

    /// Has the files of TLS read at once; without it they are looked at every second. Other files than
    /// those before take their place once they make sense. Nothing where TCP is not listened on.
    pub fn read_tls(&self, files: TlsConfig) {
        self.tls.send_replace(Some(files));
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the services share.
#[derive(Debug)]
struct Published {
    publisher: Arc<Publisher>,
    control: Arc<Control>,
    shadow: Arc<Shadow>,
    audit: Arc<Audit>,
    /// For all changes but of the mode.
    changes: Entrance,
    /// For changes of the mode that go on.
    modes: Entrance,
    /// For pauses, which wait for nothing else.
    pauses: Entrance,
    /// For reads that cost something, of the policy's history and of the shadow: who reads keeps nobody
    /// from a change.
    history: Entrance,
    /// The history of ticks and changes.
    past: Past,
    clock: Arc<dyn Clock>,
    about: About,
    max_watchers: usize,
    watchers: Arc<Semaphore>,
    /// One looks for the freeze file at a time: its disk may hang.
    looking: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    authz: Arc<Authz>,
}

impl Published {
    fn new(
        config: ServerConfig,
        deps: Deps,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            publisher: deps.publisher,
            changes: Entrance::new(Arc::clone(&deps.control), tasks.clone()),
            modes: Entrance::new(Arc::clone(&deps.control), tasks.clone()),
            pauses: Entrance::new(Arc::clone(&deps.control), tasks.clone()),
            history: Entrance::new(Arc::clone(&deps.control), tasks.clone()),
            past: Past::new(deps.history, tasks.clone()),
            control: deps.control,
            shadow: deps.shadow,
            audit: deps.audit,
            authz: Arc::new(Authz::new(config.authz, Arc::clone(&deps.clock))),
            clock: deps.clock,
            about: config.about,
            max_watchers: config.max_watchers,
            watchers: Arc::new(Semaphore::new(config.max_watchers)),
            looking: Arc::new(Semaphore::new(1)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        }
    }

    /// Looks for the freeze file, so that an answer says what is so now and not at the last tick. Where
    /// the look takes too long, what the last one found has to do.
    async fn look_for_freeze(&self) {
        let look = async {
            let Ok(place) = Arc::clone(&self.looking).acquire_owned().await else { return };
            let (control, publisher) = (Arc::clone(&self.control), Arc::clone(&self.publisher));
            let looked = tokio::task::spawn_blocking(move || {
                let _place = place;
                frozen::look(control.gate(), &publisher);
            });
            // It does not panic, and where the server stops nobody waits for an answer.
            let _ = looked.await;
        };
        // What is not over goes on by itself, and takes the place until it is.
        let _ = tokio::time::timeout(limits::LOOK, look).await;
    }

    /// The conditions with these names, as they are now.
    fn conditions(&self, wanted: impl Fn(&str) -> bool) -> Vec<wire::Condition> {
        let all = self.publisher.conditions().all().into_iter();
        all.filter(|(reason, _)| wanted(reason)).map(to_proto::condition).collect()
    }

    /// What keeps figures from being current, or decisions from being carried out.
    async fn caveats(&self) -> Vec<wire::Condition> {
        self.look_for_freeze().await;
        self.conditions(|reason| [alarm::HYPERVISOR_LOST, frozen::FROZEN].contains(&reason))
    }

    fn in_force(&self) -> Arc<InForce> {
        self.control.in_force()
    }

    fn open_watchers(&self) -> usize {
        self.max_watchers.saturating_sub(self.watchers.available_permits())
    }

    fn stamp(&self) -> Stamp {
        Stamp { wall: self.clock.wall(), monotonic: self.clock.now() }
    }
}

fn bind(
    inherited: Vec<UnixListener>,
    wanted: &[Listen],
    has_tls: bool,
) -> Result<Vec<Bound>, ListenError> {
    let mut bound: Vec<Bound> =
        inherited.into_iter().map(Bound::inherited).collect::<Result<_, _>>()?;
    let there: Vec<Listen> = bound.iter().map(Bound::address).collect();
    for place in wanted.iter().filter(|place| !there.contains(place)) {
        bound.push(place.bind(has_tls)?);
    }
    Ok(bound)
}

/// Denials go into the audit, by the name of the method.
fn into_audit(audit: &Arc<Audit>) -> OnDenial {
    let audit = Arc::clone(audit);
    OnDenial::new(move |peer, path, refused| {
        audit.denied(peer, path.trim_start_matches('/'), &fault::reason(refused));
    })
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name(SERVER_THREAD)
        .worker_threads(limits::WORKERS)
        .max_blocking_threads(limits::BLOCKING)
        .enable_all()
        .build()
}

/// What TCP needs, where it is listened on.
fn open_tls(config: &ServerConfig, deps: &Deps) -> Result<Option<(Tls, Keeper)>, TlsError> {
    let is_tcp = |listen: &Listen| matches!(listen, Listen::Tcp(_));
    let files = config.tls.clone().filter(|_| config.listen.iter().any(is_tcp));
    let open = |files| Keeper::open(files, Arc::clone(&deps.clock), Arc::clone(&deps.publisher));
    files.map(open).transpose()
}

/// Name of each of its threads.
const SERVER_THREAD: &str = "server";
/// Watch streams at a time unless the config says otherwise.
pub const DEFAULT_MAX_WATCHERS: usize = 64;
