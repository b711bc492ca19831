//! `memctl ca`: what is issued says what it should, is its owner's alone, and takes no other's place
//! unasked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use x509_parser::pem::Pem;

use crate::agent::{Agent, Script};
use crate::door::Files;
use crate::memctl::World;
use crate::pki::Pki;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn pems(path: &Path) -> Vec<Pem> {
    Pem::iter_from_buffer(&std::fs::read(path).unwrap()).map(Result::unwrap).collect()
}

/// Serial numbers and times replaced by words, as they differ from run to run.
fn settled(text: &str) -> String {
    let belongs = |c: char| c.is_ascii_alphanumeric() || ":-".contains(c);
    let (mut out, mut word) = (String::new(), String::new());
    for c in text.chars().chain(['\n']) {
        if belongs(c) {
            word.push(c);
        } else {
            out.push_str(settled_word(&word));
            out.push(c);
            word.clear();
        }
    }
    out
}

fn settled_word(word: &str) -> &str {
    let is_hex = word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    let digits = word.chars().filter(char::is_ascii_digit).count();
    match word.len() {
        32 if is_hex => "SERIAL",
        8 if is_hex => "SHORT",
        // 2026-01-02T03:04:05Z, its day, and its time of day.
        20 if digits == 14 => "TIME",
        10 if digits == 8 && word.contains('-') => "DAY",
        9 if digits == 6 && word.ends_with('Z') => "TIME",
        _ => word,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_their_owners_alone_and_everything_is_where_it_was_said_to_be() {
    let world = World::new();
    let pki = Pki::new(&world, "memctl/pki").await;
    let folder = pki.folder();
    for (file, want) in [
        ("", 0o700),
        ("ca.key", 0o600),
        ("ca.pem", 0o644),
        ("crl.pem", 0o644),
        ("issued.json", 0o600),
        ("servers/node1/server.key", 0o600),
        ("servers/node1/server.pem", 0o644),
        ("clients/alice", 0o700),
        ("clients/alice/client.key", 0o600),
        ("clients/alice/client.pem", 0o644),
    ] {
        assert_eq!(mode(&folder.join(file)), want, "{file}");
    }
    // Nothing half-written is left behind.
    for place in ["", "servers", "clients", "servers/node1"] {
        for entry in std::fs::read_dir(folder.join(place)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with(".tmp") && !name.starts_with(".new"), "{name}");
        }
    }
    // Without --dir it is beside the configuration.
    let run = world.run(&["ca", "show", "-o", "name"]).await;
    assert!(run.stdout.ends_with("node1\nalice\n"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_say_who_and_what_and_for_how_long() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    pki.done(&["issue-server", "node2.lan", "--san", "10.0.0.5", "--san", "[fd00::1]"]).await;
    let issued = |file: &str| pems(&pki.folder().join(file)).remove(0);
    let now = Timestamp::now().as_second();
    let days = |at: i64| (at - now + 3600) / 86_400;

    let ca = issued("ca.pem");
    let ca = ca.parse_x509().unwrap();
    assert!(ca.is_ca() && ca.key_usage().unwrap().unwrap().value.crl_sign());
    assert_eq!(days(ca.validity().not_after.timestamp()), 3650);

    let server = issued("servers/node2.lan/server.pem");
    let server = server.parse_x509().unwrap();
    assert_eq!(server.issuer(), ca.subject());
    assert_eq!(days(server.validity().not_after.timestamp()), 365);
    let usage = server.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    let names = &server.subject_alternative_name().unwrap().unwrap().value.general_names;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].contains("node2.lan"), "{names:?}");

    let client = issued("clients/alice/client.pem");
    let client = client.parse_x509().unwrap();
    let age = now - client.validity().not_before.timestamp();
    assert!((300..360).contains(&age), "backdated by {age} s");
    assert_eq!(days(client.validity().not_after.timestamp()), 90);
    let usage = client.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    let subject = client.subject().to_string();
    assert!(subject.contains("CN=alice") && subject.contains("O=agentd:operator"), "{subject}");
    let curve = &client.public_key().algorithm.parameters.as_ref().unwrap();
    assert_eq!(curve.as_oid().unwrap().to_string(), "1.2.840.10045.3.1.7");
    assert_ne!(client.raw_serial(), server.raw_serial());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_takes_anothers_place_unasked() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let read = |file: &str| std::fs::read(pki.folder().join(file)).unwrap();
    let files = ["ca.key", "ca.pem", "servers/node1/server.key", "clients/alice/client.key"];
    let before: Vec<Vec<u8>> = files.iter().map(|file| read(file)).collect();
    for (args, hint) in [
        (&["init"][..], "memctl ca rotate"),
        (&["issue-server", "node1"], "--renew"),
        (&["issue-client", "alice", "--role", "admin"], "--renew"),
    ] {
        let run = pki.run(args).await;
        assert_eq!((run.exit, run.stdout.as_str()), (7, ""), "{run:?}");
        assert!(run.stderr.contains(hint), "{run:?}");
    }
    assert_eq!(files.iter().map(|file| read(file)).collect::<Vec<_>>(), before);
    // A renewal keeps names and role, and the one before stays known.
    pki.done(&["issue-server", "node1", "--renew"]).await;
    pki.done(&["issue-client", "alice", "--renew"]).await;
    let after: Vec<Vec<u8>> = files.iter().map(|file| read(file)).collect();
    assert_eq!(
        (&after[..2], after[2] == before[2], after[3] == before[3]),
        (&before[..2], false, false)
    );
    let run = pki.done(&["show", "-o", "wide", "--no-headers"]).await;
    let rows: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(rows.len(), 5, "{run:?}");
    assert!(rows[3].contains("node1,127.0.0.1"), "{run:?}");
    assert!(rows[4].starts_with("alice") && rows[4].contains("operator"), "{run:?}");
    // A folder that holds something else is left alone.
    let full = world.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "").unwrap();
    let run = world.run(&["ca", "init", "--dir", &full.display().to_string()]).await;
    assert_eq!(run.exit, 7, "{run:?}");
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let before = std::fs::read_to_string(pki.folder().join("issued.json")).unwrap();
    for (args, exit, said) in [
        (&["issue-client", "", "--role", "reader"][..], 2, "is empty"),
        (&["issue-client", "a/b", "--role", "reader"], 2, "has a slash"),
        (&["issue-client", "..", "--role", "reader"], 2, "has \"..\""),
        (&["issue-client", "a\nb", "--role", "reader"], 2, "has control characters"),
        (&["issue-client", "bob", "--role", "root"], 2, "reader, operator, admin"),
        (&["issue-client", "bob"], 2, "--role"),
        (&["issue-client", "bob", "--role", "reader", "--ttl", "90"], 2, "90"),
        (&["issue-client", "bob", "--role", "reader", "--ttl", "9999d"], 7, "outlive its CA"),
        (&["issue-server", "../node1"], 2, "has a slash"),
        (&["issue-server", "node1.lan", "--san", "https://node1"], 2, "is a URI"),
        (&["issue-server", "das haus"], 2, "--san node1.lan"),
        (&["revoke", "alise"], 6, "did you mean \"alice\"?"),
        (&["rotate", "--finish"], 7, "no rotation to finish"),
    ] {
        let run = pki.run(args).await;
        assert_eq!((run.exit, run.stdout.as_str()), (exit, ""), "{args:?} {run:?}");
        assert!(run.stderr.contains(said), "{args:?} {run:?}");
    }
    let after = std::fs::read_to_string(pki.folder().join("issued.json")).unwrap();
    assert_eq!(after, before);
    let run = world.run(&["ca", "show", "--dir", "/nonexistent"]).await;
    assert_eq!(run.exit, 6, "{run:?}");
    assert!(run.stderr.contains("memctl ca init"), "{run:?}");
    // A damaged index is not taken for an empty one.
    std::fs::write(pki.folder().join("issued.json"), "{").unwrap();
    let run = pki.run(&["revoke", "alice"]).await;
    assert_eq!(run.exit, 8, "{run:?}");
    assert!(run.stderr.contains("backup"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_in_the_list() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let list = || pems(&pki.folder().join("crl.pem"));
    let serials = |pem: &Pem| -> Vec<String> {
        let (_, list) = x509_parser::parse_x509_crl(&pem.contents).unwrap();
        let until = list.next_update().unwrap().timestamp();
        assert!(until > Timestamp::now().as_second() + 364 * 86_400);
        let revoked = list.iter_revoked_certificates();
        revoked.map(|one| one.raw_serial_as_string().replace(':', "")).collect()
    };
    assert!(serials(&list()[0]).is_empty());
    let run = pki.done(&["revoke", "alice"]).await;
    let note = "scp /tmp/memctl-FOLDER/pki/crl.pem root@HOST:/etc/agentd/tls/crl.pem";
    assert!(run.stderr.contains(note) && run.stderr.contains("client_crl"), "{run:?}");
    let shown = pki.done(&["show", "-o", "json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let alice = &shown["items"][2]["certificate"];
    assert_eq!((&alice["state"], &alice["role"]), (&"revoked".into(), &"operator".into()));
    assert_eq!(serials(&list()[0]), [alice["serial"].as_str().unwrap()]);
    // Once more there is nothing to revoke, and a serial number names one alone.
    assert_eq!(pki.run(&["revoke", "alice"]).await.exit, 7);
    let node1 = shown["items"][1]["certificate"]["serial"].as_str().unwrap();
    pki.done(&["revoke", node1]).await;
    assert_eq!(serials(&list()[0]).len(), 2);
    let ca = shown["items"][0]["certificate"]["serial"].as_str().unwrap();
    let run = pki.run(&["revoke", ca]).await;
    assert!(run.exit == 7 && run.stderr.contains("memctl ca rotate"), "{run:?}");
    // A name that is a server and a client is neither.
    pki.done(&["issue-server", "twin"]).await;
    pki.done(&["issue-client", "twin", "--role", "reader"]).await;
    let run = pki.run(&["revoke", "twin"]).await;
    assert!(run.exit == 8 && run.stderr.contains("by its serial number"), "{run:?}");
    // Written anew with less time, it is said to be due.
    pki.done(&["revoke", "--next-update", "3d"]).await;
    let run = pki.done(&["show"]).await;
    assert!(run.stderr.contains("agents that have it let nobody in"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_cuts_nobody_off() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let socket = world.path("agent.sock");
    Agent::start(&socket, Script::default());
    let reaches = async |uri: &str, client: &str| {
        let identity = pki.shown(client);
        let args = ["status", "-H", uri].into_iter().chain(identity.iter().map(String::as_str));
        world.run(&args.collect::<Vec<_>>()).await.exit
    };
    let files = Files::of(&pki.folder(), "node1");
    let run = pki.done(&["rotate"]).await;
    for step in ["1. copy ", "2. issue every certificate anew", "3. memctl ca rotate --finish"] {
        assert!(run.stderr.contains(step), "{run:?}");
    }
    assert_eq!(pems(&pki.folder().join("ca.pem")).len(), 2);
    assert_eq!(pems(&pki.folder().join("crl.pem")).len(), 2);
    assert_eq!(mode(&pki.folder().join("old-ca.key")), 0o600);
    // Server and client of the old CA, then a client of the new one, and a server.
    let uri = format!("https://{}", files.open(&socket).await);
    pki.done(&["issue-client", "bob", "--role", "reader"]).await;
    assert_eq!((reaches(&uri, "alice").await, reaches(&uri, "bob").await), (0, 0));
    let again = pki.run(&["rotate"]).await;
    assert!(again.exit == 7 && again.stderr.contains("--finish"), "{again:?}");
    let early = pki.run(&["rotate", "--finish"]).await;
    assert_eq!(early.exit, 7, "{early:?}");
    assert!(early.stderr.contains("node1 (server), alice (client)"), "{early:?}");
    pki.done(&["issue-server", "node1", "--renew"]).await;
    let uri = format!("https://{}", files.open(&socket).await);
    assert_eq!((reaches(&uri, "alice").await, reaches(&uri, "bob").await), (0, 0));
    // What the old CA signed can still be revoked.
    pki.done(&["revoke", "alice"]).await;
    let uri = format!("https://{}", files.open(&socket).await);
    assert_eq!((reaches(&uri, "alice").await, reaches(&uri, "bob").await), (5, 0));
    pki.done(&["rotate", "--finish"]).await;
    assert_eq!(pems(&pki.folder().join("ca.pem")).len(), 1);
    assert_eq!(pems(&pki.folder().join("crl.pem")).len(), 1);
    assert!(!pki.folder().join("old-ca.key").exists());
    let uri = format!("https://{}", files.open(&socket).await);
    assert_eq!((reaches(&uri, "alice").await, reaches(&uri, "bob").await), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_installed_where_agentd_looks_for_it() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let (etc, bin) = (world.path("etc"), world.path("bin"));
    std::fs::create_dir(&etc).unwrap();
    std::fs::create_dir(&bin).unwrap();
    let program = |name: &str, text: &str| {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    // The other machine has its files in this world, and no service.
    let there = format!("s|/etc/agentd|{}|g", etc.display());
    let path = format!("PATH={}:/usr/bin:/bin", bin.display());
    program("ssh", &format!("/bin/sed '{there}' | {path} /bin/sh"));
    program("systemctl", "exit 3");
    let config = "[listen]\naddresses = []\n[tls]\ncert = \"\"\nkey = \"\"\n\
                  client_ca = \"/mine.pem\"\nclient_crl = \"\"\n";
    std::fs::write(etc.join("agentd.toml"), config).unwrap();
    let folder = pki.folder().display().to_string();
    let args = ["ca", "--dir", &folder, "issue-server", "node2", "--install", "root@node2"];
    let child = world.command(&args).env("PATH", &bin).spawn().unwrap();
    let run = world.finish(child).await;
    assert_eq!(run.exit, 0, "{run:?}");
    for (there, here) in [
        ("ca.pem", "ca.pem"),
        ("crl.pem", "crl.pem"),
        ("server.pem", "servers/node2/server.pem"),
        ("server.key", "servers/node2/server.key"),
    ] {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let there = etc.join("tls").join(there);
        assert_eq!(read(&there), read(&pki.folder().join(here)));
        assert_eq!(mode(&there), 0o600);
    }
    // What nobody had named is named; what somebody did stays.
    let config = std::fs::read_to_string(etc.join("agentd.toml")).unwrap();
    let config = config.replace(&etc.display().to_string(), "ETC");
    let want = "[listen]\n\
                addresses = [\"unix:///run/agentd/agentd.sock\", \"tcp://[::]:7433\"]\n[tls]\n\
                cert = \"ETC/tls/server.pem\"\nkey = \"ETC/tls/server.key\"\n\
                client_ca = \"/mine.pem\"\nclient_crl = \"ETC/tls/crl.pem\"\n";
    assert_eq!(config, want);

    program("ssh", "echo 'root@node3: Permission denied (publickey).' >&2; exit 255");
    let args = ["ca", "--dir", &folder, "issue-server", "node3", "--install", "root@node3"];
    let child = world.command(&args).env("PATH", &bin).spawn().unwrap();
    let run = world.finish(child).await;
    assert_eq!(run.exit, 4, "{run:?}");
    assert!(run.stderr.contains("cannot install on root@node3: root@node3: Permission"), "{run:?}");
    assert!(pki.folder().join("servers/node3/server.key").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_are_one_after_the_other() {
    let world = World::new();
    let pki = Pki::new(&world, "pki").await;
    let lock = std::fs::File::open(pki.folder().join(".lock")).unwrap();
    lock.lock().unwrap();
    let run = pki.run(&["issue-server", "node2"]).await;
    assert!(run.exit == 7 && run.stderr.contains("another memctl"), "{run:?}");
    drop(lock);
    pki.done(&["issue-server", "node2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_in_every_format() {
    let world = World::new();
    let pki = Pki::new(&world, "memctl/pki").await;
    let mut text = String::new();
    pki.done(&["revoke", "node1"]).await;
    for format in ["table", "wide", "json", "jsonl", "yaml", "name"] {
        let args = ["-o", format, "--utc", "ca", "show"];
        text.push_str(&format!("$ memctl {}\n{}\n", args.join(" "), world.run(&args).await.stdout));
    }
    for args in [
        &["ca", "issue-server", "node2", "--san", "10.0.0.12", "--utc"][..],
        &["ca", "issue-client", "bob", "--role", "reader", "--utc"],
        &["ca", "issue-client", "bob", "--renew", "--default", "--utc"],
        &["ca", "revoke", "bob", "--utc"],
        &["ca", "rotate", "--utc"],
        &["ca", "rotate", "--finish", "--force"],
    ] {
        let run = world.run(args).await;
        text.push_str(&format!("$ memctl {}\n{}", args.join(" "), run.stdout));
        text.extend(run.stderr.lines().map(|line| format!("stderr: {line}\n")));
        text.push_str(&format!("exit: {}\n\n", run.exit));
    }
    crate::golden::compare("ca.txt", &squeezed(&settled(&text)));
}

/// Columns have the width of what was replaced in them.
fn squeezed(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{indent}{}\n", words.join(" "))
    });
    lines.collect()
}
