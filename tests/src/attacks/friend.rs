//! [`Friend`]: a client that behaves well, and wants an answer while others attack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1 as wire;
use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use wire::host_service_client::HostServiceClient;

use super::tls::server_name;

/// A client with a reader's certificate, and a connection that it had before.
#[derive(Debug)]
pub struct Friend {
    to: SocketAddr,
    shows: Arc<ClientConfig>,
    known: Channel,
}

impl Friend {
    /// Connects.
    pub async fn new(to: SocketAddr, shows: Arc<ClientConfig>) -> Result<Self> {
        let known = dial(to, None, &shows).await?;
        Ok(Self { to, shows, known })
    }

    /// Asks over the connection that it has had all the time.
    pub async fn ask(&self) -> Result<wire::GetStatusResponse> {
        status(self.known.clone()).await
    }

    /// Asks over a new one.
    pub async fn ask_anew(&self) -> Result<wire::GetStatusResponse> {
        status(dial(self.to, None, &self.shows).await?).await
    }

    /// Asks over a new one from another address than all others have.
    pub async fn ask_from_elsewhere(&self) -> Result<wire::GetStatusResponse> {
        status(dial(self.to, Some(ELSEWHERE), &self.shows).await?).await
    }
}

/// A connection with agentd's socket on this host.
pub async fn local(socket: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(endpoint.timeout(PATIENCE).connect().await?)
}

/// What agentd says of itself over a connection.
pub async fn status(channel: Channel) -> Result<wire::GetStatusResponse> {
    let asked = HostServiceClient::new(channel).get_status(wire::GetStatusRequest {}).await;
    Ok(asked.context("no status")?.into_inner())
}

async fn dial(
    to: SocketAddr,
    from: Option<Ipv4Addr>,
    shows: &Arc<ClientConfig>,
) -> Result<Channel> {
    let shows = Arc::clone(shows);
    let connector = tower::service_fn(move |_| {
        let connector = TlsConnector::from(Arc::clone(&shows));
        async move {
            let io = connect(to, from).await?;
            io.set_nodelay(true)?;
            connector.connect(server_name()?, io).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://node1").connect_timeout(PATIENCE);
    Ok(endpoint.timeout(PATIENCE).connect_with_connector(connector).await?)
}

async fn connect(to: SocketAddr, from: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    }
    socket.connect(to).await
}

/// Where nobody else is.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// As long as memctl waits by itself.
const PATIENCE: Duration = Duration::from_secs(10);
