//! Who is let in over TCP, and who is not.

use std::{fs, time::Duration};

use agentd_proto::v1 as wire;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::{HandshakeKind, version::TLS12};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::host_service_client::HostServiceClient;

use crate::{
    audit::all_lines,
    certificates::{Authority, Wish},
    rig::LONG,
    tls_rig::{Offer, World, config, connect, dial, now, status_on},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_certificate() {
    let world = World::start();
    let alice = world.client("alice");
    let channel = world.channel(&alice).await.unwrap();
    let status = status_on(channel.clone()).await.unwrap();
    assert_eq!(status.caller.unwrap().name, "alice");
    assert_eq!(status.conditions.len(), 0);
    let ask = wire::SetModeRequest { mode: wire::Mode::Observe.into(), reason: String::new() };
    HostServiceClient::new(channel.clone()).set_mode(ask).await.unwrap();
    world.rig.published(1).await;
    let actor = status_on(channel).await.unwrap().mode_actor.unwrap();
    assert_eq!(actor.id, "alice");
    assert!(actor.peer.starts_with("127.1.0.") && actor.time.is_some(), "{actor:?}");

    let uri = "spiffe://example.org/agentd/bob";
    let wish = world.authority.client("somebody", "agentd:admin");
    let bob = world.issue(&Wish { uris: vec![uri.to_owned()], ..wish });
    assert_eq!(world.status(&bob).await.unwrap().caller.unwrap().name, uri);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_vouched_for_is_refused_and_told_why() {
    let world = World::start();
    let other = Authority::new("another ca", now()).unwrap();
    let good = world.authority.client("alice", "agentd:admin");
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    let uris = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let table = [
        (
            "expired",
            Wish { until: now() - Duration::from_secs(1), ..good.clone() },
            "CertificateExpired",
        ),
        (
            "not yet valid",
            Wish { from: now() + hour, until: now() + day, ..good.clone() },
            "CertificateExpired",
        ),
        (
            "for servers",
            Wish { usages: vec![ServerAuth], ..good.clone() },
            "UnsupportedCertificate",
        ),
        (
            "for nothing in particular",
            Wish { usages: vec![], ..good.clone() },
            "CertificateUnknown",
        ),
        (
            "two names",
            Wish { uris: uris(&["a://b", "c://d"]), ..good.clone() },
            "CertificateUnknown",
        ),
        ("no name", Wish { name: None, ..good.clone() }, "CertificateUnknown"),
        (
            "root's name",
            Wish { name: Some("uid:0".to_owned()), ..good.clone() },
            "CertificateUnknown",
        ),
        (
            "valid for too long",
            Wish { until: now() + 101 * day, ..good.clone() },
            "CertificateUnknown",
        ),
    ];
    for (what, wish, alert) in table {
        let shows = world.issue(&wish);
        let refusal = world.refusal(&Offer::of(&shows)).await;
        assert_eq!(refusal, format!("received fatal alert: {alert}"), "{what}");
    }
    let foreign = other.issue(&good).unwrap();
    let refusal = world.refusal(&Offer::of(&foreign)).await;
    assert_eq!(refusal, "received fatal alert: UnknownCA");
    let refusal = world.refusal(&Offer { shows: None, ..Offer::of(&foreign) }).await;
    assert_eq!(refusal, "received fatal alert: CertificateRequired");
    let both = world.issue(&Wish { usages: vec![ServerAuth, ClientAuth], ..good });
    assert_eq!(world.status(&both).await.unwrap().caller.unwrap().name, "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_or_denied_is_refused_and_others_are_not() {
    let (mut revoked, mut denied) = (None, None);
    let mut world = World::start_with(|authority, files| {
        let issue = || authority.issue(&authority.client("mallory", "agentd:admin")).unwrap();
        let (by_list, by_serial) = (issue(), issue());
        let folder = files.cert.parent().unwrap().to_owned();
        let (list, deny) = (folder.join("clients.crl"), folder.join("denied"));
        let until = now() + Duration::from_secs(3600);
        fs::write(&list, authority.revoke(&[&by_list], until).unwrap()).unwrap();
        fs::write(&deny, format!("serial {}\nname eve\n", by_serial.serial)).unwrap();
        (files.client_crl, files.client_deny) = (Some(list), Some(deny));
        (revoked, denied) = (Some(by_list), Some(by_serial));
    });
    let eve = world.client("eve");
    for refused in [revoked.unwrap(), denied.unwrap(), eve] {
        let refusal = world.refusal(&Offer::of(&refused)).await;
        assert_eq!(refusal, "received fatal alert: CertificateRevoked");
    }
    let alice = world.client("alice");
    world.status(&alice).await.unwrap();
    // Of a list that is past its time nobody knows what it leaves out.
    world.pass_to(now() + Duration::from_secs(3601));
    let refusal = world.refusal(&Offer::of(&alice)).await;
    assert!(refusal.starts_with("received fatal alert: "), "{refusal}");
    world.until_condition("CRL_EXPIRED", true).await;
    assert!(world.told("CRL_EXPIRED").contains("clients.crl is past its time"));
    let audited = all_lines(&mut world.rig);
    let denied: Vec<_> = audited.iter().filter(|line| line["outcome"] == "NOT_LET_IN").collect();
    assert_eq!(denied.len(), 4, "{audited:?}");
    assert!(denied[2]["detail"].as_str().unwrap().contains("eve"), "{:?}", denied[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_http2_over_tls_1_3_is_spoken() {
    let world = World::start();
    let alice = world.client("alice");
    let old = Offer { version: &TLS12, ..Offer::of(&alice) };
    assert_eq!(world.refusal(&old).await, "received fatal alert: ProtocolVersion");
    let http1 = Offer { protocols: &[b"http/1.1"], ..Offer::of(&alice) };
    assert_eq!(world.refusal(&http1).await, "received fatal alert: NoApplicationProtocol");
    let silent = Offer { protocols: &[], ..Offer::of(&alice) };
    let refusal = world.refusal(&silent).await;
    assert!(refusal.contains("close_notify") || refusal.contains("eof"), "{refusal}");

    let mut plain = connect(world.address, "127.0.0.1").await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or a reset where what it sent was not read: nothing of HTTP.
    let _ = tokio::time::timeout(LONG, plain.read_to_end(&mut answer)).await.expect("an end");
    assert!(answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    world.status(&alice).await.unwrap();
}

/// A ticket would let in who was revoked since.
#[tokio::test(flavor = "multi_thread")]
async fn every_connection_shows_its_certificate_anew() {
    let world = World::start();
    let alice = world.client("alice");
    let config = config(&world.authority.pem, &Offer::of(&alice));
    for _ in 0..3 {
        let mut io = dial(config.clone(), world.address, "127.0.0.1").await.unwrap();
        // Tickets would come with the first bytes.
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        io.read_u8().await.unwrap();
        let (_, session) = io.get_ref();
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.tls13_tickets_received(), 0);
    }
}
