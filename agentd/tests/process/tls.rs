//! The files of `[tls]` under a running agentd.

use std::{
    fs, io::Read as _, net::TcpStream, os::unix::fs::PermissionsExt as _, process::Command,
    sync::Arc,
};

use agentd::clock::{Clock as _, RealClock};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};

use crate::{
    certificates::{self, Authority, Issued},
    rig::{AGENTD, Home, SCENARIO},
};

#[tokio::test]
async fn sighup_has_the_files_read_again_and_stops_nothing() {
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let tls = |home: &Home| certificates::serve(home.dir.path(), &authority, &["node1"]).unwrap();
    let home = Home::with(SCENARIO, tls);
    let mut command = Command::new(AGENTD);
    command.args(home.arguments(&home.path("state"))).args(["--listen", "tcp://127.0.0.1:0"]);
    let agent = home.start_as(command).await;
    home.until_log("tcp://127.0.0.1:");

    agent.signal("HUP");
    home.until_log("the files of [tls] were read again and are in force");
    fs::set_permissions(home.path("node1.key"), fs::Permissions::from_mode(0o644)).unwrap();
    agent.signal("HUP");
    agent.until_condition("TLS_RELOAD_FAILED", true).await;
    home.until_log("node1.key is open to others than its owner and the readers of its group (mode 644): chmod 600");
    fs::set_permissions(home.path("node1.key"), fs::Permissions::from_mode(0o600)).unwrap();
    agent.until_condition("TLS_RELOAD_FAILED", false).await;
    agent.until_ticks_go_on().await;
}

#[tokio::test]
async fn the_log_tells_who_was_refused_from_where_and_why() {
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let home = Home::with(SCENARIO, |home| {
        let denied = home.path("denied");
        fs::write(&denied, "name mallory\n").unwrap();
        let tls = certificates::serve(home.dir.path(), &authority, &["node1"]).unwrap();
        format!("{tls}client_deny = {denied:?}\n")
    });
    let mut command = Command::new(AGENTD);
    command.args(home.arguments(&home.path("state"))).args(["--listen", "tcp://127.0.0.1:0"]);
    let _agent = home.start_as(command).await;
    home.until_log("tcp://127.0.0.1:");
    let log = home.log();
    let port = log.split("tcp://127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = format!("127.0.0.1:{}", port.unwrap());

    let mallory = authority.issue(&authority.client("mallory", "agentd:admin")).unwrap();
    let mut stream = dial(&address, &authority, &mallory);
    stream.read_exact(&mut [0]).unwrap_err();
    let why = "the client's certificate is revoked, or on the deny list";
    home.until_log(&format!("{why} (mallory, serial {})", mallory.serial));
    assert!(home.log().contains("address=127.0.0.1:"), "{}", home.log());
}

/// A client that shows this certificate.
fn dial(
    address: &str,
    authority: &Authority,
    shows: &Issued,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(shows.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(shows.key.as_bytes()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("node1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(session, TcpStream::connect(address).unwrap())
}
