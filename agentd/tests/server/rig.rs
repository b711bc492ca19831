//! A running server with everything behind it but a hypervisor: ticks are made by hand.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use agentd::{
    audit::{self, Audit, Limits},
    clock::{Clock, VirtualClock},
    config::{AuthzConfig, Group, TlsConfig},
    control::{
        Audience, Base, Bounds, Control, Mode, Parts, Pins, Reserved, Revision, Saved, SavedMode,
        Storage, StorageError,
    },
    event::{Event, TickRecord},
    publish::{Position, Publisher, Stamp},
    record::{Beside, Recorder},
    server::{About, Deps, Listen, Server, ServerConfig, ServerHandle, encode, encode_shadow},
    shadow::Shadow,
};
use agentd_core::{
    bytes::ByteCount,
    decide::decide,
    policy::Policy,
    reserve::{Reservation, ReservationId},
    sample::{Freshness, GuestFigures, HostMemory, RunState, Sample, Traits, VmSample},
    state::{Applied, Outcome, Resized, State},
    verdict::{Reason, Verdict},
    vm::VmId,
};
use agentd_proto::v1 as wire;
use hyper_util::rt::TokioIo;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint, Uri},
};
use wire::{event_service_client::EventServiceClient, watch_response::Body};

pub(crate) use crate::others::{ADMIN, NOBODYS, OPERATORS, READERS, cannot_be_others};
use crate::{
    disk::{Disk, Keeps, history},
    others::connect_as,
};

/// A running server.
pub(crate) struct Rig {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) control: Arc<Control>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) server: Option<ServerHandle>,
    pub(crate) disk: Disk,
    pub(crate) will: Will,
    pub(crate) dir: tempfile::TempDir,
    ticks: u64,
}

/// What may differ from rig to rig.
pub(crate) struct Options {
    pub(crate) ring_bytes: usize,
    pub(crate) keeps: Keeps,
    pub(crate) max_watchers: usize,
    /// Has it listen on TCP too.
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) bounds: Bounds,
    pub(crate) authz: AuthzConfig,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            keeps: Keeps::Nothing,
            max_watchers: 64,
            tls: None,
            bounds: Bounds::default(),
            authz: AuthzConfig {
                local_admin_uids: vec![0, ADMIN],
                local_operator_groups: vec![Group::Id(OPERATORS)],
                local_reader_groups: vec![Group::Id(READERS)],
            },
        }
    }
}

/// An audit in this directory.
fn audit(dir: &Path, clock: &Arc<VirtualClock>, publisher: &Arc<Publisher>) -> Audit {
    Audit::start(audit::Parts {
        dir: dir.to_owned(),
        limits: Limits { size: 1 << 20, files: 2 },
        clock: clock.clone(),
        publisher: publisher.clone(),
        patience: LONG,
    })
    .unwrap()
}

/// What the shadow says of each tick.
fn beside(shadow: Arc<Shadow>) -> Beside {
    Box::new(move |position, stamp, record| {
        shadow.look(record, |look| encode_shadow(position, stamp, record, look))
    })
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let clock = Arc::new(VirtualClock::default());
        clock.advance_to(Duration::from_secs(1000));
        let publisher = Arc::new(Publisher::new(clock.clone(), options.ring_bytes));
        let disk = Disk::default();
        let dir = tempfile::tempdir().unwrap();
        let (history, past) = history(dir.path(), options.keeps, &disk);
        let shadow = Arc::new(Shadow::none(clock.clone()));
        let beside = beside(shadow.clone());
        let recorder = Recorder::start_beside(publisher.clone(), counted, history, beside).unwrap();
        let recorder = Arc::new(recorder);
        let will = Will::default();
        let parts = Parts {
            storage: Box::new(Kept { revisions: Vec::new(), will: will.clone() }),
            base: Base { bounds: options.bounds, ..Base::default() },
            clock: clock.clone(),
            audience: Box::new(Told(recorder.clone(), publisher.clone())),
            patience: LONG,
            freeze_file: None,
        };
        let control = Arc::new(Control::start(parts).unwrap());
        let audit = Arc::new(audit(dir.path(), &clock, &publisher));
        let mut listen = vec![Listen::Unix(dir.path().join("agentd.sock"))];
        if options.tls.is_some() {
            listen.push(Listen::Tcp("127.0.0.1:0".to_owned()));
        }
        let about = About {
            host: "node1".to_owned(),
            version: "1.2.3".to_owned(),
            hypervisor: "sim:test".to_owned(),
            started: clock.wall(),
            tick_interval: Duration::from_secs(1),
        };
        let (max_watchers, tls) = (options.max_watchers, options.tls.clone());
        let authz = options.authz.clone();
        let config = ServerConfig { listen, tls, max_watchers, authz, about };
        let deps = Deps {
            clock: clock.clone(),
            publisher: publisher.clone(),
            control: control.clone(),
            shadow,
            audit: audit.clone(),
            history: past,
        };
        let server = Some(Server::start(config, deps).unwrap());
        Self { clock, publisher, recorder, control, audit, server, disk, will, dir, ticks: 0 }
    }

    /// Finishes a tick one second after the last; busy ones give memory to the first VM.
    pub(crate) async fn tick(&mut self, vms: &[&str], busy: bool) -> u64 {
        let record = self.look(vms, busy);
        self.control.note_bookings(&record);
        self.finish(record).await
    }

    /// The same, of which the control has not taken in yet how reservations stand.
    pub(crate) async fn tick_not_noted(&mut self, vms: &[&str]) -> u64 {
        let record = self.look(vms, false);
        self.finish(record).await
    }

    /// Finishes a tick that could not read the hypervisor.
    pub(crate) async fn tick_unread(&mut self) -> u64 {
        let record = self.look(&[], false);
        let error = Some("libvirt does not answer".to_owned());
        self.finish(TickRecord { sample: None, decision: None, error, ..record }).await
    }

    /// Finishes a tick of mode paused.
    pub(crate) async fn tick_paused(&mut self, vms: &[&str]) -> u64 {
        let record = self.look(vms, false);
        self.finish(TickRecord { mode: Mode::Paused, decision: None, ..record }).await
    }

    fn look(&self, vms: &[&str], busy: bool) -> TickRecord {
        self.pass(Duration::from_secs(1));
        let in_force = self.control.in_force();
        let reserved = in_force.reservations.in_force(self.clock.now()).cloned().collect();
        TickRecord {
            pins: Arc::clone(&in_force.pins),
            ..record_with(self.ticks, vms, busy, &in_force.acting, reserved)
        }
    }

    /// The same in which the first VM is on its way to hold this.
    pub(crate) async fn tick_on_the_way(&mut self, vms: &[&str], target: ByteCount) -> u64 {
        let mut record = self.look(vms, false);
        record.targets.insert(id(0), target);
        let decision = record.decision.as_mut().unwrap();
        decision.verdicts.insert(id(0), Verdict::hold(Reason::Settling));
        self.control.note_bookings(&record);
        self.finish(record).await
    }

    async fn finish(&mut self, record: TickRecord) -> u64 {
        self.ticks += 1;
        let record = Arc::new(record);
        self.control.note_seen(&record);
        let seq = self.publisher.ring().span().newest + 1;
        self.recorder.tick(record);
        self.published(seq).await;
        seq
    }

    /// Finishes so many quiet ticks.
    pub(crate) async fn ticks(&mut self, count: u64) {
        for _ in 0..count {
            self.tick(&["web1", "db1"], false).await;
        }
    }

    /// Waits until the log has reached this entry.
    pub(crate) async fn published(&self, seq: u64) {
        let mut news = self.publisher.ring().subscribe();
        let reached = news.wait_for(|newest| *newest >= seq);
        let reached = tokio::time::timeout(LONG, reached).await;
        let newest = self.publisher.ring().span().newest;
        reached
            .unwrap_or_else(|_| panic!("entry {seq} of the log does not come after {newest}"))
            .unwrap();
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance_to(self.clock.now() + time);
    }

    /// Has the server take other rules of who may do what.
    pub(crate) fn reload(&self, authz: AuthzConfig) {
        self.server.as_ref().unwrap().live().replace_authz(authz);
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let socket = self.dir.path().join("agentd.sock");
        Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    /// A connection of another user, in this group alone.
    pub(crate) async fn channel_as(&self, uid: u32, gid: u32) -> Channel {
        self.try_channel_as(uid, gid).await.unwrap()
    }

    /// The same; an error where the connection is turned away at once.
    pub(crate) async fn try_channel_as(
        &self,
        uid: u32,
        gid: u32,
    ) -> Result<Channel, tonic::transport::Error> {
        self.open_to_others();
        let socket = self.dir.path().join("agentd.sock");
        let connect = move |_: Uri| {
            let stream = connect_as(socket.clone(), uid, gid);
            async move { tokio::net::UnixStream::from_std(stream?).map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://agentd");
        endpoint.connect_with_connector(tower::service_fn(connect)).await
    }

    fn open_to_others(&self) {
        let socket = self.dir.path().join("agentd.sock");
        for (path, mode) in [(self.dir.path(), 0o755), (&socket, 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// A connection of another user, with a second hold on its end of the line.
    pub(crate) async fn line_as(&self, uid: u32, gid: u32) -> (Channel, UnixStream) {
        self.open_to_others();
        let stream = connect_as(self.dir.path().join("agentd.sock"), uid, gid).unwrap();
        let held = stream.try_clone().unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        let mut once = Some(TokioIo::new(stream));
        let connect = tower::service_fn(move |_: Uri| {
            let stream = once.take().ok_or_else(|| io::Error::other("it is not dialled again"));
            async move { stream }
        });
        let endpoint = Endpoint::from_static("http://agentd");
        (endpoint.connect_with_connector(connect).await.unwrap(), held)
    }

    pub(crate) async fn watch(&self, request: wire::WatchRequest) -> Watching {
        Watching::open(self.channel().await, request).await.unwrap()
    }

    pub(crate) fn position(&self, seq: u64) -> wire::Position {
        wire::Position { epoch: self.publisher.epoch().to_string(), seq }
    }
}

/// An open stream.
pub(crate) struct Watching {
    stream: Streaming<wire::WatchResponse>,
}

impl Watching {
    pub(crate) async fn open(
        channel: Channel,
        request: wire::WatchRequest,
    ) -> Result<Self, tonic::Status> {
        let mut client = EventServiceClient::new(channel);
        let stream = client.watch(request).await?.into_inner();
        Ok(Self { stream })
    }

    /// The next message; `None` at an orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<wire::WatchResponse>, tonic::Status> {
        tokio::time::timeout(LONG, self.stream.message()).await.unwrap()
    }

    /// The next message's position and body.
    pub(crate) async fn body(&mut self) -> (wire::Position, Body) {
        let message = self.next().await.unwrap().unwrap();
        (message.position.unwrap(), message.body.unwrap())
    }

    pub(crate) async fn hello(&mut self) -> wire::Hello {
        match self.body().await.1 {
            Body::Hello(hello) => hello,
            other => panic!("{other:?} instead of a Hello"),
        }
    }

    pub(crate) async fn gap(&mut self) -> wire::Gap {
        match self.body().await.1 {
            Body::Gap(gap) => gap,
            other => panic!("{other:?} instead of a Gap"),
        }
    }

    /// The next tick with its seq, past heartbeats.
    pub(crate) async fn tick(&mut self) -> (u64, wire::Tick) {
        loop {
            match self.body().await {
                (position, Body::Tick(tick)) => return (position.seq, tick),
                (_, Body::Heartbeat(_)) => {}
                (_, other) => panic!("{other:?} instead of a tick"),
            }
        }
    }

    /// The seqs of all entries up to the end, which is to be an orderly one.
    pub(crate) async fn rest(&mut self) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(message) = self.next().await.unwrap() {
            match message.body.unwrap() {
                Body::Tick(_)
                | Body::PolicyChanged(_)
                | Body::VmChanged(_)
                | Body::ModeChanged(_)
                | Body::ReservationChanged(_)
                | Body::PinChanged(_) => seqs.push(message.position.unwrap().seq),
                Body::Heartbeat(_) => {}
                other => panic!("{other:?} among the entries"),
            }
        }
        seqs
    }
}

/// A tick with the given VMs; a busy one gives memory from the host to the first of them.
pub(crate) fn record(tick: u64, vms: &[&str], busy: bool, policy: &Arc<Revision>) -> TickRecord {
    record_with(tick, vms, busy, policy, Vec::new())
}

/// The same with what is reserved.
fn record_with(
    tick: u64,
    vms: &[&str],
    busy: bool,
    policy: &Arc<Revision>,
    reservations: Vec<Reservation>,
) -> TickRecord {
    let vms = vms.iter().enumerate().map(|(index, name)| {
        let unused = if busy && index == 0 { 50 } else { 300 };
        (id(index), vm(name, ByteCount::mib(unused)))
    });
    let now = Duration::from_secs(1000 + tick);
    let host = HostMemory { total: ByteCount::gib(16), usable: ByteCount::gib(8), pressure: None };
    let sample = Sample {
        tick,
        now,
        host,
        granule: ByteCount::kib(4),
        ideal: false,
        vms: vms.collect(),
        reservations,
    };
    let mut before = State::default().continued(&policy.policy, &sample);
    before.followed.values_mut().for_each(|own| own.adopted = true);
    let (decision, state) = decide(&policy.policy, &before, &sample);
    let life = |(id, vm): (&VmId, _)| (*id, state.known(*id, vm).life(now));
    let lives = sample.vms.iter().map(life).collect();
    let exposure = |(id, vm): (&VmId, _)| (*id, state.known(*id, vm).exposure(false, &sample));
    let exposures = sample.vms.iter().map(exposure).collect();
    let grows = decision.plan.grows.iter();
    let resized = grows.map(|grow| Resized {
        vm: grow.vm,
        planned: grow.to,
        ordered: Some(grow.to),
        outcome: Outcome::Accepted,
        rest_refused: None,
    });
    let applied = Applied {
        resized: resized.collect(),
        granted: decision.plan.funding.iter().map(|transfer| transfer.amount).collect(),
    };
    TickRecord {
        tick,
        began: SystemTime::UNIX_EPOCH + now,
        now,
        took: Duration::from_millis(20),
        mode: Mode::Active,
        frozen: None,
        policy: Arc::clone(policy),
        pins: Arc::default(),
        sample: Some(sample),
        before: Arc::default(),
        anew: false,
        decision: Some(decision),
        applied,
        settled: now,
        lives,
        exposures,
        targets: BTreeMap::new(),
        error: None,
        conditions: Vec::new(),
    }
}

pub(crate) fn id(index: usize) -> VmId {
    VmId::from_bytes([u8::try_from(index + 1).unwrap(); 16])
}

fn vm(name: &str, unused: ByteCount) -> VmSample {
    VmSample {
        name: name.into(),
        run: RunState::Running,
        generation: 0,
        traits: Some(Traits::default()),
        boot: None,
        silent_for: Duration::ZERO,
        distress: None,
        actual: ByteCount::gib(1),
        max: ByteCount::gib(4),
        guest: GuestFigures { unused: Some(unused), ..GuestFigures::default() },
        freshness: Freshness::Fresh,
        figures_age: Some(Duration::from_millis(300)),
        host_rss: Some(ByteCount::gib(1)),
        overhead: None,
        reported: None,
        overhead_at_most: None,
    }
}

/// Encodes as the server does, and counts it for the log's epoch.
fn counted(position: &Position, stamp: Stamp, event: &Event) -> Vec<u8> {
    let mut counts = ENCODED.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(position.epoch.to_string()).or_default() += 1;
    encode(position, stamp, event)
}

/// How many entries of a log were encoded.
pub(crate) fn encoded(publisher: &Publisher) -> u64 {
    let counts = ENCODED.lock().unwrap_or_else(PoisonError::into_inner);
    counts.get(publisher.epoch().as_str()).copied().unwrap_or(0)
}

static ENCODED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Tells the log and the conditions, as a daemon does.
#[derive(Debug)]
struct Told(Arc<Recorder>, Arc<Publisher>);

impl Audience for Told {
    fn announce(&self, event: Event) -> Option<Position> {
        self.0.change(event)
    }

    fn raise(&self, condition: &'static str, message: String) {
        self.1.raise(condition, message);
    }

    fn clear(&self, condition: &'static str) {
        self.1.clear(condition);
    }
}

/// Keeps the operator's will in memory.
#[derive(Debug)]
struct Kept {
    revisions: Vec<Revision>,
    will: Will,
}

/// How many revisions were to be kept, and whether keeping them hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Will {
    hangs: Arc<(Mutex<bool>, Condvar)>,
    pub(crate) saves: Arc<AtomicU64>,
}

impl Will {
    pub(crate) fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().unwrap() = hangs;
        self.hangs.1.notify_all();
    }

    fn save(&self) {
        self.saves.fetch_add(1, Ordering::SeqCst);
        let hangs = self.hangs.0.lock().unwrap();
        drop(self.hangs.1.wait_while(hangs, |hangs| *hangs).unwrap());
    }
}

impl Storage for Kept {
    fn load(&mut self) -> Result<Saved, StorageError> {
        Ok(Saved::default())
    }

    fn save_mode(&mut self, _: &SavedMode) -> Result<(), StorageError> {
        Ok(())
    }

    fn forget_mode(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn save_revision(&mut self, new: &Revision, _: Option<u64>) -> Result<(), StorageError> {
        self.will.save();
        self.revisions.push(new.clone());
        Ok(())
    }

    fn confirm(&mut self, revision: &Revision) -> Result<(), StorageError> {
        let kept = self.revisions.iter_mut().find(|kept| kept.number == revision.number);
        kept.unwrap().revert_at = None;
        Ok(())
    }

    fn forget(&mut self, number: u64) -> Result<(), StorageError> {
        self.revisions.retain(|kept| kept.number != number);
        Ok(())
    }

    fn save_reservation(&mut self, _: &Reserved) -> Result<(), StorageError> {
        Ok(())
    }

    fn save_pins(&mut self, _: &Pins) -> Result<(), StorageError> {
        Ok(())
    }

    fn forget_reservation(&mut self, _: ReservationId) -> Result<(), StorageError> {
        Ok(())
    }

    fn forget_unread(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn revisions(&mut self, before: u64, limit: usize) -> Result<Vec<Revision>, StorageError> {
        let older = self.revisions.iter().rev().filter(|kept| kept.number < before);
        Ok(older.take(limit).cloned().collect())
    }
}

pub(crate) fn default_policy() -> Policy {
    Policy::default()
}

/// Longer than any machine that is alive takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
