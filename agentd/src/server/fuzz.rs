//! Feeds the server what clients send: see `crate::fuzz`.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    panic,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

pub(crate) use super::tls::fuzz::certificate;
use super::{
    About, Deps, Listen, SERVER_THREAD, Server, ServerConfig, ServerHandle, history, pin, policy,
    reservation, watch,
};
use crate::{
    audit::{self, Audit, Limits, Token},
    clock::{Clock, RealClock},
    config::AuthzConfig,
    control::{Audience, Base, Control, Parts},
    event::Event,
    publish::{Position, Publisher},
    shadow::Shadow,
    store::{Shelf, StateDir},
};

/// A request, by its first byte: for another policy, for a stream, for a reservation, for a pin, for a stretch of the
/// history, or where a page of the audit begins.
pub(crate) fn request(data: &[u8]) {
    match data.split_first() {
        Some((b'p', rest)) => policy::fuzz::update(rest),
        Some((b'w', rest)) => watch::fuzz(rest),
        Some((b'r', rest)) => reservation::fuzz(rest),
        Some((b'v', rest)) => pin::fuzz(rest),
        Some((b'h', rest)) => history::fuzz(rest),
        Some((b'a', rest)) => {
            let Ok(text) = str::from_utf8(rest) else { return };
            let Ok(token) = text.parse::<Token>() else { return };
            assert_eq!(token.to_string().parse(), Ok(token), "{text}");
        }
        Some(_) | None => {}
    }
}

/// Bytes over the socket of a running server. It ends the connection once they are over, and no thread of
/// it panics.
pub(crate) fn connection(data: &[u8]) {
    thread_local! {
        // Its directory goes with the thread.
        static WORLD: Option<World> = World::start();
    }
    let line = WORLD.with(|world| Some(UnixStream::connect(&world.as_ref()?.socket)));
    let Some(Ok(mut line)) = line else { panic!("nobody listens: {line:?}") };
    assert!(line.set_read_timeout(Some(PATIENCE)).is_ok());
    assert!(line.set_write_timeout(Some(PATIENCE)).is_ok());
    // The server may have had enough before the end: either fails then.
    let _ = line.write_all(data).and_then(|()| line.shutdown(Shutdown::Write));
    let mut answer = [0; 4096];
    loop {
        match line.read(&mut answer) {
            Ok(0) => break,
            Ok(_) => {}
            // The clock of a fuzzer is a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                let cut = error.kind() == ErrorKind::ConnectionReset;
                assert!(cut, "the connection does not end: {error}");
                break;
            }
        }
    }
    assert!(!BROKEN.load(Ordering::SeqCst), "a thread of the server has panicked");
}

/// A server with nothing behind it that decides.
struct World {
    socket: PathBuf,
    _server: ServerHandle,
    _dir: tempfile::TempDir,
}

impl World {
    fn start() -> Option<Self> {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            // A task that panics takes nothing else with it.
            if thread::current().name() == Some(SERVER_THREAD) {
                BROKEN.store(true, Ordering::SeqCst);
            }
            tell(what);
        }));
        let dir = tempfile::tempdir().ok()?;
        let clock: Arc<dyn Clock> = RealClock::start();
        let publisher = Arc::new(Publisher::new(Arc::clone(&clock), 1 << 20));
        let state = StateDir::open(&dir.path().join("state")).ok()?;
        let parts = Parts {
            storage: Box::new(state.will()),
            base: Base::default(),
            clock: Arc::clone(&clock),
            audience: Box::new(Nobody),
            patience: PATIENCE,
            freeze_file: None,
        };
        let audit = Audit::start(audit::Parts {
            dir: state.path().to_owned(),
            limits: Limits { size: 1 << 20, files: 2 },
            clock: RealClock::of_boot(),
            publisher: Arc::clone(&publisher),
            patience: PATIENCE,
        });
        let deps = Deps {
            shadow: Arc::new(Shadow::none(Arc::clone(&clock))),
            control: Arc::new(Control::start(parts).ok()?),
            audit: Arc::new(audit.ok()?),
            history: Shelf::of(None),
            publisher,
            clock,
        };
        let socket = dir.path().join("agentd.sock");
        let about = About {
            host: "node1".to_owned(),
            version: "1.2.3".to_owned(),
            hypervisor: "sim:fuzz".to_owned(),
            started: SystemTime::UNIX_EPOCH,
            tick_interval: Duration::from_secs(1),
        };
        let listen = vec![Listen::Unix(socket.clone())];
        let authz = AuthzConfig::default();
        let config = ServerConfig { listen, tls: None, max_watchers: 4, authz, about };
        let server = Server::start(config, deps).ok()?;
        Some(Self { socket, _server: server, _dir: dir })
    }
}

/// Listens to nothing.
#[derive(Debug)]
struct Nobody;

impl Audience for Nobody {
    fn announce(&self, _: Event) -> Option<Position> {
        None
    }

    fn raise(&self, _: &'static str, _: String) {}

    fn clear(&self, _: &'static str) {}
}

static BROKEN: AtomicBool = AtomicBool::new(false);
/// Longer than any machine that is alive takes.
const PATIENCE: Duration = Duration::from_secs(60);
