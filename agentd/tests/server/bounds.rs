//! What root has fixed in the config, which nothing that comes over the wire goes beyond.

use agentd::control::Bounds;
use agentd_core::bytes::ByteCount;
use agentd_proto::v1 as wire;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use wire::policy_service_client::PolicyServiceClient;

use crate::rig::{Options, Rig, default_policy};

const BOUNDS: Bounds = Bounds {
    floor: Some(ByteCount::mib(64)),
    host_reserve: Some(ByteCount::mib(200)),
    shrink_step: Some(ByteCount::mib(64)),
    shrink_percent: Some(50),
};

fn update(paths: &[&str], policy: wire::Policy) -> wire::UpdatePolicyRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    wire::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..wire::UpdatePolicyRequest::default()
    }
}

fn violated(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let all = &details.bad_request().unwrap().field_violations;
    all.iter().map(|one| (one.field.clone(), one.description.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sets_no_policy_beyond_what_root_has_fixed() {
    let rig = Rig::with(Options { bounds: BOUNDS, ..Options::default() });
    let mut client = PolicyServiceClient::new(rig.channel().await);
    let policy = wire::Policy::default;
    let percent = wire::WorkingSet { shrink_percent: Some(51), ..wire::WorkingSet::default() };
    let beyond = [
        (
            "floor_bytes",
            wire::Policy { floor_bytes: Some(63 << 20), ..policy() },
            "63 MiB: must be at least 64 MiB, floor",
        ),
        (
            "host_reserve_bytes",
            wire::Policy { host_reserve_bytes: Some(0), ..policy() },
            "0 B: must be at least 200 MiB, host_reserve",
        ),
        (
            "shrink_step_bytes",
            wire::Policy { shrink_step_bytes: Some(65 << 20), ..policy() },
            "65 MiB: must be at most 64 MiB, shrink_step",
        ),
        (
            "working_set.shrink_percent",
            wire::Policy { working_set: Some(percent), ..policy() },
            "51: must be at most 50, shrink_percent",
        ),
    ];
    for (field, policy, why) in &beyond {
        let why = format!("{why} in [bounds] of agentd's config, which root alone changes");
        for (validate_only, revert_after) in [(false, None), (true, None), (false, Some(60))] {
            let revert_after =
                revert_after.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
            let request = wire::UpdatePolicyRequest {
                validate_only,
                revert_after,
                ..update(&[field], policy.clone())
            };
            let refused = client.update_policy(request).await.unwrap_err();
            assert_eq!(violated(&refused), [((*field).to_owned(), why.clone())]);
        }
    }
    // A whole policy: what it leaves out is as built in, which is within; one that is not is refused whole.
    let whole =
        wire::Policy { floor_bytes: Some(1 << 26), shrink_step_bytes: Some(1 << 40), ..policy() };
    let whole = wire::Policy { algorithm: "working-set".to_owned(), ..whole };
    assert_eq!(violated(&client.update_policy(update(&["*"], whole)).await.unwrap_err()).len(), 1);
    let in_force = rig.control.in_force();
    assert_eq!((in_force.policy.number, &in_force.policy.policy), (1, &default_policy()));
    assert_eq!(rig.publisher.ring().span().newest, 0);

    let on_the_bound =
        wire::Policy { floor_bytes: Some(64 << 20), shrink_step_bytes: Some(32 << 20), ..policy() };
    client
        .update_policy(update(&["floor_bytes", "shrink_step_bytes"], on_the_bound))
        .await
        .unwrap();
    let told = client.get_policy(wire::GetPolicyRequest {}).await.unwrap().into_inner();
    let bounds = told.bounds.unwrap();
    assert_eq!((bounds.floor_bytes, bounds.shrink_percent), (Some(64 << 20), Some(50)));
}
