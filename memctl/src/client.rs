//! Connections to agents: how they are made, and what a failed dial means. Knows nothing of
//! rendering.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::audit_service_client::AuditServiceClient;
use agentd_proto::v1::event_service_client::EventServiceClient;
use agentd_proto::v1::history_service_client::HistoryServiceClient;
use agentd_proto::v1::host_service_client::HostServiceClient;
use agentd_proto::v1::policy_service_client::PolicyServiceClient;
use agentd_proto::v1::reservation_service_client::ReservationServiceClient;
use agentd_proto::v1::shadow_service_client::ShadowServiceClient;
use agentd_proto::v1::vm_service_client::VmServiceClient;
use tonic::transport::Endpoint;

use crate::address::Address;
use crate::asked::Asked;
use crate::dial::{self, DialError, Link};
use crate::failure::{Code, Failure};
use crate::hosts::Host;

/// A live connection to one agent. Keep it for as long as a stream over it is read: HTTP/2
/// keepalive pings stop when the last handle goes, and a dead link is then never noticed.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: Asked,
    link: Arc<Link>,
}

impl Connection {
    /// Connects to `host`. The caller bounds the time.
    pub(crate) async fn open(host: &Host) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(host.address.to_endpoint_uri()).map_err(|error| {
            Failure::new(Code::Usage, "ADDRESS_INVALID", format!("{}: {error}", host.address))
        })?;
        let endpoint = endpoint
            .user_agent(concat!("memctl/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| Failure::new(Code::Internal, "USER_AGENT", error.to_string()))?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW);
        let link = Arc::new(Link::default());
        let dialled = async {
            match &host.address {
                Address::Unix(_) => endpoint.connect().await,
                Address::Ssh(_) | Address::Https { .. } => {
                    endpoint.connect_with_connector(dial::connector(host, &link)).await
                }
            }
        };
        let patience = host.connect_timeout.unwrap_or(Duration::MAX);
        let Ok(dialled) = tokio::time::timeout(patience, dialled).await else {
            return Err(no_connection(host, patience));
        };
        match dialled {
            Ok(channel) => Ok(Self { channel: Asked(channel), link }),
            Err(error) => Err(link.explained(dial_failure(&host.address, &error)).await),
        }
    }

    /// `failure`, or what is behind it: what the line knows of its end; of an agent that does not know
    /// what it is asked, its version.
    pub(crate) async fn explained(&self, failure: Failure) -> Failure {
        if failure.code != Code::Unimplemented {
            return self.link.explained(failure).await;
        }
        let status = self.hosts().get_status(v1::GetStatusRequest {}).await;
        // Nobody who does not say it is asked again.
        failure.of_agent(status.ok().map(|status| status.into_inner().agent_version).as_deref())
    }

    /// Client of the host's state and mode.
    pub(crate) fn hosts(&self) -> HostServiceClient<Asked> {
        HostServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the VMs.
    pub(crate) fn vms(&self) -> VmServiceClient<Asked> {
        VmServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the policy.
    pub(crate) fn policies(&self) -> PolicyServiceClient<Asked> {
        PolicyServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the shadow.
    pub(crate) fn shadows(&self) -> ShadowServiceClient<Asked> {
        ShadowServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of what is reserved.
    pub(crate) fn reservations(&self) -> ReservationServiceClient<Asked> {
        ReservationServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the history.
    pub(crate) fn histories(&self) -> HistoryServiceClient<Asked> {
        HistoryServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the audit.
    pub(crate) fn audits(&self) -> AuditServiceClient<Asked> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Client of the event stream.
    pub(crate) fn events(&self) -> EventServiceClient<Asked> {
        EventServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }
}

fn no_connection(host: &Host, patience: Duration) -> Failure {
    let what = format!("no connection to {} within {}s", host.address, patience.as_secs_f64());
    Failure::new(Code::Unavailable, "CONNECT_TIMEOUT", what)
        .hint("is the host up? A longer --connect-timeout waits longer")
}

/// What to say when an agent did not answer within `timeout`.
pub(crate) fn timed_out(host: &Host, timeout: Duration) -> Failure {
    Failure::new(
        Code::DeadlineExceeded,
        "TIMEOUT",
        format!("{} did not answer within {}s", host.address, timeout.as_secs_f64()),
    )
    .hint("is the host up and the agent running? A longer --timeout waits longer")
}

fn dial_failure(address: &Address, error: &tonic::transport::Error) -> Failure {
    let chain = causes(error);
    if let Some(DialError(failure)) = chain.iter().find_map(|e| e.downcast_ref::<DialError>()) {
        return failure.clone();
    }
    let kind =
        chain.iter().find_map(|e| e.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let words: Vec<String> = chain.iter().map(ToString::to_string).collect();
    match address {
        Address::Unix(path) => unix_failure(&path.display().to_string(), kind, &words),
        Address::Ssh(_) | Address::Https { .. } => {
            let what = format!("cannot connect to {address}: {}", last(&words));
            unreachable("CONNECT_FAILED", what)
        }
    }
}

fn unix_failure(path: &str, kind: Option<ErrorKind>, words: &[String]) -> Failure {
    if !cfg!(unix) {
        let what = format!(
            "unix://{path} is a socket of Unix, which memctl does not reach on this system"
        );
        return Failure::new(Code::InvalidArgument, "NO_UNIX_SOCKETS", what)
            .hint("reach the host by ssh://HOST or https://HOST");
    }
    match kind {
        Some(ErrorKind::NotFound) => {
            unreachable("SOCKET_MISSING", format!("there is no socket {path}"))
                .hint(format!("start the agent there: agentd run --listen unix://{path}"))
        }
        Some(ErrorKind::ConnectionRefused) => {
            unreachable("CONNECTION_REFUSED", format!("nobody listens on {path}"))
                .hint("the agent stopped and left its socket: start it again with agentd run")
        }
        Some(ErrorKind::PermissionDenied) => Failure::new(
            Code::PermissionDenied,
            "SOCKET_PERMISSION",
            format!("you may not open {path}"),
        )
        .hint("become root, or a member of the socket's group: ls -l shows it, usermod -aG adds"),
        _ => unreachable("CONNECT_FAILED", format!("cannot connect to {path}: {}", last(words))),
    }
}

fn unreachable(reason: &str, message: String) -> Failure {
    Failure::new(Code::Unavailable, reason, message)
}

fn last(words: &[String]) -> &str {
    words.last().map_or("no reason given", String::as_str)
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Vec<&'a (dyn std::error::Error + 'static)> {
    // A chain of causes is short; the bound only guards against one that loops.
    std::iter::successors(Some(error), |e| e.source()).take(16).collect()
}

/// A ping every so often, and this long for its answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Small, so that an agent learns within seconds, not hours, that we do not read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Agents keep messages below 1 MiB; this leaves room for a very large host.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
