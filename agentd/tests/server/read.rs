//! Status, lists, explanations, health and reflection.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use agentd_core::bytes::ByteCount;
use agentd_proto::v1 as wire;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use wire::{host_service_client::HostServiceClient, vm_service_client::VmServiceClient};

use crate::rig::{LONG, Rig, id, record};

async fn status(channel: &Channel) -> wire::GetStatusResponse {
    let mut client = HostServiceClient::new(channel.clone());
    client.get_status(wire::GetStatusRequest {}).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_of_the_last_tick_and_keeps_what_was_last_read() {
    let mut rig = Rig::start();
    let channel = rig.channel().await;
    let before = status(&channel).await;
    assert_eq!((before.tick, before.last_tick_age, before.memory), (None, None, None));
    assert_eq!((before.host.as_str(), before.hypervisor.as_str()), ("node1", "sim:test"));

    rig.tick(&["web1", "db1"], false).await;
    rig.pass(Duration::from_secs(7));
    rig.publisher.raise("TEST", "something is wrong".to_owned());
    let now = status(&channel).await;
    assert_eq!((now.tick, now.total_vms, now.managed_vms), (Some(0), 2, 2));
    assert_eq!(now.last_tick_age.unwrap().seconds, 7);
    assert_eq!(now.position, Some(rig.position(1)));
    assert_eq!(now.memory.unwrap().usable_bytes, ByteCount::gib(8).as_u64());
    assert_eq!(now.pool.unwrap().actual_bytes, ByteCount::gib(2).as_u64());
    assert_eq!(now.conditions.first().unwrap().reason, "TEST");
    assert!(now.caller.unwrap().name.starts_with("uid:"));

    let mut blind = record(9, &[], false, &rig.control.in_force().policy);
    (blind.sample, blind.decision) = (None, None);
    blind.error = Some("no answer".to_owned());
    rig.recorder.tick(Arc::new(blind));
    let then = status(&channel).await;
    assert_eq!((then.tick, then.total_vms), (Some(9), 2));
    assert!(then.memory.is_some());
}

/// Ticks that cannot read the hypervisor go on, and nothing that was read before grows younger by it.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_hypervisor_is_lost_every_figure_has_its_age() {
    let mut rig = Rig::start();
    let channel = rig.channel().await;
    let mut client = VmServiceClient::new(channel.clone());
    rig.tick(&["web1"], false).await;
    rig.pass(Duration::from_secs(30));
    let mut blind = record(1, &[], false, &rig.control.in_force().policy);
    (blind.sample, blind.decision) = (None, None);
    blind.error = Some("no answer".to_owned());
    rig.recorder.tick(Arc::new(blind));
    rig.publisher.raise("HYPERVISOR_LOST", "no answer".to_owned());
    rig.publisher.raise("OTHER", "of no matter here".to_owned());
    rig.pass(Duration::from_secs(5));

    let now = status(&channel).await;
    assert_eq!(now.last_tick_age.unwrap().seconds, 5);
    // By the rig a tick begins a second before it is told, and takes 20 ms.
    let millis = |age: Option<prost_types::Duration>| Duration::try_from(age.unwrap()).unwrap();
    assert_eq!(millis(now.last_read_age), Duration::from_millis(35_980));
    let list = client.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner();
    let since = millis(list.tick_age);
    assert_eq!(since, Duration::from_secs(36));
    let age = |memory: &Option<wire::VmMemory>| millis(memory.as_ref().unwrap().figures_age);
    assert_eq!(age(&list.vms[0].memory), since + Duration::from_millis(300));
    let told = |all: &[wire::Condition]| {
        all.iter().map(|one| one.reason.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&list.conditions), "HYPERVISOR_LOST");
    assert!(list.conditions[0].since.is_some());

    let ask = |at| wire::ExplainVmRequest { vm: "web1".to_owned(), at, ..Default::default() };
    let last = client.explain_vm(ask(None)).await.unwrap().into_inner();
    assert_eq!(told(&last.conditions), "HYPERVISOR_LOST");
    assert_eq!(millis(last.tick_age), Duration::from_millis(35_020));
    assert_eq!(age(&last.memory), Duration::from_millis(35_320));
    assert!(last.sentences[0].contains("(figures 35.3 s old)"), "{:?}", last.sentences);
    // The figures that a past decision rests on are as old as they were to it.
    let past = client.explain_vm(ask(Some(rig.position(1)))).await.unwrap().into_inner();
    assert_eq!(age(&past.memory), Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn vms_come_in_pages_in_the_order_of_their_uuids() {
    let mut rig = Rig::start();
    let mut client = VmServiceClient::new(rig.channel().await);
    let none = client.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner();
    assert_eq!((none.vms.len(), none.tick), (0, None));
    rig.tick(&["a", "b", "c", "d", "e"], false).await;
    let (mut token, mut names, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let request = wire::ListVmsRequest { page_size: 2, page_token: token };
        let page = client.list_vms(request).await.unwrap().into_inner();
        assert_eq!(page.tick, Some(0));
        names.extend(page.vms.into_iter().map(|vm| vm.vm.unwrap().name));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((names.concat().as_str(), pages), ("abcde", 3));
    for (page_size, page_token) in [(-1, ""), (1, "nonsense")] {
        let request = wire::ListVmsRequest { page_size, page_token: page_token.to_owned() };
        assert_eq!(client.list_vms(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explains_the_last_tick_and_any_that_is_kept() {
    let mut rig = Rig::start();
    let mut client = VmServiceClient::new(rig.channel().await);
    let ask = |vm: &str, at| wire::ExplainVmRequest { vm: vm.to_owned(), at, ..Default::default() };
    let early = client.explain_vm(ask("web1", None)).await.unwrap_err();
    assert_eq!(early.code(), Code::Unavailable);

    rig.tick(&["web1", "twin", "twin"], true).await;
    rig.tick(&["web1", "twin", "twin"], false).await;
    let last = client.explain_vm(ask("web1", None)).await.unwrap().into_inner();
    assert_eq!((last.tick, last.position), (1, Some(rig.position(2))));
    assert_eq!(last.resize, None);
    let was = client.explain_vm(ask("web1", Some(rig.position(1)))).await.unwrap().into_inner();
    assert_eq!((was.tick, was.transfers.len()), (0, 1));
    assert_eq!(was.resize.unwrap().ordered_bytes, Some((1 << 30) + (50 << 20)));
    let story = was.sentences.join(" ");
    for part in ["It holds 1 GiB", "It gets 50 MiB", "from the host to web1", "It was told to hold"]
    {
        assert!(story.contains(part), "{part} in {story}");
    }
    let by_uuid = ask(&id(2).to_string().to_uppercase(), None);
    assert_eq!(client.explain_vm(by_uuid).await.unwrap().into_inner().vm.unwrap().name, "twin");

    let twin = client.explain_vm(ask("twin", None)).await.unwrap_err();
    assert_eq!(twin.code(), Code::InvalidArgument);
    for uuid in [id(1).to_string(), id(2).to_string()] {
        assert!(twin.message().contains(&uuid), "{}", twin.message());
    }
    let other = wire::Position { epoch: "0".repeat(32), seq: 1 };
    let cases = [
        (ask("nobody", None), Code::NotFound),
        (ask("", None), Code::InvalidArgument),
        (ask("web1", Some(rig.position(99))), Code::NotFound),
        (ask("web1", Some(other)), Code::NotFound),
        (ask("web1", Some(wire::Position::default())), Code::InvalidArgument),
    ];
    for (request, code) in cases {
        assert_eq!(
            client.explain_vm(request.clone()).await.unwrap_err().code(),
            code,
            "{request:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_the_tick() {
    let mut rig = Rig::start();
    let channel = rig.channel().await;
    let services = ["", "agentd.v1.HostService", "agentd.v1.VmService", "agentd.v1.PolicyService"];
    for service in services.into_iter().chain(["agentd.v1.EventService"]) {
        becomes(&channel, service, ServingStatus::NotServing).await;
    }
    rig.ticks(1).await;
    becomes(&channel, "agentd.v1.EventService", ServingStatus::Serving).await;
    rig.pass(Duration::from_secs(60));
    becomes(&channel, "", ServingStatus::NotServing).await;
    rig.ticks(1).await;
    becomes(&channel, "", ServingStatus::Serving).await;

    let mut blind = record(9, &[], false, &rig.control.in_force().policy);
    blind.sample = None;
    rig.recorder.tick(Arc::new(blind));
    becomes(&channel, "", ServingStatus::NotServing).await;
}

/// Waits until a service has this health.
async fn becomes(channel: &Channel, service: &str, wanted: ServingStatus) {
    let mut client = HealthClient::new(channel.clone());
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut reports = client.watch(request).await.unwrap().into_inner();
    let reached = async { while reports.next().await.unwrap().unwrap().status() != wanted {} };
    tokio::time::timeout(LONG, reached).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service_in_both_versions() {
    let rig = Rig::start();
    let channel = rig.channel().await;
    let descriptors = prost_types::FileDescriptorSet::decode(agentd_proto::DESCRIPTORS).unwrap();
    let ours = descriptors.file.iter().flat_map(|file| {
        let package = file.package();
        file.service.iter().map(move |service| format!("{package}.{}", service.name()))
    });
    let mut expected: BTreeSet<String> = ours.collect();
    assert_eq!(expected.len(), 8);
    expected.insert("grpc.health.v1.Health".to_owned());

    macro_rules! listed {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest { host: String::new(), message_request };
            let mut client = ServerReflectionClient::new(channel.clone());
            let requests = tokio_stream::once(request);
            let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("no list")
            };
            list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
        }};
    }
    for listed in [listed!(v1), listed!(v1alpha)] {
        assert!(expected.is_subset(&listed), "{listed:?}");
    }
}
