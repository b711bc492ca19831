//! [`Tenure`]: how long a connection over TCP may last, and [`Lease`], by which its calls know.
//!
//! ```text
//! 1 h ±10 %              ---> Aged      the streams say good-bye, the calls under way end
//! not_after is past      ---> Expired   \ the streams end with the reason, no call begins,
//! new terms refuse it    ---> Refused    > and the connection is cut
//! its client has no role ---> WithoutRole/
//! ```

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tonic::{Code, Status};

use super::{
    load::{Terms, unix},
    words,
};
use crate::{
    clock::Clock,
    server::{fault, limits},
};

/// Why the server ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum End {
    /// It is as old as one may be.
    Aged,
    /// The client's certificate was valid until now.
    Expired,
    /// The client's certificate would not be let in any more, for this reason.
    Refused(String),
    /// The client had a role and has none any more.
    WithoutRole,
}

/// How long one connection may last.
#[derive(Debug)]
pub(in crate::server) struct Tenure {
    pub(super) clock: Arc<dyn Clock>,
    /// What is in force; those of the handshake are marked as seen.
    pub(super) terms: watch::Receiver<Arc<Terms>>,
    /// What the client has shown, its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) not_after: SystemTime,
    pub(super) until: Instant,
}

impl Tenure {
    /// Waits for its end.
    pub(in crate::server) async fn end(&mut self) -> End {
        // What lets it in may be past its time without any change of the files.
        let mut again = time::interval(limits::RECHECK);
        loop {
            let end = tokio::select! {
                () = time::sleep_until(self.until) => return End::Aged,
                () = time::sleep(limits::LOOK_AT_CLOCK) => self.expired(),
                _ = again.tick() => self.refused(),
                changed = self.terms.changed() => {
                    if changed.is_err() {
                        // The server stops, which ends every connection.
                        std::future::pending::<()>().await;
                    }
                    self.refused()
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn expired(&self) -> Option<End> {
        (self.clock.wall() > self.not_after).then_some(End::Expired)
    }

    /// Asks those in force now whether its client would be let in.
    fn refused(&mut self) -> Option<End> {
        let terms = Arc::clone(&self.terms.borrow_and_update());
        let admitted = terms.clients.admit(&self.chain, unix(self.clock.wall()));
        self.expired().or_else(|| admitted.err().map(|error| End::Refused(words(&error))))
    }
}

/// The age at which a connection that begins now has to end: not the same for all that begin together.
pub(super) fn oldest() -> Instant {
    let spread = limits::CONNECTION_AGE / 10;
    let random = RandomState::new().build_hasher().finish() % 2000;
    let random = u32::try_from(random).unwrap_or(0);
    let age = limits::CONNECTION_AGE.saturating_sub(spread).saturating_add(spread * random / 1000);
    let now = Instant::now();
    now.checked_add(age).unwrap_or(now)
}

/// What the calls of a connection know of its end.
#[derive(Clone, Debug)]
pub(in crate::server) struct Lease(watch::Receiver<Option<End>>);

impl Lease {
    /// One, and what ends it.
    pub(in crate::server) fn new() -> (watch::Sender<Option<End>>, Self) {
        let (tell, told) = watch::channel(None);
        (tell, Self(told))
    }

    /// The lease of the connection by which a request came.
    pub(in crate::server) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Why no call may begin any more, where that is so.
    pub(in crate::server) fn is_over(&self) -> Option<End> {
        self.0.borrow().clone().filter(|end| *end != End::Aged)
    }

    /// Waits for the end; for ever where there is none.
    pub(in crate::server) async fn end(mut self) -> End {
        if let Ok(end) = self.0.wait_for(Option::is_some).await
            && let Some(end) = end.clone()
        {
            return end;
        }
        // The connection is gone, and with it whoever waits.
        std::future::pending().await
    }
}

impl End {
    /// How long what is under way may take until the connection is cut.
    pub(in crate::server) const fn grace(&self) -> Duration {
        match self {
            Self::Aged => limits::CALL,
            Self::Expired | Self::Refused(_) | Self::WithoutRole => limits::FAREWELL,
        }
    }

    /// In words, for a stream's good-bye and for the log.
    pub(in crate::server) fn reason(&self) -> String {
        match self {
            Self::Aged => "the connection is as old as one may be".to_owned(),
            Self::Expired => "the client's certificate has expired".to_owned(),
            Self::Refused(why) => why.clone(),
            Self::WithoutRole => "you have no role on this host any more".to_owned(),
        }
    }

    /// As the status of a call, or of a stream that ends.
    pub(in crate::server) fn status(&self) -> Status {
        let reason = self.reason();
        let (code, name, advice) = match self {
            Self::Aged => (Code::Unavailable, "CONNECTION_AGED", "connect again"),
            Self::Expired => (
                Code::Unauthenticated,
                "CERTIFICATE_EXPIRED",
                "get a new certificate and connect again",
            ),
            Self::Refused(_) => (
                Code::Unauthenticated,
                "CERTIFICATE_REFUSED",
                "ask who runs this host for a new certificate, then connect again",
            ),
            Self::WithoutRole => (
                Code::PermissionDenied,
                "ROLE_MISSING",
                "ask root of this host for one, then connect again",
            ),
        };
        let message = format!("{reason}; {advice}, a stream after the last position that it gave");
        fault::failed(code, name, message, [])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::{
        certificates::{Authority, Issued},
        clock::VirtualClock,
        config::TlsConfig,
        server::tls::load::load,
    };

    /// Terms that can be changed, and a client that they let in.
    struct World {
        dir: tempfile::TempDir,
        clock: Arc<VirtualClock>,
        authority: Authority,
        client: Issued,
        terms: watch::Sender<Arc<Terms>>,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let clock = Arc::new(VirtualClock::default());
            clock.advance_to(Duration::from_secs(1000));
            let authority = Authority::new("ca", clock.wall()).unwrap();
            let own = authority.issue(&authority.server(&["node1"])).unwrap();
            own.write(dir.path(), "node1").unwrap();
            fs::write(dir.path().join("denied"), "").unwrap();
            fs::write(dir.path().join("clients.pem"), &authority.pem).unwrap();
            let client = authority.issue(&authority.client("alice", "agentd:reader")).unwrap();
            let (terms, _) = watch::channel(Self::read(&dir, &clock));
            Self { dir, clock, authority, client, terms }
        }

        fn read(dir: &tempfile::TempDir, clock: &Arc<VirtualClock>) -> Arc<Terms> {
            let clock: Arc<dyn Clock> = clock.clone();
            let files = TlsConfig {
                cert: dir.path().join("node1.pem"),
                key: dir.path().join("node1.key"),
                client_ca: dir.path().join("clients.pem"),
                client_crl: None,
                client_deny: Some(dir.path().join("denied")),
                client_validity: Duration::from_secs(100 * 86_400),
            };
            Arc::new(load(&files, &clock).unwrap())
        }

        fn change(&self) {
            self.terms.send_replace(Self::read(&self.dir, &self.clock));
        }

        fn tenure(&self) -> Tenure {
            let own = CertificateDer::from_pem_slice(self.client.pem.as_bytes()).unwrap();
            let not_after = self.authority.client("alice", "agentd:reader").until;
            let (clock, terms) = (self.clock.clone(), self.terms.subscribe());
            Tenure { clock, terms, chain: vec![own], not_after, until: oldest() }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_gets_about_an_hour_old_and_not_all_the_same() {
        let world = World::new();
        let mut ages = Vec::new();
        for _ in 0..8 {
            let began = Instant::now();
            assert_eq!(world.tenure().end().await, End::Aged);
            ages.push(began.elapsed());
        }
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let near = minutes(54)..=minutes(66) + Duration::from_secs(1);
        assert!(ages.iter().all(|age| near.contains(age)), "{ages:?}");
        ages.dedup();
        assert!(ages.len() > 1, "{ages:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_certificate() {
        let world = World::new();
        let until = world.tenure().not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        world.clock.advance_to(until);
        let mut tenure = world.tenure();
        let more = time::timeout(Duration::from_secs(60), tenure.end()).await;
        assert!(more.is_err(), "its last second is one of its own");
        world.clock.advance_to(until + Duration::from_secs(1));
        assert_eq!(tenure.end().await, End::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn new_terms_end_only_what_they_refuse() {
        let world = World::new();
        let mut tenure = world.tenure();
        fs::write(world.dir.path().join("denied"), "name bob\n").unwrap();
        world.change();
        let more = time::timeout(Duration::from_secs(60), tenure.end()).await;
        assert!(more.is_err(), "bob is somebody else");
        let line = format!("serial {}\n", world.client.serial);
        fs::write(world.dir.path().join("denied"), line).unwrap();
        world.change();
        let End::Refused(why) = tenure.end().await else { panic!("it is on the list") };
        assert_eq!(why, "the client's certificate is revoked, or on the deny list");

        let other = Authority::new("another ca", world.clock.wall()).unwrap();
        fs::write(world.dir.path().join("denied"), "").unwrap();
        world.change();
        let mut tenure = world.tenure();
        fs::write(world.dir.path().join("clients.pem"), &other.pem).unwrap();
        world.change();
        let End::Refused(why) = tenure.end().await else { panic!("its CA is gone") };
        assert_eq!(why, "the client's certificate is of no CA in client_ca");
    }

    #[tokio::test]
    async fn a_lease_tells_every_call_and_a_connection_that_is_gone_tells_none() {
        let (tell, lease) = Lease::new();
        assert_eq!(lease.is_over(), None);
        tell.send_replace(Some(End::Aged));
        assert_eq!(lease.is_over(), None, "calls may begin until it is gone");
        assert_eq!(lease.clone().end().await, End::Aged);
        tell.send_replace(Some(End::Expired));
        assert_eq!(lease.is_over(), Some(End::Expired));
        let (gone, lease) = Lease::new();
        drop(gone);
        assert!(time::timeout(Duration::from_millis(10), lease.end()).await.is_err());
    }
}
