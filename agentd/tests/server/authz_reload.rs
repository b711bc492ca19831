//! Rules of who may do what that change while callers are connected.

use std::{os::unix::net::UnixStream, time::Duration};

use agentd::config::{AuthzConfig, Group};
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
