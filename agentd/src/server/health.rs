//! The health that `grpc.health.v1` reports: that of the tick, not of the process. It follows what
//! is published and decides nothing else.

use std::{sync::Arc, time::Duration};

use agentd_proto::v1 as wire;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::Published;

/// Reports until the server stops.
pub(super) async fn report(published: Arc<Published>, reporter: HealthReporter) {
    let mut told = None;
    loop {
        let serving = !published.stop.is_cancelled() && is_serving(&published);
        if told != Some(serving) {
            set(&reporter, serving).await;
            told = Some(serving);
        }
        if published.stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = published.stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn set(reporter: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// True while ticks finish in time and the last one could read the hypervisor.
fn is_serving(published: &Published) -> bool {
    let publisher = &published.publisher;
    let in_time = publisher.is_ticking(published.about.tick_interval);
    let reads = |latest: Arc<crate::publish::Latest>| latest.record.sample.is_some();
    in_time && publisher.latest().is_some_and(reads)
}

/// Everything that has a health: the whole, and each service.
const SERVICES: [&str; 9] = [
    "",
    wire::host_service_server::SERVICE_NAME,
    wire::vm_service_server::SERVICE_NAME,
    wire::policy_service_server::SERVICE_NAME,
    wire::event_service_server::SERVICE_NAME,
    wire::reservation_service_server::SERVICE_NAME,
    wire::shadow_service_server::SERVICE_NAME,
    wire::history_service_server::SERVICE_NAME,
    wire::audit_service_server::SERVICE_NAME,
];
/// How often the published state is looked at.
const LOOK: Duration = Duration::from_millis(250);
