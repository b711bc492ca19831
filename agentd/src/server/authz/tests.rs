//! The table beside the descriptors and the operator's book, and the layer with callers of every
//! kind, above all those that come with certificates.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use agentd_proto::DESCRIPTORS;
use http_body::{Body as _, Frame};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time;
use tonic::{
    Code,
    body::Body,
    codegen::{Bytes, Service, http},
};
use tonic_types::StatusExt as _;

use super::{table::RULES, *};
use crate::{
    clock::VirtualClock,
    server::tls::{End, Lease},
};

#[test]
fn every_method_has_a_rule_and_every_rule_a_method() {
    let sets = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = BTreeSet::new();
    for file in sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file) {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    let rules: BTreeSet<String> = RULES.iter().map(|rule| rule.path.to_owned()).collect();
    assert_eq!(rules, methods);
    assert_eq!(rules.len(), RULES.len(), "a method has two rules");
}

/// A row for each role, with the calls that it adds.
#[test]
fn the_operators_book_has_the_table() {
    let book = include_str!("../../../../docs/OPERATING.md");
    let section = book.split("## Who may do what").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let roles = Role::ALL.map(Some).into_iter().chain([None]);
    for least in roles {
        let head = format!("| {} | ", least.map_or("anybody", Role::name));
        let row = section.lines().find_map(|line| line.strip_prefix(&head)).unwrap();
        let calls = row.split('|').next().unwrap();
        let named: BTreeSet<&str> = calls.split('`').skip(1).step_by(2).collect();
        let rules = RULES.iter().filter(|rule| rule.least == least);
        let expected: BTreeSet<&str> = rules
            .map(|rule| rule.path.trim_start_matches('/').trim_start_matches("agentd.v1."))
            .collect();
        assert_eq!(named, expected, "{least:?}");
    }
}

/// Services that count their calls, and answer with a body that never ends.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl Service<http::Request<Body>> for Counting {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert!(request.extensions().get::<Caller>().is_some());
        self.0.fetch_add(1, Ordering::SeqCst);
        ready(Ok(http::Response::new(Body::new(Endless))))
    }
}

struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

/// A layer with counting services behind it.
struct Rig {
    clock: Arc<VirtualClock>,
    authz: Arc<Authz>,
    calls: Counting,
    denied: Arc<AtomicUsize>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        clock.advance_to(Duration::from_secs(1000));
        let nobody = Database { groups_of: |_| Vec::new(), number_of: |_| None };
        let authz = Authz::with(AuthzConfig::default(), clock.clone(), nobody);
        Self { clock, authz: Arc::new(authz), calls: Counting::default(), denied: Arc::default() }
    }

    async fn call(&self, path: &str, peer: Option<Peer>) -> http::Response<Body> {
        self.call_until(path, peer, None).await
    }

    async fn call_until(
        &self,
        path: &str,
        peer: Option<Peer>,
        lease: Option<Lease>,
    ) -> http::Response<Body> {
        let mut request = http::Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(lease) = lease {
            request.extensions_mut().insert(lease);
        }
        let denied = Arc::clone(&self.denied);
        let on_denial = OnDenial::new(move |_, _, _| {
            denied.fetch_add(1, Ordering::SeqCst);
        });
        let mut layer = Guarded::new(self.calls.clone(), Arc::clone(&self.authz), on_denial);
        layer.call(request).await.unwrap()
    }

    fn calls(&self) -> usize {
        self.calls.0.load(Ordering::SeqCst)
    }
}

fn remote(name: &str, organizations: &[&str]) -> Peer {
    Peer::Remote {
        address: SocketAddr::from(([192, 0, 2, 7], 51_234)),
        certificate: Arc::new(Certificate {
            name: name.to_owned(),
            organizations: organizations.iter().map(ToString::to_string).collect(),
            serial: "0badcafe".to_owned(),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(2000),
        }),
    }
}

fn status(response: &http::Response<Body>) -> Option<Status> {
    Status::from_header_map(response.headers())
}

fn is_served(response: &http::Response<Body>) -> bool {
    status(response).is_none()
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// How a stream ends.
async fn end(response: http::Response<Body>) -> Status {
    assert!(is_served(&response), "{:?}", status(&response));
    let mut body = response.into_body();
    let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
    let frame = time::timeout(Duration::from_secs(60), frame).await.unwrap();
    let trailers = frame.unwrap().unwrap().into_trailers().unwrap();
    assert!(body.is_end_stream());
    Status::from_header_map(&trailers).unwrap()
}

#[tokio::test]
async fn every_role_of_a_certificate_reaches_what_it_may_and_nothing_else() {
    let rig = Rig::new();
    let roles = [None].into_iter().chain(Role::ALL.map(Some));
    let (mut cells, mut reached) = (0, 0);
    for role in roles {
        for rule in &RULES {
            // A name for each, so that none has asked too often.
            let organizations: Vec<&str> = role.map(Role::organization).into_iter().collect();
            let peer = remote(&format!("{role:?} {}", rule.path), &organizations);
            let answer = rig.call(rule.path, Some(peer)).await;
            cells += 1;
            if role >= rule.least {
                reached += 1;
                assert!(is_served(&answer), "{role:?} {}", rule.path);
            } else {
                let refused = status(&answer).unwrap();
                assert_eq!(refused.code(), Code::PermissionDenied, "{role:?} {}", rule.path);
                assert_eq!(reason(&refused), "ROLE_MISSING");
                let facts = refused.get_error_details().error_info().unwrap().metadata.clone();
                assert_eq!(facts["method"], rule.path.trim_start_matches('/'));
                assert_eq!(facts["needed"], rule.least.unwrap().name());
            }
            assert_eq!(rig.calls(), reached, "{role:?} {}", rule.path);
        }
    }
    assert_eq!(cells, 4 * RULES.len());
    assert_eq!(rig.denied.load(Ordering::SeqCst), cells - reached, "each is told of");
}

#[tokio::test]
async fn whoever_is_not_known_or_asks_for_what_is_not_there_reaches_nothing() {
    let rig = Rig::new();
    let unknown = Peer::Local { uid: None, gid: None };
    for rule in &RULES {
        for peer in [None, Some(unknown.clone())] {
            let refused = status(&rig.call(rule.path, peer).await).unwrap();
            assert_eq!(refused.code(), Code::Unauthenticated, "{}", rule.path);
        }
    }
    let admin = || Some(remote("root", &["agentd:admin"]));
    for path in ["/", "/agentd.v1.HostService/", "/agentd.v1.HostService/getStatus", "/x/y?z"] {
        let refused = status(&rig.call(path, admin()).await).unwrap();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
        let refused = status(&rig.call(path, Some(remote("kim", &[]))).await).unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied, "{path}");
    }
    assert_eq!(rig.calls(), 0);
}

#[tokio::test]
async fn the_most_of_several_roles_counts_and_what_is_no_role_is_shown() {
    let rig = Rig::new();
    let several = ["Example Inc.", "agentd:operator", "agentd:admn", "agentd:reader"];
    let caller = rig.authz.caller(&remote("kim", &several)).await.unwrap();
    assert_eq!(caller.role, Some(Role::Operator));
    assert_eq!(caller.grounds, "organization agentd:operator");
    assert_eq!(caller.idle_organizations(), ["Example Inc.", "agentd:admn"]);
    let caller = rig.authz.caller(&remote("kim", &["AGENTD:ADMIN", "admin"])).await.unwrap();
    assert_eq!(caller.role, None);
    let refused = status(&rig.call("/agentd.v1.HostService/SetMode", Some(caller.peer)).await);
    assert_eq!(
        refused.unwrap().message(),
        "agentd.v1.HostService/SetMode needs the role operator, and kim has none: ask whoever \
         issues the certificates for one with the organization agentd:operator"
    );
}

#[tokio::test]
async fn no_certificate_passes_for_somebody_who_has_none() {
    let rig = Rig::new();
    for name in ["uid:0", "config", "agent", "others"] {
        let admin = remote(name, &["agentd:admin"]);
        let refused =
            status(&rig.call("/agentd.v1.HostService/WhoAmI", Some(admin)).await).unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(reason(&refused), "IDENTITY_RESERVED");
    }
}

const WATCH: &str = "/agentd.v1.EventService/Watch";

#[tokio::test]
async fn a_stream_ends_when_its_certificate_does() {
    let rig = Rig::new();
    rig.clock.advance_to(Duration::from_millis(1_999_950));
    let reader = remote("kim", &["agentd:reader"]);
    let stream = rig.call(WATCH, Some(reader.clone())).await;
    rig.clock.advance_to(Duration::from_secs(2000));
    let ended = end(stream).await;
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::Unauthenticated, "CERTIFICATE_EXPIRED".to_owned())
    );
    let refused = status(&rig.call(WATCH, Some(reader)).await).unwrap();
    assert_eq!(reason(&refused), "CERTIFICATE_EXPIRED");
}

#[tokio::test]
async fn a_stream_ends_when_its_connection_is_told_to() {
    let rig = Rig::new();
    let ((tell, lease), reader) = (Lease::new(), remote("kim", &["agentd:reader"]));
    let stream = rig.call_until(WATCH, Some(reader), Some(lease)).await;
    let end = tokio::spawn(end(stream));
    tell.send_replace(Some(End::Refused("it was revoked".to_owned())));
    let ended = end.await.unwrap();
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::Unauthenticated, "CERTIFICATE_REFUSED".to_owned())
    );
}

#[tokio::test]
async fn a_stream_ends_under_rules_by_which_its_caller_has_no_role() {
    let rig = Rig::new();
    let root = Peer::Local { uid: Some(61_000), gid: None };
    let rules = |uids| AuthzConfig { local_admin_uids: uids, ..AuthzConfig::default() };
    rig.authz.replace(rules(vec![61_000]));
    let stream = rig.call(WATCH, Some(root)).await;
    let mut other = rig.call(WATCH, Some(remote("kim", &["agentd:reader"]))).await.into_body();
    let end = tokio::spawn(end(stream));
    rig.authz.replace(rules(vec![61_001]));
    assert_eq!(reason(&end.await.unwrap()), "ROLE_MISSING");
    let still =
        poll_fn(|context| Poll::Ready(Pin::new(&mut other).poll_frame(context).is_pending()));
    assert!(still.await);
}

#[tokio::test]
async fn an_identity_asks_so_often_and_the_next_one_as_often() {
    let rig = Rig::new();
    let ask = async |name: &str, path: &str| {
        let answer = rig.call(path, Some(remote(name, &["agentd:admin"]))).await;
        status(&answer).map(|refused| (refused.code(), reason(&refused)))
    };
    let exhausted = |reason: &str| Some((Code::ResourceExhausted, reason.to_owned()));
    for name in ["kim", "lee"] {
        for _ in 0..limits::CHANGES_EACH.burst {
            assert_eq!(ask(name, "/agentd.v1.PolicyService/UpdatePolicy").await, None);
        }
        let more = ask(name, "/agentd.v1.ReservationService/DeleteReservation").await;
        assert_eq!(more, exhausted("TOO_FAST"));
        // Neither is kept from looking, nor from a pause.
        assert_eq!(ask(name, "/agentd.v1.HostService/GetStatus").await, None);
        assert_eq!(ask(name, "/agentd.v1.HostService/SetMode").await, None);
    }
    let mut asked = 0;
    while ask("kim", "/agentd.v1.HostService/GetStatus").await.is_none() {
        asked += 1;
        assert!(asked < 10_000, "no bound");
    }
    assert!(asked >= limits::READS.burst - 2, "{asked}");
}

#[tokio::test]
async fn identities_are_remembered_in_bounded_number_and_those_with_streams_first() {
    let rig = Rig::new();
    let reader = |name: &str| Some(remote(name, &["agentd:reader"]));
    let stream = rig.call(WATCH, reader("kim")).await;
    for number in 0..limits::IDENTITIES * 2 {
        rig.call("/agentd.v1.HostService/GetStatus", reader(&format!("own{number}"))).await;
    }
    assert!(rig.authz.quotas.remembered() <= limits::IDENTITIES);
    let mut streams = vec![stream];
    for _ in 1..limits::STREAMS_EACH {
        streams.push(rig.call(WATCH, reader("kim")).await);
    }
    let refused = status(&rig.call(WATCH, reader("kim")).await).unwrap();
    assert_eq!(reason(&refused), "TOO_MANY_STREAMS");
    streams.pop();
    assert!(is_served(&rig.call(WATCH, reader("kim")).await));
}

#[tokio::test]
async fn those_who_run_agentd_and_those_in_the_list_are_admins() {
    let rig = Rig::new();
    let local = |uid| Peer::Local { uid: Some(uid), gid: Some(uid) };
    let own = geteuid().as_raw();
    for (uid, role) in [(0, Some(Role::Admin)), (own, Some(Role::Admin)), (61_000, None)] {
        assert_eq!(rig.authz.caller(&local(uid)).await.unwrap().role, role, "{uid}");
    }
}
