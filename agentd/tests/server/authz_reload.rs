//! Rules of who may do what that change while callers are connected.

use std::{os::unix::net::UnixStream, time::Duration};

use agentd::{
    config::{AuthzConfig, Config, Group},
    server::Reloaded,
};
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use tonic::transport::Channel;

use crate::{
    authz::reason,
    matrix::call,
    rig::{ADMIN, LONG, NOBODYS, OPERATORS, Options, READERS, Rig, cannot_be_others},
};

const STATUS: &str = "/agentd.v1.HostService/GetStatus";
const WHO_AM_I: &str = "/agentd.v1.HostService/WhoAmI";

/// True once the other end of a line has closed it.
fn is_closed(line: &UnixStream) -> bool {
    send(line, &[], SendFlags::NOSIGNAL) == Err(Errno::PIPE)
}

async fn until_closed(line: &UnixStream) {
    let closed = async {
        while !is_closed(line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, closed).await.unwrap();
}

async fn is_served(channel: &Channel) -> bool {
    call(channel.clone(), STATUS).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_role_is_taken_away_is_cut_off_and_nobody_else() {
    if cannot_be_others("whose_role_is_taken_away_is_cut_off_and_nobody_else") {
        return;
    }
    let rig = Rig::start();
    let (reader, readers_line) = rig.line_as(NOBODYS, READERS).await;
    let (operator, operators_line) = rig.line_as(NOBODYS, OPERATORS).await;
    let (admin, admins_line) = rig.line_as(ADMIN, NOBODYS).await;
    let (nobody, nobodys_line) = rig.line_as(NOBODYS, NOBODYS).await;
    for channel in [&reader, &operator, &admin] {
        assert!(is_served(channel).await);
    }
    call(nobody.clone(), WHO_AM_I).await.unwrap();

    // The reader has none by these, the operator less than before, the admin as much.
    rig.reload(AuthzConfig {
        local_operator_groups: Vec::new(),
        local_reader_groups: vec![Group::Id(OPERATORS)],
        ..Options::default().authz
    });
    until_closed(&readers_line).await;
    call(reader, STATUS).await.unwrap_err();
    assert!(is_served(&operator).await && is_served(&admin).await);
    let refused = call(operator.clone(), "/agentd.v1.HostService/SetMode").await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_MISSING");
    // Who had no role has lost none.
    call(nobody.clone(), WHO_AM_I).await.unwrap();
    for line in [operators_line, admins_line, nobodys_line] {
        assert!(!is_closed(&line));
    }
    drop((operator, admin, nobody));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_makes_no_sense_leaves_the_rules_of_before_and_says_so() {
    let rig = Rig::start();
    let server = rig.server.as_ref().unwrap();
    let read = |text: &str| Config::parse("agentd.toml", text).map_err(Into::into);
    let told = || {
        let all = rig.publisher.conditions().all();
        all.into_iter()
            .find(|(name, _)| *name == "AUTHZ_RELOAD_FAILED")
            .map(|(_, told)| told.message)
    };
    let bad = read("[authz]\nlocal_admin_uids = [\"root\"]\n");
    server.reload_authz(bad).unwrap_err();
    let message = told().unwrap();
    assert!(message.contains("agentd.toml:2") && message.contains("local_admin_uids"), "{message}");
    assert!(message.contains("stays as [authz] said before"), "{message}");
    if !cannot_be_others("that the rules of before are in force") {
        assert!(is_served(&rig.channel_as(NOBODYS, READERS).await).await);
    }

    let good = "[authz]\nlocal_admin_uids = [0]\n";
    assert_eq!(server.reload_authz(read(good)).unwrap(), Reloaded::Other);
    assert_eq!(told(), None);
    assert_eq!(server.reload_authz(read(good)).unwrap(), Reloaded::Same);
}
