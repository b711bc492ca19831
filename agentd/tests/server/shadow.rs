//! The shadow: set, told of to whoever asks, summed up, taken away.

use agentd_proto::v1 as wire;
use tonic::Code;
use wire::{shadow_service_client::ShadowServiceClient, watch_request::Start};

use crate::rig::Rig;

fn wanted(words: &[&str]) -> wire::SetShadowRequest {
    let two_pointer = wire::TwoPointer { step_bytes: Some(20 << 20), ..Default::default() };
    let policy = wire::Policy {
        algorithm: "working-set".to_owned(),
        two_pointer: Some(two_pointer),
        ..Default::default()
    };
    let paths = words.iter().map(|word| (*word).to_owned()).collect();
    wire::SetShadowRequest {
        policy: Some(policy),
        update_mask: Some(prost_types::FieldMask { paths }),
        reason: "to see".to_owned(),
        validate_only: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_would_have_done_is_told_to_who_asks_and_summed_up() {
    let mut rig = Rig::start();
    let mut client = ShadowServiceClient::new(rig.channel().await);
    let none = client.get_shadow(wire::GetShadowRequest { ticks: 0 }).await.unwrap().into_inner();
    assert_eq!(none, wire::GetShadowResponse::default());

    let trial = wire::SetShadowRequest { validate_only: true, ..wanted(&["algorithm"]) };
    let told = client.set_shadow(trial).await.unwrap().into_inner().shadow.unwrap();
    assert_eq!(told.changes.first().unwrap().new_value, "working-set");
    let none = client.get_shadow(wire::GetShadowRequest { ticks: 0 }).await.unwrap().into_inner();
    assert_eq!(none.shadow, None, "it was checked and not set");

    client.set_shadow(wanted(&["two_pointer.step_bytes"])).await.unwrap();
    rig.tick(&["web1", "db1"], true).await;
    let start = || Some(Start::Oldest(true));
    for (asked, vms) in [(true, vec!["web1"]), (false, vec![])] {
        let request = wire::WatchRequest { start: start(), shadow: asked, ..Default::default() };
        let mut stream = rig.watch(request).await;
        stream.hello().await;
        let (_, tick) = stream.tick().await;
        assert_eq!(tick.shadow.is_some(), asked);
        let shadow = tick.shadow.unwrap_or_default();
        let names: Vec<_> = shadow.vms.iter().map(|vm| vm.vm.clone().unwrap().name).collect();
        assert_eq!(names, vms, "{shadow:?}");
    }
    let other = vec!["db1".to_owned()];
    let request =
        wire::WatchRequest { start: start(), shadow: true, vms: other, ..Default::default() };
    let mut stream = rig.watch(request).await;
    stream.hello().await;
    assert_eq!(stream.tick().await.1.shadow.unwrap().vms, [], "another VM's is left out");

    let report = client.get_shadow(wire::GetShadowRequest { ticks: 0 }).await.unwrap().into_inner();
    let (shadow, summary) = (report.shadow.unwrap(), report.summary.unwrap());
    assert_eq!((shadow.reason.as_str(), shadow.error.as_str()), ("to see", ""));
    assert!(shadow.actor.unwrap().id.starts_with("uid:"));
    assert_eq!((summary.ticks, summary.differed, summary.rejected), (1, 1, 0));
    let began = summary.vms[0].first.as_ref().unwrap().time;
    assert!(summary.since_time.is_some() && summary.since_time == began, "{summary:?}");
    let vm = summary.vms.first().unwrap();
    assert_eq!((vm.vm.as_ref().unwrap().name.as_str(), vm.differed), ("web1", 1));
    let last = vm.last.as_ref().unwrap();
    let (acting, shadow) = (last.acting.as_ref().unwrap(), last.shadow.as_ref().unwrap());
    assert_eq!(vm.less_bytes - vm.more_bytes, acting.amount_bytes - shadow.amount_bytes);

    let clear = |mut client: ShadowServiceClient<_>| async move {
        client.clear_shadow(wire::ClearShadowRequest {}).await.unwrap().into_inner().cleared
    };
    assert!(clear(client.clone()).await);
    assert!(!clear(client.clone()).await);
    rig.tick(&["web1", "db1"], true).await;
    let start = Some(Start::Tail(1));
    let request = wire::WatchRequest { start, shadow: true, ..Default::default() };
    let mut stream = rig.watch(request).await;
    stream.hello().await;
    assert_eq!(stream.tick().await.1.shadow, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_tick_on_which_only_the_shadow_moves_memory_is_a_change_to_who_asks() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let mut client = ShadowServiceClient::new(rig.channel().await);
    // Every VM has 300 MiB unused, which is enough under the policy in force.
    let mut careful = wanted(&["two_pointer.need_below_bytes"]);
    let two_pointer = wire::TwoPointer { need_below_bytes: Some(400 << 20), ..Default::default() };
    careful.policy = Some(wire::Policy { two_pointer: Some(two_pointer), ..Default::default() });
    client.set_shadow(careful).await.unwrap();
    rig.ticks(1).await;
    let all = wire::WatchRequest {
        start: Some(Start::Oldest(true)),
        only_changes: true,
        ..Default::default()
    };
    let names = |name: &str| vec![name.to_owned()];
    let cases = [
        (wire::WatchRequest { shadow: true, ..all.clone() }, vec![2]),
        (wire::WatchRequest { shadow: true, vms: names("web1"), ..all.clone() }, vec![2]),
        (wire::WatchRequest { shadow: true, vms: names("nobody"), ..all.clone() }, vec![]),
        (all, vec![]),
    ];
    for (request, expected) in cases {
        let mut stream = rig.watch(request.clone()).await;
        stream.hello().await;
        assert_eq!(stream.rest().await, expected, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_host_is_refused_once_that_is_known() {
    let mut rig = Rig::start();
    let mut client = ShadowServiceClient::new(rig.channel().await);
    let mut beyond = wanted(&["host_reserve_bytes"]);
    beyond.policy = Some(wire::Policy { host_reserve_bytes: Some(1 << 50), ..Default::default() });
    beyond.validate_only = true;
    client.set_shadow(beyond.clone()).await.unwrap();
    rig.ticks(1).await;
    let refused = client.set_shadow(beyond).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("must be less than the host's memory"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let rig = Rig::start();
    let mut client = ShadowServiceClient::new(rig.channel().await);
    let unknown = client.set_shadow(wanted(&["flaw_bytes"])).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    assert!(unknown.message().contains("flaw_bytes"), "{unknown}");
    let mut low = wanted(&["floor_bytes"]);
    low.policy = Some(wire::Policy { floor_bytes: Some(1 << 20), ..Default::default() });
    let low = client.set_shadow(low).await.unwrap_err();
    assert_eq!(low.code(), Code::InvalidArgument);
    assert!(low.message().contains("must be at least 16 MiB"), "{low}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_warned_of_what_a_change_would_be_warned_of() {
    let mut rig = Rig::start();
    let mut client = ShadowServiceClient::new(rig.channel().await);
    rig.ticks(1).await;
    let mut large = wanted(&["host_reserve_bytes", "two_pointer.step_bytes"]);
    let two_pointer = wire::TwoPointer { step_bytes: Some(2 << 30), ..Default::default() };
    large.policy = Some(wire::Policy {
        host_reserve_bytes: Some(9 << 30),
        two_pointer: Some(two_pointer),
        ..Default::default()
    });
    let told = client.set_shadow(large).await.unwrap().into_inner().warnings;
    let heads: Vec<_> = told.iter().filter_map(|told| told.split(':').next()).collect();
    assert_eq!(heads, ["two_pointer.step_bytes = 2 GiB", "host_reserve_bytes = 9 GiB"]);
    let told = client.set_shadow(wanted(&["algorithm"])).await.unwrap().into_inner().warnings;
    assert_eq!(told, Vec::<String>::new());
}
