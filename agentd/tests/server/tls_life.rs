//! Connections whose client is let in no more: how their streams end, and that others go on.

use std::{fs, time::Duration};

use agentd_proto::v1 as wire;
use tokio::time::Instant;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::watch_response::Body;

use crate::{
    certificates::{Authority, Issued},
    rig::Watching,
    tls_rig::{Offer, World, now, status_on},
};

async fn watch(channel: Channel) -> Watching {
    let request = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let mut watching = Watching::open(channel, request).await.unwrap();
    watching.hello().await;
    watching
}

/// The farewell and the status at the end of a stream, past its entries.
async fn end(watching: &mut Watching) -> (wire::GoingAway, Status) {
    let farewell = loop {
        match watching.body().await.1 {
            Body::GoingAway(farewell) => break farewell,
            Body::Tick(_) | Body::Heartbeat(_) => {}
            other => panic!("{other:?} before the end"),
        }
    };
    (farewell, watching.next().await.unwrap_err())
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_ends_its_streams_and_no_others() {
    let mut world = World::start_with(|authority, files| {
        let list = files.cert.with_file_name("clients.crl");
        let until = now() + Duration::from_secs(3600);
        fs::write(&list, authority.revoke(&[], until).unwrap()).unwrap();
        files.client_crl = Some(list);
    });
    let (alice, mallory) = (world.client("alice"), world.client("mallory"));
    let channel = world.channel(&mallory).await.unwrap();
    let mut refused = watch(channel.clone()).await;
    let mut other = watch(world.channel(&alice).await.unwrap()).await;
    world.rig.tick(&["web1"], false).await;
    refused.tick().await;

    let until = now() + Duration::from_secs(7200);
    let list = world.authority.revoke(&[&mallory], until).unwrap();
    fs::write(world.path("clients.crl"), list).unwrap();
    let began = Instant::now();
    let (farewell, status) = end(&mut refused).await;
    // Long before it would be asked again anyway.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(farewell.reason.contains("is revoked, or on the deny list"), "{farewell:?}");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "CERTIFICATE_REFUSED")
    );
    assert!(status.message().contains("after the last position"), "how to go on: {status}");
    // Whatever becomes of it, the call is not served.
    status_on(channel).await.unwrap_err();

    other.tick().await;
    world.rig.tick(&["web1"], false).await;
    other.tick().await;
    assert_eq!(
        world.refusal(&Offer::of(&mallory)).await,
        "received fatal alert: CertificateRevoked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_put_on_the_deny_list_is_out_within_seconds() {
    let world = World::start_with(|_, files| {
        let denied = files.cert.with_file_name("denied");
        fs::write(&denied, "").unwrap();
        files.client_deny = Some(denied);
    });
    let mallory = world.client("mallory");
    let mut watching = watch(world.channel(&mallory).await.unwrap()).await;
    fs::write(world.path("denied"), "name mallory\n").unwrap();
    // As SIGHUP does.
    world.read_tls_again();
    let began = Instant::now();
    let (_, status) = end(&mut watching).await;
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!(reason(&status), "CERTIFICATE_REFUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_ends_its_streams() {
    let world = World::start();
    let wish = world.authority.client("alice", "agentd:reader");
    let alice = world.issue(&wish);
    let mut watching = watch(world.channel(&alice).await.unwrap()).await;
    world.pass_to(wish.until + Duration::from_secs(1));
    let (farewell, status) = end(&mut watching).await;
    assert_eq!(farewell.reason, "the client's certificate has expired");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "CERTIFICATE_EXPIRED")
    );
}

/// Nobody knows who is revoked since: whoever is connected is asked again, as whoever comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_gets_too_old_ends_the_connections_of_its_ca() {
    let until = now() + Duration::from_secs(3600);
    let world = World::start_with(|authority, files| {
        let list = files.cert.with_file_name("clients.crl");
        fs::write(&list, authority.revoke(&[], until).unwrap()).unwrap();
        files.client_crl = Some(list);
    });
    let alice = world.client("alice");
    let channel = world.channel(&alice).await.unwrap();
    let mut watching = watch(channel.clone()).await;
    world.pass_to(until + Duration::from_secs(1));
    // It is asked every half a minute, by the clock of the machine.
    let (_, status) = end(&mut watching).await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "CERTIFICATE_REFUSED")
    );
    status_on(channel).await.unwrap_err();
    world.until_condition("CRL_EXPIRED", true).await;
    world.status(&alice).await.unwrap_err();

    let list = world.authority.revoke(&[], until + Duration::from_secs(3600)).unwrap();
    replace(&world, "clients.crl", &list);
    until_let_in(&world, &alice).await;
    world.until_condition("CRL_EXPIRED", false).await;
}

/// The CA of the clients is another one: those of the old one are out, also by connections they have.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_ca_that_is_taken_away_are_out() {
    let world = World::start();
    let alice = world.client("alice");
    let mut watching = watch(world.channel(&alice).await.unwrap()).await;
    let other = Authority::new("another ca", now()).unwrap();
    let both = format!("{}{}", world.authority.pem, other.pem);
    replace(&world, "clients.pem", &both);
    let bob: Issued = other.issue(&other.client("bob", "agentd:reader")).unwrap();
    until_let_in(&world, &bob).await;
    world.status(&alice).await.unwrap();

    replace(&world, "clients.pem", &other.pem);
    let (_, status) = end(&mut watching).await;
    assert!(status.message().contains("is of no CA in client_ca"), "{status}");
    world.status(&bob).await.unwrap();
}

async fn until_let_in(world: &World, client: &Issued) {
    let let_in = async {
        while world.status(client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::rig::LONG, let_in).await.unwrap();
}

/// Puts a file in the place of another one, as a whole.
fn replace(world: &World, name: &str, text: &str) {
    let new = world.path("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, world.path(name)).unwrap();
}
