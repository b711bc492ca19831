//! [`Calls`]: the calls of one connection: who makes them, how many there may be, how long they may take,
//! and whether any may begin. What they do is not known here.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Bytes, Service, StdError, http},
    service::Routes,
};

use super::{
    authz::Guarded,
    fault, limits,
    peer::Peer,
    quota::{Quota, Taken},
    tls::Lease,
};

/// The calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) routes: Guarded<Routes>,
    /// Places for calls, of all connections of a listener together.
    pub(super) free: Arc<Semaphore>,
    /// Of which each name has so many.
    pub(super) names: Arc<Quota<String>>,
    pub(super) peer: Peer,
    /// By which the calls know that their connection ends.
    pub(super) lease: Lease,
    /// Whether there was any.
    pub(super) spoke: Arc<AtomicBool>,
}

impl<B> Service<http::Request<B>> for Calls
where
    B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        self.spoke.store(true, Ordering::Relaxed);
        if let Some(end) = self.lease.is_over() {
            return Box::pin(async move { Ok(end.status().into_http()) });
        }
        let own = match self.peer.is_own() {
            true => None,
            false => match self.names.take(self.peer.name()) {
                Some(own) => Some(own),
                None => return Box::pin(async { Ok(too_many_of_one().into_http()) }),
            },
        };
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return Box::pin(async { Ok(too_many().into_http()) });
        };
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(self.lease.clone());
        let answer = self.routes.call(request.map(Body::new));
        Box::pin(async move {
            match time::timeout(limits::CALL, answer).await {
                Ok(Ok(answer)) => {
                    Ok(answer.map(|body| Body::new(Counted { body, _permit: permit, _own: own })))
                }
                Ok(Err(error)) => Ok(Status::internal(error.to_string()).into_http()),
                Err(_) => Ok(late().into_http()),
            }
        })
    }
}

/// A response that counts as a call until it is gone.
struct Counted {
    body: Body,
    _permit: OwnedSemaphorePermit,
    _own: Option<Taken<String>>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_many() -> Status {
    let message = "as many calls are under way on this listener as may be".to_owned();
    fault::exhausted("TOO_MANY_CALLS", message, RETRY_AFTER)
}

fn too_many_of_one() -> Status {
    let most = limits::NAME_CALLS;
    let message = format!("{most} calls of yours are under way, which is all that one may have");
    fault::exhausted("TOO_MANY_CALLS", message, RETRY_AFTER)
}

fn late() -> Status {
    let seconds = limits::CALL.as_secs();
    Status::deadline_exceeded(format!(
        "no answer within {seconds} s; a change may still be made: ask what is in force"
    ))
}

/// A call takes milliseconds; streams last longer.
const RETRY_AFTER: Duration = Duration::from_secs(1);
