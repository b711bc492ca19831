//! https://: certificates of `memctl ca` open the door, and every way in which they do not is told
//! with what mends it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::agent::{Agent, Script};
use crate::door::{self, Files};
use crate::memctl::{Run, World};
use crate::pki::{Pki, days_from_now, shown};

/// An agent's socket in this world.
fn agent(world: &World) -> PathBuf {
    let socket = world.path("agent.sock");
    let script = Script { healthy_in: Some(v1::Mode::Active), ..Default::default() };
    Agent::start(&socket, script);
    socket
}

async fn status(world: &World, uri: &str, identity: &[String]) -> Run {
    let args = ["status", "-o", "name", "-H", uri];
    let args: Vec<&str> = args.into_iter().chain(identity.iter().map(String::as_str)).collect();
    world.run(&args).await
}

/// That a run ended because of a certificate, and said all of this.
fn refused(run: &Run, said: &[&str]) {
    assert_eq!((run.exit, run.stdout.as_str()), (5, ""), "{run:?}");
    for words in said {
        assert!(run.stderr.contains(words), "{words:?} is not in {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_memctl_ca_open_the_door() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let door = Files::of(&pki.folder(), "node1").open(&agent(&world)).await;
    let uri = format!("https://{door}");
    let run = status(&world, &uri, &pki.shown("alice")).await;
    assert_eq!((run.exit, run.stdout, run.stderr), (0, format!("{uri}\n"), String::new()));
    let port = door.port();
    let named = [pki.shown("alice"), vec!["--server-name".to_owned(), "node1".to_owned()]].concat();
    let run = status(&world, &format!("https://localhost:{port}"), &named).await;
    assert_eq!(run.exit, 0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_identity_is_shown_to_every_host() {
    let world = World::new();
    let pki = Pki::new(&world, "memctl/pki").await;
    let door = Files::of(&pki.folder(), "node1").open(&agent(&world)).await;
    let run = world.run(&["ca", "issue-client", "bob", "--role", "reader", "--default"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let uri = format!("https://{door}");
    assert_eq!(world.run(&["host", "add", "node1", &uri, "--current"]).await.exit, 0);
    let run = world.run(&["status", "-o", "name"]).await;
    assert_eq!((run.exit, run.stdout.as_str(), run.stderr.as_str()), (0, "node1\n", ""));
    // Without a port in the address it is 7433, where nobody listens.
    let run = world.run(&["status", "-H", "localhost"]).await;
    assert_eq!(run.exit, 4, "{run:?}");
    let guess = "no host \"localhost\" is configured: dialling https://localhost:7433\n";
    assert!(run.stderr.starts_with(guess), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_runs_over_tls() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let socket = world.path("agent.sock");
    let streams = [crate::agent::send(crate::sample::story())].into();
    Agent::start(&socket, Script { streams, ..Default::default() });
    let uri = format!("https://{}", Files::of(&pki.folder(), "node1").open(&socket).await);
    let identity = pki.shown("alice");
    let watch = ["watch", "--oldest", "--no-follow", "--no-reconnect", "-o", "jsonl", "-H", &uri];
    let args: Vec<&str> = watch.into_iter().chain(identity.iter().map(String::as_str)).collect();
    let run = world.run(&args).await;
    assert!(run.stdout.contains("\"type\":\"tick\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_ones_own_certificate_is_told_before_anybody_is_dialled() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    // Nobody listens there: whoever dials says so.
    let uri = "https://127.0.0.1:1";
    let ca = pki.folder().join("ca.pem");
    let renewal = "memctl ca issue-client alice --role operator --renew";

    let (cert, key) = pki.forged("expired", |params| params.not_after = days_from_now!(-1));
    let run = status(&world, uri, &shown(&ca, &cert, &key)).await;
    refused(&run, &["expired.pem is a certificate that expired on ", renewal]);
    let identity = shown(&ca, &cert, &key);
    let doctor = ["doctor", "-H", uri].into_iter().chain(identity.iter().map(String::as_str));
    let run = world.run(&doctor.collect::<Vec<_>>()).await;
    assert_eq!(run.exit, 1, "{run:?}");
    assert!(run.stdout.contains("certificate  BAD") && run.stdout.contains(renewal), "{run:?}");
    assert!(!run.stdout.contains("reach"), "{run:?}");

    let (cert, key) = pki.forged("early", |params| params.not_before = days_from_now!(1));
    let run = status(&world, uri, &shown(&ca, &cert, &key)).await;
    refused(&run, &["early.pem is a certificate that is not valid before ", "timedatectl"]);

    let (cert, _) = pki.forged("one", |_| ());
    let (_, key) = pki.forged("other", |_| ());
    let run = status(&world, uri, &shown(&ca, &cert, &key)).await;
    refused(&run, &["other.key does not belong to the certificate", "one.pem", "issue-client"]);

    let (cert, key) = pki.forged("roleless", |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "alice");
    });
    let run = status(&world, uri, &shown(&ca, &cert, &key)).await;
    refused(&run, &["roleless.pem is a certificate without a role", "O = agentd:reader", renewal]);

    let place = pki.folder().join("servers/node1");
    let server = shown(&ca, &place.join("server.pem"), &place.join("server.key"));
    let run = status(&world, uri, &server).await;
    refused(
        &run,
        &["server.pem is a server's certificate", "clientAuth", "memctl ca issue-client"],
    );

    let run = status(&world, uri, &shown(&world.path("none"), &cert, &key)).await;
    refused(&run, &["without a role"]);
    let (good, key) = pki.forged("good", |_| ());
    let run = status(&world, uri, &shown(&world.path("none"), &good, &key)).await;
    refused(&run, &["cannot read /tmp/memctl-FOLDER/none (ca)", "memctl ca init"]);
    let run = status(&world, uri, &shown(&good, &good, &key)).await;
    refused(&run, &["good.pem holds the certificate \"alice\", which is not a CA's"]);
    let run = status(&world, uri, &shown(&ca, &ca, &key)).await;
    refused(&run, &["ca.pem is not a client's certificate"]);
    let run = status(&world, uri, &shown(&ca, &key, &key)).await;
    refused(&run, &["good.key holds no certificate in PEM form"]);
    let run = status(&world, uri, &shown(&ca, &good, &good)).await;
    refused(&run, &["good.pem holds no private key in PEM form"]);

    let run = status(&world, uri, &[]).await;
    refused(&run, &["no ca, cert, key is named", "memctl ca issue-client NAME"]);
    let run = world.run(&["status", "-o", "json", "-H", uri]).await;
    assert!(run.stdout.contains("\"reason\": \"IDENTITY_MISSING\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wrong_yet_is_a_warning() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let uri = format!("https://{}", Files::of(&pki.folder(), "node1").open(&agent(&world)).await);
    pki.done(&["issue-client", "bob", "--role", "admin", "--ttl", "10d"]).await;
    let run = status(&world, &uri, &pki.shown("bob")).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let warning = "clients/bob/client.pem expires in 9 days, on ";
    assert!(run.stderr.contains(warning), "{run:?}");
    assert!(run.stderr.contains("memctl ca issue-client bob --role admin --renew"), "{run:?}");

    let key = pki.folder().join("clients/alice/client.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = status(&world, &uri, &pki.shown("alice")).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stderr.contains("others may read the key"), "{run:?}");
    assert!(run.stderr.contains("chmod 600 "), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_servers_certificate_is_told() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let other = Pki::new(&world, "other").await;
    let socket = agent(&world);
    let uri = format!("https://{}", Files::of(&pki.folder(), "node1").open(&socket).await);

    let place = pki.folder().join("clients/alice");
    let foreign =
        shown(&other.folder().join("ca.pem"), &place.join("client.pem"), &place.join("client.key"));
    let run = status(&world, &uri, &foreign).await;
    refused(&run, &["shows a certificate that \"agentd CA ", "other/ca.pem does not hold", "--ca"]);

    let port = uri.rsplit(':').next().unwrap();
    let run = status(&world, &format!("https://localhost:{port}"), &pki.shown("alice")).await;
    refused(
        &run,
        &[
            "shows a certificate for node1, 127.0.0.1, and not for localhost",
            "--server-name node1",
            "memctl ca issue-server node1 --san 127.0.0.1 --san localhost --renew",
        ],
    );

    let forged =
        |(cert, key): (PathBuf, PathBuf)| Files { cert, key, ..Files::of(&pki.folder(), "node1") };
    let expired = forged(pki.forged("expired", |params| params.not_after = days_from_now!(-1)));
    let uri = format!("https://{}", expired.open(&socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    refused(
        &run,
        &["shows a certificate that expired on ", "memctl ca issue-server alice --renew"],
    );

    let early = forged(pki.forged("early", |params| params.not_before = days_from_now!(1)));
    let uri = format!("https://{}", early.open(&socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    refused(&run, &["shows a certificate that is not valid before ", "timedatectl"]);

    let client = forged(pki.forged("client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }));
    let uri = format!("https://{}", client.open(&socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    refused(&run, &["shows a certificate that is no server's"]);
}

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(Duration);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now) + self.0))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_the_agent_refuses_our_certificate_is_told() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let other = Pki::new(&world, "other").await;
    let socket = agent(&world);
    let files = Files::of(&pki.folder(), "node1");

    let strict = Files {
        client_ca: other.folder().join("ca.pem"),
        client_crl: None,
        ..Files::of(&pki.folder(), "node1")
    };
    let uri = format!("https://{}", strict.open(&socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    refused(&run, &["refuses us: it does not trust the CA that signed", "client_ca in [tls]"]);

    let mut config = files.config();
    config.time_provider = Arc::new(Ahead(Duration::from_secs(100 * 86_400)));
    let uri = format!("https://{}", door::open(config, &socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    let renewal = "memctl ca issue-client alice --role operator --renew";
    refused(&run, &["by its clock", "client.pem is not valid now", "timedatectl", renewal]);

    pki.done(&["revoke", "alice"]).await;
    let uri = format!("https://{}", files.open(&socket).await);
    let run = status(&world, &uri, &pki.shown("alice")).await;
    refused(&run, &["client.pem, serial number ", "was revoked", renewal]);
    let identity = pki.shown("alice");
    let watch: Vec<&str> =
        ["watch", "-H", &uri].into_iter().chain(identity.iter().map(String::as_str)).collect();
    refused(&world.run(&watch).await, &["was revoked"]);
    pki.done(&["issue-client", "alice", "--renew"]).await;
    assert_eq!(status(&world, &uri, &pki.shown("alice")).await.exit, 0);

    // A list that is out of date lets nobody in.
    let mut config = files.config();
    config.time_provider = Arc::new(Ahead(Duration::from_secs(370 * 86_400)));
    pki.done(&["issue-client", "carol", "--role", "reader", "--ttl", "400d"]).await;
    let uri = format!("https://{}", door::open(config, &socket).await);
    let run = status(&world, &uri, &pki.shown("carol")).await;
    refused(&run, &["client_crl", "memctl ca revoke writes it anew"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_agent_is_told() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let identity = pki.shown("alice");
    for (says, exit, reason, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], 5, "NOT_TLS", "not with TLS"),
        // A fatal alert: protocol_version.
        (&b"\x15\x03\x03\x00\x02\x02\x46"[..], 5, "TLS_VERSION", "does not speak TLS 1.3"),
        // A fatal alert: no_application_protocol.
        (&b"\x15\x03\x03\x00\x02\x02\x78"[..], 5, "NOT_AN_AGENT", "not HTTP/2"),
        (&b""[..], 4, "TLS_BROKEN_OFF", "broke off the TLS handshake"),
    ] {
        let uri = format!("https://{}", door::stranger(says).await);
        let run = status(&world, &uri, &identity).await;
        assert_eq!(run.exit, exit, "{run:?}");
        assert!(run.stderr.contains(said) && run.stderr.contains("hint: "), "{run:?}");
        let args = ["status", "-o", "json", "-H", &uri];
        let args: Vec<&str> = args.into_iter().chain(identity.iter().map(String::as_str)).collect();
        assert!(world.run(&args).await.stdout.contains(reason), "{reason}");
    }
    // Nobody listens there, and nobody else can.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    let run = status(&world, &format!("https://{address}"), &identity).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains("nobody listens on") && run.stderr.contains("[tls]"), "{run:?}");
    let mut config = Files::of(&pki.folder(), "node1").config();
    config.alpn_protocols.clear();
    let uri = format!("https://{}", door::open(config, &world.path("none.sock")).await);
    refused(&status(&world, &uri, &identity).await, &["speaks TLS, and not HTTP/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_closes_at_once_is_told_from_one_that_refuses() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    // Behind this door there is nobody.
    let door = Files::of(&pki.folder(), "node1").open(&world.path("none.sock")).await;
    let run = status(&world, &format!("https://{door}"), &pki.shown("alice")).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains("closed the connection before it said anything"), "{run:?}");
}
