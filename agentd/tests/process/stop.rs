//! An orderly stop of the process.

use std::process::Command;

use agentd_proto::v1 as wire;
use wire::{event_service_client::EventServiceClient, watch_response::Body};

use crate::rig::Home;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_good_bye_to_watchers_and_leaves_no_socket() {
    for signal in ["TERM", "INT"] {
        let home = Home::new();
        let mut agent = home.start().await;
        let mut client = EventServiceClient::new(agent.channel().await.unwrap());
        let request = wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        agent.signal(signal);
        let mut farewell = false;
        while let Ok(Some(message)) = watch.message().await {
            farewell |= matches!(message.body, Some(Body::GoingAway(_)));
        }
        assert!(farewell);
        assert_eq!(agent.wait().code(), Some(0), "{}", home.log());
        assert!(!home.path("agentd.sock").exists());
        assert!(!home.log().contains("is stuck"), "{}", home.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_changes_nothing() {
    let home = Home::new();
    let agent = home.start().await;
    agent.signal("HUP");
    home.until_log("SIGHUP");
    agent.until_ticks_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_obeyed_while_a_reload_waits_for_its_file() {
    let home = Home::new();
    let mut agent = home.start().await;
    // A file that is never there to its end, as on a server that does not answer.
    let config = home.path("agentd.toml");
    std::fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    agent.signal("HUP");
    home.until_log("SIGHUP: the config is to be read again");
    agent.until_ticks_go_on().await;
    agent.signal("TERM");
    assert_eq!(agent.wait().code(), Some(0), "{}", home.log());
}
