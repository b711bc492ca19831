//! [`Measured`]: every call is counted once it is over, with its status and how long it took. What it
//! does is not known here.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        BoxFuture, Bytes, Service,
        http::{HeaderMap, Request, Response},
    },
};

use tracing::{Span, field::Empty};

use super::authz::{Kind, rule};
use crate::{log::SPANS, publish::Meters};

/// Counts the calls of the service in it.
#[derive(Clone, Debug)]
pub(super) struct Measured<S> {
    inner: S,
    meters: Arc<Meters>,
}

/// A call under way. It counts when it is dropped.
#[derive(Debug)]
struct Call {
    meters: Arc<Meters>,
    method: &'static str,
    is_stream: bool,
    began: Instant,
    /// `None` while nobody has said: a client that goes away before that has ended it.
    code: Option<Code>,
    /// For a collector of OpenTelemetry, by its words for calls.
    span: Span,
}

/// An answer that is under way.
struct Answer {
    body: Body,
    call: Call,
}

impl<S> Measured<S> {
    pub(super) const fn new(inner: S, meters: Arc<Meters>) -> Self {
        Self { inner, meters }
    }
}

impl<S, B> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut call = Call::of(request.uri().path(), Arc::clone(&self.meters));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            call.note(answer.headers());
            Ok(answer.map(|body| Body::new(Answer { body, call })))
        })
    }
}

impl Call {
    fn of(path: &str, meters: Arc<Meters>) -> Self {
        // What anybody may make up is one series.
        let (method, is_stream) = rule(path).map_or(("other", false), |rule| {
            (rule.path.trim_start_matches('/'), rule.kind == Kind::Stream)
        });
        let span = tracing::info_span!(
            target: SPANS,
            "rpc",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
        );
        Self { meters, method, is_stream, began: Instant::now(), code: None, span }
    }

    /// Takes the status from where it stands: in the trailers, or in the headers where there is no answer.
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = (!self.is_stream).then(|| self.began.elapsed());
        let code = name(self.code.unwrap_or(Code::Cancelled));
        self.span.record("rpc.response.status_code", code);
        self.meters.call(self.method, code, took);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let trailers = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
        if let Some(trailers) = trailers {
            self.call.note(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A status as the gRPC specification writes it.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    /// A call whose answer is this status, or the beginning of an answer.
    async fn call(path: &str, status: Option<Status>) -> (Arc<Meters>, Response<Body>) {
        let meters = Arc::new(Meters::default());
        let inner = service_fn(move |_: Request<()>| {
            let begun = || Response::new(Body::new(Full::new(Bytes::from_static(b"so far"))));
            let answer = status.clone().map_or_else(begun, Status::into_http);
            async { Ok::<_, Infallible>(answer) }
        });
        let measured = Measured::new(inner, Arc::clone(&meters));
        let request = Request::builder().uri(path).body(()).unwrap();
        (meters, measured.oneshot(request).await.unwrap())
    }

    #[tokio::test]
    async fn a_call_counts_once_it_is_over_and_paths_that_are_made_up_are_one() {
        let denied = || Some(Status::permission_denied("no"));
        let (meters, _refused) = call("/agentd.v1.HostService/GetStatus", denied()).await;
        let counted = meters.counted();
        let method = "agentd.v1.HostService/GetStatus";
        assert_eq!(counted.calls, [((method, "PERMISSION_DENIED"), 1)].into());
        assert_eq!(counted.call_times[method].count(), 1);

        let (meters, answer) = call("/agentd.v1.EventService/Watch", None).await;
        assert!(meters.counted().calls.is_empty(), "it is under way");
        drop(answer);
        let counted = meters.counted();
        assert_eq!(counted.calls, [(("agentd.v1.EventService/Watch", "CANCELLED"), 1)].into());
        assert!(counted.call_times.is_empty(), "a stream lasts as long as its client likes");

        let (meters, _refused) = call("/made/up", denied()).await;
        assert_eq!(meters.counted().calls, [(("other", "PERMISSION_DENIED"), 1)].into());
    }
}
