//! `EventService`: the Watch method, wired by hand so that entries of the log, which are encoded
//! once, go to every watcher as the bytes they are.
//!
//! Each stream is a task with its own place in the ring ([`follow`]) and a channel of one message
//! to the connection: a client that does not read stops its own task and nothing else.

mod filter;
mod follow;
mod parse;
mod past;
mod snapshot;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use agentd_proto::v1 as wire;
use prost::bytes::{BufMut as _, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstDecoder;

use super::{Published, fault, limits, tls::Lease};
use follow::Follower;

/// What has to hold of any request for a stream: one that is refused names the field.
#[cfg(any(test, feature = "testing"))]
pub(super) fn fuzz(data: &[u8]) {
    use prost::Message as _;

    let Ok(request) = wire::WatchRequest::decode(data) else { return };
    if let Err(refused) = parse::wanted(request) {
        assert_eq!(fault::reason(&refused), "INVALID_ARGUMENT", "{refused}");
    }
}

/// `EventService`.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    published: Arc<Published>,
}

impl Watch {
    /// Streams of what is published.
    pub(super) const fn new(published: Arc<Published>) -> Self {
        Self { published }
    }

    async fn open(self, request: Request<wire::WatchRequest>) -> Result<Streamed, Status> {
        let lease = Lease::of(&request);
        let wanted = parse::wanted(request.into_inner())?;
        let Ok(place) = Arc::clone(&self.published.watchers).try_acquire_owned() else {
            let most = self.published.max_watchers;
            let message = format!("{most} watchers are connected, which is all that may be");
            return Err(fault::exhausted("TOO_MANY_WATCHERS", message, RETRY_AFTER));
        };
        let (sink, messages) = mpsc::channel(1);
        let tasks = self.published.tasks.clone();
        let watching = Arc::clone(self.published.publisher.meters()).watching();
        let follower = Follower::start(self.published, wanted, sink).await?;
        tasks.spawn(async move {
            follower.run(lease).await;
            drop((place, watching));
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

type Streamed = Response<ReceiverStream<Result<Bytes, Status>>>;

impl ServerStreamingService<wire::WatchRequest> for Watch {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = BoxFuture<Streamed, Status>;

    fn call(&mut self, request: Request<wire::WatchRequest>) -> Self::Future {
        Box::pin(self.clone().open(request))
    }
}

impl NamedService for Watch {
    const NAME: &'static str = wire::event_service_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for Watch
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        if path != WATCH {
            let status = Status::unimplemented(format!("{path} is no method of this service"));
            return Box::pin(async { Ok(status.into_http()) });
        }
        let this = self.clone();
        Box::pin(async {
            let grpc = Grpc::new(Encoded);
            let mut grpc = grpc.max_decoding_message_size(limits::REQUEST);
            Ok(grpc.server_streaming(this, request).await)
        })
    }
}

/// Reads requests, and passes on responses that are encoded already.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = wire::WatchRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<wire::WatchRequest>;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

/// Its path.
const WATCH: &str = "/agentd.v1.EventService/Watch";
/// Watchers come and go in minutes; asking more often than this is of no use.
const RETRY_AFTER: Duration = Duration::from_secs(10);
