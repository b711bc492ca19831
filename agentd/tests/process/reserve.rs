//! Reservations and the hardest of stops.

use agentd_proto::v1 as wire;
use wire::{ReservationState, reservation_service_client::ReservationServiceClient};

use crate::rig::{Agent, Home, PAUSES, pause};

/// Two idle VMs that hold nearly all there is.
const SCENARIO: &str = r#"
tick_interval = "100ms"
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[[vm]]
name = "web1"
max = "4GiB"
actual = "3GiB"
demand = "500MiB"
[[vm]]
name = "web2"
max = "4GiB"
actual = "3GiB"
demand = "500MiB"
"#;

fn request(vm: &str, gib: u64, seconds: i64) -> wire::CreateReservationRequest {
    wire::CreateReservationRequest {
        min_bytes: gib << 30,
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        vm: vm.to_owned(),
        request_id: format!("{gib} GiB for {seconds} s"),
        ..wire::CreateReservationRequest::default()
    }
}

async fn create(agent: &Agent, request: wire::CreateReservationRequest) -> wire::Reservation {
    let mut client = ReservationServiceClient::new(agent.channel().await.unwrap());
    let made = client.create_reservation(request).await.unwrap().into_inner();
    made.reservation.unwrap()
}

async fn until(agent: &Agent, id: u64, state: ReservationState) -> wire::Reservation {
    let mut client = ReservationServiceClient::new(agent.channel().await.unwrap());
    let mut last = None;
    for _ in 0..PAUSES {
        let request = wire::GetReservationRequest { id };
        let now = client.get_reservation(request).await.unwrap().into_inner().reservation.unwrap();
        if now.state() == state {
            return now;
        }
        last = Some(now);
        pause();
    }
    panic!("reservation {id} does not become {state:?}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_reservation_survives_sigkill_and_still_expires() {
    let home = Home::with(SCENARIO, |_| String::new());
    let agent = home.start().await;
    agent.until_ticks_go_on().await;
    // One that is there still however long the rest takes, and one that ends soon.
    let made = create(&agent, request("db7", 3, 3600)).await;
    let short = create(&agent, request("db8", 1, 10)).await;
    agent.kill();

    let agent = home.start().await;
    let filled = until(&agent, made.id, ReservationState::Filled).await;
    assert_eq!((filled.held_bytes, filled.lacks_bytes), (Some(3 << 30), Some(0)));
    assert_eq!(filled.expire_time, made.expire_time);
    // The request that was acknowledged before the kill makes no second one.
    assert_eq!(create(&agent, request("db7", 3, 3600)).await.id, made.id);
    agent.kill();

    let agent = home.start().await;
    let expired = until(&agent, short.id, ReservationState::Expired).await;
    assert!(expired.held_bytes.is_none() && expired.end_time.is_some());
    agent.kill();
    until(&home.start().await, short.id, ReservationState::Expired).await;
}
