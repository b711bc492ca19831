//! Spans of ticks and of calls, for an OpenTelemetry collector: in builds with the feature `otel`, where
//! OTEL_EXPORTER_OTLP_ENDPOINT names one.
//!
//! They wait in a bounded queue for a thread of their own, and those that find no room are dropped: a
//! collector that hangs delays nobody.

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Runtime;
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::SPANS;

/// What sends spans, with the runtime of its connection.
struct Exporter {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

/// What takes spans to the collector that the environment names; `None` where it names none, or where
/// none can be sent, which is said on standard error once there is a log.
pub(super) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    ENDPOINTS.iter().find_map(env::var_os)?;
    let exporter = Exporter::new()?;
    let tracer = exporter.provider.tracer("agentd");
    *EXPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some(exporter);
    let wanted = Targets::new().with_target("agentd", Level::INFO).with_target(SPANS, Level::INFO);
    Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(wanted))
}

/// Sends what waits, for a moment at most, and nothing after that.
pub(super) fn stop() {
    let exporter = EXPORTER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Exporter { provider, runtime }) = exporter {
        // A collector that takes nothing in is no reason to stay.
        let _ = provider.shutdown_with_timeout(GRACE);
        runtime.shutdown_background();
    }
}

impl Exporter {
    fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otel")
            .enable_all()
            .build()
            .ok()?;
        let entered = runtime.enter();
        let exporter = SpanExporter::builder().with_tonic().build().ok()?;
        drop(entered);
        let resource = Resource::builder().with_service_name("agentd").build();
        let provider = SdkTracerProvider::builder();
        let provider = provider.with_resource(resource).with_batch_exporter(exporter).build();
        Some(Self { provider, runtime })
    }
}

static EXPORTER: Mutex<Option<Exporter>> = Mutex::new(None);
/// As the specification of OpenTelemetry names them.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// A part of the five seconds in which a stop has to be done.
const GRACE: Duration = Duration::from_millis(300);
