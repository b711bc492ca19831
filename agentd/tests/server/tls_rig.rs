//! A server that listens on TCP, its CA, and clients that show what they are given.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use agentd::{clock::Clock as _, config::TlsConfig, server::Listen};
use agentd_proto::v1 as wire;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use wire::host_service_client::HostServiceClient;

use crate::{
    certificates::{Authority, Issued, Wish},
    rig::{LONG, Options, Rig},
};

/// A server that listens on TCP, and what vouches for its clients and for itself.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    files: TlsConfig,
    dir: tempfile::TempDir,
    dialled: AtomicU8,
}

/// What a client offers.
pub(crate) struct Offer<'a> {
    /// What it shows; `None` for nothing.
    pub(crate) shows: Option<&'a Issued>,
    pub(crate) version: &'static SupportedProtocolVersion,
    pub(crate) protocols: &'a [&'a [u8]],
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(|_, _| {})
    }

    /// With a change of what is configured, and of its files.
    pub(crate) fn start_with(change: impl FnOnce(&Authority, &mut TlsConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("ca", now()).unwrap();
        let own = authority.issue(&authority.server(&[NAME])).unwrap();
        let (cert, key) = own.write(dir.path(), "node1").unwrap();
        let client_ca = dir.path().join("clients.pem");
        fs::write(&client_ca, &authority.pem).unwrap();
        let mut files = TlsConfig {
            cert,
            key,
            client_ca,
            client_crl: None,
            client_deny: None,
            client_validity: Duration::from_secs(100 * 86_400),
        };
        change(&authority, &mut files);
        let rig = Rig::with(Options { tls: Some(files.clone()), ..Options::default() });
        let addresses = rig.server.as_ref().unwrap().addresses();
        let Some(Listen::Tcp(address)) = addresses.last() else { panic!("no TCP: {addresses:?}") };
        let address = address.parse().unwrap();
        Self { rig, authority, address, files, dir, dialled: AtomicU8::new(0) }
    }

    /// As SIGHUP does.
    pub(crate) fn read_tls_again(&self) {
        self.rig.server.as_ref().unwrap().live().read_tls(self.files.clone());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn issue(&self, wish: &Wish) -> Issued {
        self.authority.issue(wish).unwrap()
    }

    /// A client that is let in.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(&self.authority.client(name, "agentd:admin"))
    }

    /// Shakes hands, as far as the client can tell.
    pub(crate) async fn dial(&self, offer: &Offer<'_>) -> io::Result<TlsStream<TcpStream>> {
        let (config, address) = (config(&self.authority.pem, offer), self.address);
        dial(config, address, &self.from()).await
    }

    /// An address of this machine, not the same from one client to the next: one has only so many
    /// handshakes at a time.
    fn from(&self) -> String {
        format!("127.1.0.{}", self.dialled.fetch_add(1, Ordering::Relaxed) % 250 + 1)
    }

    /// A channel of a client.
    pub(crate) async fn channel(&self, client: &Issued) -> Result<Channel, String> {
        self.channel_by(Endpoint::from_static("http://node1"), client).await
    }

    /// One that takes no byte of what it is answered beyond the headers.
    pub(crate) async fn channel_that_does_not_read(&self, client: &Issued) -> Channel {
        let endpoint = Endpoint::from_static("http://node1").initial_stream_window_size(0);
        self.channel_by(endpoint, client).await.unwrap()
    }

    async fn channel_by(&self, endpoint: Endpoint, client: &Issued) -> Result<Channel, String> {
        let config = config(&self.authority.pem, &Offer::of(client));
        let (address, from) = (self.address, self.from());
        let connector = tower::service_fn(move |_| {
            let (config, from) = (Arc::clone(&config), from.clone());
            async move { dial(config, address, &from).await.map(TokioIo::new) }
        });
        let channel = endpoint.timeout(LONG).connect_with_connector(connector).await;
        channel.map_err(|error| format!("{error:?}"))
    }

    /// Asks for the status over a connection of its own.
    pub(crate) async fn status(&self, client: &Issued) -> Result<wire::GetStatusResponse, String> {
        let channel = self.channel(client).await?;
        status_on(channel).await.map_err(|status| format!("{status:?}"))
    }

    /// Why somebody is not let in: the alert that ends its connection.
    pub(crate) async fn refusal(&self, offer: &Offer<'_>) -> String {
        let mut io = match self.dial(offer).await {
            Ok(io) => io,
            Err(error) => return error.to_string(),
        };
        let read = tokio::time::timeout(LONG, io.read_u8()).await.unwrap();
        read.map_or_else(|error| error.to_string(), |byte| format!("it was sent {byte}"))
    }

    /// Waits until something is said to be wrong, or no more.
    pub(crate) async fn until_condition(&self, reason: &str, wanted: bool) {
        let there = async {
            while self.rig.publisher.conditions().has(reason) != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, there).await.unwrap();
    }

    /// What is said of something that is wrong.
    pub(crate) fn told(&self, reason: &str) -> String {
        let all = self.rig.publisher.conditions().all();
        let told = all.into_iter().find(|(name, _)| *name == reason);
        told.map(|(_, condition)| condition.message).unwrap_or_default()
    }

    /// Lets so much time pass on the server's clock.
    pub(crate) fn pass_to(&self, time: SystemTime) {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.rig.pass(time.saturating_sub(self.rig.clock.now()));
    }
}

impl<'a> Offer<'a> {
    /// As our own clients offer it.
    pub(crate) fn of(shows: &'a Issued) -> Self {
        Self { shows: Some(shows), version: &TLS13, protocols: &[b"h2"] }
    }
}

pub(crate) async fn status_on(channel: Channel) -> Result<wire::GetStatusResponse, Status> {
    let mut client = HostServiceClient::new(channel);
    Ok(client.get_status(wire::GetStatusRequest {}).await?.into_inner())
}

pub(crate) fn config(authority: &str, offer: &Offer<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[offer.version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match offer.shows {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    };
    config.alpn_protocols = offer.protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Dials from one of the addresses of this machine.
pub(crate) async fn dial(
    config: Arc<ClientConfig>,
    to: SocketAddr,
    from: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let io = connect(to, from).await?;
    TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), io).await
}

/// Connects from one of the addresses of this machine, and says nothing.
pub(crate) async fn connect(to: SocketAddr, from: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// When the rig's clock starts.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1000)
}

const NAME: &str = "node1";
