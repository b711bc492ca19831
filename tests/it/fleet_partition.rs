//! A watch of several hosts over a network that fails: one is far away, one is cut off for longer than silence is
//! borne, one is on a line that died without a word, and one is restarted while nobody can reach it.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use agentd::clock::{Clock as _, RealClock};
use agentd_tests::certificates::{self, Authority};
use agentd_tests::lab::clock;
use agentd_tests::line::{Course, Line};
use serde_json::Value;

use crate::sim_host::{Agentd, LONG, SCENARIO, World, until};
use crate::told::{Told, compare};

#[test]
fn whatever_befalls_the_network_a_watch_says_what_it_misses_and_tells_nothing_twice() {
    let world = World::new(SCENARIO);
    let (_silent, port) = serve_over_tls(&world, "silent");
    let [_near, _far, _cut, dead] = SOCKETS.map(|host| world.start(host));
    let lines = SOCKETS.map(|host| line(&world, host));
    let [_, far, cut, reborn] = &lines;
    let silent = Line::between_ports(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    configure(&world, silent.port());
    far.set(Course::Late(Duration::from_millis(300)));
    let told = Told::start(&world);
    told.go_on(&HOSTS);

    cut.set(Course::Held);
    reborn.set(Course::Held);
    silent.lose();
    dead.kill();
    let _reborn = world.start("reborn");
    // Nobody tells memctl; it finds out by itself, and the others do not wait with it.
    for host in ["cut", "reborn", "silent"] {
        until("the loss to be told", || Ok(!losses(&told, host).is_empty()));
    }
    told.go_on(&["near", "far", "silent"]);
    cut.set(Course::Open);
    reborn.set(Course::Open);
    told.go_on(&HOSTS);

    for host in ["cut", "reborn", "silent"] {
        let loss = losses(&told, host).remove(0);
        assert_eq!(loss["error"]["code"], "UNAVAILABLE", "{loss}");
        let message = loss["error"]["message"].as_str().unwrap();
        assert!(message.contains(" was silent for "), "{loss}");
        assert!(loss["retry_in_seconds"].is_number(), "{loss}");
    }
    for host in ["near", "far"] {
        assert_eq!(losses(&told, host), Vec::<Value>::new());
    }
    let stream = told.end();
    let gaps = HOSTS.map(|host| compare(&world, host, &stream));
    let restarted = vec!["restarted".to_owned()];
    assert_eq!(gaps, [vec![], vec![], vec![], restarted, vec![]]);
}

/// What memctl has noticed of a host.
fn losses(told: &Told, host: &str) -> Vec<Value> {
    let mut news = told.records_of(host);
    news.retain(|record| record["type"] == "host" && record["state"] == "reconnecting");
    news
}

/// A line to a host's socket, "HOST.line".
fn line(world: &World, host: &str) -> Line {
    let from = world.path(&format!("{host}.line"));
    Line::between_sockets(&from, &world.socket(host)).unwrap()
}

/// An agentd that listens over TLS as well, and the port.
fn serve_over_tls(world: &World, host: &str) -> (Agentd, u16) {
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let folder = world.path("tls");
    fs::create_dir(&folder).unwrap();
    let tls = certificates::serve(&folder, &authority, &["127.0.0.1"]).unwrap();
    fs::write(world.path("agentd.toml"), tls).unwrap();
    let client = authority.issue(&authority.client("operator", "agentd:reader")).unwrap();
    client.write(&folder, "client").unwrap();
    let mut command = world.agentd(host);
    command.args(["--listen", "tcp://127.0.0.1:0"]);
    let agentd = world.start_as(host, command);
    let port = clock::wait_for("the port in the log", LONG, || Ok(port(&agentd.log()))).unwrap();
    // Those that are started from now on listen on their sockets alone.
    fs::write(world.path("agentd.toml"), "").unwrap();
    (agentd, port)
}

/// The port that a log says agentd listens on, once it does.
fn port(log: &str) -> Option<u16> {
    let rest = log.split("tcp://127.0.0.1:").nth(1)?;
    let (port, _) = rest.split_once(|c: char| !c.is_ascii_digit())?;
    port.parse().ok()
}

fn configure(world: &World, port: u16) {
    let mut text = "schema = 1\n".to_owned();
    for host in SOCKETS {
        let socket = world.path(&format!("{host}.line"));
        text.push_str(&format!("[hosts.{host}]\nuri = \"unix://{}\"\n", socket.display()));
    }
    let file = |name: &str| world.path("tls").join(name);
    let (ca, cert, key) = (file("clients.pem"), file("client.pem"), file("client.key"));
    text.push_str(&format!(
        "[hosts.silent]\nuri = \"https://127.0.0.1:{port}\"\n\
         ca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n"
    ));
    fs::create_dir(world.path("memctl")).unwrap();
    fs::write(world.path("memctl/config.toml"), text).unwrap();
}

/// Those that are reached by their sockets.
const SOCKETS: [&str; 4] = ["near", "far", "cut", "reborn"];
const HOSTS: [&str; 5] = ["near", "far", "cut", "reborn", "silent"];
