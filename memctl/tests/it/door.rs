//! A door with TLS before an agent's socket, as agentd has one: the certificates are those of
//! `memctl ca`, the rules for clients are webpki's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// The files of a server.
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
    pub(crate) client_crl: Option<PathBuf>,
}

impl Files {
    /// What `memctl ca` made in this folder for a server of this name.
    pub(crate) fn of(pki: &Path, name: &str) -> Self {
        let place = pki.join("servers").join(name);
        Self {
            cert: place.join("server.pem"),
            key: place.join("server.key"),
            client_ca: pki.join("ca.pem"),
            client_crl: Some(pki.join("crl.pem")),
        }
    }

    /// The configuration that agentd makes of them.
    pub(crate) fn config(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_file_iter(&self.client_ca).unwrap() {
            roots.add(ca.unwrap()).unwrap();
        }
        let lists = self.client_crl.iter().flat_map(|path| {
            CertificateRevocationListDer::pem_file_iter(path).unwrap().map(Result::unwrap)
        });
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build()
            .unwrap();
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap().map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.collect(), key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// Opens the door before the socket of an agent; it closes with the test's runtime.
    pub(crate) async fn open(&self, agent: &Path) -> SocketAddr {
        open(self.config(), agent).await
    }
}

/// Opens a door with this configuration before the socket of an agent.
pub(crate) async fn open(config: ServerConfig, agent: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, agent) = (TlsAcceptor::from(Arc::new(config)), agent.to_owned());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, agent) = (acceptor.clone(), agent.clone());
            tokio::spawn(async move {
                // Who is refused at the door does not get in.
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                if let Ok(mut unix) = UnixStream::connect(&agent).await {
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut unix).await;
                }
                let _ = tls.shutdown().await;
            });
        }
    });
    address
}

/// Something else on a port: it reads a little, says this, and closes.
pub(crate) async fn stranger(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut tcp, &mut asked).await;
            let _ = tcp.write_all(says).await;
            let _ = tcp.shutdown().await;
        }
    });
    address
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
