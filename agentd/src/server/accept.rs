//! Accepting connections and serving each until it ends: with a cap on their number at each listener,
//! mutual TLS for those over TCP and a deadline for it, a deadline for the first request, and an end
//! when the server stops or the client's time is over. What the calls do is not known here.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

use super::{
    authz::{Authz, Guarded},
    begun::Begun,
    calls::Calls,
    crowd::{Crowd, Door, Full},
    frames::Frames,
    goaway::turn_away,
    handshakes::{Handshake, Handshakes, Most, Spent, Stage, Wait},
    limits,
    listen::{Bound, OwnedPath},
    measured::Measured,
    metered::{Metered, Meters},
    peer::Peer,
    quota::Quota,
    tls::{End, Lease, ShakeError, Tenure, Tls},
};

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) routes: Guarded<Routes>,
    authz: Arc<Authz>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// `None` where nothing listens on TCP.
    tls: Option<Tls>,
    /// Connections of each name, over all listeners.
    names: Arc<Quota<String>>,
    /// Calls of each name, likewise.
    callers: Arc<Quota<String>>,
    /// What each name sends, likewise.
    meters: Arc<Meters>,
}

/// The places of one listener. Nobody who comes by another one can take them.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    most: usize,
    calls: Arc<Semaphore>,
    handshakes: Arc<Handshakes>,
}

/// What one connection has of its listener's places.
#[derive(Debug)]
struct Place {
    _place: OwnedSemaphorePermit,
    calls: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(
        routes: Guarded<Routes>,
        authz: Arc<Authz>,
        crowd: Crowd,
        stop: CancellationToken,
        tls: Option<Tls>,
    ) -> Self {
        let crowd = Arc::new(crowd);
        let names = Quota::new(limits::NAME_CONNECTIONS);
        let callers = Quota::new(limits::NAME_CALLS);
        let (tasks, meters) = (TaskTracker::new(), Arc::default());
        Self { routes, authz, crowd, tasks, stop, tls, names, callers, meters }
    }

    /// Accepts from one listener until the server stops. `share` is its share of the places.
    pub(super) async fn accept_from(
        self: Arc<Self>,
        bound: Bound,
        share: limits::Share,
    ) -> io::Result<()> {
        let places = Arc::new(Places::of(share));
        let mut door = Door::new(bound.address().to_string(), Arc::clone(&self.crowd));
        let listener = Listener::of(bound)?;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = time::sleep_until(door.look_at()), if door.is_crowded() => {
                    door.look(places.has_room());
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
    fn admit(self: &Arc<Self>, accepted: Accepted, places: &Arc<Places>, door: &mut Door) {
        match accepted {
            Accepted::Unix(io) => self.admit_local(io, places, door),
            Accepted::Tcp(io, address) => {
                if places.free.available_permits() == 0 {
                    return door.turn_away(Full::Places(places.most));
                }
                let most = places.handshakes.most;
                match places.handshakes.enter(network(address.ip())) {
                    Ok(wait) => {
                        match wait.ousted {
                            Some(Stage::Waiting) => door.turn_away(Full::Newcomers(most.waiting)),
                            Some(Stage::UnderWay) => door.turn_away(Full::Handshakes(most.all)),
                            None => {}
                        }
                        let received = Arc::clone(self).receive(io, address, wait);
                        let (all, places) = (Arc::clone(self), Arc::clone(places));
                        self.tasks.spawn(async move {
                            let Some((io, handshake)) = received.await else { return };
                            // Somebody may have taken the last one meanwhile.
                            let Some(place) = places.take() else {
                                return all
                                    .crowd
                                    .refuse(address, &Full::Places(places.most).to_string());
                            };
                            Box::pin(all.welcome(io, address, handshake, place)).await;
                        });
                    }
                    Err(Spent::Own) => door.turn_away(Full::OfAddress(most.each_waiting)),
                    Err(Spent::All) => door.turn_away(Full::Newcomers(most.waiting)),
                }
            }
        }
    }

    /// The same of a connection of this host, whose client is known.
    fn admit_local(self: &Arc<Self>, io: UnixStream, places: &Places, door: &mut Door) {
        let Some(place) = places.take() else {
            return door.turn_away(Full::Places(places.most));
        };
        let known = io.peer_cred().ok();
        let (uid, gid) = known.map(|known| (known.uid(), known.gid())).unzip();
        let peer = Peer::Local { uid, gid };
        let own = match peer.is_own() {
            true => None,
            false => match self.names.take(peer.name()) {
                Some(own) => Some(own),
                None => return door.turn_away(Full::OfUser(limits::NAME_CONNECTIONS)),
            },
        };
        let mut io = Metered::new(io);
        if own.is_some() {
            io.count_with(self.meters.of(&peer.name()));
        }
        let meter = io.meter();
        let served = Arc::clone(self).serve(Frames::new(io, meter), peer, None, place);
        self.tasks.spawn(async move {
            let _own = own;
            served.await;
        });
    }

    /// Waits with a TCP connection until it is its turn. `None` where it went away, or made way, or took too long.
    async fn receive(
        self: Arc<Self>,
        io: TcpStream,
        address: SocketAddr,
        mut wait: Wait,
    ) -> Option<(Begun<TcpStream>, Handshake)> {
        let turn = async {
            let mut io = tokio::select! {
                begun = Begun::read(io) => begun.ok()?,
                _ = wait.turn() => return None,
            };
            wait.speaks();
            if let Err(error) = tune(io.get_ref()) {
                tracing::debug!(%error, %address, "the connection is not tuned");
            }
            tokio::select! {
                biased;
                () = io.gone() => None,
                turn = wait.turn() => Some((io, turn?)),
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => None,
            turn = time::timeout(limits::HANDSHAKE, turn) => match turn {
                Ok(turn) => turn,
                Err(_) => {
                    self.refuse(address, &ShakeError::Late);
                    None
                }
            },
        }
    }

    /// Finds out who is at the other end of a TCP connection, and serves it.
    async fn welcome(
        self: Arc<Self>,
        io: Begun<TcpStream>,
        address: SocketAddr,
        handshake: Handshake,
        place: Place,
    ) {
        // There is no TCP without it: the server has seen to that before it listened.
        let Some(tls) = self.tls.clone() else { return };
        let shaken = tokio::select! {
            shaken = tls.shake(Metered::new(io)) => shaken,
            () = handshake.ousted() => return,
            () = self.stop.cancelled() => return,
        };
        // Its place for that does not come free at once, or one client could have thousands in a second.
        self.tasks.spawn(async move { handshake.least().await });
        let (mut io, certificate, tenure) = match shaken {
            Ok(shaken) => shaken.into_parts(),
            Err(error) => return self.refuse(address, &error),
        };
        let Some(_own) = self.names.take(certificate.name.clone()) else {
            let (name, most) = (&certificate.name, limits::NAME_CONNECTIONS);
            let message = format!("{name} has {most} connections, which is all that one may have");
            self.crowd.refuse(address, &message);
            return turn_away(io, &message).await;
        };
        let meter = self.meters.of(&certificate.name);
        // Whoever reads of it below waits for that.
        let _ = meter.count(limits::HANDSHAKE_COST);
        io.get_mut().0.count_with(Arc::clone(&meter));
        tracing::debug!(%address, name = certificate.name, serial = certificate.serial, "let in");
        let peer = Peer::Remote { address, certificate };
        self.serve(Frames::new(io, meter), peer, Some(tenure), place).await;
    }

    /// Tells of somebody who was not let in.
    fn refuse(&self, address: SocketAddr, error: &ShakeError) {
        match error {
            // Whoever only looks whether the port is open is not worth a line.
            ShakeError::Gone(_) => tracing::debug!(%address, "{error}"),
            ShakeError::Late | ShakeError::NotHttp2 | ShakeError::Refused(_) => {
                self.crowd.refuse(address, &error.to_string());
            }
        }
    }

    async fn serve<I>(self: Arc<Self>, io: I, peer: Peer, mut tenure: Option<Tenure>, place: Place)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spoke = Arc::new(AtomicBool::new(false));
        let (tell, lease) = Lease::new();
        let calls = Calls {
            routes: self.routes.clone(),
            free: Arc::clone(&place.calls),
            names: Arc::clone(&self.callers),
            peer: peer.clone(),
            lease,
            spoke: Arc::clone(&spoke),
        };
        let calls = Measured::new(calls, Arc::clone(self.crowd.meters()));
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
            end = end(&self.authz, &peer, &mut tenure) => {
                tracing::info!(peer = peer.name(), "a connection is ended: {}", end.reason());
                let grace = end.grace();
                tell.send_replace(Some(end));
                connection.as_mut().graceful_shutdown();
                // What is not over by then is cut.
                time::timeout(grace, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = peer.name(), "a connection ended early");
        }
    }
}

impl Places {
    fn of(share: limits::Share) -> Self {
        let most = share.of(limits::connections());
        let waiting = share.of_kind(limits::waiting());
        Self {
            free: Arc::new(Semaphore::new(most)),
            most,
            calls: Arc::new(Semaphore::new(share.of(limits::CALLS))),
            handshakes: Handshakes::new(Most {
                // Those that have shown who they are keep half of the places, however few there are.
                all: limits::HANDSHAKES.min(most / 2).max(1),
                each: limits::ADDRESS_HANDSHAKES,
                waiting,
                // A listener with few places leaves some for other addresses as well.
                each_waiting: limits::ADDRESS_WAITING.min(waiting * 5 / 8).max(1),
            }),
        }
    }

    /// One of the places, where one is free.
    fn take(&self) -> Option<Place> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place { _place: place, calls: Arc::clone(&self.calls) })
    }

    fn has_room(&self) -> bool {
        self.free.available_permits() > 0 && self.handshakes.has_room()
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

/// What a sender cannot do without the others of its network: of IPv6, anybody has 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

/// Small messages go out at once, little waits in the kernel, and a client that is gone is noticed.
fn tune(io: &TcpStream) -> io::Result<()> {
    io.set_nodelay(true)?;
    sockopt::set_socket_recv_buffer_size(io, limits::SOCKET_BUFFER)?;
    sockopt::set_socket_send_buffer_size(io, limits::SOCKET_BUFFER)?;
    sockopt::set_socket_keepalive(io, true)?;
    sockopt::set_tcp_keepidle(io, limits::TCP_KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(io, limits::TCP_KEEPALIVE_AGAIN)?;
    let unanswered = u32::try_from(limits::TCP_UNANSWERED.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(io, unanswered)?;
    Ok(())
}

/// Returns when a connection has sent no request for too long; never when it has sent one.
async fn silence(spoke: &AtomicBool) {
    time::sleep(limits::FIRST_REQUEST).await;
    if spoke.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Waits until a connection has to end: that of its tenure, if any, or of its client's role.
async fn end(authz: &Authz, peer: &Peer, tenure: &mut Option<Tenure>) -> End {
    let of_tenure = async {
        match tenure {
            Some(tenure) => tenure.end().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        end = of_tenure => end,
        () = authz.until_without_role(peer) => End::WithoutRole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_all_that_its_sender_can_take() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
