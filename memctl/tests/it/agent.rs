//! A scripted agent: a gRPC server on a Unix socket that answers what the test wrote down, refuses
//! what the test wants refused, and notes what it was asked.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use agentd_proto::v1;
use agentd_proto::v1::audit_service_server::AuditServiceServer;
use agentd_proto::v1::event_service_server::{EventService, EventServiceServer};
use agentd_proto::v1::history_service_server::{HistoryService, HistoryServiceServer};
use agentd_proto::v1::host_service_server::{HostService, HostServiceServer};
use agentd_proto::v1::policy_service_server::{PolicyService, PolicyServiceServer};
use agentd_proto::v1::reservation_service_server::ReservationServiceServer;
use agentd_proto::v1::shadow_service_server::{ShadowService, ShadowServiceServer};
use agentd_proto::v1::vm_service_server::{VmService, VmServiceServer};
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use crate::sample;

mod reservations; // what it says of them

/// What the agent does.
#[derive(Default)]
pub(crate) struct Script {
    /// Never answers GetStatus.
    pub(crate) hangs: bool,
    /// Never answers GetReservation.
    pub(crate) hangs_on_reservations: bool,
    /// No tick has read the VMs.
    pub(crate) unread: bool,
    /// Nothing is wrong, and this mode is in force.
    pub(crate) healthy_in: Option<v1::Mode>,
    /// The policy in force is a trial until then.
    pub(crate) trial_until: Option<prost_types::Timestamp>,
    /// The VM of this name is pinned for good.
    pub(crate) pins: Option<&'static str>,
    /// What is pinned for a while.
    pub(crate) timed_pins: Vec<v1::Pin>,
    /// Knows neither PinVm nor UnpinVm.
    pub(crate) knows_no_pins: bool,
    /// What vms and explain are told to be kept from being current by.
    pub(crate) caveats: Vec<v1::Condition>,
    /// Refuses every call but Watch with this.
    pub(crate) refuses: Option<Status>,
    /// Refuses UpdatePolicy that is not validate_only with this.
    pub(crate) refuses_change: Option<Status>,
    /// Answers UpdatePolicy that is not validate_only only when it is notified.
    pub(crate) holds_change: Option<Arc<Notify>>,
    /// What becomes of each SetMode, one after another; after the last one they are answered.
    pub(crate) mode_answers: VecDeque<ModeAnswer>,
    /// What each Watch gets, one after another; after the last one streams stay silent.
    pub(crate) streams: VecDeque<Vec<Step>>,
    /// Keeps no revision but the one in force.
    pub(crate) keeps_one_revision: bool,
    /// Knows no constants of working-set: takes a policy without them.
    pub(crate) forgets_working_set: bool,
    /// No shadow is set.
    pub(crate) has_no_shadow: bool,
    /// What was to be warned of before any change.
    pub(crate) standing_warnings: Vec<String>,
    /// Notes of what was asked.
    pub(crate) updates: Vec<v1::UpdatePolicyRequest>,
    pub(crate) pinned: Vec<v1::PinVmRequest>,
    pub(crate) unpinned: Vec<v1::UnpinVmRequest>,
    pub(crate) watches: Vec<v1::WatchRequest>,
    pub(crate) modes: Vec<v1::SetModeRequest>,
    pub(crate) reserves: Vec<v1::CreateReservationRequest>,
    pub(crate) released: Vec<u64>,
    pub(crate) audits: Vec<v1::ListAuditRequest>,
    pub(crate) lists: usize,
    pub(crate) histories: Vec<v1::ListHistoryRequest>,
    pub(crate) explains: Vec<v1::ExplainVmRequest>,
    /// Nothing is in the history.
    pub(crate) is_new: bool,
    /// What each GetReservation says, one after another; after the last one it is as it was made.
    pub(crate) reservations: VecDeque<v1::Reservation>,
    /// What was made before by whatever CreateReservation asks for.
    pub(crate) made_before: Option<v1::Reservation>,
    /// What ListReservations says; some that it has by itself where this is empty.
    pub(crate) listed: Vec<v1::Reservation>,
    /// Ticks that were taken in `Step::SendForever`.
    pub(crate) sent: u64,
}

/// What becomes of a SetMode.
pub(crate) enum ModeAnswer {
    Given,
    /// The mode is set, and nobody hears of it.
    Lost,
    Refused(Status),
}

/// One thing that a stream does.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Box<v1::WatchResponse>),
    Fail(Status),
    /// Sends ticks for as long as somebody takes them.
    SendForever,
    /// Waits for the test.
    Await(Arc<Notify>),
    /// Sends nothing more and stays open.
    FallSilent,
}

/// A running agent. Its server ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Agent {
    script: Arc<Mutex<Script>>,
    /// The epoch of its log: each agent has one of its own.
    epoch: String,
}

impl Agent {
    /// Starts an agent that listens on this socket when it returns.
    pub(crate) fn start(socket: &Path, script: Script) -> Self {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let agent = Self { epoch: epoch_of(socket), ..Self::serve(script) };
        tokio::spawn(agent.router().serve_with_incoming(incoming));
        agent
    }

    /// An agent for a server of the test's own.
    pub(crate) fn serve(script: Script) -> Self {
        Self { script: Arc::new(Mutex::new(script)), epoch: sample::EPOCH.to_owned() }
    }

    fn router(&self) -> tonic::transport::server::Router {
        tonic::transport::Server::builder()
            .add_service(HostServiceServer::new(self.clone()))
            .add_service(VmServiceServer::new(self.clone()))
            .add_service(PolicyServiceServer::new(self.clone()))
            .add_service(ReservationServiceServer::new(self.clone()))
            .add_service(ShadowServiceServer::new(self.clone()))
            .add_service(AuditServiceServer::new(self.clone()))
            .add_service(HistoryServiceServer::new(self.clone()))
            .add_service(EventServiceServer::new(self.clone()))
    }

    /// Looks into the script and its notes.
    pub(crate) fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// A position of the samples as one of this agent's log.
    fn own(&self, position: Option<v1::Position>) -> Option<v1::Position> {
        let position = position?;
        let is_sample = position.epoch == sample::EPOCH;
        let epoch = if is_sample { self.epoch.clone() } else { position.epoch };
        Some(v1::Position { epoch, ..position })
    }

    fn own_message(&self, mut message: v1::WatchResponse) -> v1::WatchResponse {
        message.position = self.own(message.position);
        if let Some(v1::watch_response::Body::Hello(hello)) = &mut message.body {
            hello.oldest = self.own(hello.oldest.take());
            hello.newest = self.own(hello.newest.take());
        }
        message
    }

    pub(crate) fn check(&self) -> Result<(), Status> {
        self.script().refuses.clone().map_or(Ok(()), Err)
    }
}

/// That of the samples for an agent on node1.sock, and others for others.
fn epoch_of(socket: &Path) -> String {
    let name = socket.file_stem().unwrap().to_str().unwrap();
    let digit = (name.bytes().map(u32::from).sum::<u32>() + 8) % 16;
    format!("{}{digit:x}", &sample::EPOCH[..31])
}

/// Steps that send these messages.
pub(crate) fn send(messages: Vec<v1::WatchResponse>) -> Vec<Step> {
    messages.into_iter().map(Box::new).map(Step::Send).collect()
}

#[tonic::async_trait]
impl HostService for Agent {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.check()?;
        if self.script().hangs {
            std::future::pending::<()>().await;
        }
        let status = match self.script().healthy_in {
            None => sample::status(),
            Some(mode) => v1::GetStatusResponse {
                mode: mode.into(),
                conditions: Vec::new(),
                ..sample::status()
            },
        };
        let position = self.own(status.position.clone());
        let policy_revert_time = self.script().trial_until;
        Ok(Response::new(v1::GetStatusResponse { position, policy_revert_time, ..status }))
    }

    async fn who_am_i(
        &self,
        _: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        self.check()?;
        Ok(Response::new(sample::caller()))
    }

    async fn set_mode(
        &self,
        request: Request<v1::SetModeRequest>,
    ) -> Result<Response<v1::SetModeResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let answer = v1::SetModeResponse {
            mode: request.mode,
            previous_mode: v1::Mode::Active.into(),
            durable: false,
            position: sample::position(43),
        };
        let next = {
            let mut script = self.script();
            script.modes.push(request);
            script.mode_answers.pop_front().unwrap_or(ModeAnswer::Given)
        };
        match next {
            ModeAnswer::Given => Ok(Response::new(answer)),
            ModeAnswer::Lost => std::future::pending().await,
            ModeAnswer::Refused(status) => Err(status),
        }
    }
}

#[tonic::async_trait]
impl VmService for Agent {
    /// A page holds one VM, so that every list takes several.
    async fn list_vms(
        &self,
        request: Request<v1::ListVmsRequest>,
    ) -> Result<Response<v1::ListVmsResponse>, Status> {
        self.check()?;
        self.script().lists += 1;
        if self.script().unread {
            return Ok(Response::new(v1::ListVmsResponse::default()));
        }
        let at: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let mut vms = sample::vms();
        let next_page_token = if at + 1 < vms.len() { (at + 1).to_string() } else { String::new() };
        Ok(Response::new(v1::ListVmsResponse {
            vms: vec![vms.remove(at)],
            next_page_token,
            tick: Some(41),
            tick_age: sample::millis(35_100),
            conditions: self.script().caveats.clone(),
        }))
    }

    async fn explain_vm(
        &self,
        request: Request<v1::ExplainVmRequest>,
    ) -> Result<Response<v1::ExplainVmResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let vm = request.vm.clone();
        self.script().explains.push(request);
        if vm != "web1" {
            return Err(Status::not_found(format!("no running VM is called \"{vm}\"")));
        }
        let (conditions, pin) = {
            let script = self.script();
            (script.caveats.clone(), script.timed_pins.first().cloned())
        };
        Ok(Response::new(v1::ExplainVmResponse { conditions, pin, ..sample::explanation() }))
    }
}

#[tonic::async_trait]
impl PolicyService for Agent {
    async fn get_policy(
        &self,
        _: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        self.check()?;
        let mut current = sample::revision(3);
        current.revert_time = self.script().trial_until;
        let pinned = v1::VmPolicy { pinned: Some(true), ..Default::default() };
        let pins = self.script().pins.map(|vm| (vm.to_owned(), pinned));
        current.policy.get_or_insert_default().vms.extend(pins);
        Ok(Response::new(v1::GetPolicyResponse {
            current: Some(current),
            defaults: Some(sample::default_policy()),
            bounds: Some(sample::bounds()),
            pins: self.script().timed_pins.clone(),
        }))
    }

    async fn pin_vm(
        &self,
        request: Request<v1::PinVmRequest>,
    ) -> Result<Response<v1::PinVmResponse>, Status> {
        self.check()?;
        let mut script = self.script();
        if script.knows_no_pins {
            return Err(Status::unimplemented("PinVm is no method of this agent"));
        }
        let request = request.into_inner();
        let pin = crate::pin::pin(1, request.duration.unwrap_or_default().seconds);
        let answer = v1::PinVmResponse {
            pin: Some(v1::Pin { reason: request.reason.clone(), ..pin }),
            replaced: script.timed_pins.first().cloned(),
            policy_pins: script.pins.is_some(),
            position: sample::position(43),
        };
        script.pinned.push(request);
        Ok(Response::new(answer))
    }

    async fn unpin_vm(
        &self,
        request: Request<v1::UnpinVmRequest>,
    ) -> Result<Response<v1::UnpinVmResponse>, Status> {
        self.check()?;
        let mut script = self.script();
        script.unpinned.push(request.into_inner());
        Ok(Response::new(v1::UnpinVmResponse {
            pin: script.timed_pins.first().cloned(),
            policy_pins: script.pins.is_some(),
            position: sample::position(43),
        }))
    }

    async fn update_policy(
        &self,
        request: Request<v1::UpdatePolicyRequest>,
    ) -> Result<Response<v1::UpdatePolicyResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let (held, refusal) = {
            let mut script = self.script();
            script.updates.push(request.clone());
            (script.holds_change.clone(), script.refuses_change.clone())
        };
        if !request.validate_only {
            if let Some(held) = held {
                held.notified().await;
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
        }
        let revert_time = request.revert_after.and_then(|after| sample::time(after.seconds));
        let mut current = v1::PolicyRevision { revert_time, ..sample::revision(4) };
        let policy = current.policy.get_or_insert_default();
        let wanted = request.policy.unwrap_or_default();
        // Messages one after another are one, in which the last value of each field counts.
        policy.merge(&*wanted.encode_to_vec()).unwrap();
        if self.script().forgets_working_set {
            policy.working_set = None;
        }
        Ok(Response::new(v1::UpdatePolicyResponse {
            current: Some(current),
            changes: sample::changes(),
            warnings: vec!["the step is above the reserve".to_owned()],
            standing_warnings: self.script().standing_warnings.clone(),
            position: sample::position(43),
        }))
    }

    async fn confirm_policy(
        &self,
        request: Request<v1::ConfirmPolicyRequest>,
    ) -> Result<Response<v1::ConfirmPolicyResponse>, Status> {
        self.check()?;
        if request.into_inner().etag != "e3" {
            return Err(Status::aborted("another policy is in force"));
        }
        Ok(Response::new(v1::ConfirmPolicyResponse { current: Some(sample::revision(3)) }))
    }

    async fn revert_policy(
        &self,
        request: Request<v1::RevertPolicyRequest>,
    ) -> Result<Response<v1::RevertPolicyResponse>, Status> {
        self.check()?;
        let revision = request.into_inner().revision;
        if revision > 3 {
            return Err(Status::not_found(format!("revision {revision} is not kept")));
        }
        Ok(Response::new(v1::RevertPolicyResponse {
            current: Some(sample::revision(4)),
            changes: if self.script().keeps_one_revision { Vec::new() } else { sample::changes() },
            position: sample::position(43),
        }))
    }

    /// A page holds one revision, so that every history takes several.
    async fn list_policy_revisions(
        &self,
        request: Request<v1::ListPolicyRevisionsRequest>,
    ) -> Result<Response<v1::ListPolicyRevisionsResponse>, Status> {
        self.check()?;
        let number: u64 = request.into_inner().page_token.parse().unwrap_or(3);
        let is_last = number == 1 || self.script().keeps_one_revision;
        let next_page_token = if is_last { String::new() } else { (number - 1).to_string() };
        let revisions = vec![sample::revision(number)];
        Ok(Response::new(v1::ListPolicyRevisionsResponse { revisions, next_page_token }))
    }
}

#[tonic::async_trait]
impl HistoryService for Agent {
    /// A page holds two points, so that every history takes several.
    async fn list_history(
        &self,
        request: Request<v1::ListHistoryRequest>,
    ) -> Result<Response<v1::ListHistoryResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.script().histories.push(request.clone());
        if self.script().is_new {
            return Ok(Response::new(v1::ListHistoryResponse::default()));
        }
        let at: usize = request.page_token.parse().unwrap_or(0);
        let mut page = sample::history(&request);
        let rest = page.points.split_off(at.min(page.points.len()));
        let is_last = rest.len() <= 2;
        page.points = rest.into_iter().take(2).collect();
        if at > 0 {
            page.changes.clear();
        }
        let next_page_token = if is_last { String::new() } else { (at + 2).to_string() };
        Ok(Response::new(v1::ListHistoryResponse { next_page_token, ..page }))
    }
}

type Messages = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Agent {
    type WatchStream = Messages;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Messages>, Status> {
        let mut script = self.script();
        let request = request.into_inner();
        let shadow = request.shadow;
        script.watches.push(request);
        let mut steps = script.streams.pop_front().unwrap_or_else(|| vec![Step::FallSilent]);
        if shadow && !script.has_no_shadow {
            steps.iter_mut().for_each(beside);
        }
        if let [Step::Fail(status)] = steps.as_slice() {
            return Err(status.clone());
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().play(steps, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Says of the first busy tick what the shadow would have done.
fn beside(step: &mut Step) {
    if let Step::Send(message) = step
        && let Some(v1::watch_response::Body::Tick(tick)) = &mut message.body
        && tick.tick == 2
    {
        tick.shadow = Some(sample::shadow_tick());
    }
}

#[tonic::async_trait]
impl ShadowService for Agent {
    async fn get_shadow(
        &self,
        _: Request<v1::GetShadowRequest>,
    ) -> Result<Response<v1::GetShadowResponse>, Status> {
        self.check()?;
        if self.script().has_no_shadow {
            return Ok(Response::new(v1::GetShadowResponse::default()));
        }
        let (shadow, summary) = (Some(sample::shadow()), Some(sample::shadow_summary()));
        Ok(Response::new(v1::GetShadowResponse { shadow, summary }))
    }

    async fn set_shadow(
        &self,
        request: Request<v1::SetShadowRequest>,
    ) -> Result<Response<v1::SetShadowResponse>, Status> {
        self.check()?;
        let reason = request.into_inner().reason;
        let shadow = Some(v1::Shadow { reason, ..sample::shadow() });
        Ok(Response::new(v1::SetShadowResponse { shadow, warnings: Vec::new() }))
    }

    async fn clear_shadow(
        &self,
        _: Request<v1::ClearShadowRequest>,
    ) -> Result<Response<v1::ClearShadowResponse>, Status> {
        self.check()?;
        Ok(Response::new(v1::ClearShadowResponse { cleared: true }))
    }
}

impl Agent {
    /// Plays the steps until nobody listens any more.
    async fn play(self, steps: Vec<Step>, sender: mpsc::Sender<Result<v1::WatchResponse, Status>>) {
        for step in steps {
            match step {
                Step::Send(message) => {
                    if sender.send(Ok(self.own_message(*message))).await.is_err() {
                        return;
                    }
                }
                Step::Fail(status) => {
                    // Whether anybody hears it is for the test to say.
                    let _ = sender.send(Err(status)).await;
                    return;
                }
                Step::SendForever => {
                    let mut seq = 1;
                    while sender.send(Ok(sample::busy_tick(seq))).await.is_ok() {
                        self.script().sent = seq;
                        seq += 1;
                    }
                    return;
                }
                Step::Await(go_on) => go_on.notified().await,
                Step::FallSilent => {
                    sender.closed().await;
                    return;
                }
            }
        }
    }
}
