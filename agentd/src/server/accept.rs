//! Accepting connections and serving each until it ends: with a cap on their number at each
//! listener, a deadline for the first request, and an end when the server stops. What the calls do is
//! not known here.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Bytes, Service, StdError, http},
    service::Routes,
};

use super::{
    authz::Guarded,
    crowd::{Crowd, Door},
    fault, limits,
    listen::{Bound, OwnedPath},
    peer::Peer,
};

/// What every connection needs.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) routes: Guarded<Routes>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The places of one listener. Nobody who comes by another one can take them.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(routes: Guarded<Routes>, crowd: Crowd, stop: CancellationToken) -> Self {
        let crowd = Arc::new(crowd);
        Self { routes, crowd, tasks: TaskTracker::new(), stop }
    }

    /// Accepts from one listener until the server stops. `share` is its share of the places.
    pub(super) async fn accept_from(self, bound: Bound, share: limits::Share) -> io::Result<()> {
        let most = share.of(limits::connections());
        let places = Places {
            free: Arc::new(Semaphore::new(most)),
            calls: Arc::new(Semaphore::new(share.of(limits::CALLS))),
        };
        let mut door = Door::new(bound.address().to_string(), most, Arc::clone(&self.crowd));
        let listener = Listener::of(bound)?;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = time::sleep_until(door.look_at()), if door.is_crowded() => {
                    door.look(places.free.available_permits());
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => self.admit(accepted, &places, &mut door),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    time::sleep(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Serves a connection, or ends it where there are too many.
    fn admit(&self, accepted: Accepted, places: &Places, door: &mut Door) {
        let Ok(permit) = Arc::clone(&places.free).try_acquire_owned() else {
            return door.turn_away();
        };
        let (this, calls) = (self.clone(), Arc::clone(&places.calls));
        match accepted {
            Accepted::Unix(io) => {
                let known = io.peer_cred().ok();
                let (uid, gid) = known.map(|known| (known.uid(), known.gid())).unzip();
                let peer = Peer::Local { uid, gid };
                self.tasks.spawn(this.serve(io, peer, calls, permit));
            }
            Accepted::Tcp(io, address) => {
                // Without it small messages wait for the acknowledgement of earlier ones.
                let _ = io.set_nodelay(true);
                self.tasks.spawn(this.serve(io, Peer::Tcp(address), calls, permit));
            }
        }
    }

    async fn serve<I>(self, io: I, peer: Peer, calls: Arc<Semaphore>, _permit: OwnedSemaphorePermit)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spoke = Arc::new(AtomicBool::new(false));
        let calls = Calls {
            routes: self.routes,
            free: calls,
            peer: peer.clone(),
            spoke: Arc::clone(&spoke),
        };
        let http2 = limits::http2();
        let connection = http2.serve_connection(TokioIo::new(io), TowerToHyperService::new(calls));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = silence(&spoke) => {
                tracing::debug!(peer = peer.name(), "a connection ended: it sent no request");
                return;
            }
            () = self.stop.cancelled() => {
                if !spoke.load(Ordering::Relaxed) {
                    // It would be waited for until it speaks.
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = peer.name(), "a connection ended early");
        }
    }
}

/// A place that is listened on. Its socket's path lives as long.
enum Listener {
    Unix(UnixListener, #[expect(dead_code, reason = "removed when dropped")] OwnedPath),
    Tcp(TcpListener),
}

impl Listener {
    fn of(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Unix(listener, owned) => Self::Unix(UnixListener::from_std(listener)?, owned),
            Bound::Tcp(listener, _) => Self::Tcp(TcpListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (io, address) = listener.accept().await?;
                Ok(Accepted::Tcp(io, address))
            }
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

/// Returns when a connection has sent no request for too long; never when it has sent one.
async fn silence(spoke: &AtomicBool) {
    time::sleep(limits::FIRST_REQUEST).await;
    if spoke.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// The calls of one connection.
#[derive(Clone, Debug)]
struct Calls {
    routes: Guarded<Routes>,
    free: Arc<Semaphore>,
    peer: Peer,
    spoke: Arc<AtomicBool>,
}

impl<B> Service<http::Request<B>> for Calls
where
    B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        self.spoke.store(true, Ordering::Relaxed);
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return Box::pin(async { Ok(too_many().into_http()) });
        };
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.routes.call(request.map(Body::new));
        Box::pin(async move {
            match time::timeout(limits::CALL, answer).await {
                Ok(Ok(answer)) => {
                    Ok(answer.map(|body| Body::new(Counted { body, _permit: permit })))
                }
                Ok(Err(error)) => Ok(Status::internal(error.to_string()).into_http()),
                Err(_) => Ok(late().into_http()),
            }
        })
    }
}

/// A response that counts as a call until it is gone.
struct Counted {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_many() -> Status {
    let message = "as many calls are under way on this listener as may be".to_owned();
    fault::exhausted("TOO_MANY_CALLS", message, RETRY_AFTER)
}

fn late() -> Status {
    let seconds = limits::CALL.as_secs();
    Status::deadline_exceeded(format!(
        "no answer within {seconds} s; a change may still be made: ask what is in force"
    ))
}

/// A call takes milliseconds; streams last longer.
const RETRY_AFTER: Duration = Duration::from_secs(1);
