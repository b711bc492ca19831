//! What a client offers in TLS: its certificate, or none.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Issued};

/// TLS 1.3 and HTTP/2 with a host of this CA, and a certificate where there is one to show.
pub(super) fn offer(authority: &Authority, shows: Option<&Issued>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().context("no certificate")?;
            builder.with_client_auth_cert(
                chain,
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?,
            )?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The host that is attacked, as its certificate has it.
pub(super) fn server_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(HOST).map_err(io::Error::other)
}

/// The same in text.
pub(super) const HOST: &str = "node1";
