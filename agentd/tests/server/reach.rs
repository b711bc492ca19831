//! Connections: too many, and those that never speak.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use agentd_proto::v1 as wire;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use wire::{host_service_client::HostServiceClient, vm_service_client::VmServiceClient};

use crate::rig::{LONG, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_after_the_last_is_turned_away_and_a_place_comes_free_again() {
    let rig = Rig::start();
    let socket = rig.dir.path().join("agentd.sock");
    let mut all = Vec::new();
    for _ in 0..256 {
        all.push(UnixStream::connect(&socket).unwrap());
    }
    let turned_away = tokio::task::spawn_blocking(move || {
        let mut late = UnixStream::connect(&socket).unwrap();
        late.set_read_timeout(Some(LONG)).unwrap();
        late.read(&mut [0; 64])
    });
    assert_eq!(turned_away.await.unwrap().unwrap(), 0);
    drop(all);
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    let served = async {
        loop {
            tries.tick().await;
            let Ok(channel) = rig.endpoint().connect().await else { continue };
            let mut client = HostServiceClient::new(channel);
            if client.get_status(wire::GetStatusRequest {}).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_speaks_is_ended() {
    let rig = Rig::start();
    let socket = rig.dir.path().join("agentd.sock");
    let ended = tokio::task::spawn_blocking(move || {
        let mut silent = UnixStream::connect(socket).unwrap();
        silent.set_read_timeout(Some(LONG)).unwrap();
        let mut all = Vec::new();
        silent.read_to_end(&mut all)
    });
    ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_noise_nor_huge_requests_keep_it_from_serving_others() {
    let rig = Rig::start();
    let socket = rig.dir.path().join("agentd.sock");
    for noise in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff"]
    {
        let mut client = UnixStream::connect(&socket).unwrap();
        // The server may hang up before it has read everything.
        let _ = client.write_all(noise);
    }
    let channel = rig.channel().await;
    let huge = wire::ExplainVmRequest { vm: "x".repeat(300 << 10), ..Default::default() };
    let refused = VmServiceClient::new(channel.clone()).explain_vm(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let mut client = HostServiceClient::new(channel);
    client.get_status(wire::GetStatusRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_count_until_their_responses_are_taken() {
    let rig = Rig::start();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut health = HealthClient::new(rig.channel().await);
        for _ in 0..32 {
            streams.push(health.watch(HealthCheckRequest::default()).await.unwrap());
        }
    }
    let mut client = HostServiceClient::new(rig.channel().await);
    let refused = client.get_status(wire::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    streams.clear();
    let served = async {
        while client.get_status(wire::GetStatusRequest {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, served).await.unwrap();
}
