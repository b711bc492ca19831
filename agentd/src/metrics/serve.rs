//! The listener: so many connections at a time, one request on each, and a deadline for all of it. What
//! is answered is not known here.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};

use super::answer::{Source, answer};
use crate::publish::Publisher;

/// Listens, however long that takes: a place that is taken may become free.
pub(super) async fn listen(address: SocketAddr, publisher: &Publisher) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                publisher.tell(METRICS_NOT_SERVED, None);
                let served = listener.local_addr().unwrap_or(address);
                tracing::info!(address = %format_args!("http://{served}/metrics"), "metrics are served");
                return listener;
            }
            Err(error) => {
                publisher.tell(METRICS_NOT_SERVED, Some(unserved(address, &error)));
                time::sleep(AGAIN).await;
            }
        }
    }
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, source: Arc<impl Source + Send + Sync + 'static>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Those beyond wait in the kernel's own queue: each before them is over in a moment.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((io, _)) => {
                let source = Arc::clone(&source);
                tokio::spawn(async move {
                    let _place = place;
                    // Whoever is late is cut; an error is the client's own.
                    let _ = time::timeout(DEADLINE, one(io, source)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a scrape could not be accepted");
                time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn one(io: TcpStream, source: Arc<impl Source + Send + Sync + 'static>) -> hyper::Result<()> {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(source.as_ref(), &request);
        async { answer }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), service)
        .await
}

fn unserved(address: SocketAddr, error: &io::Error) -> String {
    format!(
        "metrics cannot be served at {address}: {error}; it is tried again every {} s, or give \
         another address as metrics in [listen], or \"off\"",
        AGAIN.as_secs()
    )
}

/// Raised while nobody can scrape, because the address cannot be listened on.
const METRICS_NOT_SERVED: &str = "METRICS_NOT_SERVED";
/// A Prometheus or two, and somebody who looks.
const CONNECTIONS: usize = 8;
/// For a connection from its first byte to its last: a scrape takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
const HEADERS: usize = 32;
/// The least that hyper allows: heads of requests are shorter.
const BUFFER: usize = 8 << 10;
const AGAIN: Duration = Duration::from_secs(10);
/// After an accept that failed, for want of descriptors for example.
const BACKOFF: Duration = Duration::from_millis(100);
