//! Agents of other versions: newer ones that say what this memctl does not know, by numbers of enums, by
//! fields and by whole messages, and older ones that do not know what they are asked.

use std::pin::Pin;

use agentd_proto::v1;
use agentd_proto::v1::event_service_server::{EventService, EventServiceServer};
use agentd_proto::v1::host_service_server::{HostService, HostServiceServer};
use agentd_proto::v1::policy_service_server::PolicyServiceServer;
use agentd_proto::v1::vm_service_server::{VmService, VmServiceServer};
use agentd_proto::v1::watch_response::Body;
use http_body_util::BodyExt as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tower::util::MapResponseLayer;

use crate::agent::{Agent, Script};
use crate::memctl::World;
use crate::sample;

/// A world with one host, whose agent is this.
fn served(routes: Routes) -> World {
    let world = World::new();
    world.configure(&["node1"]);
    let socket = UnixListener::bind(world.path("node1.sock")).unwrap();
    let router = Server::builder().layer(MapResponseLayer::new(with_more)).add_routes(routes);
    tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(socket)));
    world
}

/// An answer each of whose messages has two fields more than it should.
fn with_more(answer: Answer) -> Answer {
    answer.map(|body| {
        tonic::body::Body::new(body.map_frame(|frame| {
            frame.map_data(|data| {
                let mut rest = data.as_ref();
                let mut longer = Vec::with_capacity(data.len() + UNKNOWN_FIELDS.len());
                // A frame of HTTP/2 may have several messages, each behind a byte and its length.
                while let Some((head, after)) = rest.split_at_checked(5) {
                    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
                    let (message, next) = after.split_at(length.try_into().unwrap());
                    let more = length + u32::try_from(UNKNOWN_FIELDS.len()).unwrap();
                    longer.push(head[0]);
                    longer.extend_from_slice(&more.to_be_bytes());
                    longer.extend_from_slice(message);
                    longer.extend_from_slice(UNKNOWN_FIELDS);
                    rest = next;
                }
                longer.into()
            })
        }))
    })
}

type Answer = tonic::codegen::http::Response<tonic::body::Body>;

/// Field 1000, a number, and field 1001, a message with three bytes in it.
const UNKNOWN_FIELDS: &[u8] = &[0xc0, 0x3e, 7, 0xca, 0x3e, 3, 8, 9, 10];
/// No enum of the wire has it.
const UNKNOWN: i32 = 171;

/// An agent of a later version.
#[derive(Clone)]
struct Newer;

#[tonic::async_trait]
impl HostService for Newer {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let condition = v1::Condition { reason: "TOO_NEW".to_owned(), ..Default::default() };
        let memory = v1::HostMemory { level: UNKNOWN, ..sample::host_memory() };
        Ok(Response::new(v1::GetStatusResponse {
            agent_version: "99.1.0".to_owned(),
            mode: UNKNOWN,
            memory: Some(memory),
            conditions: vec![condition],
            ..sample::status()
        }))
    }

    async fn who_am_i(
        &self,
        _: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        Ok(Response::new(v1::WhoAmIResponse { role: UNKNOWN, ..sample::caller() }))
    }

    async fn set_mode(
        &self,
        request: Request<v1::SetModeRequest>,
    ) -> Result<Response<v1::SetModeResponse>, Status> {
        Ok(Response::new(v1::SetModeResponse {
            mode: request.into_inner().mode,
            previous_mode: UNKNOWN,
            durable: true,
            position: None,
        }))
    }
}

#[tonic::async_trait]
impl VmService for Newer {
    async fn list_vms(
        &self,
        _: Request<v1::ListVmsRequest>,
    ) -> Result<Response<v1::ListVmsResponse>, Status> {
        let mut vm = sample::vms().remove(0);
        vm.state = UNKNOWN;
        vm.verdict.get_or_insert_default().kind = UNKNOWN;
        vm.verdict.get_or_insert_default().reason = "NEVER_HEARD_OF".to_owned();
        Ok(Response::new(v1::ListVmsResponse { vms: vec![vm], ..Default::default() }))
    }

    async fn explain_vm(
        &self,
        _: Request<v1::ExplainVmRequest>,
    ) -> Result<Response<v1::ExplainVmResponse>, Status> {
        Ok(Response::new(v1::ExplainVmResponse { mode: UNKNOWN, ..sample::explanation() }))
    }
}

#[tonic::async_trait]
impl EventService for Newer {
    type WatchStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    /// A VM that changes into a state, and two entries of a kind, that nobody here knows.
    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let vm = Some(sample::vm_ref(1));
        let change = v1::VmChanged { vm, previous_state: 1, state: UNKNOWN };
        let unknown = |seq| v1::WatchResponse { body: None, ..sample::quiet_tick(seq) };
        let all = vec![
            sample::hello(40, 10_000),
            sample::message(41, Body::VmChanged(change)),
            unknown(42),
            unknown(43),
            sample::busy_tick(44),
        ];
        Ok(Response::new(Box::pin(tokio_stream::iter(all.into_iter().map(Ok)))))
    }
}

fn newer() -> World {
    let routes = Routes::new(HostServiceServer::new(Newer));
    served(
        routes.add_service(VmServiceServer::new(Newer)).add_service(EventServiceServer::new(Newer)),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_newer_memctl_knows_is_shown_by_its_number() {
    let world = newer();
    for (args, told) in [
        (&["status", "-o", "wide"][..], &["unknown(171)", "99.1.0"][..]),
        (&["status", "-o", "json"], &["\"mode\": \"unknown(171)\"", "\"level\": \"unknown(171)\""]),
        (&["vms"], &["UNKNOWN(171)", "NEVER_HEARD_OF", "web1"]),
        (&["vms", "-o", "json"], &["\"state\": \"unknown(171)\"", "\"kind\": \"unknown(171)\""]),
        (&["explain", "web1"], &["web1"]),
        (&["whoami"], &["unknown(171)", "99.1.0"]),
        (&["mode"], &["unknown(171)"]),
        (&["mode", "paused"], &["paused", "unknown(171)"]),
        (&["mode", "observe"], &["observe", "unknown(171)"]),
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 0, "{args:?}: {run:?}");
        for words in told {
            assert!(run.stdout.contains(words), "{args:?}: {words} is not in {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_for_a_while_says_that_it_cannot_go_back_to_a_mode_it_does_not_know() {
    let run = newer().run(&["mode", "paused", "--for", "1ms"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    let told = "node1: the mode before was unknown(171): it is not set back to that";
    assert!(run.stderr.contains(told), "{run:?}");
    assert!(!run.stderr.contains("the mode was so before"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_behind_what_is_not_known_and_says_once_that_it_is_left_out() {
    let world = newer();
    let run = world.run(&["watch", "--oldest", "--no-follow"]).await;
    assert_eq!(run.exit, 0, "{run:?}");
    assert!(run.stdout.contains("unknown(171)"), "a VM in a new state is not gone: {run:?}");
    assert!(run.stdout.contains("granted"), "what is behind it is shown: {run:?}");
    assert_eq!(run.stderr.matches("does not know is left out").count(), 1, "{run:?}");
    // For programs each of them is a record: nothing is missing without a word.
    let run = world.run(&["watch", "--oldest", "--no-follow", "-o", "json"]).await;
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unknown: Vec<_> = lines.iter().filter(|line| line["type"] == "unknown").collect();
    assert_eq!(
        unknown.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        [42, 43]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_do_not_speak_of_the_same_things_are_told_apart() {
    let world = newer();
    for args in [&["status"][..], &["whoami"], &["version"], &["doctor"]] {
        let run = world.run(args).await;
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("agentd 99.1.0 is newer than this memctl"), "{args:?}: {run:?}");
    }
    // What is of one version has nothing to say of it.
    let world = World::new();
    world.configure(&["node1"]);
    Agent::start(&world.path("node1.sock"), Script::default());
    for args in [&["status"][..], &["whoami"], &["version"]] {
        let run = world.run(args).await;
        assert!(!run.stderr.contains("this memctl"), "{args:?}: {run:?}");
    }
}

/// The status of an agent of an earlier version, which has no other service but the policy's.
#[derive(Clone)]
struct Older;

#[tonic::async_trait]
impl HostService for Older {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let agent_version = "0.0.9".to_owned();
        Ok(Response::new(v1::GetStatusResponse { agent_version, ..sample::status() }))
    }

    async fn who_am_i(
        &self,
        _: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        Err(Status::unimplemented("\"WhoAmI\" is no method of this agent"))
    }

    async fn set_mode(
        &self,
        _: Request<v1::SetModeRequest>,
    ) -> Result<Response<v1::SetModeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_agent_is_said_not_to_know_what_it_is_asked() {
    let world = served(Routes::new(HostServiceServer::new(Older)));
    for (args, method) in [
        (&["reserve", "1GiB"][..], "ReservationService/CreateReservation"),
        (&["vms"], "VmService/ListVms"),
        (&["watch", "--count", "1"], "EventService/Watch"),
        (&["policy", "get"], "PolicyService/GetPolicy"),
        (&["whoami"], "HostService/WhoAmI"),
        (&["mode", "paused"], "HostService/SetMode"),
    ] {
        let run = world.run(args).await;
        assert_eq!(run.exit, 3, "{args:?}: {run:?}");
        let told = format!("this agentd 0.0.9 does not know {method}");
        assert!(run.stderr.contains(&told), "{args:?}: {run:?}");
        assert!(run.stderr.contains("hint: update agentd on that host"), "{args:?}: {run:?}");
    }
    let run = world.run(&["vms", "-o", "json"]).await;
    assert!(run.stdout.contains("\"reason\": \"METHOD_UNKNOWN\""), "{run:?}");
    let run = world.run(&["status"]).await;
    assert!(run.stderr.contains("agentd 0.0.9 is older than this memctl"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_that_listens_there_is_not_taken_for_an_agent() {
    let policies = Agent::serve(Script::default());
    let world = served(Routes::new(PolicyServiceServer::new(policies)));
    let run = world.run(&["status"]).await;
    assert_eq!(run.exit, 3, "{run:?}");
    assert!(
        run.stderr.contains("what answers there does not know HostService/GetStatus"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_agent_leaves_out_of_a_policy_is_no_success() {
    let world = World::new();
    world.configure(&["node1"]);
    let script = Script { forgets_working_set: true, ..Default::default() };
    let agent = Agent::start(&world.path("node1.sock"), script);
    let file = world.path("policy.toml");
    std::fs::write(&file, "floor = \"128MiB\"\nworking-set.shrink-percent = 30\n").unwrap();
    let file = file.display().to_string();
    for command in ["apply", "diff"] {
        let run = world.run(&["policy", command, "-f", &file]).await;
        assert_eq!(run.exit, 3, "{run:?}");
        let told = "the agent would leave out working-set.shrink-percent=30";
        assert!(run.stderr.contains(told), "{run:?}");
    }
    assert!(agent.script().updates.iter().all(|update| update.validate_only), "nothing is changed");
    let run = world.run(&["policy", "set", "floor=128MiB"]).await;
    assert_eq!(run.exit, 0, "what it knows it takes: {run:?}");
}
