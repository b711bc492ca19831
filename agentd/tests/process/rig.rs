//! [`Agent`]: a real agentd on a small simulated host, and a client of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use agentd::clock::{Clock as _, RealClock};
use agentd_proto::v1 as wire;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use wire::{
    event_service_client::EventServiceClient, host_service_client::HostServiceClient,
    policy_service_client::PolicyServiceClient, watch_response::Body,
};

/// A running agentd; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    socket: PathBuf,
}

/// Its files.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with(SCENARIO, |_| String::new())
    }

    /// With another scenario, and a config.
    pub(crate) fn with(scenario: &str, config: impl FnOnce(&Self) -> String) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(home.path("scenario.toml"), scenario).unwrap();
        fs::write(home.path("agentd.toml"), config(&home)).unwrap();
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The arguments of an agentd with its state in this directory.
    pub(crate) fn arguments(&self, state: &Path) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        vec![
            "run".to_owned(),
            "--hypervisor".to_owned(),
            format!("sim:{}", text(self.path("scenario.toml"))),
            "--config".to_owned(),
            text(self.path("agentd.toml")),
            "--state-dir".to_owned(),
            state.display().to_string(),
            "--listen".to_owned(),
            format!("unix://{}", text(self.path("agentd.sock"))),
        ]
    }

    /// Starts an agentd and waits until it answers.
    pub(crate) async fn start(&self) -> Agent {
        let mut command = Command::new(AGENTD);
        command.args(self.arguments(&self.path("state")));
        self.start_as(command).await
    }

    /// As [`Home::start`], with the command that is given.
    pub(crate) async fn start_as(&self, command: Command) -> Agent {
        self.start_at(command, self.path("agentd.sock")).await
    }

    /// The same of one that listens on another socket.
    pub(crate) async fn start_at(&self, mut command: Command, socket: PathBuf) -> Agent {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut agent = Agent { child, socket };
        for _ in 0..PAUSES {
            if agent.status().await.is_ok() {
                return agent;
            }
            let exit = agent.child.try_wait().unwrap();
            assert!(exit.is_none(), "agentd ended with {exit:?}: {}", self.log());
            pause();
        }
        panic!("agentd does not answer: {}", self.log());
    }

    /// Waits until the log says something.
    pub(crate) fn until_log(&self, what: &str) {
        for _ in 0..PAUSES {
            if self.log().contains(what) {
                return;
            }
            pause();
        }
        panic!("not a word of {what}: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn channel(&self) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display())).unwrap();
        let connect = endpoint.timeout(LONG).connect().await;
        connect.map_err(|error| Status::unavailable(error.to_string()))
    }

    pub(crate) async fn status(&self) -> Result<wire::GetStatusResponse, Status> {
        let mut client = HostServiceClient::new(self.channel().await?);
        Ok(client.get_status(wire::GetStatusRequest {}).await?.into_inner())
    }

    pub(crate) async fn set_mode(&self, mode: wire::Mode) -> Result<wire::SetModeResponse, Status> {
        let mut client = HostServiceClient::new(self.channel().await?);
        let request = wire::SetModeRequest { mode: mode.into(), reason: "a test".to_owned() };
        Ok(client.set_mode(request).await?.into_inner())
    }

    pub(crate) async fn set_floor(&self, bytes: u64) -> Result<(), Status> {
        self.try_floor(bytes, None).await
    }

    /// Sets the floor, for so many seconds unless it is confirmed.
    pub(crate) async fn try_floor(&self, bytes: u64, seconds: Option<i64>) -> Result<(), Status> {
        Self::change_floor(self.channel().await?, bytes, seconds).await
    }

    /// Sets the floor over a channel that is open already.
    pub(crate) async fn set_floor_on(&self, channel: Channel, bytes: u64) -> Result<(), Status> {
        Self::change_floor(channel, bytes, None).await
    }

    async fn change_floor(
        channel: Channel,
        bytes: u64,
        seconds: Option<i64>,
    ) -> Result<(), Status> {
        let mut client = PolicyServiceClient::new(channel);
        let request = wire::UpdatePolicyRequest {
            policy: Some(wire::Policy { floor_bytes: Some(bytes), ..wire::Policy::default() }),
            revert_after: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["floor_bytes".to_owned()] }),
            ..wire::UpdatePolicyRequest::default()
        };
        client.update_policy(request).await.map(|_| ())
    }

    /// Sets the reserve of the host.
    pub(crate) async fn set_reserve(&self, bytes: u64) -> Result<(), Status> {
        let mut client = PolicyServiceClient::new(self.channel().await?);
        let paths = vec!["host_reserve_bytes".to_owned()];
        let policy = wire::Policy { host_reserve_bytes: Some(bytes), ..wire::Policy::default() };
        let request = wire::UpdatePolicyRequest {
            policy: Some(policy),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..wire::UpdatePolicyRequest::default()
        };
        client.update_policy(request).await.map(|_| ())
    }

    /// Why the policy in force is.
    pub(crate) async fn policy_reason(&self) -> String {
        let mut client = PolicyServiceClient::new(self.channel().await.unwrap());
        let policy = client.get_policy(wire::GetPolicyRequest {}).await.unwrap().into_inner();
        policy.current.unwrap().reason
    }

    pub(crate) async fn floor(&self) -> u64 {
        let mut client = PolicyServiceClient::new(self.channel().await.unwrap());
        let policy = client.get_policy(wire::GetPolicyRequest {}).await.unwrap().into_inner();
        policy.current.unwrap().policy.unwrap().floor_bytes.unwrap()
    }

    pub(crate) async fn until_floor(&self, bytes: u64) {
        for _ in 0..PAUSES {
            if self.floor().await == bytes {
                return;
            }
            pause();
        }
        panic!("the floor does not become {bytes}");
    }

    pub(crate) async fn has_condition(&self, reason: &str) -> bool {
        let status = self.status().await.unwrap();
        status.conditions.iter().any(|condition| condition.reason == reason)
    }

    /// Waits until a condition is there, or is not.
    pub(crate) async fn until_condition(&self, reason: &str, wanted: bool) {
        for _ in 0..PAUSES {
            if self.has_condition(reason).await == wanted {
                return;
            }
            pause();
        }
        panic!("{reason} does not become {wanted}");
    }

    /// Waits until a few more ticks are over.
    pub(crate) async fn until_ticks_go_on(&self) {
        let tick = self.status().await.unwrap().tick.unwrap_or(0);
        for _ in 0..PAUSES {
            if self.status().await.unwrap().tick.unwrap_or(0) >= tick + 3 {
                return;
            }
            pause();
        }
        panic!("no tick after tick {tick}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        for _ in 0..PAUSES {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            pause();
        }
        panic!("agentd does not end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ticks of an agentd, one after the other.
pub(crate) struct Ticks {
    stream: Streaming<wire::WatchResponse>,
}

/// One tick.
pub(crate) struct Told {
    /// When it began, on agentd's clock.
    pub(crate) began: Duration,
    pub(crate) tick: wire::Tick,
}

impl Ticks {
    /// From now on.
    pub(crate) async fn of(agent: &Agent) -> Self {
        Self::from(agent, None).await
    }

    /// From the first one on.
    pub(crate) async fn since_start(agent: &Agent) -> Self {
        Self::from(agent, Some(wire::watch_request::Start::Oldest(true))).await
    }

    async fn from(agent: &Agent, start: Option<wire::watch_request::Start>) -> Self {
        // Longer than a call may take.
        let uri = format!("unix://{}", agent.socket.display());
        let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
        let request = wire::WatchRequest { start, follow: true, ..wire::WatchRequest::default() };
        let stream = EventServiceClient::new(channel).watch(request).await.unwrap().into_inner();
        Self { stream }
    }

    pub(crate) async fn next(&mut self) -> Told {
        loop {
            let told = self.stream.message().await.unwrap().unwrap();
            if let Some(Body::Tick(tick)) = told.body {
                let took = tick.took.map_or(Duration::ZERO, |took| took.try_into().unwrap());
                let ended = Duration::from_nanos(told.monotonic_ns);
                return Told { began: ended.saturating_sub(took), tick };
            }
        }
    }
}

impl Told {
    /// True when the hypervisor was ordered anything.
    pub(crate) fn has_ordered(&self) -> bool {
        self.tick.resizes.iter().any(|resize| resize.ordered_bytes.is_some())
    }

    /// The reason of every verdict.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = String> {
        self.tick.vms.iter().filter_map(|vm| Some(vm.verdict.as_ref()?.reason.clone()))
    }
}

/// A scenario in which one VM gives memory to the host, tick by tick and longer than a test lasts;
/// `sim` is what else is said of the hypervisor.
pub(crate) fn giving(sim: &str) -> String {
    format!(
        "tick_interval = \"100ms\"\nseed = 1\n[sim]\n{sim}\n\
         [host]\ntotal = \"2000GiB\"\nother = \"1GiB\"\n\
         [[vm]]\nname = \"vm1\"\nmax = \"1000GiB\"\nactual = \"1000GiB\"\n\
         demand = \"150MiB\"\n"
    )
}

/// Runs an agentd that is to end by itself.
pub(crate) fn agentd(arguments: &[&str]) -> Output {
    Command::new(AGENTD).args(arguments).output().unwrap()
}

/// A moment, for whoever asks again and again.
pub(crate) fn pause() {
    RealClock::start().sleep(Duration::from_millis(10));
}

pub(crate) const AGENTD: &str = env!("CARGO_BIN_EXE_agentd");
/// Longer than anything here takes; only a hang is longer.
pub(crate) const LONG: Duration = Duration::from_secs(180);
/// As long, in pauses.
pub(crate) const PAUSES: u32 = 18_000;
pub(crate) const SCENARIO: &str = r#"
tick_interval = "100ms"
seed = 1
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[[vm]]
name = "vm1"
max = "2GiB"
actual = "512MiB"
demand = [{ at = "0s", used = "150MiB" }]
"#;
