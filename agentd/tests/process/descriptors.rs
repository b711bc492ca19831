//! Clients that take all descriptors there are take none that a tick needs.

use std::{os::unix::net::UnixStream, process::Command};

use crate::rig::{AGENTD, Home, Ticks, giving};

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_every_descriptor_stop_no_tick_and_no_change() {
    let home = Home::with(&giving("ideal = true"), |_| String::new());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\"", AGENTD]);
    command.args(home.arguments(&home.path("state")));
    let agent = home.start_as(command).await;
    let mut ticks = Ticks::since_start(&agent).await;
    let early = agent.channel().await.unwrap();

    let crowd: Vec<UnixStream> =
        (0..300).map(|_| UnixStream::connect(home.path("agentd.sock")).unwrap()).collect();
    // Whoever came before is served, the tick goes on, and a change finds its files.
    let before = ticks.next().await.tick.tick;
    while ticks.next().await.tick.tick < before + 10 {}
    assert!(agent.status().await.is_err(), "there were descriptors to spare: this shows nothing");
    agent.set_floor_on(early, 65 << 20).await.unwrap();
    while !ticks.next().await.has_ordered() {}

    drop(crowd);
    agent.until_floor(65 << 20).await;
    assert!(!agent.has_condition("HISTORY_NOT_RECORDED").await);
}
