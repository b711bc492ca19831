//! Which service answers which path: ours, health, and reflection.

use std::sync::Arc;

use agentd_proto::{DESCRIPTORS, v1 as wire};
use tonic::service::Routes;
use wire::{
    audit_service_server::AuditServiceServer, history_service_server::HistoryServiceServer,
    host_service_server::HostServiceServer, policy_service_server::PolicyServiceServer,
    reservation_service_server::ReservationServiceServer,
    shadow_service_server::ShadowServiceServer, vm_service_server::VmServiceServer,
};

use super::{
    Published, audit::AuditCalls, health, history::HistoryCalls, host::HostCalls, limits,
    policy::PolicyCalls, reservation::ReservationCalls, shadow::ShadowCalls, vm::VmCalls,
    watch::Watch,
};

/// Every service.
pub(super) fn all(published: &Arc<Published>) -> Routes {
    let shared = || Arc::clone(published);
    let host = HostServiceServer::new(HostCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let vm = VmServiceServer::new(VmCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let policy = PolicyServiceServer::new(PolicyCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let shadow = ShadowServiceServer::new(ShadowCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let reservation = ReservationServiceServer::new(ReservationCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let history = HistoryServiceServer::new(HistoryCalls(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let audit = AuditServiceServer::new(AuditCalls::new(shared()))
        .max_decoding_message_size(limits::REQUEST)
        .max_encoding_message_size(limits::RESPONSE);
    let (reporter, answers) = tonic_health::server::health_reporter();
    published.tasks.spawn(health::report(shared(), reporter));

    let routes = Routes::new(host)
        .add_service(vm)
        .add_service(policy)
        .add_service(shadow)
        .add_service(reservation)
        .add_service(history)
        .add_service(audit)
        .add_service(Watch::new(shared()))
        .add_service(answers.max_decoding_message_size(limits::REQUEST));
    with_reflection(routes)
}

/// Reflection in both versions: many clients still speak the older one.
fn with_reflection(mut routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match builder().build_v1() {
        Ok(reflection) => {
            let reflection = reflection.max_decoding_message_size(limits::REQUEST);
            routes = routes.add_service(reflection);
        }
        Err(error) => tracing::error!(%error, "there is no reflection"),
    }
    match builder().build_v1alpha() {
        Ok(reflection) => {
            let reflection = reflection.max_decoding_message_size(limits::REQUEST);
            routes = routes.add_service(reflection);
        }
        Err(error) => tracing::error!(%error, "there is no v1alpha reflection"),
    }
    routes
}
