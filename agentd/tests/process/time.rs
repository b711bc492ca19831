//! agentd stopped as a whole, and then let go on: the world is another one by then.

use std::time::Duration;

use agentd::clock::{Clock as _, RealClock};

use crate::rig::{Home, Ticks, giving};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_of_more_than_three_ticks_it_observes_before_it_acts() {
    let home = Home::with(&giving(""), |_| String::new());
    let agent = home.start().await;
    let mut ticks = Ticks::since_start(&agent).await;
    let mut before = ticks.next().await;
    while !before.has_ordered() {
        before = ticks.next().await;
    }

    agent.signal("STOP");
    RealClock::start().sleep(STOPPED);
    agent.signal("CONT");
    let first = loop {
        let tick = ticks.next().await;
        // One that was under way has begun before.
        if tick.began.saturating_sub(before.began) >= STOPPED - Duration::from_secs(1) {
            break tick;
        }
        before = tick;
    };
    assert!(!first.has_ordered(), "the first tick ordered on figures of before");
    let reasons: Vec<String> = first.reasons().collect();
    assert!(reasons.iter().all(|reason| reason == "FIGURES_UNPROVEN"), "{reasons:?}");
    // And then it goes on.
    while !ticks.next().await.has_ordered() {}
}

/// More than three ticks, and than three times the longest call.
const STOPPED: Duration = Duration::from_secs(3);
