//! Clients of a later version: what they say that this agent does not know.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use agentd_proto::v1 as wire;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::{
    Code,
    body::Body,
    codegen::{Service, http},
    transport::Channel,
};
use wire::{
    host_service_client::HostServiceClient, policy_service_client::PolicyServiceClient,
    reservation_service_client::ReservationServiceClient,
};

use crate::rig::{Rig, Watching};

/// A connection that puts these bytes behind what each request says, as fields that are not in our files.
#[derive(Clone)]
struct Newer {
    channel: Channel,
    more: Arc<[u8]>,
}

impl Service<http::Request<Body>> for Newer {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = tonic::transport::channel::ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let more = self.more.clone();
        self.channel.call(request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                frame.map_data(|data| {
                    // A request is one message, behind a byte and its length.
                    let (head, message) = data.split_at_checked(5).unwrap();
                    let length = u32::try_from(message.len() + more.len()).unwrap();
                    [&head[..1], &length.to_be_bytes(), message, &more].concat().into()
                })
            }))
        }))
    }
}

/// A field of this number that holds 7: `number << 3` for a number, in groups of seven bits.
fn field(number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3), &mut bytes);
    bytes.push(7);
    bytes
}

/// The same inside the message that is this field of the request.
fn field_within(outer: u8, number: u32) -> Vec<u8> {
    let inner = field(number);
    [vec![outer << 3 | 2, u8::try_from(inner.len()).unwrap()], inner].concat()
}

fn paths(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

fn policy(mask: &[&str]) -> wire::UpdatePolicyRequest {
    let policy = wire::Policy { floor_bytes: Some(128 << 20), ..wire::Policy::default() };
    wire::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: paths(mask),
        ..wire::UpdatePolicyRequest::default()
    }
}

/// The number of `policy` in its request.
const POLICY: u8 = 1;
/// No message of the wire has it.
const UNKNOWN_FIELD: u32 = 1000;
/// No enum of the wire has it.
const UNKNOWN: i32 = 17;

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_known_is_left_out_and_the_answer_shows_what_was_taken() {
    let rig = Rig::start();
    for more in [field(UNKNOWN_FIELD), field_within(POLICY, UNKNOWN_FIELD)] {
        let newer = Newer { channel: rig.channel().await, more: more.clone().into() };
        // It is in the request, and a later version would find it.
        let sent = [policy(&["*"]).encode_to_vec(), more].concat();
        assert_eq!(wire::UpdatePolicyRequest::decode(&*sent), Ok(policy(&["*"])));
        let mut client = PolicyServiceClient::new(newer);
        let answer = client.update_policy(policy(&["*"])).await.unwrap().into_inner();
        let taken = answer.current.unwrap().policy.unwrap();
        assert_eq!(taken.floor_bytes, Some(128 << 20));
        let request = wire::GetPolicyRequest {};
        let found = client.get_policy(request).await.unwrap().into_inner().current.unwrap();
        assert_eq!(found.policy, Some(taken), "what is told is what is in force");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_named_and_not_known_is_refused_with_all_that_comes_with_it() {
    let rig = Rig::start();
    let mut client = PolicyServiceClient::new(rig.channel().await);
    for unknown in ["calm_percent", "working_set.calm_percent", "vms.web1.calm"] {
        let request = policy(&["floor_bytes", unknown]);
        let refused = client.update_policy(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{unknown}: {refused:?}");
        assert!(refused.message().contains(unknown), "{refused:?}");
    }
    assert_eq!(rig.control.in_force().policy.number, 1, "nothing is changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_known_is_refused_and_never_taken_for_another() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let before = rig.control.in_force().mode;
    let mut hosts = HostServiceClient::new(rig.channel().await);
    let request = wire::SetModeRequest { mode: UNKNOWN, ..wire::SetModeRequest::default() };
    let refused = hosts.set_mode(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(rig.control.in_force().mode, before);
    // All kinds, which none would mean, is not what was asked for.
    let request = wire::WatchRequest { kinds: vec![UNKNOWN], ..wire::WatchRequest::default() };
    let refused = Watching::open(rig.channel().await, request).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_is_told_as_it_was_made_whatever_else_was_said_of_it() {
    let mut rig = Rig::start();
    rig.ticks(1).await;
    let newer = Newer { channel: rig.channel().await, more: field(UNKNOWN_FIELD).into() };
    let mut client = ReservationServiceClient::new(newer);
    let request = wire::CreateReservationRequest {
        min_bytes: 1 << 20,
        vm: "db7".to_owned(),
        ..wire::CreateReservationRequest::default()
    };
    let made = client.create_reservation(request).await.unwrap().into_inner().reservation.unwrap();
    assert_eq!((made.min_bytes, made.max_bytes, &*made.vm), (1 << 20, 1 << 20, "db7"));
}
