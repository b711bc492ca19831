//! Files that change while the server runs: good ones are taken, bad ones are told of, and nobody who
//! stays welcome is disturbed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentd_proto::v1 as wire;
use wire::host_service_client::HostServiceClient;

use crate::{
    certificates::Wish,
    rig::{LONG, Watching},
    tls_rig::{Offer, World, now, status_on},
};

/// The certificate that a new connection is shown.
async fn shown(world: &World) -> Vec<u8> {
    let alice = world.client("alice");
    let io = world.dial(&Offer::of(&alice)).await.unwrap();
    let (_, session) = io.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

async fn until_shown_another(world: &World, before: &[u8]) -> Vec<u8> {
    let another = async {
        loop {
            let now = shown(world).await;
            if now != before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, another).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_rotated_under_load_and_nobody_notices() {
    let world = World::start();
    let alice = world.client("alice");
    let channel = world.channel(&alice).await.unwrap();
    let request = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let mut watching = Watching::open(channel.clone(), request).await.unwrap();
    watching.hello().await;
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = HostServiceClient::new(channel.clone());
            let (done, calls) = (done.clone(), calls.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    client.get_status(wire::GetStatusRequest {}).await.unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                    // One name reads 200 times a second at most.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
            })
        })
        .collect();

    let mut last = shown(&world).await;
    for _ in 0..3 {
        let before = calls.load(Ordering::Relaxed);
        world.issue(&world.authority.server(&["node1"])).write(world.folder(), "node1").unwrap();
        last = until_shown_another(&world, &last).await;
        assert!(calls.load(Ordering::Relaxed) > before);
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let mut world = world;
    world.rig.tick(&["web1"], false).await;
    watching.tick().await;
    assert!(!world.rig.publisher.conditions().has("TLS_RELOAD_FAILED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_leaves_the_old_ones_in_force_until_it_is_whole() {
    let world = World::start();
    let before = shown(&world).await;
    let new = world.issue(&world.authority.server(&["node1"]));
    fs::write(world.path("node1.pem"), &new.pem[..new.pem.len() / 2]).unwrap();
    world.until_condition("TLS_RELOAD_FAILED", true).await;
    let told = world.told("TLS_RELOAD_FAILED");
    assert!(
        told.contains("node1.pem has a certificate that cannot be read: it has no end"),
        "{told}"
    );
    assert!(told.ends_with("what [tls] said before stays in force"), "{told}");
    assert_eq!(shown(&world).await, before);

    // Whole, and of another pair than the key.
    fs::write(world.path("node1.pem"), &new.pem).unwrap();
    let mismatch = async {
        while !world.told("TLS_RELOAD_FAILED").contains("is not that of the certificate") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, mismatch).await.unwrap();
    assert_eq!(shown(&world).await, before);

    new.write(world.folder(), "node1").unwrap();
    world.until_condition("TLS_RELOAD_FAILED", false).await;
    assert_ne!(shown(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_becomes_open_to_others_is_told_of() {
    let world = World::start();
    let key = world.path("node1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    world.until_condition("TLS_RELOAD_FAILED", true).await;
    let told = world.told("TLS_RELOAD_FAILED");
    assert!(
        told.contains(
            "node1.key is open to others than its owner and the readers of its group (mode 644)"
        ),
        "{told}"
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    world.until_condition("TLS_RELOAD_FAILED", false).await;
    let alice = world.client("alice");
    status_on(world.channel(&alice).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nears_its_end_is_told_of_until_another_one_is_there() {
    let world = World::start();
    let day = Duration::from_secs(86_400);
    let issue = |days: u32| {
        let wish = Wish { until: now() + days * day, ..world.authority.server(&["node1"]) };
        world.issue(&wish).write(world.folder(), "node1").unwrap();
        world.read_tls_again();
    };
    issue(15);
    world.until_condition("CERTIFICATE_EXPIRES", false).await;
    let expires = || world.rig.publisher.meters().counted().expiries["server"];
    assert!(expires() > now() + 13 * day, "{:?}", expires());
    world.pass_to(now() + 5 * day);
    world.until_condition("CERTIFICATE_EXPIRES", true).await;
    let told = world.told("CERTIFICATE_EXPIRES");
    assert!(
        told.contains("node1.pem expires in") && told.contains(" days: put a new one"),
        "{told}"
    );
    world.pass_to(now() + 16 * day);
    let expired = async {
        while !world
            .told("CERTIFICATE_EXPIRES")
            .contains("has expired, and clients refuse this host")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, expired).await.unwrap();
    issue(60);
    world.until_condition("CERTIFICATE_EXPIRES", false).await;
}
