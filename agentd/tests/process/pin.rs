//! A pin with an end and the hardest of stops.

use agentd_proto::v1 as wire;
use tonic::transport::Channel;
use wire::{policy_service_client::PolicyServiceClient, vm_service_client::VmServiceClient};

use crate::rig::{Agent, Home, PAUSES, pause};

async fn client(agent: &Agent) -> PolicyServiceClient<Channel> {
    PolicyServiceClient::new(agent.channel().await.unwrap())
}

async fn policy(agent: &Agent) -> wire::GetPolicyResponse {
    let answer = client(agent).await.get_policy(wire::GetPolicyRequest {}).await;
    answer.unwrap().into_inner()
}

/// The first VM of the last tick.
async fn vm(agent: &Agent) -> wire::Vm {
    let mut client = VmServiceClient::new(agent.channel().await.unwrap());
    let listed = client.list_vms(wire::ListVmsRequest::default()).await.unwrap();
    listed.into_inner().vms.remove(0)
}

async fn pin(agent: &Agent, seconds: i64) -> wire::Pin {
    let request = wire::PinVmRequest {
        vm: vm(agent).await.vm.unwrap().uuid,
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..wire::PinVmRequest::default()
    };
    client(agent).await.pin_vm(request).await.unwrap().into_inner().pin.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_pin_survives_sigkill_and_still_ends() {
    let home = Home::new();
    let agent = home.start().await;
    agent.until_ticks_go_on().await;
    let before = policy(&agent).await.current;
    let made = pin(&agent, 3600).await;
    agent.kill();

    let agent = home.start().await;
    let now = policy(&agent).await;
    assert_eq!((now.pins, &now.current), (vec![made], &before));
    agent.until_ticks_go_on().await;
    assert_eq!(vm(&agent).await.verdict.unwrap().reason, "PINNED");
    // One that ends soon takes its place.
    pin(&agent, 5).await;
    agent.kill();

    let agent = home.start().await;
    for _ in 0..PAUSES {
        if policy(&agent).await.pins.is_empty() {
            assert_eq!(policy(&agent).await.current, before);
            return home.until_log(": expired");
        }
        pause();
    }
    panic!("it does not end: {}", home.log());
}
