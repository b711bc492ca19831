//! Every method for every role, over each transport: a method that is new is among them by itself.

use std::collections::BTreeSet;

use agentd::control::Mode;
use agentd_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::{
    authz::reason,
    rig::{ADMIN, NOBODYS, OPERATORS, READERS, Rig, cannot_be_others},
    tls_rig::World,
};

/// Every method, by its path.
fn methods() -> Vec<String> {
    let sets = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
    let all = files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let service_name = format!("{package}.{}", service.name());
            let path = move |method: prost_types::MethodDescriptorProto| {
                format!("/{service_name}/{}", method.name())
            };
            service.method.into_iter().map(path)
        })
    });
    all.collect()
}

/// Calls a method with an empty request; how that, or its first response, ended.
pub(crate) async fn call(channel: Channel, path: &str) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let mut answers = grpc.server_streaming(Request::new(()), path, codec).await?.into_inner();
    answers.message().await.map(drop)
}

/// The least rank that may call a method: 0 for anybody, 1 for readers, 2 for operators, 3 for admins.
fn least(path: &str) -> usize {
    let method = path.rsplit('/').next().unwrap();
    match method {
        "WhoAmI" => 0,
        "ConfirmPolicy" | "RevertPolicy" | "ListAudit" => 3,
        _ => {
            let changes = ["Set", "Update", "Create", "Delete", "Clear", "Pin", "Unpin"];
            if changes.iter().any(|verb| method.starts_with(verb)) { 2 } else { 1 }
        }
    }
}

/// Calls every method as somebody of this rank, who is refused what it is too low for and nothing else.
async fn row(channel: &Channel, rank: usize) -> BTreeSet<String> {
    let mut served = BTreeSet::new();
    for path in methods() {
        let told = call(channel.clone(), &path).await;
        let refusal = told.err().filter(|status| {
            // What the handler asks beyond the method is tested by itself.
            let of_layer = !status.message().contains("without revert_after");
            of_layer && matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        });
        let expected = (rank < least(&path)).then(|| "ROLE_MISSING".to_owned());
        assert_eq!(refusal.as_ref().map(reason), expected, "rank {rank} {path}: {refusal:?}");
        if refusal.is_none() {
            served.insert(path);
        }
    }
    served
}

/// The rows of all ranks: each may do more than the one before it, and the last one everything.
fn judge(rows: &[BTreeSet<String>], rig: &Rig) {
    let all: BTreeSet<String> = methods().into_iter().collect();
    assert!(all.len() >= 24, "{all:?}");
    assert_eq!(rows.len(), 4);
    assert!(rows.is_sorted_by(|less, more| less.len() < more.len() && less.is_subset(more)));
    assert_eq!(rows.last(), Some(&all));
    let in_force = rig.control.in_force();
    assert_eq!((in_force.mode, in_force.policy.number), (Mode::Active, 1));
    assert_eq!((in_force.reservations.open.len(), in_force.pins.all().len()), (0, 0));
    assert_eq!(rig.publisher.ring().span().newest, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_socket_every_method_is_for_those_who_may_and_an_empty_request_changes_nothing() {
    if cannot_be_others(
        "over_the_socket_every_method_is_for_those_who_may_and_an_empty_request_changes_nothing",
    ) {
        return;
    }
    let rig = Rig::start();
    let callers = [(NOBODYS, NOBODYS), (NOBODYS, READERS), (NOBODYS, OPERATORS), (ADMIN, NOBODYS)];
    let mut rows = Vec::new();
    for (rank, (uid, gid)) in callers.into_iter().enumerate() {
        rows.push(row(&rig.channel_as(uid, gid).await, rank).await);
    }
    judge(&rows, &rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_every_method_is_for_those_who_may_and_an_empty_request_changes_nothing() {
    let world = World::start();
    let organizations = ["Example Inc.", "agentd:reader", "agentd:operator", "agentd:admin"];
    let mut rows = Vec::new();
    for (rank, organization) in organizations.into_iter().enumerate() {
        let wish = world.authority.client(&format!("rank{rank}"), organization);
        let channel = world.channel(&world.issue(&wish)).await.unwrap();
        rows.push(row(&channel, rank).await);
    }
    judge(&rows, &world.rig);
}
