//! [`Guarded`]: the one way to the services. It knows the path of a call and who makes it, and
//! nothing else of it.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::{Frame, SizeHint};
use tokio::time;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Bytes, Service, http},
};

use super::{Authz, Kind, Place, Rule, refusal};
use crate::server::{
    peer::Peer,
    tls::{End, Lease},
};

/// Services, each call of which is admitted or refused before anything of it is read.
#[derive(Clone, Debug)]
pub(in crate::server) struct Guarded<S> {
    services: S,
    authz: Arc<Authz>,
    on_denial: OnDenial,
}

/// Who is told that a caller was denied a call, by its path, and why. May not wait.
#[derive(Clone)]
pub(in crate::server) struct OnDenial(Arc<Tell>);

type Tell = dyn Fn(&Peer, &str, &Status) + Send + Sync;

impl OnDenial {
    pub(in crate::server) fn new(
        tell: impl Fn(&Peer, &str, &Status) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(tell))
    }

    /// A call that came too often was not denied for who asked.
    fn tell(&self, peer: &Peer, path: &str, refused: &Status) {
        if matches!(refused.code(), Code::PermissionDenied | Code::Unauthenticated) {
            (self.0)(peer, path, refused);
        }
    }
}

impl fmt::Debug for OnDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDenial")
    }
}

impl<S> Guarded<S> {
    pub(in crate::server) const fn new(
        services: S,
        authz: Arc<Authz>,
        on_denial: OnDenial,
    ) -> Self {
        Self { services, authz, on_denial }
    }
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let rest = self.services.clone();
        let mut services = std::mem::replace(&mut self.services, rest);
        let (authz, on_denial) = (Arc::clone(&self.authz), self.on_denial.clone());
        Box::pin(async move {
            let Some(peer) = request.extensions().get::<Peer>().cloned() else {
                return Ok(refusal::nobody().into_http());
            };
            let path = request.uri().path().to_owned();
            let admitted = match authz.admit(&peer, &path).await {
                Ok(admitted) => admitted,
                Err(refused) => {
                    tracing::debug!(peer = peer.name(), "refused: {}", refused.message());
                    on_denial.tell(&peer, &path, &refused);
                    return Ok(refused.into_http());
                }
            };
            let lease = request.extensions().get::<Lease>().cloned();
            request.extensions_mut().insert(admitted.caller);
            let answer = services.call(request).await?;
            if admitted.rule.kind != Kind::Stream {
                return Ok(answer);
            }
            let refused = Box::pin(until_refused(authz, peer, admitted.rule, lease));
            let place = admitted.place;
            Ok(answer.map(|body| Body::new(Stream { body, refused: Some(refused), _place: place })))
        })
    }
}

/// Why a stream may not go on, once it may not: other rules are in force, its caller has left a group,
/// their certificate has expired, or their connection was told to end.
async fn until_refused(
    authz: Arc<Authz>,
    peer: Peer,
    rule: &'static Rule,
    lease: Option<Lease>,
) -> Status {
    let mut rules = authz.rules.subscribe();
    loop {
        match authz.check(&peer, rule).await {
            // Nobody has said no: it is asked again.
            Err(unsure) if unsure.code() == Code::Unavailable => {}
            Err(refused) => return refused,
            Ok(()) => {}
        }
        tokio::select! {
            // The sender is in `authz`, so that it does not fail.
            _ = rules.changed() => {}
            () = time::sleep(authz.recheck_after(&peer)) => {}
            end = over(lease.clone()) => {
                // A stream that says good-bye by itself has time to.
                time::sleep(end.grace() / 2).await;
                return end.status();
            }
        }
    }
}

/// Waits for the end of a lease; for ever where there is none.
async fn over(lease: Option<Lease>) -> End {
    match lease {
        Some(lease) => lease.end().await,
        None => std::future::pending().await,
    }
}

/// What goes on until it may not.
struct Stream {
    body: Body,
    /// Gone once it has ended.
    refused: Option<Pin<Box<dyn Future<Output = Status> + Send>>>,
    _place: Option<Place>,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let refused = self.refused.as_mut().map(|refused| refused.as_mut().poll(context));
        let Some(Poll::Ready(status)) = refused else {
            return Pin::new(&mut self.body).poll_frame(context);
        };
        self.refused = None;
        self.body = Body::empty();
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
