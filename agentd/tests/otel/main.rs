//! What a build with the feature `otel` sends to a collector: one that this test is, over real gRPC.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;

/// Ticks, with their parts, and calls are sent with the name of the service.
#[tokio::test(flavor = "multi_thread")]
async fn ticks_and_calls_are_sent_to_a_collector() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.toml");
    fs::write(&scenario, SCENARIO).unwrap();
    let collector = Collector::default();
    let address = collector.clone().start().await;
    let socket = format!("unix://{}", folder.path().join("agentd.sock").display());
    let mut agentd = Agentd(
        Command::new(env!("CARGO_BIN_EXE_agentd"))
            .args(["run", "--listen", &socket, "--hypervisor"])
            .arg(format!("sim:{}", scenario.display()))
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .env_clear()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap(),
    );
    let seen = collector.until(|seen| ["tick", "sample"].iter().all(|name| seen.contains(*name)));
    let seen = tokio::time::timeout(LONG, seen).await;
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    let ended = agentd.0.try_wait().unwrap();
    assert!(seen.is_ok(), "{:?}, {ended:?}: {}", collector.seen(), log());
    assert_eq!(collector.services(), BTreeSet::from(["agentd".to_owned()]));
    assert!(!log().contains("tick{"), "lines stay as they are: {}", log());
}

/// An agentd, killed when dropped.
struct Agentd(Child);

impl Drop for Agentd {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An OTLP collector that keeps names.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Server::builder().add_service(self);
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    async fn until(&self, is: impl Fn(&BTreeSet<String>) -> bool) {
        while !is(&self.seen()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Names of the spans that came.
    fn seen(&self) -> BTreeSet<String> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|spans| &spans.scope_spans).flat_map(|scope| &scope.spans);
        spans.map(|span| span.name.clone()).collect()
    }

    /// What their resources say of who sent them.
    fn services(&self) -> BTreeSet<String> {
        let requests = self.requests.lock().unwrap();
        let spans = requests.iter().flat_map(|request| &request.resource_spans);
        let facts =
            spans.filter_map(|spans| spans.resource.as_ref()).flat_map(|one| &one.attributes);
        let names = facts.filter(|fact| fact.key == "service.name");
        names.filter_map(|fact| fact.value.as_ref()?.string_value.clone()).collect()
    }
}

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Export> for Collector {
    type Response = Exported;
    type Future = BoxFuture<Response<Exported>, Status>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        self.requests.lock().unwrap().push(request.into_inner());
        Box::pin(async { Ok(Response::new(Exported {})) })
    }
}

impl<B> Service<http::Request<B>> for Collector
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
        let this = self.clone();
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::<Exported, Export>::default());
            Ok(grpc.unary(this, request).await)
        })
    }
}

/// What this test reads of an `ExportTraceServiceRequest`, by the numbers of its fields in
/// opentelemetry/proto/collector/trace/v1.
#[derive(Clone, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

#[derive(Clone, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, Message)]
struct Span {
    #[prost(string, tag = "5")]
    name: String,
}

/// Nothing was refused.
#[derive(Clone, Message)]
struct Exported {}

const LONG: Duration = Duration::from_secs(60);
const SCENARIO: &str = r#"
tick_interval = "100ms"
[host]
total = "8GiB"
[[vm]]
name = "web1"
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
"#;
