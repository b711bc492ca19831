//! Lines to agents that no library dials for us: mutual TLS, and ssh. Each knows why it broke, which
//! what runs over it does not.

mod link;
mod refusal;
mod ssh;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Uri;
use tower::Service;

pub(crate) use link::Link;

use crate::address::Address;
use crate::failure::{Code, Failure};
use crate::hosts::Host;

/// What gRPC runs over.
pub(crate) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Dials one host, as often as its line is lost.
pub(crate) fn connector(
    host: &Host,
    link: &Arc<Link>,
) -> impl Service<Uri, Response = TokioIo<Box<dyn Line>>, Error = DialError, Future: Send> + Send + 'static
{
    let (host, link) = (host.clone(), Arc::clone(link));
    tower::service_fn(move |_: Uri| {
        let (host, link) = (host.clone(), Arc::clone(&link));
        let dialled: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { dial(&host, link).await.map(TokioIo::new).map_err(DialError) });
        dialled
    })
}

async fn dial(host: &Host, link: Arc<Link>) -> Result<Box<dyn Line>, Failure> {
    match &host.address {
        Address::Ssh(address) => ssh::dial(address, link),
        Address::Https { host: name, port } => tls::dial(host, name, *port, link).await,
        Address::Unix(path) => {
            let what = format!("unix://{} is not dialled this way", path.display());
            Err(Failure::new(Code::Internal, "DIAL", what))
        }
    }
}

/// A failure on its way through a library.
#[derive(Debug)]
pub(crate) struct DialError(pub(crate) Failure);

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for DialError {}
