//! Mutual TLS: the only way in over TCP. There is no way around it, and no key that weakens it.
//!
//! ```text
//! files --load--> Terms --> every new connection: shake hands, then Tenure
//!    ^              |
//!    +-- Keeper ----+ new ones, where the files changed: connections that they refuse are cut
//! ```

mod clients;
mod deny;
mod error;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod identity;
mod keeper;
mod load;
mod tenure;

use std::{io, sync::Arc};

use rustls::{CertificateError, Error, OtherError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub use error::TlsError;
pub(super) use keeper::Keeper;
pub(super) use tenure::{End, Lease, Tenure};

use super::{limits, peer::Certificate};
use crate::{clock::Clock, config::TlsConfig};
use identity::Shown;
use load::{HTTP2, Terms};
use tenure::oldest;

/// Checks the files as a start does.
///
/// # Errors
///
/// Fails where a start would.
pub fn check(files: &TlsConfig, clock: &Arc<dyn Clock>) -> Result<(), TlsError> {
    load::load(files, clock).map(drop)
}

/// How connections over TCP begin.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    terms: watch::Receiver<Arc<Terms>>,
    clock: Arc<dyn Clock>,
}

/// A client that has shown who it is.
#[derive(Debug)]
pub(super) struct Shaken<I> {
    pub(super) io: TlsStream<I>,
    pub(super) certificate: Arc<Certificate>,
    tenure: Tenure,
}

/// Why a client was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShakeError {
    /// It was silent, or slow.
    #[error("the handshake took longer than {} s", limits::HANDSHAKE.as_secs())]
    Late,
    /// It would not speak HTTP/2.
    #[error("the client did not ask for HTTP/2 by ALPN")]
    NotHttp2,
    /// TLS failed: its certificate is refused, or it speaks something else.
    #[error("{0}")]
    Refused(String),
    /// It went away.
    #[error("the client went away: {0}")]
    Gone(io::Error),
}

impl Tls {
    /// Shakes hands.
    pub(super) async fn shake<I>(&self, io: I) -> Result<Shaken<I>, ShakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut terms = self.terms.clone();
        // What comes in force meanwhile is news for the tenure.
        let now = Arc::clone(&terms.borrow_and_update());
        let shake = TlsAcceptor::from(Arc::clone(&now.server)).accept(io);
        let shaken = time::timeout(limits::HANDSHAKE, shake).await;
        let io = shaken.map_err(|_| ShakeError::Late)?.map_err(failed)?;
        let (_, session) = io.get_ref();
        if session.alpn_protocol() != Some(HTTP2) {
            return Err(ShakeError::NotHttp2);
        }
        let chain = session.peer_certificates().unwrap_or_default().to_vec();
        // It was judged during the handshake.
        let own = chain.first().map(|own| identity::shown(own));
        let Some(Ok(Shown { certificate, .. })) = own else {
            return Err(ShakeError::Refused("the client tells of nobody".to_owned()));
        };
        let (clock, not_after) = (Arc::clone(&self.clock), certificate.not_after);
        let tenure = Tenure { clock, terms, chain, not_after, until: oldest() };
        Ok(Shaken { io, certificate: Arc::new(certificate), tenure })
    }
}

impl<I> Shaken<I> {
    /// The connection, who is at its other end, and how long it may last.
    pub(super) fn into_parts(self) -> (TlsStream<I>, Arc<Certificate>, Tenure) {
        (self.io, self.certificate, self.tenure)
    }
}

fn failed(error: io::Error) -> ShakeError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => ShakeError::Refused(words(inner)),
        None => ShakeError::Gone(error),
    }
}

/// An error of TLS in words, without the names that it has in code.
fn words(error: &Error) -> String {
    if *error == Error::NoCertificatesPresented {
        return "the client showed no certificate".to_owned();
    }
    let Error::InvalidCertificate(refused) = error else { return error.to_string() };
    if let CertificateError::Other(OtherError(own)) = refused {
        return own.to_string();
    }
    let known = KNOWN.iter().find(|(known, _)| known == refused);
    known.map_or_else(
        || format!("the client's certificate is refused: {refused}"),
        |(_, words)| (*words).to_owned(),
    )
}

/// What rustls has no sentence for.
const KNOWN: [(CertificateError, &str); 3] = [
    (CertificateError::Revoked, "the client's certificate is revoked, or on the deny list"),
    (CertificateError::UnknownIssuer, "the client's certificate is of no CA in client_ca"),
    (
        CertificateError::UnknownRevocationStatus,
        "no list says whether the client's certificate, or one between it and its CA, is revoked",
    ),
];
