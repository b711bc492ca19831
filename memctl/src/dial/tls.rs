//! Mutual TLS: TLS 1.3, HTTP/2, a certificate on both sides.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{io, net::SocketAddr};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::refusal::{self, Dialled};
use super::{Line, Link};
use crate::failure::{Code, Failure};
use crate::hosts::Host;
use crate::identity::Identity;

/// Connects to `name`, shows our certificate and looks at the agent's.
pub(super) async fn dial(
    host: &Host,
    name: &str,
    port: u16,
    link: Arc<Link>,
) -> Result<Box<dyn Line>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity = Identity::load(&host.identity, &provider, Timestamp::now())?;
    let expected = host.server_name.as_deref().unwrap_or(name);
    let server_name = ServerName::try_from(expected.to_owned()).map_err(|_| {
        Failure::new(
            Code::Usage,
            "SERVER_NAME_INVALID",
            format!("\"{expected}\" is not a name that a certificate can be for"),
        )
        .hint("server_name takes a host name or an IP address")
    })?;
    let unusable = |error: rustls::Error| {
        let what = format!("TLS cannot be set up: {error}");
        Failure::new(Code::Internal, "TLS_UNUSABLE", what)
    };
    let (config, witness) = config(&identity, provider).map_err(unusable)?;
    let dialled = Dialled {
        address: host.address.to_string(),
        expected: expected.to_owned(),
        cert: identity.cert,
        ca: identity.ca,
        facts: identity.facts,
    };
    let tcp = connect(name, port).await.map_err(|error| dialled.no_connection(&error))?;
    // What cannot be set only costs time.
    let _ = tcp.set_nodelay(true);
    let tls = TlsConnector::from(Arc::new(config)).connect(server_name, tcp).await;
    let tls = tls.map_err(|error| dialled.no_handshake(&error, witness.seen().as_ref()))?;
    if tls.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(dialled.no_agent());
    }
    Ok(Box::new(Watched { tls, dialled, link, heard: false, failed: None }))
}

fn config(
    identity: &Identity,
    provider: Arc<CryptoProvider>,
) -> Result<(ClientConfig, Arc<Witness>), rustls::Error> {
    let roots = Arc::clone(&identity.roots);
    let judge = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let judge = judge.map_err(|error| rustls::Error::General(error.to_string()))?;
    let witness = Arc::new(Witness { judge, seen: Mutex::default() });
    let own = SingleCertAndKey::from(Arc::clone(&identity.own));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        // It is no danger: the witness leaves the verdict to the judge.
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok((config, witness))
}

/// Connects to the first address that answers; a silent one does not hold up the others for long.
async fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    let found = tokio::net::lookup_host((name, port)).await;
    let found = found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    let mut waiting = found.take(MOST_ADDRESSES).collect::<Vec<SocketAddr>>().into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let more = waiting.next();
        if let Some(address) = more {
            tries.spawn(TcpStream::connect(address));
        }
        let patience = if waiting.len() > 0 { HEAD_START } else { Duration::MAX };
        match tokio::time::timeout(patience, tries.join_next()).await {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(broken))) => last = io::Error::other(broken),
            Ok(None) if more.is_none() => return Err(last),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Sees the server's certificate, so that what is wrong with it can be told.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Witness {
    fn seen(&self) -> Option<CertificateDer<'static>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(end_entity.clone().into_owned());
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// A connection that notes why it ended. With TLS 1.3 an agent that refuses our certificate says so
/// only when we take ourselves to be connected.
struct Watched {
    tls: TlsStream<TcpStream>,
    dialled: Dialled,
    link: Arc<Link>,
    /// Whether the agent ever said anything.
    heard: bool,
    /// Why writing failed, while the agent's last words are awaited.
    failed: Option<io::Error>,
}

impl Watched {
    fn note(&self, error: &io::Error) {
        if let Some(cause) = refusal::alert(error).and_then(|alert| self.dialled.refused(alert)) {
            self.link.note(cause);
        }
    }

    /// Why writing failed, once all is read that the agent said before it closed: whoever writes is
    /// told of the end first, and would not read any more.
    fn last_words(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        failed: io::Error,
    ) -> Poll<io::Error> {
        let mut part = [0; 1024];
        loop {
            let mut said = ReadBuf::new(&mut part);
            match self.as_mut().poll_read(cx, &mut said) {
                Poll::Ready(Ok(())) if !said.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(failed),
                // The end of a closed connection is on its way, and wakes us.
                Poll::Pending => {
                    self.failed = Some(failed);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.tls).poll_read(cx, buf));
        match &result {
            Ok(()) if buf.filled().len() > before => self.heard = true,
            Ok(()) if !self.heard => self.link.note(self.dialled.closed()),
            Ok(()) => {}
            Err(error) => self.note(error),
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let failed = match self.failed.take() {
            Some(error) => error,
            None => match ready!(Pin::new(&mut self.tls).poll_write(cx, buf)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => error,
            },
        };
        self.last_words(cx, failed).map(Err)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let failed = match self.failed.take() {
            Some(error) => error,
            None => match ready!(Pin::new(&mut self.tls).poll_flush(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => error,
            },
        };
        self.last_words(cx, failed).map(Err)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

const HTTP2: &[u8] = b"h2";
/// As long as one address is waited for alone.
const HEAD_START: Duration = Duration::from_millis(300);
/// A name with more addresses than this has others.
const MOST_ADDRESSES: usize = 16;
